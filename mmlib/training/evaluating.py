"""Predict and evaluate: what a trained model says of a data set, and how good that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmlib.data.batch import Batch
from mmlib.data.feature_set import FeatureSet
from mmlib.metrics import (
    bootstrap_interval,
    classification_report,
    confusion_matrix,
    regression_report,
)

CLASSES = ("accuracy", "balanced_accuracy", "weighted_f1", "macro_f1")
NUMBERS = ("mean_ccc", "mean_pearson", "mean_rmse")
# With six groups 95 % intervals held the truth in 86 % of simulated cases, with twelve in 91 %.
FEW_GROUPS = 10
# Numbers in a batch that is judged: 64 MB of them. Every sample of fifteen 224-pixel frames has two
# million, and a network makes several times as many of them.
_NUMBERS_AT_ONCE = 2**24


def predict(
    model: nn.Module, dataset: FeatureSet, *, batch_size: int = 256, device: str = "auto"
) -> Tensor:
    """Return the first output (logits or prediction) for every sample, in order, on the CPU.

    `device="auto"` is where the model is. The model comes back in the mode in which it was. Of large
    samples, such as pictures, fewer than `batch_size` go through at once.

    Shape:
        returns: `(N, C)` logits, or `(N, K)` or `(N, T, K)` predictions, float32.
    """
    parts = run(model, dataset, batch_size=batch_size, device=device)
    # Detached, since a view of a weight (a repeated bias) still has its gradient.
    return torch.cat([output[0].detach().float() for _, output in parts]).cpu()


def run(
    model: nn.Module, dataset: FeatureSet, *, batch_size: int = 256, device: str = "auto"
) -> Iterator[tuple[Batch, Any]]:
    """Go through a data set in order: each batch, and what the model says of it, on its device."""
    place = own_device(model) if device == "auto" else torch.device(device)
    training = model.training
    model.to(place).eval()
    each = sum(value[0].numel() for value in dataset.inputs.values())
    at_once = min(batch_size, max(1, _NUMBERS_AT_ONCE // each))
    try:
        for start in range(0, len(dataset), at_once):
            rows = np.arange(start, min(start + at_once, len(dataset)))
            batch = dataset.batch(rows).to(place)
            with torch.no_grad():
                output = model(**batch.inputs, masks=batch.masks)
            yield batch, output
    finally:
        model.train(training)


def evaluate(
    model: nn.Module, dataset: FeatureSet, *, batch_size: int = 256, device: str = "auto"
) -> dict[str, Any]:
    """Evaluate a model on a data set.

    Returns:
        For classes the numbers of `mmlib.metrics.classification_report`, `confusion` (rows are the
        true classes) and `n`; for a regression `mean_ccc`, `mean_pearson`, `mean_rmse` and `n`.
    """
    return score(predict(model, dataset, batch_size=batch_size, device=device), dataset)


def score(outputs: Tensor, dataset: FeatureSet) -> dict[str, Any]:
    """Compute the metrics of outputs that `predict` gave.

    Shape:
        outputs: `(N, C)`, `(N, K)` or `(N, T, K)`; returns numbers by name, of classes also the
        confusion, C rows of C counts.
    """
    count = len(dataset)
    if dataset.class_names is None:
        mask = Batch({}, dataset.masks, dataset.labels).label_mask
        return {**regression_report(outputs, dataset.labels, mask), "n": count}
    classes = len(dataset.class_names)
    report = classification_report(outputs, dataset.labels, classes)
    confusion = confusion_matrix(outputs, dataset.labels, classes).tolist()
    return {**report, "confusion": confusion, "n": count}


def intervals(
    outputs: Tensor,
    dataset: FeatureSet,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute bootstrap intervals of the metrics of outputs that `predict` gave.

    Groups are drawn where samples share one, else samples.

    Returns:
        `intervals`, metric -> [low, high], and `intervals_drawn`, which says what was drawn: `by`
        (group or sample), how many `units` there are, `resamples`, `level` and `seed`. One sample
        has no interval. Where all samples share one group samples are drawn; there, and where
        groups are few, a `note` says what to think of the intervals.
    """
    count, units = len(dataset), len(np.unique(dataset.group))
    by_group = 1 < units < count
    drawn: dict[str, Any] = {
        "by": "group" if by_group else "sample",
        "units": units if by_group else count,
        "resamples": resamples,
        "level": level,
        "seed": seed,
    }
    if by_group and units < FEW_GROUPS:
        drawn["note"] = "so few that the intervals come out too narrow"
    if units == 1:
        drawn["note"] = f"all from the group {dataset.group[0]}; this says nothing about others"
    found: dict[str, list[float]] = {}
    if count > 1:
        mask = Batch({}, dataset.masks, dataset.labels).label_mask
        for name in judged_by(dataset):
            interval = bootstrap_interval(
                name,
                outputs,
                dataset.labels,
                groups=dataset.group if by_group else None,
                mask=mask,
                resamples=resamples,
                level=level,
                seed=seed,
            )
            found[name] = [interval.low, interval.high]
    return {"intervals": found, "intervals_drawn": drawn}


def judged_by(dataset: FeatureSet) -> tuple[str, ...]:
    """Name what a system is judged by on this data, the number that decides first."""
    return NUMBERS if dataset.class_names is None else CLASSES


def own_device(model: nn.Module) -> torch.device:
    """Say where a model's weights are."""
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
