"""The checks of lesson 05, tried on what learners get wrong, on other right answers, on cheats."""

import ast
from typing import Any

import numpy as np
import pytest
import torch
from builder.rules import parse
from checking import Answers, Misconception, lesson_of, trials
from checking import _is_definition as is_definition

from mmlib import widgets
from mmlib.data import load_features, theatre
from mmlib.data.theatre.tables import SUBSETS
from mmlib.plots import png_bytes
from mmlib.plots.fusions import irony_square, meeting_points
from mmlib.plots.informativeness import draw_informativeness, reach

LATE = Answers(
    "05.1",
    misconceptions=(
        Misconception(
            "the mean over all streams",
            "An absent stream has no say, so it is not counted among those that decide.",
            edit="""
def late_fusion(logits, present):
    return logits.masked_fill(~present[..., None], 0.0).mean(1)
""",
        ),
        Misconception(
            "the sum of the logits",
            "The winner is the same, but three streams are then three times as sure as one.",
            edit=(" / present.sum(1, keepdim=True).clamp(min=1)", ""),
        ),
        Misconception(
            "times zero is gone",
            "NaN times zero is NaN: what is absent must be replaced, not multiplied.",
            edit=(
                "logits.masked_fill(~present[..., None], 0.0)",
                "logits * present[..., None]",
            ),
        ),
        Misconception(
            "absent streams are averaged as zeros only if all are there",
            "The mask is forgotten altogether.",
            edit="def late_fusion(logits, present):\n    return logits.nan_to_num().mean(1)",
        ),
        Misconception(
            "nothing there divides by zero",
            "0 / 0 is NaN; a sample without any stream gets zeros.",
            edit=(".clamp(min=1)", ""),
        ),
        Misconception(
            "the mask is read the other way round",
            "In this course True is a stream that is there.",
            edit=("~present[..., None]", "present[..., None]"),
        ),
        Misconception(
            "the mean of probabilities",
            "The lesson has shown what that gives away; the exercise asks for logits.",
            edit="""
def late_fusion(logits, present):
    heard = logits.softmax(-1).masked_fill(~present[..., None], 0.0)
    return heard.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
""",
        ),
        Misconception(
            "the mean over the classes' axis",
            "Streams are axis 1; axis 2 holds the classes.",
            edit=("heard.sum(1)", "heard.sum(2)"),
        ),
        Misconception(
            "NaN is the sign of absence",
            "What stands in a gap is anything, not always NaN: only the mask says what is there.",
            edit="def late_fusion(logits, present):\n    return logits.nanmean(1).nan_to_num()",
        ),
    ),
    alternatives=(
        """
def late_fusion(logits, present):
    out = torch.zeros_like(logits[:, 0])
    for i, there in enumerate(present):
        if there.any():
            out[i] = logits[i, there].mean(0)
    return out
""",
        """
def late_fusion(logits, present):
    weights = present.to(logits.dtype)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    clean = torch.where(present[:, :, None], logits, torch.zeros_like(logits))
    return torch.einsum("bm,bmc->bc", weights, clean)
""",
    ),
    constant="torch.zeros(5, 7)",
)

