"""JMT's pictures: what is drawn is what was given, in its place."""

import numpy as np
import pytest
import torch

from mmlib.plots import png_bytes
from mmlib.plots.directions import fold_dots, jmt_map, offset_profile, six_maps, trace_panels

PAIRS = [("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")]


def test_a_profile_is_the_mean_of_each_diagonal_answer_minus_question():
    weights = torch.zeros(11, 11)
    weights.diagonal(3).fill_(0.5)
    weights[7, 5] = 0.9
    offsets, heights = offset_profile(weights, 4)
    assert offsets.tolist() == list(range(-4, 5))
    assert heights[offsets == 3] == pytest.approx(0.5)
    assert heights[offsets == -2] == pytest.approx(0.9 / 9)
    assert np.count_nonzero(heights) == 2


def test_each_pair_stands_in_the_column_of_the_one_who_asks():
    maps = {pair: torch.full((5, 7), 0.1 * (i + 1)) for i, pair in enumerate(PAIRS)}
    figure = six_maps(maps, planted={("a", "b"): 2}, title="six")
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]  # row by row
    assert titles == [
        "a asks b, max 0.10", "b asks a, max 0.30", "c asks a, max 0.50",
        "a asks c, max 0.20", "b asks c, max 0.40", "c asks b, max 0.60",
    ]  # fmt: skip
    assert [len(ax.lines) for ax in figure.axes] == [1, 0, 0, 0, 0, 0]
    (line,) = figure.axes[0].lines
    assert (line.get_xdata() - line.get_ydata() == 2).all() and max(line.get_xdata()) == 6
    assert len(png_bytes(figure)) > 2000


def test_what_is_no_map_is_refused_by_name():
    with pytest.raises(ValueError, match=r"map of a and b has shape \(2, 5, 5\)"):
        six_maps({("a", "b"): torch.zeros(2, 5, 5)})
    with pytest.raises(ValueError, match="at least one map"):
        six_maps({})


def test_each_trace_is_drawn_over_what_was_felt():
    truth, guess = torch.randn(11, 2), torch.randn(11, 2)
    figure = trace_panels(truth, {"one": guess, "two": guess + 1}, ["valence", "arousal"])
    for place, ax in enumerate(figure.axes):
        lines = {line.get_label(): line.get_ydata() for line in ax.lines}
        assert np.allclose(lines["felt"], truth[:, place])
        assert np.allclose(lines["two"], guess[:, place] + 1)
    with pytest.raises(ValueError, match=r"one has shape \(7, 2\)"):
        trace_panels(truth, {"one": guess[:7]}, ["valence", "arousal"])
    with pytest.raises(ValueError, match="expected"):
        trace_panels(truth, {}, ["valence"])


def test_the_folds_stand_below_what_is_no_fold_and_the_interval_behind_them():
    rows = {"fold 1": [0.7, 0.5], "fold 2": [0.6, 0.8]}
    ax = fold_dots(rows, interval=(0.65, 0.55, 0.75), apart={"official": [0.9, 0.7]})
    assert [label.get_text() for label in ax.get_yticklabels()] == ["official", "fold 1", "fold 2"]
    assert [text.get_text() for text in ax.texts] == ["0.8000", "0.6000", "0.7000"]
    assert [text.get_text() for text in ax.get_legend().texts] == [
        "valence",
        "arousal",
        "their mean",
    ]
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((0.55, 0.75))
    with pytest.raises(ValueError, match="fold 2 has 1"):
        fold_dots({"fold 1": [0.7, 0.5], "fold 2": [0.6]}, interval=(0.6, 0.5, 0.7))
    with pytest.raises(ValueError, match="no fold"):
        fold_dots({}, interval=(0.6, 0.5, 0.7))


def test_the_graph_names_every_direction_once():
    words = " ".join(text.get_text() for text in jmt_map().texts)
    for one in "avj":
        for two in "avj":
            assert words.count(f"{one} ← {two}") == (one != two)
    assert "3072" in words and "1024 → 512" in words
