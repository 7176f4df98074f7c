"""The layers of a face, each one a small function that paints on a canvas.

Coordinates are the head's: u to the right, v down, (0, 0) its middle. What comes in pairs is painted
once, in the mirrored coordinate |u|. Dark outlines about 0.04 wide keep a face legible at 32 pixels.
"""

import torch
from torch import Tensor

from mmlib.data.theatre.canvas import Canvas, ellipse
from mmlib.data.theatre.cast import STYLES

INK = (0.16, 0.11, 0.13)
WHITE = (0.99, 0.99, 1.0)
WATER, WATER_EDGE = (0.48, 0.77, 0.98), (0.12, 0.32, 0.60)
TONGUE = (0.90, 0.42, 0.45)
LINE = 0.037
EYES, MOUTH = 0.0, 0.39  # the height of either


def complexion(skin: Tensor, units: dict[str, Tensor]) -> Tensor:
    """The skin as the emotion colours it: red, pale, or green about the nose where disgusted.

    *Shape*: `skin` (B, 3, 1, 1), units (B, 1, 1) -> (B, 3, 1, 1).
    """
    tint = units["tint"][:, None]
    red, pale = tint.clamp(min=0), (-tint).clamp(min=0)
    sick = units["wrinkle"][:, None] * pale
    shift = red * skin.new_tensor([0.05, -0.07, -0.07])[:, None, None]
    shift = shift + pale * skin.new_tensor([-0.035, -0.005, 0.012])[:, None, None]
    shift = shift + sick * skin.new_tensor([-0.16, 0.04, -0.14])[:, None, None]
    return (skin + shift).clamp(0, 1)


def shirt(canvas: Canvas) -> None:
    """Shoulders in the actor's shirt, plain or striped."""
    part = canvas.window(-1.0, 0.42, 1.0, 1.0)
    distance = ellipse(part.u, part.v - 1.06, 0.86, 0.50)
    part.fill(distance - LINE, INK)
    inside = part.cover(distance)
    part.paint(inside, part.traits["shirt"])
    stripe = part.cover((((part.v - 0.60) / 0.16).frac() - 0.5).abs() * 0.16 - 0.04)
    part.paint(inside * stripe * part.traits["stripes"], (0.97, 0.96, 0.93))


def neck(canvas: Canvas, skin: Tensor) -> None:
    """The neck, in the shade of the chin."""
    part = canvas.window(-0.2, 0.45, 0.2, 0.82)
    distance = torch.maximum(part.u.abs() - 0.16, (part.v - 0.58).abs() - 0.16)
    part.fill(distance, skin * 0.78)


def ears(canvas: Canvas, skin: Tensor) -> None:
    """Both ears, hidden by long hair and bobs."""
    width = canvas.traits["head_width"]
    part = canvas.window(-0.8, -0.16, 0.8, 0.25)
    distance = ellipse(part.u.abs() - width * 0.99, part.v - 0.04, 0.105, 0.14)
    part.fill(distance - LINE, INK)
    part.fill(distance, skin * 0.88)


def head(canvas: Canvas, skin: Tensor) -> None:
    """A superellipse of exponent 2.5, x * x * sqrt(x) (no slow power), narrower at the jaw."""
    part = canvas.window(-0.72, -0.82, 0.72, 0.82)
    width, height = part.traits["head_width"], part.traits["head_height"]
    x = (part.u / (width * (1 - 0.20 * (part.v - 0.05).clamp(min=0)))).abs_()
    y = (part.v / height).abs_()
    distance = (x * x * x.sqrt() + y * y * y.sqrt() - 1) * (width * 0.4)
    part.fill(distance - LINE, INK)
    inside = part.cover(distance)
    part.paint(inside, skin)
    part.paint(inside.mul_(((part.v - 0.35) * 0.45).clamp(0, 0.2)), skin * 0.72)


