"""Bootstrap intervals: the right draws, the right width, and how often they hold the truth."""

import time

import numpy as np
import pytest
import torch
from scipy import stats

from mmlib.metrics import (
    METRICS,
    bootstrap_interval,
    classification_report,
    concordance,
    pearson,
    regression_report,
    rmse,
    seed_spread,
)


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, targets and groups of unequal size of 103 samples in five classes."""
    rng = np.random.default_rng(1)
    target = rng.choice(5, 103, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    prediction = np.where(rng.random(103) < 0.6, target, rng.integers(0, 5, 103))
    return prediction, target, rng.choice(11, 103, p=np.arange(1, 12) / 66).astype(str)


@pytest.fixture
def ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions and targets `(N, K)`, N = 97 and K = 2, and groups."""
    rng = np.random.default_rng(2)
    target = rng.normal(size=(97, 2)) + [3.0, -1.0]
    return 0.5 * target + rng.normal(size=(97, 2)), target, rng.integers(0, 13, 97)


def accuracy(prediction, target) -> float:
    return float((prediction == target).mean())


def test_groups_are_drawn_whole_and_twice_counts_twice():
    # Group a is right in 3 of 3, group b in 0 of 1. Two draws of two give aa, ab, ba or bb:
    # accuracies 6/6, 3/4, 3/4, 0/2.
    prediction, target, groups = [0, 1, 1, 0], [0, 1, 1, 1], ["a", "a", "a", "b"]
    seen = []

    def spying(prediction, target):
        seen.append(accuracy(prediction, target))
        return seen[-1]

    interval = bootstrap_interval(
        spying, prediction, target, groups=groups, resamples=400, level=0.9
    )
    assert interval == (3 / 4, 0.0, 1.0, 0.9)
    draws = np.array(seen[1:])  # the first is the whole
    assert set(draws) == {0.0, 0.75, 1.0}
    assert (draws == 0.75).mean() == pytest.approx(1 / 2, abs=0.1)
    assert (draws == 1.0).mean() == pytest.approx(1 / 4, abs=0.1)
    named = bootstrap_interval("accuracy", prediction, target, groups=groups, resamples=400)
    assert named[:3] == (0.75, 0.0, 1.0)


@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize(
    "name", [name for name in METRICS if name in classification_report([0], [0])]
)
def test_a_named_metric_of_classes_is_what_calling_it_on_the_same_draws_gives(
    answers, name, by_group
):
    prediction, target, groups = answers
    settings = {"groups": groups if by_group else None, "resamples": 61, "level": 0.8, "seed": 5}
    called = bootstrap_interval(
        lambda p, t: classification_report(p, t, 5)[name], prediction, target, **settings
    )
    named = bootstrap_interval(name, prediction, target, **settings)
    assert named == pytest.approx(called, abs=1e-12)


@pytest.mark.parametrize("by_group", [False, True])
def test_named_metrics_of_numbers_are_what_calling_them_gives(ratings, by_group):
    prediction, target, groups = ratings
    settings = {"groups": groups if by_group else None, "resamples": 61, "level": 0.8, "seed": 5}
    metrics = {"ccc": concordance, "pearson": pearson, "rmse": rmse}
    for name, metric in metrics.items():
        named = bootstrap_interval(name, prediction, target, **settings)
        assert named == pytest.approx(bootstrap_interval(metric, prediction, target, **settings))
        mean = bootstrap_interval(f"mean_{name}", prediction, target, **settings)
        called = bootstrap_interval(
            lambda p, t, name=name: regression_report(p, t)[f"mean_{name}"],
            prediction, target, **settings,
        )  # fmt: skip
        assert mean == pytest.approx(called)
        assert mean.value != pytest.approx(named.value, abs=1e-3)


def test_groups_of_one_are_drawn_as_samples_in_the_groups_order(answers):
    prediction, target, _ = answers
    alone = np.random.default_rng(9).permutation(103)
    settings = {"groups": alone, "resamples": 61, "seed": 5}
    named = bootstrap_interval("macro_f1", prediction, target, **settings)
    called = bootstrap_interval(
        lambda p, t: classification_report(p, t, 5)["macro_f1"], prediction, target, **settings
    )
    assert named == pytest.approx(called, abs=1e-12)
    order = np.argsort(alone)
    plain = bootstrap_interval("macro_f1", prediction[order], target[order], resamples=61, seed=5)
    assert named == pytest.approx(plain, abs=1e-12)


