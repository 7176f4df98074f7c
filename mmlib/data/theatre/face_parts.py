"""The layers of a face, each one a small function that paints on a canvas.

Coordinates are the head's: u to the right, v down, (0, 0) its middle. What comes in pairs is painted
once, in the mirrored coordinate |u|. Dark outlines about 0.04 wide keep a face legible at 32 pixels.
"""

import functools

import torch
from torch import Tensor

from mmlib.data.theatre.canvas import Canvas, ellipse, length, round_corner
from mmlib.data.theatre.cast import STYLES

WHITE = (0.99, 0.99, 1.0)
WATER, WATER_EDGE = (0.48, 0.77, 0.98), (0.12, 0.32, 0.60)
GUM, TEETH, TONGUE = (0.45, 0.08, 0.12), (1.0, 1.0, 0.97), (0.90, 0.42, 0.45)
EYES, MOUTH = 0.0, 0.39  # the height of either
ROUND_MOUTH = 0.17  # mouths narrower than this are round
#: How far down the hair comes, before the head and behind it.
BOTTOM = {"crop": -0.08, "long": 0.68, "curls": 0.55, "bob": 0.42, "bun": -0.05}
FRONT_BOTTOM = BOTTOM | {"curls": 0.0}


def shirt(canvas: Canvas) -> None:
    """Shoulders in the actor's shirt, plain or striped."""
    part = canvas.window(-1.0, 0.42, 1.0, 1.0)
    distance = ellipse(part.u, part.v - 1.06, 0.86, 0.50) * 0.6
    inside = part.outlined(distance, part.traits["shirt"])
    stripe = (((part.v - 0.60) / 0.16).frac() - 0.5).abs() * 0.16 - 0.04
    part.fill(stripe, (0.97, 0.96, 0.93), inside * part.traits["stripes"])


def hair_behind(canvas: Canvas) -> None:
    """Hair that falls behind the head, and the bun on top of it."""

    def fall(part: Canvas, style: str) -> None:
        part = part.window(-0.82, -0.90, 0.82, BOTTOM[style] + 0.06)
        part.outlined(outline_of_hair(part, style), part.traits["hair"] * 0.80)

    def bun(part: Canvas) -> None:
        part = part.window(-0.26, -1.12, 0.26, -0.60)
        part.outlined(ellipse(part.u, part.v + 0.88, 0.20, 0.18), part.traits["hair"] * 0.80)

    worn = canvas.traits["style"]
    for style in ("long", "curls", "bob"):
        canvas.only(worn == STYLES.index(style), functools.partial(fall, style=style))
    canvas.only(worn == STYLES.index("bun"), bun)


def outline_of_hair(part: Canvas, style: str) -> Tensor:
    """The signed distance to the outer edge of the hair."""
    width, height = part.traits["head_width"], part.traits["head_height"]
    u, v = part.u, part.v
    if style == "curls":
        locks = (15 * u).cos_().mul_((15 * v).cos_()).mul_(0.035)
        return ellipse(u, v + 0.12, width * 1.22, height * 1.04).sub_(locks)
    if style in ("long", "bob"):  # a cap whose sides fall straight from its widest place
        wide, bottom = (width * 1.17, 0.66) if style == "long" else (width * 1.20, 0.40)
        wide = wide * (1 + 0.10 * v)
        cap = ellipse(u, (v + 0.03).clamp_(max=0), wide, height * 1.13)
        return round_corner(cap, v - bottom, 0.14)
    return ellipse(u, v + 0.04, width * 1.09, height * 1.14)


def hairline(part: Canvas, style: str) -> Tensor:
    """The signed distance to the opening through which the face looks out of the hair."""
    width = part.traits["head_width"]
    u, v = part.u, part.v
    if style == "crop":  # swept to one side
        return ellipse(u, v - 0.20 - 0.26 * u, width * 0.94, 0.70)
    if style == "curls":
        return ellipse(u, v - 0.22, width * 0.90, 0.71).add_((17 * u).cos_(), alpha=0.02)
    if style == "long":  # parted in the middle, a curtain to each side
        return ellipse(u, v - 0.28 - 0.25 * u.abs(), width * 0.90, 0.84)
    if style == "bob":  # cut straight across
        return round_corner(u.abs() - width * (0.86 - 0.08 * v), -0.49 - v, 0.16)
    return ellipse(u, v - 0.18, width * 0.96, 0.70)  # combed back into a bun


