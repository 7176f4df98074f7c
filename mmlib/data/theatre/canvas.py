"""A canvas on which many portraits are painted at once, layer over layer.

A layer is a shape given by its signed distance (negative inside), softened over one pixel and
filled with one colour: the painter's algorithm. `face_parts` holds the layers, `faces` their order.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: The head's middle lies this far below the canvas's, and it tilts around a point this far below.
HEAD_SHIFT, NECK = 0.08, 0.75

#: Outlines: dark, and wide enough to survive 32 pixels.
INK, LINE = (0.16, 0.11, 0.13), 0.037

Colour = Tensor | tuple[float, float, float]


def _pixels(least: float, most: float, size: int) -> slice:
    """The pixels between two canvas coordinates, one to spare on each side."""
    first, last = (least + 1) / 2 * size - 1, (most + 1) / 2 * size + 1
    return slice(min(max(math.floor(first), 0), size - 1), max(min(math.ceil(last), size), 1))


@dataclass
class Canvas:
    """Some portraits being painted, or a window on them.

    `u` and `v` are the head's coordinates, to the right and down: (0, 0) is the middle of the head,
    1 is half a canvas, and they tilt with the head. Units and traits are shaped to go with them.

    *Shape*: `image` (B, C, h, w), red, green, blue and, if C is 4, how much of a pixel is skin; `u`,
    `v` (B, h, w); `units` and `traits` (B, 1, 1) each, colours among the traits (B, C, 1, 1).
    """

    image: Tensor
    u: Tensor
    v: Tensor
    pixel: float
    units: dict[str, Tensor]
    traits: dict[str, Tensor]
    lean: float = 0.0

    @classmethod
    def of(cls, image: Tensor, units: dict[str, Tensor], traits: dict[str, Tensor]) -> "Canvas":
        """Lay head coordinates over square images (B, C, S, S), tilted by the unit `tilt`."""
        size = image.shape[-1]
        axis = (torch.arange(size, device=image.device) + 0.5) * (2 / size) - 1
        x, y = axis[None, None, :], axis[None, :, None] - (HEAD_SHIFT + NECK)
        cosine, sine = units["tilt"].cos(), units["tilt"].sin()
        u, v = cosine * x + sine * y, cosine * y - sine * x + NECK
        lean = float(units["tilt"].abs().max())
        return cls(image, u, v, 2 / size, units, traits, lean)

    def window(self, left: float, top: float, right: float, bottom: float) -> "Canvas":
        """The pixels that a rectangle of head coordinates covers at every tilt of this chunk.

        The window shares the canvas's memory: painting in it paints the canvas.
        """
        size = round(2 / self.pixel)
        cosine, sine = math.cos(self.lean), math.sin(self.lean)
        xs, ys = [left, right], [top, bottom]
        for u in (left, right):
            for v in (top - NECK, bottom - NECK):
                xs += [cosine * u - sine * v, cosine * u + sine * v]
                ys += [cosine * v + sine * u + NECK, cosine * v - sine * u + NECK]
        columns = _pixels(min(xs), max(xs), size)
        rows = _pixels(min(ys) + HEAD_SHIFT, max(ys) + HEAD_SHIFT, size)
        return Canvas(
            self.image[:, :, rows, columns],
            self.u[:, rows, columns],
            self.v[:, rows, columns],
            self.pixel,
            self.units,
            self.traits,
            self.lean,
        )

    def rows(self, which: slice | Tensor) -> "Canvas":
        """Some of the portraits: shared by a slice, copied by an index."""
        return Canvas(
            self.image[which],
            self.u[which],
            self.v[which],
            self.pixel,
            {name: value[which] for name, value in self.units.items()},
            {name: value[which] for name, value in self.traits.items()},
            self.lean,
        )

    def only(self, chosen: Tensor, paint: Callable[["Canvas"], None]) -> None:
        """Let `paint` work on the portraits where `chosen` (B, 1, 1) holds.

        A prop is worn by few; this spares the others the work. Neighbours are painted in place,
        scattered portraits on a copy that is put back.
        """
        index = chosen.flatten().nonzero().flatten()
        if len(index) == 0:
            return
        first, last = int(index[0]), int(index[-1])
        if last - first + 1 == len(index):
            paint(self.rows(slice(first, last + 1)))
            return
        copy = self.rows(index)
        paint(copy)
        self.image[index] = copy.image

    def cover(self, distance: Tensor) -> Tensor:
        """How much of each pixel lies inside a shape, from its signed distance."""
        return (distance * (-1 / self.pixel)).add_(0.5).clamp_(0, 1)

    def paint(self, cover: Tensor, colour: Colour) -> None:
        """Lay a colour over the image where `cover` (B, h, w) says, in place; a tuple is no skin."""
        if isinstance(colour, tuple):
            channels = (*colour, 0.0)[: self.image.shape[1]]
            colour = self.image.new_tensor(channels)[:, None, None]
        self.image.lerp_(colour, cover[:, None])  # (B, C, h, w), (B, C, 1, 1), (B, 1, h, w)

    def fill(self, distance: Tensor, colour: Colour, opacity: Tensor | None = None) -> None:
        """Fill a shape given by its signed distance, see-through where `opacity` is below one."""
        cover = self.cover(distance)
        self.paint(cover if opacity is None else cover.mul_(opacity), colour)

    def outlined(
        self,
        distance: Tensor,
        colour: Colour,
        *,
        ink: Colour = INK,
        line: float = LINE,
        opacity: Tensor | None = None,
    ) -> Tensor:
        """Fill a shape and draw a line round it; return what the shape covers."""
        edge = (distance * (-1 / self.pixel)).add_(0.5)
        outer, inner = (edge + line / self.pixel).clamp_(0, 1), edge.clamp_(0, 1)
        if opacity is not None:
            outer, inner = outer.mul_(opacity), inner.mul_(opacity)
        self.paint(outer, ink)
        self.paint(inner, colour)
        return inner


def length(x: Tensor, y: Tensor) -> Tensor:
    """The square root of x * x + y * y, twice as fast as `torch.hypot`, which guards overflow."""
    return (x * x).addcmul_(y, y).sqrt_()


def ellipse(u: Tensor, v: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """The signed distance to an ellipse round (0, 0): exact for circles and along its width."""
    return length(u / width, v / height).sub_(1).mul_(width)


def round_corner(first: Tensor, second: Tensor, radius: float) -> Tensor:
    """The signed distance to what lies in both shapes, with a round corner where they meet."""
    first, second = first + radius, second + radius
    corner = length(first.clamp(min=0), second.clamp(min=0))
    return corner.add_(torch.maximum(first, second).clamp_(max=0)).sub_(radius)
