"""The checks of lesson 14, tried on what learners get wrong, on other right answers, on cheats."""

import ast
import os
import re
import subprocess
import sys
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from builder.rules import parse
from checking import ROOT, Answers, Misconception, lesson_of, solution_of, trials
from torch import nn

from mmlib import widgets
from mmlib.checks import CheckFailed
from mmlib.checks.contract import CONTRACT, assert_contract, contract_report, try_out
from mmlib.checks.lesson_14 import Fused, MyFusion, claims, fair_choice
from mmlib.metrics import bootstrap_interval, compare
from mmlib.plots import png_bytes
from mmlib.plots.board import Row, contract_matrix, growth, results_board, winners

CHOICE = Answers(
    "14.1",
    misconceptions=(
        Misconception(
            "chosen on the test",
            "Then the test has been used to choose, and its number is a promise.",
            edit=("scores[:budget].mean(1)", "right[name][:budget].mean((1, 2))"),
        ),
        Misconception(
            "the best single run",
            "The luckiest seed of the luckiest setting is no property of a setting.",
            edit=(".mean(1).argmax()", ".max(1).argmax()"),
        ),
        Misconception(
            "every setting that was tried",
            "Who tries more wins more: the budget is the same for all.",
            edit=("scores[:budget]", "scores"),
        ),
        Misconception(
            "one setting too few",
            "`scores[:budget]` holds the settings 0 to budget - 1, which are budget of them.",
            edit=("scores[:budget]", "scores[: max(budget - 1, 1)]"),
        ),
        Misconception(
            "one setting for all systems",
            "What suits one system does not suit another: each has its own choice, within one budget.",
            edit=(
                "int(scores[:budget].mean(1).argmax())",
                "int(sum(v[:budget].mean(1) for v in valid.values()).argmax())",
            ),
        ),
        Misconception(
            "seeds for settings",
            "The axes are (settings, seeds): the mean runs over the second one.",
            edit=(".mean(1).argmax()", ".mean(0).argmax()"),
        ),
        Misconception(
            "the best seed of the choice",
            "Whoever uses a system gets one seed, and cannot choose it by the test.",
            edit=("right[name][setting].mean(0)", "right[name][setting][scores[setting].argmax()]"),
        ),
        Misconception(
            "right if any seed is right",
            "That is an ensemble with an oracle, not the accuracy of a system.",
            edit=("right[name][setting].mean(0)", "right[name][setting].any(0)"),
        ),
        Misconception(
            "a vote of the seeds",
            "A vote is another system (an ensemble); the mean over seeds is the one that was trained.",
            edit=("right[name][setting].mean(0)", "right[name][setting].mean(0) > 0.5"),
        ),
        Misconception(
            "the mean over the settings",
            "Only the chosen setting is judged.",
            edit=("right[name][setting].mean(0)", "right[name][:budget].mean((0, 1))"),
        ),
        Misconception(
            "one number for the whole test",
            "The samples are kept: without them there is no paired difference.",
            edit=("right[name][setting].mean(0)", "right[name][setting].mean()"),
        ),
        Misconception(
            "the last of equals",
            "Of equals the first: a rule that does not depend on the results.",
            edit=(
                "int(scores[:budget].mean(1).argmax())",
                "len(scores[:budget]) - 1 - int(np.round(scores, 1)[:budget].mean(1)[::-1].argmax())",
            ),
        ),
    ),
    alternatives=(
        (
            "def fair_choice(valid, right, budget):\n"
            "    found = {}\n"
            "    for name in valid:\n"
            "        best, place = -1.0, 0\n"
            "        for k in range(budget):\n"
            "            mean = float(np.mean(valid[name][k]))\n"
            "            if mean > best:\n"
            "                best, place = mean, k\n"
            "        seeds = right[name][place]\n"
            "        found[name] = place, sum(s.astype(float) for s in seeds) / len(seeds)\n"
            "    return found\n"
        ),
        (
            "def fair_choice(valid, right, budget):\n"
            "    places = {n: np.argmax(np.average(v[:budget], axis=1)) for n, v in valid.items()}\n"
            "    return {n: (k, np.average(right[n][k], axis=0).tolist()) for n, k in places.items()}\n"
        ),
    ),
    constant="{'concat': (1, np.array([0.75, 0.25, 0.25, 0.25]))}",
)

