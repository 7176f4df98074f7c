"""Checks of lesson 07: cross-attentive features, the effects of two switches, counts behind a row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.layers import MultiHeadAttention, masked_mean
from mmlib.metrics import seed_spread

UNIT = 20_000  # half a unit of the fourth decimal is a whole number of these
Pair = tuple[str, str]


def cross_attentive_features(
    states: dict[str, Tensor], masks: dict[str, Tensor], attentions: Mapping[Pair, nn.Module]
) -> Tensor:
    """Let each pair's query stream ask its context stream; average what it hears, join the pairs."""
    found = []
    for (query, context), attend in attentions.items():
        heard = attend(states[query], states[context], padding_mask=masks[context])
        found.append(masked_mean(heard, masks[query]))
    return torch.cat(found, dim=-1)


@exercise(
    "07.1",
    title="the cross-attentive encoder",
    reference=cross_attentive_features,
)
def check_cross_attentive_features(answer: Any) -> None:
    """Try pairs in several orders, unequal and equal lengths, padding that shouts, an absent stream."""
    expect.is_callable(answer, name="cross_attentive_features")
    fresh = expect.Fresh(71)
    for device in expect.devices():
        for lengths, width, pairs in (
            ((5, 7, 3), 6, [("vision", "audio")]),
            ((5, 7, 3), 6, [("text", "vision"), ("vision", "text"), ("audio", "vision")]),
            ((4, 4, 4), 10, [("vision", "audio"), ("text", "audio"), ("audio", "text")]),
            ((2, 11, 5), 6, [(q, c) for q in _NAMES for c in _NAMES if q != c]),
        ):
            _try_pairs(answer, fresh, device, lengths, width, pairs)
    _padding_and_gaps(answer, fresh)


_NAMES = ("text", "audio", "vision")


