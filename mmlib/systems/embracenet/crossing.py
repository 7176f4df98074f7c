"""Crossmodal transformers along all ordered pairs of streams, in few batched operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from mmlib.layers import StackedLinear, scaled_dot_product_attention
from mmlib.layers.attention import check_heads

T = TypeVar("T")


class Group(NamedTuple):
    """Neighbouring streams of one length, which go through one operation.

    Attributes:
        names: the streams; pairs: where, among the pairs ordered by target, those stand that these
            streams ask for; and where, among the pairs ordered by source, those that they answer.
    """

    names: tuple[str, ...]
    pairs: slice


class Asked(NamedTuple):
    """What neighbouring pairs are answered, by sources of one length.

    Attributes:
        pairs: those; answers: keys and values (pairs, B, Ts, 2 E); mask: (pairs, B, Ts) bool, or
            None where every step is real.
    """

    pairs: tuple[tuple[str, str], ...]
    answers: Tensor
    mask: Tensor | None


class CrossModalPairs(nn.Module):
    """Enrich every stream by asking each of the others: a crossmodal transformer for each pair.

    The pairs differ in weights and in data, not in what is done: streams of one length go through
    one batched operation, and each of another length through one for both of its pairs. Nothing is
    padded, so no step is computed that is not there.

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

    Raises:
        ValueError: heads that do not divide the width.
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
        check_heads(embed_dim, num_heads)
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
        groups, each = self._groups(states), len(self.pairs) // len(self.names)
        # Every pair of a target begins with the same states, every pair of a source asks the same.
        begin = [_repeated([states[name] for name in group.names], each) for group in groups]
        x: list[Tensor] = begin
        weights: dict[tuple[str, str], Tensor] = {}
        layers: Any = self.layers
        for number, layer in enumerate(layers):
            answers: dict[tuple[str, str], Tensor] = {}
            for group, source in zip(groups, begin, strict=True):
                rows = layer.to_key_value(source.flatten(1, 2), group.pairs)
                found = rows.unflatten(1, source.shape[1:3]).unbind(0)
                answers |= dict(zip(self.answers[group.pairs], found, strict=True))
            kept = weights if return_weights and number + 1 == len(layers) else None
            x = [
                layer(own, self._asked(group, answers, masks or {}), group.pairs, kept)
                for group, own in zip(groups, x, strict=True)
            ]
        outputs = {
            name: out
            for group, together in zip(groups, x, strict=True)
            for name, out in zip(group.names, together.split(each), strict=True)
        }
        return outputs, weights

    def _groups(self, states: dict[str, Tensor]) -> list[Group]:
        """Put neighbouring streams of one length together."""
        each, groups, start = len(self.pairs) // len(self.names), [], 0
        for names in _runs(self.names, lambda name: states[name].shape[1]):
            stop = start + len(names) * each
            groups.append(Group(names, slice(start, stop)))
            start = stop
        return groups

    def _asked(
        self, group: Group, answers: dict[tuple[str, str], Tensor], masks: dict[str, Tensor]
    ) -> list[Asked]:
        """Sort what is asked by the sources' length, so that each length is one attention."""
        asked = []
        pairs = self.pairs[group.pairs]
        for some in _runs(pairs, lambda pair: answers[pair].shape[1]):
            mask = None
            if any(source in masks for _, source in some):
                full = answers[some[0]].new_ones(answers[some[0]].shape[:2], dtype=torch.bool)
                mask = _stacked([masks.get(source, full) for _, source in some])
            asked.append(Asked(some, _stacked([answers[pair] for pair in some]), mask))
        return asked


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
        asked: list[Asked],
        which: slice,
        weights: dict[tuple[str, str], Tensor] | None,
    ) -> Tensor:
        """Pass (pairs, B, Tt, E) on; where `weights` are wanted, put them there."""
        batch, steps = target.shape[1:3]
        rows = target.flatten(1, 2)  # (pairs, B * Tt, E)
        projected = self.to_query(rows, which)  # Q of Eq. 6
        queries = projected.split([len(some.pairs) for some in asked])
        heads = [
            self._attend(query.unflatten(1, (batch, steps)), some, weights)
            for query, some in zip(queries, asked, strict=True)
        ]
        attended = self.to_output(heads[0] if len(heads) == 1 else torch.cat(heads), which)
        around = projected if self.residual == "query" else rows
        x = self.norm1(self._added(attended, around, batch), which)  # Eq. 7
        hidden = self.widen(x, which).relu_()  # Eqs. 8 and 9
        out = self.norm2(self._added(self.narrow(hidden, which), x, batch), which)  # Eqs. 10, 11
        return out.unflatten(1, (batch, steps))

    def _added(self, found: Tensor, around: Tensor, batch: int) -> Tensor:
        """Drop from what was found and add it to what is around, both (pairs, B * T, E).

        Noise is drawn with the samples first, so that several processes can draw as one.
        """
        found, around = (rearrange(x, "p (b t) e -> b p t e", b=batch) for x in (found, around))
        # The sum goes into fresh memory that nothing else reads: large blocks are slow to get.
        return rearrange(self.dropout(found).add_(around), "b p t e -> p (b t) e")

    def _attend(
        self, query: Tensor, asked: Asked, weights: dict[tuple[str, str], Tensor] | None
    ) -> Tensor:
        """Attend from (pairs, B, Tt, E) to sources of one length: (pairs, B * Tt, E)."""
        dropout = self.rate if self.training else 0.0
        # As above, noise is drawn with the samples first. Where none is, nothing need be copied.
        axes = "b (p h)" if dropout else "(p b) h"
        sizes = {"b": query.shape[1], "h": self.num_heads}
        query = rearrange(query, f"p b t (h d) -> {axes} t d", **sizes)
        key, value = rearrange(asked.answers, f"p b t (k h d) -> k {axes} t d", k=2, **sizes)
        mask = asked.mask
        if mask is not None:
            mask = repeat(mask, f"p b t -> {axes} 1 t", **sizes)
        result = scaled_dot_product_attention(
            query,
            key,
            value,
            mask=mask,
            dropout=dropout,
            return_weights=weights is not None,
        )
        heads = result if weights is None else result[0]
        if weights is not None:
            seen = rearrange(result[1], f"{axes} q k -> p b h q k", **sizes)
            weights |= dict(zip(asked.pairs, seen.unbind(0), strict=True))
        return rearrange(heads, f"{axes} t d -> p (b t) (h d)", **sizes)


