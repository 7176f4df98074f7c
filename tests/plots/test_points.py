"""Points stand where they should: neighbours together, valence to the right, arousal up."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from mmlib.data.theatre.emotions import COORDINATES, EMOTIONS
from mmlib.plots import tsne_map, valence_arousal_plane
from mmlib.plots.looks import distinct_looks

NAMES = ["happy", "sad", "angry"]


@pytest.fixture(scope="module")
def groups() -> tuple[torch.Tensor, torch.Tensor]:
    """Three groups of eleven samples, far apart in seven dimensions."""
    labels = torch.arange(33) % 3
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(33, 7, generator=generator)
    return 20 * torch.eye(3, 7)[labels] + noise, labels


def drawn(ax) -> dict[str, np.ndarray]:
    return {dots.get_label(): np.asarray(dots.get_offsets()) for dots in ax.collections}


def test_each_class_is_drawn_in_its_own_look_and_its_group_stays_together(groups) -> None:
    ax = tsne_map(*groups, NAMES)
    places = drawn(ax)
    assert {name: len(points) for name, points in places.items()} == dict.fromkeys(NAMES, 11)
    centres = np.stack([points.mean(0) for points in places.values()])
    for name, points in places.items():
        nearest = np.linalg.norm(points[:, None] - centres, axis=-1).argmin(1)
        assert (nearest == NAMES.index(name)).all()
    colors = [to_hex(dots.get_facecolor()[0]).upper() for dots in ax.collections]
    assert colors == [kind.color for kind in distinct_looks(NAMES)]


def test_a_map_is_the_same_again_and_on_several_threads(groups) -> None:
    maps = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            maps.append(drawn(tsne_map(*groups, NAMES, seed=3)))
    assert all((maps[0][name] == maps[1][name]).all() for name in NAMES)


def test_a_map_starts_from_the_principal_components_and_not_from_the_seed(groups) -> None:
    one, other = (drawn(tsne_map(*groups, NAMES, seed=seed)) for seed in (0, 11))
    moved = max(np.abs(one[name] - other[name]).max() for name in NAMES)
    assert moved < 0.05 * max(np.abs(one[name]).max() for name in NAMES)


def test_the_perplexity_fits_few_samples_and_is_named() -> None:
    few = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    ax = tsne_map(few, [0, 1, 2, 0, 1, 2, 0], NAMES)
    assert ax.get_xlabel().startswith("t-SNE, perplexity 2")
    ax = tsne_map(few, [0] * 7, NAMES, perplexity=3)
    assert "perplexity 3:" in ax.get_xlabel() and list(drawn(ax)) == ["happy"]


@pytest.mark.parametrize(
    ("embedding", "labels", "words"),
    [
        (torch.rand(5, 3, 2), [0] * 5, r"\(N, D\), but got shape \(5, 3, 2\); pool the time"),
        (torch.rand(5, 3), [0] * 4, "5 rows, but 4 labels"),
        (torch.rand(3, 3), [0] * 3, "at least 4 samples"),
        (torch.rand(5, 1), [0] * 5, "at least 2 features"),
        (torch.ones(5, 3), [0] * 5, "all 5 rows are the same"),
        (torch.full((5, 3), torch.nan), [0] * 5, "15 of 15 numbers are NaN"),
        (torch.rand(5, 3), [0, 1, 2, 3, 0], "class 3 has no name"),
    ],
)
def test_what_cannot_be_mapped_is_refused(embedding, labels, words) -> None:
    with pytest.raises(ValueError, match=words):
        tsne_map(embedding, labels, NAMES)


def test_a_perplexity_beyond_the_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="perplexity 9 for 5 samples"):
        tsne_map(torch.rand(5, 3), [0] * 5, NAMES, perplexity=9)


def test_points_lie_at_valence_and_arousal_in_a_plane_of_equal_units() -> None:
    ax = valence_arousal_plane([[0.5, -0.25], [-1.0, 0.75]], names=["one", "two"])
    [dots] = ax.collections
    assert np.asarray(dots.get_offsets()).tolist() == [[0.5, -0.25], [-1.0, 0.75]]
    assert {text.get_text(): tuple(text.xy) for text in ax.texts} == {
        "one": (0.5, -0.25),
        "two": (-1.0, 0.75),
    }
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_aspect()) == ("valence", "arousal", 1)
    assert ax.get_xlim() == ax.get_ylim() and 1 < ax.get_xlim()[1] < 1.2


def test_a_point_outside_of_the_square_is_drawn_outside() -> None:
    ax = valence_arousal_plane([[1.5, 0.0]])
    assert ax.get_xlim()[1] > 1.5
    [square] = [line for line in ax.lines if len(line.get_xdata()) == 5]
    assert set(square.get_xdata()) == {-1, 1} == set(square.get_ydata())


@pytest.mark.parametrize("equal", [True, False])
def test_a_trajectory_begins_at_a_ring_and_ends_at_its_marker(equal: bool) -> None:
    one = torch.tensor([[0.0, 0.0], [0.1, 0.5], [0.2, 0.6]])
    other = torch.tensor([[-0.5, 0.0], [-0.6, 0.1], [-0.7, 0.4], [-0.8, 0.3]])[: 3 if equal else 4]
    paths = torch.stack([one, other]) if equal else [one, other]
    ax = valence_arousal_plane(paths, names=["target", "prediction"])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["target", "prediction"]
    for path, kind in zip((one, other), distinct_looks(["target", "prediction"]), strict=True):
        marks = {
            line.get_marker(): (line.get_xdata()[0], line.get_ydata()[0])
            for line in ax.lines
            if line.get_color() == kind.color and len(line.get_xdata()) == 1
        }
        assert marks[kind.marker] == pytest.approx(tuple(path[-1].tolist()))
    rings = [line.get_xdata()[0] for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert rings == pytest.approx([0.0, -0.5])


def test_the_theatres_emotions_are_named_where_they_lie() -> None:
    ax = valence_arousal_plane([[0.0, 0.0]], emotions=True)
    places = {text.get_text(): tuple(text.xy) for text in ax.texts}
    assert set(places) == set(EMOTIONS)
    assert places["happy"] == tuple(COORDINATES[EMOTIONS.index("happy"), :2])


@pytest.mark.parametrize("side", [3.0, 5.0])
def test_the_names_of_the_emotions_do_not_cover_each_other(side: float) -> None:
    panel = Figure(figsize=(side, side), layout="constrained").subplots()
    ax = valence_arousal_plane([[0.0, 0.0]], emotions=True, ax=panel)
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    hits = [(i, j) for i in range(8) for j in range(i) if boxes[i].overlaps(boxes[j])]
    assert not hits, [(EMOTIONS[i], EMOTIONS[j]) for i, j in hits]


def test_classes_of_points_have_a_legend() -> None:
    ax = valence_arousal_plane(torch.rand(4, 2), labels=[2, 0, 2, 2], names=NAMES)
    assert {name: len(points) for name, points in drawn(ax).items()} == {"happy": 1, "angry": 3}


@pytest.mark.parametrize(
    ("points", "arguments", "words"),
    [
        (torch.rand(4, 3), {}, r"two numbers, but got shape \(4, 3\)"),
        ([[0.5, 0.1], [0.2]], {}, r"two numbers, but got shape \(2,\)"),
        ([], {}, "nothing to draw"),
        ([[float("nan"), 0.0]], {}, "1 of 2 numbers"),
        (torch.rand(4, 2), {"names": ["one"]}, "1 names for 4 points"),
        (torch.rand(4, 3, 2), {"names": ["one"]}, "1 names for 4 trajectories"),
        (torch.rand(4, 2), {"labels": [0] * 4}, "need names"),
        (torch.rand(4, 2), {"labels": [0] * 3, "names": NAMES}, "4 points, but 3 labels"),
    ],
)
def test_what_does_not_lie_in_the_plane_is_refused(points, arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        valence_arousal_plane(points, **arguments)
