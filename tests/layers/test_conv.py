"""Temporal convolution: batch first, and padding that stays padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmlib.layers import MaskedBatchNorm, TemporalConv


def padding(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


def test_difference_filter_by_hand():
    layer = TemporalConv(in_dim=1, out_dim=1, kernel_size=2, padding="valid", activation=None)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.tensor([[[-1.0, 1.0]]]))
        layer.conv.bias.zero_()
    out, mask = layer(torch.tensor([1.0, 4.0, 9.0, 16.0]).reshape(1, 4, 1))
    assert out.flatten().tolist() == [3.0, 5.0, 7.0] and mask is None


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({}, 128),
        ({"kernel_size": 1}, 128),
        ({"stride": 2, "padding": "valid"}, 63),
        ({"padding": "valid"}, 126),
        ({"kernel_size": 4, "padding": 1}, 127),
        ({"padding": "valid", "pool_size": 2}, 125),
        ({"pool_size": 2, "pool_stride": 2}, 64),
    ],
)
def test_lengths_are_those_of_the_papers(arguments, steps):
    layer = TemporalConv(in_dim=5, out_dim=7, **arguments)
    out, mask = layer(torch.randn(2, 128, 5), padding([128, 90], 128))
    assert out.shape == (2, steps, 7) and mask.shape == (2, steps)


@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    zeros=st.integers(0, 2),
    pool_size=st.integers(1, 3),
    norm=st.sampled_from([None, "layer", "batch"]),
    length=st.integers(1, 11),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=60)
def test_a_padded_sequence_gives_what_it_gives_alone(
    kernel, stride, zeros, pool_size, norm, length, seed
):
    torch.manual_seed(seed)
    zeros = min(zeros, (kernel - 1) // 2)
    layer = TemporalConv(
        in_dim=3, out_dim=5, kernel_size=kernel, stride=stride, padding=zeros, norm=norm,
        pool_size=pool_size, pool_stride=2,
    ).eval()  # fmt: skip
    x = torch.randn(2, 17, 3)
    out, mask = layer(x, padding([17, length], 17))
    assert mask[0].all()
    try:
        alone, _ = layer(x[1:, :length])
    except (ValueError, RuntimeError):  # too short for one window
        assert not mask[1].any()
        return
    assert mask[1].sum() == alone.shape[1]
    torch.testing.assert_close(out[1, : alone.shape[1]], alone[0], atol=1e-5, rtol=1e-5)
    assert (out[1, alone.shape[1] :] == 0).all()


@pytest.mark.parametrize("norm", [None, "layer", "batch"])
@pytest.mark.parametrize("training", [False, True])
def test_padding_never_reaches_a_real_step(device, norm, training):
    layer = TemporalConv(in_dim=3, out_dim=5, norm=norm, pool_size=2).to(device).train(training)
    x, mask = torch.randn(3, 11, 3, device=device), padding([11, 6, 0], 11).to(device)
    junk = x.masked_fill(~mask[..., None], float("nan"))
    out, kept = layer(x, mask)
    again, _ = layer(junk, mask)
    torch.testing.assert_close(again, out)
    assert (out[~kept] == 0).all() and not kept[2].any()


def test_hole_in_the_middle_hides_every_window_that_touches_it():
    layer = TemporalConv(in_dim=2, out_dim=3, padding="valid")
    mask = torch.ones(1, 9, dtype=torch.bool)
    mask[0, 4] = False
    _, kept = layer(torch.randn(1, 9, 2), mask)
    assert kept[0].tolist() == [True, True, False, False, False, True, True]


def test_masked_batch_norm_uses_the_real_steps_only(device):
    torch.manual_seed(0)
    x, mask = torch.randn(3, 7, 5, device=device), padding([7, 4, 1], 7).to(device)
    ours, peer = MaskedBatchNorm(5).to(device), nn.BatchNorm1d(5).to(device)
    out, expected = ours(x, mask), peer(x[mask])
    torch.testing.assert_close(out[mask], expected)
    torch.testing.assert_close(ours.running_mean, peer.running_mean)
    torch.testing.assert_close(ours.running_var, peer.running_var)
    torch.testing.assert_close(ours.eval()(x, mask)[mask], peer.eval()(x[mask]))


def test_masked_batch_norm_keeps_double_precision():
    torch.manual_seed(0)
    x, mask = 1e6 + torch.randn(3, 7, 5, dtype=torch.float64), padding([7, 4, 1], 7)
    ours, peer = MaskedBatchNorm(5).double(), nn.BatchNorm1d(5).double()
    torch.testing.assert_close(ours(x, mask)[mask], peer(x[mask]))
    torch.testing.assert_close(ours.running_var, peer.running_var)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masked_batch_norm_of_half_precision_trains_as_torchs(dtype, device):
    torch.manual_seed(0)
    x, mask = torch.randn(3, 7, 5, device=device, dtype=dtype), padding([7, 4, 1], 7).to(device)
    ours = MaskedBatchNorm(5).to(device, dtype)
    peer = nn.BatchNorm1d(5).to(device)
    near = {"rtol": 0.02, "atol": 0.02}
    torch.testing.assert_close(ours(x, mask)[mask].float(), peer(x[mask].float()), **near)
    torch.testing.assert_close(ours.running_mean.float(), peer.running_mean, **near)
    torch.testing.assert_close(ours.running_var.float(), peer.running_var, **near)


def test_masked_batch_norm_without_momentum_keeps_the_mean_over_all_batches(device):
    torch.manual_seed(0)
    mask = padding([7, 4, 1], 7).to(device)
    ours = MaskedBatchNorm(5, momentum=None).to(device)
    peer = nn.BatchNorm1d(5, momentum=None).to(device)
    for step in range(3):
        x = step + torch.randn(3, 7, 5, device=device)
        ours(x, mask), peer(x[mask])
        ours(x, torch.zeros_like(mask))  # a batch without a real step is none
    assert ours.num_batches_tracked == peer.num_batches_tracked == 3
    torch.testing.assert_close(ours.running_mean, peer.running_mean)
    torch.testing.assert_close(ours.running_var, peer.running_var)


def test_nothing_of_a_step_that_is_not_real_reaches_masked_batch_norm():
    torch.manual_seed(0)
    x, mask = torch.randn(3, 7, 5), padding([7, 4, 1], 7)
    ours, peer = MaskedBatchNorm(5), MaskedBatchNorm(5)
    out = ours(x.masked_fill(~mask[..., None], float("nan")), mask)
    assert torch.equal(out[mask], peer(x, mask)[mask])
    assert torch.equal(ours.running_mean, peer.running_mean)
    assert torch.equal(ours.running_var, peer.running_var)


def test_masked_batch_norm_without_padding_is_torchs():
    x = torch.randn(3, 7, 5)
    ours, peer = MaskedBatchNorm(5), nn.BatchNorm1d(5)
    torch.testing.assert_close(ours(x).transpose(1, 2), peer(x.transpose(1, 2)))
    full = MaskedBatchNorm(5)
    torch.testing.assert_close(full(x, torch.ones(3, 7, dtype=torch.bool)), ours(x))


def test_batch_without_a_real_step_leaves_the_running_statistics():
    layer = TemporalConv(in_dim=3, out_dim=5, norm="batch")
    out, mask = layer(torch.randn(2, 7, 3), torch.zeros(2, 7, dtype=torch.bool))
    assert (out == 0).all() and not mask.any()
    assert (layer.norm.running_mean == 0).all() and (layer.norm.running_var == 1).all()


def test_every_parameter_gets_a_gradient_under_bfloat16(device):
    layer = TemporalConv(in_dim=3, out_dim=5, norm="batch", activation="gelu").to(device)
    with torch.autocast(device.type, torch.bfloat16):
        out, _ = layer(torch.randn(2, 7, 3, device=device), padding([7, 4], 7).to(device))
    out.float().pow(3).sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        # Batch norm takes the mean away, and with it the convolution's offset.
        assert name == "conv.bias" or (parameter.grad != 0).any(), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kernel_size": 4}, "even kernel"),
        ({"padding": "full"}, "'same', 'valid' or a number"),
        ({"padding": 2}, "expected 0 to 1"),
        ({"norm": "group"}, "'batch', 'layer' or None"),
        ({"activation": "selu"}, "relu, gelu or None"),
    ],
)
def test_impossible_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        TemporalConv(in_dim=3, out_dim=5, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kernel_size": 5, "padding": "valid", "stride": 3},
        {"padding": "valid", "pool_size": 2},
        {"stride": 2, "pool_size": 3, "pool_stride": 2},
        {"kernel_size": 4, "padding": 1, "pool_size": 2, "pool_stride": 3},
    ],
)
def test_steps_needed_are_the_fewest_that_give_so_many(arguments):
    layer = TemporalConv(in_dim=3, out_dim=5, **arguments)
    for steps in (1, 2, 5):
        needed = layer.steps_needed(steps)
        assert layer(torch.randn(2, needed, 3))[0].shape[1] == steps
        if needed > 1 and steps > 1:
            assert layer(torch.randn(2, needed - 1, 3))[0].shape[1] < steps
    if layer.steps_needed() > 1:
        with pytest.raises(ValueError, match=f"needs at least {layer.steps_needed()}"):
            layer(torch.randn(2, layer.steps_needed() - 1, 3))


@pytest.mark.parametrize("mask", [torch.ones(2, 6, dtype=torch.bool), torch.ones(2, 7)])
def test_mask_that_does_not_fit_is_named(mask):
    with pytest.raises(ValueError, match=r"expected torch.bool of \(2, 7\)"):
        TemporalConv(in_dim=3, out_dim=5)(torch.randn(2, 7, 3), mask)


def test_sequence_shorter_than_the_kernel_is_named():
    layer = TemporalConv(in_dim=3, out_dim=5, kernel_size=5, padding="valid")
    with pytest.raises(ValueError, match="4 steps.*needs at least 5"):
        layer(torch.randn(2, 4, 3))


@pytest.mark.parametrize("training", [True, False])
def test_two_compiled_graphs_serve_every_length(training):
    """The first is for the length that came first, the second for all others."""
    graphs = []
    layer = TemporalConv(in_dim=5, out_dim=7, norm="batch", pool_size=2, pool_stride=2)
    layer.train(training)
    torch.compiler.reset()
    compiled = torch.compile(layer, backend=lambda graph, _: graphs.append(graph) or graph)
    with torch.set_grad_enabled(training):
        for steps in (11, 13, 17, 19):
            x = torch.randn(3, steps, 5)
            torch.testing.assert_close(compiled(x)[0], layer(x)[0])
    assert len(graphs) == 2
