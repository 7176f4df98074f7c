"""Small models that must find the moment that counts, and say where they looked.

Lesson 03 trains them on the theatre's `spotlight` and `beat`: one stream says which frame of the
other holds the answer. They differ in one thing only, how the two streams meet.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmlib.layers import masked_max, scaled_dot_product_attention

#: AdamW moves a weight by about the learning rate a step. A bias over offsets has to reach 5 or so
#: to point at one frame; in units of a tenth it gets there in an epoch, not in ten.
BIAS_SCALE = 10.0


class MomentOutput(NamedTuple):
    """What a model says, and where it looked.

    Shape:
        logits (B, C); frame_weights (B, Tk), how much each step of the context counts, None where
        the model has no weights to show; gate (B, Tq), how much each step of the query is heard;
        attention (B, Tq, Tk), whom each step asks.
    """

    logits: Tensor
    frame_weights: Tensor | None = None
    gate: Tensor | None = None
    attention: Tensor | None = None


class FramewiseConcat(nn.Module):
    """Put what stands at the same step side by side, classify every step, keep the surest.

    Shape:
        each stream (B, T, widths[name]), all of one length; masks name -> (B, T) bool, True where
        a step is real; logits (B, num_classes)

    Raises:
        ValueError: streams of different lengths.
    """

    def __init__(self, *, widths: dict[str, int], num_classes: int, hidden_dim: int = 96) -> None:
        """Build one small perceptron that all steps share."""
        super().__init__()
        self.names = tuple(widths)
        self.classify = nn.Sequential(
            nn.Linear(sum(widths.values()), hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, num_classes),
        )

    def forward(self, *, masks: dict[str, Tensor] | None = None, **streams: Tensor) -> MomentOutput:
        """Classify; see the class."""
        joined, mask = side_by_side(self.names, streams, masks)
        return MomentOutput(masked_max(self.classify(joined), mask))


class ConcatWithAttention(nn.Module):
    """Frame-wise concatenation with attention beside it: a shortcut leads round the attention.

    Each step of `query` asks the other stream; what it brings home joins the two streams at that
    step, as a residual path would. The weights to show are those of the step that decided.

    Shape:
        as `FramewiseConcat`; frame_weights (B, T), attention (B, T, T)
    """

    def __init__(
        self,
        *,
        query: str,
        context: str,
        widths: dict[str, int],
        num_classes: int,
        embed_dim: int = 48,
        hidden_dim: int = 96,
    ) -> None:
        """Build the projections and the perceptron that all steps share."""
        super().__init__()
        self.query, self.context = query, context
        self.to_query = nn.Linear(widths[query], embed_dim)
        self.to_key = nn.Linear(widths[context], embed_dim)
        self.to_value = nn.Linear(widths[context], embed_dim)
        self.classify = nn.Sequential(
            nn.Linear(widths[query] + widths[context] + embed_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, num_classes),
        )

    def forward(self, *, masks: dict[str, Tensor] | None = None, **streams: Tensor) -> MomentOutput:
        """Classify and say where the step that decided has looked; see the class."""
        joined, mask = side_by_side((self.query, self.context), streams, masks)
        mixed, attention = scaled_dot_product_attention(
            self.to_query(streams[self.query]),
            self.to_key(streams[self.context]),
            self.to_value(streams[self.context]),
            mask=None if masks is None else masks[self.context][:, None, :],
            return_weights=True,
        )
        logits = self.classify(torch.cat([joined, mixed], dim=-1))  # (B, T, C)
        surest = logits.amax(-1)
        if mask is not None:
            surest = surest.masked_fill(~mask, torch.finfo(logits.dtype).min)
        step = surest.argmax(1)[:, None, None]
        looked = attention.take_along_dim(step, dim=1).squeeze(1)
        return MomentOutput(masked_max(logits, mask), looked, attention=attention)


class RecurrentConcat(nn.Module):
    """Put what stands at the same step side by side, read it from left to right, pool by attention.

    A GRU carries along what it heard, so the answer need not come when the question does. Its
    states are pooled by weights that a linear layer gives them.

    Shape:
        as `FramewiseConcat`; frame_weights (B, T) are the weights of the pooling
    """

    def __init__(
        self,
        *,
        widths: dict[str, int],
        num_classes: int,
        embed_dim: int = 48,
        hidden_dim: int = 64,
    ) -> None:
        """Build the streams' projections, the recurrent layer, the pooling and the classifier."""
        super().__init__()
        self.names = tuple(widths)
        self.embed = nn.ModuleDict(
            {n: nn.Sequential(nn.Linear(w, embed_dim), nn.ReLU()) for n, w in widths.items()}
        )
        self.read = nn.GRU(len(widths) * embed_dim, hidden_dim, batch_first=True)
        self.score = nn.Linear(hidden_dim, 1)
        self.classify = nn.Linear(hidden_dim, num_classes)

    def forward(self, *, masks: dict[str, Tensor] | None = None, **streams: Tensor) -> MomentOutput:
        """Classify; see the class."""
        embedded = {name: self.embed[name](streams[name]) for name in self.names}
        joined, mask = side_by_side(self.names, embedded, masks)
        states = self.read(joined)[0]  # (B, T, H)
        weights = masked_softmax(self.score(states).squeeze(-1), mask)  # (B, T)
        return MomentOutput(self.classify(weighted_sum(weights, states)), weights)


