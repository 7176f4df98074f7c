"""Bring a stream to another clock: linear interpolation up, averages over bins down."""

from __future__ import annotations

import torch
from torch import Tensor


def align(x: Tensor, mask: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
    """Resample a stream to the steps of a clock, over what is real of both.

    It is assumed that the stream and the clock span the same stretch of time: that the stream's
    steps from its first real one to its last tile the same seconds as the clock's do, evenly. If one
    of them began later, or ended earlier, all would be shifted, and nothing here could tell.

    A clock's step takes the average over its bin, where the stream is the faster of the two, and the
    line between the two nearest steps, where it is the slower. Both are one formula: step ``i`` of
    the stream covers ``[i - 1/2, i + 1/2]``; what is asked for is the average over an interval
    around the clock's step, as long as the clock's step or the stream's, whichever is longer. Steps
    inside the stretch that are not real have no weight. Time and memory grow with the product of the
    two lengths.

    Shape:
        x: `(B, T, D)`, whatever it is where not real; mask: `(B, T)` bool; clock: `(B, S)` bool,
        True where a step of the clock belongs to the sample's stretch.
        returns: `(B, S, D)`, zero where not real, and its mask `(B, S)` bool.
    """
    first, count = real_span(mask)  # (B, 1) each
    begin, ticks = real_span(clock)
    ratio = count / ticks.clamp(min=1)  # the stream's steps in one step of the clock
    step = torch.arange(clock.shape[1], device=x.device)
    centre = first - 0.5 + (step - begin + 0.5) * ratio  # (B, S)
    half = ratio.clamp(min=1) / 2
    own = torch.arange(x.shape[1], device=x.device)
    upper = torch.minimum((centre + half)[..., None], own + 0.5)
    lower = torch.maximum((centre - half)[..., None], own - 0.5)
    weight = (upper - lower).clamp(min=0) * mask[:, None]  # (B, S, T)
    total = weight.sum(-1, keepdim=True)
    inside = (step >= begin) & (step < begin + ticks)
    # A thousandth of a step is rounding, not a step under the interval.
    real = inside & (total.squeeze(-1) > 1e-3)
    weight = weight / total.clamp(min=1e-3) * real[..., None]
    return weight.to(x.dtype) @ x.masked_fill(~mask[..., None], 0.0), real


def real_span(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first real step and the number of steps from there to the last real one.

    Shape:
        mask: `(B, T)` bool; returns: two `(B, 1)` int64; the number is 0 where nothing is real.
    """
    step = torch.arange(mask.shape[1], device=mask.device)
    first = torch.where(mask, step, mask.shape[1]).amin(1, keepdim=True)
    last = torch.where(mask, step, -1).amax(1, keepdim=True)
    return first, (last - first + 1).clamp(min=0)
