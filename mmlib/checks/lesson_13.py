"""Checks of lesson 13: the GRU of four equations, one target from its sources, robustness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.checks.scripted import Scripted, six_blocks
from mmlib.data.batch import Batch
from mmlib.layers import CrossModalTransformer, masked_mean
from mmlib.systems.embracenet import CrossModalEmbraceNet, CrossModalPairs

GATES = ("Wz", "Uz", "Wr", "Ur", "Wh", "Uh")


def paper_gru(x: Tensor, mask: Tensor, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Run the paper's Eqs. 2 to 5 over the real steps; return all states and the last one."""
    w = weights
    h = x.new_zeros(len(x), w["Uz"].shape[0])
    states = []
    for t in range(x.shape[1]):
        now = x[:, t]
        z = (now @ w["Wz"] + h @ w["Uz"]).sigmoid()  # Eq. 2
        r = (now @ w["Wr"] + h @ w["Ur"]).sigmoid()  # Eq. 3
        candidate = (now @ w["Wh"] + (h * r) @ w["Uh"]).tanh()  # Eq. 4
        h = torch.where(mask[:, t, None], (1 - z) * candidate + z * h, h)  # Eq. 5
        states.append(h)
    return torch.stack(states, dim=1), h


def gru_weights(fresh: expect.Fresh, width: int, hidden: int) -> dict[str, Tensor]:
    """Draw the six matrices: those of the input (width, hidden), those of the state (hidden, hidden)."""
    return {
        name: fresh.normal(width if name[0] == "W" else hidden, hidden) / hidden**0.5
        for name in GATES
    }


@exercise(
    "13.1",
    title="a GRU by its four equations",
    reference=paper_gru,
    forbidden=(nn.GRU, nn.GRUCell, torch.gru, torch.gru_cell, torch.rnn_tanh),
)
def check_paper_gru(answer: Any) -> None:
    """Try a step by hand, the place of the reset gate, padding, an empty sample, the gradient."""
    expect.is_callable(answer, name="paper_gru")
    _gru_by_hand(answer)
    fresh = expect.Fresh(131)
    for device in expect.devices():
        for batch, time, width, hidden in ((3, 7, 5, 2), (2, 5, 3, 11), (1, 1, 2, 3)):
            w = {name: m.to(device) for name, m in gru_weights(fresh, width, hidden).items()}
            x = fresh.normal(batch, time, width).to(device)
            mask = torch.ones(batch, time, dtype=torch.bool, device=device)
            if batch > 1:
                mask = fresh.padding_mask(batch, time).to(device)
            tried = f"x ({batch}, {time}, {width}), {hidden} hidden numbers, mask {_lengths(mask)}"
            with expect.inputs_left_alone(hint=1, x=x, mask=mask, **w):
                states, last = _states(answer, x, mask, w, tried)
            right_states, right_last = paper_gru(x, mask, w)
            real = mask[..., None]
            expect.close(states * real, right_states * real, name="the state", tried=tried, hint=2)
            expect.close(last, right_last, name="the last state", tried=tried, hint=3)
            for noise, words in ((50.0, "50"), (float("nan"), "NaN")):
                loud = x.masked_fill(~real, noise)
                said = f"{tried}, and {words} in every padded step"
                _, moved = _states(answer, loud, mask, w, said)
                expect.close(moved, right_last, name="the last state", tried=said, hint=3)
    _nobody_and_learning(answer, fresh)


def _lengths(mask: Tensor) -> str:
    return f"with {', '.join(str(n) for n in mask.sum(1).tolist())} real steps"


def _states(
    answer: Any, x: Tensor, mask: Tensor, weights: dict[str, Tensor], tried: str
) -> tuple[Tensor, Tensor]:
    """Call the answer and look at the shapes of what comes back."""
    hidden = weights["Uz"].shape[0]
    states, last = expect.pair(
        answer(x, mask, dict(weights)), "all states and the last one", tried=tried
    )
    expect.shape(states, (*x.shape[:2], hidden), name="the states", tried=tried, hint=1)
    expect.shape(last, (len(x), hidden), name="the last state", tried=tried, hint=3)
    expect.like(last, x, name="the last state", tried=tried)
    expect.finite(last, name="the last state", tried=tried, hint=3)
    return states, last


