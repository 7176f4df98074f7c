"""Bars stand as high as the numbers, and say what could be reached, how sure it is, how many."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmlib.metrics import Interval, seed_spread
from mmlib.plots import (
    bars_with_intervals,
    bars_with_seeds,
    label_histogram,
    per_class_bars,
    png_bytes,
)
from mmlib.plots.page import pixels

SPANS = {"early": (0.5, 0.25, 0.625), "late": Interval(0.7, 0.65, 0.72, 0.9)}


def texts(ax) -> set[str]:
    return {text.get_text() for text in ax.texts}


def ticks(ax) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def test_an_interval_is_drawn_from_its_low_to_its_high_end() -> None:
    ax = bars_with_intervals(SPANS, ceilings={"late": 0.8}, chance=0.125)
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.7]
    whiskers = [lines.get_segments()[0].tolist() for lines in ax.collections]
    assert whiskers == [[[0, 0.25], [0, 0.625]], [[1, 0.65], [1, 0.72]]]
    expected = {"0.500\n[0.250, 0.625]", "0.700\n[0.650, 0.720]", "ceiling 0.800", "chance"}
    assert texts(ax) == expected
    assert ticks(ax) == ["early", "late"]


def test_a_spread_over_seeds_is_drawn_by_its_interval_and_not_by_its_deviation() -> None:
    ax = bars_with_intervals({"gated": seed_spread([0.5, 0.6, 0.7])})
    [whisker] = ax.collections
    (_, low), (_, high) = whisker.get_segments()[0]
    assert low < 0.5 and high > 0.7 and low + high == pytest.approx(1.2)


def test_the_axis_says_how_sure_the_intervals_are_where_all_say_the_same() -> None:
    assert bars_with_intervals(SPANS).get_ylabel() == "accuracy"
    ax = bars_with_intervals({"late": SPANS["late"]}, ylabel="macro F1")
    assert ax.get_ylabel() == "macro F1 (90% intervals)"


def test_a_ceiling_is_written_above_an_interval_that_reaches_over_it() -> None:
    ax = bars_with_intervals(SPANS, ceilings={"early": 0.55, "late": 0.8})
    heights = {note.get_text(): note.xy[1] for note in ax.texts}
    assert heights["ceiling 0.550"] == 0.625 and heights["ceiling 0.800"] == 0.8


def test_a_number_stands_above_what_reaches_below_zero() -> None:
    ax = bars_with_intervals({"valence": (-0.05, -0.2, 0.1), "arousal": (0.4, 0.2, 0.5)})
    low, high = ax.texts
    assert low.get_text().startswith("−0.050") and low.xy[1] == 0.1
    assert high.xy[1] == 0


def test_narrow_bars_show_the_number_without_the_interval() -> None:
    panel = Figure(figsize=(8, 6)).subplots(2, 2)[0, 0]
    ax = bars_with_intervals({f"model {i}": (0.5, 0.4, 0.6) for i in range(6)}, ax=panel)
    assert texts(ax) == {"0.500"}


def test_a_ceiling_for_all_is_one_line_named_beside_the_panel() -> None:
    for draw, scores in ((bars_with_intervals, SPANS), (bars_with_seeds, {"early": [0.5, 0.6]})):
        ax = draw(scores, ceilings=0.875)
        assert any(set(line.get_ydata()) == {0.875} for line in ax.lines)
        [name] = [text for text in ax.texts if text.get_text() == "ceiling\n0.875"]
        ax.figure.draw_without_rendering()
        assert name.get_window_extent().x0 > ax.bbox.x1


def test_a_thin_ceiling_stays_red_in_the_picture() -> None:
    picture = pixels(png_bytes(bars_with_seeds(SPANS, ceilings=0.875).figure))
    red = (np.abs(picture.astype(int) - [0xB0, 0x00, 0x20]) <= 8).all(-1)
    assert red.sum(1).max() > picture.shape[1] / 3


def test_models_of_one_figure_differ_in_hatch_and_colour() -> None:
    ax = bars_with_seeds({f"model {i}": [0.5] for i in range(8)})
    assert len({bar.get_hatch() for bar in ax.patches}) == 8
    assert len({bar.get_edgecolor() for bar in ax.patches}) == 8


def test_long_names_are_broken_and_longer_ones_slanted() -> None:
    broken = bars_with_seeds({"CA-MMAAET without cross-attention": [0.5], "full": [0.6]})
    assert "\n" in ticks(broken)[0] and ticks(broken)[1] == "full"
    panel = Figure(figsize=(8, 6)).subplots(2, 2)[0, 0]
    slanted = bars_with_seeds({f"classification{i}": [0.5] for i in range(7)}, ax=panel)
    assert ticks(slanted)[3] == "classification3"
    assert {label.get_rotation() for label in slanted.get_xticklabels()} == {35}


@pytest.mark.parametrize("draw", [bars_with_intervals, bars_with_seeds])
@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({}, "the dict is empty"),
        ([0.5, 0.6], "a dict from names .* but got list"),
        ({"early": [0.5, float("nan"), 0.6]}, "'early'.*(NaN or infinite|not finite)"),
        ({"early": "good"}, "'early'"),
    ],
)
def test_bars_say_what_does_not_fit(draw, scores, words) -> None:
    with pytest.raises(ValueError, match=words):
        draw(scores)


def test_an_interval_in_the_wrong_order_is_refused() -> None:
    with pytest.raises(ValueError, match=r"begins at 0.6 and ends at 0.4; the order is \(value"):
        bars_with_intervals({"early": (0.5, 0.6, 0.4)})
    with pytest.raises(ValueError, match=r"give \(value, low, high\)"):
        bars_with_intervals({"early": (0.5, 0.6)})


def test_labels_are_counted_for_each_class_of_each_split() -> None:
    labels = torch.tensor([0, 0, 2, 2, 2, 0, 2])
    split = np.array(["train", "train", "train", "train", "train", "test", "valid"])
    ax = label_histogram(labels, ["happy", "sad", "angry"], split=split)
    groups = [[bar.get_height() for bar in bars] for bars in ax.containers]
    assert groups == [[2, 0, 3], [0, 0, 1], [1, 0, 0]]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["train", "valid", "test"]
    assert [text.get_text() for text in ax.texts] == list("203001100")
    places = [bars[1].get_x() + bars[1].get_width() / 2 for bars in ax.containers]
    assert places == sorted(places) and np.mean(places) == pytest.approx(1)


def test_without_a_split_labels_are_counted_together() -> None:
    ax = label_histogram([1, 1, 0], ["happy", "sad"])
    assert [bar.get_height() for bar in ax.patches] == [1, 2] and ax.get_legend() is None


@pytest.mark.parametrize(
    ("labels", "split", "words"),
    [
        ([0, 3], None, "class 3 has no name; 2 names"),
        ([0, -1], None, "class -1 has no name"),
        ([0, 0.5], None, "0.5 is not a class"),
        ([[0.2, 0.8]], None, r"logits become classes by .argmax"),
        ([], None, "nothing to draw"),
        ([0, 1, 1], ["train", "test"], r"3 labels, but split has shape \(2,\)"),
    ],
)
def test_a_histogram_says_what_does_not_fit(labels, split, words) -> None:
    with pytest.raises(ValueError, match=words):
        label_histogram(labels, ["happy", "sad"], split=split)


def test_each_class_has_its_scores_and_its_support() -> None:
    report = {
        "precision": torch.tensor([0.5, 0.75]),
        "recall": torch.tensor([0.25, 1.0]),
        "f1": torch.tensor([0.3, 0.9]),
        "support": torch.tensor([7.0, 11.0]),
    }
    ax = per_class_bars(report, ["happy", "sad"])
    groups = [[bar.get_height() for bar in bars] for bars in ax.containers]
    assert groups == [[0.5, 0.75], [0.25, 1.0], pytest.approx([0.3, 0.9])]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["precision", "recall", "f1"]
    assert ticks(ax) == ["happy (7)", "sad (11)"]
    assert ax.get_ylim()[1] > 1.05


def test_a_report_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no 'recall'; it has precision"):
        per_class_bars({"precision": [1.0]}, ["happy"])
    with pytest.raises(ValueError, match=r"precision has shape \(1,\) for 2 names"):
        per_class_bars({"precision": [1.0]}, ["happy", "sad"])


def test_numbers_on_narrow_bars_stand_upright_or_not_at_all() -> None:
    wide = label_histogram([0, 1, 1], ["happy", "sad"])
    assert {text.get_rotation() for text in wide.texts} == {0}
    names = [f"class {i}" for i in range(8)]
    labels, split = np.arange(800) % 8, np.arange(800) // 8 % 3
    middle = label_histogram(labels, names, split=split, ax=Figure(figsize=(4.5, 3)).subplots())
    assert {text.get_rotation() for text in middle.texts} == {90}
    narrow = label_histogram(labels, names, split=split, ax=Figure(figsize=(3, 2)).subplots())
    assert not narrow.texts
