"""Align rows that have a time to labelled segments: by rows, or by equal parts of the time."""

from __future__ import annotations

import numpy as np

Interval = tuple[float, float]

#: Seconds; what overlaps less does not, since times have been rounded.
LEAST = 1e-5


def align_rows(
    interval: Interval, intervals: np.ndarray, features: np.ndarray, steps: int
) -> np.ndarray:
    """Give the rows that overlap an interval, a step each; NaN where a value is not finite.

    Shape:
        intervals (rows, 2), features (rows, width); returns (up to steps, width) float32.
    """
    rows = np.flatnonzero(_overlap(interval, intervals) > LEAST)[:steps]
    return np.where(np.isfinite(features[rows]), features[rows], np.float32(np.nan))


def align_parts(
    interval: Interval, intervals: np.ndarray, features: np.ndarray, steps: int
) -> np.ndarray:
    """Cut an interval into equal parts and average the rows of each, weighted by their overlap.

    Shape:
        intervals (rows, 2), features (rows, width); returns (steps, width) float32, NaN where a
        part has no finite value.
    """
    rows = np.flatnonzero(_overlap(interval, intervals) > LEAST)
    edges = np.linspace(*interval, steps + 1)
    parts = np.stack([edges[:-1], edges[1:]], 1)
    weight = _overlap(parts[:, None], intervals[rows])  # (steps, rows)
    weight[weight <= LEAST] = 0.0
    value = features[rows].astype(np.float64)
    finite = np.isfinite(value)
    total = weight @ finite
    with np.errstate(invalid="ignore"):
        return (weight @ np.where(finite, value, 0.0) / np.where(total, total, np.nan)).astype(
            np.float32
        )


def _overlap(interval: Interval | np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Say for how many seconds intervals overlap; less than none where they do not touch."""
    one = np.asarray(interval)
    start = np.maximum(one[..., 0], intervals[..., 0])
    return np.minimum(one[..., 1], intervals[..., 1]) - start