def _gru_by_hand(answer: Any) -> None:
    """One number and gates at one half; then two, where the reset gate's place shows."""
    zeros = {name: torch.zeros(1, 1) for name in GATES}
    x, mask = torch.tensor([[[0.5], [2.0]]]), torch.ones(1, 2, dtype=torch.bool)
    tried = "one number, all matrices zero but Wh = 1: both gates are 1/2, the candidate tanh x"
    states, _ = _states(answer, x, mask, zeros | {"Wh": torch.ones(1, 1)}, tried)
    first = math.tanh(0.5) / 2
    wanted = torch.tensor([[[first], [(math.tanh(2.0) + first) / 2]]])
    expect.close(states, wanted, name="the state", tried=tried, hint=1)

    weights = {name: torch.zeros(size, 2) for name, size in zip(GATES, (1, 2) * 3, strict=True)}
    keep = {"Wz": torch.full((1, 2), 50.0), "Wh": torch.zeros(1, 2)}
    tried = "an update gate of 1: the old state is kept, which is zero"
    _, last = _states(answer, torch.ones(1, 3, 1), torch.ones(1, 3).bool(), weights | keep, tried)
    expect.close(last, torch.zeros(1, 2), name="the last state", tried=tried, hint=1)

    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    reset = torch.tensor([[50.0, -50.0]])
    weights |= {"Wr": reset, "Wh": torch.tensor([[1.0, 2.0]]), "Uh": swap}
    tried = (
        "two hidden numbers, a reset gate of (1, 0), and Uh = [[0, 1], [1, 0]], which swaps the two: "
        "reset first, swap afterwards"
    )
    _, last = _states(answer, torch.ones(1, 2, 1), torch.ones(1, 2).bool(), weights, tried)
    one = torch.tensor([math.tanh(1.0), math.tanh(2.0)]) / 2
    heard = torch.tensor([1.0, 2.0]) + (one * torch.tensor([1.0, 0.0])) @ swap
    expect.close(last, ((heard.tanh() + one) / 2)[None], name="the last state", tried=tried, hint=2)


def _nobody_and_learning(answer: Any, fresh: expect.Fresh) -> None:
    weights = gru_weights(fresh, 4, 3)
    x, mask = fresh.normal(3, 5, 4), torch.ones(3, 5, dtype=torch.bool)
    mask[1], mask[2, 2:] = False, False
    tried = "three samples: one of five steps, one without any real step, one of two"
    _, last = _states(answer, x, mask, weights, tried)
    expect.zero(last[1], name="the state of who saw nothing", tried=tried, hint=3)
    expect.close(last, paper_gru(x, mask, weights)[1], name="the last state", tried=tried, hint=3)
    moving = {name: matrix.clone().requires_grad_() for name, matrix in weights.items()}
    x = x.requires_grad_()
    _, last = _states(answer, x, mask, moving, tried)
    tried = "the gradient of the last state"
    expect.gradient_reaches(last, *moving.values(), name="each matrix", tried=tried, hint=1)
    expect.gradient_reaches(last, x, where=(0, 0), name="the first step", tried=tried, hint=2)
    expect.no_gradient_reaches(last, x, where=~mask, name="a padded step", tried=tried, hint=3)


Block = Callable[..., Tensor]


def assemble_target(
    target: str,
    states: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    blocks: Mapping[tuple[str, str], Block],
) -> Tensor:
    """Let a target ask each of its sources, multiply what it hears, average over its real steps."""
    product: Any = 1.0
    for (source, asks), block in blocks.items():
        if asks == target:
            heard = block(states[target], states[source], padding_mask=masks[source])
            there = masks[source].any(1)[:, None, None]  # (B, 1, 1)
            product = product * torch.where(there, heard, 1.0)  # Eq. 12, (B, T of the target, D)
    return masked_mean(product, masks[target])


