"""The checks of lesson 11, tried on what learners get wrong, on other right answers, on cheats."""

import math

import numpy as np
import pytest
import torch
from checking import Answers, Misconception, surroundings, trials

from mmlib import widgets
from mmlib.checks.counting import operations
from mmlib.checks.lesson_11 import (
    expected_best,
    fold_report,
    jointless,
    paired_loss,
    six_directions,
    time_first_layers,
)
from mmlib.data import theatre
from mmlib.systems import JMTConfig, build
from mmlib.systems.jmt import PairwiseAttention

DIRECTIONS = Answers(
    "11.1",
    misconceptions=(
        Misconception(
            "the one who answers asks",
            "In a pair (query, context) the first one asks.",
            edit=(
                "asking = torch.stack([states[query] for query, _ in pairs])",
                "asking = torch.stack([states[context] for _, context in pairs])",
            ),
        ),
        Misconception(
            "keys from the one who asks",
            "That is self-attention: keys and values come from the one who answers.",
            edit=(
                "answering = torch.stack([states[context] for _, context in pairs])",
                "answering = asking",
            ),
        ),
        Misconception(
            "values from the one who asks",
            "What is brought home is made of the stream that answers.",
            edit=("answering @ to_value[:, None]", "asking @ to_value[:, None]"),
        ),
        Misconception(
            "every source asks itself too",
            "Ordered pairs of different sources: six of three, not nine.",
            edit=(
                "pairs = [(query, context) for query in states for context in states if query != context]",
                "pairs = [(q, c) for q in states for c in states][: len(to_query)]",
            ),
        ),
        Misconception(
            "each two sources once",
            "Audio asks vision and vision asks audio are two pairs, with weights of their own.",
            edit=("if query != context]", "if query < context] * 2"),
        ),
        Misconception(
            "in alphabetical order",
            "The order of `states` says which matrix belongs to which pair.",
            edit=(
                "for query in states for context in states",
                "for query in sorted(states) for context in sorted(states)",
            ),
        ),
        Misconception(
            "sorted by who answers",
            "First by who asks, then by who answers; else the matrices are another pair's.",
            edit=(
                "for query in states for context in states",
                "for context in states for query in states",
            ),
        ),
        Misconception(
            "no scale",
            "Divide by the root of the projected width, or the softmax saturates.",
            edit=(" / query.shape[-1] ** 0.5", ""),
        ),
        Misconception(
            "the scale of the input's width",
            "The scores are sums over E products, so it is the root of E.",
            edit=("query.shape[-1] ** 0.5", "asking.shape[-1] ** 0.5"),
        ),
        Misconception(
            "softmax over the questions",
            "The weights of one question sum to one over the answers, the last axis.",
            edit=("softmax(dim=-1)", "softmax(dim=-2)"),
        ),
        Misconception(
            "one matrix for all pairs",
            "Then there is one direction six times; each pair has its own.",
            edit=("asking @ to_query[:, None]", "asking @ to_query[0]"),
        ),
        Misconception(
            "a loop over the pairs",
            "Right numbers, six times as many launches.",
            edit="""
def six_directions(states, to_query, to_key, to_value):
    found = []
    pairs = [(q, c) for q in states for c in states if q != c]
    for (q, c), wq, wk, wv in zip(pairs, to_query, to_key, to_value):
        asked = states[q] @ wq
        weights = (asked @ (states[c] @ wk).mT / asked.shape[-1] ** 0.5).softmax(-1)
        found.append((weights @ (states[c] @ wv), weights))
    return torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found])
""",
        ),
    ),
    alternatives=(
        """
def six_directions(states, to_query, to_key, to_value):
    names = list(states)
    every = torch.stack([states[name] for name in names])
    first, second = zip(*[(i, j) for i in range(len(names)) for j in range(len(names)) if i != j])
    q = torch.einsum("pbtd,pde->pbte", every[list(first)], to_query)
    k = torch.einsum("pbtd,pde->pbte", every[list(second)], to_key)
    v = torch.einsum("pbtd,pde->pbte", every[list(second)], to_value)
    weights = torch.softmax(torch.einsum("pbqe,pbke->pbqk", q, k) * q.shape[-1] ** -0.5, -1)
    return torch.einsum("pbqk,pbke->pbqe", weights, v), weights
""",
        """
import itertools

def six_directions(states, to_query, to_key, to_value):
    pairs = list(itertools.permutations(states, 2))
    batch, steps, width = states[pairs[0][0]].shape
    rows = lambda place: torch.cat([states[pair[place]] for pair in pairs]).reshape(
        len(pairs), batch * steps, width)
    cut = lambda x: x.reshape(len(pairs), batch, steps, -1)
    q, k, v = (cut(torch.bmm(rows(place), w)) for place, w in ((0, to_query), (1, to_key), (1, to_value)))
    scores = q.matmul(k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    low = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = low / low.sum(-1, keepdim=True)
    return weights.matmul(v), weights
""",
    ),
    constant="(torch.zeros(6, 2, 5, 3), torch.full((6, 2, 5, 5), 0.2))",
    setup="import math",
)

