"""Attention: every query looks at every key and takes home a weighted mean of the values.

There is one attention in this package. The four papers differ in who asks (the query), who answers
(the context) and how a score becomes a weight; all of that is an argument here, never a second copy.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

Score = Literal["softmax", "sigmoid"]
SCORES: tuple[str, ...] = ("softmax", "sigmoid")


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    score: Score = "softmax",
    dropout: float = 0.0,
    return_weights: bool = False,
) -> Any:
    r"""Mix the values by how well each query fits each key: softmax(Q K^T / sqrt(d) + bias) V.

    Torch's fused kernel does the work unless you ask for the weights: it never holds the
    (Tq, Tk) matrix, so memory grows with T and not with T squared. Asking for the weights, or for
    sigmoid scores, takes the readable path, which does hold it. Both give the same numbers.

    Shape:
        - query: (..., Tq, D); key: (..., Tk, D); value: (..., Tk, Dv); leading axes broadcast
        - mask: bool, broadcasts to (..., Tq, Tk), True = attend. A padding mask (B, Tk) of
          sequences with heads (B, H, T, D) goes in as ``mask[:, None, None, :]``.
        - bias: float, broadcasts to (..., Tq, Tk), added to the scaled scores
        - returns: (..., Tq, Dv), and with ``return_weights`` the weights (..., Tq, Tk) as they are
          before dropout

    Source:
        Vaswani et al. (2017), Eq. 1; Eq. 6 of the crossmodal paper; the formula for A in CA-MMAAET.

    Choices:
        J-01: ``score="sigmoid"`` is sigmoid(Q K^T / sqrt(d)) V, the repaired reading of JMT's Eq. 2:
        a row then sums to anything between 0 and Tk. A query with nothing to attend to gets zeros
        and sends back zero gradients; torch's own answer to it depends on version and device.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: shapes that do not fit, or a score that is neither softmax nor sigmoid.
    """
    query, key, value = _share_leading_axes(query, key, value)
    _validate(query, key, value, mask, bias, score)
    if return_weights or score != "softmax":
        out, weights = _explicit(query, key, value, mask, bias, score, dropout)
        return (out, weights) if return_weights else out
    return _fused(query, key, value, mask, bias, dropout)


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    score: str,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """The formula, line by line; half precision is lifted to float32 in between, as kernels do."""
    wide = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        scores = query.to(wide) @ key.to(wide).mT * query.shape[-1] ** -0.5  # (..., Tq, Tk)
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            # The lowest finite number, not -inf: a row without any key then stays finite, forwards
            # and backwards, and the second masked_fill below makes it zero.
            scores = scores.masked_fill(~mask, torch.finfo(wide).min)
        weights = scores.softmax(-1) if score == "softmax" else scores.sigmoid()
        if mask is not None:
            weights = weights.masked_fill(~mask, 0.0)
        out = F.dropout(weights, dropout) @ value.to(wide)  # (..., Tq, Dv)
    return out.to(query.dtype), weights.to(query.dtype)


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    dropout: float,
) -> Tensor:
    """Torch's kernel, guarded against rows with nothing to attend to."""
    add: Tensor | None = None if bias is None else bias.to(query.dtype)
    empty: Tensor | None = None
    if mask is not None:
        # Let such a row see everything, so that the kernel never divides zero by zero, and clear
        # it afterwards. A (B, 1, 1, Tk) mask stays that small: no (Tq, Tk) matrix arises.
        empty = ~mask.any(-1, keepdim=True)  # (..., Tq or 1, 1)
        allowed = mask | empty
        add = allowed if add is None else torch.where(allowed, add, float("-inf"))
    # The kernels know four axes only; with fewer, torch falls back to the full matrix.
    missing = 4 - query.dim()
    if missing > 0:
        lead = (None,) * missing
        query, key, value = query[lead], key[lead], value[lead]
    if add is not None and add.dim() < 4:
        add = add[(None,) * (4 - add.dim())]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=add, dropout_p=dropout)
    out = out.reshape(out.shape[missing:]) if missing > 0 else out
    return out if empty is None else out.masked_fill(empty, 0.0)


def _share_leading_axes(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Expand what one side has once, such as a learnt query, to the other's batch and heads."""
    axes = {tensor.shape[:-2] for tensor in tensors}
    if len(axes) == 1:
        return tensors
    try:
        common = torch.broadcast_shapes(*axes)
    except RuntimeError:
        came = ", ".join(str(tuple(tensor.shape[:-2])) for tensor in tensors)
        raise ValueError(
            f"Query, key and value have the leading axes {came}; expected axes that broadcast. "
            "Check which of them lacks the batch or the heads."
        ) from None
    return tuple(tensor.expand(*common, *tensor.shape[-2:]) for tensor in tensors)


def _validate(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, score: str
) -> None:
    """Say what came and what was expected before torch's kernel says something harder to read."""
    if score not in SCORES:
        raise ValueError(f"score={score!r} is unknown; expected one of {', '.join(SCORES)}.")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"Queries have {query.shape[-1]} features and keys {key.shape[-1]}; a dot product "
            "needs the same number. Project both to one width first."
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"There are {key.shape[-2]} keys and {value.shape[-2]} values; expected one value a "
            "key. Take both from the same sequence."
        )
    wanted = (*query.shape[:-1], key.shape[-2])
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(
            f"The mask has dtype {mask.dtype}; expected torch.bool with True = attend. Numbers to "
            "be added to the scores go into bias=."
        )
    for name, tensor in (("mask", mask), ("bias", bias)):
        if tensor is not None and not _broadcasts(tensor.shape, wanted):
            raise ValueError(
                f"The {name} has shape {tuple(tensor.shape)}, which does not broadcast to "
                f"(..., Tq, Tk) = {wanted}. With heads, a (B, Tk) mask goes in as "
                "mask[:, None, None, :]."
            )