def neck(canvas: Canvas) -> None:
    """The neck, in the shade of the chin."""
    part = canvas.window(-0.2, 0.45, 0.2, 0.8)
    part.fill(
        torch.maximum(part.u.abs() - 0.16, (part.v - 0.58).abs() - 0.16), part.traits["skin"] * 0.78
    )


def ears(canvas: Canvas) -> None:
    """Both ears; long hair and bobs hide them."""
    style = canvas.traits["style"]

    def paint(part: Canvas) -> None:
        out = part.u.abs() - part.traits["head_width"] * 0.99
        part.outlined(ellipse(out, part.v - 0.04, 0.105, 0.14), part.traits["skin"] * 0.88)

    hidden = (style == STYLES.index("long")) | (style == STYLES.index("bob"))
    canvas.window(-0.8, -0.16, 0.8, 0.25).only(~hidden, paint)


def head(canvas: Canvas) -> None:
    """A superellipse of exponent 2.5, x * x * sqrt(x) (no slow power), narrower at the jaw."""
    part = canvas.window(-0.68, -0.80, 0.68, 0.80)
    width, height = part.traits["head_width"], part.traits["head_height"]
    jaw = width - (0.20 * width) * (part.v - 0.05).clamp_(min=0)
    x, y = (part.u / jaw).abs_(), (part.v / height).abs_()
    reach = (x * x).mul_(x.sqrt_()) + (y * y).mul_(y.sqrt_())
    part.outlined(reach.sub_(1).mul_(width * 0.4), part.traits["skin"])


def nose(canvas: Canvas) -> None:
    """A soft shadow."""
    part = canvas.window(-0.14, 0.06, 0.14, 0.28)
    size = part.traits["nose_size"]
    part.fill(ellipse(part.u, part.v - 0.17, size * 1.3, size), part.traits["skin"] * 0.82)


def hair_in_front(canvas: Canvas) -> None:
    """Hair on top of the head: all within the outline of the style and outside its hairline."""

    def paint(part: Canvas, style: str) -> None:
        bottom = FRONT_BOTTOM[style]
        part = part.window(-0.82, -0.92, 0.82, bottom + 0.06)
        shape = torch.maximum(outline_of_hair(part, style), -hairline(part, style))
        part.outlined(torch.maximum(shape, part.v - bottom), part.traits["hair"])

    for number, style in enumerate(STYLES):
        worn = canvas.traits["style"] == number
        canvas.only(worn, functools.partial(paint, style=style))
    shine(canvas)


def shine(canvas: Canvas) -> None:
    """A soft light on the crown."""
    part = canvas.window(-0.42, -0.72, 0.12, -0.50)
    u, v = part.u + 0.15, part.v + 0.62 - 0.4 * part.u.square()
    light = 1 - (u / 0.25).square_().add_((v / 0.075).square_())
    lighter = (part.traits["hair"] * 1.35 + 0.10).clamp(max=1)
    part.paint(light.clamp_(min=0).mul_(0.55), lighter)


def complexion(canvas: Canvas) -> None:
    """The skin as the emotion colours it: red, pale, or green where the nose is wrinkled."""
    tint, wrinkle = canvas.units["tint"][:, None], canvas.units["wrinkle"][:, None]
    red, pale = tint.clamp(min=0), (-tint).clamp(min=0)
    colours = canvas.image.new_tensor(
        [[0.05, -0.07, -0.07], [-0.035, -0.005, 0.012], [-0.16, 0.04, -0.14]]
    )
    reddened, paled, sickened = colours[:, :, None, None]
    shift = red * reddened + pale * paled + pale * wrinkle * sickened  # (B, 3, 1, 1)
    canvas.image[:, :3].addcmul_(canvas.image[:, 3:], shift)


