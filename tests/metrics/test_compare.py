"""Paired comparisons: the difference, its interval, and an honest p-value."""

import numpy as np
import pytest
import torch
from scipy import stats

from mmlib.metrics import classification_report, compare, concordance, rmse


@pytest.fixture
def two() -> tuple[np.ndarray, ...]:
    """Two systems' predictions, the targets and groups of 89 samples in four classes."""
    rng = np.random.default_rng(4)
    target = rng.integers(0, 4, 89)
    first = np.where(rng.random(89) < 0.7, target, rng.integers(0, 4, 89))
    second = np.where(rng.random(89) < 0.7, first, rng.integers(0, 4, 89))
    return first, second, target, rng.integers(0, 17, 89)


@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"])
def test_a_named_metric_is_what_calling_it_gives(two, name, by_group):
    first, second, target, groups = two
    settings = {"groups": groups if by_group else None, "resamples": 67, "seed": 3, "level": 0.8}
    named = compare(name, first, second, target, **settings)
    called = compare(
        lambda p, t: classification_report(p, t, 4)[name], first, second, target, **settings
    )
    assert named == pytest.approx(called, abs=1e-9)
    reports = [classification_report(p, target, 4)[name] for p in (first, second)]
    assert named.difference == pytest.approx(reports[0] - reports[1])


@pytest.mark.parametrize("by_group", [False, True])
def test_named_metrics_of_numbers_are_what_calling_them_gives(by_group):
    rng = np.random.default_rng(5)
    target = rng.normal(size=71) + 4
    first, second = target + rng.normal(size=71), 0.3 * target + rng.normal(size=71) + 9
    settings = {"groups": rng.integers(0, 19, 71) if by_group else None, "resamples": 59}
    for name, metric in (("ccc", concordance), ("rmse", rmse)):
        named = compare(name, first, second, target, **settings)
        assert named == pytest.approx(compare(metric, first, second, target, **settings))


def test_swapping_the_systems_turns_the_sign_and_nothing_else(two):
    first, second, target, groups = two
    forward = compare("macro_f1", first, second, target, groups=groups)
    backward = compare("macro_f1", second, first, target, groups=groups)
    assert backward.difference == pytest.approx(-forward.difference)
    assert (backward.low, backward.high) == pytest.approx((-forward.high, -forward.low))
    assert backward.p_value == forward.p_value


def test_a_system_does_not_differ_from_itself(two):
    first, _, target, _ = two
    assert compare("accuracy", first, first, target, resamples=50)[:4] == (0.0, 0.0, 0.0, 1.0)


def test_four_items_by_hand():
    # First is right on all four, second on the last two. A swap of item 1 or 2 takes a right answer
    # from the first and gives it to the second: the difference is +2/4 unswapped, 0 where one of
    # the two is swapped, -2/4 where both are. Of the 16 swaps half are as large as 2/4.
    comparison = compare("accuracy", [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1])
    assert comparison.difference == 0.5 and comparison.p_value == 0.5


def test_few_groups_cannot_give_a_small_p_value():
    # Five groups, all in favour of the first: only two of the 2^5 swaps are as large.
    groups = np.repeat(np.arange(5), 20)
    right, wrong = np.ones(100, dtype=int), np.zeros(100, dtype=int)
    by_group = compare("accuracy", right, wrong, right, groups=groups)
    assert by_group.p_value == pytest.approx(2 / 32)
    assert compare("accuracy", right, wrong, right).p_value == pytest.approx(1 / 2001)
    called = compare(lambda p, t: float((p == t).mean()), right, wrong, right, groups=groups)
    assert called == by_group


@pytest.mark.parametrize("more, fewer", [(9, 2), (14, 7), (30, 12), (6, 6)])
def test_for_accuracy_the_p_value_is_mcnemars(more, fewer):
    # Where both are right or both wrong a swap changes nothing: only the items on which they differ
    # count, and each is a coin. That is McNemar's exact test.
    both = [(1, 1)] * 31 + [(0, 0)] * 13
    answers = np.array(both + [(1, 0)] * more + [(0, 1)] * fewer)
    target = np.ones(len(answers), dtype=int)
    exact = stats.binomtest(more, more + fewer, 0.5).pvalue
    found = compare("accuracy", answers[:, 0], answers[:, 1], target, resamples=8000).p_value
    assert found == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 8000) ** 0.5 + 2e-4)