SPLIT = Answers(
    "05.2",
    misconceptions=(
        Misconception(
            "samples are drawn",
            "Clips of one speaker then stand on both sides.",
            edit="""
def speakers_for_test(group, count, seed):
    rng = np.random.default_rng(seed)
    share = count / len(np.unique(group))
    return rng.random(len(group)) < share
""",
        ),
        Misconception(
            "always the first speakers",
            "Without chance, whoever sorts first is always judged on, and no second split exists.",
            edit=(
                "np.random.default_rng(seed).choice(speakers, size=count, replace=False)",
                "speakers[:count]",
            ),
        ),
        Misconception(
            "drawn with replacement",
            "The same speaker may be drawn twice, and then the test has one speaker too few.",
            edit=(", replace=False", ""),
        ),
        Misconception(
            "the seed is not used",
            "Two calls give two splits: no result can be repeated.",
            edit=("default_rng(seed)", "default_rng()"),
        ),
        Misconception(
            "the busy are drawn more often, and twice",
            "Drawn from the samples, a busy speaker comes several times, and counts once.",
            edit=("(speakers, size=count, replace=False)", "(group, size=count, replace=False)"),
        ),
        Misconception(
            "numbers of samples in the place of a mask",
            "The result is one True or False for each sample.",
            edit=("np.isin(group, chosen)", "np.flatnonzero(np.isin(group, chosen))"),
        ),
        Misconception(
            "the test and the rest are swapped",
            "True is for the test.",
            edit=("np.isin(group, chosen)", "~np.isin(group, chosen)"),
        ),
        Misconception(
            "the order of the samples decides",
            "Speakers in the order of their first clip: shuffle the file, and the split is another.",
            edit=("np.unique(group)", "np.array(list(dict.fromkeys(group.tolist())))"),
        ),
        Misconception(
            "one speaker per call",
            "`count` speakers are asked for.",
            edit=("size=count", "size=1"),
        ),
    ),
    alternatives=(
        """
def speakers_for_test(group, count, seed):
    names = sorted(set(group.tolist()))
    order = np.random.default_rng(seed).permutation(len(names))
    drawn = {names[k] for k in order[:count]}
    return np.array([name in drawn for name in group])
""",
        """
import random

def speakers_for_test(group, count, seed):
    chosen = random.Random(seed).sample(sorted(set(group)), count)
    part = np.zeros(len(group), dtype=bool)
    for name in chosen:
        part |= group == name
    return part
""",
        """
def speakers_for_test(group, count, seed):
    from sklearn.model_selection import GroupShuffleSplit
    order = np.argsort(group, kind="stable")
    splitter = GroupShuffleSplit(n_splits=1, test_size=count, random_state=seed)
    _, rows = next(splitter.split(order, groups=group[order]))
    part = np.zeros(len(group), dtype=bool)
    part[order[rows]] = True
    return part
""",
    ),
    constant="np.zeros(53, dtype=bool)",
    cheats={
        "the library's split": """
from mmlib.data import split_by_group

def speakers_for_test(group, count, seed):
    share = count / len(np.unique(group))
    return split_by_group(group, shares=(1 - share, 0, share), seed=seed) == "test"
""",
    },
)

BOOTSTRAP = Answers(
    "05.3",
    misconceptions=(
        Misconception(
            "samples are drawn",
            "Samples of one speaker fail together; drawn one by one they pretend to be many.",
            edit="""
def interval_by_speaker(correct, group, resamples=2000, seed=0):
    draws = np.random.default_rng(seed).integers(len(correct), size=(resamples, len(correct)))
    low, high = np.quantile(correct[draws].mean(1), [0.025, 0.975])
    return float(low), float(high)
""",
        ),
        Misconception(
            "the mean of the speakers' accuracies",
            "A speaker with two clips would weigh as much as one with ninety.",
            edit=("right[draws].sum(1) / said[draws].sum(1)", "(right / said)[draws].mean(1)"),
        ),
        Misconception(
            "drawn without replacement",
            "Every draw is then the whole test in another order, and the interval has no width.",
            edit=(
                "np.random.default_rng(seed).integers(len(speakers), size=(resamples, len(speakers)))",
                "np.random.default_rng(seed).permuted(np.tile(np.arange(len(speakers)), (resamples, 1)), axis=1)",
            ),
        ),
        Misconception(
            "mean and two standard errors",
            "It ignores speakers, and may end below zero or above one.",
            edit="""
def interval_by_speaker(correct, group, resamples=2000, seed=0):
    reach = 1.96 * correct.std() / len(correct) ** 0.5
    return float(correct.mean() - reach), float(correct.mean() + reach)
""",
        ),
        Misconception(
            "a 90 % interval",
            "5 % to each side leave 90 %.",
            edit=("[0.025, 0.975]", "[0.05, 0.95]"),
        ),
        Misconception(
            "one speaker a draw",
            "That is the spread of speakers, not of a test with as many speakers as yours.",
            edit=("size=(resamples, len(speakers))", "size=(resamples, 1)"),
        ),
        Misconception(
            "half of the speakers a draw",
            "A smaller test is less sure: draw as many as there are.",
            edit=("size=(resamples, len(speakers))", "size=(resamples, len(speakers) // 2)"),
        ),
        Misconception(
            "the seed is not used",
            "Two readers of one paper should get one interval.",
            edit=("default_rng(seed)", "default_rng()"),
        ),
        Misconception(
            "the ends are swapped",
            "The lower end comes first.",
            edit=("return float(low), float(high)", "return float(high), float(low)"),
        ),
        Misconception(
            "a speaker drawn twice counts once",
            "A set forgets how often somebody was drawn.",
            edit="""
def interval_by_speaker(correct, group, resamples=2000, seed=0):
    rng, names = np.random.default_rng(seed), np.unique(group)
    found = []
    for _ in range(300):
        found.append(correct[np.isin(group, rng.choice(names, len(names)))].mean())
    return tuple(np.quantile(found, [0.025, 0.975]).tolist())
""",
        ),
    ),
    alternatives=(
        """
def interval_by_speaker(correct, group, resamples=2000, seed=0):
    rng = np.random.default_rng(seed)
    names = sorted(set(group))
    parts = [correct[group == name] for name in names]
    found = []
    for _ in range(resamples):
        chosen = rng.choice(len(names), size=len(names))
        found.append(sum(parts[k].sum() for k in chosen) / sum(len(parts[k]) for k in chosen))
    return tuple(float(end) for end in np.percentile(found, [2.5, 97.5]))
""",
        """
def interval_by_speaker(correct, group, resamples=2000, seed=0):
    torch.manual_seed(seed)
    names, of = np.unique(group, return_inverse=True)
    member = torch.nn.functional.one_hot(torch.as_tensor(of), len(names)).double()
    right, said = torch.as_tensor(correct).double() @ member, member.sum(0)
    times = torch.multinomial(torch.ones(len(names)), resamples * len(names), replacement=True)
    times = times.view(resamples, -1)
    found = right[times].sum(1) / said[times].sum(1)
    return tuple(torch.quantile(found, torch.tensor([0.025, 0.975]).double()).tolist())
""",
    ),
    constant="(0.0, 1.0)",
    cheats={
        "the library's bootstrap": """
from mmlib.metrics import bootstrap_interval

def interval_by_speaker(correct, group, resamples=2000, seed=0):
    right = torch.as_tensor(correct).long()
    found = bootstrap_interval(
        "accuracy", right, torch.ones_like(right), groups=group, resamples=resamples, seed=seed
    )
    return found.low, found.high
""",
    },
)

