"""Attention maps, training curves, and bars that show every seed and what could be reached at best.

Each function fills one panel: it takes `ax=` and returns it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from mmlib.plots.looks import CEILING, LOOKS, OTHERS, as_array, look, panel, styled


@styled
def attention_map(
    weights: Any,
    *,
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    planted: Any = None,
    values: bool | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw attention weights `(Tq, Tk)`: one row a query, one column a key, white for 0, dark for 1.

    Args:
        weights: the weights of one sample and one head.
        queries: a label for each row.
        keys: a label for each column.
        planted: boolean `(Tq, Tk)`, True where the generator planted the answer; it is outlined.
        values: whether each cell shows its number; by default where there are at most 64 cells.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: if the weights are not a matrix, or labels or plant do not fit it.
    """
    matrix = as_array(weights)
    if matrix.ndim != 2:
        raise ValueError(
            f"attention_map draws one matrix (Tq, Tk), but got shape {matrix.shape}; "
            "choose one sample and one head, for example weights[0, 0]"
        )
    for name, labels, size in (("queries", queries, 0), ("keys", keys, 1)):
        if labels is not None and len(labels) != matrix.shape[size]:
            raise ValueError(
                f"{len(labels)} labels for {matrix.shape[size]} {name}; give one for each"
            )
    tq, tk = matrix.shape
    ax = panel(ax, max(3.2, min(9.0, 1.6 + 0.45 * tk)), max(2.2, min(6.0, 1.2 + 0.38 * tq)))
    ax.imshow(matrix, cmap="Greys", vmin=0.0, vmax=max(1.0, float(matrix.max())), aspect="auto")
    ax.set(xlabel="keys", ylabel="queries", title=title)
    ax.spines[:].set_visible(True)
    ax.tick_params(length=0)
    if queries is not None:
        ax.set_yticks(range(tq), queries)
    if keys is not None:
        long = max(map(len, keys)) > 3
        ax.set_xticks(range(tk), keys, rotation=45 if long else 0, ha="right" if long else "center")
    if values if values is not None else matrix.size <= 64:
        for (row, column), weight in np.ndenumerate(matrix):
            shade = "white" if weight > 0.55 else "black"
            ax.text(column, row, f"{weight:.2f}", ha="center", va="center", color=shade, size=9)
    if planted is not None:
        outline(ax, as_array(planted).astype(bool), matrix.shape)
    return ax


def outline(ax: Axes, cells: np.ndarray, shape: tuple[int, ...]) -> None:
    """Draw a thick line round the cells that are True."""
    if cells.shape != shape:
        raise ValueError(
            f"planted has shape {cells.shape}, the weights have {shape}; they must agree"
        )
    padded = np.pad(cells, 1)
    below = [
        [(column - 0.5, row - 0.5), (column + 0.5, row - 0.5)]
        for row, column in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    ]
    beside = [
        [(column - 0.5, row - 0.5), (column - 0.5, row + 0.5)]
        for row, column in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    ]
    lines = LineCollection(
        below + beside, colors=OTHERS[2].color, linewidths=2.5, capstyle="round", clip_on=False
    )
    lines.set_label("planted")
    ax.add_collection(lines)


@styled
def training_curves(
    histories: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    column: str = "valid_accuracy",
    ceiling: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one column of one or several training histories against the epoch.

    Raises:
        ValueError: if a history lacks the column.
    """
    named = {"": histories} if isinstance(histories, pd.DataFrame) else dict(histories)
    ax = panel(ax, 7.4)
    for order, (name, history) in enumerate(named.items()):
        if column not in history:
            raise ValueError(
                f"the history has no column {column!r}; it has {', '.join(map(str, history))}"
            )
        kind = look(name.split(" ")[0], order) if name else LOOKS["fusion"]
        epochs = history["epoch"] if "epoch" in history else history.index + 1
        every = max(1, len(history) // 6)
        ax.plot(
            epochs,
            history[column],
            color=kind.color,
            linestyle=kind.linestyle,
            marker=kind.marker,
            markevery=every,
            label=name or None,
        )
    if ceiling is not None:
        ceiling_line(ax, ceiling)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=column.replace("_", " "), title=title)
    if any(named):
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def ceiling_line(ax: Axes, height: float, label: str = "ceiling") -> None:
    """Draw what nobody can exceed, named on the line itself."""
    ax.axhline(height, color=CEILING, linestyle=(0, (6, 2)), linewidth=1.5)
    right = ax.get_xlim()[1]
    note(ax, right, height, f"{label} {height:.3f}", CEILING, ha="right")


def note(ax: Axes, x: float, y: float, text: str, color: str, *, ha: str = "center") -> None:
    """Write a few words just above a point."""
    ax.annotate(
        text, (x, y), xytext=(0, 3.5), textcoords="offset points", ha=ha, color=color, size=9.5
    )


@styled
def bars_with_seeds(
    scores: Mapping[str, Sequence[float]],
    *,
    ceilings: Mapping[str, float] | float | None = None,
    chance: float | None = None,
    ylabel: str = "accuracy",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a bar for each mean, a dot for every seed behind it, and what could be reached at best.

    Args:
        scores: name -> the score of every seed.
        ceilings: name -> the best possible score, or one for all bars.
        chance: the score of guessing.
        ylabel: what the score is.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.
    """
    ax = panel(ax, max(4.5, 1.5 + 1.1 * len(scores)), 3.8)
    for order, (name, seeds) in enumerate(scores.items()):
        kind = look(name, order)
        mean = float(np.mean(seeds))
        ax.bar(
            order, mean, 0.62, color=kind.color, alpha=0.35, hatch=kind.hatch, edgecolor=kind.color
        )
        spread = np.linspace(-0.16, 0.16, len(seeds)) if len(seeds) > 1 else [0.0]
        ax.scatter(
            order + np.asarray(spread), seeds, marker=kind.marker, color=kind.color, s=26, zorder=3
        )
        ax.text(
            order,
            0.015,
            f"{mean:.3f}",
            ha="center",
            va="bottom",
            size=10,
            color="black",
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5},
        )
        if isinstance(ceilings, Mapping) and name in ceilings:
            best = ceilings[name]
            ax.plot([order - 0.4, order + 0.4], [best, best], color=CEILING, ls="-", lw=2.2)
            note(ax, order, best, f"ceiling {best:.3f}", CEILING)
    if isinstance(ceilings, int | float):
        ceiling_line(ax, float(ceilings))
    if chance is not None:
        ax.axhline(chance, color="#6E6E6E", linestyle=":", linewidth=1.3)
        note(ax, len(scores) - 0.47, chance, "chance", "#4D4D4D", ha="right")
    ax.set_xticks(range(len(scores)), [name.replace("+", " +\n") for name in scores])
    ax.set(xlim=(-0.55, len(scores) - 0.45), ylabel=ylabel, title=title)
    return ax
