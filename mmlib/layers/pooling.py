"""Pooling: one vector from a sequence, counting real steps only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from mmlib.layers.masks import check_mask

Pooling = Literal["mean", "max", "first", "last"]


def masked_mean(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Average the real steps; a row with none gives zeros.

    Shape:
        - x: (B, T, D); mask: (B, T) bool, True where a step is real; returns (B, D)
    """
    # In full precision: neither a sum nor a count over a long sequence fits into half of it.
    wide = torch.promote_types(x.dtype, torch.float32)
    if mask is None:
        mean = x.sum(1, dtype=wide) / max(x.shape[1], 1)
    else:
        real = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        mean = real.sum(1, dtype=wide) / mask.sum(1, keepdim=True).clamp(min=1).to(wide)
    return mean.to(x.dtype) if x.is_floating_point() else mean


def masked_max(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Take the largest value of each feature over the real steps; a row with none gives zeros.

    Shape:
        - x: (B, T, D); mask: (B, T) bool, True where a step is real; returns (B, D)
    """
    if not x.shape[1]:
        return x.sum(1)  # zeros
    if mask is None:
        return x.amax(1)
    lowest = torch.finfo(x.dtype).min
    largest = x.masked_fill(~mask.unsqueeze(-1), lowest).amax(1)
    return largest.masked_fill(~mask.any(1, keepdim=True), 0.0)


def first_real(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Take the first real step; a row with none gives zeros.

    Shape:
        - x: (B, T, D); mask: (B, T) bool, True where a step is real; returns (B, D)
    """
    if not x.shape[1]:
        return x.sum(1)  # zeros
    if mask is None:
        return x[:, 0]
    # On a row of equal numbers argmax gives the first, which is what makes this the first True.
    return _step(x, mask, mask.byte().argmax(1))


def last_real(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Take the last real step; a row with none gives zeros.

    Shape:
        - x: (B, T, D); mask: (B, T) bool, True where a step is real; returns (B, D)
    """
    if not x.shape[1]:
        return x.sum(1)  # zeros
    if mask is None:
        return x[:, -1]
    return _step(x, mask, x.shape[1] - 1 - mask.flip(1).byte().argmax(1))


POOLINGS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "mean": masked_mean,
    "max": masked_max,
    "first": first_real,
    "last": last_real,
}


def pool(x: Tensor, mask: Tensor | None = None, how: Pooling = "mean") -> Tensor:
    """Make one vector of each sequence; a row with nothing real gives zeros.

    Shape:
        - x: (B, T, D); mask: (B, T) bool, True where a step is real
        - returns: (B, D)

    Choices:
        E-13: the papers leave the pooling after attention open; the mean is the default.

    Raises:
        ValueError: an unknown ``how``, or a mask that does not have the shape (B, T).
    """
    if how not in POOLINGS:
        raise ValueError(f"how={how!r} is unknown; expected one of {', '.join(POOLINGS)}.")
    check_mask(x, mask)
    return POOLINGS[how](x, mask)


def _step(x: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    # Not take_along_dim, of which torch.compile makes a graph for each length.
    chosen = x.gather(1, index[:, None, None].expand(-1, 1, x.shape[2])).squeeze(1)
    return chosen.masked_fill(~mask.any(1, keepdim=True), 0.0)
