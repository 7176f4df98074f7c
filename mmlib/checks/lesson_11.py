"""Checks of lesson 11: six directions at once, two scores, two axes that were mixed up, five folds."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmlib.checks import expect
from mmlib.checks.counting import operations
from mmlib.checks.framework import exercise
from mmlib.layers import MultiHeadAttention, scaled_dot_product_attention
from mmlib.losses import concordance_loss
from mmlib.metrics import seed_spread
from mmlib.systems.jmt import PairwiseAttention

ATTENTION = (
    F.scaled_dot_product_attention, scaled_dot_product_attention,
    nn.MultiheadAttention, MultiHeadAttention, PairwiseAttention,
)  # fmt: skip


def six_directions(
    states: Mapping[str, Tensor], to_query: Tensor, to_key: Tensor, to_value: Tensor
) -> tuple[Tensor, Tensor]:
    """Let every source ask every other one, all ordered pairs in one batched attention."""
    pairs = [(query, context) for query in states for context in states if query != context]
    asking = torch.stack([states[query] for query, _ in pairs])  # (P, B, T, D)
    answering = torch.stack([states[context] for _, context in pairs])
    query = asking @ to_query[:, None]
    key, value = answering @ to_key[:, None], answering @ to_value[:, None]
    weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ value, weights


@exercise(
    "11.1", title="six directions from one function", reference=six_directions, forbidden=ATTENTION
)
def check_six_directions(answer: Any) -> None:
    """Try two, three and four sources, a source that shouts, gradients; count the softmaxes."""
    expect.is_callable(answer, name="six_directions")
    fresh = expect.Fresh(111)
    for device in expect.devices():
        for names, batch, steps, width, inner in (
            (("audio", "vision", "joint"), 2, 5, 7, 3),
            (("vision", "audio"), 3, 2, 5, 7),
            (("joint", "vision", "text", "audio"), 5, 3, 2, 4),
        ):
            count = len(names) * (len(names) - 1)
            states = {name: fresh.normal(batch, steps, width).to(device) for name in names}
            maps = [fresh.normal(count, width, inner).to(device) for _ in range(3)]
            tried = f"sources {', '.join(names)}, each {(batch, steps, width)}, {count} pairs"
            with expect.inputs_left_alone(hint=1, **states):
                out, weights = expect.pair(
                    answer(dict(states), *maps), "the outputs and the weights", tried=tried
                )
            expect.shape(out, (count, batch, steps, inner), name="the outputs", tried=tried, hint=1)
            shape = (count, batch, steps, steps)
            expect.shape(weights, shape, name="the weights", tried=tried, hint=1)
            expect.like(out, maps[0], name="the outputs", tried=tried)
            expect.finite(out, name="the outputs", tried=tried)
            expect.sums_to_one(weights, tried=tried, hint=2)
            right = six_directions(states, *maps)
            expect.close(weights, right[1], name="the weights", tried=tried, hint=2)
            expect.close(out, right[0], name="the outputs", tried=tried, hint=3)
    _one_softmax(answer, fresh)
    _every_map_learns(answer, fresh)


def _one_softmax(answer: Any, fresh: expect.Fresh) -> None:
    states = {name: fresh.normal(2, 3, 5) for name in ("audio", "vision", "joint")}
    maps = [fresh.normal(6, 5, 4) for _ in range(3)]
    calls = operations(lambda: answer(dict(states), *maps))
    most = max(calls["softmax"], calls["exp"])
    expect.that(
        most <= 1,
        "one softmax for all six pairs",
        got=f"{most}, so the pairs are computed one after the other",
        tried="three sources, operations counted",
        hint=3,
    )


def _every_map_learns(answer: Any, fresh: expect.Fresh) -> None:
    states = {name: fresh.normal(2, 3, 5).requires_grad_() for name in ("audio", "vision", "joint")}
    maps = [fresh.normal(6, 5, 4).requires_grad_() for _ in range(3)]
    tried = "the gradient of the outputs"
    out, _ = expect.pair(answer(dict(states), *maps), "the outputs and the weights", tried=tried)
    expect.gradient_reaches(
        out, *states.values(), *maps, name="every source and map", tried=tried, hint=1
    )
    asks = out[:2]  # the pairs in which the first source asks
    tried = "the two outputs in which the first source asks"
    expect.no_gradient_reaches(asks, maps[0], where=slice(2, None), name="another pair's map",
                               tried=tried, hint=2)  # fmt: skip


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, score: str
) -> tuple[Tensor, Tensor]:
    """Weigh the values by softmax or by sigmoid of the scaled scores; what is not real weighs zero."""
    scores = query @ key.mT / query.shape[-1] ** 0.5  # (B, Tq, Tk)
    absent = ~mask[:, None, :]
    if score == "sigmoid":
        weights = scores.sigmoid()
    else:
        weights = scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(dim=-1)
    weights = weights.masked_fill(absent, 0.0)
    return weights @ value, weights


@exercise("11.2", title="sigmoid against softmax", reference=attend, forbidden=ATTENTION)
def check_attend(answer: Any) -> None:
    """Try both scores by hand, unequal lengths, padding, a row without any key."""
    expect.is_callable(answer, name="attend")
    zeros = torch.zeros(1, 2, 1)
    values, mask = torch.tensor([[[1.0], [3.0], [50.0]]]), torch.tensor([[True, True, False]])
    for score, total in (("softmax", 2.0), ("sigmoid", 2.0)):
        tried = f"{score}, scores of zero, values 1, 3 and 50, of which 50 is padding"
        out, weights = expect.pair(
            answer(zeros, torch.zeros(1, 3, 1), values, mask, score),
            "the output and the weights",
            tried=tried,
        )
        halves = torch.tensor([0.5, 0.5, 0.0]).expand(1, 2, 3)
        expect.close(weights, halves, name="the weights", tried=tried, hint=2)
        expect.close(out, torch.full((1, 2, 1), total), name="the output", tried=tried, hint=2)
    fresh = expect.Fresh(112)
    for device in expect.devices():
        query, key = fresh.normal(3, 5, 11).to(device), fresh.normal(3, 7, 11).to(device)
        value, mask = fresh.normal(3, 7, 13).to(device), fresh.padding_mask(3, 7).to(device)
        for score in ("softmax", "sigmoid"):
            tried = f"{score}, query (3, 5, 11), key (3, 7, 11), value (3, 7, 13), mask (3, 7)"
            with expect.inputs_left_alone(hint=1, query=query, key=key, value=value, mask=mask):
                out, weights = expect.pair(
                    answer(query, key, value, mask, score),
                    "the output and the weights",
                    tried=tried,
                )
            expect.shape(weights, (3, 5, 7), name="the weights", tried=tried, hint=1)
            expect.shape(out, (3, 5, 13), name="the output", tried=tried, hint=1)
            expect.like(out, query, name="the output", tried=tried)
            absent = ~mask[:, None, :]
            expect.zero(weights, absent, name="the weight of a padded step", tried=tried, hint=2)
            if score == "softmax":
                expect.sums_to_one(weights, tried=tried, hint=1)
            right = attend(query, key, value, mask, score)
            expect.close(weights, right[1], name="the weights", tried=tried, hint=1)
            expect.close(out, right[0], name="the output", tried=tried, hint=1)
    _attend_to_nobody(answer, fresh)


def _attend_to_nobody(answer: Any, fresh: expect.Fresh) -> None:
    query, key, value = fresh.normal(2, 3, 5), fresh.normal(2, 7, 5), fresh.normal(2, 7, 2)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1] = False
    for score in ("softmax", "sigmoid"):
        tried = f"{score}, two samples, of which sample 1 has no key at all"
        out, weights = expect.pair(
            answer(query, key, value, mask, score), "the output and the weights", tried=tried
        )
        expect.finite(out, name="the output", tried=tried, hint=3)
        expect.zero(weights[1], name="its weights", tried=tried, hint=3)
        expect.zero(out[1], name="its output", tried=tried, hint=3)
        right = attend(query, key, value, mask, score)[0]
        expect.close(out, right, name="the output", tried=tried, hint=3)


def jointless(
    audio: Tensor,
    vision: Tensor,
    encoders: Mapping[str, nn.Module],
    crossings: Mapping[str, nn.Module],
) -> Tensor:
    """Encode both streams and let each ask the other, by layers that take time first."""
    streams = {"audio": audio.transpose(0, 1), "vision": vision.transpose(0, 1)}  # (T, B, D)
    states = {name: encoders[name](stream) for name, stream in streams.items()}
    heard = [
        crossings[asks](states[asks], states[answers], states[answers], need_weights=False)[0]
        for asks, answers in (("audio", "vision"), ("vision", "audio"))
    ]
    return torch.cat(heard, dim=-1).transpose(0, 1)


def time_first_layers(width: int) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """Build an encoder and an attention a stream, in torch's default layout: (T, B, width)."""
    names = ("audio", "vision")
    encoders: dict[str, nn.Module] = {
        name: nn.TransformerEncoderLayer(width, 1, dim_feedforward=width, dropout=0.0).eval()
        for name in names
    }
    crossings: dict[str, nn.Module] = {
        name: nn.MultiheadAttention(width, 1).eval() for name in names
    }
    return encoders, crossings


