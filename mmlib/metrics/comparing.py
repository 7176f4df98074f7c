"""Is one system better than another? Both on the same items, item by item or group by group."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.metrics.classes import as_classes
from mmlib.metrics.reading import Values
from mmlib.metrics.resampling import (
    Groups,
    Metric,
    Units,
    as_samples,
    check_settings,
    counted,
    draws,
    finite,
)
from mmlib.metrics.sums import CLASS_METRICS, sums_of


class Comparison(NamedTuple):
    """A difference of two systems, its interval, and how often chance alone makes one as large.

    Attributes:
        difference: the first system's score less the second's.
        low, high: the ends of the difference's interval.
        p_value: how often chance alone makes a difference as large, were there none.
        level: how often such intervals hold the true difference, such as 0.95.
    """

    difference: float
    low: float
    high: float
    p_value: float
    level: float


def compare(
    metric: Metric,
    first: Values,
    second: Values,
    target: Values,
    *,
    groups: Groups | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two systems on the same items: metric of the first minus metric of the second.

    The interval is a paired bootstrap: both systems are judged on the same draws, of samples or
    with `groups` of whole groups, so that what makes an item hard for both cancels out. The p-value
    is a paired permutation test: if the systems were alike, one could swap their predictions for
    any item (or any group) and lose nothing; it is the share of swaps whose difference is at least
    as large, to either side, the real one counted in. With few units all swaps are tried, and
    five groups cannot give less than 2/32.

    Shape:
        first, second: what the metric takes as prediction; target: `(N, ...)`; groups: `(N,)`.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    check_settings(resamples, level)
    one, other = as_samples(first, "first prediction"), as_samples(second, "second prediction")
    true = as_samples(target, "target")
    if not len(one) == len(other) == len(true):
        raise ValueError(
            f"there are {len(one)} predictions of the first system, {len(other)} of the second and "
            f"{len(true)} targets; both systems must be judged on the same samples, in one order."
        )
    find = _by_sums if isinstance(metric, str) else _by_calls
    units = Units(len(true), groups)
    swaps = _swaps(units.count, resamples, seed)
    difference, drawn, swapped = find(
        metric, one, other, true, units, draws(units.count, resamples, seed), swaps
    )
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    as_large = int((np.abs(swapped) >= abs(difference) - 1e-12).sum())
    every = len(swapped) == 2**units.count if units.count < 64 else False
    p_value = as_large / len(swapped) if every else (as_large + 1) / (len(swapped) + 1)
    return Comparison(difference, float(low), float(high), p_value, level)


def _by_sums(
    metric: Any, one: Any, other: Any, true: Any, units: Units, drawn: Any, swaps: Tensor
) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the difference of the whole, of each draw and of each swap from sums."""
    size = None
    if metric in CLASS_METRICS:
        size = max(as_classes(values, true, None)[2] for values in (one, other))
    ours, theirs = (sums_of(metric, values, true, num_classes=size) for values in (one, other))
    # Samples on which neither system nor the truth differs share a row, so that draws stay small.
    pairs, kind = np.unique(np.stack([ours.kind, theirs.kind]), axis=1, return_inverse=True)
    width = ours.adds.shape[1]
    both = torch.cat([ours.adds[pairs[0]], theirs.adds[pairs[1]]], 1)
    kind, both = units.gather(both, kind.reshape(-1))

    def difference(sums: Tensor) -> Tensor:
        return ours.finish(sums[..., :width]) - ours.finish(sums[..., width:])

    resampled = [difference(counted(some, kind, len(both)) @ both).numpy() for some in drawn]
    each = both[torch.from_numpy(kind)]
    whole = each.sum(0)
    gain = each[:, width:] - each[:, :width]
    moved = swaps.double() @ gain
    swapped = difference(whole + torch.cat([moved, -moved], 1)).numpy()
    return float(difference(whole)), np.concatenate(resampled), swapped


def _by_calls(
    metric: Any, one: Any, other: Any, true: Any, units: Units, drawn: Any, swaps: Tensor
) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the same by calling the metric on each draw and each swap."""

    def difference(ours: Any, theirs: Any, targets: Any) -> float:
        return finite(metric(ours, targets)) - finite(metric(theirs, targets))

    samples = units.sampler()
    resampled = [
        difference(one[chosen], other[chosen], true[chosen])
        for some in drawn
        for chosen in map(samples, some)
    ]

    def mixed(swap: np.ndarray, here: Any, there: Any) -> Any:
        values = here.clone() if isinstance(here, Tensor) else here.copy()
        values[swap] = there[swap]
        return values

    of_samples = (swap.numpy()[units.of] for swap in swaps)
    swapped = [
        difference(mixed(swap, one, other), mixed(swap, other, one), true) for swap in of_samples
    ]
    return difference(one, other, true), np.array(resampled), np.array(swapped)


def _swaps(units: int, resamples: int, seed: int) -> Tensor:
    """Choose which units are swapped: all ways where there are few units, else at random.

    Shape:
        returns `(R, units)` bool.
    """
    if units < 64 and 2**units <= resamples:
        ways = torch.arange(2**units)[:, None] >> torch.arange(units)
        return (ways % 2).bool()
    rng = np.random.default_rng([seed, 1])  # other draws than the bootstrap's
    return torch.from_numpy(rng.integers(0, 2, size=(resamples, units), dtype=np.uint8)).bool()
