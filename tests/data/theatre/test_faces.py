"""The drawn faces: legible, repeatable, the same at every size, and lit in colour and in grey."""

import itertools

import pytest
import torch

from mmlib.data.theatre.canvas import Canvas
from mmlib.data.theatre.cast import STYLES, cast
from mmlib.data.theatre.emotions import EMOTIONS, FACE, FACE_UNITS
from mmlib.data.theatre.faces import FACE_LIMITS, LIGHT_SHAPES, LIGHTS, draw_faces, limit_units
from mmlib.data.theatre.sentences import LIGHT_WORDS

MOUTH_ROWS, MOUTH_COLUMNS = slice(63, 84), slice(32, 64)  # at 96 pixels
EYE_ROWS, EYE_COLUMNS = slice(40, 62), slice(24, 72)


def show(emotion, actor, *, size=96, light=None, **changed):
    """One portrait as floats (3, size, size), some of its units set by hand."""
    units = torch.tensor(FACE[EMOTIONS.index(emotion)])[None].clone()
    for name, value in changed.items():
        units[0, FACE_UNITS.index(name)] = value
    light = None if light is None else torch.tensor([light])
    return draw_faces(units, torch.tensor([actor]), size=size, light=light)[0].float()


@pytest.fixture(scope="module")
def everybody():
    """Face units and actors: 24 actors in 8 emotions."""
    return torch.tensor(FACE).repeat(24, 1), torch.arange(24).repeat_interleave(8)


def test_portraits_are_bytes_in_the_asked_size(device):
    units = torch.tensor(FACE[:5], device=device)
    pictures = draw_faces(units, torch.arange(5, device=device), size=40)
    assert pictures.shape == (5, 3, 40, 40)
    assert pictures.dtype == torch.uint8 and pictures.device.type == device.type


def test_no_portraits_are_no_error():
    assert draw_faces(torch.zeros(0, 16), torch.zeros(0, dtype=torch.long)).shape == (0, 3, 48, 48)


def test_the_same_arguments_give_the_same_bytes_in_any_order_and_chunk(everybody):
    units, actor = everybody
    pictures = draw_faces(units, actor, size=32)
    assert torch.equal(pictures, draw_faces(units, actor, size=32))
    assert torch.equal(pictures, draw_faces(units, actor, size=32, chunk=7))
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(1))
    assert torch.equal(pictures[order], draw_faces(units[order], actor[order], size=32))
    assert torch.equal(pictures[100], draw_faces(units[100:101], actor[100:101], size=32)[0])


def test_a_cpu_and_a_gpu_draw_the_same(device, everybody):
    units, actor = everybody
    here = draw_faces(units.to(device), actor.to(device), size=32).cpu()
    difference = (here.int() - draw_faces(units, actor, size=32).int()).abs()
    assert difference.float().mean() < 0.01 and difference.max() <= 3


def test_a_large_portrait_scaled_down_is_the_small_one(everybody):
    units, actor = everybody
    small = draw_faces(units, actor, size=48).float()
    large = torch.nn.functional.avg_pool2d(draw_faces(units, actor, size=96).float(), 2)
    tolerance = 4.0  # grey levels of 255
    assert ((large - small).abs().mean(dim=(1, 2, 3)) < tolerance).all()
    # One pixel aside, in any direction, would not have passed; nor would a mouth one pixel lower.
    for shift, axis in itertools.product((-1, 1), (2, 3)):
        moved = small.roll(shift, dims=axis)
        assert ((large - moved).abs().mean(dim=(1, 2, 3)) > tolerance).all()
    mouth = (..., slice(32, 46), slice(16, 32))
    moved = small[mouth].roll(1, dims=2)
    change = (large[mouth] - moved).abs().mean() / (large[mouth] - small[mouth]).abs().mean()
    assert change > 2


def test_every_actor_shows_eight_different_faces(everybody):
    units, actor = everybody
    for size in (32, 48):
        pictures = draw_faces(units, actor, size=size).float().view(24, 8, -1)
        distance = torch.cdist(pictures, pictures, p=1) / pictures.shape[-1]
        assert (distance + 1e3 * torch.eye(8)).min() > 3  # grey levels on average


def test_no_two_actors_look_alike():
    pictures = draw_faces(torch.tensor(FACE[:1]).repeat(24, 1), torch.arange(24), size=48)
    flat = pictures.float().view(24, -1)
    distance = torch.cdist(flat, flat, p=1) / flat.shape[-1]
    assert (distance + 1e3 * torch.eye(24)).min() > 8


def test_the_cast_is_mixed_and_the_same_every_time():
    company = cast()
    assert len(company) == 24
    assert (company.style.bincount(minlength=len(STYLES)) >= 3).all()
    assert (company.pitch < 140).sum() == 12 and (company.pitch > 165).sum() == 12
    assert len(company.skin.unique(dim=0)) == 24
    assert company.glasses.sum() == 6
    for name, value in vars(cast()).items():
        assert torch.equal(value, getattr(company, name))
    assert not torch.equal(cast(seed=8).pitch, company.pitch)


@pytest.mark.parametrize("actor", [0, 5, 9])
def test_an_open_mouth_shows_more_of_its_inside(actor):
    inside = []
    for opening in (0.0, 0.06, 0.14, 0.30):
        mouth = show("neutral", actor, mouth_open=opening)[:, MOUTH_ROWS, MOUTH_COLUMNS]
        gum = torch.tensor([115.0, 20.0, 31.0])[:, None, None]
        inside.append(int(((mouth - gum).abs().amax(dim=0) < 25).sum()))
    assert inside == sorted(set(inside)) and inside[0] == 0