SUM = """
class MyFusion(nn.Module):
    def __init__(self, widths, num_classes, dim=16):
        super().__init__()
        self.names = list(widths)
        self.layers = nn.ModuleList([nn.Linear(width, dim) for width in widths.values()])
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, num_classes))

    def forward(self, masks=None, **streams):
        total = 0.0
        for name, layer in zip(self.names, self.layers):
            if name not in streams:
                raise ValueError(f"{name} is missing")
            real = None if masks is None else masks[name]
            total = total + masked_mean(layer(streams[name]), real)
        return Fused(self.head(total))
"""
LATE = """
class MyFusion(nn.Module):
    def __init__(self, widths, num_classes):
        super().__init__()
        self.votes = nn.ModuleDict({
            name: nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, num_classes))
            for name, width in widths.items()
        })

    def forward(self, masks=None, **streams):
        votes = []
        for name, x in streams.items():
            real = torch.ones_like(x[..., 0]) if masks is None else masks[name].to(x.dtype)
            vote = self.votes[name](torch.where(real[..., None] > 0, x, 0.0))
            votes.append((vote * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1))
        return Fused(torch.stack(votes).sum(0))
"""

FUSION = Answers(
    "14.2",
    misconceptions=(
        Misconception(
            "padding averaged in",
            "A short sentence beside a long one is paler: its answer depends on the others' lengths.",
            edit=("masked_mean(encode(x), real)", "encode(x).mean(1)"),
        ),
        Misconception(
            "padding summed in, real steps counted",
            "Both, the sum and the count, are over real steps.",
            edit=(
                "masked_mean(encode(x), real)",
                "encode(x).sum(1) / real.sum(1, keepdim=True).clamp(min=1)",
            ),
        ),
        Misconception(
            "a softmax over the batch",
            "The streams are axis 1 of (B, M, 1); along axis 0 the samples compete.",
            edit=("scores.softmax(1)", "scores.softmax(0)"),
        ),
        Misconception(
            "a softmax over one number",
            "Along the last axis there is one score: every weight is 1 and no gate learns.",
            edit=("scores.softmax(1)", "scores.softmax(2)"),
        ),
        Misconception(
            "dropout without evaluation",
            "`F.dropout` drops whenever it is called, unless it is told `self.training`.",
            edit=(
                "return Fused(self.head(",
                "return Fused(torch.nn.functional.dropout(torch.ones(1)) * self.head(",
            ),
        ),
        Misconception(
            "layers in a plain dictionary",
            "The module does not know them: not trained, not saved, not moved.",
            edit=(
                "self.gates = nn.ModuleDict({name: nn.Linear(dim, 1) for name in widths})",
                "self.gates = {name: nn.Linear(dim, 1) for name in widths}",
            ),
        ),
        Misconception(
            "a layer that nobody calls",
            "It counts among the parameters and never learns.",
            edit=(
                "self.head = nn.Linear",
                "self.spare = nn.Linear(dim, dim)\n        self.head = nn.Linear",
            ),
        ),
        Misconception(
            "squeeze",
            "With one sample it takes the batch axis away; name the axis that goes.",
            edit=(
                "self.head((weights * torch.stack(summaries, 1)).sum(1))",
                "self.head((weights * torch.stack(summaries, 1)).sum(1)).squeeze()",
            ),
        ),
        Misconception(
            "zero divided by zero",
            "An absent stream has no real step: clamp the count.",
            edit=(
                "masked_mean(encode(x), real)",
                "(encode(x) * real[..., None]).sum(1) / real.sum(1, keepdim=True)",
            ),
        ),
        Misconception(
            "minus infinity for all",
            "A sample without any stream has only -inf, and their softmax is NaN.",
            edit=("-1e4", "float('-inf')"),
        ),
        Misconception(
            "a batch norm",
            "It cannot train on a batch of one; LayerNorm can.",
            edit=(
                "self.head = nn.Linear(dim, num_classes)",
                "self.head = nn.Sequential(nn.BatchNorm1d(dim), nn.Linear(dim, num_classes))",
            ),
        ),
        Misconception(
            "three names written in",
            "The streams and their names come with `widths`.",
            edit=("for name in widths}", "for name in ('text', 'audio', 'vision')}"),
        ),
        Misconception(
            "a missing stream as a KeyError",
            "KeyError: 'text' does not say what to do; a ValueError with the name and the remedy does.",
            edit=("if missing:", "if False:"),
        ),
        Misconception(
            "masks taken for granted",
            "No masks mean that all steps are real.",
            edit=("real if masks is None else masks[name]", "masks[name]"),
        ),
        Misconception(
            "a bare tensor",
            "Losses and metrics read the first field of a named tuple; of a tensor that is sample 0.",
            edit=(
                "return Fused(self.head((weights * torch.stack(summaries, 1)).sum(1)))",
                "return self.head((weights * torch.stack(summaries, 1)).sum(1))",
            ),
        ),
        Misconception(
            "the first stream only",
            "Every stream must be heard.",
            edit=("(weights * torch.stack(summaries, 1)).sum(1)", "summaries[0] * weights.sum(1)"),
        ),
        Misconception(
            "something kept from the last call",
            "What a module remembers between calls makes its answers depend on the order of the questions.",
            edit=(
                "weights = scores.softmax(1)",
                (
                    "self.seen = getattr(self, 'seen', 0) + 1\n"
                    "        weights = scores.softmax(1) * self.seen"
                ),
            ),
        ),
    ),
    alternatives=(SUM, LATE),
    constant="Fused(torch.zeros(5, 3))",
    setup="from collections import namedtuple\nFused = namedtuple('Fused', 'logits')",
    cheats={
        "is the reference": "from mmlib.checks.lesson_14 import MyFusion",
        "a fusion of the library": (
            "from mmlib.systems import Concat\nclass MyFusion(Concat):\n    pass\n"
        ),
        "right but untrainable": SUM.replace(
            "return Fused(self.head(total))",
            "return Fused(1e-4 * self.head(total.detach()) + 1e-9 * total[:, :1])",
        ),
    },
)