class Assembly(NamedTuple):
    """What `assemble_target` is given beside the target."""

    states: dict[str, Tensor]
    masks: dict[str, Tensor]
    blocks: dict[tuple[str, str], CrossModalTransformer]


@exercise(
    "13.2",
    title="one target from its sources",
    reference=assemble_target,
    forbidden=(CrossModalEmbraceNet, CrossModalPairs),
)
def check_assemble_target(answer: Any) -> None:
    """Try other lengths and widths, equal ones, padding, absent streams, two and three sources."""
    expect.is_callable(answer, name="assemble_target")
    fresh = expect.Fresh(132)
    for lengths, widths, words in (
        ((7, 5, 3), (5, 3, 2), "7, 5 and 3 steps of 5, 3 and 2 numbers"),
        ((4, 4, 4), (6, 6, 6), "all 4 steps of 6 numbers, so that no shape can complain"),
        ((2, 11), (3, 3), "two streams, so that there is one source"),
        ((3, 5, 7, 2), (4, 2, 3, 5), "four streams, so that there are three sources"),
    ):
        names = ("text", "audio", "vision", "pulse")[: len(lengths)]
        steps = dict(zip(names, lengths, strict=True))
        sizes = dict(zip(names, widths, strict=True))
        given = Assembly(
            {name: fresh.normal(3, steps[name], sizes[name]) for name in names},
            {name: fresh.padding_mask(3, steps[name]) for name in names},
            six_blocks(fresh, sizes, 6),
        )
        for target in names:
            tried = f"target {target}; {words}; a padding mask each"
            _expect_target(answer, target, given, tried)
    _absent_streams(answer, fresh)


def _expect_target(answer: Any, target: str, given: Assembly, tried: str) -> None:
    """Compare with the right vector, and then again with loud noise in every padded step."""
    states, masks, blocks = given
    with torch.no_grad():
        with expect.inputs_left_alone(hint=1, **states):
            came = answer(target, dict(states), dict(masks), dict(blocks))
        expect.shape(came, (3, 6), tried=tried, hint=3)
        expect.finite(came, tried=tried, hint=2)
        right = assemble_target(target, states, masks, blocks)
        loud = {
            name: x.where(masks[name][..., None], 30 * torch.ones_like(x).cumsum(-1))
            for name, x in states.items()
        }
        moved = answer(target, loud, dict(masks), dict(blocks))
    expect.close(came, right, tried=tried, hint=2, atol=1e-4)
    said = f"{tried}, then loud numbers in every padded step"
    expect.close(moved, right, name="the vector, unmoved by padding", tried=said, hint=3, atol=1e-4)


def _absent_streams(answer: Any, fresh: expect.Fresh) -> None:
    widths = {"text": 4, "audio": 4, "vision": 4}
    states = {name: fresh.normal(3, 5, 4) for name in widths}
    masks = {name: fresh.padding_mask(3, 5) for name in widths}
    masks["text"][0], masks["audio"][2] = False, False
    blocks = six_blocks(fresh, widths, 6)
    tried = "sample 0 has no text and sample 2 no audio: their masks are all False"
    for target in widths:
        with torch.no_grad():
            came = answer(target, dict(states), dict(masks), dict(blocks))
            right = assemble_target(target, states, masks, blocks)
        said = f"target {target}; {tried}"
        expect.shape(came, (3, 6), tried=said, hint=3)
        expect.finite(came, tried=said, hint=3)
        if target == "text":
            expect.zero(came[0], name="the vector of a target that is absent", tried=said, hint=3)
        expect.close(came, right, tried=said, hint=2, atol=1e-4)
    moving = {name: x.clone().requires_grad_() for name, x in states.items()}
    came = answer("vision", moving, dict(masks), dict(blocks))
    tried = "the gradient of the vector of vision"
    expect.gradient_reaches(came, *moving.values(), name="every stream", tried=tried, hint=1)