class MomentAttention(nn.Module):
    """Every step of one stream asks the other; a gate decides whose answer is heard.

    The score of a pair is content (query against key), and with `offsets` a learned bias for each
    distance in steps, ``position of the answer - position of the question``. Without it nothing
    here depends on the order of the context.

    Args:
        query: the name of the stream that asks.
        context: the name of the stream that answers.
        widths: features of each of the two.
        num_classes: answers to choose from.
        embed_dim: features of queries, keys and values.
        offsets: the two streams' lengths, if there is to be a bias over offsets; both streams
            must then count in the same ticks.

    Shape:
        query (B, Tq, widths[query]); context (B, Tk, widths[context]); masks name -> (B, T) bool,
        True where a step is real; logits (B, num_classes), frame_weights (B, Tk), gate (B, Tq),
        attention (B, Tq, Tk)

    Source:
        Eq. 6 of the crossmodal paper for one head, with the bias added to its scores.

    Choices:
        E-05: the stream that asks is named `query`, the one that answers `context`.
    """

    def __init__(
        self,
        *,
        query: str,
        context: str,
        widths: dict[str, int],
        num_classes: int,
        embed_dim: int = 48,
        offsets: tuple[int, int] | None = None,
    ) -> None:
        """Build the projections, the gate, and the bias if it is wanted."""
        super().__init__()
        self.query, self.context, self.offsets = query, context, offsets
        self.listen = nn.Sequential(nn.Linear(widths[query], embed_dim), nn.ReLU())
        self.gate = nn.Linear(embed_dim, 1)
        self.to_query = nn.Linear(embed_dim, embed_dim)
        self.to_key = nn.Linear(widths[context], embed_dim)
        self.to_value = nn.Linear(widths[context], embed_dim)
        self.classify = nn.Sequential(nn.ReLU(), nn.Linear(embed_dim, num_classes))
        if offsets is not None:
            self.bias = nn.Parameter(torch.zeros(sum(offsets) - 1))

    def forward(self, *, masks: dict[str, Tensor] | None = None, **streams: Tensor) -> MomentOutput:
        """Classify and say where it looked; see the class."""
        asking, answering = streams[self.query], streams[self.context]
        asks, answers = (None if masks is None else masks[n] for n in (self.query, self.context))
        heard = self.listen(asking)  # (B, Tq, D)
        mixed, attention = scaled_dot_product_attention(
            self.to_query(heard),
            self.to_key(answering),
            self.to_value(answering),
            mask=None if answers is None else answers[:, None, :],
            bias=self.offset_scores(),
            return_weights=True,
        )
        gate = masked_softmax(self.gate(heard).squeeze(-1), asks)  # (B, Tq)
        return MomentOutput(
            self.classify(weighted_sum(gate, mixed)),
            weighted_sum(gate, attention),
            gate,
            attention,
        )

    def offset_scores(self) -> Tensor | None:
        """What the bias adds to each pair, (Tq, Tk): the same number along each diagonal."""
        if self.offsets is None:
            return None
        asking, answering = (torch.arange(n, device=self.bias.device) for n in self.offsets)
        return BIAS_SCALE * self.bias[answering[None, :] - asking[:, None] + self.offsets[0] - 1]

    def offset_profile(self) -> tuple[Tensor, Tensor]:
        """The offsets, from -(Tq - 1) to Tk - 1, and the bias of each; both (Tq + Tk - 1,).

        Raises:
            ValueError: the model was built without offsets.
        """
        if self.offsets is None:
            raise ValueError("this model has no bias over offsets; build it with offsets=(Tq, Tk).")
        first = 1 - self.offsets[0]
        offsets = torch.arange(first, self.offsets[1], device=self.bias.device)
        return offsets, BIAS_SCALE * self.bias.detach()


def side_by_side(
    names: tuple[str, ...], streams: dict[str, Tensor], masks: dict[str, Tensor] | None
) -> tuple[Tensor, Tensor | None]:
    """Join streams of one length step by step; (B, T, sum of widths) and where all are real, (B, T).

    Raises:
        ValueError: streams of different lengths.
    """
    lengths = {name: streams[name].shape[1] for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"steps can stand side by side only in streams of one length, not {lengths}; resample "
            "one of them first, or let one attend to the other."
        )
    joined = torch.cat([streams[name] for name in names], dim=-1)
    if masks is None:
        return joined, None
    return joined, torch.stack([masks[name] for name in names]).all(0)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Weights over the last axis that sum to one over the real steps; all zero where none is."""
    if mask is None:
        return scores.softmax(-1)
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Sum steps by their weights: (B, T), (B, T, D) -> (B, D)."""
    return torch.einsum("bt,btd->bd", weights, values)
