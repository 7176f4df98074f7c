"""Absent streams at test time: every combination, falling availability, and by which means."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mmlib.data import FeatureSet, Standardised, theatre
from mmlib.metrics import bootstrap_interval
from mmlib.systems import SYSTEMS, build, find
from mmlib.systems.absence import MEANS, Absence, absence_of
from mmlib.systems.baselines import Classified
from mmlib.training import predict
from mmlib.training.availability import (
    availability_patterns,
    falling_availability,
    judge_falling,
    subset_probabilities,
)
from mmlib.training.hearing import Without, hear, patterns_of

N, STREAMS = 33, ("text", "audio", "vision")
PATTERNS = ["text", "audio", "vision"]
PATTERNS += ["text+audio", "text+vision", "audio+vision", "text+audio+vision"]
SHAPES = {"text": (7, 2), "audio": (5, 3), "vision": (3, 11)}


def data(count: int = N) -> FeatureSet:
    """Streams of ones times the class plus one, so that any stream tells it."""
    labels = torch.arange(count) % 4
    inputs = {key: torch.ones(count, *shape) for key, shape in SHAPES.items()}
    inputs = {key: x * (1 + labels[:, None, None]) for key, x in inputs.items()}
    masks = {key: torch.ones(count, shape[0], dtype=torch.bool) for key, shape in SHAPES.items()}
    masks["audio"][:, 3:] = False
    return FeatureSet(inputs, masks, labels, tuple("abcd"), group=np.arange(count) % 11)


class Reader(nn.Module):
    """Say the class as long as it can see, in the order of a preference, one stream that tells it.

    `trusts` are the streams that tell it the truth; any other that comes first makes it say 0.
    """

    def __init__(self, order=STREAMS, trusts=STREAMS, **kwargs) -> None:
        super().__init__()
        self.order, self.trusts = order, trusts
        self.seen = []
        for name, value in kwargs.items():
            setattr(self, name, value)

    def forward(self, masks=None, **inputs):
        self.seen.append({k: (v.clone(), masks[k].clone()) for k, v in inputs.items()})
        count = len(next(iter(inputs.values())))
        said = torch.zeros(count, dtype=torch.long)
        for name in reversed(self.order):
            there = masks[name].any(1)
            value = inputs[name][:, 0, 0].round().long() - 1
            said = torch.where(there, value if name in self.trusts else 0, said)
        return Classified(nn.functional.one_hot(said.clamp(min=0), 4).float())


def numbers_of(count: int = N) -> FeatureSet:
    draw = torch.Generator().manual_seed(0)
    features = data(count)
    return FeatureSet(features.inputs, features.masks, torch.randn(count, 2, generator=draw), None)


class Guess(nn.Module):
    """Predict two numbers a sample from the streams that are there."""

    def forward(self, masks=None, **inputs):
        sums = sum(x.mean((1, 2)) * masks[key].any(1) for key, x in inputs.items())
        return Classified(torch.stack([sums, -sums], 1))


# Patterns


def test_combinations_come_small_ones_first_in_the_order_of_the_streams():
    assert ["+".join(some) for some in patterns_of(STREAMS)] == PATTERNS


def test_each_combination_is_judged_with_the_other_streams_gone():
    model = Reader(order=("vision", "audio", "text"), trusts=("audio",))
    table = availability_patterns(model, data(), resamples=20)
    assert list(table["pattern"]) == PATTERNS and list(table["streams"]) == [1, 1, 1, 2, 2, 2, 3]
    wrong = 9 / 33  # the class 0 is right by chance
    expected = [wrong, 1.0, wrong, 1.0, wrong, wrong, wrong]
    assert table["accuracy"].tolist() == pytest.approx(expected)
    assert table["balanced_accuracy"].tolist() == pytest.approx([0.25, 1, 0.25, 1, *[0.25] * 3])
    assert set(table["means"]) == {"mask"} and set(table["n"]) == {N}


def test_the_whole_combination_is_what_predict_gives_and_an_absent_stream_is_zero_and_masked():
    model, features = Reader(), data()
    heard = hear(model, features)
    assert torch.equal(heard.outputs[-1], predict(model, features))
    for seen, pattern in zip(model.seen[:7], patterns_of(STREAMS), strict=True):
        for name in STREAMS:
            values, mask = seen[name]
            if name in pattern:
                assert torch.equal(mask, features.masks[name]) and values[:, 0].min() >= 1
            else:
                assert not mask.any() and not values.any()


def test_intervals_are_drawn_by_group():
    model = Reader(trusts=("text", "audio"))
    table = availability_patterns(model, data(), resamples=97, level=0.8, seed=3)
    heard = hear(model, data())
    for place in (2, 4):
        expected = bootstrap_interval(
            "accuracy", heard.outputs[place], data().labels, groups=data().group,
            resamples=97, level=0.8, seed=3,
        )  # fmt: skip
        row = table.iloc[place]
        assert (row["accuracy_low"], row["accuracy_high"]) == (expected.low, expected.high)


def test_numbers_have_concordances():
    table = availability_patterns(Guess(), numbers_of(), resamples=20)
    told = {"mean_ccc", "mean_ccc_low", "mean_ccc_high", "mean_pearson", "mean_rmse"}
    assert told <= set(table) and "accuracy" not in table
    falling = falling_availability(Guess(), numbers_of(), [0.5], draws=2, ceilings={"text": 1.0})
    assert falling["mean_ccc"].notna().all() and falling["ceiling"].isna().all()


def test_a_model_comes_back_in_its_mode_and_with_its_weights():
    features = theatre.make("masks", n=20).features()
    model = build("concat", find("concat").config.for_dataset(features))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for training in (True, False):
        model.train(training)
        hear(model, features)
        assert model.training is training and model.encoders.training is training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_progress_is_told_pass_by_pass():
    told = []
    hear(Reader(), data(), update=told.append)
    assert told == [1] * 7


# Samples that lack streams to begin with


def lacking() -> FeatureSet:
    """Sample 0 has text alone, sample 1 lacks text, sample 2 has nothing."""
    features = data()
    for name, rows in {"text": [1, 2], "audio": [0, 2], "vision": [0, 2]}.items():
        features.masks[name][rows] = False
    return features


def test_a_sample_with_none_of_a_combination_is_not_judged_in_it():
    model = Reader()
    table = availability_patterns(model, lacking(), resamples=20, ceilings={"text": 0.5})
    by_pattern = dict(zip(table["pattern"], table["n"], strict=True))
    assert by_pattern == {**dict.fromkeys(PATTERNS, 32), **dict.fromkeys(
        ["text", "audio", "vision", "audio+vision"], 31)}  # fmt: skip
    assert table["accuracy"].tolist() == pytest.approx([1.0] * 7)
    assert "ceiling" not in table  # it would be that of samples which have all
    for seen in model.seen:  # nothing is ever asked about a sample without any stream
        assert torch.stack([mask.any(1) for _, mask in seen.values()]).any(0).all()


def test_a_sample_keeps_one_of_the_streams_that_it_has():
    heard = hear(Reader(), lacking())
    assert len(heard.features) == 32 and heard.present.shape == (32, 3)
    for rate in (0.0, 0.4, 1.0):
        left = heard.left(rate)
        assert left[0].tolist() == [True, False, False] and not left[1, 0]
        assert left.any(1).all() and not (left & ~heard.present).any()
    assert torch.equal(heard.said_of(heard.left(0.0)), predict(Reader(), heard.features))


def test_nothing_to_judge_is_refused():
    features = data()
    for mask in features.masks.values():
        mask[:] = False
    with pytest.raises(ValueError, match="no sample of features has any stream"):
        hear(Reader(), features)
    heard = hear(Reader(), data())
    left = np.ones((N, 3), dtype=bool)
    left[5] = False
    with pytest.raises(ValueError, match="sample 5 keeps no stream"):
        heard.said_of(left)


# Falling availability


def test_streams_go_at_the_rate_and_one_is_kept():
    heard = hear(Reader(), data(4000))
    for rate in (0.0, 0.3, 0.8, 1.0):
        left = heard.left(rate, draw=2, seed=5)
        found = {
            name: float((left == [s in name.split("+") for s in STREAMS]).all(1).mean())
            for name in PATTERNS
        }
        expected = subset_probabilities(STREAMS, rate)
        for name in PATTERNS:
            error = (expected[name] * (1 - expected[name]) / 4000) ** 0.5
            assert abs(found[name] - expected[name]) <= 4 * error + 1e-12, (rate, name)
        assert left.any(1).all()


def test_subset_probabilities_sum_to_one_and_give_the_lost_case_to_single_streams():
    assert subset_probabilities(("audio", "vision"), 0.4) == pytest.approx(
        {"audio": 0.24 + 0.08, "vision": 0.24 + 0.08, "audio+vision": 0.36}
    )
    for rate in (0.0, 0.25, 1.0):
        assert sum(subset_probabilities(STREAMS, rate).values()) == pytest.approx(1.0)
    assert subset_probabilities(("text",), 0.7) == {"text": pytest.approx(1.0)}


def test_what_is_gone_stays_gone_at_higher_rates_and_draws_differ():
    heard = hear(Reader(), data())
    before = heard.left(0.0)
    assert before.all()
    for rate in (0.1, 0.35, 0.6, 0.9):
        now = heard.left(rate)
        assert not (now & ~before).any() and now.sum() < before.sum()
        before = now
    one = heard.left(0.5)
    assert np.array_equal(one, heard.left(0.5))
    assert not np.array_equal(one, heard.left(0.5, draw=1))
    assert not np.array_equal(one, heard.left(0.5, seed=1))


def test_every_system_gets_the_same_draw_and_streams_go_independently():
    three = hear(Reader(), data(500)).left(0.5)
    two = hear(Reader(order=("audio", "vision")), data(500).select(["audio", "vision"])).left(0.5)
    # With a third stream kept, both of two may go, of which a system of two keeps one: 1 in 6.
    same = (three[:, 1:] == two).all(1)
    assert (~three[~same][:, 1:]).all() and 0.12 < (~same).mean() < 0.21
    assert abs(np.corrcoef(three.T)[0, 1]) < 0.5


def test_each_sample_is_judged_by_the_streams_that_it_kept():
    model, features = Reader(order=("text", "audio", "vision"), trusts=("audio",)), data()
    table = falling_availability(model, features, [0.0, 0.6], draws=3, seed=7)
    assert (
        table["rate"].tolist() == [0.0] * 3 + [0.6] * 3 and table["draw"].tolist() == [0, 1, 2] * 2
    )
    heard = hear(model, features)
    for row in table.to_dict("records"):
        left = heard.left(row["rate"], draw=row["draw"], seed=7)
        right = (~left[:, 0] & left[:, 1]) | (features.labels.numpy() == 0)
        assert row["accuracy"] == pytest.approx(right.mean())
        assert row["streams_left"] == pytest.approx(left.sum(1).mean())
    assert table.loc[table["rate"] == 0.6, "accuracy"].nunique() > 1


def test_the_answer_for_a_draw_is_what_the_model_says_of_such_a_batch():
    features = theatre.make("masks", n=40).features()
    torch.manual_seed(0)
    model = build("gated", find("gated").config.for_dataset(features)).eval()
    heard = hear(model, features)
    left = heard.left(0.5)
    masks = {
        name: features.masks[name] & torch.from_numpy(left[:, [place]])
        for place, name in enumerate(features.modalities)
    }
    thinned = FeatureSet(features.inputs, masks, features.labels, features.class_names)
    assert torch.allclose(heard.said_of(left), predict(model, thinned), atol=1e-5)


def test_the_ceiling_of_a_rate_is_the_mean_over_the_combinations_that_are_left():
    known = theatre.ceilings("masks")
    features = theatre.make("masks", n=12).features()
    model = build("late", find("late").config.for_dataset(features))
    table = falling_availability(model, features, [0.0, 0.4, 1.0], draws=2, ceilings=known)
    best = table.groupby("rate")["ceiling"].first()
    assert best[0.0] == pytest.approx(known["text+audio+vision"])
    assert best[1.0] == pytest.approx(np.mean([known[name] for name in STREAMS]))
    singles = (0.6 * 0.4**2 + 0.4**3 / 3) * sum(known[name] for name in STREAMS)
    pairs = 0.6**2 * 0.4 * sum(known[name] for name in PATTERNS[3:6])
    assert best[0.4] == pytest.approx(singles + pairs + 0.6**3 * known["text+audio+vision"])
    patterns = availability_patterns(model, features, ceilings=known, resamples=5)
    assert patterns["ceiling"].tolist() == [known[name] for name in PATTERNS]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rates": [0.2, 1.5]}, "rates holds 1.5"),
        ({"rates": [-0.1]}, "rates holds -0.1"),
        ({"rates": [float("nan")]}, "rates holds nan"),
        ({"rates": []}, "rates is empty"),
        ({"draws": 0}, "draws is 0"),
        ({"means": "silence"}, "means is 'silence', expected one of availability, mask"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        falling_availability(Reader(), data(), **settings)


# Means


def test_zeros_keep_the_real_steps_and_are_the_mean_where_a_model_standardises():
    features, model = data(), Reader()
    hear(model, features, means="zeros")
    values, mask = model.seen[0]["audio"]  # text alone
    assert torch.equal(mask, features.masks["audio"]) and not values.any()
    inner = Reader()
    widths = features.widths
    outer = Standardised(model=inner, widths=widths).learn(features)
    hear(outer, features, means="zeros")
    values, mask = inner.seen[0]["audio"]
    assert torch.equal(mask, features.masks["audio"]) and values.abs().max() < 1e-6
    assert inner.seen[1]["audio"][0].abs().max() > 0.5


def test_a_system_that_refuses_has_no_numbers_where_a_stream_is_gone():
    model = Reader(absence=Absence("refuses", "knows no absence"))
    table = availability_patterns(model, data(), resamples=20)
    assert table["accuracy"].isna().tolist() == [True] * 6 + [False]
    assert len(model.seen) == 1 and set(table["means"]) == {"refuses"}
    falling = judge_falling(hear(model, data()), [0.0, 0.5], draws=2)
    assert falling["accuracy"].isna().tolist() == [False, False, True, True]


def test_streams_that_a_model_does_not_take_are_not_counted():
    features = theatre.make("masks", n=20).features()
    model = build("jmt", find("jmt").config.for_dataset(features))
    table = availability_patterns(model, features, resamples=5)
    assert table["pattern"].tolist() == ["audio", "vision", "audio+vision"]


def test_what_is_asked_for_stands_in_the_table():
    table = availability_patterns(Reader(), data(), means="zeros", resamples=5)
    assert set(table["means"]) == {"zeros"}


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_declares_how_it_does_without_a_stream_and_does(name):
    features = theatre.make("masks", n=16).features()
    config = find(name).config.for_dataset(features)
    torch.manual_seed(0)
    model = Standardised(model=build(name, config), widths=features.widths).learn(features)
    absence = absence_of(model)
    assert absence.means in ("availability", "mask") and "not declared" not in absence.words
    shares = {"late", "gated", "embracenet"}
    assert (absence.means == "availability") == (name in shares)
    heard = hear(model, features)
    assert torch.isfinite(heard.outputs).all()
    # What stood in the stream that is gone makes no difference.
    changed = {key: x.clone() for key, x in features.inputs.items()}
    changed[heard.streams[-1]] += 3.0
    other = FeatureSet(changed, features.masks, features.labels, features.class_names)
    place = 1 if len(heard.streams) == 3 else 0
    assert torch.allclose(heard.outputs[place], hear(model, other).outputs[place], atol=1e-5)


def test_a_model_from_elsewhere_may_declare_its_means():
    assert absence_of(Reader()).means == "mask" and "not declared" in absence_of(Reader()).words
    own = Absence("availability", "asks the others")
    assert absence_of(Reader(absence=own)) is own
    with pytest.raises(ValueError, match="Reader declares absence='none', expected an Absence"):
        absence_of(Reader(absence="none"))
    with pytest.raises(ValueError, match=f"means one of {', '.join(MEANS)}"):
        absence_of(Reader(absence=Absence("silence", "")))


def test_a_model_without_some_streams_can_be_asked_alone():
    features = data()
    batch = features.batch(range(5))
    alone = Without(model=Reader(), streams=["vision"])
    assert alone(**batch.inputs, masks=batch.masks)[0].argmax(1).tolist() == [0, 1, 2, 3, 0]
    assert isinstance(falling_availability(Reader(), features, [0.1], draws=1), pd.DataFrame)
