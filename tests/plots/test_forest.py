"""Paired comparisons stand against zero, and say whether it is left out."""

import pytest
from matplotlib.colors import to_hex

from mmlib.metrics import Comparison
from mmlib.plots import differences

ROWS = {
    "gated − early": Comparison(0.031, -0.002, 0.064, 0.06, 0.95),
    "tensor − early": Comparison(0.08, 0.04, 0.12, 0.0004, 0.95),
    "late − early": (-0.03, -0.05, -0.01),
}


def test_each_row_shows_its_interval_and_its_numbers() -> None:
    ax = differences(ROWS)
    bars = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "|"]
    assert bars == [[-0.002, 0.064], [0.04, 0.12], [-0.05, -0.01]]
    points = [line for line in ax.lines if line.get_marker() == "D"]
    assert [(p.get_xdata()[0], p.get_ydata()[0]) for p in points] == [
        (0.031, 0),
        (0.08, 1),
        (-0.03, 2),
    ]
    assert [text.get_text() for text in ax.texts] == [
        "+0.031 [−0.002, +0.064]  p = 0.060",
        "+0.080 [+0.040, +0.120]  p < 0.001",
        "−0.030 [−0.050, −0.010]",
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(ROWS)


def test_a_point_is_open_where_the_interval_holds_zero() -> None:
    points = [line for line in differences(ROWS).lines if line.get_marker() == "D"]
    is_open = [to_hex(point.get_markerfacecolor()) == "#ffffff" for point in points]
    assert is_open == [True, False, False]


def test_zero_stands_in_the_middle_and_the_first_row_on_top() -> None:
    ax = differences(ROWS)
    left, right = ax.get_xlim()
    assert left == -right and right > 0.12
    bottom, top = ax.get_ylim()
    assert bottom > 2 and top < 0
    assert any(list(line.get_xdata()) == [0, 0] for line in ax.lines)


def test_equal_systems_are_drawn_at_zero() -> None:
    ax = differences({"a − a": (0.0, 0.0, 0.0)})
    assert ax.get_xlim() == (-1, 1) and ax.texts[0].get_text() == "+0.000 [+0.000, +0.000]"


def test_the_axis_says_how_sure_the_intervals_are_where_all_say_the_same() -> None:
    assert differences(ROWS).get_xlabel() == "difference in accuracy"
    same = differences({"late − early": Comparison(0.1, 0.0, 0.2, 0.05, 0.9)}, xlabel="F1")
    assert same.get_xlabel() == "F1 (90% intervals)"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({}, "the dict is empty; write .*compare"),
        ({"a − b": 0.5}, r"'a − b' is 0.5; give \(value, low, high\)"),
        ({"a − b": (float("nan"), 0.0, 0.1)}, "not finite"),
    ],
)
def test_what_is_no_comparison_is_refused(rows, words) -> None:
    with pytest.raises(ValueError, match=words):
        differences(rows)
