"""A kernel over time and places, whole and taken apart."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmlib.plots.looks import LOOKS, OTHERS, new_figure, styled

SHIFT = (0.62, 0.5)  # how far each later frame is drawn to the right and up


@styled
def factorised_kernel(t: int = 3, d: int = 3) -> Figure:
    """Draw a t x d x d kernel, and the 1 x d x d and t x 1 x 1 kernels in its place.

    Args:
        t: frames that the kernel sees.
        d: places that it sees, in height and in width.
    """
    figure = new_figure(9.0, 2.6)
    panels = figure.subplots(1, 3)
    middle = (t // 2, d // 2, d // 2)

    def everything(k: int, i: int, j: int) -> bool:
        return True

    def one_frame(k: int, i: int, j: int) -> bool:
        return k == middle[0]

    def one_place(k: int, i: int, j: int) -> bool:
        return (i, j) == middle[1:]

    for ax, title, weighed, colour, hatch in (
        (panels[0], f"{t} x {d} x {d}: all at once", everything, LOOKS["fusion"].color, ""),
        (panels[1], f"1 x {d} x {d}: places first,", one_frame, OTHERS[1].color, "//"),
        (panels[2], f"{t} x 1 x 1: then time", one_place, OTHERS[2].color, "xx"),
    ):
        _stack(ax, t, d, weighed, colour, hatch)
        ax.set_title(title, fontsize=11.5)
    return figure


def _stack(
    ax: Axes, t: int, d: int, weighed: Callable[[int, int, int], bool], colour: str, hatch: str
) -> None:
    """Draw t frames of d x d places, the last at the back; fill those that have a weight."""
    for k in reversed(range(t)):
        right, up = (k * d * each for each in SHIFT)
        for i in range(d):
            for j in range(d):
                cell = Rectangle((right + j, up + i), 1, 1, ec="#8C8C8C", lw=0.8, fc="white")
                if weighed(k, i, j):
                    cell.set(facecolor=colour, edgecolor="white", hatch=hatch)
                ax.add_patch(cell)
        ax.text(right + d + 0.15, up + 0.1, f"frame {k + 1}", size=8.5, va="bottom")
    ax.set(xlim=(-0.3, d * (1 + SHIFT[0] * (t - 1)) + 2.6), xticks=[], yticks=[])
    ax.set_ylim(-0.3, d * (1 + SHIFT[1] * (t - 1)) + 0.3)
    ax.set_aspect("equal")
    ax.spines[:].set_visible(False)
