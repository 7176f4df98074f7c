"""Predict and evaluate: what a trained model says of a data set, and how good that is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmlib.data.batch import Batch
from mmlib.data.feature_set import FeatureSet
from mmlib.metrics import classification_report, confusion_matrix, regression_report


def predict(
    model: nn.Module, dataset: FeatureSet, *, batch_size: int = 256, device: str = "auto"
) -> Tensor:
    """Return the first output (logits or prediction) for every sample, in order, on the CPU.

    `device="auto"` is where the model is. The model comes back in the mode in which it was.

    Shape:
        returns: `(N, C)` logits, or `(N, K)` or `(N, T, K)` predictions, float32.
    """
    place = own_device(model) if device == "auto" else torch.device(device)
    training = model.training
    model.to(place).eval()
    outputs = []
    try:
        with torch.no_grad():
            for start in range(0, len(dataset), batch_size):
                rows = np.arange(start, min(start + batch_size, len(dataset)))
                batch = dataset.batch(rows).to(place)
                output = model(**batch.inputs, masks=batch.masks)[0]
                outputs.append(output.detach().float())  # a view of a weight is not detached yet
    finally:
        model.train(training)
    return torch.cat(outputs).cpu()


def evaluate(
    model: nn.Module, dataset: FeatureSet, *, batch_size: int = 256, device: str = "auto"
) -> dict[str, Any]:
    """Evaluate a model on a data set.

    Returns:
        For classes the numbers of `mmlib.metrics.classification_report`, `confusion` (rows are the
        true classes) and `n`; for a regression `mean_ccc`, `mean_pearson` and `n`.
    """
    return score(predict(model, dataset, batch_size=batch_size, device=device), dataset)


def score(outputs: Tensor, dataset: FeatureSet) -> dict[str, Any]:
    """Compute the metrics of outputs that `predict` gave."""
    count = len(dataset)
    if dataset.class_names is None:
        mask = Batch({}, dataset.masks, dataset.labels).label_mask
        return {**regression_report(outputs, dataset.labels, mask), "n": count}
    classes = len(dataset.class_names)
    report = classification_report(outputs, dataset.labels, classes)
    confusion = confusion_matrix(outputs, dataset.labels, classes).tolist()
    return {**report, "confusion": confusion, "n": count}


def own_device(model: nn.Module) -> torch.device:
    """Say where a model's weights are."""
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
