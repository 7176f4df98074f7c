"""The one look of every figure of the course: a colour, a marker and a hatch for each modality.

Colours come from Okabe and Ito's palette, which people with any colour vision can tell apart (a brown
stands for its yellow, which white swallows). No colour carries a meaning alone: a marker, a hatch or a
word always says the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import seaborn as sns
import torch
from cycler import cycler
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Look:
    """How one thing looks in every figure of the course."""

    color: str
    marker: str
    hatch: str
    linestyle: str


#: The modalities, and what is made of several of them.
LOOKS: dict[str, Look] = {
    "text": Look("#0072B2", "s", "///", "--"),
    "audio": Look("#E69F00", "o", "...", "-."),
    "vision": Look("#009E73", "^", "xx", ":"),
    "fusion": Look("#3D3D3D", "D", "", "-"),
}
OTHERS = (
    Look("#CC79A7", "v", "\\\\\\", "-"),
    Look("#56B4E9", "P", "++", "--"),
    Look("#D55E00", "X", "oo", "-."),
    Look("#7A4B2A", "p", "--", ":"),
)
CEILING = "#B00020"

STYLE: Any = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("notebook", font_scale=0.9),
    "font.family": ["DejaVu Sans"],  # comes with Matplotlib: the same letters on every machine
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.edgecolor": "#4D4D4D",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "image.cmap": "magma",
    "image.interpolation": "nearest",
    "axes.prop_cycle": cycler(
        color=[each.color for each in (*LOOKS.values(), *OTHERS)],
        linestyle=[each.linestyle for each in (*LOOKS.values(), *OTHERS)],
    ),
}


def apply_style() -> None:
    """Make the figures that a notebook draws by hand look like the course's own."""
    mpl.rcParams.update(STYLE)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the course's style, of which nothing that a notebook has set is left."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return wrapper


def look(name: str, order: int = 0) -> Look:
    """Return the look of a modality, of a combination such as "text+audio", or of the order-th other thing."""
    if name in LOOKS:
        return LOOKS[name]
    if "+" in name:
        return LOOKS["fusion"]
    return OTHERS[order % len(OTHERS)]


def distinct_looks(names: Sequence[str]) -> list[Look]:
    """Return a look for each name, no two alike: modalities keep theirs, the rest take what is free."""
    wanted = [LOOKS.get(name) or (LOOKS["fusion"] if "+" in name else None) for name in names]
    free = [each for each in (*OTHERS, *reversed(LOOKS.values())) if each not in wanted]
    taken: list[Look] = []
    for order, wish in enumerate(wanted):
        if wish is not None and wish not in taken:
            taken.append(wish)
        elif free:
            taken.append(free.pop(0))
        else:  # more than there are looks: the same colours again, with other markers
            every = (*LOOKS.values(), *OTHERS)
            one, other = every[order % 8], every[(order + order // 8) % 8]
            taken.append(Look(one.color, other.marker, other.hatch, other.linestyle))
    return taken


def luminance(color: Any) -> float:
    """Return the relative luminance of a colour: 0 for black, 1 for white (WCAG 2.2)."""
    channels = np.asarray(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: Any, other: Any) -> float:
    """Return the contrast of two colours, from 1 to 21; text needs 4.5 (WCAG 2.2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink(background: Any) -> str:
    """Return black or white, whichever can be read better on the background."""
    return max(("black", "white"), key=lambda text: contrast(text, background))


def new_figure(width: float, height: float, *, tight: bool = False) -> Figure:
    """Return a figure in inches (100 pixels each) that pyplot does not keep and so cannot leave open."""
    pad, space = (0.01, 0.0) if tight else (0.04, 0.02)
    engine = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=space, hspace=space)
    return Figure(figsize=(width, height), layout=engine)


def panel(ax: Axes | None, width: float = 6.4, height: float = 3.6) -> Axes:
    """Return `ax` in the course's frame, or the only panel of a new figure."""
    if ax is None:
        return new_figure(width, height).subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def as_array(values: Any) -> np.ndarray:
    """Return a tensor, array or list as a NumPy array."""
    if isinstance(values, torch.Tensor):
        return values.detach().float().cpu().numpy()
    return np.asarray(values)
