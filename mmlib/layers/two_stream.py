"""A transformer block over two streams: one asks, the other answers."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from mmlib.layers.attention import MultiHeadAttention
from mmlib.layers.conv import MaskedBatchNorm
from mmlib.layers.transformer import feed_forward


class TwoStreamBlock(nn.Module):
    """Cross-attention of one stream over another, then a small network with a way around it.

    A = Attention(Norm(query), Norm(context)); out = A + MLP(Norm(A)). Nothing of the query goes
    around the attention: whoever uses the block adds its output to the stream that asked.

    Args:
        query_dim: features of the stream that asks, and of the output.
        context_dim: features of the stream that answers.
        num_heads: heads of the attention; must divide ``query_dim``.
        mlp_ratio: hidden width of the MLP, in multiples of ``query_dim``.
        dropout: rate after the attention, on its weights, and after both layers of the MLP.
        norm: ``"layer"`` normalises each step by itself; ``"batch"`` each feature over the batch's
            real steps, and the output of the MLP too, as Algorithm 6 prints it.

    Shape:
        - query: (B, Tq, query_dim); context: (B, Tk, context_dim)
        - padding_mask: (B, Tk) bool, True where a step of the context is real; query_mask: (B, Tq),
          the same of the query, which only ``norm="batch"`` in training needs to know
        - returns: (B, Tq, query_dim), and with ``return_weights`` (B, num_heads, Tq, Tk). Steps of
          the query that are padding come out as numbers without meaning.

    Source:
        AVT-CA, Algorithms 6 (block), 7 (MLP), 8 and 9 (attention).

    Choices:
        A-12: layer norm by default, and the way around the MLP only. A-13: GELU follows the first
        dense layer. A-14: attention multiplies the values; offsets in its output only. A-15: the
        stream that is updated asks. A-19: a head has ``query_dim / num_heads`` features.

    Raises:
        ValueError: an unknown norm, heads that do not divide ``query_dim``, or a stream or mask of
            another shape.
    """

    def __init__(
        self,
        *,
        query_dim: int,
        context_dim: int,
        num_heads: int,
        mlp_ratio: int = 2,
        dropout: float = 0.0,
        norm: Literal["layer", "batch"] = "layer",
    ) -> None:
        """Build the norms, the attention and the MLP; see the class."""
        super().__init__()
        if norm not in ("layer", "batch"):
            raise ValueError(f"norm={norm!r} is unknown; expected 'layer' or 'batch'.")
        self.widths = query_dim, context_dim
        self.norm_query = _Norm(query_dim, norm)
        self.norm_context = _Norm(context_dim, norm)
        self.attention = MultiHeadAttention(
            query_dim=query_dim,
            context_dim=context_dim,
            num_heads=num_heads,
            dropout=dropout,
            bias="output",
        )
        self.norm_attended = _Norm(query_dim, norm)
        self.mlp = feed_forward(query_dim, mlp_ratio * query_dim, "gelu")
        self.norm_mlp = _Norm(query_dim, norm) if norm == "batch" else None
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        context: Tensor,
        *,
        padding_mask: Tensor | None = None,
        query_mask: Tensor | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Let the query ask the context, and work on what it was told; see the class."""
        for name, x, width in (
            ("query", query, self.widths[0]),
            ("context", context, self.widths[1]),
        ):
            if x.dim() != 3 or x.shape[2] != width:
                raise ValueError(
                    f"The {name} has shape {tuple(x.shape)}; expected (batch, time, {width}), as the "
                    "block was built for."
                )
        if query_mask is not None and query_mask.shape != query.shape[:2]:
            raise ValueError(
                f"The query's mask has shape {tuple(query_mask.shape)}; expected (batch, time) of "
                f"the query, {tuple(query.shape[:2])}."
            )
        result = self.attention(
            self.norm_query(query, query_mask),
            self.norm_context(context, padding_mask),
            padding_mask=padding_mask,
            return_weights=return_weights,
        )
        attended, weights = result if return_weights else (result, None)
        attended = self.dropout(attended)
        widen, activate, narrow = self.mlp
        hidden = self.dropout(activate(widen(self.norm_attended(attended, query_mask))))
        worked = self.dropout(narrow(hidden))  # Algorithm 7
        if self.norm_mlp is not None:
            worked = self.norm_mlp(worked, query_mask)
        out = attended + worked
        return (out, weights) if return_weights else out


class _Norm(nn.Module):
    """Either norm behind one call: what needs no mask is given one all the same."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm(width) if norm == "batch" else nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.norm(x, mask) if isinstance(self.norm, MaskedBatchNorm) else self.norm(x)