LEAKS = Answers(
    "05.4",
    misconceptions=(
        Misconception(
            "train and test only",
            "A leak into valid spoils every choice that is made on it.",
            edit="""
def leaking_groups(group, split):
    return sorted(set(group[split == "train"]) & set(group[split == "test"]))
""",
        ),
        Misconception(
            "many samples are a leak",
            "Twenty clips of one speaker in one part are as they should be.",
            edit="""
def leaking_groups(group, split):
    names, count = np.unique(group, return_counts=True)
    return sorted(names[count > 1].tolist())
""",
        ),
        Misconception(
            "whether, not who",
            "A name tells where to look; True does not.",
            edit=(
                "return sorted(name for name, parts in seen.items() if len(parts) > 1)",
                "return any(len(parts) > 1 for parts in seen.values())",
            ),
        ),
        Misconception(
            "only the last part is remembered",
            "A speaker of train, then test, then test again looks sound at the end.",
            edit="""
def leaking_groups(group, split):
    last, found = {}, set()
    for name, part in zip(group[::-1], split[::-1]):
        last[name] = part
    for name, part in zip(group[-2:], split[-2:]):
        if last[name] != part:
            found.add(str(name))
    return sorted(found)
""",
        ),
        Misconception(
            "a name for each sample",
            "Each group once.",
            edit="""
def leaking_groups(group, split):
    return sorted(str(g) for g in group if len(set(split[group == g])) > 1)
""",
        ),
        Misconception(
            "only in all three parts",
            "Two parts are enough for a leak.",
            edit=("len(parts) > 1", "len(parts) > 2"),
        ),
        Misconception(
            "those who do not leak",
            "The comparison is turned round.",
            edit=("len(parts) > 1", "len(parts) == 1"),
        ),
        Misconception(
            "in the order of the file",
            "Sorted, so that two runs and two files can be compared.",
            edit=("sorted(name for", "list(name for"),
        ),
    ),
    alternatives=(
        """
def leaking_groups(group, split):
    return [str(g) for g in np.unique(group) if len(np.unique(split[group == g])) > 1]
""",
        """
from itertools import combinations

def leaking_groups(group, split):
    parts = [set(group[split == part].tolist()) for part in ("train", "valid", "test")]
    return sorted(set().union(*(a & b for a, b in combinations(parts, 2))))
""",
        """
import pandas as pd

def leaking_groups(group, split):
    count = pd.Series(split).groupby(group).nunique()
    return sorted(count.index[count > 1].tolist())
""",
    ),
    constant='["ann"]',
    cheats={
        "never a leak": "def leaking_groups(group, split):\n    return []",
        "everybody": "def leaking_groups(group, split):\n    return sorted(set(group.tolist()))",
    },
)


