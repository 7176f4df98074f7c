"""What an AVT-CA is made of: the paper's numbers, the released model's where the paper gives none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor

from mmlib.data.feature_set import FeatureSet
from mmlib.systems.asked import check_options
from mmlib.systems.scales import at_scale

OPTIONS: dict[str, tuple[str | None, ...]] = {
    "late": ("self", "shared", "cross", None),
    "pool": ("max", "mean"),
    "merge": ("concat", "add"),
    "norm": ("layer", "batch"),
    "padding": ("valid", "same"),
    "modality_dropout": ("drop", "copies", None),
    "optimizer": ("adam", "adamw", "sgd"),
}


@dataclass(frozen=True)
class AVTCAConfig:
    """What an AVT-CA is made of and how it is trained.

    Attributes:
        streams: who goes through the audio branch and who through the vision branch.
        audio_dim: features a step of the first; vision_dim: of the second, or None where it is
            frames, which the visual trunk turns into features.
        num_classes: emotions.
        trunk_repeats, trunk_channels: of the visual trunk (A-10).
        projection_dim: what vision features are projected to, where they are no frames.
        audio_channels, vision_channels: widths of each branch's four temporal convolutions, two
            before the intermediate fusion and two after it.
        padding, pool_size, pool_stride: of the audio branch's convolutions (A-03).
        intermediate: two blocks in which the streams ask each other (the IT of the ablation).
        second_attention: the second pair of attentions (A-16).
        late: the attention at the end: "self", each stream over itself with weights of its own;
            "shared", with one set of weights for both; "cross", each over the other; None (A-18).
        num_heads: of every attention (A-23); norm: "layer" or "batch" in the blocks (A-12).
        pool: "max" or "mean" over time (A-20); merge: "concat" or "add" (A-21).
        label_step: the step that the label belongs to, None where it is the sequence's; its states
            then join the pooled ones.
        input_dropout, dropout, fusion_dropout: on the inputs (not on frames), in the blocks, and on
            what is joined.
        modality_dropout: "drop", "copies" or None; modality_rate: of "drop" (A-33).
        epochs, batch_size, learning_rate, weight_decay, optimizer: how it is trained by default.
    """

    streams: tuple[str, str] = ("audio", "vision")
    audio_dim: int = 10
    vision_dim: int | None = None
    num_classes: int = 8
    trunk_repeats: tuple[int, int, int] = (4, 8, 4)
    trunk_channels: tuple[int, int, int, int, int] = (29, 116, 232, 464, 1024)
    projection_dim: int = 64
    audio_channels: tuple[int, int, int, int] = (64, 128, 256, 128)
    vision_channels: tuple[int, int, int, int] = (64, 64, 128, 128)
    padding: Literal["valid", "same"] = "valid"
    pool_size: int = 2
    pool_stride: int = 1
    intermediate: bool = True
    second_attention: bool = True
    late: Literal["self", "shared", "cross"] | None = "self"
    num_heads: int = 4
    norm: Literal["layer", "batch"] = "layer"
    pool: Literal["max", "mean"] = "max"
    merge: Literal["concat", "add"] = "concat"
    label_step: int | None = None
    input_dropout: float = 0.0
    dropout: float = 0.0
    fusion_dropout: float = 0.0
    modality_dropout: Literal["drop", "copies"] | None = None
    modality_rate: float = 0.2
    epochs: int = 128
    batch_size: int = 8
    learning_rate: float = 1e-2
    weight_decay: float = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_options(self, OPTIONS)
        if len(self.streams) != 2 or self.streams[0] == self.streams[1]:
            raise ValueError(f"streams={self.streams}; expected two different names.")
        ends = self.audio_channels[-1], self.vision_channels[-1]
        if ends[0] != ends[1] and (self.merge == "add" or self.late == "shared"):
            raise ValueError(
                f"merge={self.merge!r} and late={self.late!r} with streams of {ends[0]} and "
                f"{ends[1]} features at the end: to add streams, or to share weights between them, "
                "both need the same number; set the last of audio_channels and vision_channels."
            )

    @classmethod
    def paper(cls) -> Self:
        """Give the paper's numbers, and where it gives none the released widths.

        The paper trains with Adam at 0.01, decay 0.001, batches of 8, for 128 epochs (A-31), and
        names 1 and 4 heads, in its ablation only: 4 (A-23). The training loop's warm-up, its cosine
        and its clipping of gradients are its own, as for every system.
        """
        return cls()

    @classmethod
    def official(cls) -> Self:
        """Give the model of the released code, which is not the one that the paper describes.

        It has no second pair of attentions (A-16), one set of weights for the self-attention of
        both streams at the end (A-18), the mean over time (A-20), and 8 heads (A-23). Of its
        2,004,462 parameters 2,064 belong to two heads that it never calls; they are not built. It
        is trained by SGD at 0.06 (A-31); here without that code's momentum and dampening.
        """
        return cls(
            second_attention=False,
            late="shared",
            pool="mean",
            num_heads=8,
            epochs=10,
            learning_rate=0.06,
            optimizer="sgd",
        )

    @classmethod
    def small(cls) -> Self:
        """Give the same architecture, narrow enough to train on two CPU cores in a lesson."""
        return cls(
            trunk_repeats=(1, 1, 1),
            trunk_channels=(8, 16, 32, 64, 64),
            projection_dim=32,
            pool_stride=2,
            audio_channels=(32, 32, 32, 32),
            vision_channels=(32, 32, 32, 32),
            dropout=0.1,
            fusion_dropout=0.3,
            epochs=12,
            batch_size=32,
            learning_rate=3e-3,
            weight_decay=1e-2,
            optimizer="adamw",
        )

    @classmethod
    def for_dataset(
        cls,
        dataset: FeatureSet,
        scale: str = "small",
        *,
        streams: tuple[str, str] = ("audio", "vision"),
    ) -> Self:
        """Take widths, frames or features, classes, lengths and the labelled step from the data.

        Raises:
            ValueError: a stream is missing or has frames where features are needed, the labels are
                not classes, or an unknown scale.
        """
        config = at_scale(cls, scale, ("small", "paper", "official"))
        missing = [name for name in streams if name not in dataset.modalities]
        if missing:
            raise ValueError(
                f"AVT-CA needs {' and '.join(streams)}, but {dataset.name} has no "
                f"{' and no '.join(missing)}; take another file, or a system such as 'concat'."
            )
        if dataset.class_names is None:
            raise ValueError(
                f"AVT-CA tells classes apart, but the labels of {dataset.name} are numbers; take a "
                "file with class_names, or a system such as 'concat'."
            )
        first, second = (dataset.inputs[name] for name in streams)
        if first.ndim != 3:
            raise ValueError(
                f"{streams[0]} has shape {tuple(first.shape)}, but only the second stream of "
                f"AVT-CA can be frames; name them the other way round."
            )
        config = replace(
            config,
            streams=streams,
            audio_dim=dataset.widths[streams[0]],
            vision_dim=dataset.widths[streams[1]] if second.ndim == 3 else None,
            num_classes=dataset.num_outputs,
            label_step=dataset.label_step,
        )
        # The audio branch's four convolutions take a step away at every end and around every gap,
        # and pool. That does no harm to a long stream; of a short one nothing is left.
        if config.label_step is None and _survives(dataset.masks[streams[0]], config.pool_stride):
            return config
        return replace(config, padding="same", pool_size=1)


def _survives(mask: Tensor, pool_stride: int) -> bool:
    """Say whether four convolutions of three steps, each with pooling, leave steps of each sample."""
    there = mask.any(1)
    for size, stride in ((3, 1), (2, pool_stride)) * 4:
        if mask.shape[1] < size:
            return False
        mask = mask.unfold(1, size, stride).all(-1)
    return bool((mask.sum(1) >= 2)[there].all())
