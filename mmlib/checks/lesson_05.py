"""Checks of lesson 05: late fusion with gaps, a grouped split, a grouped bootstrap, a leak detector."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.data import find_leaks, grouped_folds, split_by_group
from mmlib.metrics import bootstrap_interval, compare


def late_fusion(logits: Tensor, present: Tensor) -> Tensor:
    """Average the logits of the streams that are there; zeros where none is."""
    heard = logits.masked_fill(~present[..., None], 0.0)  # (B, M, C)
    return heard.sum(1) / present.sum(1, keepdim=True).clamp(min=1)


@exercise("05.1", title="late fusion with a missing stream", reference=late_fusion)
def check_late_fusion(answer: Any) -> None:
    """Try a case by hand, gaps that hold NaN, a sample without any stream, gradients."""
    expect.is_callable(answer, name="late_fusion")
    logits = torch.tensor([[[2.0, 0.0], [4.0, 1.0], [90.0, -90.0]]])
    present = torch.tensor([[True, True, False]])
    tried = "logits (2, 0), (4, 1) and (90, -90) of three streams, of which the third is absent"
    out = answer(logits, present)
    expect.shape(out, (1, 2), tried=tried, hint=1)
    expect.close(out, torch.tensor([[3.0, 0.5]]), tried=tried, hint=1)
    fresh = expect.Fresh(51)
    for device in expect.devices():
        for batch, streams, classes in ((5, 3, 7), (2, 3, 5), (7, 2, 3), (3, 1, 2)):
            values = fresh.normal(batch, streams, classes).to(device)
            there = (fresh.uniform(batch, streams) < 0.6).to(device)
            there[0], there[1] = True, False
            gaps = values.masked_fill(~there[..., None], float("nan"))
            tried = (
                f"{streams} streams, logits ({batch}, {streams}, {classes}), sample 1 without any, "
                "and NaN where a stream is absent"
            )
            with expect.inputs_left_alone(hint=2, logits=gaps, present=there):
                out = answer(gaps, there)
            expect.shape(out, (batch, classes), tried=tried, hint=1)
            expect.like(out, values, tried=tried)
            expect.finite(out, tried=tried, hint=2)
            expect.zero(out[1], name="the result without any stream", tried=tried, hint=3)
            expect.close(out, late_fusion(values, there), tried=tried, hint=2)
    _late_gradients(answer, fresh)


def _late_gradients(answer: Any, fresh: expect.Fresh) -> None:
    logits = fresh.normal(3, 2, 5).requires_grad_()
    present = torch.tensor([[True, False], [True, True], [False, True]])
    out = answer(logits, present)
    tried = "the gradient of the result"
    expect.gradient_reaches(out, logits, where=present, name="a stream that is there", tried=tried)
    expect.no_gradient_reaches(
        out, logits, where=~present, name="an absent stream", tried=tried, hint=2
    )


def speakers_for_test(group: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Say which samples are for the test: all those of `count` speakers drawn at random."""
    speakers = np.unique(group)  # sorted: the order of the samples has no say
    chosen = np.random.default_rng(seed).choice(speakers, size=count, replace=False)
    return np.isin(group, chosen)


@exercise(
    "05.2",
    title="a split that no speaker crosses",
    reference=speakers_for_test,
    forbidden=(split_by_group, grouped_folds),
)
def check_speakers_for_test(answer: Any) -> None:
    """Try companies of different sizes: no speaker in both parts, chance, seeds, another order."""
    expect.is_callable(answer, name="speakers_for_test")
    draws = np.random.default_rng(52)
    for speakers, samples, count in ((7, 53, 2), (3, 11, 1), (13, 401, 5)):
        group = _company(draws, speakers, samples)
        tried = f"{samples} samples of {speakers} speakers, {count} of them for the test"
        before = group.copy()
        drawn = [_test_part(answer, group, count, seed, tried) for seed in range(24)]
        expect.that(bool((group == before).all()), "the argument group left as it was", tried=tried)
        for mine in drawn:
            _whole_speakers(mine, group, count, tried)
        again = _test_part(answer, group, count, 3, tried)
        expect.that(
            bool((again == drawn[3]).all()),
            "the same split for the same seed",
            got="another one",
            tried=f"{tried}, twice with seed=3",
            hint=2,
        )
        _every_speaker_has_a_chance(drawn, group, tried)
        order = draws.permutation(samples)
        moved = _test_part(answer, group[order], count, 3, tried)
        expect.that(
            set(group[order][moved]) == set(group[drawn[3]]),
            "the same speakers for the same seed, in whatever order the samples come",
            got="others after the samples were shuffled",
            tried=tried,
            hint=3,
        )


