"""Metrics, against hand-computed values, scikit-learn, and the paper's own table."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from mmlib.metrics import (
    classification_report,
    concordance,
    confusion_matrix,
    pearson,
    regression_report,
)


def test_confusion_counts_true_classes_in_rows():
    table = confusion_matrix([0, 2, 2, 1], [0, 1, 1, 1], num_classes=4)
    assert table.tolist() == [[1, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_report_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    target = rng.choice(5, size=83, p=[0.5, 0.3, 0.1, 0.1, 0.0])
    prediction = np.where(rng.random(83) < 0.4, target, rng.integers(0, 4, 83))
    report = classification_report(prediction, target, num_classes=5)
    settings = {"zero_division": 0.0}
    assert report["accuracy"] == pytest.approx(sk.accuracy_score(target, prediction))
    assert report["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(target, prediction)
    )
    for average in ("macro", "weighted"):
        expected = sk.precision_recall_fscore_support(
            target, prediction, average=average, **settings
        )
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert report[f"{average}_{name}"] == pytest.approx(value)


def test_balanced_accuracy_is_mean_recall_and_for_two_classes_the_papers_formula():
    # E-03: (sensitivity + specificity) / 2 of 3 in 4 and 1 in 2.
    report = classification_report([1, 1, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0])
    assert report["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_weighted_f1_is_the_mean_of_class_f1_and_not_the_f1_of_means():
    # E-01, by hand: class 0 has F1 2*2/(3+2) = .8, class 1 has 1, with supports 3 and 1.
    report = classification_report([0, 0, 2, 1], [0, 0, 0, 1])
    assert report["weighted_f1"] == pytest.approx((3 * 0.8 + 1) / 4)
    assert report["macro_f1"] == pytest.approx(1.8 / 3), "class 2 was predicted, so it counts"
    precision, recall = report["weighted_precision"], report["weighted_recall"]
    assert 2 * precision * recall / (precision + recall) != pytest.approx(report["weighted_f1"])


def test_logits_count_as_their_largest_class():
    logits = torch.tensor([[0.1, 0.7, 0.2], [3.0, -1.0, 0.0]])
    assert classification_report(logits, [1, 0]) == classification_report([1, 0], [1, 0], 3)


def test_impossible_reports_are_refused():
    with pytest.raises(ValueError, match="the same number of samples"):
        classification_report([0, 1], [0])
    with pytest.raises(ValueError, match="at least one"):
        classification_report([], [])
    with pytest.raises(ValueError, match="outside 0 to 1"):
        classification_report([0, 2], [0, 1], num_classes=2)


def lin(x: np.ndarray, y: np.ndarray) -> float:
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=401)
    return x, 0.6 * x + 0.5 * rng.normal(size=401) + 0.3


def test_concordance_is_lins_with_population_statistics(pair):
    assert concordance(*pair) == pytest.approx(lin(*pair), abs=1e-12)
    assert concordance([0.0, 1.0, 2.0], [0.0, 2.0, 4.0]) == pytest.approx(8 / 13)


def test_concordance_identities_hold(pair):
    x, y = pair
    assert concordance(x, x) == pytest.approx(1.0)
    assert concordance(x - x.mean(), x.mean() - x) == pytest.approx(-1.0)
    assert concordance(x, y) == pytest.approx(concordance(y, x))
    assert concordance(x, x + 1) < concordance(x, x + 0.5) < 1
    assert concordance(x, 2 * x) < 1
    assert pearson(x, 2 * x + 5) == pytest.approx(1.0)
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_constant_has_no_concordance(constant, pair):
    flat = np.full(401, constant)
    for metric in (concordance, pearson):
        assert metric(flat, pair[0]) == 0.0
        assert metric(pair[0], flat) == 0.0
        assert metric(flat, flat) == 0.0


def test_what_is_masked_does_not_count_even_if_it_is_not_a_number(pair):
    x, y = (torch.from_numpy(v)[:400].reshape(8, 50) for v in pair)
    mask = torch.rand(8, 50, generator=torch.Generator().manual_seed(0)) > 0.3
    spoilt = y.masked_fill(~mask, float("nan"))
    assert concordance(x, spoilt, mask) == pytest.approx(concordance(x[mask], y[mask]), abs=1e-12)
    two = torch.stack([x, y], dim=-1)
    report = regression_report(two, two.flip(-1), mask)
    assert report["mean_ccc"] == pytest.approx(concordance(x[mask], y[mask]))


def test_report_of_a_regression_averages_over_targets(pair):
    x, y = map(torch.from_numpy, pair)
    report = regression_report(torch.stack([x, y], 1), torch.stack([x, x], 1))
    assert report["mean_ccc"] == pytest.approx((1 + concordance(y, x)) / 2)
    assert report["mean_pearson"] == pytest.approx((1 + pearson(y, x)) / 2)


def test_impossible_comparisons_are_refused():
    with pytest.raises(ValueError, match="shape"):
        concordance([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="at least one must be kept"):
        concordance([1.0], [2.0], [False])
    with pytest.raises(ValueError, match="expected bool"):
        concordance([1.0, 2.0], [1.0, 2.0], [0, 1])
