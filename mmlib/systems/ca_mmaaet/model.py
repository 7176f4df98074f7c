"""CA-MMAAET as a whole: encoder, decoder, discriminator, classifier, and its three ablations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmlib.layers import check_mask
from mmlib.losses import Phase
from mmlib.systems.asked import needed_streams
from mmlib.systems.ca_mmaaet import adversarial
from mmlib.systems.ca_mmaaet.config import STREAMS, CAMMAAETConfig
from mmlib.systems.ca_mmaaet.encoder import Encoder


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
        given = needed_streams("CA-MMAAET", inputs, STREAMS)
        for name, x in given.items():
            shape, width = tuple(x.shape), getattr(self.config, f"{name}_dim")
            if len(shape) != 3 or shape[2] != width:
                raise ValueError(
                    f"{name} has shape {shape}, expected (batch, steps, {width}) as the model was "
                    "built for."
                )
            check_mask(x, masks.get(name), name)
        return given


def ablation(*, transformer: bool, cross_attention: bool) -> Callable[..., CAMMAAET]:
    """Give the maker of one of the four models: it sets the two switches, whatever a config says."""

    def make(*, config: CAMMAAETConfig) -> CAMMAAET:
        chosen = replace(config, transformer=transformer, cross_attention=cross_attention)
        return CAMMAAET(config=chosen)

    return make