CLAIMS = Answers(
    "14.3",
    misconceptions=(
        Misconception(
            "signs for clips",
            "Clips of one actor succeed and fail together: whole actors change sides, or chance looks rarer than it is.",
            edit=(
                "np.bincount(place, weights=gain)",
                "np.stack([part.sum() for part in np.array_split(gain, min(len(gain), 12))])",
            ),
        ),
        Misconception(
            "means of the actors",
            "Sums: who speaks twice as much weighs twice as much, in the gain and so in the test.",
            edit=(
                "np.bincount(place, weights=gain)",
                "np.bincount(place, weights=gain) / np.bincount(place)",
            ),
        ),
        Misconception(
            "one side only",
            "Before the result was known, a loss would have been reported too: both sides count.",
            edit=("abs(signs @ total) >= abs(total.sum())", "signs @ total >= total.sum()"),
        ),
        Misconception(
            "larger, not as large",
            "The real signs are one of the ways, so p is never 0: at least as large, with room for rounding.",
            edit=(">= abs(total.sum()) - 1e-9", "> abs(total.sum()) + 1e-9"),
        ),
        Misconception(
            "no correction",
            "Who looks at six differences finds one by chance in one case of four.",
            edit=("p * (len(found) - rank)", "p"),
        ),
        Misconception(
            "the same factor for all",
            "That is Bonferroni's way: safe too, and blinder. Holm's second is multiplied by m - 1.",
            edit=("p * (len(found) - rank)", "p * len(found)"),
        ),
        Misconception(
            "the factors the wrong way round",
            "The smallest p is multiplied by m, the largest by one.",
            edit=("p * (len(found) - rank)", "p * (rank + 1)"),
        ),
        Misconception(
            "an order that turns round",
            "No corrected p may lie below one whose own p was smaller.",
            edit=(
                "max(least, min(1.0, p * (len(found) - rank)))",
                "min(1.0, p * (len(found) - rank))",
            ),
        ),
        Misconception(
            "a p above one",
            "It is a share: cut it at one.",
            edit=("min(1.0, p * (len(found) - rank))", "p * (len(found) - rank)"),
        ),
        Misconception(
            "unequal tuning compared",
            "With more tries than the rival a gain is partly the tries': nothing may be claimed.",
            edit=("name != rival and tried[name] == tried[rival]", "name != rival"),
        ),
        Misconception(
            "less tuning let in",
            "Fewer tries than the rival is unequal too: a loss may then be the missing tries.",
            edit=("tried[name] == tried[rival]", "tried[name] <= tried[rival]"),
        ),
        Misconception(
            "corrected for all that were there",
            "Only comparisons that are made count: the rival is none, nor is who was left out.",
            edit=("(len(found) - rank)", "(len(right) - rank)"),
        ),
        Misconception(
            "the first seed",
            "The mean over the seeds is compared, as on the board.",
            edit=(
                "right[name].mean(0) - right[rival].mean(0)",
                "right[name][0] - 1.0 * right[rival][0]",
            ),
        ),
        Misconception(
            "the mean of the actors as the gain",
            "The gain is that of the board: over all clips together.",
            edit=("gain.mean(), as_large", "(total / np.bincount(place)).mean(), as_large"),
        ),
    ),
    alternatives=(
        (
            "def claims(right, groups, tried, rival):\n"
            "    fair = [n for n in right if n != rival and tried[n] == tried[rival]]\n"
            "    out, ps = {}, {}\n"
            "    for n in fair:\n"
            "        d = np.asarray(right[n], float).mean(axis=0) - np.asarray(right[rival], float).mean(axis=0)\n"
            "        sums = [d[groups == g].sum() for g in set(groups.tolist())]\n"
            "        totals = np.zeros(1)\n"
            "        for s in sums:\n"
            "            totals = np.concatenate([totals + s, totals - s])\n"
            "        ps[n] = (np.abs(totals).round(9) >= abs(round(sum(sums), 9))).mean()\n"
            "        out[n] = d.mean()\n"
            "    left, floor, result = sorted(ps, key=ps.get), 0, {}\n"
            "    while left:\n"
            "        floor = min(1, max(floor, ps[left[0]] * len(left)))\n"
            "        result[left[0]] = [out[left[0]], floor]\n"
            "        left = left[1:]\n"
            "    return result\n"
        ),
        (
            "def claims(right, groups, tried, rival):\n"
            "    names = [n for n in right if n != rival and tried[n] == tried[rival]]\n"
            "    if not names:\n"
            "        return {}\n"
            "    actors = np.unique(groups)\n"
            "    member = (np.asarray(groups)[:, None] == actors).astype(float)\n"
            "    gains = np.stack([right[n].mean(0) - right[rival].mean(0) for n in names])\n"
            "    ways = np.arange(2 ** len(actors))[:, None] >> np.arange(len(actors))\n"
            "    totals = (gains @ member) @ (1 - 2 * (ways % 2)).T\n"
            "    p = (np.abs(totals) > np.abs(totals[:, :1]) - 1e-7).mean(1)\n"
            "    order = np.argsort(p)\n"
            "    holm = np.maximum.accumulate(p[order] * np.arange(len(names), 0, -1)).clip(max=1)\n"
            "    return {names[k]: (gains[k].mean(), h) for k, h in zip(order, holm)}\n"
        ),
    ),
    constant="{'mine': (0.25, 0.5)}",
    setup="from itertools import product",
)

