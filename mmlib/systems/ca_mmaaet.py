"""CA-MMAAET: a cross-attentive multimodal adversarial autoencoder with a transformer block.

Three streams become one latent vector. A classifier reads the emotion from it, a decoder rebuilds
the frames, and a discriminator tells it from a draw of N(0, I); how the three losses take turns
stands in `mmlib.systems.adversarial`. Two switches give the paper's four models:

==========  ===========  ===============
name        transformer  cross_attention
==========  ===========  ===============
mmaae       no           no
mmaaet      yes          no
ca_mmaae    no           yes
ca_mmaaet   yes          yes
==========  ===========  ===============
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from mmlib.data.feature_set import FeatureSet
from mmlib.layers import (
    MultiHeadAttention,
    SinusoidalPositions,
    TemporalConv,
    TransformerBlock,
    last_real,
    masked_mean,
    scaled_dot_product_attention,
)
from mmlib.losses import Phase
from mmlib.systems import adversarial

STREAMS = ("text", "audio", "vision")
#: Who asks whom, as (query, context).
PAIRS = {
    "all": tuple((x, y) for x in STREAMS for y in STREAMS if x != y),
    "ring": (("vision", "audio"), ("audio", "text"), ("text", "vision")),
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
        known = {
            "pairs": tuple(PAIRS),
            "positions": (None, "sinusoidal"),
            "out_activation": (None, "relu"),
            "schedule": adversarial.SCHEDULES,
        }
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is unknown; expected one of "
                    f"{', '.join(map(repr, choices))}."
                )

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
            adversarial_weight=0.1,
            batch_size=32,
            learning_rate=1e-3,
        )

    @classmethod
    def for_dataset(cls, dataset: FeatureSet, scale: str = "small") -> Self:
        """Take widths, frames, classes and the labelled step from the data.

        Raises:
            ValueError: a stream is missing, the labels are not classes, or an unknown scale.
        """
        scales = {"small": cls.small, "paper": cls.paper}
        if scale not in scales:
            raise ValueError(f"scale is {scale!r}, expected small or paper.")
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
            scales[scale](),
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


class CAMMAAETOutput(NamedTuple):
    """What the model says of a batch.

    Shape:
        logits (B, C); reconstruction (B, vision_steps, vision_dim); validity (B, 1), the logit of
        the latent being a draw of the prior; latent (B, Z)
    """

    logits: Tensor
    reconstruction: Tensor
    validity: Tensor
    latent: Tensor


class Probabilities(NamedTuple):
    """The classifier's softmax (B, C) and the discriminator's sigmoid (B, 1)."""

    emotion: Tensor
    validity: Tensor


class Stream(NamedTuple):
    """A stream on its way through the encoder: states (B, T, H), mask (B, T), summary (B, S)."""

    states: Tensor
    mask: Tensor | None
    summary: Tensor


class RecurrentStream(nn.Module):
    """Vision and audio: convolutions, then an LSTM, summed up by its last real state.

    Shape:
        - x: (B, T, in_dim); mask: (B, T) bool or None -> a `Stream` with a summary (B, H)

    Source:
        CA-MMAAET, section IV, Encoder.

    Choices:
        C-16: all states are kept for cross-attention, the last one is the summary. C-19: padding is
        masked. C-26: tanh in the LSTM.
    """

    def __init__(self, *, convolutions: list[TemporalConv], hidden_dim: int) -> None:
        """Put the LSTM behind the convolutions."""
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.lstm = nn.LSTM(hidden_dim, hidden_dim, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None) -> Stream:
        """Convolve and read from left to right."""
        for convolve in self.convolutions:
            x, mask = convolve(x, mask)
        states = self.lstm(x)[0]  # (B, T', H)
        return Stream(states, mask, last_real(states, mask))


class TextStream(nn.Module):
    """Text: a convolution, then the transformer block; without it, attention of one over another.

    Shape:
        - x: (B, T, text_dim); mask: (B, T) bool or None -> a `Stream` with a summary (B, H), without
          the transformer block (B, 2H)

    Source:
        CA-MMAAET, section IV, the equations of O1 and O2.

    Choices:
        C-17: features, convolution, block, in this order. Without the block two convolutions give
        query and value of a dot-product attention, and the means of both are joined.
    """

    def __init__(self, *, config: CAMMAAETConfig) -> None:
        """Build one convolution and the block, or two convolutions."""
        super().__init__()
        width = config.hidden_dim

        def convolution() -> TemporalConv:
            return TemporalConv(in_dim=config.text_dim, out_dim=width, padding=config.padding)

        self.convolve = convolution()
        self.value = None if config.transformer else convolution()
        self.positions = SinusoidalPositions() if config.positions else nn.Identity()
        self.block = None
        if config.transformer:
            self.block = TransformerBlock(
                embed_dim=width,
                num_heads=config.num_heads,
                ffn_dim=config.ffn_dim,
                dropout=config.dropout,
            )

    def forward(self, x: Tensor, mask: Tensor | None) -> Stream:
        """Convolve, then let the steps see each other."""
        convolved, after = self.convolve(x, mask)
        query = self.positions(convolved)  # (B, T', H)
        if self.block is not None:
            states = self.block(query, padding_mask=after)  # O2
            return Stream(states, after, masked_mean(states, after))
        assert self.value is not None
        value = self.positions(self.value(x, mask)[0])
        keys = None if after is None else after[:, None, :]
        states = scaled_dot_product_attention(query, value, value, mask=keys)
        means = masked_mean(query, after), masked_mean(states, after)
        return Stream(states, after, torch.cat(means, dim=-1))


class Encoder(nn.Module):
    """Three streams to one latent vector.

    Shape:
        - text, audio, vision: (B, T, D) each, masks name -> (B, T) -> (B, Z)

    Source:
        CA-MMAAET, section IV, Encoder, and figure 1.

    Choices:
        C-14: widths. C-15: who asks whom. C-16: every model joins the streams' summaries; those with
        cross-attention also join the mean of each attention's output, so that the four models
        differ in nothing but the part under test.
    """

    def __init__(self, *, config: CAMMAAETConfig) -> None:
        """Build the streams, the attentions between them, and the way to the latent."""
        super().__init__()
        self.config, width = config, config.hidden_dim
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.text = TextStream(config=config)
        self.audio = RecurrentStream(
            convolutions=[
                TemporalConv(
                    in_dim=config.audio_dim,
                    out_dim=width,
                    stride=config.audio_stride,
                    padding=config.padding,
                )
            ],
            hidden_dim=width,
        )
        self.vision = RecurrentStream(
            convolutions=[
                TemporalConv(in_dim=config.vision_dim, out_dim=width),
                TemporalConv(in_dim=width, out_dim=width, kernel_size=1),
                TemporalConv(in_dim=width, out_dim=width),
            ],
            hidden_dim=width,
        )
        self.pairs = PAIRS[config.pairs] if config.cross_attention else ()
        self.cross_attention = nn.ModuleDict(
            {
                # Without dropout of the weights, which the paper does not have: the fused kernel.
                f"{query}_from_{context}": MultiHeadAttention(
                    query_dim=width, num_heads=config.num_heads
                )
                for query, context in self.pairs
            }
        )
        self.positions = SinusoidalPositions() if config.positions else nn.Identity()
        joined = (3 if config.transformer else 4) + len(self.pairs)
        if config.label_step is not None:
            joined += 3 + len(self.pairs)
        self.fusion_dropout = nn.Dropout(config.fusion_dropout)
        self.to_latent = nn.Linear(joined * width, config.latent_dim)

    def forward(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        """Encode each stream, let them ask each other, join what was found."""
        streams: dict[str, Stream] = {
            name: getattr(self, name)(self.input_dropout(inputs[name]), masks.get(name))
            for name in STREAMS
        }
        found = [stream.summary for stream in streams.values()]
        found += [here for s in streams.values() for here in self._here(s.states, s.mask)]
        states = {name: self.positions(stream.states) for name, stream in streams.items()}
        for query, context in self.pairs:
            attention = self.cross_attention[f"{query}_from_{context}"]
            mask = streams[query].mask
            attended = attention(
                states[query], states[context], padding_mask=streams[context].mask
            )  # (B, T of the query, H)
            found += [masked_mean(attended, mask), *self._here(attended, mask)]
        return self.to_latent(self.fusion_dropout(torch.cat(found, dim=-1)))

    def _here(self, states: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Take the labelled step's state, where there is one; a shorter stream gives its last."""
        if self.config.label_step is None:
            return []
        step = min(self.config.label_step, states.shape[1] - 1)
        return [states[:, step] if mask is None else states[:, step] * mask[:, step, None]]


