"""JMT in pictures: its graph, six maps of who looks at whom and when, traces, and folds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mmlib.plots.looks import LOOKS, OTHERS, as_array, ink, new_figure, panel, styled

LINE = "#4D4D4D"
PLANTED = OTHERS[2].color
COLORS = {name: LOOKS[name].color for name in ("audio", "vision")} | {"joint": OTHERS[1].color}


@styled
def jmt_map(ax: Axes | None = None) -> Axes:
    """Draw JMT from below to above: two streams, their joint, three encoders, six attentions."""
    ax = panel(ax, 8.6, 5.0)
    places = {"audio": 0.0, "joint": 3.0, "vision": 6.0}
    for name, x in places.items():
        solid = name != "joint"
        words = f"{name} features, 512" if solid else "side by side, 1024 → 512"
        _box(ax, x, 0.0 if solid else 0.6, words, COLORS[name], filled=solid)
        _box(ax, x, 1.7, f"encoder of {name}", COLORS[name])
        _arrow(ax, (x, 0.32 if solid else 0.92), (x, 1.38))
        _arrow(ax, (x, 2.02), (x, 2.68))
    _arrow(ax, (1.2, 0.0), (2.3, 0.28))
    _arrow(ax, (4.8, 0.0), (3.7, 0.28))
    wide = FancyBboxPatch((-1.2, 2.7), 8.4, 1.1, boxstyle="round,pad=0,rounding_size=0.12")
    wide.set(facecolor="#F4F4F4", edgecolor=LINE, linewidth=1.6)
    ax.add_patch(wide)
    ax.text(3.0, 3.48, "six cross-attentions (who asks ← who answers)", ha="center", va="center",
            size=10)  # fmt: skip
    pairs = "a ← v    a ← j    v ← a    v ← j    j ← a    j ← v"
    ax.text(3.0, 3.02, pairs, ha="center", va="center", size=10.5, weight="bold")
    _arrow(ax, (3.0, 3.8), (3.0, 4.18))
    fused = FancyBboxPatch((-1.2, 4.2), 8.4, 0.6, boxstyle="round,pad=0,rounding_size=0.12")
    fused.set(facecolor=LOOKS["fusion"].color, edgecolor=LOOKS["fusion"].color)
    ax.add_patch(fused)
    words = "side by side, 6 · 512 = 3072 → 1024"
    ax.text(3.0, 4.5, words, ha="center", va="center", size=10.5, color="white")
    for x, words in ((1.0, "valence: 128 → 1"), (5.0, "arousal: 128 → 1")):
        _arrow(ax, (x, 4.8), (x, 5.18))
        _box(ax, x, 5.5, words, LINE)
    ax.set(xlim=(-1.5, 7.5), ylim=(-0.45, 5.95), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _box(ax: Axes, x: float, y: float, words: str, color: str, *, filled: bool = False) -> None:
    box = FancyBboxPatch((x - 1.3, y - 0.3), 2.6, 0.6, boxstyle="round,pad=0,rounding_size=0.12")
    box.set(facecolor=color if filled else "white", edgecolor=color, linewidth=1.6)
    ax.add_patch(box)
    shade = ink(color) if filled else "black"
    ax.text(x, y, words, ha="center", va="center", size=9.5, color=shade)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0, color=LINE, lw=1.1
    )
    ax.add_patch(arrow)


def offset_profile(weights: Any, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Average a map along its diagonals.

    Shape:
        weights: (T, T), rows ask, columns answer; returns offsets (2 reach + 1,), answer minus
        question, and the mean weight along each of them.
    """
    matrix = as_array(weights)
    offsets = np.arange(-reach, reach + 1)
    return offsets, np.array([matrix.diagonal(int(offset)).mean() for offset in offsets])


@styled
def six_maps(
    maps: Mapping[tuple[str, str], Any],
    *,
    planted: Mapping[tuple[str, str], int] | None = None,
    title: str = "",
) -> Figure:
    """Draw the attention along every ordered pair of sources: a column for each source that asks.

    Each map has a scale of its own, white for nothing and black for its largest weight, which stands
    above it. A planted offset is a dashed line.

    Args:
        maps: (who asks, who answers) -> weights (T, T) of one sample and one head.
        planted: (who asks, who answers) -> answer's step minus question's step, where there is one.
        title: what is shown.

    Raises:
        ValueError: there is no map, or one is not a matrix.
    """
    if not maps:
        raise ValueError("six_maps draws at least one map: {('audio', 'vision'): weights}.")
    askers = list(dict.fromkeys(query for query, _ in maps))
    rows = max(sum(query == name for query, _ in maps) for name in askers)
    figure = new_figure(3.0 * len(askers), 2.85 * rows + 0.4)
    grid = figure.subplots(rows, len(askers), squeeze=False, sharex=True, sharey=True)
    places = dict.fromkeys(askers, 0)
    for (query, context), values in maps.items():
        weights = as_array(values)
        if weights.ndim != 2:
            raise ValueError(
                f"the map of {query} and {context} has shape {weights.shape}, expected (T, T): "
                "choose one sample and one head, for example weights[0, 0]."
            )
        row, column = places[query], askers.index(query)
        places[query] += 1
        ax, largest = grid[row][column], float(weights.max())
        ax.imshow(weights, cmap="Greys", vmin=0.0, vmax=largest or 1.0, aspect="auto")
        if planted and (query, context) in planted:
            _line_along(ax, planted[query, context], weights.shape)
        ax.spines[:].set_visible(True)
        ax.set_title(f"{query} asks {context}, max {largest:.2f}", fontsize=10)
        ax.tick_params(labelsize=9)
        if row == rows - 1:
            ax.set_xlabel("step that answers", fontsize=10)
        if column == 0:
            ax.set_ylabel("step that asks", fontsize=10)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _line_along(ax: Axes, offset: int, shape: tuple[int, ...]) -> None:
    first, last = max(0, -offset), min(shape[0], shape[1] - offset) - 1
    ax.plot(
        [first + offset, last + offset], [first, last], color=PLANTED, ls=(0, (4, 3)), lw=1.3,
        alpha=0.9,
    )  # fmt: skip


