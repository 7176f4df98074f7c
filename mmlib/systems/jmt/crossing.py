"""Attention along all ordered pairs of sources at once: six directions in one operation."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from mmlib.layers import StackedLinear, scaled_dot_product_attention
from mmlib.layers.attention import Score, check_heads


class PairwiseAttention(nn.Module):
    """Let every source ask every other one: cross-attention along all ordered pairs, in one go.

    The pairs differ in weights and in data, not in what is done, so their products are batched
    matrix products and one call of the attention kernel serves all of them.

    Args:
        sources: names, at least two; a pair is (query, context), ordered by query, then context.
        embed_dim: features of each source, and of what comes out of each pair.
        num_heads: heads of each attention; must divide `embed_dim`.
        share: "none", each pair has weights of its own; "query", pairs with one query share them.
        score: "softmax" or "sigmoid" (J-01).

    Shape:
        - sources: name -> (B, T, embed_dim), all alike; masks: name -> (B, T) bool, True where a
          step is real, or None where all are
        - returns: (pairs, B, T, embed_dim), and with `return_weights` (pairs, B, num_heads, T, T)

    Source:
        JMT, section 3, the six cross-modal attention layers, and figure 1. With copied weights each
        pair equals `mmlib.layers.MultiHeadAttention` and `torch.nn.MultiheadAttention`.

    Choices:
        J-05: six attentions, `share="query"` for the three of the public code. J-29: ordinary
        cross-attention.

    Raises:
        ValueError: heads that do not divide the width.
    """

    def __init__(
        self,
        *,
        sources: tuple[str, ...],
        embed_dim: int,
        num_heads: int = 1,
        share: str = "none",
        score: Score = "softmax",
    ) -> None:
        """Build the stacked projections; see the class."""
        super().__init__()
        check_heads(embed_dim, num_heads)
        self.sources, self.num_heads, self.share = sources, num_heads, share
        self.score: Score = score
        self.pairs = tuple((x, y) for x in sources for y in sources if x != y)
        count = len(sources) if share == "query" else len(self.pairs)

        def stack(parts: int = 1) -> StackedLinear:
            return StackedLinear(layers=count, in_dim=embed_dim, out_dim=embed_dim, parts=parts)

        self.to_query, self.to_key_value, self.to_output = stack(), stack(parts=2), stack()

    def forward(
        self,
        states: dict[str, Tensor],
        masks: dict[str, Tensor] | None = None,
        *,
        return_weights: bool = False,
    ) -> Any:
        """Ask along all pairs; see the class."""
        batch, others = len(states[self.sources[0]]), len(self.sources) - 1
        asking = self.sources if self.share == "query" else [query for query, _ in self.pairs]
        query = self._each(self.to_query, [states[name] for name in asking])
        if self.share == "query":
            query = query.repeat_interleave(others, dim=0)  # asked once, used for each other one
        answers = self._each(self.to_key_value, [states[context] for _, context in self.pairs])
        key, value = answers.chunk(2, dim=-1)  # (pairs, B, T, E) each
        query, key, value = (
            rearrange(x, "p b t (h d) -> (p b) h t d", h=self.num_heads)
            for x in (query, key, value)
        )
        mask = None
        if masks is not None:
            mask = torch.stack([masks[context] for _, context in self.pairs])
            mask = rearrange(mask, "p b t -> (p b) 1 1 t")
        result = scaled_dot_product_attention(
            query, key, value, mask=mask, score=self.score, return_weights=return_weights
        )
        heads, weights = result if return_weights else (result, None)
        heads = rearrange(heads, "(p b) h t d -> p b t (h d)", b=batch)
        out = self._each(self.to_output, heads.unbind(0))
        if not return_weights:
            return out
        return out, rearrange(weights, "(p b) h q k -> p b h q k", b=batch)

    def _each(self, project: StackedLinear, inputs: Any) -> Tensor:
        """Apply a stack's layers to a list of (B, T, E), several to a layer where it is shared."""
        batch = len(inputs[0])
        rows = torch.stack(list(inputs)).reshape(len(project.weight), -1, inputs[0].shape[-1])
        out = project(rows)  # (layers, inputs of a layer * B * T, width)
        return out.reshape(len(inputs), batch, -1, out.shape[-1])
