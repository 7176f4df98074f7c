"""Metrics by name, as functions of sums over samples.

Accuracy, F1 or concordance need no more of the samples than a few sums: how often each class
occurs, was predicted and was right; or a count, two means, two squares and a product. The sums of a
resample are the counts with which samples were drawn times what each sample adds, so thousands of
resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.metrics.classes import as_classes, report_from_counts
from mmlib.metrics.numbers import checked
from mmlib.metrics.reading import Values

CLASS_METRICS = tuple(report_from_counts(*torch.ones(3, 2, dtype=torch.float64)))
NUMBER_METRICS = ("ccc", "pearson", "rmse", "mean_ccc", "mean_pearson", "mean_rmse")
#: The names that `bootstrap_interval` and `compare` know.
METRICS = (*CLASS_METRICS, *NUMBER_METRICS)


class Sums(NamedTuple):
    """What each sample adds, and the metric as a function of the sums.

    Shape:
        kind: `(N,)` int64, which row of `adds` a sample is; samples that are alike share one.
        adds: `(U, S)` float64.
        finish: `(..., S)` sums -> `(...)` metric.
    """

    kind: np.ndarray
    adds: Tensor
    finish: Callable[[Tensor], Tensor]


def sums_of(
    name: str,
    prediction: Values,
    target: Values,
    mask: Values | None = None,
    num_classes: int | None = None,
) -> Sums:
    """Say what each sample adds to the metric `name`.

    Raises:
        ValueError: a name that is not in `METRICS`, or what the metric itself refuses.
    """
    if name in CLASS_METRICS:
        if mask is not None:
            raise ValueError(f"{name} takes no mask; leave the samples out instead.")
        return _counts(name, *as_classes(prediction, target, num_classes))
    if name in NUMBER_METRICS:
        return _moments(name, *checked(prediction, target, mask))
    raise ValueError(
        f"no metric '{name}'; there are {', '.join(METRICS)}, or give a function of "
        "(prediction, target)."
    )


def _counts(name: str, predicted: Tensor, true: Tensor, count: int) -> Sums:
    """Add one to the support, the predictions and perhaps the right answers of a class."""
    pairs, kind = np.unique((true * count + predicted).numpy(), return_inverse=True)
    rows = torch.arange(len(pairs))
    of_true, of_predicted = torch.from_numpy(pairs // count), torch.from_numpy(pairs % count)
    adds = torch.zeros(3, len(pairs), count, dtype=torch.float64)
    adds[0, rows, of_true] = (of_true == of_predicted).double()
    adds[1, rows, of_true] = 1
    adds[2, rows, of_predicted] = 1

    def finish(sums: Tensor) -> Tensor:
        right, support, was_predicted = sums.unflatten(-1, (3, count)).unbind(-2)
        return report_from_counts(right, support, was_predicted)[name]

    return Sums(kind, adds.transpose(0, 1).flatten(1), finish)


def _moments(name: str, x: Tensor, y: Tensor, keep: Tensor) -> Sums:
    """Add a count, the values, their squares and their product, for each target."""
    per_target = name.startswith("mean_")
    if per_target and x.ndim < 2:
        raise ValueError(
            f"{name} needs targets on the last axis, (N, K) or (N, T, K), but the shape is "
            f"{tuple(x.shape)}; use '{name.removeprefix('mean_')}'."
        )
    size, targets = len(x), x.shape[-1] if per_target else 1
    x, y, keep = (values.reshape(size, -1, targets) for values in (x, y, keep))
    # Squares of raw values would lose digits; one centre for both, so that sums of two systems mix.
    middle = torch.where(keep, y, 0.0).sum((0, 1)) / keep.sum((0, 1)).clamp(min=1)
    dx, dy = (torch.where(keep, values - middle, 0.0) for values in (x, y))
    parts = [keep.double(), dx, dy, dx**2, dy**2, dx * dy]
    adds = torch.stack([part.sum(1) for part in parts], dim=1)  # (N, 6, K)
    formula = {"ccc": _concordance, "pearson": _pearson, "rmse": _rmse}[name.split("_")[-1]]

    def finish(sums: Tensor) -> Tensor:
        moments = sums.unflatten(-1, (6, targets)).unbind(-2)
        return formula(*moments).mean(-1)

    return Sums(np.arange(size), adds.flatten(1), finish)


def _central(n: Tensor, x: Tensor, y: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> list[Tensor]:
    """Compute mean_x, mean_y, var_x, var_y and cov from the sums; no spread is exactly 0."""
    n = n.clamp(min=1)
    mean_x, mean_y = x / n, y / n

    def spread(squares: Tensor, mean: Tensor) -> Tensor:
        raw = squares / n
        variance = raw - mean**2
        return torch.where(variance <= 1e-13 * raw, 0.0, variance)  # rounding is no spread

    return [mean_x, mean_y, spread(xx, mean_x), spread(yy, mean_y), xy / n - mean_x * mean_y]


def _concordance(*sums: Tensor) -> Tensor:
    mean_x, mean_y, var_x, var_y, cov = _central(*sums)
    flat = (var_x == 0) | (var_y == 0)
    below = var_x + var_y + (mean_x - mean_y) ** 2
    return torch.where(flat, 0.0, 2 * cov / torch.where(flat, 1.0, below))


def _pearson(*sums: Tensor) -> Tensor:
    _, _, var_x, var_y, cov = _central(*sums)
    flat = (var_x == 0) | (var_y == 0)
    return torch.where(flat, 0.0, cov / torch.where(flat, 1.0, var_x * var_y).sqrt())


def _rmse(*sums: Tensor) -> Tensor:
    mean_x, mean_y, var_x, var_y, cov = _central(*sums)
    return ((mean_x - mean_y) ** 2 + var_x + var_y - 2 * cov).clamp(min=0).sqrt()