ANSWERS = [CHOICE, FUSION, CLAIMS]


@pytest.mark.parametrize("trial", trials(ANSWERS), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


# The contract, away from the check.


def test_the_reference_keeps_every_clause_and_the_report_names_them_all():
    assert_contract(MyFusion)
    report = contract_report(MyFusion)
    assert list(report) == list(CONTRACT) and set(report.values()) == {"kept"}


class Paler(MyFusion):
    """Averages padding in."""

    def forward(self, masks=None, **streams):
        return super().forward(None, **streams)


def test_a_broken_module_is_told_which_clauses_it_breaks_and_how():
    report = contract_report(Paler)
    broken = {name for name, found in report.items() if found != "kept"}
    assert broken == {"padding does not matter", "longer padding does not matter"}
    assert "differ by up to" in report["padding does not matter"]
    with pytest.raises(CheckFailed, match="50 in every step whose mask is False"):
        assert_contract(Paler)


class Noisy(MyFusion):
    """Adds noise at evaluation."""

    def forward(self, masks=None, **streams):
        logits = super().forward(masks, **streams).logits
        return Fused(logits + torch.randn_like(logits))


def test_noise_at_evaluation_is_found():
    assert contract_report(Noisy)["the same answer twice"] != "kept"


class Doubling(MyFusion):
    """Works in the caller's own tensors."""

    def forward(self, masks=None, **streams):
        for x in streams.values():
            x *= 2
        return super().forward(masks, **streams)


def test_writing_into_what_was_given_is_called_that_and_noise_is_not_called_mixing():
    assert "changed ones" in contract_report(Doubling)["the same answer twice"]
    with pytest.raises(CheckFailed, match="the same numbers"):
        assert_contract(Noisy)


class Unmasked(MyFusion):
    """Takes masks for granted."""

    def forward(self, masks=None, **streams):
        masks["text" if "text" in masks else "voice"].any()
        return super().forward(masks, **streams)


def test_an_error_of_the_modules_own_is_told_with_the_clause_that_met_it():
    with pytest.raises(CheckFailed) as told:
        assert_contract(Unmasked)
    assert told.value.tried == "the clause “masks left out”"
    assert told.value.expected == "No masks mean that all is real."
    words, line = told.value.got.splitlines()
    assert words == "TypeError: argument of type 'NoneType' is not iterable"
    assert line.startswith("in forward, line ") and '"text" if "text" in masks' in line


class Raising(nn.Module):
    """Cannot be called."""

    def __init__(self, widths, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, masks=None, **streams):
        raise IndexError("nothing here")


def test_a_module_that_raises_gets_a_report_all_the_same():
    report = contract_report(Raising)
    assert report["shape"] == "IndexError: nothing here" and "kept" not in report.values()


def test_trying_a_module_leaves_the_random_numbers_as_they_were():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    candidate = try_out(MyFusion)
    candidate.built()
    assert torch.equal(torch.rand(2), expected)


def test_the_lessons_own_fusion_is_the_references_kind():
    """What the lesson shows as the answer and what `use` gives agree in what they say of fresh data."""
    namespace = {"nn": nn, "torch": torch, "Fused": Fused}
    exec("from mmlib.layers import masked_mean\n" + solution_of("14.2"), namespace)  # noqa: S102
    mine = namespace["MyFusion"]({"a": 3, "b": 2}, 5).eval()
    theirs = MyFusion({"a": 3, "b": 2}, 5).eval()
    theirs.load_state_dict(mine.state_dict())
    streams = {"a": torch.randn(2, 7, 3), "b": torch.randn(2, 5, 2)}
    masks = {"a": torch.rand(2, 7) < 0.5, "b": torch.rand(2, 5) < 0.5}
    masks["a"][1] = False
    with torch.no_grad():
        one, other = mine(**streams, masks=masks)[0], theirs(**streams, masks=masks)[0]
    assert torch.allclose(one, other, atol=1e-6)


# The widget and the figures.

ROWS = {
    "concat": Row(0.66, 0.63, 0.69, (0.65, 0.67), 0.845),
    "JMT": Row(0.67, 0.64, 0.71, (0.66, 0.68), 0.733),
    "late": Row(0.64, 0.60, 0.66),
}


def test_the_board_draws_a_row_a_system_with_its_numbers():
    axes = results_board(ROWS, xlabel="accuracy")
    assert [label.get_text() for label in axes.get_yticklabels()] == list(ROWS)
    assert next(text.get_text() for text in axes.texts) == "0.660 [0.630, 0.690]"
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(float(line.get_xdata()[0]) for line in points) == [0.65, 0.66, 0.67, 0.68]
    bars = [line.get_xdata()[0] for line in axes.lines if line.get_color() == "#B00020"]
    assert bars == [0.845, 0.733]


def test_differences_are_filled_where_the_interval_leaves_out_zero():
    rows = {"sure": Row(0.04, 0.01, 0.07), "unsure": Row(0.02, -0.01, 0.05)}
    axes = results_board(rows, xlabel="difference", zero=True)
    fills = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "D"]
    assert fills[0] != "white" and fills[1] == "white"
    assert axes.texts[1].get_text() == "+0.020 [−0.010, +0.050]"