def _company(draws: np.random.Generator, speakers: int, samples: int) -> np.ndarray:
    """Draw a speaker for each sample, some of them far busier than others, none left out."""
    names = np.array([f"actor-{number:02d}" for number in draws.permutation(40)[:speakers]])
    busy = draws.dirichlet(np.full(speakers, 0.8))
    rest = draws.choice(names, size=samples - speakers, p=busy)
    return draws.permutation(np.concatenate([names, rest]))


def _test_part(answer: Any, group: np.ndarray, count: int, seed: int, tried: str) -> np.ndarray:
    """Call the answer and require a boolean for each sample."""
    came = answer(group, count, seed)
    expect.kind(came, (np.ndarray, Tensor, list), tried=tried, hint=1)
    part = np.asarray(came)
    expect.that(
        part.shape == group.shape and part.dtype == bool,
        f"one True or False for each of {len(group)} samples",
        got=f"{part.dtype} of shape {part.shape}",
        tried=tried,
        hint=1,
    )
    return part


def _whole_speakers(part: np.ndarray, group: np.ndarray, count: int, tried: str) -> None:
    """Require that so many speakers are in the test, and each with all that they said."""
    inside, outside = set(group[part]), set(group[~part])
    both = sorted(inside & outside)
    expect.that(
        not both,
        "no speaker in both parts",
        got=f"{both[0]} in both" if both else "",
        tried=tried,
        hint=1,
    )
    expect.that(
        len(inside) == count,
        f"{count} speakers in the test",
        got=f"{len(inside)}",
        tried=tried,
        hint=2,
    )


def _every_speaker_has_a_chance(drawn: list[np.ndarray], group: np.ndarray, tried: str) -> None:
    """Require that over 24 seeds the test is not always the same, and nobody is always in it."""
    choices = {tuple(sorted(set(group[part]))) for part in drawn}
    expect.that(
        len(choices) > 1,
        "other speakers for other seeds",
        got="always the same",
        tried=tried,
        hint=2,
    )
    expect.that(
        len(set().union(*choices)) == len(set(group)) or len(set(group)) > 7,
        "a chance for every speaker to be drawn",
        got="some were not drawn with any of 24 seeds",
        tried=tried,
        hint=2,
    )


