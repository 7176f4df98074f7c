"""Crossmodal transformers along all ordered pairs of streams, in few batched operations."""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mmlib.layers import StackedLinear, scaled_dot_product_attention


class Group(NamedTuple):
    """Neighbouring streams of one length: as targets, their pairs go through one operation.

    Attributes:
        names: the streams; pairs: which of the target-ordered pairs ask for them; also which of the
            source-ordered pairs they answer.
        at: which streams they are.
    """

    names: tuple[str, ...]
    pairs: slice
    at: slice


class CrossModalPairs(nn.Module):
    """Enrich every stream by asking each of the others: a crossmodal transformer for each pair.

    The pairs differ in weights and in data, not in what is done. Targets of one length go through
    one batched operation, so streams of one length need one, and three streams of three lengths
    need three, not six; no target's step is computed that is not there.

    Args:
        names: the streams. A pair is (target, source), ordered by target, then source; a single
            stream asks itself.
        embed_dim: features of each stream, and of what comes out of each pair.
        num_heads, layers, ffn_dim, dropout, residual: as in `mmlib.layers.CrossModalTransformer`.

    Shape:
        - states: name -> (B, T, embed_dim); masks: name -> (B, T) bool, True where a step is real,
          or left out where all are
        - returns: target -> (sources, B, T, embed_dim), and with `return_weights` also (target,
          source) -> the last layer's weights (B, num_heads, Tt, Ts)

    Source:
        Crossmodal transformer with EmbraceNet, section 4.2.1, Eqs. 6 to 11, and figure 4. With
        copied weights each pair equals `mmlib.layers.CrossModalTransformer`.

    Choices:
        E-05 to E-08, E-10: as there.
    """

    def __init__(
        self,
        *,
        names: tuple[str, ...],
        embed_dim: int,
        num_heads: int = 4,
        layers: int = 1,
        ffn_dim: int | None = None,
        dropout: float = 0.1,
        residual: str = "query",
    ) -> None:
        """Build the stacked layers; see the class."""
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(
                f"embed_dim={embed_dim} cannot be split over num_heads={num_heads}; expected a "
                "number of heads that divides it."
            )
        self.names = names
        self.sources = {t: tuple(s for s in names if s != t) or (t,) for t in names}
        self.pairs = tuple((target, source) for target in names for source in self.sources[target])
        #: In this order the keys' and values' weights lie: who is asked, then who asks.
        self.answers = tuple((t, s) for s in names for t in names if s in self.sources[t])
        self.layers = nn.ModuleList(
            _Layer(
                pairs=len(self.pairs),
                embed_dim=embed_dim,
                num_heads=num_heads,
                ffn_dim=ffn_dim or 2 * embed_dim,
                dropout=dropout,
                residual=residual,
            )
            for _ in range(layers)
        )

    def forward(
        self,
        states: dict[str, Tensor],
        masks: dict[str, Tensor] | None = None,
        *,
        return_weights: bool = False,
    ) -> tuple[dict[str, Tensor], dict[tuple[str, str], Tensor]]:
        """Ask along all pairs; see the class."""
        masks = masks or {}
        groups = self._groups(states)
        each = len(self.pairs) // len(self.names)  # sources of a target
        stacked = [torch.stack([states[name] for name in group.names]) for group in groups]
        # Every pair of a target begins with the same states, every pair of a source asks the same.
        begin = [x.repeat_interleave(each, dim=0) for x in stacked]
        real = [self._mask(group, states, masks) for group in groups]
        x: list[Tensor] = begin
        weights: dict[tuple[str, str], Tensor] = {}
        layers: Any = self.layers
        for number, layer in enumerate(layers):
            answers = self._answers(layer, groups, begin)
            wanted = return_weights and number + 1 == len(layers)
            done = []
            for group, own, mask in zip(groups, x, real, strict=True):
                asked = _joined([answers[pair] for pair in self.pairs[group.pairs]])
                out, w = layer(own, asked, mask, group.pairs, wanted)
                done.append(out)
                if w is not None:
                    weights |= dict(zip(self.pairs[group.pairs], w.unbind(0), strict=True))
            x = done
        outputs = {
            name: out
            for group, together in zip(groups, x, strict=True)
            for name, out in zip(group.names, together.split(each), strict=True)
        }
        lengths = {name: value.shape[1] for name, value in states.items()}
        return outputs, {pair: w[..., : lengths[pair[1]]] for pair, w in weights.items()}

    def _groups(self, states: dict[str, Tensor]) -> list[Group]:
        """Put neighbouring streams of one length together."""
        each, groups, start = len(self.pairs) // len(self.names), [], 0
        for _, run in groupby(self.names, key=lambda name: states[name].shape[1]):
            names = tuple(run)
            stop = start + len(names)
            groups.append(Group(names, slice(start * each, stop * each), slice(start, stop)))
            start = stop
        return groups

    def _answers(
        self, layer: _Layer, groups: list[Group], begin: list[Tensor]
    ) -> dict[tuple[str, str], Tensor]:
        """Compute what each source has to say to each target: (B, Ts, 2 E) for each pair."""
        found: dict[tuple[str, str], Tensor] = {}
        for group, x in zip(groups, begin, strict=True):
            rows = layer.to_key_value(x.flatten(1, 2), group.pairs)
            answers = rows.unflatten(1, x.shape[1:3]).unbind(0)
            found |= dict(zip(self.answers[group.pairs], answers, strict=True))
        return found

    def _mask(
        self, group: Group, states: dict[str, Tensor], masks: dict[str, Tensor]
    ) -> Tensor | None:
        """Say which steps of each pair's source are real, (pairs, B, Ts); None where all are."""
        sources = [source for _, source in self.pairs[group.pairs]]
        lengths = {states[source].shape[1] for source in sources}
        if len(lengths) == 1 and not any(source in masks for source in sources):
            return None
        return _joined(
            [
                masks[name]
                if name in masks
                else torch.ones(
                    states[name].shape[:2], dtype=torch.bool, device=states[name].device
                )
                for name in sources
            ]
        )