@exercise("11.3", title="a baseline whose samples do not mix", reference=jointless)
def check_jointless(answer: Any) -> None:
    """Perturb one sample, in batches of several shapes; compare with each sample alone."""
    expect.is_callable(answer, name="jointless")
    fresh = expect.Fresh(113)
    for batch, steps, width in ((3, 5, 4), (5, 5, 2), (2, 7, 6), (1, 3, 4), (4, 1, 4)):
        encoders, crossings = time_first_layers(width)
        audio, vision = fresh.normal(batch, steps, width), fresh.normal(batch, steps, width)
        tried = f"audio and vision {(batch, steps, width)}, layers that expect time first"
        before = deepcopy((encoders, crossings))
        with torch.no_grad(), expect.inputs_left_alone(hint=1, audio=audio, vision=vision):
            out = answer(audio, vision, dict(encoders), dict(crossings))
        _same_layers((encoders, crossings), before, tried)
        expect.shape(out, (batch, steps, 2 * width), tried=tried, hint=1)
        expect.finite(out, tried=tried)
        if batch > 1:
            changed = audio.clone()
            changed[0] = fresh.normal(steps, width)
            with torch.no_grad():
                moved = answer(changed, vision, dict(encoders), dict(crossings))
            said = f"{tried}; the audio of sample 0 drawn anew"
            expect.close(moved[1:], out[1:], name="what the others get", tried=said, hint=2)
        with torch.no_grad():
            right = jointless(audio, vision, encoders, crossings)
        expect.close(out, right, tried=tried, hint=3, atol=1e-4)


