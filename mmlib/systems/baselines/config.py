"""What a baseline is made of, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

from mmlib.data.batch import Batch
from mmlib.data.feature_set import FeatureSet
from mmlib.systems.scales import at_scale


class Classified(NamedTuple):
    """What a baseline says of classes.

    Shape:
        logits: `(B, C)`; stream_logits: `(B, M, C)`, each stream's own, where streams decide alone;
        gates: `(B, M, E)`, how much of each feature gated fusion takes from each stream: they sum
        to one over the streams that a sample has, so `gates.mean(-1)` is each stream's share.
    """

    logits: Tensor
    stream_logits: Tensor | None = None
    gates: Tensor | None = None


class Predicted(NamedTuple):
    """What a baseline says of numbers; see `Classified`.

    Shape:
        prediction: `(B, K)` or `(B, T, K)`; stream_predictions and gates have the streams before
        the last axis.
    """

    prediction: Tensor
    stream_predictions: Tensor | None = None
    gates: Tensor | None = None


@dataclass(frozen=True)
class BaselineConfig:
    """What a baseline is made of.

    Attributes:
        streams: the modalities it takes; widths: their numbers of features; lengths: their numbers
            of steps in the train split, from which early fusion takes its clock.
        num_outputs: classes, or targets of a regression.
        task: what the outputs are.
        label_step: the step that the label belongs to, None where it is the sequence's.
        output_steps: the number of steps that have a label each, None where samples have one.
        prior: the log frequencies of the classes, or the mean targets, of the train split.
        patches: steps joined to one before the convolutions; empty: 1 for each stream.
        depths: convolutions of each stream; empty: 3 for each.
        embed_dim, kernel_size: of the convolutions.
        tensor_dim: what tensor fusion makes of a summary before the outer product, whose width is
            `(tensor_dim + 1) ** streams`.
        stream_loss: the weight of each stream's own loss in the joint fusions; 0: they have none.
        dropout: on states and summaries; input_dropout: on inputs; modality_dropout: of whole
            streams in training.
        noise: deviation of the noise on (standardised) inputs in training; gain: of a whole
            sample's scale and shift; hide: the share of a sample's steps that is hidden in one
            span, where no single step is asked for.
        epochs, batch_size, learning_rate, weight_decay: how it is trained by default.
    """

    streams: tuple[str, ...] = ("text", "audio", "vision")
    widths: tuple[int, ...] = (768, 512, 512)
    lengths: tuple[int, ...] = ()
    patches: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    num_outputs: int = 8
    task: Literal["classification", "regression"] = "classification"
    label_step: int | None = None
    output_steps: int | None = None
    prior: tuple[float, ...] | None = None
    embed_dim: int = 256
    kernel_size: int = 5
    tensor_dim: int = 8
    stream_loss: float = 0.0
    dropout: float = 0.2
    input_dropout: float = 0.1
    modality_dropout: float = 0.2
    noise: float = 0.1
    gain: float = 0.2
    hide: float = 0.2
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        """Fill in what is the same for each stream and refuse what cannot be built."""
        for name, usual in (("patches", 1), ("depths", 3)):
            if not getattr(self, name):
                object.__setattr__(self, name, (usual,) * len(self.streams))
        for name in ("widths", "lengths", "patches", "depths"):
            if name == "lengths" and not self.lengths:
                continue  # only early fusion needs them, and says so
            if not self.streams or len(getattr(self, name)) != len(self.streams):
                raise ValueError(
                    f"streams={self.streams} and {name}={getattr(self, name)}: expected as many "
                    "of one as of the other, at least one."
                )

    @classmethod
    def paper(cls) -> Self:
        """Give the wide setting."""
        return cls(lengths=(36, 128, 10))

    @classmethod
    def small(cls) -> Self:
        """Give the setting that trains on two CPU cores in under a minute."""
        return replace(cls.paper(), embed_dim=64)

    @classmethod
    def for_dataset(cls, dataset: FeatureSet, scale: str = "small") -> Self:
        """Take streams, widths, outputs and labels' place from the data."""
        labels = dataset.labels
        if dataset.class_names is None:
            real = Batch({}, dataset.masks, labels).label_mask
            prior = labels.flatten(0, -2).mean(0) if real is None else labels[real].mean(0)
        else:
            count = torch.bincount(labels, minlength=dataset.num_outputs).double()
            prior = ((count + 0.5) / (count + 0.5).sum()).log()
        whole = labels.ndim == 2 or dataset.class_names is not None
        free = whole and dataset.label_step is None
        lengths = [dataset.lengths[name] for name in dataset.modalities]
        patches = tuple(max(1, length // 32) if free else 1 for length in lengths)
        chosen = at_scale(cls, scale)
        if dataset.label_step is not None:
            # Such steps are whole utterances, described by an encoder that learnt elsewhere: wide
            # vectors, few of them, learnt by heart within a few epochs.
            chosen = replace(chosen, dropout=0.3, input_dropout=0.3, epochs=20)
        return replace(
            chosen,
            streams=dataset.modalities,
            widths=tuple(dataset.widths[name] for name in dataset.modalities),
            lengths=tuple(lengths),
            patches=patches,
            depths=tuple(0 if length == 1 else 3 for length in lengths),
            num_outputs=dataset.num_outputs,
            task=dataset.task,
            label_step=dataset.label_step,
            output_steps=labels.shape[1] if labels.ndim == 3 else None,
            prior=tuple(prior.tolist()),
        )
