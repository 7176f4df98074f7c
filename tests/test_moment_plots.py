"""Figures that set where a model looked against what was planted."""

import pytest
import torch

from mmlib.data import theatre
from mmlib.plots import png_bytes
from mmlib.plots.moments import lag_map, moment_strip, offset_lines


def test_a_strip_has_a_panel_a_frame_and_says_how_much_weight_is_in_the_moment():
    clips = theatre.make("spotlight", n=5, seed=1)
    weights = torch.where(clips.moment_frames[2], 0.2, 0.4 / 9)
    figure = moment_strip(clips, 2, {"one seed": weights}, size=32)
    assert len(figure.axes) == 12 + 1
    assert figure.axes[-1].get_title(loc="left") == "one seed: 0.60 of the weight in the moment"
    assert png_bytes(figure) == png_bytes(moment_strip(clips, 2, {"one seed": weights}, size=32))


def test_a_strip_outlines_the_planted_frames():
    clips = theatre.make("beat", n=5, seed=1)
    figure = moment_strip(clips, 3, size=32)
    outlined = [ax.spines["top"].get_visible() for ax in figure.axes]
    assert outlined == clips.moment_frames[3].tolist()
    notes = [ax.get_xlabel().split("\n")[-1] for ax in figure.axes]
    assert notes.index("beat") == int(12 * clips.beat[3])


def test_clips_without_a_planted_moment_are_refused():
    with pytest.raises(ValueError, match="no planted moment"):
        moment_strip(theatre.make("masks", n=2), 0)


def test_each_seed_has_its_own_line_and_the_lag_is_marked():
    ax = offset_lines(torch.arange(-2, 3), {"a": torch.rand(5), "b": torch.rand(5)}, planted=1)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["planted lag 1", "a", "b"]
    one, other = ax.lines[1], ax.lines[2]
    assert one.get_marker() != other.get_marker()


def test_the_bar_of_an_offset_is_the_mean_of_its_diagonal():
    maps = torch.rand(3, 6, 8)
    figure = lag_map(maps, lag=2, max_lag=3)
    bars = [bar.get_height() for bar in figure.axes[1].patches]
    expected = [maps.mean(0).diagonal(k).mean().item() for k in range(-3, 4)]
    torch.testing.assert_close(torch.tensor(bars).float(), torch.tensor(expected))
    assert [bar.get_hatch() for bar in figure.axes[1].patches].index("//") == 5
