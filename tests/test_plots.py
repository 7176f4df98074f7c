"""Figures are drawn as asked, described in words, and the same to the byte."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from mmlib import plots
from mmlib.data import theatre
from mmlib.data.theatre.emotions import EMOTIONS
from mmlib.plots import page, stage


@pytest.fixture(scope="module")
def clips() -> theatre.Clips:
    return theatre.make("masks", n=5, seed=3)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, dict]]:
    """What is displayed, as pairs of MIME bundle and metadata."""
    outputs: list[tuple[dict, dict]] = []

    def record(data: dict, metadata: dict | None = None, raw: bool = False) -> None:
        assert raw
        outputs.append((data, metadata or {}))

    monkeypatch.setattr(page, "display", record)
    monkeypatch.setattr(stage, "display", record)
    return outputs


def test_a_combination_of_modalities_looks_like_fusion() -> None:
    assert plots.look("text+audio") == plots.look("fusion") != plots.look("text")


def test_a_figure_gives_the_same_bytes_twice_and_no_date() -> None:
    first, second = (plots.png_bytes(plots.attention_map(torch.eye(3, 5)).figure) for _ in "ab")
    assert first == second
    assert b"Software" not in first and b"Date" not in first


def test_an_attention_map_names_its_rows_and_columns() -> None:
    ax = plots.attention_map(torch.eye(2, 3), queries=["who", "asks"], keys=["a", "b", "c"])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["who", "asks"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    assert {text.get_text() for text in ax.texts} == {"1.00", "0.00"}


def test_a_planted_moment_is_outlined_along_its_border_only() -> None:
    planted = np.zeros((4, 7), dtype=bool)
    planted[1, 2:5] = True
    ax = plots.attention_map(torch.rand(4, 7), planted=planted)
    edges = {tuple(map(tuple, line)) for line in ax.collections[0].get_segments()}
    assert len(edges) == 2 * 3 + 2
    assert ((1.5, 0.5), (2.5, 0.5)) in edges and ((4.5, 0.5), (4.5, 1.5)) in edges
    assert ((2.5, 0.5), (2.5, 1.5)) not in edges


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": torch.rand(2, 3, 5)}, "choose one sample and one head"),
        ({"weights": torch.rand(3, 5), "keys": ["a"]}, "1 labels for 5 keys"),
        ({"weights": torch.rand(3, 5), "planted": np.ones((5, 3), bool)}, "must agree"),
    ],
)
def test_an_attention_map_refuses_what_does_not_fit(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plots.attention_map(**arguments)


def test_bars_show_every_seed_and_each_ceiling() -> None:
    scores = {"text": [0.4, 0.5], "text+audio": [0.6, 0.7, 0.8]}
    ax = plots.bars_with_seeds(scores, ceilings={"text": 0.55, "text+audio": 0.9}, chance=0.125)
    assert [len(dots.get_offsets()) for dots in ax.collections] == [2, 3]
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.45, 0.7])
    written = [text.get_text() for text in ax.texts]
    assert {"0.450", "0.700", "ceiling 0.550", "ceiling 0.900", "chance"} <= set(written)


def test_training_curves_draw_the_column_asked_for() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "valid_accuracy": [0.2, 0.5, 0.7]})
    ax = plots.training_curves({"text": history, "audio": history}, ceiling=0.8)
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[0.2, 0.5, 0.7]] * 2
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()
    with pytest.raises(ValueError, match="no column 'loss'; it has epoch, valid_accuracy"):
        plots.training_curves(history, column="loss")


def test_panels_are_drawn_on_the_axes_given() -> None:
    figure, axes = plt.subplots(1, 2)
    assert plots.attention_map(torch.eye(2), ax=axes[0]) is axes[0]
    assert plots.bars_with_seeds({"text": [0.5]}, ax=axes[1]) is axes[1]
    plt.close(figure)


def test_drawing_leaves_the_notebooks_own_style_alone() -> None:
    before = dict(plt.rcParams)
    plots.bars_with_seeds({"text": [0.5]})
    assert dict(plt.rcParams) == before


def test_a_live_figure_carries_its_alt_text_in_the_image_element(
    shown: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMLIB_STATIC", raising=False)
    figure, _ = plt.subplots()
    plots.show_figure(figure, alt='accuracy "grows" & stays < 1')
    [(data, _)] = shown
    assert 'alt="accuracy &quot;grows&quot; &amp; stays &lt; 1"' in data["text/html"]
    assert data["text/plain"] == 'accuracy "grows" & stays < 1'
    assert not plt.fignum_exists(figure.number)


def test_a_stored_figure_carries_its_alt_text_in_the_metadata(
    shown: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMLIB_STATIC", "1")
    plots.show_figure(plots.attention_map(torch.eye(2)).figure, alt="a diagonal")
    [(data, metadata)] = shown
    assert metadata == {"image/png": {"alt": "a diagonal"}}
    assert "text/html" not in data
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width <= 1000


def test_a_figure_without_alt_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no alt text"):
        plots.show_figure(plots.attention_map(torch.eye(2)).figure, alt=" ")


def test_the_gallery_shows_every_actor_in_every_emotion() -> None:
    figure = plots.gallery(actors=(0, 5), size=24)
    pictures = [ax.images[0].get_array() for ax in figure.axes]
    assert len(pictures) == 2 * 8
    assert len({picture.tobytes() for picture in pictures}) == 16


def test_the_filmstrip_says_what_is_felt_and_what_each_channel_shows(clips: theatre.Clips) -> None:
    figure = plots.filmstrip(clips, 2, frames=4)
    caption = figure.get_supxlabel()
    assert f"felt: {EMOTIONS[int(clips.felt[2])]}" in caption
    for channel, modality in (("words", "text"), ("voice", "audio"), ("face", "vision")):
        assert f"{channel} {EMOTIONS[int(clips.displays[modality][2])]}" in caption
    assert clips.sentences[2] in figure.get_suptitle()


def test_a_filmstrip_names_only_the_channels_that_the_script_is_about() -> None:
    caption = plots.filmstrip(theatre.make("spotlight", n=3, seed=2), 1, frames=3).get_supxlabel()
    assert "words" in caption and "face" in caption and "voice" not in caption


def test_a_trace_is_drawn_without_a_sentence() -> None:
    figure = plots.filmstrip(theatre.make("jmt", n=2, seed=1), 0, frames=3)
    assert figure.get_suptitle() == "" and "valence" in figure.get_supxlabel()


def test_the_masks_of_a_script_are_drawn_as_tables_whose_rows_sum_to_one() -> None:
    figure = plots.confusions(theatre.PRESETS["masks"])
    tables = [ax.images[0].get_array() for ax in figure.axes]
    assert len(tables) == 3
    assert all(np.allclose(table.sum(1), 1) for table in tables)


def test_playing_a_clip_gives_a_moving_picture_and_a_sound_within_300_kb(
    clips: theatre.Clips, shown: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMLIB_STATIC", "1")
    plots.play(clips, 1)
    picture, sound = shown
    png = base64.b64decode(picture[0]["image/png"])
    assert len(png) < 300_000
    assert Image.open(io.BytesIO(png)).n_frames > 4
    assert clips.sentences[1] in picture[1]["image/png"]["alt"]
    assert "audio/wav" in sound[0]["text/html"] and "aria-label" in sound[0]["text/html"]


def test_an_animation_that_is_too_large_is_refused() -> None:
    # Noise does not get smaller by compression; grey noise has a palette without a search for one.
    grey = np.random.default_rng(0).integers(0, 255, (10, 200, 200, 1), dtype=np.uint8)
    noise = grey.repeat(3, axis=3)
    with pytest.raises(ValueError, match="show fewer frames or a smaller size"):
        page.animated_png(noise, seconds=1.0)


def test_a_sound_keeps_its_samples() -> None:
    wave = torch.tensor([0.0, 0.5, -1.0])
    element = page.audio_html(wave, 8000, "a test")
    data = base64.b64decode(element.split("base64,")[1].split('"')[0])
    samples = np.frombuffer(data[44:], "<i2") / 32767
    assert samples == pytest.approx([0.0, 0.4, -0.8], abs=1e-4)
