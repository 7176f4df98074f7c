"""Metrics of numbers: agreement and distance between what was predicted and what was rated."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmlib.metrics.reading import Values, as_numbers


def concordance(prediction: Values, target: Values, mask: Values | None = None) -> float:
    """Compute Lin's concordance correlation coefficient over all kept elements.

    `2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2)`: 1 only where prediction and target are
    equal; a shift or a wrong scale lowers it, unlike Pearson's r.

    Shape:
        prediction, target: the same, any; mask: the same or without the last axes, True = keep.

    Choices:
        J-03, J-04: the covariance form with population statistics; a constant side gives 0.

    Raises:
        ValueError: shapes that do not fit, nothing kept, or a kept element that is not finite.
    """
    x, y = kept(prediction, target, mask)
    if x.min() == x.max() or y.min() == y.max():
        return 0.0
    dx, dy = x - x.mean(), y - y.mean()
    apart = (x.mean() - y.mean()) ** 2
    return float(2 * (dx * dy).mean() / ((dx**2).mean() + (dy**2).mean() + apart))


def pearson(prediction: Values, target: Values, mask: Values | None = None) -> float:
    """Compute Pearson's r over all kept elements; a constant side gives 0.

    Shape:
        prediction, target: the same, any; mask: the same or without the last axes, True = keep.

    Raises:
        ValueError: as `concordance`.
    """
    x, y = kept(prediction, target, mask)
    if x.min() == x.max() or y.min() == y.max():
        return 0.0
    dx, dy = x - x.mean(), y - y.mean()
    return float((dx * dy).sum() / (dx.norm() * dy.norm()))


def rmse(prediction: Values, target: Values, mask: Values | None = None) -> float:
    """Compute the root of the mean squared error over all kept elements.

    Shape:
        prediction, target: the same, any; mask: the same or without the last axes, True = keep.

    Raises:
        ValueError: as `concordance`.
    """
    x, y = kept(prediction, target, mask)
    return float((x - y).square().mean().sqrt())


def regression_report(
    prediction: Values, target: Values, mask: Values | None = None
) -> dict[str, float]:
    """Average concordance, Pearson's r and the root mean squared error over the targets.

    Shape:
        prediction, target: `(N, K)` or `(N, T, K)`; mask: `(N, T)`, True = keep. The targets are
            the last axis, and each is judged over all that is kept of it.

    Raises:
        ValueError: as `concordance`, or fewer than two axes.
    """
    x, y = as_numbers(prediction, "prediction"), as_numbers(target, "target")
    if y.ndim < 2:
        raise ValueError(
            f"target has shape {tuple(y.shape)}, expected (N, K) or (N, T, K); for a single target "
            "use concordance, pearson and rmse, or add an axis."
        )
    _same_shape(x, y)
    pairs = [(x[..., k], y[..., k]) for k in range(y.shape[-1])]
    return {
        f"mean_{name}": float(np.mean([metric(*pair, mask) for pair in pairs]))
        for name, metric in (("ccc", concordance), ("pearson", pearson), ("rmse", rmse))
    }


def kept(prediction: Values, target: Values, mask: Values | None) -> tuple[Tensor, Tensor]:
    """Flatten to the kept elements in float64.

    Raises:
        ValueError: as `checked`.
    """
    x, y, keep = checked(prediction, target, mask)
    return x[keep], y[keep]


def checked(
    prediction: Values, target: Values, mask: Values | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Read numbers as float64 on the CPU, with a mask of their shape; what is kept is finite.

    Raises:
        ValueError: shapes that do not fit, nothing to keep, or a kept number that is not finite.
    """
    x, y = as_numbers(prediction, "prediction"), as_numbers(target, "target")
    x, y = x.double(), y.double()
    _same_shape(x, y)
    keep = torch.ones(x.shape, dtype=torch.bool)
    if mask is not None:
        keep = as_numbers(mask, "mask")
        if keep.dtype != torch.bool or keep.shape != x.shape[: keep.ndim]:
            raise ValueError(
                f"the mask is {keep.dtype} of shape {tuple(keep.shape)}, expected bool of the "
                f"first axes of {tuple(x.shape)}."
            )
        keep = keep.reshape(*keep.shape, *[1] * (x.ndim - keep.ndim)).expand(x.shape)
    if not bool(keep.any()):
        raise ValueError("there are no elements to compare; at least one must be kept.")
    for values, name in ((x, "prediction"), (y, "target")):
        bad = keep & ~values.isfinite()
        if bool(bad.any()):
            place = bad.nonzero()[0].tolist()
            more = f", at {place[1:]}" if len(place) > 1 else ""
            sample = place[0] if place else 0
            raise ValueError(
                f"the {name} of sample {sample}{more} is {values[bad][0].item()}, expected a "
                "finite number; mend it, or leave it out by the mask."
            )
    return x, y, keep


def _same_shape(prediction: Tensor, target: Tensor) -> None:
    """Refuse two shapes: numbers that broadcast are compared all with all."""
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} but target {tuple(target.shape)}; "
            "give both in one shape."
        )
