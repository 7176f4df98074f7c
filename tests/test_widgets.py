"""A control's change reaches the picture, without a browser."""

import asyncio

import ipywidgets
import pytest
import torch
import traitlets
from matplotlib.figure import Figure

from mmlib import plots, widgets


def draw(lag: int = 0, head: str = "one", sharp: bool = True) -> tuple[Figure, str]:
    weights = torch.eye(3, 5).roll(lag, dims=1) / (1 if sharp else 2)
    return plots.attention_map(weights, title=head).figure, f"{head}: the diagonal at {lag}"


def test_a_changed_value_changes_the_picture_and_its_alt_text() -> None:
    explorer = widgets.explore(draw, lag=(0, 2), head=["one", "two"], sharp=True)
    first = explorer.output.value
    assert 'alt="one: the diagonal at' in first
    explorer.controls["head"].value = "two"
    assert 'alt="two: the diagonal at' in explorer.output.value
    assert explorer.output.value.split("src=")[1] != first.split("src=")[1]


def test_setting_a_value_back_gives_the_first_picture_again() -> None:
    explorer = widgets.explore(draw, lag=(0, 2))
    explorer.controls["lag"].value = 0
    first = explorer.output.value
    explorer.controls["lag"].value = 2
    assert explorer.output.value != first
    explorer.controls["lag"].value = 0
    assert explorer.output.value == first


def test_a_burst_of_changes_is_drawn_once_with_the_last_value() -> None:
    drawn: list[int] = []

    def counting(lag: int) -> tuple[Figure, str]:
        drawn.append(lag)
        return draw(lag)

    async def slide() -> None:
        explorer = widgets.explore(counting, lag=(0, 4))
        explorer.controls["lag"].value = 0
        await asyncio.sleep(4 * widgets.DELAY)
        drawn.clear()
        for lag in (1, 2, 3, 4):
            explorer.controls["lag"].value = lag
        await asyncio.sleep(4 * widgets.DELAY)

    asyncio.run(slide())
    assert drawn == [4]