@pytest.mark.parametrize("actor", [1, 3, 10])
def test_a_blink_hides_the_white_of_the_eyes(actor):
    white = []
    for opening in (0.30, 0.60, 1.0):
        eyes = show("neutral", actor, eye_open=opening)[:, EYE_ROWS, EYE_COLUMNS]
        white.append(int((eyes.amin(dim=0) > 235).sum()))
    assert white[0] < 0.5 * white[1] and white[1] < 0.5 * white[2]


def test_a_smile_has_its_corners_above_its_middle():
    def height(mouth):  # of what is dark, in pixels from the top
        dark = (mouth.amax(dim=0) < 80).float()
        rows = torch.arange(dark.shape[0])[:, None]
        return float((dark * rows).sum() / dark.sum())

    for curve, sign in ((0.17, 1), (-0.14, -1)):
        mouth = show("neutral", 0, mouth_curve=curve)[:, MOUTH_ROWS, MOUTH_COLUMNS]
        third = mouth.shape[2] // 3
        corners = (height(mouth[..., :third]) + height(mouth[..., -third:])) / 2
        assert sign * (height(mouth[..., third:-third]) - corners) > 2


@pytest.mark.parametrize(
    ("unit", "rows", "columns"),
    [
        ("tear", slice(58, 74), slice(28, 68)),
        ("sweat", slice(22, 46), slice(62, 78)),
        ("wrinkle", slice(47, 86), slice(40, 56)),
        ("blush", slice(54, 74), slice(19, 77)),
    ],
)
def test_a_prop_changes_its_own_part_of_the_face_and_no_other(unit, rows, columns):
    change = (show("neutral", 0, **{unit: 0.0}) - show("neutral", 0, **{unit: 1.0})).abs().sum(0)
    assert change[rows, columns].sum() > 0
    change[rows, columns] = 0
    assert change.sum() == 0


def test_units_beyond_the_limits_are_drawn_at_the_limits():
    generator = torch.Generator().manual_seed(0)
    wild = 1e4 * torch.randn(50, 16, generator=generator)
    actor = torch.arange(50) % 24
    limited = limit_units(wild)
    assert torch.equal(limited, limit_units(limited))
    assert torch.equal(draw_faces(wild, actor, size=24), draw_faces(limited, actor, size=24))


def test_no_layer_is_cut_off_by_the_window_it_is_painted_in(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    limits = torch.tensor(FACE_LIMITS)
    share = torch.rand(240, 16, generator=generator).round(decimals=1)  # the extremes are frequent
    units = torch.lerp(limits[:, 0], limits[:, 1], share)
    actor = torch.arange(240) % 24
    pictures = draw_faces(units, actor, size=48)
    monkeypatch.setattr(Canvas, "window", lambda canvas, *corners: canvas)
    assert torch.equal(pictures, draw_faces(units, actor, size=48))


def test_every_emotion_can_be_drawn_as_it_stands_in_the_table():
    table = torch.tensor(FACE)
    assert torch.equal(limit_units(table), table)
    assert (FACE_LIMITS[:, 0] < FACE_LIMITS[:, 1]).all()


def test_lights_carry_the_names_that_sentences_use():
    assert LIGHTS == LIGHT_WORDS
    assert len(set(LIGHT_SHAPES)) == len(LIGHTS)


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("size", [32, 64])
def test_lights_can_be_told_apart_behind_every_actor(grey, size):
    light = torch.arange(4).repeat(24)
    actor = torch.arange(24).repeat_interleave(4)
    units = torch.tensor(FACE)[torch.arange(96) % 7]
    pictures = draw_faces(units, actor, size=size, light=light).float()
    if grey:  # brightness and contrast taken away too: only shapes are left
        pictures = pictures.mean(dim=1, keepdim=True)
    pictures = pictures.flatten(1)
    pictures = (pictures - pictures.mean(1, keepdim=True)) / pictures.std(1, keepdim=True)
    for group in range(4):  # templates from 18 actors, told for the 6 others
        new = actor % 4 == group
        templates = torch.stack([pictures[~new & (light == k)].mean(0) for k in range(4)])
        nearest = torch.cdist(pictures[new], templates).argmin(dim=1)
        assert torch.equal(nearest, light[new])


def test_a_light_leaves_the_face_alone():
    dark, lit = show("happy", 2), show("happy", 2, light=1)
    face = (..., slice(44, 84), slice(34, 62))
    assert torch.equal(dark[face], lit[face])
    assert not torch.equal(dark, lit)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": torch.zeros(3, 15)}, "FACE_UNITS"),
        ({"actor": torch.tensor([0, 1])}, "one actor"),
        ({"actor": torch.tensor([0, 24, 1])}, "the cast has 24"),
        ({"actor": torch.tensor([0, -1, 1])}, "the cast has 24"),
        ({"light": torch.tensor([0, 4, 1])}, "0 to 3"),
        ({"light": torch.tensor([0])}, "one actor"),
        ({"units": torch.full((3, 16), float("nan"))}, r"\(portrait, unit\) \[0, 0\]"),
        ({"size": 4}, "at least 16 pixels"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(arguments, message):
    valid = {"units": torch.tensor(FACE[:3]), "actor": torch.arange(3)}
    with pytest.raises(ValueError, match=message):
        draw_faces(**(valid | arguments))