class _Layer(nn.Module):
    """One application of Eqs. 6 to 11 for all pairs."""

    def __init__(
        self,
        *,
        pairs: int,
        embed_dim: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        residual: str,
    ) -> None:
        super().__init__()
        self.num_heads, self.rate, self.residual = num_heads, dropout, residual

        def stack(in_dim: int, out_dim: int, parts: int = 1) -> StackedLinear:
            return StackedLinear(layers=pairs, in_dim=in_dim, out_dim=out_dim, parts=parts)

        self.to_query = stack(embed_dim, embed_dim)
        self.to_key_value = stack(embed_dim, embed_dim, parts=2)
        self.to_output = stack(embed_dim, embed_dim)
        self.widen, self.narrow = stack(embed_dim, ffn_dim), stack(ffn_dim, embed_dim)
        self.norm1 = _StackedNorm(layers=pairs, width=embed_dim)
        self.norm2 = _StackedNorm(layers=pairs, width=embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        target: Tensor,
        answers: Tensor,
        mask: Tensor | None,
        which: slice,
        return_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Pass (pairs, B, Tt, E) on, given keys and values (pairs, B, Ts, 2 E)."""
        batch, steps = target.shape[1:3]
        rows = target.flatten(1, 2)  # (pairs, B * Tt, E)
        projected = self.to_query(rows, which)  # Q of Eq. 6
        query = rearrange(projected, "p (b t) (h d) -> (p b) h t d", b=batch, h=self.num_heads)
        key, value = rearrange(answers, "p b t (k h d) -> k (p b) h t d", k=2, h=self.num_heads)
        result = scaled_dot_product_attention(
            query,
            key,
            value,
            mask=None if mask is None else rearrange(mask, "p b t -> (p b) 1 1 t"),
            dropout=self.rate if self.training else 0.0,
            return_weights=return_weights,
        )
        heads, weights = result if return_weights else (result, None)
        heads = rearrange(heads, "(p b) h t d -> p (b t) (h d)", b=batch)
        around = projected if self.residual == "query" else rows
        x = self.norm1(self.dropout(self.to_output(heads, which)) + around, which)  # Eq. 7
        hidden = F.relu(self.widen(x, which))  # Eqs. 8 and 9
        out = self.norm2(self.dropout(self.narrow(hidden, which)) + x, which)  # Eqs. 10 and 11
        if weights is not None:
            weights = rearrange(weights, "(p b) h q k -> p b h q k", b=batch)
        return out.unflatten(1, (batch, steps)), weights


class _StackedNorm(nn.Module):
    """Layer norms side by side, each with a gain and an offset of its own."""

    def __init__(self, *, layers: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(layers, 1, width))
        self.bias = nn.Parameter(torch.zeros(layers, 1, width))

    def forward(self, x: Tensor, which: slice) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) * self.weight[which] + self.bias[which]


def _joined(parts: list[Tensor]) -> Tensor:
    """Stack (B, T, ...) of unequal T; what is added at the end is zero, of a mask False."""
    longest = max(part.shape[1] for part in parts)
    return torch.stack(
        [
            part
            if part.shape[1] == longest
            else F.pad(part, (0, 0) * (part.ndim - 2) + (0, longest - part.shape[1]))
            for part in parts
        ]
    )
