"""What the experts of sound and faces share: what they return, their classifier, their one stream."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmlib.data.feature_set import FeatureSet
from mmlib.layers import all_real, check_mask

#: As many as a training step takes, so that faces take no more memory than they will anyway.
_LOOKED_AT = 16


class Recognised(NamedTuple):
    """What an expert says.

    Shape:
        logits: (B, C); embedding: (B, D), what the classifier reads, zero without a real step.
    """

    logits: Tensor
    embedding: Tensor


class Classifier(nn.Sequential):
    """Two layers with a ReLU between them.

    Shape:
        - x: (B, in_dim) -> logits (B, num_classes)

    Source:
        Crossmodal + EmbraceNet, section 4.1.2, Figure 3.

    Choices:
        E-33: two linear layers without an activation between them are one; hence the ReLU.
    """

    def __init__(self, *, in_dim: int, hidden_dim: int, num_classes: int) -> None:
        """Build both."""
        super().__init__(
            nn.Linear(in_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, num_classes)
        )


def only_stream(
    expert: str, name: str, inputs: dict[str, Tensor | None], masks: dict[str, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Take the one stream that an expert reads, and its mask; without one all steps are real.

    Shape:
        returns: the stream (B, T, ...), and its mask (B, T) bool.

    Raises:
        ValueError: it is missing, or the mask does not belong to it.
    """
    value = inputs.get(name)
    if value is None:
        came = ", ".join(key for key, other in inputs.items() if other is not None) or "nothing"
        raise ValueError(f"{expert} reads {name}, but {came} came.")
    if masks is None or name not in masks:
        return value, all_real(value)
    check_mask(value, masks[name], name)
    return value, masks[name]


def refuse_misfit(expert: str, stream: str, dataset: FeatureSet) -> None:
    """Refuse data without an expert's stream, or whose labels are not one class a sample.

    Raises:
        ValueError: so.
    """
    if stream not in dataset.modalities:
        raise ValueError(
            f"{expert} reads {stream}, but {dataset.name} has only {', '.join(dataset.modalities)}."
        )
    if dataset.class_names is None or dataset.label_step is not None:
        kind = "numbers" if dataset.class_names is None else "of one step of a sequence"
        raise ValueError(
            f"{expert} tells one class a sample, but the labels of {dataset.name} are {kind}."
        )


def span_of(dataset: FeatureSet, stream: str) -> tuple[float, float]:
    """Tell the least and the greatest of a stream's values, as a batch has them.

    Some samples are looked at, evenly spread: enough to know a stream of another kind.
    """
    rows = torch.linspace(0, len(dataset) - 1, min(len(dataset), _LOOKED_AT)).long()
    values = dataset.batch(rows).inputs[stream]
    return float(values.min()), float(values.max())