SCORES = Answers(
    "11.2",
    misconceptions=(
        Misconception(
            "a masked score is zero",
            "The sigmoid of zero is one half: the padding then has more weight than most real keys.",
            edit=(
                "weights = scores.sigmoid()\n    else:",
                "return (w := scores.masked_fill(absent, 0.0).sigmoid()) @ value, w\n    else:",
            ),
        ),
        Misconception(
            "the paper's letters",
            "K Q^T has a row for each key; the product with V wants a row for each query.",
            edit=("query @ key.mT", "(key @ query.mT)"),
        ),
        Misconception(
            "no scale for the sigmoid",
            "Large scores make a sigmoid a switch, as they make a softmax a maximum.",
            edit=(
                "weights = scores.sigmoid()",
                "weights = (scores * query.shape[-1] ** 0.5).sigmoid()",
            ),
        ),
        Misconception(
            "the sigmoid normalised",
            "Divided by its sum it competes again, and is a softmax in disguise.",
            edit=(
                "weights = scores.sigmoid()",
                "weights = scores.sigmoid() / scores.sigmoid().sum(-1, keepdim=True)",
            ),
        ),
        Misconception(
            "the sigmoid averaged",
            "It adds up; a row may sum to anything between zero and the number of keys.",
            edit=("weights = scores.sigmoid()", "weights = scores.sigmoid() / key.shape[1]"),
        ),
        Misconception(
            "softmax whatever is asked",
            "`score` says which.",
            edit=('if score == "sigmoid":', "if False:"),
        ),
        Misconception(
            "sigmoid whatever is asked",
            "`score` says which.",
            edit=('if score == "sigmoid":', "if True:"),
        ),
        Misconception(
            "softmax over the queries",
            "The keys compete, on the last axis.",
            edit=("softmax(dim=-1)", "softmax(dim=1)"),
        ),
        Misconception(
            "weights are zeroed only behind the softmax",
            "Then the rest no longer sums to one: the padding took its share.",
            edit=(
                "scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax",
                "scores.softmax",
            ),
        ),
        Misconception(
            "minus infinity, and that is all",
            "A row without any key becomes NaN.",
            edit=(
                "scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(dim=-1)",
                "scores.masked_fill(absent, -torch.inf).softmax(dim=-1)\n        return weights @ value, weights",
            ),
        ),
        Misconception(
            "the mask read backwards",
            "True is a real key.",
            edit=("absent = ~mask[:, None, :]", "absent = mask[:, None, :]"),
        ),
        Misconception(
            "the mask forgotten",
            "Padding is an answer that nobody gave.",
            edit=("absent = ~mask[:, None, :]", "absent = torch.zeros_like(mask[:, None, :])"),
        ),
    ),
    alternatives=(
        """
def attend(query, key, value, mask, score):
    raw = torch.einsum("bqd,bkd->bqk", query, key) * query.shape[-1] ** -0.5
    real = mask.unsqueeze(1)
    raw = torch.where(real, raw, -torch.inf)
    weights = raw.sigmoid() if score == "sigmoid" else torch.nan_to_num(raw.softmax(-1))
    return torch.bmm(weights, value), weights
""",
        """
def attend(query, key, value, mask, score):
    raw = query.matmul(key.transpose(1, 2)) / math.sqrt(query.size(-1))
    real = mask[:, None].to(raw.dtype)
    if score == "softmax":
        top = (raw - 1e9 * (1 - real)).amax(-1, keepdim=True)
        powers = (raw - top).clamp(max=0).exp() * real
        weights = powers / powers.sum(-1, keepdim=True).clamp(min=1e-30)
    else:
        weights = real / (1 + (-raw).exp())
    return weights.matmul(value), weights
""",
    ),
    constant="(torch.full((1, 2, 1), 2.0), torch.tensor([0.5, 0.5, 0.0]).expand(1, 2, 3))",
    setup="import math",
)

