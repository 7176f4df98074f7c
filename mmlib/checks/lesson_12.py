"""Checks of lesson 12: docking and selection, the expected embracement, the row that has nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmlib.checks import expect
from mmlib.checks.framework import CheckFailed, exercise

Docks = Mapping[str, Callable[[Tensor], Tensor]]


def embrace(
    inputs: Mapping[str, Tensor], docks: Docks, probabilities: Tensor
) -> tuple[Tensor, Tensor]:
    """Dock every stream, then draw for each sample and feature the stream it is taken from."""
    docked = torch.stack([docks[name](inputs[name]).relu() for name in sorted(inputs)], dim=-1)
    chosen = torch.multinomial(probabilities, docked.shape[1], replacement=True)  # (B, c)
    return docked.gather(-1, chosen[..., None]).squeeze(-1), chosen


@exercise("12.1", title="docking and selection", reference=embrace)
def check_embrace(answer: Any) -> None:
    """Try certain draws, streams of other widths, then count what was drawn, and gradients."""
    expect.is_callable(answer, name="embrace")
    fresh = expect.Fresh(121)
    for device in expect.devices():
        for widths, batch, width in (
            ({"vision": 7, "audio": 5, "text": 11}, 3, 13),
            ({"text": 4, "vision": 4}, 7, 2),
            ({"vision": 3, "text": 6, "audio": 2, "gesture": 5}, 2, 3),
        ):
            inputs, docks = _streams(fresh, widths, batch, width, device)
            names = sorted(widths)
            for place, name in enumerate(names):
                sure = torch.zeros(batch, len(names), device=device)
                sure[:, place] = 1.0
                tried = (
                    f"streams {', '.join(widths)} in this order, {batch} samples, {width} features,"
                    f" probability 1 for {name}"
                )
                came, chosen = _two(answer, inputs, docks, sure, width, tried)
                wanted = torch.full_like(chosen, place)
                expect.close(chosen, wanted, name="the choice", tried=tried, hint=2)
                right = docks[name](inputs[name]).relu()
                expect.close(came, right, name=f"the docked {name}", tried=tried, hint=1)
        _fair_draws(answer, fresh, device)
    _certain_gradients(answer, fresh)


def _streams(
    fresh: expect.Fresh, widths: dict[str, int], batch: int, width: int, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, nn.Linear]]:
    docks = {name: nn.Linear(size, width).to(device) for name, size in widths.items()}
    inputs = {name: fresh.normal(batch, size).to(device) for name, size in widths.items()}
    return inputs, docks


def _two(
    answer: Any, inputs: dict[str, Tensor], docks: Any, shares: Tensor, width: int, tried: str
) -> tuple[Tensor, Tensor]:
    """Two results of the right kinds and shapes, nothing changed on the way."""
    with expect.inputs_left_alone(hint=1, probabilities=shares, **inputs):
        result = answer(dict(inputs), docks, shares)
    words = "two results: the embraced features, and which stream each was taken from"
    came, chosen = expect.pair(result, words, tried=tried)
    shape = len(shares), width
    expect.shape(came, shape, name="the first result", tried=tried, hint=1)
    expect.shape(chosen, shape, name="the second result", tried=tried, hint=2)
    expect.like(came, next(iter(inputs.values())), name="the first result", tried=tried)
    expect.that(
        chosen.dtype == torch.int64,
        "the choice as whole numbers (int64), places in sorted(inputs)",
        got=f"{chosen.dtype}",
        tried=tried,
        hint=2,
    )
    expect.finite(came, tried=tried, hint=3)
    return came, chosen


def _fair_draws(answer: Any, fresh: expect.Fresh, device: torch.device) -> None:
    """Each feature is that of its stream; shares are met; rows and columns differ."""
    widths, batch, width = {"vision": 2, "audio": 3, "text": 5}, 60, 211
    inputs, docks = _streams(fresh, widths, batch, width, device)
    shares = torch.tensor([0.1, 0.3, 0.6], device=device).repeat(batch, 1)
    shares[::2] = torch.tensor([0.5, 0.5, 0.0], device=device)
    tried = (
        f"{batch} samples, {width} features, probabilities (.5, .5, 0) for every second sample and "
        "(.1, .3, .6) for the others, of audio, text and vision"
    )
    came, chosen = _two(answer, inputs, docks, shares, width, tried)
    low, high = int(chosen.min()), int(chosen.max())
    expect.that(
        0 <= low and high <= 2, "places 0 to 2", got=f"{low} to {high}", tried=tried, hint=2
    )
    docked = torch.stack([docks[name](inputs[name]).relu() for name in sorted(widths)], dim=-1)
    right = docked.gather(-1, chosen[..., None]).squeeze(-1)
    expect.close(came, right, name="the features of the streams drawn", tried=tried, hint=3)
    for start in (0, 1):
        part = chosen[start::2]
        for place in range(3):
            wanted = shares[start, place].item()
            share = (part == place).float().mean().item()
            name = f"the share of {sorted(widths)[place]} in samples {start}, {start + 2}, ..."
            # Six standard errors of a share of 30 * 211 independent draws.
            near = 6 * max(wanted * (1 - wanted), 1e-9) ** 0.5 / part.numel() ** 0.5
            expect.that(
                abs(share - wanted) <= near,
                f"{name} near {wanted:.2f}",
                got=f"{share:.3f}",
                tried=tried,
                hint=2,
            )
    _independent(chosen[1::2], shares[1], tried)


def _independent(chosen: Tensor, share: Tensor, tried: str) -> None:
    """Two features of a sample, and two samples at one feature, agree no more often than by chance."""
    chance = share.square().sum().item()
    for name, first, second in (
        ("two neighbouring features of a sample", chosen[:, :-1], chosen[:, 1:]),
        ("two samples at the same feature", chosen[:-1], chosen[1:]),
    ):
        same = (first == second).float().mean().item()
        expect.that(
            abs(same - chance) < 0.06,
            f"a draw of its own for each sample and feature: {name} come from the same stream in "
            f"about {chance:.2f} of all cases",
            got=f"{same:.2f}",
            tried=tried,
            hint=2,
        )
    again = (chosen == chosen[:, :1]).all(1)
    expect.that(not bool(again.any()), "several streams in each sample", tried=tried, hint=2)


def _certain_gradients(answer: Any, fresh: expect.Fresh) -> None:
    inputs, docks = _streams(fresh, {"b": 3, "a": 4}, 5, 17, torch.device("cpu"))
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    sure = torch.tensor([[1.0, 0.0]]).repeat(5, 1)
    tried = "the gradient, with probability 1 for the first stream"
    came, _ = _two(answer, inputs, docks, sure, 17, tried)
    expect.gradient_reaches(came, inputs["a"], name="the stream drawn", tried=tried, hint=3)
    expect.no_gradient_reaches(
        came, inputs["b"], name="the stream never drawn", tried=tried, hint=3
    )


def expected_embracement(docked: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of an embraced feature over all draws, exactly."""
    share = probabilities if probabilities.ndim == 2 else probabilities[None]
    share = share[:, None, :]  # (B, 1, M) or (1, 1, M)
    docked = docked.masked_fill(share == 0, 0.0)  # NaN times 0 is NaN
    mean = (share * docked).sum(-1)
    spread = (share * (docked - mean[..., None]).square()).sum(-1)
    return mean, spread.sqrt()