def test_an_empty_board_is_refused():
    with pytest.raises(ValueError, match="the board is empty"):
        results_board({}, xlabel="accuracy")


def test_the_other_figures_are_drawn_and_stay_closed():
    made = (
        growth({"a": ((1, 2, 4), (3.0, 6.0, 12.0))}, xlabel="length", ylabel="MB"),
        contract_matrix({"mine": {"shape": "kept", "bfloat16": "NaN"}}),
        winners({"a": {"a": 0.7, "b": 0.6}, "b": {"a": 0.6, "b": 0.7}}),
    )
    assert all(len(png_bytes(axes.figure)) > 2000 for axes in made)
    assert [text.get_text() for text in made[1].texts] == ["kept", "broken"]
    assert not plt.get_fignums()


def test_every_favourite_is_drawn_larger_than_the_others_in_the_first_column_too():
    axes = winners({"a": {"a": 0.7, "b": 0.6}, "b": {"a": 0.6, "b": 0.7}})
    points = [line for line in axes.lines if len(line.get_xdata())]
    sizes = {(int(p.get_xdata()[0]), p.get_ydata()[0]): p.get_markersize() for p in points}
    assert all(sizes[column, 0.7] > sizes[column, 0.6] + 3 for column in (0, 1))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def lessons_own(name):
    """Return the source of a function that a cell of the lesson defines."""
    for cell in lesson_of("14.1").cells:
        if cell.kind == "code":
            for node in parse(cell.source).body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    node.decorator_list = []
                    return ast.unparse(node)
    raise LookupError(name)


