"""Confusion maps say shares and counts in every cell, readable at any size."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmlib.metrics import confusion_matrix
from mmlib.plots import attention_map, confusion_map
from mmlib.plots.looks import contrast

COUNTS = [[6, 2, 0], [0, 0, 0], [1, 1, 2]]
NAMES = ["happy", "sad", "angry"]
EIGHT = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


def cells(ax) -> dict[tuple[int, int], str]:
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in ax.texts}


def test_each_cell_says_its_share_of_the_true_class_and_its_count() -> None:
    said = cells(confusion_map(COUNTS, NAMES))
    assert said[0, 0] == "75%\n(6)" and said[0, 1] == "25%\n(2)" and said[2, 0] == "25%\n(1)"
    assert len(said) == 9


def test_rows_are_true_classes_and_say_how_many_there_are() -> None:
    target, prediction = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1])
    ax = confusion_map(confusion_matrix(prediction, target, 2), ["happy", "sad"])
    assert cells(ax)[0, 1] == "67%\n(2)" and cells(ax)[1, 0] == "0%\n(0)"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["happy (3)", "sad (1)"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["happy", "sad"]
    assert ax.get_ylabel().startswith("true class") and ax.get_xlabel() == "predicted class"


def test_a_class_that_never_occurs_has_no_shares_and_a_hatched_row() -> None:
    ax = confusion_map(COUNTS, NAMES)
    assert [cells(ax)[1, column] for column in range(3)] == ["–\n(0)"] * 3
    [hatched] = [patch for patch in ax.patches if patch.get_hatch()]
    assert hatched.get_xy() == (-0.5, 0.5) and hatched.get_width() == 3
    assert np.isfinite(ax.images[0].get_array()).all()


def test_the_shade_is_the_share_and_the_diagonal_is_framed() -> None:
    ax = confusion_map(COUNTS, NAMES)
    assert ax.images[0].get_array().tolist() == [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0.25, 0.5]]
    frames = [patch.get_xy() for patch in ax.patches if not patch.get_hatch()]
    assert frames == [(place - 0.5, place - 0.5) for place in range(3)]


@pytest.mark.parametrize("draw", [lambda m: confusion_map(m, EIGHT), attention_map])
def test_every_cell_is_readable_on_its_shade(draw) -> None:
    counts = np.add.outer(np.arange(8), np.arange(8) ** 2) + 2000 * np.eye(8, dtype=int)
    ax = draw(counts if draw is not attention_map else np.linspace(0, 1, 64).reshape(8, 8))
    image = ax.images[0]
    shares = image.get_array()
    assert len(ax.texts) == 64 and {text.get_color() for text in ax.texts} == {"black", "white"}
    for text in ax.texts:
        column, row = map(int, text.get_position())
        assert contrast(text.get_color(), image.to_rgba(shares[row, column])[:3]) >= 4.5


@pytest.mark.parametrize("count", [2, 5, 8])
@pytest.mark.parametrize("small", [False, True])
def test_the_words_of_a_cell_fit_into_it(count: int, small: bool) -> None:
    panel = Figure(figsize=(10, 8), layout="constrained").subplots(2, 2)[0, 0] if small else None
    ax = confusion_map(np.full((count, count), 100), EIGHT[:count], ax=panel)
    ax.figure.draw_without_rendering()
    width, height = ax.bbox.width / count, ax.bbox.height / count
    for text in ax.texts:
        box = text.get_window_extent()
        assert box.width < width and box.height < height
        assert text.get_fontsize() >= 5


@pytest.mark.parametrize(
    ("counts", "names", "words"),
    [
        ([[1, 2, 3]], NAMES, r"draws counts \(C, C\), but got shape \(1, 3\)"),
        ([[1, 0], [0, 1]], NAMES, "3 names for 2 classes"),
        ([[0.75, 0.25], [0, 1]], NAMES[:2], "got 0.75; give whole numbers, not shares"),
        ([[3, -1], [0, 1]], NAMES[:2], "got -1"),
        ([[3, float("nan")], [0, 1]], NAMES[:2], "1 of 4 numbers are NaN"),
        ([], [], "nothing to draw"),
        ([[1, 2], [3]], NAMES[:2], "all rows equally long"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(counts, names, words) -> None:
    with pytest.raises(ValueError, match=words):
        confusion_map(counts, names)
