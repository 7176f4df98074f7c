"""The checks of lesson 07, tried on what learners get wrong, on other right answers, on cheats."""

import itertools

import numpy as np
import pytest
import torch
from checking import Answers, Misconception, surroundings, trials

from mmlib import widgets
from mmlib.checks.lesson_07 import UNIT, ablation_effects, fitting_counts
from mmlib.data import FeatureSet
from mmlib.plots import png_bytes
from mmlib.plots.ablation import (
    NAMES,
    confusions_of,
    draw_model,
    encoder_map,
    losses_of,
    size_sieve,
)
from mmlib.training.comparing import compare_systems

ENCODER = Answers(
    "07.1",
    misconceptions=(
        Misconception(
            "the context asks",
            "In a pair (query, context) the first one asks; the result is as long as the query.",
            edit=(
                "attend(states[query], states[context], padding_mask=masks[context])",
                "attend(states[context], states[query], padding_mask=masks[query])",
            ),
        ),
        Misconception(
            "the mask of the one who asks",
            "While attending, the mask says which answers are real: it is the context's.",
            edit=("padding_mask=masks[context]", "padding_mask=masks[query]"),
        ),
        Misconception(
            "the mean over all steps",
            "Padding in the query makes rows that nobody should read.",
            edit=("masked_mean(heard, masks[query])", "heard.mean(1)"),
        ),
        Misconception(
            "averaged with the context's mask",
            "What was heard is as long as the query, so its mask says which steps are real.",
            edit=(
                "masked_mean(heard, masks[query])",
                (
                    "masked_mean(heard, masks[context][:, : heard.shape[1]])"
                    " if masks[context].shape[1] >= heard.shape[1] else heard.mean(1)"
                ),
            ),
        ),
        Misconception(
            "no mask while attending",
            "Padded steps of the context then answer like real ones.",
            edit=(", padding_mask=masks[context]", ""),
        ),
        Misconception(
            "the pairs are summed",
            "Summed, nobody can tell any more who heard what; the paper joins.",
            edit=("torch.cat(found, dim=-1)", "torch.stack(found).sum(0)"),
        ),
        Misconception(
            "the pairs are stacked",
            "A linear layer wants one vector a sample: side by side, not on an axis of their own.",
            edit=("torch.cat(found, dim=-1)", "torch.stack(found, dim=1)"),
        ),
        Misconception(
            "a residual path by habit",
            "The paper has none here; with one, the ablation changes more than its switch.",
            edit=(
                "masked_mean(heard, masks[query])",
                "masked_mean(states[query] + heard, masks[query])",
            ),
        ),
        Misconception(
            "in alphabetical order",
            "The order of `attentions` is the order in which the weights behind expect the pairs.",
            edit=("in attentions.items()", "in sorted(attentions.items(), key=lambda kv: kv[0])"),
        ),
        Misconception(
            "each two streams once",
            "Text asks audio and audio asks text are two pairs.",
            edit=(
                "    for (query, context), attend in attentions.items():\n",
                (
                    "    for (query, context), attend in attentions.items():\n"
                    "        if (context, query) in attentions and query > context:\n"
                    "            continue\n"
                ),
            ),
        ),
        Misconception(
            "the last state in the place of the mean",
            "The last state is the LSTM's summary; what is heard is averaged (C-16).",
            edit=("masked_mean(heard, masks[query])", "heard[:, -1]"),
        ),
    ),
    alternatives=(
        """
def cross_attentive_features(states, masks, attentions):
    def one(query, context, attend):
        heard = attend(states[query], states[context], padding_mask=masks[context])
        real = masks[query].unsqueeze(-1).to(heard.dtype)
        return (heard * real).sum(1) / real.sum(1).clamp(min=1)
    return torch.cat([one(*pair, attend) for pair, attend in attentions.items()], dim=1)
""",
        """
def cross_attentive_features(states, masks, attentions):
    rows = []
    for pair in attentions:
        asks, answers = (states[name] for name in pair)
        heard = attentions[pair](asks, answers, padding_mask=masks[pair[1]])
        weight = masks[pair[0]].float()
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1.0)
        rows.append(torch.einsum("bt,bth->bh", weight, heard))
    return torch.stack(rows, dim=1).flatten(1)
""",
    ),
    constant="torch.zeros(7, 6)",
)