def blush(canvas: Canvas) -> None:
    """Rosy cheeks, soft at the edge."""
    part = canvas.window(-0.62, 0.02, 0.62, 0.46)
    cheek = ((part.u.abs() - 0.35) / 0.15).square() + ((part.v - 0.24) / 0.11).square()
    part.paint((-cheek).exp_() * (0.75 * part.units["blush"]), (0.97, 0.38, 0.38))


def nose(canvas: Canvas, skin: Tensor) -> None:
    """A soft shadow; where the nose is wrinkled, folds beside its bridge."""
    part = canvas.window(-0.2, -0.1, 0.2, 0.3)
    size = part.traits["nose_size"]
    part.fill(ellipse(part.u, part.v - 0.17, size * 1.3, size), skin * 0.82)
    with part.only(part.units["wrinkle"] > 0.1) as some:
        if some is not None:
            u = some.u.abs()
            folds = torch.minimum((some.v - 0.01 + 0.5 * u).abs(), (some.v - 0.09 + 0.5 * u).abs())
            folds = torch.maximum(folds - 0.016, (u - 0.075).abs() - 0.055)
            colour = some.traits["skin"] * 0.45
            some.fill(folds, colour, some.units["wrinkle"])


def eyes(canvas: Canvas) -> None:
    """Two eyes: white, iris, pupil and a glint, closed by curved lids from above and below."""
    part = canvas.window(-0.52, EYES - 0.3, 0.52, EYES + 0.28)
    units, traits = part.units, part.traits
    size, gap = traits["eye_size"], traits["eye_gap"]
    out = part.u.abs() - gap  # positive towards the temple
    down = part.v - EYES
    bow = out * out / size
    ball = ellipse(out, down, size, size * 1.12)
    lid = size * 1.12 * (2 * units["eye_open"] - 1).clamp(max=1.3)
    upper = 0.55 * bow - lid - down + units["slant"] * out  # slant drops the outer end
    lower = down - size * 1.12 * (1 - 1.5 * units["squint"]) - 0.9 * units["squint"] * bow
    opening = torch.maximum(torch.maximum(ball, upper), lower)
    part.fill(opening - LINE, INK)
    white = part.cover(opening)
    part.paint(white, WHITE)
    from_centre = torch.hypot(out, down - 0.01)
    part.fill(from_centre - size * 0.64, traits["iris"], white)
    part.fill(from_centre - size * (0.22 + 0.34 * units["pupil"]), (0.06, 0.04, 0.05), white)
    # The glint is on the same side of both eyes, so it is not mirrored.
    glint = torch.hypot(part.u - torch.sign(part.u) * gap + 0.045, down + 0.05)
    part.fill(glint - 0.036, WHITE, white)


def brows(canvas: Canvas) -> None:
    """Two brows, darker than any hair and painted over it, so that no fringe hides them."""
    part = canvas.window(-0.52, EYES - 0.56, 0.52, EYES - 0.08)
    units, traits = part.units, part.traits
    size = traits["eye_size"]
    out = part.u.abs() - (traits["eye_gap"] + 0.01)
    down = part.v - (EYES - size * 1.12 - 0.075 - 0.8 * units["brow_height"])
    cosine, sine = units["brow_angle"].cos(), units["brow_angle"].sin()
    along = cosine * out + sine * down
    across = cosine * down - sine * out - 0.9 * along * along
    length = (along.abs() - 0.135).clamp_(min=0)
    part.fill(torch.hypot(length, across) - traits["brow_thickness"], traits["hair"] * 0.40)


