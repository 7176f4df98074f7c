"""Checks of lesson 03: cross-attention, who asks, the planted lag, samples that mix."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.layers import MultiHeadAttention, scaled_dot_product_attention

ATTENTION = (
    F.scaled_dot_product_attention, scaled_dot_product_attention,
    nn.MultiheadAttention, MultiHeadAttention,
)  # fmt: skip


def cross_attend(
    query: Tensor, context: Tensor, to_query: Tensor, to_key: Tensor, to_value: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Let each step of the query stream attend to the real steps of the context stream."""
    asked, keys, values = query @ to_query, context @ to_key, context @ to_value
    scores = asked @ keys.transpose(-2, -1) / asked.shape[-1] ** 0.5  # (B, Tq, Tk)
    scores = scores.masked_fill(~mask[:, None, :], torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1).masked_fill(~mask[:, None, :], 0.0)
    return weights @ values, weights


@exercise("03.1", title="cross-attention", reference=cross_attend, forbidden=ATTENTION)
def check_cross_attend(answer: Any) -> None:
    """Try a case by hand, streams of unequal lengths and widths, masks, an absent stream."""
    expect.is_callable(answer, name="cross_attend")
    _attend_by_hand(answer)
    fresh = expect.Fresh(31)
    for device in expect.devices():
        query, context = fresh.normal(2, 5, 11).to(device), fresh.normal(2, 7, 13).to(device)
        to_query, to_key = fresh.normal(11, 3).to(device), fresh.normal(13, 3).to(device)
        maps = (to_query, to_key, fresh.normal(13, 17).to(device))
        mask = fresh.padding_mask(2, 7).to(device)
        tried = "query (2, 5, 11), context (2, 7, 13), maps to 3, 3 and 17 features, mask (2, 7)"
        with expect.inputs_left_alone(hint=2, query=query, context=context, mask=mask):
            out, weights = expect.pair(
                answer(query, context, *maps, mask), "the output and the weights", tried=tried
            )
        expect.shape(weights, (2, 5, 7), name="the weights", tried=tried, hint=1)
        expect.shape(out, (2, 5, 17), name="the output", tried=tried, hint=1)
        expect.like(out, query, name="the output", tried=tried)
        expect.finite(out, name="the output", tried=tried, hint=3)
        expect.sums_to_one(weights, tried=tried, hint=2)
        absent = ~mask[:, None, :]
        expect.zero(weights, absent, name="the weight of a padded step", tried=tried, hint=2)
        right = cross_attend(query, context, *maps, mask)
        expect.close(weights, right[1], name="the weights", tried=tried, hint=2)
        expect.close(out, right[0], name="the output", tried=tried, hint=1)
    _attend_to_nothing(answer, fresh)
    _attend_with_gradients(answer, fresh)


def _attend_by_hand(answer: Any) -> None:
    one = torch.ones(1, 1)
    query, context = torch.zeros(1, 2, 1), torch.tensor([[[1.0], [3.0], [50.0]]])
    mask = torch.tensor([[True, True, False]])
    tried = "two queries that are zero, a context of 1, 3 and 50, of which 50 is padding: by hand 2"
    out, weights = expect.pair(
        answer(query, context, one, one, one, mask), "the output and the weights", tried=tried
    )
    expect.shape(out, (1, 2, 1), name="the output", tried=tried, hint=1)
    expect.close(out, torch.full((1, 2, 1), 2.0), name="the output", tried=tried, hint=2)
    halves = torch.tensor([0.5, 0.5, 0.0]).expand(1, 2, 3)
    expect.close(weights, halves, name="the weights", tried=tried, hint=2)