def test_the_p_value_is_scipys_paired_permutation_test():
    rng = np.random.default_rng(6)
    target = rng.normal(size=40)
    first, second = target + 0.8 * rng.normal(size=40), target + rng.normal(size=40)

    def difference(first, second, axis):
        def squared(values):
            return np.sqrt(((values - target) ** 2).mean(axis))

        return squared(first) - squared(second)

    theirs = stats.permutation_test(
        (first, second), difference, permutation_type="samples", vectorized=True,
        n_resamples=8000, rng=np.random.default_rng(1),
    )  # fmt: skip
    ours = compare("rmse", first, second, target, resamples=8000)
    assert ours.difference == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.025)


def test_pairing_sees_what_two_separate_intervals_would_not():
    # Both fail on the same hard items; the second also on five more.
    target = np.ones(200, dtype=int)
    first = (np.arange(200) >= 80).astype(int)
    second = (np.arange(200) >= 90).astype(int)
    comparison = compare("accuracy", first, second, target)
    assert comparison.low > 0 and comparison.p_value < 0.01
    assert comparison.high - comparison.low < 0.07, "separate intervals are twice .068 wide"


def test_where_nothing_differs_few_p_values_are_small():
    rng = np.random.default_rng(8)
    found = []
    for trial in range(200):
        target = np.ones(60, dtype=int)
        first, second = rng.random((2, 60)) < 0.6
        found.append(compare("accuracy", first, second, target, resamples=300, seed=trial).p_value)
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.03, abs=0.035)


def test_by_sample_a_lucky_speaker_looks_like_a_better_system():
    # Twelve speakers; for each, one of the systems (a coin decides) gets all 20 clips right that the
    # other gets wrong: no system is better, yet 240 samples "disagree".
    rng = np.random.default_rng(9)
    false_alarms = {"sample": 0, "group": 0}
    groups = np.repeat(np.arange(12), 20)
    for trial in range(60):
        favoured = np.repeat(rng.integers(0, 2, 12), 20)
        settings = {"resamples": 200, "seed": trial}
        target = np.ones(240, dtype=int)
        for by, column in (("sample", None), ("group", groups)):
            p_value = compare(
                "accuracy", favoured, 1 - favoured, target, groups=column, **settings
            ).p_value
            false_alarms[by] += p_value <= 0.05
    assert false_alarms["sample"] > 30 and false_alarms["group"] <= 8


def test_logits_and_tensors_are_taken(two, device):
    first, second, target, groups = two
    as_logits = [
        torch.nn.functional.one_hot(torch.from_numpy(values), 4).float().to(device)
        for values in (first, second)
    ]
    true = torch.from_numpy(target).to(device)
    settings = {"groups": groups, "resamples": 41}
    expected = compare("weighted_f1", first, second, target, **settings)
    assert compare("weighted_f1", *as_logits, true, **settings) == expected
    called = compare(
        lambda p, t: classification_report(p, t, 4)["weighted_f1"], *as_logits, true, **settings
    )
    assert called == pytest.approx(expected)


def test_an_impossible_comparison_is_refused():
    with pytest.raises(ValueError, match="3 predictions of the first system, 2 of the second"):
        compare("accuracy", [0, 1, 1], [0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="no metric 'f1'"):
        compare("f1", [0, 1], [0, 1], [0, 1])
    with pytest.raises(ValueError, match="one group"):
        compare("accuracy", [0, 1], [0, 1], [0, 1], groups=["a", "a"])
    with pytest.raises(ValueError, match="the prediction of sample 1 is -1"):
        compare("accuracy", [0, 1], [0, -1], [0, 1])
