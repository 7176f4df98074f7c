"""What a crossmodal EmbraceNet is made of: the paper's numbers, and the ledger's otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from mmlib.data.batch import MODALITIES
from mmlib.data.feature_set import FeatureSet
from mmlib.systems.asked import check_options
from mmlib.systems.scales import at_scale

OPTIONS: dict[str, tuple[Any, ...]] = {
    "task": ("classification", "regression"),
    "residual": ("query", "input"),
    "positions": (None, "sinusoidal"),
    "pool": ("mean", "first", "last"),
    "absent": ("skip", "multiply"),
    "fusion": ("embrace", "concat"),
    "evaluation": ("expected", "sample"),
}
COUNTS = ("num_outputs", "embed_dim", "num_heads", "layers", "embracement_dim")


@dataclass(frozen=True)
class CrossModalEmbraceNetConfig:
    """What the model is made of and how it is trained.

    Attributes:
        streams: the modalities that are fused, one or more; widths: their numbers of features.
        num_outputs: classes, or numbers to predict.
        task: what the outputs are.
        label_step: the step that a sample's label belongs to, None where it is the sequence's; its
            state then joins the pooled one.
        embed_dim: width to which all streams are projected (E-11).
        num_heads, layers, dropout: of the crossmodal transformers (E-10); ffn_dim: hidden width of
            their feed-forward networks, None for twice `embed_dim` (E-08).
        residual: "query" adds the projected query in Eq. 7, "input" the target itself (E-07).
        positions: "sinusoidal" codes before the crossmodal transformers, or None (E-09).
        pool: "mean", "first" or "last" real step (E-13).
        absent: a source that a sample lacks is left out of Eq. 12 ("skip"), or stays in it with an
            attention of zero ("multiply"); where a sample has no source at all, all stay. A model
            that met no gap in training knows no product with a factor less: in lesson 13,
            "multiply" makes a trained one with two of three streams more accurate by .08 and more.
            With modality dropout, which `small()` has, it has met them.
        fusion: "embrace", or "concat", the crossmodal transformer alone (E-36).
        embracement_dim: width of the fused vector.
        evaluation: "expected" or "sample" (E-27).
        modality_dropout: the rate at which a sample loses a stream in training (E-30).
        input_dropout: on the streams' features; head_dropout: before the classifier.
        epochs, batch_size, learning_rate, weight_decay, optimizer, patience: how it is trained by
            default.
    """

    streams: tuple[str, ...] = ("text", "audio", "vision")
    widths: tuple[int, ...] = (768, 512, 512)
    num_outputs: int = 7
    task: Literal["classification", "regression"] = "classification"
    label_step: int | None = None
    embed_dim: int = 256
    num_heads: int = 4
    layers: int = 1
    ffn_dim: int | None = None
    dropout: float = 0.1
    residual: Literal["query", "input"] = "query"
    positions: Literal["sinusoidal"] | None = None
    pool: Literal["mean", "first", "last"] = "mean"
    absent: Literal["skip", "multiply"] = "skip"
    fusion: Literal["embrace", "concat"] = "embrace"
    embracement_dim: int = 256
    evaluation: Literal["expected", "sample"] = "expected"
    modality_dropout: float = 0.0
    input_dropout: float = 0.0
    head_dropout: float = 0.0
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    optimizer: Literal["adamw", "adam", "sgd"] = "sgd"
    patience: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_options(self, OPTIONS)
        if not 0 < len(set(self.streams)) == len(self.streams) == len(self.widths):
            raise ValueError(
                f"streams={self.streams} and widths={self.widths}; expected different streams, one "
                "or more, and a width for each."
            )
        strange = set(self.streams) - set(MODALITIES)
        if strange:
            raise ValueError(
                f"stream '{min(strange)}' is unknown; expected some of {', '.join(MODALITIES)}."
            )
        counts = {name: getattr(self, name) for name in COUNTS} | {"widths": min(self.widths)}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1.")
        if self.label_step is not None and self.label_step < 0:
            raise ValueError(
                f"label_step is {self.label_step}, expected a step from 0 on, or None."
            )
        if not 0 <= self.modality_dropout < 1:
            raise ValueError(
                f"modality_dropout is {self.modality_dropout}, expected a rate from 0 to below 1."
            )

    @classmethod
    def paper(cls) -> Self:
        """Give the paper's numbers, and the ledger's where it gives none.

        The paper names plain gradient descent with 0.001 (section 5) and neither epochs nor a batch
        size. At the width of `small()`, 20 epochs of it over 740 utterances of MELD in batches of 32
        did not leave the majority class; take `small()`, or `optimizer="adamw"`, to learn.
        """
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Give the same architecture, narrow enough to train on two CPU cores in a lesson."""
        return cls(
            embed_dim=64,
            embracement_dim=64,
            modality_dropout=0.2,
            input_dropout=0.2,
            head_dropout=0.2,
            epochs=20,
            weight_decay=1e-2,
            optimizer="adamw",
        )

    @classmethod
    def for_dataset(cls, dataset: FeatureSet, scale: str = "small") -> Self:
        """Take streams, widths, outputs, task and the labelled step from the data.

        Raises:
            ValueError: each step has labels, or an unknown scale.
        """
        config = at_scale(cls, scale)
        if dataset.labels.ndim == 3:
            raise ValueError(
                f"each of {dataset.labels.shape[1]} steps of {dataset.name} has labels, but "
                "EmbraceNet makes one vector a sample; take a system such as 'jmt' or 'concat'."
            )
        return replace(
            config,
            streams=dataset.modalities,
            widths=tuple(dataset.widths[name] for name in dataset.modalities),
            num_outputs=dataset.num_outputs,
            task=dataset.task,
            label_step=dataset.label_step,
        )