def _attend_to_nothing(answer: Any, fresh: expect.Fresh) -> None:
    query, context = fresh.normal(3, 2, 5), fresh.normal(3, 7, 5)
    maps = (fresh.normal(5, 4), fresh.normal(5, 4), fresh.normal(5, 4))
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1] = False
    tried = "three samples, of which sample 1 has no context at all (its mask is all False)"
    out, weights = expect.pair(
        answer(query, context, *maps, mask), "the output and the weights", tried=tried
    )
    expect.finite(out, name="the output", tried=tried, hint=3)
    expect.zero(weights[1], name="the weights of the absent context", tried=tried, hint=3)
    expect.zero(out[1], name="the output for the absent context", tried=tried, hint=3)
    right = cross_attend(query, context, *maps, mask)[0]
    expect.close(out, right, name="the output", tried=tried, hint=3)


def _attend_with_gradients(answer: Any, fresh: expect.Fresh) -> None:
    query = fresh.normal(2, 3, 5).requires_grad_()
    context = fresh.normal(2, 7, 5).requires_grad_()
    maps = [fresh.normal(5, 4).requires_grad_() for _ in range(3)]
    mask = fresh.padding_mask(2, 7)
    tried = "the gradient of the output"
    out, _ = expect.pair(
        answer(query, context, *maps, mask), "the output and the weights", tried=tried
    )
    expect.gradient_reaches(out, query, context, *maps, name="every input", tried=tried, hint=1)
    expect.no_gradient_reaches(
        out, context, where=~mask, name="a padded step of the context", tried=tried, hint=2
    )


Layer = Callable[[Tensor, Tensor], Tensor]