def blush(canvas: Canvas) -> None:
    """Rosy cheeks, soft at the edge, on what is skin."""
    part = canvas.window(-0.60, 0.04, 0.60, 0.44)
    away = length((part.u.abs() - 0.35) / 0.24, (part.v - 0.24) / 0.175)
    cheek = (1 - away * away).clamp_(min=0).mul_(0.72 * part.units["blush"])
    part.paint(cheek.mul_(part.image[:, 3]), (0.97, 0.38, 0.38))


def wrinkles(canvas: Canvas) -> None:
    """Folds beside the bridge of a nose that is turned up."""

    def paint(part: Canvas) -> None:
        u = part.u.abs()
        rise = part.v + 0.5 * u
        folds = torch.minimum((rise - 0.01).abs_(), (rise - 0.09).abs_()) - 0.016
        folds = torch.maximum(folds, (u - 0.075).abs_() - 0.055)
        part.fill(folds, part.traits["skin"] * 0.45, part.units["wrinkle"])

    canvas.window(-0.15, -0.1, 0.15, 0.13).only(canvas.units["wrinkle"] > 0.1, paint)


def eyes(canvas: Canvas) -> None:
    """Two eyes: white, iris, pupil and a glint, closed by curved lids from above and below."""
    part = canvas.window(-0.50, EYES - 0.26, 0.50, EYES + 0.25)
    units, traits = part.units, part.traits
    size, gap = traits["eye_size"], traits["eye_gap"]
    squint = units["squint"]
    out, down = part.u.abs() - gap, part.v - EYES  # out is positive towards the temple
    bow = out * out / size
    lid = size * 1.12 * (2 * units["eye_open"] - 1).clamp(max=1.3)
    upper = 0.55 * bow - lid - down + units["slant"] * out  # slant drops the outer end
    lower = down - size * 1.12 * (1 - 1.5 * squint) - 0.9 * squint * bow
    ball = ellipse(out, down, size, size * 1.12)
    white = part.outlined(torch.maximum(torch.maximum(ball, upper), lower), WHITE)
    from_centre = length(out, down - 0.01)
    part.fill(from_centre - size * 0.64, traits["iris"], white)
    part.fill(from_centre - size * (0.22 + 0.34 * units["pupil"]), (0.06, 0.04, 0.05), white)
    # The glint is on the same side of both eyes, so it is not mirrored.
    glint = length(part.u - torch.sign(part.u) * gap + 0.045, down + 0.05)
    part.fill(glint - 0.036, WHITE, white)


def mouth(canvas: Canvas) -> None:
    """A wide mouth that bends, or a round one where it is narrow."""
    units = canvas.units
    bend = float((0.575 * units["mouth_curve"].abs() + units["mouth_asymmetry"].abs()).max())
    drop = 0.75 * float(units["mouth_open"].max())
    part = canvas.window(-0.40, MOUTH - bend - 0.1, 0.40, MOUTH + bend + drop + 0.1)
    narrow = units["mouth_width"] < ROUND_MOUTH
    part.only(~narrow, wide_mouth)
    part.only(narrow, round_mouth)


def wide_mouth(part: Canvas) -> None:
    """Lips along a parabola; between them teeth above and the tongue below."""
    width, opened = part.units["mouth_width"], part.units["mouth_open"]
    steepest = 0.75 * width  # a narrow mouth cannot bend as far
    curve = torch.minimum(part.units["mouth_curve"].abs(), steepest)
    curve = curve * part.units["mouth_curve"].sign()
    asymmetry = part.units["mouth_asymmetry"]
    across = part.u / width
    dome = 1 - across * across
    middle = (1.15 * curve) * (dome - 0.5) - asymmetry * across + MOUTH
    height = dome.clamp_(min=0).sqrt_() * opened
    upper, lower = middle - 0.15 * height, middle + 0.68 * height
    slope = (2.3 * curve * across + asymmetry) / width
    gap = torch.maximum(upper - part.v, part.v - lower) * torch.rsqrt(slope * slope + 1)
    inside = part.outlined(round_corner(gap, part.u.abs() - width, 0.0), GUM)
    inside = inside * (opened > 0.015)
    part.fill(part.v - upper - 0.4 * opened.clamp(max=0.24), TEETH, inside)
    part.fill(ellipse(part.u, part.v - lower, 0.56 * width, 0.5 * opened + 0.001), TONGUE, inside)