def mouth(canvas: Canvas) -> None:
    """A curved mouth with teeth and tongue; where it is narrow, a round "o" without teeth."""
    part = canvas.window(-0.46, MOUTH - 0.28, 0.46, MOUTH + 0.38)
    units = part.units
    width, opened = units["mouth_width"], units["mouth_open"]
    across = part.u / width
    dome = 1 - across * across
    middle = MOUTH + 1.15 * units["mouth_curve"] * (dome - 0.5) - units["mouth_asymmetry"] * across
    height = dome.clamp(min=0).sqrt_()
    upper = middle - 0.15 * opened * height
    lower = middle + 0.68 * opened * height
    steep = torch.hypot(
        torch.ones_like(across),
        (2.3 * units["mouth_curve"] * across + units["mouth_asymmetry"]) / width,
    )
    gap = torch.maximum(upper - part.v, part.v - lower) / steep
    side = part.u.abs() - width
    wide = torch.hypot(gap.clamp(min=0), side.clamp(min=0)) + torch.maximum(gap, side).clamp(max=0)
    tall = 0.70 * opened + 1e-3
    round_ = ellipse(part.u, part.v - MOUTH - 0.1 * opened, width, tall)
    is_round = ((0.175 - width) / 0.02).clamp(0, 1)
    lips = torch.where(is_round > 0.5, round_, wide)
    part.fill(lips - LINE, INK)
    inside = part.cover(lips) * (opened > 0.015)
    part.paint(inside, (0.45, 0.08, 0.12))
    teeth = part.cover(part.v - upper - 0.4 * opened.clamp(max=0.24)) * inside * (1 - is_round)
    part.paint(teeth, (1.0, 1.0, 0.97))
    tongue = ellipse(part.u / 2, part.v - lower, 0.28 * width, 0.5 * opened + 1e-3)
    part.paint(part.cover(tongue) * inside * (1 - 0.8 * is_round), TONGUE)
    with part.only(units["wrinkle"] > 0.6) as some:
        if some is not None:
            stick_out_tongue(some)


def stick_out_tongue(part: Canvas) -> None:
    """The tongue that says "yuck": out where the nose is wrinkled most."""
    out = ((part.units["wrinkle"] - 0.6) / 0.3).clamp(0, 1)
    shape = ellipse(part.u - 0.02, part.v - MOUTH - 0.05 - 0.09 * out, 0.085, 0.115)
    shape = torch.maximum(shape, MOUTH + 0.05 - part.v)
    part.fill(shape - LINE * 0.8, INK, out)
    part.fill(shape, TONGUE, out)
    crease = torch.maximum((part.u - 0.02).abs() - 0.012, (part.v - MOUTH - 0.11).abs() - 0.05)
    part.fill(crease, (0.70, 0.25, 0.30), out)


def tears(canvas: Canvas) -> None:
    """A tear under each eye."""
    part = canvas.window(-0.5, 0.1, 0.5, 0.5)
    with part.only(part.units["tear"] > 0.1) as some:
        if some is not None:
            out = some.u.abs() - some.traits["eye_gap"] - 0.05
            drop = ellipse(out, some.v - 0.29, 0.06, 0.10)
            some.fill(drop - 0.025, WATER_EDGE, some.units["tear"])
            some.fill(drop, WATER, some.units["tear"])


def sweat(canvas: Canvas) -> None:
    """One drop of sweat at the temple, pointed at the top."""
    part = canvas.window(0.2, -0.62, 0.72, -0.05)
    with part.only(part.units["sweat"] > 0.1) as some:
        if some is not None:
            down = some.v + 0.33
            width = 0.07 * (1 + (down * 3).clamp(-0.9, 0.6))
            drop = ellipse(
                (some.u - some.traits["head_width"] * 0.76) * (0.07 / width), down, 0.07, 0.135
            )
            some.fill(drop - 0.025, WATER_EDGE, some.units["sweat"])
            some.fill(drop, WATER, some.units["sweat"])


def glasses(canvas: Canvas) -> None:
    """Round frames and a bridge."""
    part = canvas.window(-0.56, EYES - 0.3, 0.56, EYES + 0.3)
    with part.only(part.traits["glasses"] > 0) as some:
        if some is not None:
            size, gap = some.traits["eye_size"] * 1.5, some.traits["eye_gap"]
            u = some.u.abs()
            rim = (torch.hypot(u - gap, some.v - EYES) - size).abs() - 0.02
            bridge = torch.maximum((some.v - EYES + 0.03).abs() - 0.02, u - (gap - size))
            some.fill(torch.minimum(rim, bridge), some.traits["shirt"] * 0.6)


