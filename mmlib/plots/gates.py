"""What a network does to a face: its maps, the reach of a score, how two scores join, where a gate lets through."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.patheffects import withStroke
from torch.nn import functional as F

from mmlib.plots.inputs import named
from mmlib.plots.looks import LOOKS, OTHERS, as_array, distinct_looks, new_figure, panel, styled
from mmlib.plots.stage import show_face

#: How the edge of a part of the face is drawn, in white with a dark rim: its line.
EDGES = ("-", "--", ":")


@styled
def picture_row(pictures: Mapping[str, Any], *, height: float = 1.9, title: str = "") -> Figure:
    """Draw pictures and maps in a row, each under its name.

    Args:
        pictures: name -> a picture (3, H, W) in [0, 1] or uint8, or a map (H, W), whose black is
            its lowest value and whose white its highest; signed maps are grey where they are zero.
        height: inches of a picture.
        title: what is shown.

    Raises:
        ValueError: there is nothing to draw, or something is neither a picture nor a map.
    """
    given = named(pictures, "picture_row", '{"face": frames[0], "edges": maps[0, 0]}')
    lines = 1 + max(name.count("\n") for name in given)
    figure = new_figure(height * len(given), height + 0.2 * lines + 0.3 * bool(title))
    panels: Any = figure.subplots(1, len(given), squeeze=False)[0]
    for ax, (name, values) in zip(panels, given.items(), strict=True):
        picture = torch.as_tensor(values)
        if picture.dim() == 3 and len(picture) == 3:
            show_face(ax, picture)
        elif picture.dim() == 2:
            _show_map(ax, as_array(picture))
        else:
            raise ValueError(
                f"{name!r} has shape {tuple(picture.shape)}; expected a picture (3, H, W) or a map (H, W)"
            )
        ax.set_title(name, loc="center", fontsize=10, fontweight="normal")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _show_map(ax: Axes, values: np.ndarray) -> None:
    """Put a map on a panel in grey; a signed one has zero in the middle of the greys."""
    low, high = float(values.min()), float(values.max())
    if low < 0 < high:
        high = max(-low, high)
        low = -high
    ax.imshow(values, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


@styled
def reach_maps(reaches: Mapping[str, Any], *, title: str = "") -> Figure:
    """Draw which places of a map one score hangs on; the score's own place is crossed.

    Args:
        reaches: name -> (H, W), nonzero where a place has a say.
        title: what is shown.
    """
    figure = new_figure(2.9 * len(reaches), 3.1 + 0.3 * bool(title))
    panels: Any = figure.subplots(1, len(reaches), squeeze=False)[0]
    for ax, (name, values) in zip(panels, reaches.items(), strict=True):
        seen = as_array(values) != 0
        height, width = seen.shape
        ax.imshow(seen, cmap="Blues", vmin=0, vmax=1.4)
        ax.plot(width // 2, height // 2, ls="", marker="x", ms=7, mew=2, color=OTHERS[2].color)
        ax.set_xticks(np.arange(-0.5, width), [])
        ax.set_yticks(np.arange(-0.5, height), [])
        ax.grid(color="#D0D0D0", lw=0.4, ls="-")
        ax.tick_params(length=0)
        ax.set_title(name, loc="center", fontsize=10, fontweight="normal")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


@styled
def gate_planes() -> Figure:
    """Draw the two ways to join a channel's score and a place's: what they let through."""
    line = np.linspace(-4, 4, 161)
    channel, place = np.meshgrid(line, line)
    factors = {
        "product: σ(channel · place)": 1 / (1 + np.exp(-channel * place)),
        "BAM: 1 + σ(channel + place)": 1 + 1 / (1 + np.exp(-channel - place)),
    }
    figure = new_figure(8.2, 3.6)
    panels: Any = figure.subplots(1, 2)
    for ax, (name, factor) in zip(panels, factors.items(), strict=True):
        ax.imshow(
            factor, origin="lower", extent=(-4, 4, -4, 4), cmap="PuOr_r", vmin=0, vmax=2, alpha=0.9
        )
        levels = [v for v in (0.05, 0.25, 0.5, 0.75, 0.95, 1.05, 1.25, 1.5, 1.75, 1.95)]
        lines = ax.contour(line, line, factor, levels=levels, colors="black", linewidths=0.8)
        ax.clabel(lines, fontsize=8.5)
        ax.plot(0, 0, ls="", marker="o", ms=7, color="white", mec="black", mew=1.5)
        ax.set(xlabel="score of the channel", ylabel="score of the place", title=name)
        ax.set_xticks([-4, -2, 0, 2, 4])
        ax.set_yticks([-4, -2, 0, 2, 4])
    return figure


@styled
def gate_over_faces(
    faces: Any,
    gates: Any,
    *,
    parts: Mapping[str, Any] | None = None,
    names: Sequence[str] = (),
    words: str = "let through",
    limits: tuple[float, float] | None = None,
    columns: int = 6,
    side: float = 1.62,
) -> Figure:
    """Draw gates over faces: bright where a place is let through, with the outlines of parts.

    Args:
        faces: pictures (N, 3, S, S), in [0, 1] or uint8.
        gates: a value for each place, (N, h, w); drawn at the faces' size.
        parts: name -> where the part is, (N, S, S) bool; three at most.
        names: a title for each face.
        words: what the values are, for the bar beside the faces.
        limits: the values of the darkest and the brightest place; None takes those that occur.
        columns: faces in a row.
        side: inches of a face.

    Raises:
        ValueError: not one gate a face, or more parts than there are ways to draw an edge.
    """
    pictures, values = torch.as_tensor(faces), torch.as_tensor(gates).detach().float()
    shown = dict(parts or {})
    if values.dim() != 3 or len(values) != len(pictures):
        raise ValueError(
            f"{len(pictures)} faces and gates of shape {tuple(values.shape)}; expected one map a face"
        )
    if len(shown) > len(EDGES):
        raise ValueError(f"{len(shown)} parts, but edges can be told apart for {len(EDGES)}")
    size = pictures.shape[-1]
    low, high = limits or (float(values.min()), float(values.max()))
    wide = F.interpolate(values[:, None], size=(size, size), mode="bilinear")[:, 0]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = new_figure(
        side * columns + 0.9, (side + 0.1) * rows + 0.45 * bool(shown) + 0.2, tight=True
    )
    panels: Any = figure.subplots(rows, columns, squeeze=False)
    for ax in panels.flat:
        ax.set_axis_off()
    drawn: Any = None
    for i, ax in zip(range(len(pictures)), panels.flat, strict=False):
        grey = as_array(pictures[i].float()).mean(0)
        grey = grey / (255 if pictures.dtype == torch.uint8 else 1)
        ax.imshow(grey, cmap="gray", vmin=-0.4, vmax=1.2)
        drawn = ax.imshow(as_array(wide[i]), cmap="magma", vmin=low, vmax=high, alpha=0.55)
        for line, where in zip(EDGES, shown.values(), strict=False):
            # Smoothed, so that a pixel more or less draws no spike.
            mask = torch.as_tensor(where)[i].float()
            smooth = as_array(F.avg_pool2d(mask[None], 5, 1, padding=2)[0])
            if smooth.max() > 0.5:
                edge = ax.contour(
                    smooth, [0.5], colors=["white"], linestyles=[line], linewidths=1.6
                )
                edge.set_path_effects([withStroke(linewidth=2.8, foreground="#202020")])
        if i < len(names):
            ax.set_title(names[i], loc="center", fontsize=10, fontweight="normal", pad=2)
    bar = figure.colorbar(drawn, ax=panels, fraction=0.03, aspect=18 * rows, pad=0.01)
    bar.set_label(words, fontsize=9.5)
    bar.ax.tick_params(labelsize=8.5)
    if shown:
        handles = [
            Line2D([], [], color="#202020", ls=line, lw=2, label=name)
            for line, name in zip(EDGES, shown, strict=False)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9.5)
    return figure


@styled
def dots_by_part(
    values: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    among: Sequence[str] = (),
    level: float | None = None,
    level_words: str = "",
    ylabel: str = "",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a group of dots for each part, in it a column a system, in it a dot for every seed.

    Args:
        values: system -> part -> the value of every seed.
        among: all systems of which these are some, so that each looks alike in several figures.
        level: where a line is drawn across.
        level_words: what the line says.
        ylabel: what the values are.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.
    """
    parts = list(next(iter(values.values())))
    ax = panel(ax, max(5.5, 2.4 + 1.15 * len(parts)), 3.4)
    width = 0.72 / len(values)
    everybody = list(among or values)
    looks = dict(zip(everybody, distinct_looks(everybody), strict=True))
    for order, (name, each) in enumerate(values.items()):
        kind = looks[name]
        for place, part in enumerate(parts):
            seeds = np.asarray(each[part], dtype=float)
            middle = place + (order - (len(values) - 1) / 2) * width
            spread = np.linspace(-0.25, 0.25, len(seeds)) * width if len(seeds) > 1 else [0.0]
            label = name if place == 0 else None
            ax.plot(
                middle + np.asarray(spread), seeds, ls="", marker=kind.marker, ms=6.5,
                color=kind.color, mec="white", mew=0.5, label=label, zorder=3,
            )  # fmt: skip
            ax.plot(
                [middle - 0.4 * width, middle + 0.4 * width], [seeds.mean()] * 2,
                color=kind.color, ls="-", lw=2.2,
            )  # fmt: skip
    if level is not None:
        ax.axhline(level, color="#4D4D4D", ls="--", lw=1.2, zorder=0)
        ax.text(len(parts) - 0.48, level, level_words, ha="left", va="center", size=9.5)
    for edge in np.arange(0.5, len(parts) - 1):
        ax.axvline(edge, color="#E0E0E0", lw=0.8, ls="-", zorder=0)
    ax.set_xticks(range(len(parts)), parts)
    ax.set(xlim=(-0.5, len(parts) - 0.5), ylabel=ylabel, title=title)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9.5)
    return ax