def test_masked_steps_do_not_count_in_an_interval():
    rng = np.random.default_rng(3)
    target = torch.from_numpy(rng.normal(size=(31, 7, 2)))
    prediction = target + torch.from_numpy(rng.normal(size=(31, 7, 2)))
    mask = torch.from_numpy(rng.random((31, 7)) < 0.6)
    settings = {"mask": mask, "resamples": 53, "seed": 2}
    spoilt = prediction.masked_fill(~mask[..., None], float("nan"))
    named = bootstrap_interval("mean_ccc", spoilt, target, **settings)
    called = bootstrap_interval(
        lambda p, t, m: regression_report(p, t, m)["mean_ccc"], prediction, target, **settings
    )
    assert named == pytest.approx(called)
    assert named.value == pytest.approx(regression_report(prediction, target, mask)["mean_ccc"])


def test_a_constant_prediction_has_concordance_0_on_every_draw():
    target = np.random.default_rng(0).normal(size=53)
    for constant in (0.1, 1e5):
        for name in ("ccc", "pearson"):
            interval = bootstrap_interval(name, np.full(53, constant), target, resamples=47)
            assert interval[:3] == (0.0, 0.0, 0.0)


def test_logits_are_drawn_with_their_samples(answers):
    prediction, target, _ = answers
    logits = torch.nn.functional.one_hot(torch.from_numpy(prediction), 5).float()
    settings = {"resamples": 43, "seed": 1}
    assert bootstrap_interval("macro_f1", logits, target, **settings) == bootstrap_interval(
        "macro_f1", prediction, target, **settings
    )
    assert bootstrap_interval(
        lambda p, t: classification_report(p, t)["macro_f1"], logits, target, **settings
    ) == pytest.approx(bootstrap_interval("macro_f1", prediction, target, **settings))


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly(answers):
    prediction, target, groups = answers
    first, again, other = (
        bootstrap_interval("macro_f1", prediction, target, groups=groups, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first == again and first != other
    assert first == pytest.approx(other, abs=0.02)


def test_the_interval_is_scipys_percentile_bootstrap(answers):
    prediction, target, groups = answers
    right = (prediction == target).astype(float)
    ours = bootstrap_interval("accuracy", prediction, target, resamples=4000)
    theirs = stats.bootstrap(
        (right,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    assert ours[1:3] == pytest.approx(tuple(theirs), abs=0.011)
    # By group, scipy draws the positions of the groups, and the statistic is a ratio of their sums.
    names = np.unique(groups)
    sums = np.array([right[groups == name].sum() for name in names])
    sizes = np.array([(groups == name).sum() for name in names])
    theirs = stats.bootstrap(
        (np.arange(len(names)),),
        lambda drawn, axis: sums[drawn].sum(axis) / sizes[drawn].sum(axis),
        n_resamples=4000, method="percentile", vectorized=True, rng=np.random.default_rng(7),
    ).confidence_interval  # fmt: skip
    ours = bootstrap_interval("accuracy", prediction, target, groups=groups, resamples=4000)
    assert ours[1:3] == pytest.approx(tuple(theirs), abs=0.011)


def test_the_width_is_that_of_theory():
    # By the normal approximation 95 % of the shares of 400 answers, .7 of them right, lie within
    # 1.96 * sqrt(.7 * .3 / 400) = .0449 of .7.
    target = np.zeros(400, dtype=int)
    prediction = (np.arange(400) >= 280).astype(int)
    interval = bootstrap_interval("accuracy", prediction, target, resamples=5000)
    assert interval.value == 0.7
    assert interval.high - interval.low == pytest.approx(2 * 0.0449, rel=0.06)
    narrow = bootstrap_interval("accuracy", prediction, target, resamples=5000, level=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.0449 * 0.6745 / 1.96, rel=0.12)


def covered(simulate, trials: int, *, truth: float, by_group: bool) -> float:
    """Measure how often a 95 % interval of a new sample holds the truth."""
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(trials):
        right, groups = simulate(rng)
        interval = bootstrap_interval(
            "accuracy", right, np.ones_like(right), resamples=400, seed=trial,
            groups=groups if by_group else None,
        )  # fmt: skip
        hits += interval.low <= truth <= interval.high
    return hits / trials


def independent(rng):
    return (rng.random(150) < 0.7).astype(int), np.arange(150)


def by_speaker(rng):
    """Draw 30 speakers with ten clips each; some speakers are far easier than others."""
    ease = rng.beta(0.7 * 3, 0.3 * 3, size=30)
    return (rng.random((30, 10)) < ease[:, None]).astype(int).ravel(), np.repeat(np.arange(30), 10)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    assert covered(independent, 300, truth=0.7, by_group=False) == pytest.approx(0.95, abs=0.035)


def test_only_the_interval_by_group_does_where_a_speakers_clips_are_alike():
    # A speaker's clips correlate by 1/(1 + 3) = .25, so ten of them tell as much as
    # 10 / (1 + 9 * .25) = 3.1: drawn one by one they claim an interval 1.8 times too narrow.
    by_sample = covered(by_speaker, 300, truth=0.7, by_group=False)
    by_group = covered(by_speaker, 300, truth=0.7, by_group=True)
    assert by_sample < 0.8
    assert 0.89 < by_group < 0.98


def test_two_thousand_draws_of_a_thousand_samples_take_well_under_a_second():
    rng = np.random.default_rng(0)
    target, prediction = rng.integers(0, 7, 1000), rng.integers(0, 7, 1000)
    began = time.process_time()
    bootstrap_interval("accuracy", prediction, target)
    assert time.process_time() - began < 1.0


IMPOSSIBLE = {
    "one group": ({"groups": ["a"] * 4}, "all samples belong to one group"),
    "groups of another number": ({"groups": ["a", "b"]}, "there are 4 samples"),
    "no draws": ({"resamples": 0}, "resamples is 0"),
    "all of it": ({"level": 1.0}, "level is 1.0"),
    "unknown": ({"metric": "f1"}, "no metric 'f1'; there are accuracy,"),
    "sizes": ({"target": [0, 1, 1]}, "4 predictions but 3 targets"),
    "sizes, by calling": ({"target": [0, 1, 1], "metric": accuracy}, "4 predictions but 3 targets"),
    "no number": ({"metric": lambda p, t: float("nan")}, "the metric gave nan"),
    "a mask of classes": ({"mask": [True] * 4}, "takes no mask"),
    "one target": ({"metric": "mean_ccc"}, "use 'ccc'"),
    "one sample": ({"prediction": [1], "target": [1]}, "at least two"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_interval_is_refused(case):
    changes, sentence = IMPOSSIBLE[case]
    asked = {"metric": "accuracy", "prediction": [0, 1, 1, 0], "target": [0, 1, 0, 0], **changes}
    metric, prediction, target = (asked.pop(key) for key in ("metric", "prediction", "target"))
    with pytest.raises(ValueError, match=sentence):
        bootstrap_interval(metric, prediction, target, **asked)


def test_three_seeds_by_hand():
    # .60, .62, .67: mean .63; deviations -.03, -.01, .04, so the variance is .0026 / 2 = .0013.
    # Student's t of two degrees at 97.5 % is 4.3027; the reach is that times .03606 / sqrt(3).
    spread = seed_spread([0.60, 0.62, 0.67])
    assert spread.mean == pytest.approx(0.63) and spread.deviation == pytest.approx(0.0013**0.5)
    reach = 4.3027 * 0.0013**0.5 / 3**0.5
    assert (spread.low, spread.high) == pytest.approx((0.63 - reach, 0.63 + reach), abs=1e-5)
    theirs = stats.ttest_1samp([0.60, 0.62, 0.67], 0).confidence_interval(0.9)
    assert seed_spread([0.60, 0.62, 0.67], level=0.9)[2:4] == pytest.approx(tuple(theirs))


def test_one_seed_has_no_spread():
    with pytest.raises(ValueError, match="at least two seeds"):
        seed_spread([0.6])
    with pytest.raises(ValueError, match="seed number 1 is not finite"):
        seed_spread([0.6, float("nan"), 0.5])