EFFECTS = Answers(
    "07.2",
    misconceptions=(
        Misconception(
            "the simple effect",
            "With the other switch off is half of the story; the runs with it on are a second measurement.",
            edit=("((y10 - y00) + (y11 - y01)) / 2", "y10 - y00"),
        ),
        Misconception(
            "the full model against the plain one",
            "That is both switches and their interaction, whatever it is called.",
            edit=("((y01 - y00) + (y11 - y10)) / 2", "y11 - y00"),
        ),
        Misconception(
            "half an interaction",
            "Some textbooks halve it; here it is how much more the T brings where the CA is on.",
            edit=("(y11 - y01) - (y10 - y00)", "((y11 - y01) - (y10 - y00)) / 2"),
        ),
        Misconception(
            "the interaction is the sum",
            "The sum of two effects is twice the main effect; their difference is the interaction.",
            edit=("(y11 - y01) - (y10 - y00)", "(y11 - y01) + (y10 - y00)"),
        ),
        Misconception(
            "the population's deviation",
            "Three values are a sample: divide by n - 1.",
            edit=("std(ddof=1)", "std()"),
        ),
        Misconception(
            "1.96 whatever the number of seeds",
            "With three seeds the factor is 4.30: three values know little about their own spread.",
            edit=("t.ppf(0.975, n - 1)", "1.96"),
        ),
        Misconception(
            "five per cent on each side",
            "A 95 % interval leaves two and a half on each.",
            edit=("t.ppf(0.975, n - 1)", "t.ppf(0.95, n - 1)"),
        ),
        Misconception(
            "the deviation of one seed for that of the mean",
            "The mean of n seeds is surer than one of them, by the root of n.",
            edit=(" / n**0.5", ""),
        ),
        Misconception(
            "a positive mean holds",
            "Half of all useless switches have one.",
            edit=("mean - reach > 0)", "mean > 0)"),
        ),
        Misconception(
            "the best seed",
            "The best of many is a promise, not an effect.",
            edit=("values.mean()", "values.max()"),
        ),
        Misconception(
            "switches confused",
            "The first index is the transformer, the second the cross-attention.",
            edit=(
                "[(False, False), (True, False), (False, True), (True, True)]",
                "[(False, False), (False, True), (True, False), (True, True)]",
            ),
        ),
        Misconception(
            "one seed has no spread, so it is sure",
            "One run says nothing about runs: the interval is everything.",
            edit=("np.inf", "0.0"),
        ),
        Misconception(
            "seeds are not paired",
            "A seed that is lucky for all four models then counts as noise.",
            edit="""
def ablation_effects(runs):
    from scipy.stats import t
    cells = {}
    for run in runs:
        cells.setdefault((run["transformer"], run["cross_attention"]), []).append(run["score"])
    y = {cell: np.array(values) for cell, values in cells.items()}
    n = min(map(len, y.values()))
    var = sum(v.var(ddof=1) / len(v) if len(v) > 1 else np.inf for v in y.values())
    m = {cell: v.mean() for cell, v in y.items()}
    f, g = False, True
    table = {
        "transformer": ((m[g, f] - m[f, f] + m[g, g] - m[f, g]) / 2, var**0.5 / 2),
        "cross_attention": ((m[f, g] - m[f, f] + m[g, g] - m[g, f]) / 2, var**0.5 / 2),
        "interaction": (m[g, g] - m[f, g] - m[g, f] + m[f, f], var**0.5),
    }
    q = t.ppf(0.975, n - 1) if n > 1 else 1.0
    return {k: (e, e - q * s, e + q * s, e - q * s > 0) for k, (e, s) in table.items()}
""",
        ),
        Misconception(
            "runs in the order in which they came",
            "A list of runs has no order that one may rely on; the switches say which is which.",
            edit="""
def ablation_effects(runs):
    from scipy.stats import t
    y00, y10, y01, y11 = np.array([run["score"] for run in runs]).reshape(4, -1)
    table = {
        "transformer": ((y10 - y00) + (y11 - y01)) / 2,
        "cross_attention": ((y01 - y00) + (y11 - y10)) / 2,
        "interaction": (y11 - y01) - (y10 - y00),
    }
    found = {}
    for name, v in table.items():
        n = len(v)
        reach = t.ppf(0.975, n - 1) * v.std(ddof=1) / n**0.5 if n > 1 else np.inf
        found[name] = (v.mean(), v.mean() - reach, v.mean() + reach, v.mean() > reach)
    return found
""",
        ),
    ),
    alternatives=(
        """
import pandas as pd
from scipy import stats

def ablation_effects(runs):
    wide = pd.DataFrame(runs).pivot_table(
        index="seed", columns=["transformer", "cross_attention"], values="score"
    ).dropna()
    y = {key: wide[key].to_numpy() for key in wide.columns}
    off, on = False, True
    signs = {
        "transformer": (-0.5, 0.5, -0.5, 0.5),
        "cross_attention": (-0.5, -0.5, 0.5, 0.5),
        "interaction": (1, -1, -1, 1),
    }
    order = [(off, off), (on, off), (off, on), (on, on)]
    found = {}
    for name, weights in signs.items():
        each = sum(w * y[key] for w, key in zip(weights, order))
        if len(each) < 2:
            found[name] = (float(each.mean()), -np.inf, np.inf, False)
            continue
        if each.std() < 1e-12:
            found[name] = (each.mean(), each.mean(), each.mean(), each.mean() > 0)
            continue
        low, high = stats.t.interval(0.95, len(each) - 1, each.mean(), stats.sem(each))
        found[name] = (each.mean(), low, high, low > 0)
    return found
""",
        """
import math
from statistics import mean, stdev

def ablation_effects(runs):
    from scipy.special import stdtrit
    by_seed = {}
    for run in runs:
        by_seed.setdefault(run["seed"], {})[run["transformer"], run["cross_attention"]] = run["score"]
    complete = [y for y in by_seed.values() if len(y) == 4]
    def effect(of):
        values = [of(y) for y in complete]
        middle = mean(values)
        if len(values) == 1:
            return [middle, -math.inf, math.inf, False]
        reach = stdtrit(len(values) - 1, 0.975) * stdev(values) / math.sqrt(len(values))
        return [middle, middle - reach, middle + reach, bool(middle - reach > 0)]
    return {
        "transformer": effect(lambda y: (y[1, 0] - y[0, 0] + y[1, 1] - y[0, 1]) / 2),
        "cross_attention": effect(lambda y: (y[0, 1] - y[0, 0] + y[1, 1] - y[1, 0]) / 2),
        "interaction": effect(lambda y: y[1, 1] - y[0, 1] - y[1, 0] + y[0, 0]),
    }
""",
    ),
    constant='dict.fromkeys(("transformer", "cross_attention", "interaction"), (0.0, 0.0, 0.0, False))',
)

