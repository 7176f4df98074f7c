"""The crossmodal EmbraceNet as a whole: project, ask, multiply, pool, embrace, decide."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlib.layers import (
    EmbraceNet,
    ModalityDropout,
    SinusoidalPositions,
    all_real,
    check_mask,
    pool,
)
from mmlib.layers.embrace import as_availability
from mmlib.systems.asked import given_streams
from mmlib.systems.embracenet.config import CrossModalEmbraceNetConfig
from mmlib.systems.embracenet.crossing import CrossModalPairs


class EmbraceClassified(NamedTuple):
    """What the model says of classes: logits (B, C), and the fused vector (B, embracement_dim)."""

    logits: Tensor
    embedding: Tensor


class EmbracePredicted(NamedTuple):
    """What it says of numbers: prediction (B, K), and the fused vector (B, embracement_dim)."""

    prediction: Tensor
    embedding: Tensor


class CrossModalEmbraceNet(nn.Module):
    """Crossmodal transformers between all streams, and EmbraceNet over what comes out of them.

    Each stream is projected to one width; each is a target that asks each of the others; what the
    sources make of a target is multiplied, pooled over time, docked and embraced.

    Shape:
        - the config's streams: (B, T, D) each, lengths as they like; any of them may be left out,
          and so counts as absent; masks: name -> (B, T) bool, True where a step is real (a name
          left out is all real). A stream whose mask is all False is absent for that sample.
        - availability: (B, M) bool in the sorted order of the streams' names; what is False there
          is absent too.
        - returns: an `EmbraceClassified`, logits (B, C) and embedding (B, embracement_dim), or an
          `EmbracePredicted`, prediction (B, K) and embedding. A sample without any stream has the
          embedding zero and an output that depends on nothing.

    Source:
        Crossmodal transformer with EmbraceNet, section 4.2, figures 4 to 6, Eqs. 6 to 16.

    Choices:
        E-05 to E-11: see `mmlib.layers.CrossModalTransformer`. E-12: sequences come in; with one
        source step attention is a linear map of it. E-13: `pool`, and the labelled step's state
        beside it where the label belongs to one. E-24 to E-29: see `mmlib.layers.EmbraceNet`.
        E-30: `modality_dropout`. E-36: `fusion="concat"`.

    Raises:
        ValueError: no stream came, an unknown one, or a stream or mask of the wrong shape.
    """

    def __init__(self, *, config: CrossModalEmbraceNetConfig) -> None:
        """Build the parts in the order in which the data meets them; see the class."""
        super().__init__()
        self.config = config
        width, count = config.embed_dim, len(config.streams)
        self.modality_dropout: ModalityDropout | None = None
        if config.modality_dropout > 0 and count > 1:
            self.modality_dropout = ModalityDropout(rate=config.modality_dropout)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.project = nn.ModuleDict(
            {
                name: nn.Linear(features, width)
                for name, features in zip(config.streams, config.widths, strict=True)
            }
        )
        self.positions = None if config.positions is None else SinusoidalPositions()
        self.crossing = CrossModalPairs(
            names=config.streams,
            embed_dim=width,
            num_heads=config.num_heads,
            layers=config.layers,
            ffn_dim=config.ffn_dim,
            dropout=config.dropout,
            residual=config.residual,
        )
        self.names = tuple(sorted(config.streams))
        pooled = width * (1 if config.label_step is None else 2)
        self.head_dropout = nn.Dropout(config.head_dropout)
        self.embrace: EmbraceNet | None = None
        self.join: nn.Linear | None = None
        if config.fusion == "embrace":
            self.embrace = EmbraceNet(
                input_dims=dict.fromkeys(config.streams, pooled),
                embracement_dim=config.embracement_dim,
                evaluation=config.evaluation,
                on_empty="zeros",
            )
        else:
            self.join = nn.Linear(count * pooled, config.embracement_dim)
        self.classifier = nn.Linear(config.embracement_dim, config.num_outputs)

    def forward(
        self,
        *,
        text: Tensor | None = None,
        audio: Tensor | None = None,
        vision: Tensor | None = None,
        masks: dict[str, Tensor] | None = None,
        availability: Any = None,
    ) -> EmbraceClassified | EmbracePredicted:
        """Fuse and decide; see the class."""
        inputs = {"text": text, "audio": audio, "vision": vision}
        targets, present = self.enrich(inputs, masks, availability)
        if self.embrace is not None:
            embedding = self.embrace(targets, availability=present)
        else:
            embedding = self._concatenated(targets, present)
        outputs = self.classifier(self.head_dropout(embedding))
        regression = self.config.task == "regression"
        return (EmbracePredicted if regression else EmbraceClassified)(outputs, embedding)

    def enrich(
        self,
        inputs: dict[str, Tensor | None],
        masks: dict[str, Tensor] | None = None,
        availability: Any = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Give what goes into the fusion: one vector of each stream, and who is there.

        Shape:
            returns: name -> (B, embed_dim), twice as wide with a labelled step, and (B, M) bool in
            the sorted order of the names
        """
        states, real = self._received(inputs, masks or {}, availability)
        present = torch.stack([real[name].any(1) for name in self.names], dim=1)
        enriched, _ = self.crossing(states, real)
        targets = {
            name: self._pooled(self._product(name, enriched[name], present), real[name])
            for name in self.config.streams
        }
        return targets, present

    @torch.no_grad()
    def attention_maps(
        self, *, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> dict[tuple[str, str], Tensor]:
        """Say what each pair looks at: (target, source) -> weights (B, num_heads, Tt, Ts)."""
        training = self.training
        self.eval()
        try:
            states, real = self._received(inputs, masks or {}, None)
            return self.crossing(states, real, return_weights=True)[1]
        finally:
            self.train(training)

    @torch.no_grad()
    def winners(
        self,
        *,
        masks: dict[str, Tensor] | None = None,
        availability: Any = None,
        **inputs: Tensor | None,
    ) -> Tensor:
        """Draw once, as in training, and say which modality each fused feature came from.

        Shape:
            returns: (B, embracement_dim) int64, an index into the sorted names; -1 where a sample
            has no stream at all
        """
        if self.embrace is None:
            raise ValueError("fusion='concat' draws nothing; build with fusion='embrace'.")
        training, evaluation = self.training, self.embrace.evaluation
        self.eval()
        self.embrace.evaluation = "sample"
        try:
            targets, present = self.enrich(inputs, masks, availability)
            _, choice = self.embrace(targets, availability=present, return_choice=True)
        finally:
            self.embrace.evaluation = evaluation
            self.train(training)
        return torch.where(choice.any(-1), choice.argmax(-1), -1)

    def _concatenated(self, targets: dict[str, Tensor], present: Tensor) -> Tensor:
        """Join the pooled streams side by side, zeros where one is absent (E-36)."""
        assert self.join is not None
        together = torch.stack([targets[name] for name in self.names], dim=1)  # (B, M, D)
        together = together * present[..., None]
        return F.relu(self.join(together.flatten(1))) * present.any(1, keepdim=True)

    def _product(self, target: str, enriched: Tensor, present: Tensor) -> Tensor:
        """Multiply what the sources made of a target, Eq. 12: (sources, B, T, E) -> (B, T, E)."""
        sources = self.crossing.sources[target]
        if self.config.absent == "skip" and len(sources) > 1:
            there = torch.stack([present[:, self.names.index(name)] for name in sources])
            # Where none is there, all stay: they have the target's own way around the attention.
            kept = there | ~there.any(0)
            enriched = torch.where(kept[..., None, None], enriched, 1.0)
        return reduce(torch.mul, enriched.unbind(0))

    def _pooled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Make one vector of a target; where the label belongs to one step, that one beside it."""
        pooled = pool(x, mask, self.config.pool)
        if self.config.label_step is None:
            return pooled
        step = min(self.config.label_step, x.shape[1] - 1)
        here = x[:, step] * mask[:, step, None]
        return torch.cat([pooled, here], dim=-1)

    def _received(
        self,
        inputs: dict[str, Tensor | None],
        masks: dict[str, Tensor],
        availability: Any,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Check what came, fill in what did not, and bring all to one width."""
        given = given_streams(inputs, self.config.streams)
        some = next(iter(given.values()))
        if not len(some):
            raise ValueError("a batch of no samples came, expected at least 1.")
        values, real = {}, {}
        for name, width in zip(self.config.streams, self.config.widths, strict=True):
            if name not in given:
                values[name] = some.new_zeros(len(some), 1, width)
                real[name] = torch.zeros(len(some), 1, dtype=torch.bool, device=some.device)
                continue
            values[name], real[name] = self._checked(name, given[name], masks.get(name), len(some))
        if availability is not None:
            who = as_availability(availability, len(some), self.names).to(some.device)
            there = dict(zip(self.names, who.unbind(1), strict=True))
            real = {name: mask & there[name][:, None] for name, mask in real.items()}
        if self.modality_dropout is not None:
            values, real = self.modality_dropout(values, real)
        states = {}
        for name, x in values.items():
            # Filled, not multiplied: what is not real may be NaN.
            x = x.masked_fill(~real[name][..., None], 0.0)
            x = self.project[name](self.input_dropout(x))
            states[name] = x if self.positions is None else self.positions(x)
        return states, real

    def _checked(
        self, name: str, x: Tensor, mask: Tensor | None, count: int
    ) -> tuple[Tensor, Tensor]:
        """Refuse a stream or mask that does not fit, by name; give both in full."""
        width = dict(zip(self.config.streams, self.config.widths, strict=True))[name]
        shape = tuple(x.shape)
        if len(shape) < 3 or shape[0] != count or shape[1] < 1 or math.prod(shape[2:]) != width:
            raise ValueError(
                f"{name} has shape {shape}, expected ({count}, steps, {width}) as the model was "
                "built for; leave out a stream without steps."
            )
        if not x.is_floating_point():
            raise ValueError(f"{name} is {x.dtype}, expected float features.")
        check_mask(x, mask, name)
        return x.flatten(2), all_real(x) if mask is None else mask


class CrossModal(CrossModalEmbraceNet):
    """The crossmodal transformer alone: concatenation in EmbraceNet's place (E-36)."""

    def __init__(self, *, config: CrossModalEmbraceNetConfig) -> None:
        """Build the model with `fusion="concat"`, whatever the config says."""
        super().__init__(config=replace(config, fusion="concat"))