@exercise("12.2", title="the expected embracement", reference=expected_embracement)
def check_expected(answer: Any) -> None:
    """Try a case by hand, shares for all and for each sample, equal docks, NaN, half precision."""
    expect.is_callable(answer, name="expected_embracement")
    tried = "one sample, two features, docked 1, 3 and 2, 8; the shares are one half and one half"
    docked = torch.tensor([[[1.0, 3.0], [2.0, 8.0]]])
    mean, deviation = _moments(answer, docked, torch.tensor([0.5, 0.5]), tried)
    expect.close(mean, torch.tensor([[2.0, 5.0]]), name="the mean", tried=tried, hint=1)
    expect.close(deviation, torch.tensor([[1.0, 3.0]]), name="the deviation", tried=tried, hint=2)
    fresh = expect.Fresh(122)
    for device in expect.devices():
        for batch, width, streams in ((5, 7, 3), (3, 3, 3), (2, 11, 2), (7, 2, 4)):
            docked = (3 * fresh.normal(batch, width, streams)).to(device)
            for rows in ((), (batch,)):
                shares = fresh.uniform(*rows, streams, low=0.05).to(device)
                shares = shares / shares.sum(-1, keepdim=True)
                tried = f"docked ({batch}, {width}, {streams}), shares {tuple(shares.shape)}"
                _right_moments(answer, docked, shares, tried, hint=2)
        docked = (3 * fresh.normal(4, 5, 3)).to(device)
        shares = torch.tensor(
            [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.2, 0.3, 0.5], [0.0, 0.7, 0.3]], device=device
        )
        gaps = docked.masked_fill((shares == 0)[:, None], torch.nan)
        tried = (
            "some shares are zero, and the stream that has none holds NaN: it was never recorded"
        )
        _right_moments(answer, gaps, shares, tried, hint=3)
        tried = "docks that say the same in all 61 places, shares .3, .3, .4: nothing to spread"
        same = (3 * fresh.normal(2, 61, 1)).to(device).repeat(1, 1, 3)
        _right_moments(answer, same, torch.tensor([0.3, 0.3, 0.4], device=device), tried, hint=2)
        tried = "docked in bfloat16, and shares in bfloat16"
        _right_moments(answer, docked.bfloat16(), shares.bfloat16(), tried, hint=3, atol=0.05)
    docked = fresh.normal(2, 3, 2).requires_grad_()
    tried = "the gradient of the mean"
    mean, _ = _moments(answer, docked, torch.tensor([0.3, 0.7]), tried)
    expect.gradient_reaches(mean, docked, name="docked", tried=tried, hint=1)


