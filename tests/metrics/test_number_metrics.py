"""Metrics of numbers: against hand-worked cases, scikit-learn and scipy."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk

from mmlib.metrics import concordance, pearson, regression_report, rmse


def lin(x: np.ndarray, y: np.ndarray) -> float:
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=401)
    return x, 0.6 * x + 0.5 * rng.normal(size=401) + 0.3


def test_concordance_is_lins_with_population_statistics(pair):
    assert concordance(*pair) == pytest.approx(lin(*pair), abs=1e-12)


def test_three_ratings_by_hand():
    # Predictions 0, 1, 2 and targets 0, 2, 4: means 1 and 2; deviations (-1, 0, 1) and (-2, 0, 2).
    # cov = (2 + 0 + 2) / 3 = 4/3, variances 2/3 and 8/3, the means are 1 apart.
    # concordance = 2 * 4/3 / (2/3 + 8/3 + 1) = 8/13; r = 4/3 / sqrt(16/9) = 1.
    # Errors 0, -1, -2: the mean square is 5/3.
    prediction, target = [0.0, 1.0, 2.0], [0.0, 2.0, 4.0]
    assert concordance(prediction, target) == pytest.approx(8 / 13)
    assert pearson(prediction, target) == pytest.approx(1.0)
    assert rmse(prediction, target) == pytest.approx((5 / 3) ** 0.5)


def test_pearson_and_rmse_agree_with_scipy_and_scikit_learn(pair):
    x, y = pair
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert rmse(x, y) == pytest.approx(sk.root_mean_squared_error(y, x), abs=1e-12)


def test_rmse_is_zero_only_for_what_is_equal_and_takes_the_unit_of_the_ratings(pair):
    x, y = pair
    assert rmse(x, x) == 0.0
    assert rmse(3 * x, 3 * y) == pytest.approx(3 * rmse(x, y))
    assert rmse(x, x + 2) == pytest.approx(2.0)


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
    assert report["mean_rmse"] == pytest.approx(rmse(y, x) / 2)


def test_a_nan_is_found_and_the_sample_named():
    values = torch.zeros(5, 2)
    spoilt = values.clone()
    spoilt[3, 1] = float("nan")
    with pytest.raises(ValueError, match=r"prediction of sample 3, at \[1\] is nan"):
        concordance(spoilt, values)
    with pytest.raises(ValueError, match="target of sample 3"):
        rmse(values, spoilt)
    with pytest.raises(ValueError, match="prediction of sample 1 is inf"):
        pearson([0.0, float("inf")], [0.0, 1.0])


def test_impossible_comparisons_are_refused():
    with pytest.raises(ValueError, match=r"expected \(N, K\)"):
        regression_report([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="shape"):
        regression_report(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="shape"):
        concordance([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="at least one must be kept"):
        concordance([1.0], [2.0], [False])
    with pytest.raises(ValueError, match="expected bool"):
        concordance([1.0, 2.0], [1.0, 2.0], [0, 1])
