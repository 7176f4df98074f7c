"""Metrics of classes: everything follows from how often each class was taken for each class."""

from __future__ import annotations

import torch
from torch import Tensor

from mmlib.metrics.reading import Values, as_numbers

# Without `num_classes` a label this large is more likely a wrong column than a class.
_MOST_CLASSES = 4096


def confusion_matrix(prediction: Values, target: Values, num_classes: int | None = None) -> Tensor:
    """Count how often each class (row) was taken for each class (column).

    Shape:
        prediction: `(N,)` classes or `(N, C)` logits; target: `(N,)` classes.
        returns: `(C, C)` int64, rows are the true classes.

    Raises:
        ValueError: sizes that differ, no samples, NaN, or a class outside `num_classes`; the
            message names the sample.
    """
    predicted, true, count = as_classes(prediction, target, num_classes)
    return torch.bincount(true * count + predicted, minlength=count**2).reshape(count, count)


def per_class(
    prediction: Values, target: Values, num_classes: int | None = None
) -> dict[str, Tensor]:
    """Compute precision, recall and F1 of each class, with its counts.

    What is 0/0 (the precision of a class that was never predicted) counts as 0.

    Shape:
        prediction: `(N,)` classes or `(N, C)` logits; target: `(N,)` classes.
        returns: `precision`, `recall`, `f1`, `support` (how often the class occurs in the targets)
            and `predicted` (how often it was predicted), each `(C,)` float64.

    Raises:
        ValueError: as `confusion_matrix`.
    """
    table = confusion_matrix(prediction, target, num_classes).double()
    return _rates(table.diagonal(), table.sum(1), table.sum(0))


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

    Raises:
        ValueError: as `confusion_matrix`.
    """
    table = confusion_matrix(prediction, target, num_classes).double()
    report = report_from_counts(table.diagonal(), table.sum(1), table.sum(0))
    return {name: float(value) for name, value in report.items()}


def top_k_accuracy(logits: Values, target: Values, k: int = 2) -> float:
    """Compute the share of samples whose true class is among the `k` largest logits.

    Of equal logits the class with the lower number comes first, as in `argmax`: a constant output
    earns no more than always naming the first `k` classes does.

    Shape:
        logits: `(N, C)`; target: `(N,)` classes.

    Raises:
        ValueError: as `confusion_matrix`, or a `k` outside 1 to C.
    """
    scores = as_numbers(logits, "logits")
    if scores.ndim != 2:
        raise ValueError(f"the logits have shape {tuple(scores.shape)}, expected (N, C).")
    _, true, count = as_classes(scores, target, scores.shape[1])
    if k not in range(1, count + 1):
        raise ValueError(f"k is {k}, expected 1 to {count}, the number of classes.")
    own = scores.gather(1, true[:, None])
    earlier = torch.arange(count) < true[:, None]
    ahead = ((scores > own) | ((scores == own) & earlier)).sum(1)
    return float((ahead < k).double().mean())


def report_from_counts(right: Tensor, support: Tensor, predicted: Tensor) -> dict[str, Tensor]:
    """Compute the numbers of `classification_report` from counts per class.

    Shape:
        right, support, predicted: `(..., C)` float64; returns: each `(...)`.
    """
    rates = _rates(right, support, predicted)
    total = support.sum(-1)
    occurs, true = (support + predicted) > 0, support > 0
    weight = support / total[..., None]

    def over(which: Tensor, values: Tensor) -> Tensor:
        return (values * which).sum(-1) / which.sum(-1)

    return {
        "accuracy": right.sum(-1) / total,
        "balanced_accuracy": over(true, rates["recall"]),
        **{f"macro_{name}": over(occurs, rates[name]) for name in ("precision", "recall", "f1")},
        **{
            f"weighted_{name}": (weight * rates[name]).sum(-1)
            for name in ("precision", "recall", "f1")
        },
    }


def as_classes(
    prediction: Values, target: Values, num_classes: int | None
) -> tuple[Tensor, Tensor, int]:
    """Read predictions (logits count as their largest class) and targets, and count the classes.

    Shape:
        returns: `(N,)` int64 predicted and true classes on the CPU, and C.

    Raises:
        ValueError: shapes that do not fit, no samples, or what is no class.
    """
    predicted, true = as_numbers(prediction, "prediction"), as_numbers(target, "target")
    if true.ndim != 1 or predicted.ndim not in (1, 2) or len(predicted) != len(true):
        raise ValueError(
            f"prediction has shape {tuple(predicted.shape)} and target {tuple(true.shape)}, "
            "expected the same number of samples in both: (N,) classes or (N, C) logits, and (N,) "
            "classes."
        )
    if len(true) == 0:
        raise ValueError("there are no samples to compare; give at least one.")
    if predicted.ndim == 2:
        if predicted.shape[1] < 2:
            raise ValueError(
                f"prediction has shape {tuple(predicted.shape)}, one number a sample: give (N,) "
                "classes, or (N, C) logits with a column for every class."
            )
        _refuse(predicted.isnan().any(1), "the logits of sample {} hold NaN.")
        num_classes = predicted.shape[1] if num_classes is None else num_classes
        predicted = predicted.argmax(1)
    predicted, true = _whole(predicted, "prediction"), _whole(true, "target")
    largest = int(torch.maximum(predicted.max(), true.max()))
    if num_classes is None:
        num_classes = largest + 1
        if num_classes > _MOST_CLASSES:
            raise ValueError(
                f"the largest class is {largest}; if these really are classes, give num_classes."
            )
    for values, name in ((predicted, "prediction"), (true, "target")):
        _refuse(
            (values < 0) | (values >= num_classes),
            f"the {name} of sample {{}} is {{}}, outside 0 to {num_classes - 1}, the classes there "
            "are; check num_classes.",
            values,
        )
    return predicted, true, num_classes


def _rates(right: Tensor, support: Tensor, predicted: Tensor) -> dict[str, Tensor]:
    """Divide the counts of right answers, 0/0 being 0."""
    return {
        "precision": right / predicted.clamp(min=1),
        "recall": right / support.clamp(min=1),
        "f1": 2 * right / (support + predicted).clamp(min=1),
        "support": support,
        "predicted": predicted,
    }


def _whole(values: Tensor, name: str) -> Tensor:
    """Turn classes into int64, refusing what is no whole number."""
    if values.is_complex():
        raise ValueError(f"the {name} is {values.dtype}, expected whole numbers.")
    if values.is_floating_point():
        message = f"the {name} of sample {{}} is {{}}, no class; expected whole numbers, or logits."
        _refuse((values != values.round()) | values.isinf(), message, values)
    return values.long()


def _refuse(bad: Tensor, message: str, values: Tensor | None = None) -> None:
    """Raise `message` with the first bad sample's position, and value, filled in."""
    if bool(bad.any()):
        index = int(bad.nonzero()[0])
        raise ValueError(message.format(index, None if values is None else values[index].item()))
