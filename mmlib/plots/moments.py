"""Where a model looked, set against where the generator had planted the answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmlib.data.theatre import LIGHTS, Clips
from mmlib.plots.directions import PLANTED, offset_profile
from mmlib.plots.looks import OTHERS, as_array, look, new_figure, panel, styled
from mmlib.plots.stage import show_face


@styled
def moment_strip(
    clips: Clips, index: int, weights: Mapping[str, Any] | None = None, *, size: int = 72
) -> Figure:
    """Draw the frames of one clip, the planted moment outlined, and weights as bars below them.

    Under each frame stand its number and its light; the frame in which the voice beats says so.

    Args:
        clips: clips with a planted moment (`spotlight`, `beat`).
        index: which of them.
        weights: a title for each panel -> how much each frame counts, (T,).
        size: pixels of a side at which the frames are drawn anew.

    Raises:
        ValueError: clips without a planted moment.
    """
    clip, rows = clips[index], dict(weights or {})
    if clip.moment_frames is None:
        raise ValueError(f"{clips!r} has no planted moment; use 'spotlight' or 'beat'.")
    planted = as_array(clip.moment_frames[0]).astype(bool)
    pictures, steps = clip.draw(size=size)[0], len(planted)
    figure = new_figure(9.6, 1.35 + 1.05 * len(rows))
    ratios = [1.3, *[1.0] * len(rows)]
    parts = figure.subfigures(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
    notes = _notes(clip)
    for step, ax in enumerate(parts[0].subplots(1, steps)):
        show_face(ax, pictures[step])
        ax.set_xlabel(f"{step}\n{notes[step]}".rstrip(), fontsize=9)
        if planted[step]:
            ax.spines[:].set(visible=True, color=PLANTED, linewidth=3)
    for part, (title, values) in zip(parts[1:], rows.items(), strict=True):
        _weight_bars(part.subplots(), as_array(values), planted, title)
    return figure


def _notes(clip: Clips) -> list[str]:
    steps = clip.script.num_frames
    notes = [""] * steps
    if clip.lights is not None:
        notes = [LIGHTS[i] for i in clip.lights[0].tolist()]
    if clip.beat is not None:
        notes[int(clip.beat[0] * steps)] = "beat"
    return notes


def _weight_bars(ax: Axes, values: np.ndarray, planted: np.ndarray, title: str) -> None:
    kind = look("vision")
    ax.bar(range(len(values)), values, 0.8, color=kind.color, alpha=0.45, edgecolor=kind.color)
    places = np.flatnonzero(planted)
    box = Rectangle(
        (places[0] - 0.5, 0), len(places), 1, fill=False, edgecolor=PLANTED, lw=2.5, clip_on=False
    )
    ax.add_patch(box)
    ax.set(xlim=(-0.5, len(values) - 0.5), ylim=(0, 1), xticks=[], yticks=[0, 1])
    ax.set_title(f"{title}: {values[planted].sum():.2f} of the weight in the moment", fontsize=10)


@styled
def offset_lines(
    offsets: Any,
    heights: Mapping[str, Any],
    *,
    planted: int,
    ylabel: str = "learned bias",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one number for each offset, a line for each seed, and mark the planted lag.

    Args:
        offsets: frame of the answer minus frame of the question, (K,).
        heights: a name for each line -> its numbers, (K,).
        planted: the lag that the generator planted.
        ylabel: what the numbers are.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.
    """
    ax = panel(ax, 7.0, 3.0)
    ax.axvline(planted, color=PLANTED, lw=6, alpha=0.35, ls="-", label=f"planted lag {planted}")
    for order, (name, values) in enumerate(heights.items()):
        kind = (*(look(n) for n in ("audio", "text", "vision", "fusion")), *OTHERS)[order % 8]
        ax.plot(
            as_array(offsets),
            as_array(values),
            color=kind.color,
            ls=kind.linestyle,
            marker=kind.marker,
            ms=4,
            lw=1.4,
            label=name,
        )
    ax.axhline(0, color="#8C8C8C", lw=0.8, ls="-", zorder=0)
    ax.set(xlabel="offset: answer's frame − question's frame", ylabel=ylabel, title=title)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@styled
def lag_map(
    maps: Any, *, lag: int, max_lag: int, names: Sequence[str] = ("voice", "mouth")
) -> Figure:
    """Draw the mean of maps `(N, Tq, Tk)` and, beside it, their mean along each diagonal.

    Args:
        maps: one map a clip.
        lag: the offset to mark, on the map and beside it.
        max_lag: the largest offset to draw.
        names: what rows and columns are.
    """
    mean = as_array(maps).mean(0)
    rows, columns = mean.shape
    figure = new_figure(8.4, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    reach = np.abs(mean).max()
    left.imshow(mean, cmap="PuOr_r", vmin=-reach, vmax=reach, origin="upper")
    ends = max(0, -lag), min(rows, columns - lag) - 1
    left.plot([e + lag for e in ends], ends, color="black", lw=1.2, ls="--")
    left.set(xlabel=f"frame of the {names[1]}", ylabel=f"frame of the {names[0]}")
    left.spines[:].set_visible(True)
    offsets, heights = offset_profile(mean, max_lag)
    marked = offsets == lag
    right.bar(
        offsets,
        heights,
        color=[PLANTED if m else "white" for m in marked],
        edgecolor="#3D3D3D",
        hatch=["//" if m else "" for m in marked],
    )
    right.axhline(0, color="#3D3D3D", lw=0.8, ls="-")
    right.set(xlabel=f"offset: {names[1]}'s frame − {names[0]}'s frame", ylabel="mean along it")
    return figure