SIEVE = Answers(
    "07.3",
    misconceptions=(
        Misconception(
            "the classes judged one by one",
            "Three classes share one table: the rows and columns sum to 2n.",
            edit=("s3 = 2 * n - s1 - s2", "s3 = 2 * n - s1"),
        ),
        Misconception(
            "row and column sum to n",
            "Every sample stands in one row and in one column, so the sums come to 2n.",
            edit=("s3 = 2 * n - s1 - s2", "s3 = n - s1 - s2"),
        ),
        Misconception(
            "F1 without the two",
            "F1 is twice the hits over row plus column.",
            edit=("low * s3 <= 2 * UNIT * h3 <= high * s3", "low * s3 <= UNIT * h3 <= high * s3"),
        ),
        Misconception(
            "the ends do not count",
            "A number exactly on the end of the interval prints as the row does.",
            edit=(
                "accuracy[0] * n <= UNIT * k <= accuracy[1] * n",
                "accuracy[0] * n < UNIT * k < accuracy[1] * n",
            ),
        ),
        Misconception(
            "any errors will do",
            "One class cannot make more errors than there are: a table has to exist.",
            edit=("if min(errors) >= 0 and max(errors) <= n - k:", "if min(errors) >= 0:"),
        ),
        Misconception(
            "the errors of the first two classes only",
            "The third class is what is left, and its errors must fit as well.",
            edit=("max(errors) <= n - k", "max(errors[:2]) <= n - k"),
        ),
        Misconception(
            "one answer is enough",
            "All counts that fit: how many there are says how sure the reading is.",
            edit=("return sorted(fits)", "return sorted(fits)[:1]"),
        ),
        Misconception(
            "the accuracy is the mean of the F1 scores",
            "They are different fractions; the hits of the classes sum to n times the accuracy.",
            edit=(
                "[k for k in range(n + 1) if accuracy[0] * n <= UNIT * k <= accuracy[1] * n]",
                "[n * sum(a + b for a, b in f1) // (6 * UNIT)]",
            ),
        ),
        Misconception(
            "the nearest count",
            "Several counts may print the same digits; rounding n times the accuracy gives one of them.",
            edit=(
                "[k for k in range(n + 1) if accuracy[0] * n <= UNIT * k <= accuracy[1] * n]",
                "[round(n * (accuracy[0] + accuracy[1]) / 2 / UNIT)]",
            ),
        ),
        Misconception(
            "whether, not which",
            "The counts are what one reads class sizes from.",
            edit=("return sorted(fits)", "return bool(fits)"),
        ),
        Misconception(
            "a class without hits is left out",
            "No hit is a count like any other, and prints an F1 of 0.",
            edit=(
                "for h in range(n + 1)\n            for s",
                "for h in range(1, n + 1)\n            for s",
            ),
        ),
    ),
    alternatives=(
        """
def fitting_counts(accuracy, f1, n):
    def allowed(c, h, s):
        return s >= max(1, 2 * h) and f1[c][0] * s <= 2 * UNIT * h <= f1[c][1] * s
    lists = [
        [(h, s) for h in range(n + 1) for s in range(max(1, 2 * h), n + h + 1) if allowed(c, h, s)]
        for c in range(3)
    ]
    third = {}
    for h, s in lists[2]:
        third.setdefault(s, []).append(h)
    found = set()
    for a in lists[0]:
        for b in lists[1]:
            for h in third.get(2 * n - a[1] - b[1], ()):
                c = (h, 2 * n - a[1] - b[1])
                k = a[0] + b[0] + h
                if accuracy[0] * n <= UNIT * k <= accuracy[1] * n:
                    if all(s - 2 * x <= n - k for x, s in (a, b, c)):
                        found.add((a, b, c))
    return sorted(found)
""",
        """
def fitting_counts(accuracy, f1, n):
    h, s = np.meshgrid(np.arange(n + 1), np.arange(1, 2 * n + 1), indexing="ij")
    fits = [(lo * s <= 2 * UNIT * h) & (2 * UNIT * h <= hi * s) & (s >= 2 * h) for lo, hi in f1]
    one, two = (np.argwhere(fit) + [0, 1] for fit in fits[:2])
    found = []
    for h1, s1 in one.tolist():
        h3 = np.arange(n + 1)[:, None]
        h2, s2 = two[:, 0][None], two[:, 1][None]
        s3, k = 2 * n - s1 - s2, h1 + h2 + h3
        good = (s3 >= 1) & (s3 >= 2 * h3) & (f1[2][0] * s3 <= 2 * UNIT * h3)
        good = good & (2 * UNIT * h3 <= f1[2][1] * s3)
        good = good & (accuracy[0] * n <= UNIT * k) & (UNIT * k <= accuracy[1] * n)
        for hh, ss in ((h1, s1), (h2, s2), (h3, s3)):
            good = good & (ss - 2 * hh <= n - k)
        for i, j in np.argwhere(good).tolist():
            b = tuple(two[j].tolist())
            found.append([(h1, s1), b, (i, 2 * n - s1 - b[1])])
    return sorted(tuple(each) for each in found)
""",
    ),
    constant="[((3, 7), (2, 5), (2, 6))]",
    cheats={"nothing ever fits": "def fitting_counts(accuracy, f1, n):\n    return []"},
)