def _same_layers(after: Any, before: Any, tried: str) -> None:
    for mine, theirs in zip(after, before, strict=True):
        for name, layer in theirs.items():
            same = all(
                getattr(here, "batch_first", None) == getattr(there, "batch_first", None)
                for here, there in zip(mine[name].modules(), layer.modules(), strict=True)
            )
            got = "batch_first changed in the caller's"
            expect.that(same, "the layers left as they were", got=got, tried=tried, hint=1)


def paired_loss(by_time: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Sum 1 - CCC over the targets, each prediction beside its own label, valid labels only."""
    prediction = by_time.transpose(0, 1)  # (T, B, K) -> (B, T, K)
    targets = labels.shape[-1]
    return targets * concordance_loss(prediction, labels, mask, per_target=True)


@exercise("11.4", title="each prediction beside its own label", reference=paired_loss)
def check_paired_loss(answer: Any) -> None:
    """Try a perfect prediction, labels of -5, batches as long as wide, a shift, the gradient."""
    expect.is_callable(answer, name="paired_loss")
    fresh = expect.Fresh(114)
    for device in expect.devices():
        for batch, steps, targets in ((3, 5, 2), (5, 5, 2), (7, 2, 3), (2, 11, 1)):
            labels = fresh.normal(batch, steps, targets).to(device)
            mask = fresh.normal(batch, steps).to(device) > -0.7
            mask[0, 0] = True
            labels = labels.masked_fill(~mask[..., None], -5.0)
            tried = f"predictions {(steps, batch, targets)}, labels {(batch, steps, targets)}"
            perfect = labels.transpose(0, 1).clone()
            perfect[~mask.transpose(0, 1)] = 0.3
            loss = _loss(answer, perfect, labels, mask, tried)
            said = f"{tried}, the labels themselves as predictions"
            expect.close(loss, 0.0, name="the loss", tried=said, hint=1, atol=1e-4)
            guess = 0.6 * perfect + 0.4 * fresh.normal(steps, batch, targets).to(device) + 0.2
            loss = _loss(answer, guess, labels, mask, tried)
            right = paired_loss(guess, labels, mask).item()
            expect.close(loss, right, name="the loss", tried=tried, hint=3, atol=1e-4)
    guess = fresh.normal(5, 3, 2).requires_grad_()
    labels, mask = fresh.normal(3, 5, 2), torch.ones(3, 5, dtype=torch.bool)
    mask[2, 3:] = False
    loss = answer(guess, labels.masked_fill(~mask[..., None], -5.0), mask)
    tried = "predictions (5, 3, 2), the last two steps of sample 2 without a label"
    expect.shape(loss, (), name="the loss", tried=tried, hint=3)
    expect.gradient_reaches(loss[None], guess, name="the predictions", tried=tried, hint=1)
    expect.no_gradient_reaches(
        loss[None],
        guess,
        where=(slice(3, None), 2),
        name="a step without a label",
        tried=tried,
        hint=2,
    )


def _loss(answer: Any, by_time: Tensor, labels: Tensor, mask: Tensor, tried: str) -> Tensor:
    with expect.inputs_left_alone(hint=1, by_time=by_time, labels=labels, mask=mask):
        loss = answer(by_time, labels, mask)
    expect.shape(loss, (), name="the loss", tried=tried, hint=3)
    expect.finite(loss, name="the loss", tried=tried, hint=2)
    return loss


def expected_best(count: int) -> float:
    """Where the largest of `count` standard normal numbers lies on average."""
    from scipy.stats import norm

    x = np.linspace(-8, 8, 4001)
    density = count * norm.pdf(x) * norm.cdf(x) ** (count - 1)
    return float((x * density).sum() * (x[1] - x[0]))


def fold_report(scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Report folds: their means, the mean of those with its interval, and what the best flatters."""
    folds = np.asarray(scores, dtype=float).mean(axis=1)
    mean, sd, low, high, _ = seed_spread(folds)
    return {
        "folds": folds.tolist(),
        "mean": mean,
        "sd": sd,
        "low": low,
        "high": high,
        "best_over_mean": float(folds.max() - mean),
        "by_luck": sd * expected_best(len(folds)),
    }


@exercise("11.5", title="folds and their spread", reference=fold_report)
def check_fold_report(answer: Any) -> None:
    """Try folds by hand, several numbers of folds and targets, negative scores."""
    expect.is_callable(answer, name="fold_report")
    by_hand = [[0.6, 0.4], [0.7, 0.5], [0.8, 0.3]]
    _expect_report(answer, by_hand, "three folds of two scores whose means are .50, .60 and .55")
    fresh = np.random.default_rng(115)
    for count, targets in ((5, 2), (2, 3), (10, 1), (7, 2)):
        scores = (0.6 + 0.1 * fresh.standard_normal((count, targets))).tolist()
        _expect_report(answer, scores, f"{count} folds of {targets} scores")
    scores = (-0.1 + 0.05 * fresh.standard_normal((4, 2))).tolist()
    _expect_report(answer, scores, "four folds of two scores, most of them below zero")


def _expect_report(answer: Any, scores: list[list[float]], tried: str) -> None:
    came = answer([list(row) for row in scores])
    expect.kind(came, dict, tried=tried, hint=1)
    wanted = fold_report(scores)
    got = ", ".join(map(str, came)) or "none"
    keys = f"the keys {', '.join(wanted)}"
    expect.that(set(came) == set(wanted), keys, got=got, tried=tried, hint=1)
    expect.that(
        np.shape(came["folds"]) == (len(scores),),
        f"{len(scores)} numbers under 'folds', the mean over the targets of each",
        got=f"shape {np.shape(came['folds'])}",
        tried=tried,
        hint=1,
    )
    for name, hint in (
        ("folds", 1), ("mean", 1), ("sd", 2), ("low", 2), ("high", 2),
        ("best_over_mean", 3), ("by_luck", 3),
    ):  # fmt: skip
        mine = torch.as_tensor(np.array(came[name], dtype=float))
        right = torch.as_tensor(np.asarray(wanted[name], dtype=float))
        expect.close(mine, right, name=f"{name!r}", tried=tried, hint=hint, rtol=2e-3, atol=1e-5)