BATCH = Answers(
    "11.3",
    misconceptions=(
        Misconception(
            "the fault left in",
            "Torch's layers read the first axis as time: each step then attends over the batch.",
            edit="jointless = as_released",
        ),
        Misconception(
            "turned at the entrance only",
            "What comes out is still time first: the next function reads it wrongly.",
            edit=("torch.cat(heard, dim=-1).transpose(0, 1)", "torch.cat(heard, dim=-1)"),
        ),
        Misconception(
            "only the encoders mended",
            "The attentions have the same default layout.",
            edit=(
                "for name, stream in streams.items()}\n    heard",
                "for name, stream in streams.items()}\n    states = {n: s.transpose(0, 1) for n, s in states.items()}\n    heard",
            ),
        ),
        Misconception(
            "only the attentions mended",
            "The encoders have mixed the samples before the attentions see them.",
            edit=(
                "encoders[name](stream) for name",
                "encoders[name](stream.transpose(0, 1)).transpose(0, 1) for name",
            ),
        ),
        Misconception(
            "one stream turned",
            "Both streams are batch first.",
            edit=(
                '"vision": vision.transpose(0, 1)}',
                '"vision": vision.reshape(vision.shape[1], vision.shape[0], -1)}',
            ),
        ),
        Misconception(
            "reshaped in the place of transposed",
            "The shape is right and the numbers stand elsewhere.",
            edit=(
                "torch.cat(heard, dim=-1).transpose(0, 1)",
                "torch.cat(heard, dim=-1).reshape(len(audio), audio.shape[1], -1)",
            ),
        ),
        Misconception(
            "the layers changed for everybody",
            "They are the caller's; whoever uses them next gets another layout.",
            edit="""
def jointless(audio, vision, encoders, crossings):
    for layer in (*encoders.values(), *crossings.values()):
        for part in layer.modules():
            if hasattr(part, "batch_first"):
                part.batch_first = True
    states = {"audio": encoders["audio"](audio), "vision": encoders["vision"](vision)}
    heard = [
        crossings[q](states[q], states[c], states[c], need_weights=False)[0]
        for q, c in (("audio", "vision"), ("vision", "audio"))
    ]
    return torch.cat(heard, dim=-1)
""",
        ),
        Misconception(
            "each stream asks itself",
            "Then there are two encoders more and no crossing.",
            edit=(
                '(("audio", "vision"), ("vision", "audio"))',
                '(("audio", "audio"), ("vision", "vision"))',
            ),
        ),
        Misconception(
            "the answers in the other order",
            "What the audio heard comes first.",
            edit=(
                '(("audio", "vision"), ("vision", "audio"))',
                '(("vision", "audio"), ("audio", "vision"))',
            ),
        ),
        Misconception(
            "the encoders left out",
            "Each stream looks at itself before it asks the other one.",
            edit=("encoders[name](stream) for name", "stream for name"),
        ),
    ),
    alternatives=(
        """
def jointless(audio, vision, encoders, crossings):
    rows = []
    for one, two in zip(audio, vision):
        a, v = encoders["audio"](one[:, None]), encoders["vision"](two[:, None])
        rows.append(torch.cat([crossings["audio"](a, v, v)[0], crossings["vision"](v, a, a)[0]], -1))
    return torch.cat(rows, dim=1).permute(1, 0, 2)
""",
        """
def jointless(audio, vision, encoders, crossings):
    from copy import deepcopy
    def mended(layer):
        copy = deepcopy(layer)
        for part in copy.modules():
            if isinstance(part, torch.nn.MultiheadAttention):
                part.batch_first = True
        return copy
    a, v = mended(encoders["audio"])(audio), mended(encoders["vision"])(vision)
    ask = {name: mended(layer) for name, layer in crossings.items()}
    return torch.cat([ask["audio"](a, v, v)[0], ask["vision"](v, a, a)[0]], dim=2)
""",
    ),
    constant="torch.zeros(3, 5, 8)",
)