def _streams(
    fresh: expect.Fresh, device: torch.device, lengths: Sequence[int], width: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draw states (7, T, width) and masks of three streams; nothing stands out in the padding."""
    states = {n: fresh.normal(7, t, width).to(device) for n, t in zip(_NAMES, lengths, strict=True)}
    masks = {n: fresh.padding_mask(7, t).to(device) for n, t in zip(_NAMES, lengths, strict=True)}
    return states, masks


def _layers(pairs: Sequence[Pair], width: int, device: torch.device) -> dict[Pair, nn.Module]:
    """Build an attention layer of its own for each pair."""
    made = {pair: MultiHeadAttention(query_dim=width, num_heads=2) for pair in pairs}
    return {pair: layer.to(device).eval() for pair, layer in made.items()}


def _try_pairs(
    answer: Any,
    fresh: expect.Fresh,
    device: torch.device,
    lengths: Sequence[int],
    width: int,
    pairs: Sequence[Pair],
) -> None:
    states, masks = _streams(fresh, device, lengths, width)
    layers = _layers(pairs, width, device)
    told = ", ".join(f"{query} asks {context}" for query, context in pairs)
    tried = f"7 samples, streams of {lengths} steps of {width} features; {told}"
    with expect.inputs_left_alone(hint=1, **states):
        out = answer(dict(states), dict(masks), dict(layers))
    expect.shape(out, (7, len(pairs) * width), tried=tried, hint=1)
    expect.like(out, states["text"], tried=tried)
    expect.finite(out, tried=tried, hint=3)
    wanted = cross_attentive_features(states, masks, layers)
    expect.close(out, wanted, tried=tried, hint=2, atol=1e-4)


def _padding_and_gaps(answer: Any, fresh: expect.Fresh) -> None:
    device = torch.device("cpu")
    states, masks = _streams(fresh, device, (5, 3, 7), 4)
    layers = _layers([("text", "audio"), ("audio", "text"), ("vision", "text")], 4, device)
    quiet = answer(dict(states), dict(masks), dict(layers))
    loud = {n: x.masked_fill(~masks[n][..., None], 50.0) for n, x in states.items()}
    tried = "the same streams, with 50 in every step that is not real"
    out = answer(loud, dict(masks), dict(layers))
    expect.close(out, quiet, name="what must not have moved", tried=tried, hint=3, atol=1e-4)
    masks["audio"][2] = False
    out = answer(dict(states), dict(masks), dict(layers))
    tried = "sample 2 has no audio: no step of it is real"
    expect.finite(out, tried=tried, hint=3)
    expect.zero(out[2, 4:8], name="what the absent audio heard", tried=tried, hint=3)
    wanted = cross_attentive_features(states, masks, layers)
    expect.close(out, wanted, tried=tried, hint=3, atol=1e-4)


def ablation_effects(runs: Sequence[dict[str, Any]]) -> dict[str, tuple[float, float, float, bool]]:
    """Effects of the two switches and their interaction, paired by seed, with 95 % t intervals."""
    score = {(r["transformer"], r["cross_attention"], r["seed"]): r["score"] for r in runs}
    cells = [(False, False), (True, False), (False, True), (True, True)]
    seeds = {seed for _, _, seed in score}
    whole = sorted(seed for seed in seeds if all((*cell, seed) in score for cell in cells))
    plain, with_t, with_ca, both = (
        np.array([score[(*cell, seed)] for seed in whole]) for cell in cells
    )
    per_seed = {
        "transformer": ((with_t - plain) + (both - with_ca)) / 2,
        "cross_attention": ((with_ca - plain) + (both - with_t)) / 2,
        "interaction": (both - with_ca) - (with_t - plain),
    }
    effects = {}
    for name, values in per_seed.items():
        mean, low, high = float(values.mean()), float("-inf"), float("inf")
        if len(values) > 1:
            mean, _, low, high, _ = seed_spread(values)
        effects[name] = (mean, low, high, low > 0)
    return effects


@exercise("07.2", title="a four-way ablation, judged", reference=ablation_effects)
def check_ablation_effects(answer: Any) -> None:
    """Try cases by hand, an interaction, seeds that differ, runs that are missing, a single seed."""
    expect.is_callable(answer, name="ablation_effects")
    plain = {(False, False): 0.5, (True, False): 0.6, (False, True): 0.56, (True, True): 0.66}
    runs = [_run(*cell, seed, score) for cell, score in plain.items() for seed in (0, 1)]
    tried = (
        "0.5 without both, +0.1 with the transformer, +0.06 with cross-attention, two seeds alike"
    )
    _expect_effects(answer, runs, tried, 1)
    synergy = {(False, False): 0.5, (True, False): 0.48, (False, True): 0.52, (True, True): 0.74}
    runs = [_run(*cell, seed, score) for cell, score in synergy.items() for seed in (3, 1)]
    tried = "the transformer costs 0.02 alone and brings 0.22 beside cross-attention"
    _expect_effects(answer, runs, tried, 1)
    draws = np.random.default_rng(72)
    for seeds, sure in ((3, 0.002), (5, 0.02), (7, 0.05), (2, 0.01)):
        luck = draws.normal(0, 0.05, seeds)  # what a seed does to all four models alike
        runs = [
            _run(
                transformer,
                cross,
                10 * seed + 1,
                0.6 + 0.03 * transformer + 0.01 * cross + luck[seed] + draws.normal(0, sure),
            )
            for transformer in (True, False)
            for cross in (False, True)
            for seed in range(seeds)
        ]
        runs = [runs[k] for k in draws.permutation(len(runs))]
        tried = f"{seeds} seeds in mixed order, lucky and unlucky ones"
        _expect_effects(answer, runs, tried, 2)
        if seeds == 5:
            broken = [run for run in runs if run is not runs[4]]
            tried = "five seeds, of which one lacks one of its four runs and so does not count"
            _expect_effects(answer, broken, tried, 3)
    one = [_run(*cell, 0, score) for cell, score in plain.items()]
    tried = "a single seed: an effect, and no interval (from minus to plus infinity)"
    _expect_effects(answer, one, tried, 3)


def _run(transformer: bool, cross_attention: bool, seed: int, score: float) -> dict[str, Any]:
    return {
        "transformer": transformer,
        "cross_attention": cross_attention,
        "seed": seed,
        "score": float(score),
    }


def _expect_effects(answer: Any, runs: list[dict[str, Any]], tried: str, hint: int) -> None:
    came = answer([dict(run) for run in runs])
    expect.kind(came, dict, tried=tried, hint=1)
    wanted = ablation_effects(runs)
    expect.that(
        set(came) == set(wanted),
        f"the keys {', '.join(wanted)}",
        got=", ".join(map(str, came)) or "none",
        tried=tried,
        hint=1,
    )
    for name, right in wanted.items():
        expect.kind(came[name], (tuple, list), name=f"the entry {name!r}", tried=tried, hint=1)
        expect.that(
            len(came[name]) == 4,
            f"four values for {name!r}: effect, low, high, holds",
            got=f"{len(came[name])}",
            tried=tried,
            hint=1,
        )
        mine = [float(value) for value in came[name]]
        expect.close(mine[0], right[0], name=f"the effect {name!r}", tried=tried, hint=1)
        for place, end in ((1, "low"), (2, "high")):
            same = np.isclose(mine[place], right[place], rtol=1e-3, atol=1e-6)
            expect.that(
                bool(same),
                f"the {end} end of {name!r} = {right[place]:.5g}",
                got=f"{mine[place]:.5g}",
                tried=tried,
                hint=hint,
            )
        if abs(right[1]) > 1e-9:  # an interval that ends at zero may be rounded to either side
            expect.that(
                bool(came[name][3]) == right[3],
                f"holds is {right[3]} for {name!r}, whose interval starts at {right[1]:.4g}",
                got=f"{bool(came[name][3])}",
                tried=tried,
                hint=2,
            )


Ends = tuple[int, int]
Counts = tuple[tuple[int, int], ...]


def fitting_counts(accuracy: Ends, f1: Sequence[Ends], n: int) -> list[Counts]:
    """List all (hits, row + column) of three classes that n samples and the printed row allow."""

    def pairs(low: int, high: int) -> np.ndarray:
        found = [
            (h, s)
            for h in range(n + 1)
            for s in range(
                max(1, 2 * h, -(-2 * UNIT * h // high)),
                min(n + h, 2 * UNIT * h // low if low else 2 * n) + 1,
            )
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    first, second = pairs(*f1[0]), pairs(*f1[1])
    (h0, s0), (h1, s1) = first.T[:, :, None], second.T[:, None, :]
    low, high = f1[2]
    fits: list[Counts] = []
    for k in range(n + 1):
        if not accuracy[0] * n <= UNIT * k <= accuracy[1] * n:
            continue
        h2, s2, errors = k - h0 - h1, 2 * n - s0 - s1, n - k
        good = (low * s2 <= 2 * UNIT * h2) & (2 * UNIT * h2 <= high * s2) & (s2 > 0) & (h2 >= 0)
        for h, s in ((h0, s0), (h1, s1), (h2, s2)):
            good &= (s >= 2 * h) & (s - 2 * h <= errors)
        for i, j in np.argwhere(good).tolist():
            one, two = first[i].tolist(), second[j].tolist()
            fits.append((tuple(one), tuple(two), (k - one[0] - two[0], 2 * n - one[1] - two[1])))
    return sorted(fits)


@exercise(
    "07.3",
    title="the counts behind a printed row",
    reference=fitting_counts,
)
def check_fitting_counts(answer: Any) -> None:
    """Try rows with known matrices, sizes that cannot be, coarse rows, a class without a hit."""
    expect.is_callable(answer, name="fitting_counts")
    for matrix in ([[3, 1, 0], [1, 2, 1], [0, 0, 2]], [[5, 0, 2], [1, 0, 1], [0, 3, 1]]):
        table = np.array(matrix)
        row = _printed(table, digits=4)
        n = int(table.sum())
        tried = f"the row that {matrix} prints, n={n}"
        came = _expect_counts(answer, *row, n, tried, 1)
        hits, sums = np.diag(table), table.sum(0) + table.sum(1)
        true = tuple(zip(hits.tolist(), sums.tolist(), strict=True))
        expect.that(true in came, f"{true} among the fits", got=f"{came}", tried=tried, hint=1)
    # Each row has counts that all conditions but one allow.
    for accuracy, f1, n, hint, words in (
        ((14000, 14000), ((18460, 18462), (0, 20000), (0, 20000)), 10, 2, "any F1 in two classes"),
        ((10000, 10000), ((11428, 11430), (8000, 8000), (9998, 10002)), 12, 2, "accuracy 0.5"),
        ((13333, 13334), ((0, 20000), (0, 20000), (0, 20000)), 6, 2, "accuracy 2/3, any F1"),
        ((10000, 10000), ((20000, 20000), (0, 8000), (0, 8000)), 8, 3, "accuracy 0.5, one F1 of 1"),
        ((15000, 15000), ((0, 20000), (0, 12000), (0, 1)), 8, 3, "accuracy 0.75, a class not hit"),
    ):
        _expect_counts(answer, accuracy, f1, n, f"{words}, n={n}", hint)
    draws = np.random.default_rng(73)
    for n, digits in ((23, 3), (41, 4), (67, 4), (31, 2)):
        table = draws.multinomial(n, draws.dirichlet(np.full(9, 0.8))).reshape(3, 3)
        printed = _printed(table, digits=digits)
        for size in (n, n - 1, n + 2):
            tried = f"a row of {digits} decimals that a test of {n} printed, asked for n={size}"
            _expect_counts(answer, *printed, size, tried, 2)


def _printed(table: np.ndarray, *, digits: int) -> tuple[Ends, tuple[Ends, ...]]:
    """Round the accuracy and the F1 scores of a confusion matrix; give the ends of each."""
    n, hits, sums = table.sum(), np.diag(table), table.sum(0) + table.sum(1)
    whole = [(hits.sum(), n), *zip(2 * hits, np.maximum(sums, 1), strict=True)]
    unit = UNIT // 10**digits
    ends = []
    for above, below in whole:
        middle = round(float(above) * 10**digits / float(below)) * unit
        ends.append((max(0, middle - unit // 2), middle + unit // 2))
    return ends[0], tuple(ends[1:])


def _expect_counts(
    answer: Any, accuracy: Ends, f1: Sequence[Ends], n: int, tried: str, hint: int
) -> list[Counts]:
    """Require the same set of counts as the reference, in ascending order."""
    said = f"{tried}: accuracy {accuracy}, F1 {tuple(f1)} in units of 1/{UNIT:,}"
    came = answer(accuracy, tuple(f1), n)
    expect.kind(came, list, tried=said, hint=1)
    try:
        mine = [tuple((int(h), int(s)) for h, s in each) for each in came]
    except (TypeError, ValueError):
        expect.that(
            False,
            "a list of ((hits, sum), (hits, sum), (hits, sum))",
            got=f"{came[:1]}",
            tried=said,
            hint=1,
        )
    wanted = fitting_counts(accuracy, f1, n)
    extra, lost = sorted(set(mine) - set(wanted)), sorted(set(wanted) - set(mine))
    expect.that(
        not lost,
        f"{lost[0] if lost else ''} among the fits ({len(wanted)} in all)",
        got=f"{len(mine)} fits, without it",
        tried=said,
        hint=hint,
    )
    expect.that(
        not extra,
        "only counts that a confusion matrix can have",
        got=f"{extra[0] if extra else ''}, which none has",
        tried=said,
        hint=hint,
    )
    expect.that(mine == wanted, "sorted, each once", got="another order", tried=said, hint=3)
    return mine
