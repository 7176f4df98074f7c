"""Checks of lesson 02: softmax that survives, scores that stay small, heads, and the empty row."""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.layers import scaled_dot_product_attention

SOFTMAX = (
    torch.softmax, torch.log_softmax, Tensor.softmax, Tensor.log_softmax,
    F.softmax, F.log_softmax, nn.Softmax, nn.LogSoftmax,
)  # fmt: skip
ATTENTION = (F.scaled_dot_product_attention, scaled_dot_product_attention, nn.MultiheadAttention)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Turn each row of scores into shares of one, nothing for the keys that are masked out."""
    scores = scores.masked_fill(~mask, float("-inf"))
    scores = scores - scores.amax(dim=-1, keepdim=True)
    weights = scores.exp()
    return weights / weights.sum(dim=-1, keepdim=True)


@exercise("02.1", title="a softmax that survives", reference=masked_softmax, forbidden=SOFTMAX)
def check_masked_softmax(answer: Any) -> None:
    """Try a row that can be done by hand, masks, huge scores, a loud masked key, gradients."""
    expect.is_callable(answer, name="masked_softmax")
    third = torch.tensor([[0.0, torch.log(torch.tensor(2.0)), 5.0]])
    keep = torch.tensor([[True, True, False]])
    tried = "scores [0, ln 2, 5] of which the last is masked: by hand 1/3, 2/3, 0"
    with expect.inputs_left_alone(hint=2, scores=third, mask=keep):
        came = answer(third, keep)
    expect.shape(came, (1, 3), tried=tried)
    expect.close(came, torch.tensor([[1 / 3, 2 / 3, 0.0]]), name="weights", tried=tried, hint=2)

    fresh = expect.Fresh(1)
    for device in expect.devices():
        batch, queries, keys = 2, 5, 11
        scores = 3 * fresh.normal(batch, queries, keys).to(device)
        mask = fresh.padding_mask(batch, keys)[:, None, :].to(device)
        tried = "scores (2, 5, 11) and a padding mask (2, 1, 11), which broadcasts over the queries"
        with expect.inputs_left_alone(hint=2, scores=scores, mask=mask):
            came = answer(scores, mask)
        expect.shape(came, (batch, queries, keys), tried=tried)
        expect.like(came, scores, tried=tried)
        expect.finite(came, name="each weight", tried=tried, hint=2)
        expect.sums_to_one(came, tried=tried, hint=2)
        expect.zero(came, ~mask, name="the weight of a masked key", tried=tried, hint=2)
        expect.close(came, masked_softmax(scores, mask), name="weights", tried=tried, hint=2)

    loud = torch.tensor([[1000.0, 999.0, 0.0], [-1000.0, -1001.0, -1000.0]])
    everyone = torch.ones(2, 3, dtype=torch.bool)
    tried = "rows of scores around 1000 and around -1000, nothing masked"
    came = answer(loud, everyone)
    expect.finite(came, name="each weight", tried=tried, hint=1)
    expect.close(came, masked_softmax(loud, everyone), name="weights", tried=tried, hint=3)
    hidden = torch.tensor([[1000.0, 1.0, 2.0]])
    quiet = torch.tensor([[False, True, True]])
    tried = "scores [1000, 1, 2] of which the first is masked"
    came = answer(hidden, quiet)
    expect.finite(came, name="each weight", tried=tried, hint=3)
    expect.close(came, masked_softmax(hidden, quiet), name="weights", tried=tried, hint=3)

    scores = fresh.normal(7, 3).requires_grad_()
    mask = torch.ones(7, 3, dtype=torch.bool)
    mask[:, 1] = False
    came = answer(scores, mask)
    tried = "scores (7, 3) with the middle key masked, and the gradient"
    expect.gradient_reaches(came, scores, where=(slice(None), 0), tried=tried, hint=3)
    expect.no_gradient_reaches(
        came, scores, where=(slice(None), 1), name="a masked score", tried=tried, hint=2
    )


def saturation(query: Tensor, key: Tensor, scaled: bool) -> tuple[Tensor, Tensor]:
    """Measure how far scores spread, and how much the softmax of them still moves."""
    scores = query @ key.transpose(-2, -1)
    if scaled:
        scores = scores / query.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return scores.std(), (weights * (1 - weights)).mean()


@exercise("02.2", title="why divide by the root of d", reference=saturation)
def check_saturation(answer: Any) -> None:
    """Try a case done by hand, then widths from narrow to wide, with and without the division."""
    expect.is_callable(answer, name="saturation")
    query, key = torch.zeros(1, 4), torch.zeros(2, 4)
    key[0, 0] = 1.0
    tried = "one query of four zeros and two keys, so that both scores are 0 and both weights 1/2"
    spread, slope = expect.pair(
        answer(query, key, True), "two numbers, the spread and the slope", tried=tried
    )
    expect.close(spread, 0.0, name="the spread", tried=tried, hint=2)
    expect.close(slope, 0.25, name="the slope", tried=tried, hint=3)

    fresh = expect.Fresh(2)
    for queries, keys, width in ((7, 5, 3), (5, 13, 64), (11, 3, 400)):
        query, key = fresh.normal(queries, width), fresh.normal(keys, width)
        for scaled in (False, True):
            tried = f"query ({queries}, {width}), key ({keys}, {width}), scaled={scaled}"
            with expect.inputs_left_alone(hint=2, query=query, key=key):
                spread, slope = expect.pair(
                    answer(query, key, scaled), "two numbers, the spread and the slope", tried=tried
                )
            right = saturation(query, key, scaled)
            expect.close(spread, right[0], name="the spread", tried=tried, hint=2, rtol=0.02)
            expect.close(slope, right[1], name="the slope", tried=tried, hint=3)


def in_heads(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Split the features over heads, let each head attend, and put the heads side by side."""
    query, key, value = (
        rearrange(x, "b t (h d) -> b h t d", h=num_heads) for x in (query, key, value)
    )
    return rearrange(attend(query, key, value), "b h t d -> b t (h d)")


