"""Transformer blocks: attention, then a small network for each step, each with a way around it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmlib.layers.attention import MultiHeadAttention, Score

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class SinusoidalPositions(nn.Module):
    """Add sines and cosines of the step's number, so that attention can tell order.

    Feature 2i of step t gets sin(t / 10000^(2i/D)), feature 2i+1 the cosine. Computed for the
    length, width, device and dtype that come; there is nothing to learn and no longest sequence.

    Shape:
        - x: (B, T, D) -> (B, T, D)

    Source:
        Vaswani et al. (2017), section 3.5.

    Choices:
        C-18, E-09, J-13: none of the papers says how order enters; it is an option everywhere, off
        by default.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with the codes added; see the class."""
        return x + sinusoidal_codes(x.shape[1], x.shape[2], device=x.device).to(x.dtype)


def sinusoidal_codes(
    length: int, width: int, *, device: torch.device | str | None = None
) -> Tensor:
    """Compute the codes that :class:`SinusoidalPositions` adds, as its equations say.

    Args:
        length: how many steps.
        width: how many features each has.
        device: where they are computed.

    Shape:
        - returns: (length, width), float32
    """
    step = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    feature = torch.arange(width, device=device)
    angle = step * 10000.0 ** (-(feature - feature % 2) / width)
    return torch.where(feature % 2 == 0, angle.sin(), angle.cos())


def feed_forward(width: int, hidden: int, activation: str = "relu") -> nn.Sequential:
    """Build the two dense layers with an activation between that work on each step alone.

    Shape:
        - (..., width) -> (..., width)

    Choices:
        E-08: Eqs. 8 and 10 of the crossmodal paper do not conform as printed; width -> hidden ->
        width does.

    Raises:
        ValueError: an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation={activation!r} is unknown; expected one of {', '.join(ACTIVATIONS)}."
        )
    return nn.Sequential(
        nn.Linear(width, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, width)
    )


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward network, each with dropout, a residual and a layer norm.

    ``norm="post"``: O1 = LayerNorm(x + Dropout(MHA(x))), O2 = LayerNorm(O1 + Dropout(FFN(O1))).
    ``norm="pre"`` normalises what goes into each part instead, and leaves the sums alone.

    Args:
        embed_dim: features of the sequence, in and out.
        num_heads: heads of the attention.
        ffn_dim: hidden width of the feed-forward network; default four times ``embed_dim``.
        dropout: rate after each part and on the attention weights.
        activation: ``"relu"`` or ``"gelu"``.
        norm: ``"post"`` or ``"pre"``.
        score: of the attention, ``"softmax"`` or ``"sigmoid"`` (J-01).

    Shape:
        - x: (B, T, embed_dim); padding_mask: (B, T) bool, True where a step is real
        - returns: (B, T, embed_dim), and with ``return_weights`` (B, num_heads, T, T). Steps that
          are padding come out as numbers without meaning; no real step has seen them.

    Source:
        CA-MMAAET, section IV, the equations of O1 and O2.

    Choices:
        C-14: four times the width and dropout 0.1, where the paper gives no number. C-18: no
        positions inside.

    Raises:
        ValueError: an unknown norm or activation, or heads that do not divide the width.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        ffn_dim: int | None = None,
        dropout: float = 0.1,
        activation: str = "relu",
        norm: Literal["post", "pre"] = "post",
        score: Score = "softmax",
    ) -> None:
        """Build the two parts and their norms; see the class."""
        super().__init__()
        if norm not in ("post", "pre"):
            raise ValueError(f"norm={norm!r} is unknown; expected 'post' or 'pre'.")
        self.norm = norm
        self.attention = MultiHeadAttention(
            query_dim=embed_dim, num_heads=num_heads, dropout=dropout, score=score
        )
        self.ffn = feed_forward(embed_dim, ffn_dim or 4 * embed_dim, activation)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, *, padding_mask: Tensor | None = None, return_weights: bool = False
    ) -> Any:
        """Pass the sequence through both parts; see the class."""
        pre = self.norm == "pre"
        result = self.attention(
            self.norm1(x) if pre else x, padding_mask=padding_mask, return_weights=return_weights
        )
        attended, weights = result if return_weights else (result, None)
        o1 = x + self.dropout(attended)
        o1 = o1 if pre else self.norm1(o1)
        o2 = o1 + self.dropout(self.ffn(self.norm2(o1) if pre else o1))
        o2 = o2 if pre else self.norm2(o2)
        return (o2, weights) if return_weights else o2