def _moments(answer: Any, docked: Tensor, shares: Tensor, tried: str) -> tuple[Tensor, Tensor]:
    with expect.inputs_left_alone(hint=1, docked=docked, probabilities=shares):
        result = answer(docked, shares)
    both = expect.pair(result, "two results: the mean and the standard deviation", tried=tried)
    for value, name in zip(both, ("the mean", "the deviation"), strict=True):
        expect.shape(value, tuple(docked.shape[:2]), name=name, tried=tried, hint=1)
        expect.like(value, docked, name=name, tried=tried, hint=3)
    return both


def _right_moments(
    answer: Any, docked: Tensor, shares: Tensor, tried: str, *, hint: int, atol: float = 1e-4
) -> None:
    both = _moments(answer, docked, shares, tried)
    right = expected_embracement(docked, shares)
    names = ("the mean", "the deviation")
    for value, wanted, name, own in zip(both, right, names, (1, 2), strict=True):
        expect.finite(value, name=name, tried=tried, hint=hint)
        rough = {"rtol": 0.03} if docked.dtype == torch.bfloat16 else {}
        expect.close(value, wanted, name=name, tried=tried, hint=max(own, hint), atol=atol, **rough)


def shares_of(probabilities: Tensor, availability: Tensor, on_empty: str) -> Tensor:
    """Share the features of each sample among the streams that it has."""
    left = probabilities * availability  # (B, M)
    total = left.sum(-1, keepdim=True)
    empty = (total == 0).squeeze(-1)
    if on_empty == "raise" and bool(empty.any()):
        rows = empty.nonzero().flatten().tolist()
        raise ValueError(f"samples {rows} have no stream to take a feature from")
    return left / total.masked_fill(total == 0, 1.0)


