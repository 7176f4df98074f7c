"""Panels of cells: attention maps and confusion maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from mmlib.plots.inputs import numbers
from mmlib.plots.looks import OTHERS, as_array, ink, panel, styled
from mmlib.plots.words import room


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
    top = max(1.0, float(matrix.max()))
    image = ax.imshow(matrix, cmap="Greys", vmin=0.0, vmax=top, aspect="auto")
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
            shade = ink(image.to_rgba(weight)[:3])
            ax.text(column, row, f"{weight:.2f}", ha="center", va="center", color=shade, size=9)
    if planted is not None:
        outline(ax, as_array(planted).astype(bool), matrix.shape)
    return ax


def outline(ax: Axes, cells: np.ndarray, shape: tuple[int, ...]) -> None:
    """Draw a thick line round the cells that are True.

    Raises:
        ValueError: there are not as many cells as weights.
    """
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
def confusion_map(
    counts: Any, names: Sequence[str], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw a confusion matrix: rows are the true classes, columns what the model said.

    Each cell says its share of the row, on which its shade depends too, and in brackets its count.
    On the diagonal stands the recall of each class. A class that never occurs has no shares: its row is hatched.

    Args:
        counts: how often the class of the row was taken for the class of the column, `(C, C)`.
        names: a name for each class.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: the counts are not a square matrix of whole numbers, or the names do not fit.
    """
    table = numbers(counts, "confusion_map's counts")
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(
            f"confusion_map draws counts (C, C), but got shape {table.shape}; "
            "confusion_matrix(prediction, target) computes them"
        )
    if len(names) != len(table):
        raise ValueError(f"{len(names)} names for {len(table)} classes; give one for each")
    if (table < 0).any() or (table != table.round()).any():
        raise ValueError(
            "confusion_map draws counts and computes the shares itself, but got "
            f"{table[(table < 0) | (table != table.round())][0]:g}; give whole numbers, not shares"
        )
    classes, support = len(table), table.sum(1)
    shares = table / np.maximum(support, 1)[:, None]
    side = 2.2 + 0.58 * classes
    ax = panel(ax, min(8.0, side + 0.5), min(7.2, side))
    image = ax.imshow(shares, cmap="Greys", vmin=0.0, vmax=1.2, aspect="equal")  # dark grey at most
    size = max(5.0, min(10.5, 0.26 * min(room(ax)) / classes))
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.0%}\n({table[row, column]:.0f})" if support[row] else "–\n(0)"
        color = ink(image.to_rgba(share)[:3])
        ax.text(
            column, row, text, ha="center", va="center", color=color, size=size, linespacing=1.1
        )
    for row in range(classes):
        ax.add_patch(
            Rectangle((row - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#3D3D3D", lw=1.4)
        )
        if not support[row]:
            ax.add_patch(
                Rectangle(
                    (-0.5, row - 0.5), classes, 1, fill=False, hatch="///", ec="#B8B8B8", lw=0
                )
            )
    ax.spines[:].set_visible(True)
    ax.tick_params(length=0)
    ax.set_yticks(range(classes), [f"{n} ({s:.0f})" for n, s in zip(names, support, strict=True)])
    long = max(map(len, names)) > 4
    ax.set_xticks(
        range(classes),
        names,
        rotation=45 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor" if long else None,
    )
    ax.set(xlabel="predicted class", ylabel="true class (how many)", title=title)
    return ax
