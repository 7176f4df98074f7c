"""Pooling: only real steps count, and nothing real gives zeros."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib.layers import first_real, last_real, masked_max, masked_mean, pool

HOWS = ("mean", "max", "first", "last")


def test_pooling_by_hand(device):
    x = torch.tensor([[[1.0, -8.0], [3.0, -2.0], [99.0, 99.0]]], device=device)
    mask = torch.tensor([[True, True, False]], device=device)
    expected = {"mean": [2.0, -5.0], "max": [3.0, -2.0], "first": [1.0, -8.0], "last": [3.0, -2.0]}
    for how, row in expected.items():
        assert pool(x, mask, how).tolist() == [row], how


def test_real_steps_need_not_stand_at_the_start():
    x = torch.arange(5.0).reshape(1, 5, 1)
    mask = torch.tensor([[False, True, False, True, False]])
    assert first_real(x, mask).item() == 1
    assert last_real(x, mask).item() == 3
    assert masked_mean(x, mask).item() == 2
    assert masked_max(-x, mask).item() == -1


@pytest.mark.parametrize("how", HOWS)
def test_row_with_nothing_real_gives_zeros_and_zero_gradient(device, how):
    x = torch.randn(3, 5, 7, device=device, requires_grad=True)
    mask = torch.tensor([[1, 1, 0, 1, 0], [0] * 5, [0, 0, 0, 0, 1]], device=device).bool()
    out = pool(x, mask, how)
    assert out.shape == (3, 7) and (out[1] == 0).all() and (out[0] != 0).all()
    out.square().sum().backward()
    assert torch.isfinite(x.grad).all() and (x.grad[~mask] == 0).all()
    assert (x.grad[2, 4] != 0).all()


@given(st.integers(1, 4), st.integers(1, 6), st.sampled_from(HOWS), st.integers(0, 9999))
@settings(deadline=None, max_examples=40)
def test_pooling_a_padded_row_equals_pooling_what_is_real(batch, steps, how, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, steps, 3, generator=generator)
    mask = torch.rand(batch, steps, generator=generator) > 0.4
    out = pool(x, mask, how)
    for row, keep, got in zip(x, mask, out, strict=True):
        alone = pool(row[keep][None], None, how)[0] if keep.any() else torch.zeros(3)
        torch.testing.assert_close(got, alone)


@pytest.mark.parametrize("how", HOWS)
def test_padding_may_hold_anything_even_nan(how):
    x = torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]).bool()
    junk = x.masked_fill(~mask[..., None], float("nan"))
    torch.testing.assert_close(pool(junk, mask, how), pool(x, mask, how))


@pytest.mark.parametrize("how", HOWS)
def test_dtype_follows_the_input(device, how):
    x = torch.randn(2, 5, 3, device=device, dtype=torch.bfloat16)
    mask = torch.ones(2, 5, dtype=torch.bool, device=device)
    assert pool(x, mask, how).dtype == torch.bfloat16


@pytest.mark.parametrize("masked", [True, False])
def test_the_mean_of_a_long_half_precision_sequence_fits_although_its_sum_does_not(masked, device):
    x = torch.full((2, 70_000, 3), 30.0, device=device, dtype=torch.float16)
    mask = torch.ones(2, 70_000, dtype=torch.bool, device=device) if masked else None
    assert (masked_mean(x, mask) == 30).all()


def test_the_mean_of_whole_numbers_is_no_whole_number():
    x, mask = torch.tensor([[[1], [2], [9]]]), torch.tensor([[True, True, False]])
    assert masked_mean(x, mask).item() == 1.5 and masked_mean(x[:, :2]).item() == 1.5


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("how", HOWS)
def test_a_sequence_without_steps_gives_zeros(how, masked, device):
    mask = torch.ones(2, 0, dtype=torch.bool, device=device) if masked else None
    assert torch.equal(pool(torch.randn(2, 0, 3).to(device), mask, how).cpu(), torch.zeros(2, 3))


def test_wrong_names_and_masks_are_named():
    x = torch.randn(2, 5, 3)
    with pytest.raises(ValueError, match="mean, max, first, last"):
        pool(x, None, "median")
    with pytest.raises(ValueError, match=r"\(2, 3\), expected torch.bool of \(2, 5\)"):
        pool(x, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"torch.float32.*torch.bool"):
        pool(x, torch.ones(2, 5))


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="measured with torch 2.13; 2.6 makes a graph for every length",
)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("how", HOWS)
def test_two_compiled_graphs_serve_every_length(how, masked):
    """The first is for the length that came first, the second for all others."""
    graphs = []
    torch.compiler.reset()
    compiled = torch.compile(pool, backend=lambda graph, _: graphs.append(graph) or graph)
    for steps in (5, 7, 11):
        x = torch.randn(2, steps, 3)
        mask = torch.rand(2, steps) < 0.7 if masked else None
        torch.testing.assert_close(compiled(x, mask, how), pool(x, mask, how))
    assert len(graphs) == 2
