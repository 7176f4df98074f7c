"""What a JMT is made of: the paper's numbers, and the ledger's where it gives none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from mmlib.data.feature_set import FeatureSet
from mmlib.systems.asked import check_options
from mmlib.systems.scales import at_scale

OPTIONS = {
    "task": ("regression", "classification"),
    "share": ("none", "query"),
    "score": ("softmax", "sigmoid"),
    "positions": (None, "sinusoidal"),
}


@dataclass(frozen=True)
class JMTConfig:
    """What a JMT is made of and how it is trained.

    Attributes:
        streams: the two modalities that are fused; widths: their numbers of features.
        clock: the stream whose steps count where the two have different numbers of them; None
            expects equal numbers.
        num_outputs: numbers to predict (valence, arousal), or classes.
        task: what the outputs are.
        every_step: whether each step has labels of its own, or the sequence has.
        label_step: the step that a sequence's label belongs to, None where it is the sequence's;
            its state then joins the pooled one.
        embed_dim: width of everything between the streams and the fused vector.
        joint: a joint representation beside the two streams; without it two cross-attentions are
            left of six.
        l2_normalise: scale each step of a stream to length one (J-12).
        positions: "sinusoidal" codes before the encoders, or None (J-13).
        num_layers, num_heads, ffn_dim: of the encoders; the heads are the cross-attentions' too
            (J-06).
        share: "none" gives each cross-attention weights of its own; with "query" those with the
            same query share them (J-05).
        score: "softmax", or "sigmoid" as in Eq. 2 (J-01).
        residual: add the query around each cross-attention and normalise the sum (J-07).
        fusion_dim: of the dense layer over the joined attentions; head_dim: of those behind it.
        dropout: inside the heads; the paper names none.
        epochs, batch_size, learning_rate, weight_decay, optimizer, patience: how it is trained by
            default (J-20, J-30).
    """

    streams: tuple[str, str] = ("audio", "vision")
    widths: tuple[int, int] = (512, 512)
    clock: str | None = None
    num_outputs: int = 2
    task: Literal["regression", "classification"] = "regression"
    every_step: bool = True
    label_step: int | None = None
    embed_dim: int = 512
    joint: bool = True
    l2_normalise: bool = True
    positions: Literal["sinusoidal"] | None = None
    num_layers: int = 1
    num_heads: int = 1
    ffn_dim: int = 512
    share: Literal["none", "query"] = "none"
    score: Literal["softmax", "sigmoid"] = "softmax"
    residual: bool = False
    fusion_dim: int = 1024
    head_dim: int = 128
    dropout: float = 0.1
    epochs: int = 5
    batch_size: int = 2
    learning_rate: float = 5e-4
    weight_decay: float = 0.0
    optimizer: Literal["adamw", "adam", "sgd"] = "sgd"
    patience: int | None = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_options(self, OPTIONS)
        if not len(set(self.streams)) == len(self.streams) == len(self.widths) == 2:
            raise ValueError(
                f"streams={self.streams} and widths={self.widths}; expected two different streams "
                "and a width for each."
            )
        if self.clock is not None and self.clock not in self.streams:
            raise ValueError(
                f"clock={self.clock!r} is none of the streams {', '.join(self.streams)}."
            )

    @property
    def sources(self) -> tuple[str, ...]:
        """Name what attends to each other: the streams, and what is joint."""
        return (*self.streams, "joint") if self.joint else self.streams

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Name who asks whom, as (query, context)."""
        return tuple((x, y) for x in self.sources for y in self.sources if x != y)

    @classmethod
    def paper(cls) -> Self:
        """Give the paper's numbers, and the ledger's where it gives none."""
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Give the same architecture, narrow enough to train on two CPU cores in a lesson."""
        return cls(
            embed_dim=64,
            ffn_dim=64,
            fusion_dim=128,
            head_dim=32,
            epochs=15,
            batch_size=16,
            learning_rate=1e-3,
            weight_decay=1e-2,
            optimizer="adamw",
            patience=None,
        )

    @classmethod
    def for_dataset(cls, dataset: FeatureSet, scale: str = "small") -> Self:
        """Take streams, widths, outputs, task and the labels' place from the data.

        The streams are audio and vision; where the data have not got both, the two that they have.

        Raises:
            ValueError: fewer than two streams, steps that no stream has although each has labels,
                or an unknown scale.
        """
        config = at_scale(cls, scale)
        have = dataset.modalities
        if len(have) < 2:
            raise ValueError(
                f"JMT fuses two streams, but {dataset.name} has only {', '.join(have)}; take "
                "another file, or a system such as 'concat'."
            )
        wanted = ("audio", "vision")
        first, second = wanted if set(wanted) <= set(have) else have[:2]
        every_step = dataset.labels.ndim == 3
        lengths = {name: dataset.lengths[name] for name in (first, second)}
        longest = max(lengths, key=lengths.__getitem__)
        clock = None if len(set(lengths.values())) == 1 else longest
        if every_step:
            steps = dataset.labels.shape[1]
            fitting = [name for name, length in lengths.items() if length == steps]
            if not fitting:
                raise ValueError(
                    f"each of {steps} steps of {dataset.name} has labels, but {first} has "
                    f"{lengths[first]} steps and {second} {lengths[second]}; one must have as many."
                )
            clock = None if len(fitting) == 2 else fitting[0]
        return replace(
            config,
            streams=(first, second),
            widths=(dataset.widths[first], dataset.widths[second]),
            clock=clock,
            num_outputs=dataset.num_outputs,
            task=dataset.task,
            every_step=every_step,
            label_step=dataset.label_step,
        )