def interval_by_speaker(
    correct: np.ndarray, group: np.ndarray, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """A 95 % interval for the accuracy: draw whole speakers with replacement, again and again."""
    speakers, of = np.unique(group, return_inverse=True)
    right, said = np.bincount(of, weights=correct), np.bincount(of)  # of each speaker
    draws = np.random.default_rng(seed).integers(len(speakers), size=(resamples, len(speakers)))
    accuracy = right[draws].sum(1) / said[draws].sum(1)
    low, high = np.quantile(accuracy, [0.025, 0.975])
    return float(low), float(high)


@exercise(
    "05.3",
    title="an interval that knows its speakers",
    reference=interval_by_speaker,
    forbidden=(bootstrap_interval, compare),
)
def check_interval_by_speaker(answer: Any) -> None:
    """Try cases by hand, speakers who differ, speakers of unequal size, seeds."""
    expect.is_callable(answer, name="interval_by_speaker")
    names = np.array(["ann", "ben"])
    tried = "two speakers of 10 samples each: all of ann's right, all of ben's wrong"
    low, high = _interval(answer, np.repeat([1.0, 0.0], 10), np.repeat(names, 10), tried)
    expect.close([low, high], [0.0, 1.0], name="the interval", tried=tried, hint=1)
    tried = "five speakers, of whom everybody is right three times and wrong once"
    five = np.repeat([f"speaker-{i}" for i in range(5)], 4)
    low, high = _interval(answer, np.tile([1.0, 1.0, 1.0, 0.0], 5), five, tried)
    expect.close([low, high], [0.75, 0.75], name="the interval", tried=tried, hint=1)
    draws = np.random.default_rng(53)
    for sizes, rates in (
        ((29, 23, 31, 19, 37, 17, 41, 13), (0.2, 0.9, 0.5, 0.95, 0.1, 0.8, 0.3, 0.7)),
        ((3, 5, 2, 7, 4, 97, 89, 6, 11, 83), (0.9, 1.0, 1.0, 0.9, 1.0, 0.3, 0.4, 0.9, 1.0, 0.2)),
    ):
        group = np.repeat([f"actor-{i:02d}" for i in range(len(sizes))], sizes)
        correct = (draws.random(len(group)) < np.repeat(rates, sizes)).astype(float)
        order = draws.permutation(len(group))
        group, correct = group[order], correct[order]
        tried = (
            f"{len(sizes)} speakers with {min(sizes)} to {max(sizes)} samples, good and bad ones"
        )
        wanted = interval_by_speaker(correct, group, resamples=20000)
        came = _interval(answer, correct, group, tried)
        width = wanted[1] - wanted[0]
        expect.close(
            came, wanted, name="the interval", tried=tried, hint=2, atol=0.07 * width, rtol=0
        )
        again = _interval(answer, correct, group, tried)
        expect.that(
            came == again,
            "the same interval for the same seed",
            got=f"{came} and then {again}",
            tried=tried,
            hint=3,
        )
        other = _interval(answer, correct, group, tried, seed=1)
        expect.that(
            came != other,
            "other draws, and so a slightly different interval, for another seed",
            got="the same to the last digit",
            tried=f"{tried}, seed=0 and seed=1",
            hint=3,
        )


def _interval(
    answer: Any, correct: np.ndarray, group: np.ndarray, tried: str, *, seed: int = 0
) -> tuple[float, float]:
    """Call the answer with fresh copies and require two numbers in order."""
    came = answer(correct.copy(), group.copy(), resamples=4000, seed=seed)
    low, high = expect.pair(came, "the lower and the upper end", tried=tried)
    low, high = float(low), float(high)
    expect.that(
        low <= high,
        "two numbers, the lower one first",
        got=f"{low}, {high}",
        tried=tried,
        hint=1,
    )
    return low, high


def leaking_groups(group: np.ndarray, split: np.ndarray) -> list[str]:
    """Name the groups that stand in more than one split, sorted."""
    seen: dict[str, set[str]] = {}
    for name, part in zip(group, split, strict=True):
        seen.setdefault(str(name), set()).add(str(part))
    return sorted(name for name, parts in seen.items() if len(parts) > 1)


@exercise("05.4", title="the leak, caught", reference=leaking_groups, forbidden=(find_leaks,))
def check_leaking_groups(answer: Any) -> None:
    """Try planted leaks between any two splits, none at all, single samples, everybody."""
    expect.is_callable(answer, name="leaking_groups")
    cases: list[tuple[list[tuple[str, str]], str, int]] = [
        (
            [("ann", "train"), ("ben", "test"), ("ann", "test"), ("cem", "train")],
            "ann in train and in test, ben and cem in one split each",
            1,
        ),
        (
            [("ann", "train"), ("ann", "train"), ("ben", "test"), ("ben", "test")],
            "two samples of ann, both in train, and two of ben, both in test",
            1,
        ),
        (
            [
                ("dee", "valid"),
                ("cem", "test"),
                ("cem", "valid"),
                ("dee", "train"),
                ("ann", "test"),
            ],
            "cem in valid and test, dee in train and valid",
            2,
        ),
        ([("ann", "test"), ("ben", "test")], "nothing but a test", 2),
    ]
    for rows, tried, hint in cases:
        group, split = (np.array(column) for column in zip(*rows, strict=True))
        _expect_leaks(answer, group, split, tried, hint)
    draws = np.random.default_rng(54)
    parts = np.array(["train", "valid", "test"])
    for speakers, samples, planted in ((11, 97, 3), (5, 61, 0), (17, 307, 1), (7, 83, 7)):
        group = _company(draws, speakers, samples + speakers)
        names = np.unique(group)
        split = parts[draws.integers(3, size=speakers)][np.searchsorted(names, group)]
        for name in draws.permutation(names)[:planted]:
            rows_of = np.flatnonzero(group == name)
            if len(rows_of) == 1:  # a second sample, so that there is something to tear apart
                rows_of = np.append(rows_of, len(group))
                group, split = np.append(group, name), np.append(split, split[rows_of[0]])
            here = int(np.flatnonzero(parts == split[rows_of[0]])[0])
            split[rows_of[-1]] = parts[(here + 1 + draws.integers(2)) % 3]
        tried = f"{len(group)} samples of {speakers} speakers, {planted} of them torn apart"
        _expect_leaks(answer, group, split, tried, 2)


def _expect_leaks(answer: Any, group: np.ndarray, split: np.ndarray, tried: str, hint: int) -> None:
    before = group.copy(), split.copy()
    came = answer(group, split)
    same = bool((group == before[0]).all()) and bool((split == before[1]).all())
    expect.that(
        same, "the arguments left as they were", got="changed in place", tried=tried, hint=1
    )
    expect.kind(came, list, tried=tried, hint=3)
    wanted = leaking_groups(group, split)
    expect.that(
        [str(name) for name in came] == wanted,
        f"{wanted}",
        got=f"{[str(name) for name in came]}",
        tried=tried,
        hint=3 if sorted(map(str, came)) == wanted else hint,
    )
