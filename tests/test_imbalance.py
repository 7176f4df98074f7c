"""The imbalance slider of lesson 01: its numbers are exact, and its picture shows them."""

import numpy as np
import pytest
import torch
from ipywidgets import FloatSlider
from matplotlib.colors import to_rgba

from mmlib import plots, widgets
from mmlib.metrics import classification_report
from mmlib.plots.imbalance import (
    MODELS,
    NAMES,
    draw_imbalance,
    expected_scores,
    joint_table,
    metric_bars,
    mosaic,
)
from mmlib.plots.looks import LOOKS

SHARES = (0.5, 0.3, 0.2)


@pytest.mark.parametrize("skill", [None, 0.4, 1.0])
def test_expected_scores_are_those_of_clips_in_these_proportions(skill: float | None) -> None:
    table = joint_table(SHARES, skill)
    counts = np.rint(1000 * table).astype(int)
    assert np.allclose(counts, 1000 * table)  # so that the clips are whole
    pairs = [(row, column) for (row, column), n in np.ndenumerate(counts) for _ in range(n)]
    truth, said = torch.tensor(pairs).T
    report = classification_report(said, truth, num_classes=3)
    for name, score in expected_scores(table).items():
        assert score == pytest.approx(report[name.lower().replace(" ", "_")])


def test_the_majority_model_scores_by_closed_forms() -> None:
    s, classes = 0.6, 5
    scores = expected_scores(joint_table((s, *[0.1] * 4), None))
    assert scores["accuracy"] == pytest.approx(s)
    assert scores["balanced accuracy"] == pytest.approx(1 / classes)
    assert scores["macro F1"] == pytest.approx(2 * s / (1 + s) / classes)
    assert scores["weighted F1"] == pytest.approx(2 * s**2 / (1 + s))


def test_the_fair_model_finds_each_class_as_often_whatever_the_mixture() -> None:
    for shares in (SHARES, (0.2, 0.2, 0.6), (0.98, 0.01, 0.01)):
        table = joint_table(shares, 0.7)
        assert table.sum() == pytest.approx(1)
        assert table.diagonal() / table.sum(1) == pytest.approx([0.7] * 3)
        scores = expected_scores(table)
        assert scores["accuracy"] == pytest.approx(scores["balanced accuracy"])


def test_of_classes_equally_large_the_majority_model_names_the_first() -> None:
    shares = (1 - 6 * (6 / 7 / 6), *[6 / 7 / 6] * 6)  # equal up to the last bit
    assert joint_table(shares, None)[:, 0].sum() == pytest.approx(1)


def test_the_filled_area_is_the_accuracy_and_the_mean_width_the_balanced_accuracy() -> None:
    table = np.array([[11.0, 2, 3], [1, 5, 7], [2, 0, 1]])
    ax = mosaic(table, ("one", "two", "three"))
    filled = [p for p in ax.patches if p.get_facecolor() == to_rgba(LOOKS["fusion"].color)]
    scores = expected_scores(table)
    area = sum(patch.get_width() * patch.get_height() for patch in filled)
    assert area == pytest.approx(scores["accuracy"])
    width = np.mean([patch.get_width() for patch in filled])
    assert width == pytest.approx(scores["balanced accuracy"])


def test_the_parts_of_a_mosaic_cover_it_without_a_gap() -> None:
    ax = mosaic(joint_table(SHARES, 0.4), ("one", "two", "three"))
    area = sum(patch.get_width() * patch.get_height() for patch in ax.patches)
    assert area == pytest.approx(1)
    heights = sorted({patch.get_height() for patch in ax.patches}, reverse=True)
    assert heights == pytest.approx(SHARES)


def test_names_of_flat_rows_keep_apart_or_are_left_out() -> None:
    def named(shares: tuple[float, ...]) -> dict[str, float]:
        ax = mosaic(joint_table(shares, 0.4), tuple("abcde"))
        return {text.get_text(): text.get_position()[1] for text in ax.texts}

    flat = named((0.5, 0.02, 0.02, 0.02, 0.44))
    assert list(flat) == list("abcde")
    assert np.diff(list(flat.values())).min() >= 0.045 - 1e-9
    assert list(named((0.96, 0.01, 0.01, 0.01, 0.01))) == ["a"]


def test_each_bar_says_its_score() -> None:
    scores = {
        "majority": {"accuracy": 0.25, "macro F1": 0.5},
        "fair": {"accuracy": 1.0, "macro F1": 0.0},
    }
    ax = metric_bars(scores, MODELS)
    assert [patch.get_height() for patch in ax.patches] == [0.25, 0.5, 1.0, 0.0]
    assert [text.get_text() for text in ax.texts] == ["0.25", "0.50", "1.00", "0.00"]
    assert len({patch.get_hatch() for patch in ax.patches}) == 2  # not by colour alone


def test_the_slider_moves_the_picture_and_its_words() -> None:
    explorer = widgets.explore(
        draw_imbalance,
        share=FloatSlider(value=0.47, min=0.15, max=0.95, step=0.01),
        skill=FloatSlider(value=0.4, min=0.15, max=1.0, step=0.05),
    )
    first, picture = explorer.alt, explorer.output.value
    assert "majority model has accuracy 0.47, balanced accuracy 0.14" in first
    explorer.controls["share"].value = 0.9
    assert "majority model has accuracy 0.90, balanced accuracy 0.14" in explorer.alt
    assert explorer.output.value != picture
    explorer.controls["skill"].value = 1.0
    assert "fair model has accuracy 1.00, balanced accuracy 1.00" in explorer.alt


def test_the_still_twin_tells_every_setting() -> None:
    settings = [{"share": share, "skill": 0.4} for share in (0.15, 0.9)]
    sheet = widgets.small_multiples(draw_imbalance, settings, columns=1)
    assert "With 15% of the clips" in sheet.alt and "With 90% of the clips" in sheet.alt
    tile = plots.page.pixels(plots.png_bytes(draw_imbalance(0.9, 0.4)[0]))
    assert plots.page.pixels(plots.png_bytes(sheet.figure)).shape[0] == 2 * tile.shape[0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: joint_table((0.5, 0.4), None), "no distribution"),
        (lambda: joint_table((1.0,), None), "two or more"),
        (lambda: joint_table((1.5, -0.5), 0.5), "none negative"),
        (lambda: joint_table((0.5, 0.5), 1.5), "between 0 and 1"),
        (lambda: draw_imbalance(share=0.1), "from 1/7"),
        (lambda: draw_imbalance(share=1.0), "from 1/7"),
        (lambda: mosaic(np.eye(3), NAMES), "7 names for a table of shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