def _broadcasts(shape: torch.Size, wanted: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(wanted), strict=False)
    return len(shape) <= len(wanted) and all(have in (1, want) for have, want in pairs)


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own slice of the features.

    Without a context the sequence attends to itself. The width of the output is ``embed_dim``.

    Args:
        query_dim: features of the sequence that asks.
        context_dim: features of the sequence that answers; default ``query_dim``.
        embed_dim: features of queries, keys, values (all heads together) and of the output;
            default ``query_dim``.
        num_heads: number of heads; must divide ``embed_dim``.
        dropout: share of the weights dropped in training.
        bias: whether the four projections have an offset; ``"output"``: only the last of them, as
            in most vision transformers.
        score: ``"softmax"`` or ``"sigmoid"`` (J-01).

    Shape:
        - query: (B, Tq, query_dim); context: (B, Tk, context_dim)
        - padding_mask: (B, Tk) bool, True where a step of the context is real
        - returns: (B, Tq, embed_dim), and with ``return_weights`` the weights of every head,
          (B, num_heads, Tq, Tk)

    Source:
        Vaswani et al. (2017), section 3.2.2. With copied weights it equals
        ``torch.nn.MultiheadAttention``, which stacks the three input projections in one matrix
        where the widths are equal, and averages the weights over the heads.

    Raises:
        ValueError: heads that do not divide ``embed_dim``, or a mask of the wrong shape.
    """

    def __init__(
        self,
        *,
        query_dim: int,
        context_dim: int | None = None,
        embed_dim: int | None = None,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool | Literal["output"] = True,
        score: Score = "softmax",
    ) -> None:
        """Build the four projections; see the class."""
        super().__init__()
        context_dim = query_dim if context_dim is None else context_dim
        embed_dim = query_dim if embed_dim is None else embed_dim
        check_heads(embed_dim, num_heads)
        if score not in SCORES:
            raise ValueError(f"score={score!r} is unknown; expected one of {', '.join(SCORES)}.")
        self.num_heads = num_heads
        self.dropout = dropout
        self.score: Score = score
        self.to_query = nn.Linear(query_dim, embed_dim, bias=bias is True)
        self.to_key = nn.Linear(context_dim, embed_dim, bias=bias is True)
        self.to_value = nn.Linear(context_dim, embed_dim, bias=bias is True)
        self.to_output = nn.Linear(embed_dim, embed_dim, bias=bool(bias))
        for projection in (self.to_query, self.to_key, self.to_value, self.to_output):
            nn.init.xavier_uniform_(projection.weight)
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: Tensor,
        context: Tensor | None = None,
        *,
        padding_mask: Tensor | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Let each step of ``query`` attend to the real steps of ``context``; see the class."""
        context = query if context is None else context
        return self.attend(
            self.to_query(query), context, padding_mask=padding_mask, return_weights=return_weights
        )

    def attend(
        self,
        projected: Tensor,
        context: Tensor,
        *,
        padding_mask: Tensor | None = None,
        return_weights: bool = False,
    ) -> Any:
        """The same from queries that ``to_query`` has made, for whoever needs them again (E-07)."""
        if padding_mask is not None and padding_mask.shape != context.shape[:2]:
            raise ValueError(
                f"The padding mask has shape {tuple(padding_mask.shape)}; expected (batch, time) "
                f"of the context, {tuple(context.shape[:2])}."
            )
        query, key, value = (
            rearrange(tensor, "b t (h d) -> b h t d", h=self.num_heads)
            for tensor in (projected, self.to_key(context), self.to_value(context))
        )
        result = scaled_dot_product_attention(
            query,
            key,
            value,
            mask=None if padding_mask is None else padding_mask[:, None, None, :],
            score=self.score,
            dropout=self.dropout if self.training else 0.0,
            return_weights=return_weights,
        )
        heads, weights = result if return_weights else (result, None)
        out = self.to_output(rearrange(heads, "b h t d -> b t (h d)"))
        return (out, weights) if return_weights else out


def check_heads(embed_dim: int, num_heads: int) -> None:
    """Refuse heads among which the features cannot be dealt out evenly.

    Raises:
        ValueError: there is no head, or their number does not divide `embed_dim`.
    """
    if num_heads < 1 or embed_dim % num_heads:
        fitting = ", ".join(str(n) for n in range(1, embed_dim + 1) if embed_dim % n == 0)
        raise ValueError(
            f"embed_dim={embed_dim} cannot be split over num_heads={num_heads}; expected a "
            f"number of heads that divides it: {fitting}."
        )
