"""Bringing a stream to another clock: what comes out at which step, and what is real of it."""

import numpy as np
import pytest
import torch

from mmlib.systems.baselines import align
from mmlib.systems.baselines.align import real_span


def whole(batch: int, steps: int) -> torch.Tensor:
    return torch.ones(batch, steps, dtype=torch.bool)


def ramp(steps: int, begin: float = 0.0, end: float = 1.0) -> torch.Tensor:
    """The time at the middle of each of so many steps that tile a stretch; (steps,)."""
    return begin + (end - begin) * (torch.arange(steps) + 0.5) / steps


def test_a_ramp_on_a_slower_clock_is_a_ramp_on_a_faster_one():
    x = ramp(5)[None, :, None]
    found, real = align(x, whole(1, 5), whole(1, 15))
    # Before the middle of the first step and after that of the last nothing is known but these.
    expected = ramp(15).clamp(0.1, 0.9)
    assert torch.allclose(found[0, :, 0], expected, atol=1e-6) and real.all()


def test_a_ramp_on_a_faster_clock_is_a_ramp_on_a_slower_one_to_its_ends():
    found, real = align(ramp(12)[None, :, None], whole(1, 12), whole(1, 4))
    assert torch.allclose(found[0, :, 0], ramp(4), atol=1e-6) and real.all()


@pytest.mark.parametrize(("steps", "ticks"), [(12, 5), (13, 3), (128, 31), (7, 6)])
def test_a_faster_stream_is_averaged_over_bins(steps, ticks):
    """Held against the same signal cut into so fine pieces that every bin is a whole number."""
    x = torch.randn(2, steps, 3, generator=torch.Generator().manual_seed(0))
    found, _ = align(x, whole(2, steps), whole(2, ticks))
    fine = x.repeat_interleave(ticks, dim=1)  # (2, steps * ticks, 3)
    assert torch.allclose(found, fine.unflatten(1, (ticks, steps)).mean(2), atol=1e-5)


@pytest.mark.parametrize(("steps", "ticks"), [(3, 7), (5, 11), (8, 128), (2, 3)])
def test_a_slower_stream_is_interpolated_linearly(steps, ticks):
    x = torch.randn(2, steps, generator=torch.Generator().manual_seed(1))
    found, _ = align(x[..., None], whole(2, steps), whole(2, ticks))
    for row, values in zip(found[..., 0].numpy(), x.numpy(), strict=True):
        expected = np.interp(ramp(ticks).numpy(), ramp(steps).numpy(), values)
        assert np.allclose(row, expected, atol=1e-5)


def test_each_padded_sample_is_aligned_as_if_it_stood_alone():
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(4, 11, 3, generator=draw)
    mask, clock = torch.zeros(4, 11, dtype=torch.bool), torch.zeros(4, 13, dtype=torch.bool)
    places = [((0, 11), (0, 13)), ((2, 7), (0, 9)), ((0, 3), (4, 13)), ((6, 11), (5, 7))]
    for row, (own, other) in enumerate(places):
        mask[row, slice(*own)], clock[row, slice(*other)] = True, True
    found, real = align(x.masked_fill(~mask[..., None], torch.nan), mask, clock)
    assert torch.equal(real, clock) and (found[~real] == 0).all()
    for row, (own, other) in enumerate(places):
        cut = x[row : row + 1, slice(*own)]
        alone, _ = align(cut, whole(1, cut.shape[1]), whole(1, other[1] - other[0]))
        assert torch.allclose(found[row, slice(*other)], alone[0], atol=1e-5)


def test_padding_moves_a_planted_ramp_nowhere():
    """Words fill 6 of 16 steps, the voice 90 of 128: both tell the time of the same stretch."""
    words, voice = torch.zeros(1, 16, 1), torch.zeros(1, 128, dtype=torch.bool)
    words[0, :6, 0], voice[0, :90] = ramp(6), True
    mask = (torch.arange(16) < 6)[None]
    found, real = align(words, mask, voice)
    assert torch.equal(real, voice)
    expected = ramp(90).clamp(0.5 / 6, 5.5 / 6)
    assert torch.allclose(found[0, :90, 0], expected, atol=1e-6)


def test_the_same_clock_changes_nothing():
    x = torch.randn(2, 7, 3)
    found, _ = align(x, whole(2, 7), whole(2, 7))
    assert torch.allclose(found, x, atol=1e-6)


def test_one_step_holds_for_the_whole_stretch():
    x = torch.randn(2, 1, 3)
    clock = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 1, 0, 0]], dtype=torch.bool)
    found, real = align(x, whole(2, 1), clock)
    assert torch.equal(real, clock)
    assert torch.allclose(found, x * clock[..., None])


def test_steps_that_are_not_real_have_no_weight():
    x = torch.tensor([[[1.0], [torch.nan], [3.0], [5.0], [7.0], [torch.inf]]])
    mask = torch.tensor([[True, False, True, True, True, False]])
    found, real = align(x, mask, whole(1, 2))  # five steps in two bins of two and a half
    assert real.all()
    first, second = (1 + 0.5 * 3) / 1.5, (0.5 * 3 + 5 + 7) / 2.5
    assert torch.allclose(found[0, :, 0], torch.tensor([first, second]))


def test_a_hole_wider_than_a_bin_stays_a_hole():
    mask = torch.tensor([[1, 0, 0, 0, 0, 1]], dtype=torch.bool)
    found, real = align(torch.ones(1, 6, 2), mask, whole(1, 3))
    assert real.tolist() == [[True, False, True]] and found[0, 1].tolist() == [0, 0]


def test_a_stream_that_a_sample_lacks_is_real_nowhere():
    mask = torch.tensor([[False] * 4, [True] * 4])
    found, real = align(torch.full((2, 4, 3), torch.nan), mask & False, whole(2, 5))
    assert not real.any() and (found == 0).all()
    x = torch.randn(2, 4, 3).masked_fill(~mask[..., None], torch.nan).requires_grad_()
    found, real = align(x, mask, whole(2, 5))
    assert real.any(1).tolist() == [False, True] and torch.isfinite(found).all()
    found.sum().backward()
    assert (x.grad[0] == 0).all() and torch.isfinite(x.grad).all() and (x.grad[1] > 0).all()


def test_a_clock_without_a_real_step_takes_nothing():
    found, real = align(torch.ones(1, 4, 2), whole(1, 4), torch.zeros(1, 5, dtype=torch.bool))
    assert not real.any() and (found == 0).all()


def test_what_never_changes_stays_as_it_is_on_any_clock(device):
    for steps, ticks in ((3, 11), (11, 3), (7, 5)):
        x = torch.full((2, steps, 2), 4.25, device=device)
        found, _ = align(x, whole(2, steps).to(device), whole(2, ticks).to(device))
        assert torch.allclose(found, torch.full_like(found, 4.25)) and found.device == x.device


def test_the_real_span_reaches_from_the_first_real_step_to_the_last():
    mask = torch.tensor([[0, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
    first, count = real_span(mask.bool())
    assert count.squeeze(1).tolist() == [3, 5, 1, 0] and first.squeeze(1).tolist()[:3] == [1, 0, 4]