PAIRED = Answers(
    "11.4",
    misconceptions=(
        Misconception(
            "flattened as they come",
            "The numbers of elements agree, the elements do not.",
            edit="""
def paired_loss(by_time, labels, mask):
    return labels.shape[-1] * concordance_loss(
        by_time.flatten(0, 1), labels.flatten(0, 1), mask.flatten(), per_target=True)
""",
        ),
        Misconception(
            "reshaped to the labels' shape",
            "Every number stays in its wrong place.",
            edit=("by_time.transpose(0, 1)", "by_time.reshape(labels.shape)"),
        ),
        Misconception(
            "turned only where the shapes differ",
            "With as many samples as steps they do not differ.",
            edit=(
                "by_time.transpose(0, 1)",
                "by_time if by_time.shape == labels.shape else by_time.transpose(0, 1)",
            ),
        ),
        Misconception(
            "the mask forgotten",
            "A label of -5 is no label.",
            edit=("labels, mask, per_target", "labels, None, per_target"),
        ),
        Misconception(
            "invalid pairs set to zero",
            "Pairs of (0, 0) agree perfectly and raise the CCC (J-23).",
            edit=(
                "    return labels.shape[-1]",
                (
                    "    real = mask.unsqueeze(-1)\n    prediction, labels = prediction * real, labels * real\n"
                    "    mask = torch.ones_like(mask)\n    return labels.shape[-1]"
                ),
            ),
        ),
        Misconception(
            "the mean over the targets",
            "Valence and arousal each have the weight one; with a mean the step is half as long.",
            edit=("labels.shape[-1] * concordance_loss", "concordance_loss"),
        ),
        Misconception(
            "one CCC over both targets",
            "Then a difference between the means of valence and arousal counts as agreement.",
            edit=("per_target=True", "per_target=False"),
        ),
        Misconception(
            "always two targets",
            "The sum has as many terms as there are targets.",
            edit=("labels.shape[-1] * concordance_loss", "2 * concordance_loss"),
        ),
        Misconception(
            "a CCC a sample",
            "The concordance belongs to all elements of the batch together (J-21).",
            edit="""
def paired_loss(by_time, labels, mask):
    guess = by_time.transpose(0, 1)
    each = [concordance_loss(g, y, m, per_target=True) for g, y, m in zip(guess, labels, mask)]
    return labels.shape[-1] * torch.stack(each).mean()
""",
        ),
        Misconception(
            "cut to the shorter axis",
            "That is what a zip of both does: most elements are left out, the others stay mispaired.",
            edit="""
def paired_loss(by_time, labels, mask):
    pairs = list(zip(by_time, labels, mask))
    cut = min(by_time.shape[1], labels.shape[1])
    x, y, m = (torch.stack([p[i][:cut] for p in pairs]) for i in range(3))
    return labels.shape[-1] * concordance_loss(x, y, m, per_target=True)
""",
        ),
    ),
    alternatives=(
        """
def paired_loss(by_time, labels, mask):
    x, y = by_time.permute(1, 0, 2)[mask], labels[mask]
    dx, dy = x - x.mean(0), y - y.mean(0)
    ccc = 2 * (dx * dy).mean(0) / (dx.pow(2).mean(0) + dy.pow(2).mean(0) + (x.mean(0) - y.mean(0)) ** 2 + 1e-8)
    return (1 - ccc).sum()
""",
        """
def paired_loss(by_time, labels, mask):
    total = by_time.new_zeros(())
    for k in range(labels.shape[-1]):
        total = total + concordance_loss(by_time[..., k], labels[..., k].T, mask.T)
    return total
""",
    ),
    constant="torch.tensor(0.0)",
)