def test_the_lessons_explorer_follows_its_controls():
    draw = np.random.default_rng(0)
    labels = torch.arange(60) % 3

    class Test:
        pass

    class Answer(NamedTuple):
        logits: torch.Tensor

    test = Test()
    test.labels, test.group = labels, np.repeat([f"actor {k}" for k in range(12)], 5)
    every, two = ("text", "audio", "vision"), ("audio", "vision")
    streams = {"concat": every, "late": every, "concat AV": two, "JMT": two}
    said = {n: [torch.from_numpy(draw.normal(size=(60, 3))) for _ in range(2)] for n in streams}
    namespace = {
        "np": np, "torch": torch, "Row": Row, "results_board": results_board, "test": test,
        "ALL": every, "AV": two, "seeds": [0, 1], "COMMONEST": 1, "LOOKS": {},
        "FIELD": {name: (name, some) for name, some in streams.items()},
        "RIVAL": {every: "concat", two: "concat AV"},
        "ceilings": {"text+audio+vision": 0.8, "audio+vision": 0.7},
        "fair": {name: (0.1, 0.5) for name in streams},
        "play": lambda name, rate, seed: Answer(said[name][seed]),
        "METRICS": {"accuracy": "accuracy", "macro F1": "macro_f1"},
    }  # fmt: skip
    exec("from mmlib.metrics import bootstrap_interval, compare", namespace)  # noqa: S102
    for name in ("decisions", "row", "board"):
        exec(lessons_own(name), namespace)  # noqa: S102
    explorer = widgets.explore(
        namespace["board"],
        metric=["accuracy", "macro F1"],
        against=["nobody", "concat"],
        who=["all", "three streams", "two streams"],
    )
    assert explorer.alt.startswith("Flagship, all, accuracy: ")
    share = np.mean([(o.argmax(1) == labels).double().mean() for o in said["JMT"]])
    assert f"JMT {share:.3f} from" in explorer.alt and "majority 0.333 from" in explorer.alt
    seen = {explorer.output.value}
    for control, value in (("metric", "macro F1"), ("against", "concat"), ("who", "two streams")):
        explorer.controls[control].value = value
        seen.add(explorer.output.value)
    assert len(seen) == 4
    assert explorer.alt.startswith(
        "Flagship, two streams, each against the concat of its streams, difference in macro F1: JMT"
    )
    theirs, mine = (
        [bootstrap_interval("macro_f1", o.argmax(1), labels, resamples=2).value for o in said[name]]
        for name in ("concat AV", "JMT")
    )
    assert "late" not in explorer.alt and "majority" not in explorer.alt
    told = float(explorer.alt.split("JMT ")[1].split(" from")[0])
    assert told == pytest.approx(np.mean(mine) - np.mean(theirs), abs=0.03)