@exercise("02.3", title="split and merge heads", reference=in_heads)
def check_in_heads(answer: Any) -> None:
    """Look at what each head is given, and at where its answer ends up."""
    expect.is_callable(answer, name="in_heads")
    fresh = expect.Fresh(3)
    batch, queries, keys, heads, width = 2, 5, 7, 3, 4
    query = fresh.normal(batch, queries, heads * width)
    key, value = (fresh.normal(batch, keys, heads * width) for _ in range(2))
    whole = (("query", query, queries), ("key", key, keys), ("value", value, keys))
    tried = "query (2, 5, 12), key and value (2, 7, 12), three heads"
    calls = 0

    def watch(*given: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        for got, (name, source, steps) in zip(given, whole, strict=True):
            what = f"the {name} that attend is given"
            expect.shape(got, (batch, heads, steps, width), name=what, tried=tried, hint=1)
            for head in range(heads):
                first, last = head * width, (head + 1) * width - 1
                expect.close(
                    got[:, head],
                    source[..., first : last + 1],
                    name=f"head {head}'s {name}",
                    tried=f"{tried}; features {first} to {last} belong to head {head}",
                    hint=2,
                )
        return scaled_dot_product_attention(*given)

    with expect.inputs_left_alone(hint=2, query=query, key=key, value=value):
        came = answer(query, key, value, heads, watch)
    expect.that(
        calls == 1,
        "one call of attend, for all heads at once",
        got=f"{calls} calls",
        tried=tried,
        hint=1,
    )
    expect.shape(came, (batch, queries, heads * width), tried=tried, hint=3)
    expect.close(
        came,
        in_heads(query, key, value, heads, scaled_dot_product_attention),
        name="the merged heads",
        tried=tried,
        hint=3,
    )
    for heads in (1, 12):
        tried = f"the same with {heads} heads"
        expect.close(
            answer(query, key, value, heads, scaled_dot_product_attention),
            in_heads(query, key, value, heads, scaled_dot_product_attention),
            name="the merged heads",
            tried=tried,
            hint=3,
        )


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attend to the keys that the mask allows; where it allows none, bring back zeros."""
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1).masked_fill(~mask, 0.0)
    return weights @ value, weights


@exercise("02.4", title="the row with nothing to see", reference=attention, forbidden=ATTENTION)
def check_attention(answer: Any) -> None:
    """Try attention with a whole mask, then with rows that see nothing, forwards and backwards."""
    expect.is_callable(answer, name="attention")
    fresh = expect.Fresh(4)
    for device in expect.devices():
        query, key = fresh.normal(2, 3, 5, 7).to(device), fresh.normal(2, 3, 11, 7).to(device)
        value = fresh.normal(2, 3, 11, 13).to(device)
        mask = fresh.padding_mask(2, 11)[:, None, None, :].to(device)
        tried = "query (2, 3, 5, 7), key (2, 3, 11, 7), value (2, 3, 11, 13), padding mask of keys"
        with expect.inputs_left_alone(hint=1, query=query, key=key, value=value, mask=mask):
            out, weights = expect.pair(
                answer(query, key, value, mask), "the output and the weights", tried=tried
            )
        expect.shape(weights, (2, 3, 5, 11), name="the weights", tried=tried, hint=1)
        expect.shape(out, (2, 3, 5, 13), name="the output", tried=tried, hint=1)
        expect.like(out, query, name="the output", tried=tried)
        expect.sums_to_one(weights, tried=tried, hint=1)
        expect.zero(weights, ~mask, name="the weight of a masked key", tried=tried, hint=1)
        right = attention(query, key, value, mask)
        expect.close(weights, right[1], name="the weights", tried=tried, hint=1)
        expect.close(out, right[0], name="the output", tried=tried, hint=1)

    query, key, value = (fresh.normal(*shape) for shape in ((2, 3, 5), (2, 7, 5), (2, 7, 4)))
    mask = fresh.uniform(2, 3, 7) > 0.4
    mask[..., 0] = True
    mask[0, 1] = False
    tried = "query (2, 3, 5) and seven keys, where query 1 of sample 0 may attend to none of them"
    _look_at_empty_row(answer, query, key, value, mask, tried)
    mask[1] = False
    tried = "the same, where in addition sample 1 has no real key at all"
    _look_at_empty_row(answer, query, key, value, mask, tried)
    _look_at_empty_row(
        answer, query, key, value, torch.zeros_like(mask), "the same with nothing to see anywhere"
    )


def _look_at_empty_row(
    answer: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, tried: str
) -> None:
    """Zeros where nothing may be seen, the usual elsewhere, and gradients that stay numbers."""
    inputs = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    out, weights = expect.pair(answer(*inputs, mask), "the output and the weights", tried=tried)
    right, _ = attention(query, key, value, mask)
    empty = ~mask.any(dim=-1)
    expect.shape(out, tuple(right.shape), name="the output", tried=tried)
    expect.finite(out, name="the output", tried=tried, hint=1)
    expect.zero(out, empty[..., None], name="the output of the empty row", tried=tried, hint=2)
    expect.zero(weights, ~mask, name="the weight of a masked key", tried=tried, hint=2)
    expect.close(out, right, name="the output", tried=tried, hint=2)
    gradients = torch.autograd.grad(out.square().sum(), inputs, allow_unused=True)
    for name, gradient in zip(("query", "key", "value"), gradients, strict=True):
        expect.that(
            gradient is not None, f"a gradient for the {name}", got="none", tried=tried, hint=3
        )
        assert gradient is not None
        what = f"the gradient of the {name}"
        expect.finite(gradient, name=what, tried=tried, hint=3)
        if name == "query":
            expect.zero(gradient, empty[..., None], name=what, tried=tried, hint=3)