FOLDS = Answers(
    "11.5",
    misconceptions=(
        Misconception(
            "the population's deviation",
            "Five folds are a sample: divide by n - 1.",
            edit=("folds.std(ddof=1)", "folds.std()"),
        ),
        Misconception(
            "means over the folds",
            "First one number a fold; the columns are the targets.",
            edit=("mean(axis=1)", "mean(axis=0)"),
        ),
        Misconception(
            "every score a sample",
            "Valence and arousal of one fold come from one model: they are not two folds.",
            edit=("mean(axis=1)", "ravel()"),
        ),
        Misconception(
            "1.96 whatever the number of folds",
            "With five folds the factor is 2.78.",
            edit=("t.ppf(0.975, count - 1)", "1.96"),
        ),
        Misconception(
            "five per cent on each side",
            "A 95 % interval leaves two and a half on each.",
            edit=("t.ppf(0.975, count - 1)", "t.ppf(0.95, count - 1)"),
        ),
        Misconception(
            "the spread of a fold for that of the mean",
            "The mean of five is surer than one of them.",
            edit=(" * sd / count**0.5", " * sd"),
        ),
        Misconception(
            "the best fold is the result",
            "The best of several is a promise, not a result.",
            edit=('"mean": float(mean)', '"mean": float(folds.max())'),
        ),
        Misconception(
            "the median for the mean",
            "The rule of the best is about the distance from the mean.",
            edit=("folds.mean(), folds.std", "np.median(folds), folds.std"),
        ),
        Misconception(
            "from the best to the worst",
            "That is the range; the reader was promised the mean and got the best.",
            edit=("folds.max() - mean", "folds.max() - folds.min()"),
        ),
        Misconception(
            "luck by the deviation of the mean",
            "One fold is picked, so it is one fold's deviation that counts.",
            edit=("sd * expected_best(count)", "sd / count**0.5 * expected_best(count)"),
        ),
        Misconception(
            "always five",
            "The best of ten lies higher than the best of five.",
            edit=("expected_best(count)", "expected_best(5)"),
        ),
        Misconception(
            "one deviation, about",
            "It is one deviation for two or three folds; for ten it is one and a half.",
            edit=("sd * expected_best(count)", "sd"),
        ),
    ),
    alternatives=(
        """
from statistics import mean, stdev

def fold_report(scores):
    from scipy import stats
    each = [mean(map(float, row)) for row in scores]
    middle, spread = mean(each), stdev(each)
    low, high = stats.t.interval(0.95, len(each) - 1, middle, spread / math.sqrt(len(each)))
    return dict(folds=each, mean=middle, sd=spread, low=low, high=high,
                best_over_mean=max(each) - middle, by_luck=expected_best(len(each)) * spread)
""",
        """
def fold_report(scores):
    import pandas as pd
    from scipy.special import stdtrit
    table = pd.DataFrame(scores).mean(axis=1)
    reach = stdtrit(len(table) - 1, 0.975) * table.sem()
    draws = np.random.default_rng(0).standard_normal((4_000_000 // len(table), len(table)))
    half = draws.max(1).mean() / 2 - draws.min(1).mean() / 2
    return {"folds": table.to_numpy(), "mean": table.mean(), "sd": table.std(),
            "low": table.mean() - reach, "high": table.mean() + reach,
            "best_over_mean": table.max() - table.mean(), "by_luck": half * table.std()}
""",
    ),
    constant=(
        "dict.fromkeys(('mean', 'sd', 'low', 'high', 'best_over_mean', 'by_luck'), 0.5) | {'folds': [0.5] * 3}"
    ),
    setup="import math",
)