#: The trunk's boxes: name, words below it, left edge, middle, width.
BOXES = (
    ("stem", "3 → 29", 0.0, 0.0, 1.15),
    ("stage 2", "29 → 116", 1.75, 0.8, 1.15),
    ("gate", "channels, places", 3.25, 0.8, 1.35),
    ("quarters", "29 → 116", 2.5, -0.8, 1.3),
    ("stage 3", "232", 5.75, 0.0, 1.1),
    ("stage 4", "464", 7.15, 0.0, 1.1),
    ("1 × 1", "1024", 8.55, 0.0, 0.95),
    ("mean", "a vector", 9.8, 0.0, 0.95),
)
WIRES = (
    ((1.15, 0.0), (1.45, 0.0), (1.45, 0.8), (1.75, 0.8)),
    ((1.45, 0.0), (1.45, -0.8), (2.5, -0.8)),
    ((2.9, 0.8), (3.25, 0.8)),
    ((4.6, 0.8), (5.1, 0.8), (5.1, 0.18)),
    ((3.8, -0.8), (5.1, -0.8), (5.1, -0.18)),
    ((5.28, 0.0), (5.75, 0.0)),
    ((6.85, 0.0), (7.15, 0.0)),
    ((8.25, 0.0), (8.55, 0.0)),
    ((9.5, 0.0), (9.8, 0.0)),
)