class _CrossModalLayer(nn.Module):
    """One application of Eqs. 6 to 11."""

    def __init__(
        self,
        *,
        target_dim: int,
        source_dim: int,
        embed_dim: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        residual: str,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.attention = MultiHeadAttention(
            query_dim=target_dim,
            context_dim=source_dim,
            embed_dim=embed_dim,
            num_heads=num_heads,
            dropout=dropout,
        )
        self.ffn = feed_forward(embed_dim, ffn_dim)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, target: Tensor, source: Tensor, padding_mask: Tensor | None, return_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        query = self.attention.to_query(target)  # Q of Eq. 6
        result = self.attention.attend(
            query, source, padding_mask=padding_mask, return_weights=return_weights
        )
        attended, weights = result if return_weights else (result, None)
        around = query if self.residual == "query" else target
        x = self.norm1(self.dropout(attended) + around)  # Eq. 7
        out = self.norm2(self.dropout(self.ffn(x)) + x)  # Eqs. 8 to 11
        return out, weights


class CrossModalTransformer(nn.Module):
    """Enrich one modality (the target) by asking another (the source): "source -> target".

    Queries come from the target, keys and values from the source, and the output has the target's
    length. Every layer asks the same source again.

    Args:
        target_dim: features of the sequence to be enriched, which asks.
        source_dim: features of the sequence that answers.
        embed_dim: features inside and of the output; default ``target_dim``.
        num_heads: heads of each attention.
        layers: how many times the target asks.
        ffn_dim: hidden width of the feed-forward network; default twice ``embed_dim``.
        dropout: rate after each part and on the attention weights.
        residual: what Eq. 7 adds to the attention output: ``"query"``, the projected target, as the
            paper prints it, or ``"input"``, the target itself, as its reference code does.
        positions: ``"sinusoidal"`` adds position codes to both sequences first; None adds nothing.

    Shape:
        - target: (B, Tt, target_dim); source: (B, Ts, source_dim)
        - padding_mask: (B, Ts) bool, True where a step of the source is real
        - returns: (B, Tt, embed_dim), and with ``return_weights`` the last layer's weights
          (B, num_heads, Tt, Ts)

    Source:
        Crossmodal transformer with EmbraceNet, section 4.2.1, Eqs. 6 to 11.

    Choices:
        E-05: the target asks, which alone makes Eq. 12 conform. E-06: Q and several heads in Eq. 6.
        E-07: ``residual``. E-08, E-10: width, heads, layers, dropout. E-09: ``positions``; padding
        is never inferred from values. E-12: with one source step every weight is exactly 1, and
        attention is a linear map of the source.

    Raises:
        ValueError: an unknown residual or positions, ``residual="input"`` where ``target_dim`` and
            ``embed_dim`` differ, or heads that do not divide ``embed_dim``.
    """

    def __init__(
        self,
        *,
        target_dim: int,
        source_dim: int,
        embed_dim: int | None = None,
        num_heads: int = 4,
        layers: int = 1,
        ffn_dim: int | None = None,
        dropout: float = 0.1,
        residual: Literal["query", "input"] = "query",
        positions: Literal["sinusoidal"] | None = None,
    ) -> None:
        """Build the layers; see the class."""
        super().__init__()
        embed_dim = target_dim if embed_dim is None else embed_dim
        if residual not in ("query", "input"):
            raise ValueError(f"residual={residual!r} is unknown; expected 'query' or 'input'.")
        if positions not in (None, "sinusoidal"):
            raise ValueError(f"positions={positions!r} is unknown; expected 'sinusoidal' or None.")
        if residual == "input" and target_dim != embed_dim:
            raise ValueError(
                f"residual='input' adds the target ({target_dim} features) to the attention output "
                f"({embed_dim} features); expected equal widths. Set embed_dim={target_dim}, "
                "project the target first, or use residual='query'."
            )
        if layers < 1:
            raise ValueError(f"layers={layers}; expected at least one.")
        self.positions = nn.Identity() if positions is None else SinusoidalPositions()
        self.layers = nn.ModuleList(
            _CrossModalLayer(
                target_dim=target_dim if number == 0 else embed_dim,
                source_dim=source_dim,
                embed_dim=embed_dim,
                num_heads=num_heads,
                ffn_dim=ffn_dim or 2 * embed_dim,
                dropout=dropout,
                residual=residual,
            )
            for number in range(layers)
        )

    def forward(
        self,
        target: Tensor,
        source: Tensor,
        *,
        padding_mask: Tensor | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Pass what the source knows on to the target; see the class."""
        x, source = self.positions(target), self.positions(source)
        weights = None
        for layer in self.layers:
            x, weights = layer(x, source, padding_mask, return_weights)
        return (x, weights) if return_weights else x