@pytest.mark.parametrize("trial", trials([ENCODER, EFFECTS, SIEVE]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


# The audit, against every confusion matrix there is.


def every_table(n: int) -> np.ndarray:
    """All confusion matrices of n samples in three classes, (tables, 3, 3)."""
    bars = np.array(list(itertools.combinations(range(n + 8), 8)))
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=((0, 0), (-1, n + 8)))
    return (np.diff(edges, axis=1) - 1).reshape(-1, 3, 3)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_the_counts_that_fit_are_those_of_some_confusion_matrix_and_no_others(n):
    tables = every_table(n)
    assert (tables.sum((1, 2)) == n).all()
    hits = np.einsum("tii->ti", tables)
    sums, right = tables.sum(1) + tables.sum(2), hits.sum(1)
    draws = np.random.default_rng(n)
    for _ in range(25):
        middle, width = draws.integers(0, UNIT + 1, 4), draws.choice([100, 1500, 6000], 4)
        low, high = np.maximum(0, middle - width).tolist(), (middle + width).tolist()
        fits = (low[0] * n <= UNIT * right) & (UNIT * right <= high[0] * n)
        for c in range(3):
            doubled = 2 * UNIT * hits[:, c]
            fits &= (low[c + 1] * sums[:, c] <= doubled) & (doubled <= high[c + 1] * sums[:, c])
            fits &= sums[:, c] > 0
        pairs = zip(hits[fits].tolist(), sums[fits].tolist(), strict=True)
        wanted = sorted({tuple(zip(h, s, strict=True)) for h, s in pairs})
        found = fitting_counts((low[0], high[0]), list(zip(low[1:], high[1:], strict=True)), n)
        assert found == wanted


def interval(printed: str) -> tuple[int, int]:
    """The ends of a printed number that is rounded or cut, by whole numbers of 1/20,000."""
    unit = UNIT // 10 ** (len(printed) - 2)
    return int(printed[2:]) * unit - unit // 2, int(printed[2:]) * unit + unit


@pytest.mark.parametrize(
    ("accuracy", "f1", "counts"),
    [
        ("0.593", ("0.6985", "0.5318", "0.2764"), [((183, 524), (71, 267), (17, 123))]),
        ("0.641", ("0.7637", "0.5191", "0.1895"), [((223, 584), (61, 235), (9, 95))]),
        ("0.649", ("0.7698", "0.5844", "0.3121"), [((204, 530), (71, 243), (22, 141))]),
        ("0.676", ("0.7699", "0.6400", "0.3271"), []),
    ],
)
def test_three_rows_of_table_1_have_one_reading_at_457_and_the_headline_has_none(
    accuracy, f1, counts
):
    assert fitting_counts(interval(accuracy), [interval(each) for each in f1], 457) == counts


def test_one_run_of_each_model_leaves_every_effect_open():
    scores = {
        (False, False): 0.593,
        (False, True): 0.641,
        (True, False): 0.649,
        (True, True): 0.676,
    }
    runs = [
        {"transformer": t, "cross_attention": c, "seed": 0, "score": score}
        for (t, c), score in scores.items()
    ]
    for effect, low, high, holds in ablation_effects(runs).values():
        assert (low, high, holds) == (-np.inf, np.inf, False)
        assert np.isfinite(effect)


# The widget and the figures.


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    draws = torch.Generator().manual_seed(7)
    shapes = {"text": (7, 5), "audio": (11, 3), "vision": (5, 2)}
    inputs = {n: torch.randn(60, *shape, generator=draws) for n, shape in shapes.items()}
    split = np.repeat(["train", "valid", "test"], [30, 13, 17])
    names = ("negative", "neutral", "positive")
    features = FeatureSet(inputs, {}, torch.arange(60) % 3, names, split)
    systems = ("majority", "mmaae", "ca_mmaaet")
    recipe = {"epochs": 2, "batch_size": 15}
    folder = tmp_path_factory.mktemp("runs")
    return compare_systems(features, systems, folder, seeds=2, progress=False, recipe=recipe)


def test_the_picker_shows_the_chosen_model_and_seed(results, monkeypatch):
    picked = surroundings("07.2")["picked"]  # the lesson's own drawing function
    monkeypatch.setitem(picked.__globals__, "results", results)
    explorer = widgets.explore(picked, model=["ca_mmaaet", "mmaae"], seed=["all", "0", "1"])
    assert explorer.alt.startswith("CA-MMAAET, 2 seeds together")
    first = explorer.output.value
    explorer.controls["model"].value = "mmaae"
    explorer.controls["seed"].value = "1"
    (run,) = (run for run in results.of("mmaae") if run.seed == 1)
    assert explorer.alt.startswith("MMAAE, seed 1")
    assert f"test accuracy {run.scores['accuracy']:.3f}, recall" in explorer.alt
    assert explorer.output.value != first


def test_a_run_that_is_not_there_is_refused_by_name(results):
    with pytest.raises(
        ValueError, match="no run of 'mmaae' with seed 5; there are majority with seed 0"
    ):
        draw_model(results, "mmaae", 5)


def test_the_confusion_of_all_seeds_is_the_sum_of_theirs(results):
    figure, _ = draw_model(results, "mmaae")
    cells = [text.get_text() for text in figure.axes[2].texts]
    counted = [int(text.split("(")[1].rstrip(")")) for text in cells if "(" in text]
    assert sum(counted) == 2 * 17
    wanted = sum(np.array(run.scores["confusion"]) for run in results.of("mmaae"))
    assert counted == wanted.flatten().tolist()


def test_the_figures_of_the_lesson_can_be_drawn(results):
    models = ("mmaae", "ca_mmaaet")
    losses, tables = losses_of(results, models, seed=1), confusions_of(results, models)
    for figure in (losses, tables):
        assert [ax.get_title(loc="left") for ax in figure.axes] == [NAMES[name] for name in models]
    assert len(losses.axes[0].lines) == 4  # both sides of the adversarial loss
    sieve = size_sieve({"one": [457, 629], "other": [500]}, sizes=(100, 700), mark=457)
    assert {"457", "2 fit", "1 fits"} <= {text.get_text() for text in sieve.texts}
    for figure in (
        losses,
        tables,
        sieve.figure,
        encoder_map().figure,
        draw_model(results, "majority")[0],
    ):
        assert len(png_bytes(figure)) > 2000
    with pytest.raises(ValueError, match="at least one row"):
        size_sieve({}, sizes=(1, 2))
