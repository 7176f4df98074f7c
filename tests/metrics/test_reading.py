"""What is no table of numbers is refused in the metrics' own words, not in torch's."""

import numpy as np
import pytest

from mmlib.metrics import (
    bootstrap_interval,
    classification_report,
    compare,
    concordance,
    confusion_matrix,
    regression_report,
    top_k_accuracy,
)

NAMES = ["joy", "fear", "joy"]


@pytest.mark.parametrize("metric", [confusion_matrix, classification_report, concordance])
@pytest.mark.parametrize("bad", [NAMES, np.array(NAMES), None, [[0.0, 1.0], [1.0], [0.0]]])
def test_names_nothing_and_ragged_rows_are_refused(metric, bad):
    with pytest.raises(ValueError, match=r"^the prediction is .*expected .* numbers"):
        metric(bad, [0, 1, 0])
    with pytest.raises(ValueError, match=r"^the target is .*class names into numbers"):
        metric([0, 1, 0], bad)


def test_names_are_refused_wherever_numbers_are_read():
    for function in (
        lambda: regression_report(NAMES, [[0.0]] * 3),
        lambda: top_k_accuracy(NAMES, [0, 1, 0]),
        lambda: bootstrap_interval("accuracy", NAMES, NAMES),
        lambda: compare("macro_f1", NAMES, NAMES, [0, 1, 0]),
        lambda: concordance([0.0, 1.0], [1.0, 0.0], mask=["yes", "no"]),
    ):
        with pytest.raises(ValueError, match="expected a tensor, an array or a list of numbers"):
            function()


def test_a_long_column_is_not_printed_whole():
    with pytest.raises(ValueError, match=r"\.\.\., expected") as caught:
        confusion_matrix(["happiness"] * 1000, [0] * 1000)
    assert len(str(caught.value)) < 250


def test_an_infinite_class_is_told_as_what_it_is():
    with pytest.raises(ValueError, match="prediction of sample 2 is inf, no class"):
        confusion_matrix([0, 1, float("inf")], [0, 1, 1])


def test_counts_that_are_no_whole_numbers_are_refused():
    with pytest.raises(ValueError, match=r"k is 1\.5, expected 1 to 3"):
        top_k_accuracy(np.eye(3), [0, 1, 2], k=1.5)
    with pytest.raises(ValueError, match=r"resamples is 10\.5, expected a whole number"):
        bootstrap_interval("accuracy", [0, 1], [0, 1], resamples=10.5)


def test_an_empty_test_set_is_told_from_one_sample():
    with pytest.raises(ValueError, match="there are no samples"):
        compare("accuracy", [], [], [])
    with pytest.raises(ValueError, match="there is 1 sample"):
        compare("accuracy", [1], [1], [1])