@styled
def trace_panels(truth: Any, guesses: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Draw one clip's traces, a panel a target: what was felt, and what each model says.

    Shape:
        truth: (T, K); guesses: name -> (T, K).

    Raises:
        ValueError: names, guesses and truth do not fit each other.
    """
    felt = as_array(truth)
    if felt.ndim != 2 or felt.shape[1] != len(names):
        raise ValueError(f"truth has shape {felt.shape}, expected (T, {len(names)}).")
    figure = new_figure(9.4, 1.1 + 1.9 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for place, (ax, name) in enumerate(zip(panels, names, strict=True)):
        ax.plot(felt[:, place], color="black", lw=3.0, alpha=0.25, ls="-", label="felt")
        for order, (model, guess) in enumerate(guesses.items()):
            values = as_array(guess)
            if values.shape != felt.shape:
                raise ValueError(f"{model} has shape {values.shape}, the truth {felt.shape}.")
            kind = (OTHERS[2], OTHERS[3], OTHERS[0])[order % 3]
            ax.plot(
                values[:, place], color=kind.color, ls=kind.linestyle, marker=kind.marker,
                markevery=6, ms=5, lw=1.5, label=model,
            )  # fmt: skip
        ax.axhline(0, color="#BBBBBB", lw=0.7, ls="-", zorder=0)
        ax.set_ylabel(name)
    panels[-1].set_xlabel("step")
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncol=1 + len(guesses), fontsize=9.5)
    return figure


@styled
def fold_dots(
    rows: Mapping[str, Sequence[float]],
    *,
    interval: tuple[float, float, float],
    apart: Mapping[str, Sequence[float]] | None = None,
    names: Sequence[str] = ("valence", "arousal"),
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw each fold's scores and their mean in a row, and the mean of the folds with its interval.

    Args:
        rows: a fold's name -> its score of each target.
        interval: mean, low and high over the folds.
        apart: rows that are no folds, drawn above them.
        names: of the targets.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: there is no fold, or one has another number of scores than there are names.
    """
    every = {**(apart or {}), **rows}
    wrong = [name for name, scores in every.items() if len(scores) != len(names)]
    if not rows or wrong:
        raise ValueError(
            f"fold_dots draws {len(names)} scores a fold ({', '.join(names)})"
            + (f"; {wrong[0]} has {len(every[wrong[0]])}." if wrong else ", but got no fold.")
        )
    ax = panel(ax, 8.4, 1.3 + 0.4 * len(every))
    mean, low, high = interval
    ax.axvspan(low, high, color="#E8E8E8", zorder=0)
    ax.axvline(mean, color=LINE, lw=1.2, ls="-", zorder=0)
    looks = (OTHERS[0], OTHERS[1])
    for row, (name, scores) in enumerate(every.items()):
        ax.plot([min(scores), max(scores)], [row, row], color="#BBBBBB", lw=1.2, ls="-", zorder=1)
        for target, score, kind in zip(names, scores, looks, strict=False):
            ax.plot(score, row, marker=kind.marker, ms=8, ls="", color=kind.color,
                    label=target if not row else None)  # fmt: skip
        average = float(np.mean(scores))
        ax.plot(average, row, marker="D", ms=8, ls="", color="black",
                label="their mean" if not row else None)  # fmt: skip
        ax.text(1.01, row, f"{average:.4f}", transform=ax.get_yaxis_transform(), va="center",
                size=9.5, weight="normal" if name in rows else "light")  # fmt: skip
    ax.set_yticks(range(len(every)), list(every))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(
        ylim=(len(every) - 0.4, -0.6),
        xlabel="concordance; grey: mean of the folds, 95 % t interval",
    )
    ax.set_title(title, pad=24)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncol=3, fontsize=9.5)
    return ax