@styled
def trunk_map() -> Figure:
    """Draw the way of one frame through the visual trunk, from left to right."""
    figure = new_figure(9.6, 2.5, tight=True)
    ax = figure.subplots()
    for wire in WIRES:
        xs, ys = zip(*wire, strict=True)
        ax.plot(xs, ys, color="#4D4D4D", ls="-", lw=1.3, zorder=0)
    for name, words, left, middle, width in BOXES:
        special = name in ("gate", "quarters")
        kind = OTHERS[1] if special else LOOKS["vision"]
        box = FancyBboxPatch(
            (left, middle - 0.36), width, 0.72, boxstyle="round,pad=0,rounding_size=0.1"
        )
        box.set(
            facecolor="#FFFFFF" if special else "#E3F3EC", edgecolor=kind.color,
            linewidth=2.2 if special else 1.2, linestyle="--" if special else "-",
        )  # fmt: skip
        ax.add_patch(box)
        centre = left + width / 2
        ax.text(centre, middle + 0.1, name, ha="center", va="center", size=10.5, weight="bold")
        ax.text(centre, middle - 0.18, words, ha="center", va="center", size=9)
    ax.text(5.1, 0.0, "+", ha="center", va="center", size=17, weight="bold")
    ax.set(xlim=(-0.1, 10.85), ylim=(-1.3, 1.3), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return figure
