"""Figures of what a stack of blocks does to a sequence, and the slider over them."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmlib import widgets
from mmlib.layers import sinusoidal_codes
from mmlib.plots import png_bytes
from mmlib.plots.blocks import apartness, change_maps, code_maps, depth_map, distances


def stages(count: int = 5) -> list[torch.Tensor]:
    """A sequence (7, 3) whose steps draw together by half at each depth."""
    start = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    middle = start.mean(0)
    return [middle + (start - middle) * 0.5**depth for depth in range(count)]


def test_steps_that_are_one_vector_differ_by_nothing() -> None:
    alike = torch.tensor([[3.0, -4.0]]).repeat(5, 1)
    assert apartness(alike) == 0
    assert np.array_equal(distances(alike), np.zeros((5, 5)))


def test_steps_that_cancel_differ_by_their_whole_size() -> None:
    opposite = torch.tensor([[3.0, 4.0], [-3.0, -4.0]])
    assert apartness(opposite) == pytest.approx(1.0)
    assert distances(opposite) == pytest.approx(np.array([[0.0, 2.0], [2.0, 0.0]]))


def test_how_far_steps_differ_does_not_depend_on_their_scale() -> None:
    state = stages()[0]
    assert apartness(1000 * state) == pytest.approx(apartness(state))
    assert distances(1000 * state) == pytest.approx(distances(state))


def test_a_sequence_of_zeros_is_drawn_without_a_division_by_zero() -> None:
    assert apartness(torch.zeros(4, 2)) == 0
    figure = depth_map([torch.zeros(4, 2)] * 2, depth=1)
    assert np.isfinite(figure.axes[1].lines[0].get_ydata()).all()


def test_the_depth_map_marks_its_depth_and_follows_the_stages() -> None:
    states = stages()
    figure = depth_map(states, depth=3, names="ABCDEFG", title="a stack")
    left, right = figure.axes
    assert left.get_title(loc="left") == "after 3 blocks: distance"
    assert [label.get_text() for label in left.get_yticklabels()] == list("ABCDEFG")
    assert np.allclose(left.images[0].get_array(), distances(states[3]))
    assert right.lines[0].get_ydata() == pytest.approx([apartness(state) for state in states])
    assert right.lines[2].get_xdata() == [3, 3]
    assert "after 1 block:" in depth_map(states, depth=1).axes[0].get_title(loc="left")


@pytest.mark.parametrize("depth", [-1, 5])
def test_a_depth_that_the_stages_do_not_reach_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth={depth}; expected 0 to 4"):
        depth_map(stages(), depth=depth)


def test_a_change_is_drawn_where_it_happened_and_the_poked_step_is_marked() -> None:
    change = torch.zeros(5, 3)
    change[2, 1] = 0.7
    figure = change_maps({"one": change, "none": torch.zeros(5, 3)}, poked=2)
    one, none = figure.axes
    assert np.unravel_index(one.images[0].get_array().argmax(), (5, 3)) == (2, 1)
    assert one.images[0].norm.vmax == pytest.approx(0.7)
    assert [ax.lines[0].get_ydata() for ax in (one, none)] == [[2], [2]]
    assert png_bytes(figure) == png_bytes(
        change_maps({"one": change, "none": torch.zeros(5, 3)}, poked=2)
    )


def test_the_code_map_shows_the_codes_and_their_inner_products() -> None:
    codes = sinusoidal_codes(11, 6)
    left, right = code_maps(codes).axes[:2]
    assert np.allclose(left.images[0].get_array(), codes)
    assert np.allclose(right.images[0].get_array(), codes @ codes.T, atol=1e-5)


def test_the_slider_over_the_depth_moves_picture_and_alt_text() -> None:
    def draw(depth: int) -> tuple[Figure, str]:
        return depth_map(stages(), depth=depth), f"after {depth}"

    explorer = widgets.explore(draw, depth=(0, 4))
    explorer.controls["depth"].value = 0
    first = explorer.output.value
    explorer.controls["depth"].value = 4
    assert 'alt="after 4"' in explorer.output.value
    assert explorer.output.value.split("src=")[1] != first.split("src=")[1]