def robustness_curve(model: Any, batch: Batch, rates: Sequence[float]) -> list[float]:
    """Give the expected accuracy where each stream is lost with a probability, exactly."""
    names = list(batch.inputs)
    patterns = [p for p in itertools.product((True, False), repeat=len(names)) if any(p)]
    right = []
    for pattern in patterns:
        masks = {n: batch.masks[n] & there for n, there in zip(names, pattern, strict=True)}
        with torch.no_grad():
            logits = model(**batch.inputs, masks=masks).logits
        right.append((logits.argmax(-1) == batch.labels).double().mean().item())
    curve = []
    for rate in rates:
        expected = 0.0
        for pattern, share in zip(patterns, right, strict=True):
            chance = math.prod(1 - rate if there else rate for there in pattern)
            if sum(pattern) == 1:  # who would lose all keeps one, each as likely
                chance += rate ** len(names) / len(names)
            expected += chance * share
        curve.append(expected)
    return curve


@exercise("13.3", title="a robustness curve without luck", reference=robustness_curve)
def check_robustness_curve(answer: Any) -> None:
    """Try models that are right by script: two, three and four streams, rates from 0 to 1, the calls."""
    expect.is_callable(answer, name="robustness_curve")
    fresh = expect.Fresh(133)
    for names, count in (
        (("text", "audio"), 10),
        (("text", "audio", "vision"), 40),
        (tuple("abcd"), 20),
    ):
        patterns = [p for p in itertools.product((True, False), repeat=len(names)) if any(p)]
        shares = {p: int(fresh.integers(1, high=count + 1)) for p in patterns}
        if len(names) == 2:
            shares = {(True, True): 9, (True, False): 7, (False, True): 4}
        labels = fresh.integers(count, high=5)
        inputs = {name: fresh.normal(count, 3, 2) for name in names}
        masks = {name: fresh.padding_mask(count, 3) for name in names}
        model = Scripted(names, shares, labels, 5).eval()
        batch = Batch(dict(inputs), dict(masks), labels)
        for rates in ([0.0], [0.5], [1.0], [0.1, 0.4, 0.75, 0.99]):
            _expect_curve(answer, model, batch, rates, shares)
        _expect_calls(model, names)


def _expect_curve(
    answer: Any, model: Scripted, batch: Batch, rates: list[float], shares: Mapping[Any, int]
) -> None:
    names = ", ".join(batch.inputs)
    known = f", right for {_told(shares)} of 10 samples" if len(shares) == 3 else ""
    tried = f"streams {names}{known}; rates {', '.join(map(str, rates))}"
    model.calls.clear()
    with (
        expect.inputs_left_alone(hint=1, **batch.masks),
        expect.inputs_left_alone(hint=1, **batch.inputs),
    ):
        came = answer(model, batch, list(rates))
    expect.kind(came, (list, tuple), tried=tried, hint=3)
    expect.that(
        len(came) == len(rates),
        f"one number for each of the {len(rates)} rates",
        got=f"{len(came)}",
        tried=tried,
        hint=3,
    )
    calls = list(model.calls)
    right = robustness_curve(model, batch, rates)
    model.calls[:] = calls
    for rate, mine, wanted in zip(rates, came, right, strict=True):
        hint = 1 if rate == 0.0 else 3
        said = f"the expected accuracy at rate {rate}"
        expect.close(mine, wanted, name=said, tried=tried, hint=hint, rtol=1e-5, atol=1e-6)


def _told(shares: Mapping[Any, int]) -> str:
    words = {(True, True): "both", (True, False): "the first alone", (False, True): "the second"}
    return ", ".join(f"{count} with {words[p]}" for p, count in shares.items())


def _expect_calls(model: Scripted, names: tuple[str, ...]) -> None:
    most = 2 ** len(names) - 1
    expect.that(
        len(model.calls) <= most,
        f"each pattern judged once, for all rates: at most {most} calls of the model",
        got=f"{len(model.calls)} calls",
        tried=f"{len(names)} streams, four rates",
        hint=2,
    )