class TwoStreams(nn.Module):
    """A layer in which one of two streams of equal shape asks; it does not say which.

    Args:
        query: "first" or "second".
        residual: which stream is added to what was brought home: "query", "context" or "none".
        scale: a factor on the query and its inverse on the context, to mislead a look at sizes.
    """

    def __init__(
        self, *, width: int, query: str, residual: str = "none", scale: float = 1.0, heads: int = 1
    ) -> None:
        """Draw the weights."""
        super().__init__()
        self.attend = MultiHeadAttention(query_dim=width, num_heads=heads)
        self.query, self.residual, self.scale = query, residual, scale

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, T, D), (B, T, D) -> (B, T, D)."""
        query, context = (first, second) if self.query == "first" else (second, first)
        out = self.attend(query * self.scale, context / self.scale)
        if self.residual == "query":
            out = F.layer_norm(query + out, out.shape[-1:])
        elif self.residual == "context":
            out = out + context
        return out


def who_asks(layer: Layer, first: Tensor, second: Tensor) -> str:
    """Say which of two streams is the query of a layer: "first" or "second"."""
    first, second = (stream.detach().clone().requires_grad_() for stream in (first, second))
    step = layer(first, second)[:, 0]  # what the layer gives out for step 0
    gradients = torch.autograd.grad((step * torch.randn_like(step)).sum(), (first, second))
    elsewhere = [gradient[:, 1:].abs().sum().item() for gradient in gradients]
    return "first" if elsewhere[0] < elsewhere[1] else "second"


@exercise("03.2", title="who asks, and who answers", reference=who_asks)
def check_who_asks(answer: Any) -> None:
    """Try layers of known direction, with residual paths and scales that mislead."""
    expect.is_callable(answer, name="who_asks")
    fresh = expect.Fresh(32)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "a layer that attends and does nothing else"),
        ({"residual": "query"}, "a layer with a residual path from the query, and a layer norm"),
        ({"residual": "context"}, "a layer that adds the context to what was brought home"),
        ({"scale": 8.0}, "a layer that is much louder for one stream than for the other"),
        ({"scale": 0.125, "heads": 2}, "a layer with two heads, louder for the other stream"),
    ]
    for settings, tried in cases:
        for query in ("first", "second"):
            layer = TwoStreams(width=4, query=query, **settings)
            first, second = fresh.normal(3, 5, 4), fresh.normal(3, 5, 4)
            with expect.inputs_left_alone(hint=1, first=first, second=second):
                came = answer(layer, first, second)
            expect.kind(came, str, tried=tried, hint=1)
            expect.that(
                came == query, f"{query!r}", got=f"{came!r}", tried=tried, hint=2 if settings else 1
            )
    for query in ("first", "second"):
        layer = TwoStreams(width=4, query=query, residual="query")
        stream = fresh.normal(2, 7, 4)
        tried = "the same tensor given as both streams"
        came = answer(layer, stream, stream)
        expect.that(came == query, f"{query!r}", got=f"{came!r}", tried=tried, hint=3)
        expect.that(
            not stream.requires_grad,
            "the caller's tensor as it was",
            got="one that requires a gradient now",
            tried=tried,
            hint=1,
        )


def recover_lag(maps: Tensor, max_lag: int) -> int:
    """Find the offset, key minus query, on whose diagonal the maps are largest on average."""
    mean = maps.mean(dim=0)
    offsets = list(range(-max_lag, max_lag + 1))
    heights = torch.stack([mean.diagonal(offset).mean() for offset in offsets])
    return offsets[int(heights.argmax())]


@exercise("03.3", title="the planted lag, recovered", reference=recover_lag)
def check_recover_lag(answer: Any) -> None:
    """Try bare diagonals, short ones, noise, maps with negative entries, wide and tall maps."""
    expect.is_callable(answer, name="recover_lag")
    for lag in (2, -1, 0):
        planted = torch.zeros(1, 5, 7)
        planted[0].diagonal(lag).fill_(1.0)
        _expect_lag(answer, planted, 3, lag, f"a 5 x 7 map of ones where key - query = {lag}", 1)
    faint = torch.full((2, 12, 12), 0.05)
    faint.diagonal(0, 1, 2).fill_(0.10)
    faint.diagonal(6, 1, 2).fill_(0.15)
    tried = "twelve steps of .10 where the offset is 0, and six steps of .15 where it is 6"
    _expect_lag(answer, faint, 8, 6, tried, 2)
    corner = torch.full((2, 9, 9), 0.1)
    corner[:, 0, 8] = 1.0
    corner.diagonal(-2, 1, 2).fill_(0.3)
    tried = "a single tall corner at offset 8, beyond max_lag = 4, and a diagonal at -2"
    _expect_lag(answer, corner, 4, -2, tried, 3)
    fresh = expect.Fresh(33)
    for queries, keys, lag in ((12, 12, 4), (11, 17, 5), (17, 11, -3)):
        maps = 0.5 * fresh.normal(29, queries, keys)
        maps.diagonal(lag, 1, 2).add_(0.7)
        maps.diagonal(-lag, 1, 2).sub_(1.4)
        tried = f"29 noisy correlation maps {queries} x {keys}, low at {-lag} and high at {lag}"
        _expect_lag(answer, maps, 6, lag, tried, 3)
        _expect_lag(answer, maps, abs(lag), lag, f"the same with max_lag = {abs(lag)}", 3)
    circular = torch.full((1, 8, 8), 0.2)
    circular.diagonal(-5, 1, 2).fill_(0.5)  # three cells: a step round the corner is no offset of 3
    circular.diagonal(3, 1, 2).fill_(0.45)
    _expect_lag(answer, circular, 6, -5, "a diagonal of .50 at -5 and one of .45 at +3", 3)


def _expect_lag(
    answer: Any, maps: Tensor, max_lag: int, lag: int, tried: str, hint: int | None
) -> None:
    with expect.inputs_left_alone(hint=1, maps=maps):
        came = answer(maps, max_lag)
    whole = isinstance(came, int) or (isinstance(came, Tensor) and came.ndim == 0)
    expect.that(whole, "a whole number", got=f"a {type(came).__name__}", tried=tried, hint=1)
    expect.that(int(came) == lag == came, f"{lag}", got=f"{came}", tried=tried, hint=hint)


class SequenceFirst(nn.Module):
    """Batch-first input in a module that expects time first: our reconstruction of J-10.

    Torch's module reads the first axis as time unless told otherwise, so here step i of every
    sample attends to step i of the other samples. The shapes fit, and nothing complains.
    """

    def __init__(self, *, width: int, batch_first: bool = False, dropout: float = 0.0) -> None:
        """Build the attention; `batch_first=True` mends it."""
        super().__init__()
        self.attend = nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=batch_first)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, T, D), (B, T, D) -> (B, T, D)."""
        return self.attend(query, context, context, need_weights=False)[0]