def outline_of_hair(part: Canvas, style: str) -> Tensor:
    """The signed distance to the outer edge of the hair."""
    width, height = part.traits["head_width"], part.traits["head_height"]
    u, v = part.u, part.v
    if style == "curls":
        locks = 0.035 * torch.cos(15 * u) * torch.cos(15 * v)
        return ellipse(u, v + 0.12, width * 1.22, height * 1.04) - locks
    if style in ("long", "bob"):  # a cap whose sides fall straight from its widest place
        wide, bottom = (width * 1.17, 0.66) if style == "long" else (width * 1.20, 0.40)
        wide = wide * (1 + 0.10 * v)
        cap = (torch.hypot(u / wide, (v + 0.03).clamp(max=0) / (height * 1.13)) - 1) * wide
        return round_corner(cap, v - bottom, 0.14)
    return ellipse(u, v + 0.04, width * 1.09, height * 1.14)


def round_corner(first: Tensor, second: Tensor, radius: float) -> Tensor:
    """The signed distance to what lies in both shapes, with a round corner where they meet."""
    first, second = first + radius, second + radius
    corner = torch.hypot(first.clamp(min=0), second.clamp(min=0))
    return corner + torch.maximum(first, second).clamp(max=0) - radius


def hairline(part: Canvas, style: str) -> Tensor:
    """The signed distance to the opening through which the face looks out of the hair."""
    width = part.traits["head_width"]
    u, v = part.u, part.v
    if style == "crop":  # swept to one side
        return ellipse(u, v - 0.20 - 0.26 * u, width * 0.94, 0.70)
    if style == "curls":
        return ellipse(u, v - 0.22, width * 0.90, 0.71) + 0.02 * torch.cos(17 * u)
    if style == "long":  # parted in the middle, a curtain to each side
        return ellipse(u, v - 0.28 - 0.25 * u.abs(), width * 0.90, 0.84)
    if style == "bob":  # cut straight across
        return round_corner(u.abs() - width * (0.86 - 0.08 * v), -0.49 - v, 0.16)
    return ellipse(u, v - 0.18, width * 0.96, 0.70)  # combed back into a bun


def hair_behind(canvas: Canvas) -> None:
    """Hair that falls behind the head, and the bun on top of it."""
    for number, style in enumerate(STYLES):
        if style == "crop":
            continue
        with canvas.only(canvas.traits["style"] == number) as some:
            if some is None:
                continue
            if style == "bun":
                some = some.window(-0.3, -1.1, 0.3, -0.55)
                shape = ellipse(some.u, some.v + 0.88, 0.20, 0.18)
            else:
                some = some.window(-0.85, -0.95, 0.85, 0.75)
                shape = outline_of_hair(some, style)
            some.fill(shape - LINE, INK)
            some.fill(shape, some.traits["hair"] * 0.80)


def hair_in_front(canvas: Canvas) -> None:
    """Hair on top of the head: all within the outline of the style and outside its hairline."""
    for number, style in enumerate(STYLES):
        with canvas.only(canvas.traits["style"] == number) as some:
            if some is None:
                continue
            bottom = {"long": 0.70, "bob": 0.46, "crop": -0.08, "bun": -0.05, "curls": 0.0}[style]
            some = some.window(-0.85, -0.95, 0.85, bottom + 0.05)
            shape = torch.maximum(outline_of_hair(some, style), -hairline(some, style))
            shape = torch.maximum(shape, some.v - bottom)
            some.fill(shape - LINE, INK)
            inside = some.cover(shape)
            some.paint(inside, some.traits["hair"])
            shine = ((some.u + 0.2) / 0.22).square() + (
                (some.v + 0.62 + 0.3 * some.u.square()) / 0.06
            ).square()
            lighter = (some.traits["hair"] * 1.35 + 0.10).clamp(max=1)
            some.paint((-shine).exp_() * inside * 0.6, lighter)