def test_a_drawing_function_that_fails_says_so_in_place_of_the_picture() -> None:
    def divide(by: int) -> tuple[Figure, str]:
        return draw(6 // by)

    explorer = widgets.explore(divide, by=(0, 3))
    explorer.controls["by"].value = 0
    assert "ZeroDivisionError" in explorer.output.value and 'role="alert"' in explorer.output.value
    explorer.controls["by"].value = 2
    assert "<img" in explorer.output.value


def test_a_drawing_without_an_alt_text_is_told_what_was_expected() -> None:
    def bare(height: int) -> Figure:
        return Figure(figsize=(2, height))

    explorer = widgets.explore(bare, height=(1, 3, 1))
    assert "returned Figure, expected a figure and its alt text" in explorer.output.value
    with pytest.raises(TypeError, match="return figure, alt"):
        widgets.snapshot(bare, [{"height": 2}])


def test_a_control_that_is_neither_widget_nor_short_form_is_refused() -> None:
    with pytest.raises(ValueError, match="the control 'lag' is None"):
        widgets.explore(draw, lag=None)


def test_no_control_is_a_drop_down_list_whose_keys_the_notebook_would_take() -> None:
    chosen = widgets.explore(draw, head=["one", "two"]).controls["head"]
    assert not isinstance(chosen, ipywidgets.Dropdown)
    assert chosen.value == "one" and tuple(chosen.options) == ("one", "two")


def test_every_control_says_its_name_when_pointed_at() -> None:
    own = ipywidgets.IntSlider(max=3, tooltip="in frames")
    controls = widgets.explore(
        lambda own, far_lag, sharp: draw(), own=own, far_lag=(0, 2), sharp=True
    ).controls
    said = [control.tooltip for control in controls.values()]
    assert said == ["in frames", "far lag", "sharp"]


class SliderOfSeven(ipywidgets.IntSlider):
    """A slider as ipywidgets 7.7 has it, which Colab brings: its tooltip is called otherwise."""

    tooltip = None
    description_tooltip = traitlets.Unicode(None, allow_none=True)


def test_controls_of_colabs_older_ipywidgets_say_their_names_too() -> None:
    (control,) = widgets.explore(lambda lag: draw(lag), lag=SliderOfSeven(max=2)).controls.values()
    assert not control.has_trait("tooltip") and control.description_tooltip == "lag"


def test_a_stored_page_shows_the_picture_in_place_of_the_controls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MMLIB_STATIC", "1")
    data, metadata = widgets.explore(draw, lag=(0, 2))._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert metadata["image/png"]["alt"].startswith("one: the diagonal at")


def test_the_still_twin_shows_the_pictures_of_the_explorer() -> None:
    settings = [{"lag": lag, "head": "one", "sharp": True} for lag in (0, 1, 2)]
    sheet = widgets.small_multiples(draw, settings, columns=2)
    pixels = plots.page.pixels(plots.png_bytes(sheet.figure))
    tile = plots.page.pixels(plots.png_bytes(draw(1)[0]))
    height, width = tile.shape[:2]
    assert pixels.shape == (2 * height, 2 * width, 3)
    distance = abs(pixels[:height, width:].astype(int) - tile.astype(int))
    assert distance.max() <= 8  # two palettes of 256 colours
    assert sheet.alt == " ".join(f"one: the diagonal at {lag}" for lag in (0, 1, 2))


def test_no_settings_give_no_sheet() -> None:
    with pytest.raises(ValueError, match="at least one setting"):
        widgets.small_multiples(draw, [])


def test_each_row_of_a_snapshot_is_as_high_as_its_own_pictures() -> None:
    heights: list[int] = []

    def draw_high(height: int) -> tuple[Figure, str]:
        figure = Figure(figsize=(2, height))
        figure.subplots()
        heights.append(plots.page.pixels(plots.png_bytes(figure)).shape[0])
        return figure, f"{height} high."

    sheet = widgets.small_multiples(draw_high, [{"height": 3}, {"height": 1}], columns=1)
    assert heights[0] > 2 * heights[1]
    assert round(sheet.figure.get_figheight() * widgets.DPI) == sum(heights)


def test_an_actor_changes_face_voice_and_words_with_the_emotion() -> None:
    happy, sad = widgets.draw_actor("happy", 3), widgets.draw_actor("sad", 3)
    assert "feels happy" in happy.alt and "feels sad" in sad.alt
    assert happy.figure.get_suptitle() != sad.figure.get_suptitle()
    assert happy.sound is not None and sad.sound is not None
    assert not torch.equal(happy.sound, sad.sound)
    faces = [scene.figure.axes[0].images[0].get_array() for scene in (happy, sad)]
    assert (faces[0] != faces[1]).any()


def test_without_clarity_all_faces_are_neutral_but_the_words_are_not() -> None:
    happy, sad = (widgets.draw_actor(name, 3, clarity=0.0) for name in ("happy", "sad"))
    faces = [scene.figure.axes[0].images[0].get_array() for scene in (happy, sad)]
    assert (faces[0] == faces[1]).all()
    assert happy.figure.get_suptitle() != sad.figure.get_suptitle()


def test_irony_turns_the_words_and_the_tune_and_leaves_the_face() -> None:
    plain, ironic = (widgets.draw_actor("happy", 3, irony=irony) for irony in (False, True))
    faces = [scene.figure.axes[0].images[0].get_array() for scene in (plain, ironic)]
    assert (faces[0] == faces[1]).all()
    assert "disgust" in ironic.alt and "disgust" not in plain.alt
    assert plain.sound is not None and not torch.equal(plain.sound, ironic.sound)


def test_the_actor_of_the_sliders_can_be_heard() -> None:
    explorer = widgets.play_an_actor()
    first = explorer.output.value
    explorer.controls["emotion"].value = "angry"
    assert "feels angry" in explorer.alt
    before, after = (value.split("<audio")[1] for value in (first, explorer.output.value))
    assert before != after