class Neighbourly(nn.Module):
    """A layer that is right but for one thing: a little of another sample's stream leaks in.

    Args:
        stream: which stream leaks, "query" or "context".
        from_last: only the last sample leaks, and only into the first; else all into all.
        norm: whether the streams are normalised over their features first.
    """

    def __init__(
        self, *, width: int, stream: str, from_last: bool = False, norm: bool = False
    ) -> None:
        """Draw the weights."""
        super().__init__()
        self.attend = MultiHeadAttention(query_dim=width, num_heads=1)
        self.stream, self.from_last, self.norm = stream, from_last, norm

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, T, D), (B, T, D) -> (B, T, D)."""
        if self.norm:
            query, context = (F.layer_norm(x, x.shape[-1:]) for x in (query, context))
        if self.stream == "query":
            query = query + self._leak(query)
        else:
            context = context + self._leak(context)
        return self.attend(query, context)

    def _leak(self, stream: Tensor) -> Tensor:
        if not self.from_last:
            return 0.3 * stream.mean(dim=0, keepdim=True)
        first = torch.zeros(len(stream), 1, 1, dtype=stream.dtype, device=stream.device)
        first[0] = 0.3
        return first * stream[-1]


def mixes_samples(layer: nn.Module, query: Tensor, context: Tensor) -> bool:
    """Say whether what one sample gets out depends on any other sample of the batch."""
    layer.eval()
    with torch.no_grad():
        together = layer(query, context)
        for i in range(len(query)):
            others = torch.arange(len(query)) != i
            changed_query, changed_context = query.clone(), context.clone()
            changed_query[i] = torch.randn_like(query[i])
            changed_context[i] = torch.randn_like(context[i])
            after = layer(changed_query, changed_context)
            if not torch.allclose(after[others], together[others], atol=1e-5):
                return True
    return False


@exercise("03.4", title="samples that mix", reference=mixes_samples)
def check_mixes_samples(answer: Any) -> None:
    """Try sound layers and leaky ones: through either stream, from one sample only, with dropout."""
    expect.is_callable(answer, name="mixes_samples")
    width = 4
    cases: list[tuple[nn.Module, bool, str, int]] = [
        (MultiHeadAttention(query_dim=width, num_heads=1), False, "the course's own attention", 1),
        (SequenceFirst(width=width), True, "batch-first input in a time-first module (J-10)", 1),
        (SequenceFirst(width=width, batch_first=True), False, "the same module, mended", 1),
        (Neighbourly(width=width, stream="query"), True, "a leak through the query stream", 2),
        (Neighbourly(width=width, stream="context"), True, "a leak through the context stream", 2),
        (
            Neighbourly(width=width, stream="context", norm=True),
            True,
            "a leak behind a layer norm, which a shift of all features alike cannot pass",
            3,
        ),
        (
            Neighbourly(width=width, stream="query", from_last=True),
            True,
            "a leak from the last sample into the first, and no other",
            3,
        ),
        (
            SequenceFirst(width=width, batch_first=True, dropout=0.5),
            False,
            "a sound layer with dropout, left in training mode",
            3,
        ),
    ]
    fresh = expect.Fresh(34)
    for layer, mixes, tried, hint in cases:
        for batch, time in ((2, 5), (7, 3)):
            query, context = fresh.normal(batch, time, width), fresh.normal(batch, time, width)
            layer.train()
            with expect.inputs_left_alone(hint=1, query=query, context=context):
                came = answer(layer, query, context)
            where = f"{tried}, with {batch} samples of {time} steps"
            expect.kind(came, bool, tried=where, hint=1)
            expect.that(came is mixes, f"{mixes}", got=f"{came}", tried=where, hint=hint)
