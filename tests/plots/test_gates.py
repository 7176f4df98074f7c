"""Maps, reaches and gates over faces: what is drawn is what was given, and where."""

import numpy as np
import pytest
import torch

from mmlib.plots import png_bytes
from mmlib.plots.gates import (
    BOXES,
    dots_by_part,
    gate_over_faces,
    gate_planes,
    picture_row,
    reach_maps,
    trunk_map,
)

FACES = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()


def test_each_picture_of_a_row_stands_under_its_name():
    figure = picture_row({"face": FACES[0], "edges": torch.randn(7, 5)}, title="both")
    assert [ax.get_title() for ax in figure.axes] == ["face", "edges"]
    assert figure.axes[0].images[0].get_array().shape == (32, 32, 3)
    assert figure.axes[1].images[0].get_array().shape == (7, 5)


def test_the_zero_of_a_signed_map_is_the_middle_grey_and_of_another_its_black():
    signed, positive = torch.tensor([[-1.0, 3.0]]), torch.tensor([[2.0, 5.0]])
    figure = picture_row({"signed": signed, "positive": positive})
    limits = [ax.images[0].get_clim() for ax in figure.axes]
    assert limits == [(-3.0, 3.0), (2.0, 5.0)]


@pytest.mark.parametrize("shape", [(4, 8, 8), (1, 3, 8, 8), (8,)])
def test_what_is_neither_a_picture_nor_a_map_is_refused_by_name(shape):
    with pytest.raises(ValueError, match=r"'odd' has shape .* expected a picture"):
        picture_row({"odd": torch.zeros(shape)})
    with pytest.raises(ValueError, match="picture_row"):
        picture_row({})


def test_a_reach_marks_every_place_that_has_a_say_and_no_other():
    seen = torch.zeros(7, 9)
    seen[1, 2], seen[3, 4] = -0.5, 2.0
    (ax,) = reach_maps({"here": seen}, title="reach").axes
    assert np.argwhere(ax.images[0].get_array()).tolist() == [[1, 2], [3, 4]]
    (cross,) = ax.lines
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (4, 3)


def test_the_product_is_a_saddle_and_bam_a_slope():
    product, bam = (np.asarray(ax.images[0].get_array()) for ax in gate_planes().axes)
    corners = product[[0, -1, 0, -1], [0, -1, -1, 0]]
    assert np.allclose(corners, [1, 1, 0, 0], atol=1e-6)
    assert np.allclose(bam[[0, -1, 0, -1], [0, -1, -1, 0]], [1, 2, 1.5, 1.5], atol=1e-3)


def test_a_gate_lies_over_its_own_face_at_the_faces_size():
    gates = torch.zeros(5, 4, 4)
    gates[3, 0, 3] = 1.0
    figure = gate_over_faces(FACES, gates, names=list("abcde"), columns=3)
    panels = figure.axes[:6]
    assert [ax.get_title() for ax in panels] == ["a", "b", "c", "d", "e", ""]
    over = [ax.images[1].get_array() for ax in panels[:5]]
    assert all(each.shape == (32, 32) for each in over)
    assert [bool(each.max() > 0) for each in over] == [False, False, False, True, False]
    assert np.unravel_index(over[3].argmax(), (32, 32)) == (0, 28)
    assert {ax.images[1].get_clim() for ax in panels[:5]} == {(0.0, 1.0)}


def test_the_outline_of_a_part_is_drawn_where_the_part_is_and_named_once():
    mouth = torch.zeros(5, 32, 32, dtype=torch.bool)
    mouth[:2, 20:25, 8:24] = True
    figure = gate_over_faces(FACES, torch.rand(5, 4, 4), parts={"mouth": mouth}, limits=(0, 2))
    drawn = [len(ax.collections) for ax in figure.axes[:5]]
    assert drawn == [1, 1, 0, 0, 0]
    (line,) = figure.axes[0].collections[0].get_paths()
    assert 19 <= line.vertices[:, 1].min() and line.vertices[:, 1].max() <= 25
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mouth"]
    assert figure.axes[0].images[1].get_clim() == (0, 2)


def test_gates_that_do_not_fit_the_faces_are_refused():
    with pytest.raises(ValueError, match="5 faces and gates of shape"):
        gate_over_faces(FACES, torch.rand(4, 4, 4))
    parts = dict.fromkeys("abcd", torch.zeros(5, 32, 32, dtype=torch.bool))
    with pytest.raises(ValueError, match="4 parts"):
        gate_over_faces(FACES, torch.rand(5, 4, 4), parts=parts)


def test_every_seed_has_a_dot_and_every_system_a_marker_of_its_own():
    values = {
        "one": {"mouth": [1.0, 2.0, 6.0], "eyes": [0.5, 0.5, 0.5]},
        "other": {"mouth": [2.0, 2.0, 2.0], "eyes": [1.5, 1.0, 2.0]},
    }
    ax = dots_by_part(values, level=1, level_words="its share", ylabel="share")
    dots = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert [list(line.get_ydata()) for line in dots] == [
        [1, 2, 6], [0.5, 0.5, 0.5], [2, 2, 2], [1.5, 1, 2],
    ]  # fmt: skip
    assert len({line.get_marker() for line in dots}) == 2
    means = [line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 2][:4]
    assert means[:2] == [3.0, 0.5]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["mouth", "eyes"]
    assert "its share" in {text.get_text() for text in ax.texts}


def test_the_trunk_has_a_box_for_each_of_its_parts_and_no_two_touch():
    figure = trunk_map()
    words = {text.get_text() for text in figure.axes[0].texts}
    assert {name for name, *_ in BOXES} | {"+"} <= words
    for one in BOXES:
        for other in BOXES:
            apart = one[2] + one[4] < other[2] or other[2] + other[4] < one[2]
            assert one is other or apart or abs(one[3] - other[3]) > 0.72
    assert png_bytes(figure) == png_bytes(trunk_map())
