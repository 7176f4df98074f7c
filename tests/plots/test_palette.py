"""The palette is told apart by people of any colour vision, and text is read on any shade."""

import itertools

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from mmlib.plots import looks
from mmlib.plots.looks import CEILING, LOOKS, OTHERS

# Machado, Oliveira and Fernandes (2009): complete loss of one kind of cone, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(color: str) -> np.ndarray:
    channels = np.array(to_rgb(color))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB, in which distances are what one sees."""
    ratio = (TO_XYZ @ rgb) / (TO_XYZ @ np.ones(3))
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def seen(color: str, vision: str) -> np.ndarray:
    return lab(np.clip(VISION[vision] @ linear(color), 0, 1))


@pytest.mark.parametrize("vision", VISION)
def test_any_two_colours_differ_for_every_kind_of_colour_vision(vision: str) -> None:
    colors = [each.color for each in (*LOOKS.values(), *OTHERS)]
    nearest = min(
        (float(np.linalg.norm(seen(one, vision) - seen(other, vision))), one, other)
        for one, other in itertools.combinations(colors, 2)
    )
    assert nearest[0] > 15, nearest  # 2.3 is just noticeable


def test_the_simulation_knows_red_from_green_only_with_all_cones() -> None:
    red, green = "#C03A00", "#4F6A00"  # alike for those without one kind of cone
    apart = {v: np.linalg.norm(seen(red, v) - seen(green, v)) for v in VISION}
    assert apart["deuteranopia"] < 15 and apart["normal"] > 60


def test_every_look_differs_in_marker_hatch_and_colour() -> None:
    every = [*LOOKS.values(), *OTHERS]
    for part in ("color", "marker", "hatch"):
        assert len({getattr(each, part) for each in every}) == len(every)


@pytest.mark.parametrize("count", [1, 4, 6, 8, 17])
def test_things_drawn_together_look_different(count: int) -> None:
    given = looks.distinct_looks([f"model {i}" for i in range(count)])
    assert len({(each.color, each.marker) for each in given}) == count


def test_modalities_keep_their_look_beside_others() -> None:
    names = ["late", "audio", "early", "text+audio", "text+vision", "text"]
    given = dict(zip(names, looks.distinct_looks(names), strict=True))
    assert given["audio"] == LOOKS["audio"] and given["text"] == LOOKS["text"]
    assert given["text+audio"] == LOOKS["fusion"] != given["text+vision"]
    assert len(set(given.values())) == len(names)


def test_contrast_is_that_of_the_web_guidelines() -> None:
    assert looks.contrast("white", "black") == pytest.approx(21)
    assert looks.contrast("#777777", "white") == pytest.approx(4.48, abs=0.005)
    assert looks.contrast("#FF0000", "white") == pytest.approx(4.00, abs=0.005)
    assert looks.contrast("white", "#0000FF") == pytest.approx(8.59, abs=0.005)


@pytest.mark.parametrize("shade", np.linspace(0, 1, 41))
def test_ink_is_readable_on_every_shade_of_a_map(shade: float) -> None:
    background = colormaps["Greys"](shade)[:3]
    assert looks.contrast(looks.ink(background), background) >= 4.5


def test_coloured_words_are_readable_on_the_page() -> None:
    for color in (CEILING, "#4D4D4D"):
        assert looks.contrast(color, "white") >= 4.5
