"""JMT as a whole: what is joint, three encoders, six cross-attentions, and a head a target."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlib.layers import (
    SinusoidalPositions,
    StackedLinear,
    TransformerBlock,
    all_real,
    check_mask,
    masked_mean,
)
from mmlib.losses import concordance_loss, default_loss
from mmlib.systems.asked import needed_streams
from mmlib.systems.baselines.align import align
from mmlib.systems.jmt.config import JMTConfig
from mmlib.systems.jmt.crossing import PairwiseAttention


class JMTClassified(NamedTuple):
    """What a JMT says of classes: logits (B, C)."""

    logits: Tensor


class JMTPredicted(NamedTuple):
    """What a JMT says of numbers: prediction (B, T, K) where steps have labels, else (B, K)."""

    prediction: Tensor


class Heads(nn.Module):
    """A small network for each target: FC, ReLU, dropout, FC to one number.

    Classes are one question with several answers: they share one hidden layer.

    Shape:
        - x: (..., in_dim) -> (..., num_outputs)

    Source:
        JMT, section 4.2: 128, then 1, for valence and for arousal.

    Choices:
        J-14: nothing non-linear stands between the dense layer before this one and the first here.
    """

    def __init__(
        self, *, in_dim: int, hidden_dim: int, num_outputs: int, shared: bool, dropout: float
    ) -> None:
        """Build all first layers as one, and the last ones side by side."""
        super().__init__()
        self.heads, answers = (1, num_outputs) if shared else (num_outputs, 1)
        self.hidden = nn.Linear(in_dim, self.heads * hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.answer = StackedLinear(layers=self.heads, in_dim=hidden_dim, out_dim=answers)

    def forward(self, x: Tensor) -> Tensor:
        """Answer for each target."""
        hidden = self.dropout(F.relu(self.hidden(x))).flatten(0, -2)  # (N, heads * hidden)
        apart = hidden.unflatten(-1, (self.heads, -1)).transpose(0, 1)  # (heads, N, hidden)
        answers = self.answer(apart).transpose(0, 1)  # (N, heads, answers)
        return answers.reshape(*x.shape[:-1], -1)


class JMT(nn.Module):
    """The joint multimodal transformer: two streams and their joint, each asking the others.

    Shape:
        - the config's two streams: (B, T, D) each, both (others are left alone); masks: name ->
          (B, T) bool, True where a step is real (a name left out is all real). With a `clock` the
          other stream may have another number of steps and is brought to the clock's.
        - returns: a `JMTPredicted`, prediction (B, T, K) or (B, K), or a `JMTClassified`, logits
          (B, C). A step that is real in neither stream has a prediction without meaning.

    Source:
        JMT, section 3, Eqs. 1 and 2, and section 4.2.

    Choices:
        J-02: the joined attentions' width is computed. J-08: batch first everywhere, and the
        prediction has the labels' shape. J-10: without `joint` too, samples do not mix. J-11: nothing
        is built that is not used. J-12: unit length after the projection where there is one.
        J-15: T is free.

    Raises:
        ValueError: a stream is missing, or a stream or mask has the wrong shape.
    """

    def __init__(self, *, config: JMTConfig) -> None:
        """Build the parts in the order in which the data meet them; see the class."""
        super().__init__()
        self.config, width = config, config.embed_dim
        # The paper's features are as wide as the fusion. Others are brought to its width first.
        self.project = nn.ModuleDict(
            {
                name: nn.Linear(features, width)
                for name, features in zip(config.streams, config.widths, strict=True)
                if features != width
            }
        )
        self.to_joint = nn.Linear(2 * width, width) if config.joint else None
        self.positions = SinusoidalPositions() if config.positions else None
        self.encoders = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    TransformerBlock(
                        embed_dim=width,
                        num_heads=config.num_heads,
                        ffn_dim=config.ffn_dim,
                        dropout=0.0,
                        score=config.score,
                    )
                    for _ in range(config.num_layers)
                )
                for name in config.sources
            }
        )
        self.cross_attention = PairwiseAttention(
            sources=config.sources,
            embed_dim=width,
            num_heads=config.num_heads,
            share=config.share,
            score=config.score,
        )
        self.fuse = nn.Linear(len(config.pairs) * width, config.fusion_dim)
        parts = 1 if config.every_step or config.label_step is None else 2
        self.heads = Heads(
            in_dim=parts * config.fusion_dim,
            hidden_dim=config.head_dim,
            num_outputs=config.num_outputs,
            shared=config.task == "classification",
            dropout=config.dropout,
        )

    def forward(
        self,
        *,
        text: Tensor | None = None,
        audio: Tensor | None = None,
        vision: Tensor | None = None,
        masks: dict[str, Tensor] | None = None,
    ) -> JMTPredicted | JMTClassified:
        """Predict; see the class."""
        states, real = self.encode({"text": text, "audio": audio, "vision": vision}, masks or {})
        attended = self.cross_attention(states, real)  # (pairs, B, T, E)
        if self.config.residual:
            asking = torch.stack([states[query] for query, _ in self.config.pairs])
            attended = F.layer_norm(attended + asking, attended.shape[-1:])
        fused = self.fuse(attended.permute(1, 2, 0, 3).flatten(2))  # (B, T, fusion)
        if self.config.every_step:
            return JMTPredicted(self.heads(fused))
        answers = self.heads(self._pooled(fused, real))
        regression = self.config.task == "regression"
        return JMTPredicted(answers) if regression else JMTClassified(answers)

    def encode(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Bring the streams together and let each source look at itself.

        Shape:
            returns: source -> (B, T, E), and source -> (B, T) bool, or None where all is real
        """
        states, real = self._streams(inputs, masks)
        first, second = self.config.streams
        if self.to_joint is not None:
            states["joint"] = self.to_joint(torch.cat([states[first], states[second]], dim=-1))
            if real is not None:
                real["joint"] = real[first] | real[second]
        for name in states:
            if self.positions is not None:
                # Steps of length one would be drowned by codes whose entries are as large as one.
                scale = states[name].shape[-1] ** 0.5 if self.config.l2_normalise else 1.0
                states[name] = self.positions(states[name] * scale)
            blocks: Any = self.encoders[name]
            for block in blocks:
                mask = None if real is None else real[name]
                states[name] = block(states[name], padding_mask=mask)
        return states, real

    @torch.no_grad()
    def attention_maps(
        self, *, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> dict[tuple[str, str], Tensor]:
        """Say what each pair looks at: (query, context) -> weights (B, num_heads, T, T)."""
        states, real = self.encode(inputs, masks or {})
        weights = self.cross_attention(states, real, return_weights=True)[1]
        return dict(zip(self.config.pairs, weights, strict=True))

    def loss(self, output: Any, batch: Any) -> Tensor:
        """Sum 1 - concordance over the targets; take cross-entropy for classes.

        Source:
            JMT, Eq. 3, for valence and for arousal.

        Choices:
            J-03: covariance and variances. J-21: one concordance a target, over all elements of the
            batch, each with weight 1. J-22: real steps only.
        """
        if self.config.task == "classification":
            return default_loss(output, batch)
        each = concordance_loss(
            output.prediction.float(), batch.labels, batch.label_mask, per_target=True
        )
        return self.config.num_outputs * each

    def _streams(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Check both streams, put them on one clock, project and normalise them."""
        came = needed_streams("JMT", inputs, self.config.streams)
        given = {name: self._checked(name, x, masks.get(name)) for name, x in came.items()}
        real = {name: mask for name, (_, mask) in given.items() if mask is not None}
        values = {name: x for name, (x, _) in given.items()}
        if self.config.clock is not None:
            values, real = self._on_one_clock(self.config.clock, values, real)
        first, second = values
        shapes = [tuple(values[name].shape[:2]) for name in values]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{first} has {shapes[0]} (samples, steps) and {second} {shapes[1]}, expected the "
                "same: what is joint is built step by step. Name the stream whose steps count, "
                f"clock={first!r} or clock={second!r}, or bring both to one clock."
            )
        for name, x in values.items():
            mask = real.get(name)
            x = x if mask is None else x.masked_fill(~mask[..., None], 0.0)
            x = self.project[name](x) if name in self.project else x
            if self.config.l2_normalise:
                # A step of zeros stays zeros: the usual addend is itself zero in float16.
                x = F.normalize(x, dim=-1, eps=max(1e-12, torch.finfo(x.dtype).tiny))
            # A projection's offset must not make something of a step that is not there.
            values[name] = x if mask is None else x * mask[..., None]
        if not real:
            return values, None
        return values, {
            name: real[name] if name in real else all_real(values[name]) for name in values
        }

    def _on_one_clock(
        self, clock: str, values: dict[str, Tensor], real: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Bring the other stream to the clock's steps, over what is real of both."""
        other = next(name for name in values if name != clock)
        whole = {name: real.get(name, all_real(x)) for name, x in values.items()}
        if values[other].shape[1] == values[clock].shape[1]:
            return values, real
        ticks = whole[clock]
        # Where the clock itself is absent, the other is spread over all of its steps.
        ticks = ticks | ~ticks.any(1, keepdim=True)
        values[other], whole[other] = align(values[other], whole[other], ticks)
        return values, whole

    def _pooled(self, fused: Tensor, real: dict[str, Tensor] | None) -> Tensor:
        """Average the real steps; where the label belongs to one step, that one beside the mean."""
        first, second = self.config.streams
        mask = None if real is None else real[first] | real[second]
        pooled = masked_mean(fused, mask)
        if self.config.label_step is None:
            return pooled
        step = min(self.config.label_step, fused.shape[1] - 1)
        here = fused[:, step] if mask is None else fused[:, step] * mask[:, step, None]
        return torch.cat([pooled, here], dim=-1)

    def _checked(self, name: str, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Refuse a stream or mask that does not fit, by name."""
        width = dict(zip(self.config.streams, self.config.widths, strict=True))[name]
        shape = tuple(x.shape)
        if len(shape) < 3 or shape[1] < 1 or math.prod(shape[2:]) != width:
            raise ValueError(
                f"{name} has shape {shape}, expected (batch, steps, {width}) as the model was "
                "built for, one step at least."
            )
        check_mask(x, mask, name)
        return x.flatten(2), mask
