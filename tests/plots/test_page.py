"""A picture keeps its colours in few, is opaque, and can be read on a light and on a dark page."""

import base64
import io

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from mmlib import plots
from mmlib.plots import page


def test_up_to_256_colours_are_kept_exactly() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert (np.asarray(page.with_palette(colours, 256).convert("RGB")) == colours).all()


def test_one_pixel_of_red_among_many_greys_and_blues_stays_red() -> None:
    rng = np.random.default_rng(1)
    picture = np.stack([rng.integers(90, 110, (200, 300))] * 2 + [rng.integers(0, 256, (200, 300))])
    picture = np.moveaxis(picture, 0, -1).astype(np.uint8)
    picture[120, 210] = (176, 0, 32)
    kept = np.asarray(page.with_palette(picture, 64).convert("RGB")).astype(int)
    assert np.abs(kept[120, 210] - [176, 0, 32]).max() <= 12
    assert np.abs(kept - picture).mean() < 4


def test_the_most_frequent_colours_are_exact_however_many_there_are() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    noise[:50] = 255
    noise[50:55] = (1, 2, 3)
    kept = np.asarray(page.with_palette(noise, 32).convert("RGB"))
    assert (kept[:50] == 255).all() and (kept[50:55] == (1, 2, 3)).all()


def test_the_nearest_colour_is_the_nearest() -> None:
    rng = np.random.default_rng(3)
    colours, palette = (rng.integers(0, 256, (n, 3), dtype=np.uint8) for n in (5000, 17))
    distances = ((colours[:, None].astype(int) - palette.astype(int)) ** 2).sum(-1)
    chosen = page.nearest_colours(colours, palette)
    assert (distances[np.arange(5000), chosen] == distances.min(1)).all()


def test_a_shown_figure_is_opaque_and_has_a_margin_of_its_own_ground(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[dict] = []
    monkeypatch.setattr(page, "display", lambda data, **_: shown.append(data))
    monkeypatch.setenv("MMLIB_STATIC", "1")
    figure = Figure(figsize=(2, 1), facecolor="#102030")
    figure.text(0.5, 0.5, "words", color="white")
    plots.show_figure(figure, alt="a dark frame")
    picture = Image.open(io.BytesIO(base64.b64decode(shown[0]["image/png"])))
    assert "transparency" not in picture.info and picture.mode == "P"
    assert picture.size == (200 + 2 * page.MARGIN, 100 + 2 * page.MARGIN)
    pixels = np.asarray(picture.convert("RGB"))
    assert (pixels[: page.MARGIN] == (0x10, 0x20, 0x30)).all()
    assert (pixels[:, -page.MARGIN :] == (0x10, 0x20, 0x30)).all() and pixels.max() == 255


def test_a_dark_style_of_the_notebook_does_not_darken_the_courses_figures() -> None:
    with plt.style.context("dark_background"):
        pixels = page.pixels(plots.png_bytes(plots.bars_with_seeds({"text": [0.5]}).figure))
    assert (pixels[0, 0] == 255).all() and (pixels.min(-1) < 80).any()
