"""The faces: sixteen numbers and an actor become a drawn portrait.

A portrait is painted like a picture, back to front: backdrop, shirt, hair, head, eyes, mouth. The
backdrop may be lit by one of four lights, told apart by their colour and by their shape.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from mmlib.data.theatre import face_parts
from mmlib.data.theatre.canvas import Canvas
from mmlib.data.theatre.cast import STYLES, Cast
from mmlib.data.theatre.cast import cast as draw_cast
from mmlib.data.theatre.emotions import FACE_UNITS
from mmlib.data.threads import one_thread

#: The range that can be drawn, one row per face unit: least, most.
FACE_LIMITS: np.ndarray = np.array(
    [
        [-0.20, 0.24],  # mouth_curve
        [0.00, 0.34],  # mouth_open
        [0.12, 0.36],  # mouth_width
        [-0.08, 0.08],  # mouth_asymmetry
        [-0.60, 0.60],  # brow_angle
        [-0.09, 0.18],  # brow_height
        [0.25, 1.15],  # eye_open
        [0.00, 0.80],  # squint
        [-0.60, 0.60],  # slant
        [0.05, 0.80],  # pupil
        [0.00, 1.00],  # blush
        [-0.20, 0.20],  # tilt
        [0.00, 1.00],  # tear
        [0.00, 1.00],  # sweat
        [0.00, 1.00],  # wrinkle
        [-1.00, 1.00],  # tint
    ],
    dtype=np.float32,
)
#: The lights by name, and the shape that each throws on the backdrop: whoever does not see the
#: colours, or prints in grey, still sees the shapes.
LIGHTS: tuple[str, ...] = ("red", "blue", "green", "yellow")
LIGHT_SHAPES: tuple[str, ...] = ("disc", "square", "triangle", "star")
LIGHT_COLOURS = torch.tensor(
    [[0.95, 0.47, 0.43], [0.48, 0.66, 0.97], [0.52, 0.85, 0.52], [0.99, 0.89, 0.42]]
)


def limit_units(units: Tensor) -> Tensor:
    """Clamp face units to what can be drawn.

    *Shape*: (..., 16) in the order of `FACE_UNITS` -> the same.
    """
    limits = torch.from_numpy(FACE_LIMITS).to(units)
    return units.clamp(limits[:, 0], limits[:, 1])


def light_distance(light: int, x: Tensor, y: Tensor) -> Tensor:
    """The signed distance to the shape of one light, over the whole backdrop.

    *Shape*: `x` (S,) and `y` (S, 1) -> (S, S).
    """
    shape = LIGHT_SHAPES[light]
    if shape == "disc":
        return torch.hypot(x, y + 0.05) - 0.92
    if shape == "square":
        return torch.maximum(x.abs() + 0 * y, (y + 0.1).abs() + 0 * x) - 0.82
    if shape == "triangle":  # standing on its base, its point above the head
        return torch.maximum(0.86 * x.abs() - 0.5 * (y + 1.15), y - 0.9)
    turn = torch.atan2(x + 0 * y, -(y + 0.05) + 0 * x)
    ray = torch.cos(8 * turn)
    return torch.hypot(x, y + 0.05) - 0.92 - 0.22 * ray


def paint_bodies(who: Cast, light: Tensor, tilt: Tensor, size: int) -> Tensor:
    """Everything that does not depend on the emotion but for the tilt: backdrop, shirt, hair, head.

    *Shape*: P actors, `light` (P,) or -1 for none, `tilt` (P,) -> (P, 4, S, S): red, green, blue,
    and how much of a pixel is skin.
    """
    axis = (torch.arange(size, device=light.device) + 0.5) * (2 / size) - 1
    x, y = axis, axis[:, None]
    image = who.backdrop.new_zeros(len(light), 4, size, size)
    image[:, :3] = who.backdrop[:, :, None, None]
    for number, colour in enumerate(LIGHT_COLOURS.to(light.device)[:, :, None, None]):
        rows = (light == number).nonzero().flatten()
        if len(rows):
            inside = (0.5 - light_distance(number, x, y) * size / 2).clamp_(0, 1)
            image[rows, :3] = torch.lerp(0.34 * colour, colour, inside)
    image.mul_(1.06 - 0.22 * (x * x + (y + 0.1) ** 2)).clamp_(0, 1)  # darker towards the corners
    is_skin = {"skin": 1.0, "hair": 0.0, "shirt": 0.0}
    traits = _shaped(who)
    for name, share in is_skin.items():
        traits[name] = torch.nn.functional.pad(traits[name], (0, 0, 0, 0, 0, 1), value=share)
    upright = Canvas.of(image, {"tilt": torch.zeros_like(tilt)[:, None, None]}, traits)
    face_parts.shirt(upright)
    canvas = Canvas.of(image, {"tilt": tilt[:, None, None]}, traits)
    face_parts.hair_behind(canvas)
    face_parts.neck(canvas)
    face_parts.ears(canvas)
    face_parts.head(canvas)
    face_parts.nose(canvas)
    face_parts.hair_in_front(canvas)
    return image


def paint_expressions(image: Tensor, units: Tensor, who: Cast) -> Tensor:
    """Paint on bodies what shows an emotion; returns the finished pictures.

    *Shape*: `image` (B, 4, S, S), `units` (B, 16) within their limits, B actors -> (B, 3, S, S).
    """
    columns = {name: units[:, i, None, None] for i, name in enumerate(FACE_UNITS)}
    canvas = Canvas.of(image, columns, _shaped(who))
    face_parts.complexion(canvas)
    face_parts.blush(canvas)
    canvas = dataclasses.replace(canvas, image=image[:, :3])
    face_parts.wrinkles(canvas)
    face_parts.eyes(canvas)
    face_parts.mouth(canvas)
    face_parts.tongue_out(canvas)
    face_parts.brows(canvas)
    face_parts.glasses(canvas)
    face_parts.tears(canvas)
    face_parts.sweat(canvas)
    return canvas.image


def _shaped(who: Cast) -> dict[str, Tensor]:
    """Traits that go with coordinates (B, h, w), colours that go with images (B, C, h, w)."""
    return {
        name: value[:, :, None, None] if value.dim() == 2 else value[:, None, None]
        for name, value in vars(who).items()
    }


@torch.no_grad()
@one_thread()
def draw_faces(
    units: Tensor,
    actor: Tensor,
    *,
    size: int = 48,
    light: Tensor | None = None,
    cast: Cast | None = None,
    chunk: int = 128,
) -> Tensor:
    """Draw one portrait for each row of face units.

    The picture is a function of its arguments: nothing is drawn by chance, and no portrait depends
    on another. Units are clamped to `FACE_LIMITS`, and the tilt is rounded so that no pixel moves by
    more than a fifth of its size: a body is painted once for all portraits that share it.

    *Shape*: `units` (B, 16) in the order of `FACE_UNITS`, `actor` (B,) int64, `light` (B,) int64
    indexing `LIGHTS` -> (B, 3, size, size) uint8.

    *Raises*: ValueError for wrong shapes, units that are not finite, an actor or light out of range.
    """
    _check(units, actor, size, light)
    company = draw_cast() if cast is None else cast
    style = company.pick(actor).style
    limited = limit_units(units.float())
    tilt = limited[:, FACE_UNITS.index("tilt")]
    step = 0.5 / size
    notch = (tilt / step).round()
    tilt.copy_(notch * step)

    # Sorted by mouth and body, a chunk holds one kind of mouth, few hair styles and few bodies.
    lit = torch.full_like(actor, -1) if light is None else light
    narrow = limited[:, FACE_UNITS.index("mouth_width")] < face_parts.ROUND_MOUTH
    body = (narrow.long() * len(STYLES) + style) * len(company) + actor
    body = body * (len(LIGHTS) + 1) + lit + 1
    body = body * (2 * size) + notch.long() + size
    pictures = torch.empty(len(units), 3, size, size, dtype=torch.uint8, device=units.device)
    if len(units) == 0:
        return pictures
    for rows in body.argsort(stable=True).split(chunk):
        which = torch.unique_consecutive(body[rows], return_inverse=True)[1]
        first = rows[which.diff(prepend=which.new_tensor([-1])).nonzero().flatten()]
        bodies = paint_bodies(company.pick(actor[first]), lit[first], tilt[first], size)
        image = paint_expressions(bodies[which], limited[rows], company.pick(actor[rows]))
        pictures[rows] = image.clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8)
    return pictures


def _check(units: Tensor, actor: Tensor, size: int, light: Tensor | None) -> None:
    """Raise a ValueError that says what is wrong with the arguments of `draw_faces`."""
    if units.dim() != 2 or units.shape[1] != len(FACE_UNITS):
        raise ValueError(
            f"units must be (portraits, {len(FACE_UNITS)}), one column per name of FACE_UNITS; "
            f"got {tuple(units.shape)}"
        )
    if actor.shape != units.shape[:1] or (light is not None and light.shape != actor.shape):
        got = f"actor {tuple(actor.shape)}"
        got += "" if light is None else f" and light {tuple(light.shape)}"
        raise ValueError(f"{len(units)} portraits need one actor (and light) each, got {got}")
    if light is not None and light.numel() and not 0 <= int(light.min()) <= int(light.max()) < 4:
        raise ValueError(
            f"light must index {LIGHTS}, 0 to 3; got {int(light.min())} to {int(light.max())}"
        )
    if not bool(torch.isfinite(units).all()):
        where = (~torch.isfinite(units)).nonzero()[0].tolist()
        raise ValueError(
            f"face units must be finite, found NaN or infinity at (portrait, unit) {where}"
        )
    if size < 16:
        raise ValueError(
            f"a face needs at least 16 pixels to be told from another, got size={size}"
        )