@exercise("12.3", title="the row that has nothing", reference=shares_of)
def check_shares(answer: Any) -> None:
    """Try a case by hand, shares for all and for each sample, rows that have nothing, both ways."""
    expect.is_callable(answer, name="shares_of")
    trust = torch.tensor([0.2, 0.2, 0.6])
    there = torch.tensor([[True, True, True], [True, True, False], [False, False, True]])
    by_hand = torch.tensor([[0.2, 0.2, 0.6], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    tried = "probabilities .2, .2, .6; all three there, then not the third, then only the third"
    expect.close(_shared(answer, trust, there, "raise", tried), by_hand, tried=tried, hint=1)
    fresh = expect.Fresh(123)
    for device in expect.devices():
        for batch, streams in ((7, 3), (3, 3), (2, 5), (5, 2)):
            for rows in ((), (batch,)):
                trust = fresh.uniform(*rows, streams, low=0.1).to(device)
                trust = trust / trust.sum(-1, keepdim=True)
                there = (fresh.uniform(batch, streams) < 0.6).to(device)
                there[:, 0] |= ~there.any(1)
                tried = f"probabilities {tuple(trust.shape)}, availability ({batch}, {streams})"
                for on_empty in ("raise", "zeros"):
                    words = f'{tried}, on_empty="{on_empty}", every sample has a stream'
                    came = _shared(answer, trust, there, on_empty, words)
                    expect.sums_to_one(came, name="the shares", tried=words, hint=1)
                    expect.zero(came, ~there, name="an absent stream's share", tried=words, hint=1)
                    right = shares_of(trust, there, on_empty)
                    expect.close(came, right, name="the shares", tried=words, hint=1)
                gone = there.clone()
                gone[1] = False
                words = f'{tried}, sample 1 has nothing, on_empty="zeros"'
                came = _shared(answer, trust, gone, "zeros", words)
                expect.finite(came, name="the shares", tried=words, hint=2)
                expect.zero(came[1], name="the shares of sample 1", tried=words, hint=2)
                right = shares_of(trust, gone, "zeros")
                expect.close(came, right, name="the shares", tried=words, hint=2)
                words = f'{tried}, sample 1 has nothing, on_empty="raise"'
                _refused(answer, trust, gone, {1}, words)
    _worthless(answer)
    _half(answer)


def _shared(answer: Any, trust: Tensor, there: Tensor, on_empty: str, tried: str) -> Tensor:
    with expect.inputs_left_alone(hint=1, probabilities=trust, availability=there):
        came = answer(trust, there, on_empty)
    expect.shape(came, tuple(there.shape), name="the shares", tried=tried, hint=1)
    expect.like(came, trust, name="the shares", tried=tried, hint=1)
    return came


def _refused(answer: Any, trust: Tensor, there: Tensor, rows: set[int], tried: str) -> None:
    """Expect a ValueError whose message names the rows that have nothing, and no other sample."""
    try:
        answer(trust, there, "raise")
    except ValueError as error:
        digits = "".join(c if c.isdigit() else " " for c in str(error)).split()
        named = {int(number) for number in digits}
        expect.that(
            rows <= named and not (set(range(len(there))) - rows) & named,
            f"a message that names the samples {sorted(rows)}, counted from 0, and no other number",
            got=f"{error}",
            tried=tried,
            hint=3,
        )
        return
    raise CheckFailed("a ValueError", got="no error", tried=tried, hint=3)


def _worthless(answer: Any) -> None:
    """A stream that is there but has no share cannot save a row; two rows are both named."""
    trust = torch.tensor([0.0, 0.4, 0.6])
    there = torch.tensor(
        [[True, False, False], [True, True, False], [False] * 3, [True, True, True]]
    )
    tried = "probabilities 0, .4, .6; sample 0 has only the first stream, sample 2 nothing at all"
    words = f'{tried}, on_empty="zeros"'
    came = _shared(answer, trust, there, "zeros", words)
    expect.finite(came, name="the shares", tried=words, hint=2)
    right = shares_of(trust, there, "zeros")
    expect.close(came, right, name="the shares", tried=words, hint=2)
    _refused(answer, trust, there, {0, 2}, f'{tried}, on_empty="raise"')


def _half(answer: Any) -> None:
    trust = torch.tensor([0.25, 0.25, 0.5], dtype=torch.bfloat16)
    there = torch.tensor([[True, True, False], [True, True, True]])
    tried = "probabilities in bfloat16"
    came = _shared(answer, trust, there, "zeros", tried)
    by_hand = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    expect.close(came.float(), by_hand, name="the shares", tried=tried, hint=1, atol=0.01)