def round_mouth(part: Canvas) -> None:
    """The "o" of surprise."""
    width, opened = part.units["mouth_width"], part.units["mouth_open"]
    shape = ellipse(part.u, part.v - MOUTH - 0.1 * opened, width, 0.70 * opened + 0.01)
    inside = part.outlined(shape, GUM)
    tongue = ellipse(part.u, part.v - MOUTH - 0.8 * opened, 0.6 * width, 0.5 * opened + 0.01)
    part.fill(tongue, (0.62, 0.20, 0.24), inside)


def tongue_out(canvas: Canvas) -> None:
    """The tongue that says "yuck": out where the nose is wrinkled most."""

    def paint(part: Canvas) -> None:
        out = ((part.units["wrinkle"] - 0.6) / 0.3).clamp(0, 1)
        u, v = part.u - 0.02, part.v - MOUTH
        shape = torch.maximum(ellipse(u, v - 0.05 - 0.09 * out, 0.085, 0.115), 0.05 - v)
        part.outlined(shape, TONGUE, line=0.03, opacity=out)
        crease = torch.maximum(u.abs() - 0.012, (v - 0.11).abs_() - 0.05)
        part.fill(crease, (0.70, 0.25, 0.30), out)

    part = canvas.window(-0.12, MOUTH, 0.16, MOUTH + 0.31)
    part.only(canvas.units["wrinkle"] > 0.6, paint)


def brows(canvas: Canvas) -> None:
    """Two brows, darker than any hair and painted over it, so that no fringe hides them."""
    part = canvas.window(-0.46, EYES - 0.50, 0.46, EYES - 0.10)
    units, traits = part.units, part.traits
    out = part.u.abs() - (traits["eye_gap"] + 0.01)
    down = part.v - (EYES - traits["eye_size"] * 1.12 - 0.075 - 0.8 * units["brow_height"])
    cosine, sine = units["brow_angle"].cos(), units["brow_angle"].sin()
    along = cosine * out + sine * down
    across = cosine * down - sine * out - 0.9 * along * along  # arched
    beyond = (along.abs_() - 0.135).clamp_(min=0)
    part.fill(length(beyond, across) - traits["brow_thickness"], traits["hair"] * 0.40)


def glasses(canvas: Canvas) -> None:
    """Round frames that match the shirt, and a bridge."""

    def paint(part: Canvas) -> None:
        size, gap = part.traits["eye_size"] * 1.5, part.traits["eye_gap"]
        u, v = part.u.abs(), part.v - EYES
        rim = (length(u - gap, v) - size).abs_() - 0.02
        bridge = torch.maximum((v + 0.03).abs_() - 0.02, u - (gap - size))
        part.fill(torch.minimum(rim, bridge), part.traits["shirt"] * 0.6)

    canvas.window(-0.56, EYES - 0.3, 0.56, EYES + 0.3).only(canvas.traits["glasses"] > 0, paint)


def tears(canvas: Canvas) -> None:
    """A tear under each eye."""

    def paint(part: Canvas) -> None:
        out = part.u.abs() - part.traits["eye_gap"] - 0.05
        drop = ellipse(out, part.v - 0.29, 0.06, 0.10)
        part.outlined(drop, WATER, ink=WATER_EDGE, line=0.025, opacity=part.units["tear"])

    canvas.window(-0.42, 0.14, 0.42, 0.44).only(canvas.units["tear"] > 0.1, paint)


def sweat(canvas: Canvas) -> None:
    """One drop of sweat at the temple, pointed at the top."""

    def paint(part: Canvas) -> None:
        down = part.v + 0.33
        taper = 1 + 4.0 * down.clamp(-0.18, 0.05)
        across = (part.u - part.traits["head_width"] * 0.76) / taper
        drop = ellipse(across, down, 0.065, 0.125)
        part.outlined(drop, WATER, ink=WATER_EDGE, line=0.025, opacity=part.units["sweat"])

    canvas.window(0.25, -0.53, 0.65, -0.12).only(canvas.units["sweat"] > 0.1, paint)