@pytest.mark.parametrize("trial", trials([LATE, SPLIT, BOOTSTRAP, LEAKS]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


# The sliders over how informative each channel is.


def test_the_bars_are_the_theatres_own_ceilings_and_late_rules():
    found = reach(6.0, 3.0, 3.2, 0.4)
    script = theatre.PRESETS["flagship"].changed(tone_fidelity=1.0)
    best, late = theatre.ceilings(script), theatre.late_ceilings(script)["product"]
    assert set(found) == {"+".join(subset) for subset in SUBSETS}
    for name, scores in found.items():
        assert scores.ceiling == pytest.approx(best[name])
        assert scores.late == pytest.approx(late.get(name, best[name]))


@pytest.mark.parametrize("settings", [(4, 3.5, 4.5, 0.0), (8, 2.5, 2.5, 0.5), (0, 2, 10, 0.3)])
def test_a_hidden_layer_comes_near_the_ceiling_and_never_above_it(settings):
    for name, scores in reach(*map(float, settings)).items():
        assert scores.late <= scores.ceiling + 1e-9 and scores.concat <= scores.ceiling + 1e-9
        assert scores.concat > scores.ceiling - 0.015, name


def test_without_irony_late_fusion_reaches_the_ceiling_and_with_irony_words_and_voice_do_not():
    plain, ironic = reach(8.0, 2.5, 2.5, 0.0), reach(8.0, 2.5, 2.5, 0.5)
    for scores in plain.values():
        assert scores.late == pytest.approx(scores.ceiling)
    gaps = {name: scores.ceiling - scores.late for name, scores in ironic.items()}
    assert gaps["text+audio"] > 0.1
    assert 0 < gaps["text+audio+vision"] < gaps["text+audio"] / 2


def test_a_moved_slider_moves_the_bars_and_the_words():
    explorer = widgets.explore(draw_informativeness, irony=(0.0, 0.5, 0.1))
    explorer.controls["irony"].value = 0.0
    first = explorer.output.value
    explorer.controls["irony"].value = 0.5
    assert "50 % irony" in explorer.alt
    assert explorer.output.value.split("src=")[1] != first.split("src=")[1]


def test_the_pictures_of_the_lesson_can_be_drawn():
    figures = [meeting_points(), irony_square().figure, draw_informativeness()[0]]
    assert all(len(png_bytes(figure)) > 2000 for figure in figures)
    titles = [ax.get_title(loc="left") for ax in figures[0].axes]
    assert titles == ["early", "concat", "gated", "tensor", "late"]


# The closing section, on real recordings.


def everything_defined() -> dict[str, Any]:
    """All imports, functions, classes and constants of the lesson, without running its cells."""
    namespace: dict[str, Any] = {"__name__": "lesson", "torch": torch, "np": np}
    for cell in lesson_of("05.1").cells:
        if cell.kind != "code" or "check" in cell:
            continue
        for node in filter(is_definition, parse(cell.solved()).body):
            source = compile(ast.Module([node], []), f"<cell {cell.index}>", "exec")
            exec(source, namespace)  # noqa: S102 - the lesson's own code
    return namespace


@pytest.mark.data
@pytest.mark.slow
def test_both_streams_beat_each_alone_on_real_actors_that_no_model_has_met(shared_data):
    path = shared_data / "ravdess" / "features.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    features = load_features(path)
    lesson = everything_defined()
    kinds = {name: (lesson["Concat"], (name,)) for name in ("audio", "vision")}
    kinds |= {name: (lesson[name.title()], ("audio", "vision")) for name in ("concat", "late")}
    told = lesson["judged_by_folds"](features, kinds)
    scores = {name: float((said == features.labels).double().mean()) for name, said in told.items()}
    assert min(scores["audio"], scores["vision"]) > 0.3, scores
    for alone in ("audio", "vision"):
        gain = lesson["paired"](told["concat"][None], told[alone][None], features)
        assert gain.low > 0, (alone, scores)
        assert scores["late"] > scores[alone] + 0.02, scores