def test_the_fair_choice_is_what_the_exercise_says():
    valid = {"a": np.array([[0.5, 0.5], [0.5, 0.5]])}
    right = {"a": np.array([[[True, False]] * 2, [[False, True]] * 2])}
    setting, share = fair_choice(valid, right, 2)["a"]
    assert setting == 0 and share.tolist() == [1.0, 0.0]


def test_what_may_be_claimed_is_the_librarys_paired_test_by_actor_with_holms_correction():
    draw = np.random.default_rng(3)
    groups = draw.integers(0, 7, 60)
    right = {n: draw.random((3, 60)) < level for n, level in (("a", 0.8), ("b", 0.6), ("c", 0.55))}
    truth = torch.ones(180, dtype=torch.long)
    said = {n: torch.from_numpy(r.reshape(-1).astype(int)) for n, r in right.items()}
    alone = {
        n: compare("accuracy", said[n], said["c"], truth, groups=np.tile(groups, 3)) for n in "ab"
    }
    found = claims(right, groups, {"a": 2, "b": 2, "c": 2}, "c")
    for name, one in alone.items():
        assert found[name][0] == pytest.approx(one.difference)
    first, second = sorted(one.p_value for one in alone.values())
    assert sorted(p for _, p in found.values()) == pytest.approx(
        [min(1, 2 * first), max(min(1, 2 * first), second)]
    )
    assert claims(right, groups, {"a": 2, "b": 2, "c": 1}, "c") == {}


def test_the_lessons_test_file_holds_a_fusion_in_a_file_to_every_clause(tmp_path):
    """The test that the lesson shows runs as it stands, beside a module that a learner wrote."""
    text = lesson_of("14.1").path.read_text(encoding="utf-8")
    shown = re.search(r"# ```python\n(.+?)# ```\n", text, re.DOTALL).group(1)
    code = "\n".join(line.removeprefix("#").removeprefix(" ") for line in shown.splitlines())
    head = (
        "from collections import namedtuple\nfrom torch import nn\n"
        "from mmlib.layers import masked_mean\nFused = namedtuple('Fused', 'logits')\n"
    )
    (tmp_path / "test_my_fusion.py").write_text(code)
    (tmp_path / "my_fusion.py").write_text(
        head
        + SUM.replace("masked_mean(layer(streams[name]), real)", "layer(streams[name]).mean(1)")
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 1 and f"2 failed, {len(CONTRACT) - 2} passed" in run.stdout, run.stdout
    assert "test_my_fusion_keeps[padding does not matter]" in run.stdout