class _StackedNorm(nn.Module):
    """Layer norms side by side, each with a gain and an offset of its own."""

    def __init__(self, *, layers: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(layers, 1, width))
        self.bias = nn.Parameter(torch.zeros(layers, 1, width))

    def forward(self, x: Tensor, which: slice) -> Tensor:
        plain = F.layer_norm(x, x.shape[-1:])
        return torch.addcmul(self.bias[which], plain, self.weight[which])


def _runs(items: Iterable[T], length: Callable[[T], int]) -> list[tuple[T, ...]]:
    """Cut where the length changes.

    Lengths are compared and never looked up: `itertools.groupby` does that, and torch.compile then
    makes a graph for each length instead of one for all.
    """
    runs: list[list[T]] = []
    for item in items:
        if runs and length(item) == length(runs[-1][-1]):
            runs[-1].append(item)
        else:
            runs.append([item])
    return [tuple(run) for run in runs]


def _stacked(parts: list[Tensor]) -> Tensor:
    """Stack, without a copy of a single one."""
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)


def _repeated(parts: list[Tensor], each: int) -> Tensor:
    """Stack, each part `each` times; a single one is not copied."""
    if len(parts) == 1:
        return parts[0].expand(each, *parts[0].shape)
    return torch.stack([part for part in parts for _ in range(each)])
