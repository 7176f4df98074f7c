"""What a CA-MMAAET is made of: the paper's numbers, and the ledger's where it gives none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from mmlib.data.feature_set import FeatureSet
from mmlib.systems.asked import check_options
from mmlib.systems.ca_mmaaet import adversarial
from mmlib.systems.scales import at_scale

STREAMS = ("text", "audio", "vision")
#: Who asks whom, as (query, context).
PAIRS = {
    "all": tuple((x, y) for x in STREAMS for y in STREAMS if x != y),
    "ring": (("vision", "audio"), ("audio", "text"), ("text", "vision")),
}
OPTIONS = {
    "pairs": tuple(PAIRS),
    "positions": (None, "sinusoidal"),
    "out_activation": (None, "relu"),
    "schedule": adversarial.SCHEDULES,
}


@dataclass(frozen=True)
class CAMMAAETConfig:
    """What a CA-MMAAET is made of and how it is trained.

    Attributes:
        text_dim, audio_dim, vision_dim: features a step of each stream.
        vision_steps: frames that the decoder rebuilds.
        num_classes: emotions.
        transformer: a transformer block over the text (the T); cross_attention: attention between
            the streams before they are joined (the CA).
        hidden_dim, latent_dim, num_heads, ffn_dim, dropout: C-14; dropout is the transformer
            block's, input_dropout and fusion_dropout are those of the streams and of what is
            joined, which the paper does not have.
        pairs: "all" six ordered pairs of streams attend, or a "ring" of three (C-15).
        positions: "sinusoidal" codes before attention, or None (C-18).
        padding, audio_stride: of the first convolution over text and audio.
        decoder_dim: the decoder's first layer; out_activation: of its second (C-05).
        label_step: the step that the label belongs to, None where it is the sequence's; its states
            then join the pooled ones.
        schedule: which losses take turns in training (C-08); reconstruction_weight,
            classification_weight, adversarial_weight: what each counts; discriminator_rate: a
            factor on the discriminator's learning rate.
        epochs, batch_size, learning_rate, weight_decay: how it is trained by default (C-13).
    """

    text_dim: int = 768
    audio_dim: int = 512
    vision_dim: int = 512
    vision_steps: int = 10
    num_classes: int = 3
    transformer: bool = True
    cross_attention: bool = True
    hidden_dim: int = 128
    latent_dim: int = 256
    num_heads: int = 4
    ffn_dim: int = 512
    dropout: float = 0.1
    input_dropout: float = 0.0
    fusion_dropout: float = 0.0
    pairs: Literal["all", "ring"] = "all"
    positions: Literal["sinusoidal"] | None = None
    padding: Literal["valid", "same"] = "valid"
    audio_stride: int = 2
    decoder_dim: int = 512
    out_activation: Literal["relu"] | None = "relu"
    label_step: int | None = None
    schedule: Literal["aae", "joint", "alternate"] = "aae"
    reconstruction_weight: float = 1.0
    classification_weight: float = 1.0
    adversarial_weight: float = 1.0
    discriminator_rate: float = 1.0
    epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 5e-3

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_options(self, OPTIONS)

    @classmethod
    def paper(cls) -> Self:
        """Give the paper's numbers, and the ledger's where it gives none."""
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Give the same architecture, narrow enough to train on two CPU cores in a lesson.

        The encoder's steps against the discriminator are a tenth of the others. As long as they, a
        linear discriminator turns round too late, and the latents run away from the prior.
        """
        return cls(
            hidden_dim=32,
            latent_dim=64,
            ffn_dim=128,
            decoder_dim=128,
            input_dropout=0.1,
            fusion_dropout=0.3,
            adversarial_weight=0.1,
            epochs=12,
            batch_size=32,
            learning_rate=1e-3,
        )

    @classmethod
    def for_dataset(cls, dataset: FeatureSet, scale: str = "small") -> Self:
        """Take widths, frames, classes and the labelled step from the data.

        Raises:
            ValueError: a stream is missing, the labels are not classes, or an unknown scale.
        """
        config = at_scale(cls, scale)
        missing = [name for name in STREAMS if name not in dataset.modalities]
        if missing:
            raise ValueError(
                f"CA-MMAAET needs text, audio and vision, but {dataset.name} has no "
                f"{' and no '.join(missing)}; take another file, or a system such as 'concat'."
            )
        if dataset.class_names is None:
            raise ValueError(
                f"CA-MMAAET tells classes apart, but the labels of {dataset.name} are numbers; "
                "take a file with class_names, or a system such as 'concat'."
            )
        config = replace(
            config,
            text_dim=dataset.widths["text"],
            audio_dim=dataset.widths["audio"],
            vision_dim=dataset.widths["vision"],
            vision_steps=dataset.lengths["vision"],
            num_classes=dataset.num_outputs,
            label_step=dataset.label_step,
        )
        # The paper's convolutions shorten a sequence. That does no harm to a long one; a label's
        # own step, or most of what is short or full of holes, would be lost.
        masks = [dataset.masks[name] for name in ("text", "audio")]
        long = dataset.label_step is None and all(mask.shape[1] >= 6 for mask in masks)
        if long and all(int(m.unfold(1, 3, 1).all(-1).sum(1).min()) >= 4 for m in masks):
            return config
        return replace(config, padding="same", audio_stride=1)
