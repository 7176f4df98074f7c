"""Metrics: how good predictions are, in the terms of the four papers.

Everything is computed in float64 over the whole set at once; metrics of parts are never averaged.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

Values = Tensor | np.ndarray | list


def confusion_matrix(prediction: Values, target: Values, num_classes: int | None = None) -> Tensor:
    """Count how often each class (row) was taken for each class (column).

    Shape:
        prediction: `(N,)` classes or `(N, C)` logits; target: `(N,)` classes.
        returns: `(C, C)` int64, rows are the true classes.

    Raises:
        ValueError: sizes that differ, no samples, or a class outside `num_classes`.
    """
    target = torch.as_tensor(target).cpu()
    prediction = torch.as_tensor(prediction).cpu()
    if prediction.ndim == 2:
        num_classes = num_classes or prediction.shape[1]
        prediction = prediction.argmax(1)
    if prediction.shape != target.shape or target.ndim != 1 or len(target) == 0:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} and target {tuple(target.shape)}, "
            "expected the same number of classes in both, at least one."
        )
    largest = int(max(prediction.max(), target.max()))
    num_classes = num_classes or largest + 1
    if largest >= num_classes or int(min(prediction.min(), target.min())) < 0:
        raise ValueError(f"a class lies outside 0 to {num_classes - 1}; check num_classes.")
    pairs = target.long() * num_classes + prediction.long()
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def classification_report(
    prediction: Values, target: Values, num_classes: int | None = None
) -> dict[str, float]:
    """Compute accuracy, balanced accuracy, and precision, recall and F1 in two averages.

    The macro averages run over the classes that occur in the targets or the predictions, the
    weighted ones weigh each class by how often it occurs in the targets. What is 0/0 (the precision
    of a class that was never predicted) counts as 0.

    Shape:
        prediction: `(N,)` classes or `(N, C)` logits; target: `(N,)` classes.

    Choices:
        E-01: `weighted_f1` is the weighted mean of the classes' F1, not the F1 of weighted means.
        E-03: `balanced_accuracy` is the mean recall over the classes that occur in the targets.
        E-04: accuracy is the share of right answers over all classes.
    """
    table = confusion_matrix(prediction, target, num_classes).double()
    right, support, predicted = table.diagonal(), table.sum(1), table.sum(0)
    recall = right / support.clamp(min=1)
    precision = right / predicted.clamp(min=1)
    f1 = 2 * right / (support + predicted).clamp(min=1)
    occurs, weight = (support + predicted) > 0, support / support.sum()
    return {
        "accuracy": float(right.sum() / table.sum()),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "macro_precision": float(precision[occurs].mean()),
        "macro_recall": float(recall[occurs].mean()),
        "macro_f1": float(f1[occurs].mean()),
        "weighted_precision": float((weight * precision).sum()),
        "weighted_recall": float((weight * recall).sum()),
        "weighted_f1": float((weight * f1).sum()),
    }


def concordance(prediction: Values, target: Values, mask: Values | None = None) -> float:
    """Compute Lin's concordance correlation coefficient over all kept elements.

    `2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))^2)`: 1 only where prediction and target are
    equal; a shift or a wrong scale lowers it, unlike Pearson's r.

    Shape:
        prediction, target: the same, any; mask: the same or without the last axes, True = keep.

    Choices:
        J-03, J-04: the covariance form with population statistics; a constant side gives 0.

    Raises:
        ValueError: shapes that do not fit, or nothing kept.
    """
    x, y = _kept(prediction, target, mask)
    if x.min() == x.max() or y.min() == y.max():
        return 0.0
    dx, dy = x - x.mean(), y - y.mean()
    apart = (x.mean() - y.mean()) ** 2
    return float(2 * (dx * dy).mean() / ((dx**2).mean() + (dy**2).mean() + apart))


def pearson(prediction: Values, target: Values, mask: Values | None = None) -> float:
    """Compute Pearson's r over all kept elements; a constant side gives 0.

    Shape:
        prediction, target: the same, any; mask: the same or without the last axes, True = keep.
    """
    x, y = _kept(prediction, target, mask)
    if x.min() == x.max() or y.min() == y.max():
        return 0.0
    dx, dy = x - x.mean(), y - y.mean()
    return float((dx * dy).sum() / (dx.norm() * dy.norm()))


def regression_report(
    prediction: Values, target: Values, mask: Values | None = None
) -> dict[str, float]:
    """Average concordance and Pearson's r over the targets (the last axis).

    Shape:
        prediction, target: `(N, K)` or `(N, T, K)`; mask: `(N, T)`, True = keep.
    """
    prediction, target = torch.as_tensor(prediction), torch.as_tensor(target)
    columns = range(target.shape[-1])
    pairs = [(prediction[..., k], target[..., k]) for k in columns]
    return {
        "mean_ccc": float(np.mean([concordance(x, y, mask) for x, y in pairs])),
        "mean_pearson": float(np.mean([pearson(x, y, mask) for x, y in pairs])),
    }


def _kept(prediction: Values, target: Values, mask: Values | None) -> tuple[Tensor, Tensor]:
    """Flatten to the kept elements in float64."""
    x = torch.as_tensor(prediction).detach().cpu().double()
    y = torch.as_tensor(target).detach().cpu().double()
    if x.shape != y.shape:
        raise ValueError(f"prediction has shape {tuple(x.shape)} but target {tuple(y.shape)}.")
    if mask is not None:
        keep = torch.as_tensor(mask).cpu()
        if keep.dtype != torch.bool or keep.shape != x.shape[: keep.ndim]:
            raise ValueError(
                f"the mask is {keep.dtype} of shape {tuple(keep.shape)}, expected bool of the "
                f"first axes of {tuple(x.shape)}."
            )
        x, y = x[keep], y[keep]
    if x.numel() == 0:
        raise ValueError("there are no elements to compare; at least one must be kept.")
    return x.flatten(), y.flatten()