@pytest.mark.parametrize("trial", trials([DIRECTIONS, SCORES, BATCH, PAIRED, FOLDS]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


def test_the_exercises_function_gives_the_librarys_pairs():
    torch.manual_seed(0)
    names, width = ("audio", "vision", "joint"), 7
    layer = PairwiseAttention(sources=names, embed_dim=width)
    states = {name: torch.randn(2, 5, width) for name in names}
    theirs, maps = layer(states, return_weights=True)
    with torch.no_grad():
        key, value = layer.to_key_value.weight.chunk(2, dim=-1)
        mine, weights = six_directions(states, layer.to_query.weight, key, value)
        mine = layer.to_output(mine.flatten(1, 2)).reshape(theirs.shape)
    assert torch.allclose(mine, theirs, atol=1e-5)
    assert torch.allclose(weights, maps[:, :, 0], atol=1e-6)


def test_operations_are_counted_by_name_and_a_loop_shows():
    x = torch.randn(3, 5)
    assert operations(lambda: x.softmax(-1))["softmax"] == 1
    assert operations(lambda: [row.softmax(-1) for row in x])["softmax"] == 3
    assert operations(lambda: None).total() == 0


def test_the_best_of_two_lies_where_the_formula_says():
    assert expected_best(1) == pytest.approx(0.0, abs=1e-9)
    assert expected_best(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-6)
    draws = np.random.default_rng(0).standard_normal((200_000, 5)).max(1)
    assert expected_best(5) == pytest.approx(draws.mean(), abs=4 * draws.std() / 200_000**0.5)


def test_the_papers_table_is_reported_as_the_ledger_has_it():
    table = [[0.705, 0.683], [0.741, 0.623], [0.657, 0.637], [0.760, 0.666], [0.684, 0.629]]
    report = fold_report(table)
    assert report["folds"] == pytest.approx([0.694, 0.682, 0.647, 0.713, 0.657], abs=6e-4)
    assert np.mean(table, axis=0) == pytest.approx([0.709, 0.648], abs=5e-4)
    assert report["mean"] == pytest.approx(0.6785, abs=1e-6)  # printed as .679


def test_the_reconstructed_fault_is_the_mixing_of_samples():
    released = surroundings("11.3")["as_released"]
    torch.manual_seed(0)
    layers = time_first_layers(6)
    audio, vision = torch.randn(1, 5, 6), torch.randn(1, 5, 6)
    with torch.no_grad():  # a batch of one: each step sees itself alone, so no step moves another
        changed = audio.clone()
        changed[0, 3] += 1.0
        one, two = (released(a, vision, *layers) for a in (audio, changed))
        assert torch.allclose(one[0, :3], two[0, :3], atol=1e-6)
        right = [jointless(a, vision, *layers) for a in (audio, changed)]
        assert not torch.allclose(right[0][0, :3], right[1][0, :3], atol=1e-4)


def test_a_prophet_is_punished_by_the_flattened_loss_and_not_by_the_mended_one():
    flattened = surroundings("11.4")["flattened_loss"]
    labels = theatre.make("jmt", n=20, seed=3).labels
    everything = torch.ones(labels.shape[:2], dtype=torch.bool)
    assert flattened(labels.transpose(0, 1), labels) > 1.5
    assert paired_loss(labels.transpose(0, 1), labels, everything) < 1e-5


@pytest.fixture
def lesson(monkeypatch):
    """The lesson's drawing function over untrained models and the play's clips."""
    drawn = surroundings("11.3")["draw_maps"]
    play = theatre.make("jmt", n=9, seed=0).features()
    config = JMTConfig.for_dataset(play)
    torch.manual_seed(0)
    made = {
        name: [build("jmt", config).eval() for _ in range(3)] for name in ("JMT", "JMT, placed")
    }
    monkeypatch.setitem(drawn.__globals__, "models", made)
    monkeypatch.setitem(drawn.__globals__, "test_set", play)
    return drawn


def test_the_six_maps_follow_model_and_clip(lesson):
    explorer = widgets.explore(lesson, model=["placed", "without positions"], clip=(0, 8))
    assert explorer.alt.startswith("Six attention maps of JMT placed, seed 0, clip 4")
    seen = {explorer.output.value}
    for name, value in (("model", "without positions"), ("clip", 1)):
        explorer.controls[name].value = value
        seen.add(explorer.output.value)
    assert explorer.alt.startswith("Six attention maps of JMT without positions, seed 0, clip 1")
    assert all(f"{one} asks {two}" in explorer.alt for one, two in JMTConfig().pairs)
    assert len(seen) == 3