class Decoder(nn.Module):
    """From the latent back to the frames: two dense layers, a reshape, every step twice.

    Shape:
        - latent (B, Z) -> (B, vision_steps, vision_dim)

    Source:
        CA-MMAAET, section IV, Decoder, and figure 2(a).

    Choices:
        C-03: only vision is rebuilt. C-05: equal pairs of frames, and the ReLU at the end, put a
        floor under the loss; `out_activation=None` lifts half of it. C-06: the layers are chained.
    """

    def __init__(self, *, config: CAMMAAETConfig) -> None:
        """Build the two layers; an odd number of frames drops the last repetition."""
        super().__init__()
        self.steps, self.width = config.vision_steps, config.vision_dim
        half = (self.steps + 1) // 2
        self.expand = nn.Sequential(
            nn.Linear(config.latent_dim, config.decoder_dim),
            nn.ReLU(),
            nn.Linear(config.decoder_dim, half * self.width),
            nn.ReLU() if config.out_activation == "relu" else nn.Identity(),
            nn.Unflatten(1, (half, self.width)),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Rebuild the frames."""
        return self.expand(latent).repeat_interleave(2, dim=1)[:, : self.steps]


class CAMMAAET(nn.Module):
    """The whole model: encoder, decoder, discriminator and classifier.

    Shape:
        - text, audio, vision: (B, T, D) each, all three; masks: name -> (B, T) bool, True where a
          step is real (a name left out is all real)
        - returns: a `CAMMAAETOutput`: logits (B, C), reconstruction (B, vision_steps, vision_dim),
          validity (B, 1), latent (B, Z)

    Source:
        CA-MMAAET, section IV and Algorithm 1.

    Choices:
        C-12: logits, not probabilities; `predict_proba` has those. C-19: masks. A sample that has
        no real step of a stream counts with zeros there; the paper says nothing of it.

    Raises:
        ValueError: a stream is missing, or a stream or mask has the wrong shape.
    """

    def __init__(self, *, config: CAMMAAETConfig) -> None:
        """Build the four parts; see the class."""
        super().__init__()
        self.config = config
        self.encoder = Encoder(config=config)
        self.decoder = Decoder(config=config)
        self.discriminator = nn.Linear(config.latent_dim, 1)
        self.classifier = nn.Linear(config.latent_dim, config.num_classes)

    def forward(
        self,
        *,
        text: Tensor | None = None,
        audio: Tensor | None = None,
        vision: Tensor | None = None,
        masks: dict[str, Tensor] | None = None,
    ) -> CAMMAAETOutput:
        """Encode, classify, rebuild and judge; see the class."""
        masks = masks or {}
        inputs = self._checked({"text": text, "audio": audio, "vision": vision}, masks)
        latent = self.encoder(inputs, masks)  # h of Algorithm 1, line 8
        return CAMMAAETOutput(
            self.classifier(latent), self.decoder(latent), self.discriminator(latent), latent
        )

    @torch.no_grad()
    def predict_proba(self, **inputs: Any) -> Probabilities:
        """Say how probable each emotion is, and how much each latent looks like the prior."""
        output = self(**inputs)
        return Probabilities(output.logits.float().softmax(-1), output.validity.float().sigmoid())

    def losses(self, output: CAMMAAETOutput, batch: Any) -> dict[str, Tensor]:
        """Compute the losses of Algorithm 1 by name; see `adversarial.losses`."""
        return adversarial.losses(self.discriminator, output, batch)

    def phases(self) -> list[Phase]:
        """Say how the losses take turns; see `adversarial.phases`."""
        return adversarial.phases(self, self.config)

    def _checked(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Refuse what the encoder cannot take, by name."""
        given = {name: x for name, x in inputs.items() if x is not None}
        for name in STREAMS:
            if name not in given:
                raise ValueError(
                    f"CA-MMAAET needs text, audio and vision, but {name} is missing; the paper "
                    "has no way to do without. Take a system that has, such as 'concat'."
                )
            shape, width = tuple(given[name].shape), getattr(self.config, f"{name}_dim")
            if len(shape) != 3 or shape[2] != width:
                raise ValueError(
                    f"{name} has shape {shape}, expected (batch, steps, {width}) as the model was "
                    "built for."
                )
            mask = masks.get(name)
            if mask is not None and (tuple(mask.shape) != shape[:2] or mask.dtype != torch.bool):
                raise ValueError(
                    f"the mask of {name} is {mask.dtype} of shape {tuple(mask.shape)}, expected "
                    f"bool of shape {shape[:2]}, True where a step is real."
                )
        return given


def ablation(*, transformer: bool, cross_attention: bool) -> Callable[..., CAMMAAET]:
    """Give the maker of one of the four models: it sets the two switches, whatever a config says."""

    def make(*, config: CAMMAAETConfig) -> CAMMAAET:
        chosen = replace(config, transformer=transformer, cross_attention=cross_attention)
        return CAMMAAET(config=chosen)

    return make
