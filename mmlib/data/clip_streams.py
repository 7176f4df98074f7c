"""What every way from clips to streams of features shares: failures by name, and padding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Failure(NamedTuple):
    """A stream of a clip that could not be had, and why."""

    clip: str
    stream: str
    reason: str


def stack_clips(
    parts: Iterable[tuple[int, Tensor]], count: int, length: int
) -> tuple[Tensor, Tensor]:
    """Put clips side by side, each padded to the common length; one part at a time is held.

    Args:
        parts: row -> `(steps, ...)`, as pairs, at least one; a row without a part is all padding.
        count: rows N.
        length: steps T.

    Shape:
        returns `(N, T, ...)` of the parts' type, and `(N, T)` bool, True where a step is real.
    """
    features, mask = torch.empty(0), torch.zeros(count, length, dtype=torch.bool)
    for row, part in parts:
        if not features.numel():
            features = part.new_zeros(count, length, *part.shape[1:])
        features[row, : len(part)], mask[row, : len(part)] = part[:length], True
    return features, mask
