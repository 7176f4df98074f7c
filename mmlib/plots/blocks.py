"""Pictures of what a stack of blocks does to a sequence: what a change touches, what depth leaves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmlib.plots.looks import OTHERS, as_array, look, new_figure, styled

SMALLEST = 1e-9  # below this float32 knows nothing, and a logarithm would run off the panel


@styled
def change_maps(changes: Mapping[str, Any], *, poked: int) -> Figure:
    """Draw how much each feature of each step moved, a panel for each layer.

    Args:
        changes: a title for each panel -> the size of the change, (T, D).
        poked: the step of the input that was changed; a triangle marks it.
    """
    figure = new_figure(2.6 * len(changes), 3.4)
    panels = figure.subplots(1, len(changes), squeeze=False)[0]
    for place, (ax, (title, values)) in enumerate(zip(panels, changes.items(), strict=True)):
        matrix = as_array(values)
        ax.imshow(matrix, cmap="Greys", vmin=0, vmax=max(float(matrix.max()), 1e-6), aspect="auto")
        ax.set_title(title, fontsize=11)
        ax.set(xlabel="feature", ylabel="step" if place == 0 else "")
        ax.spines[:].set_visible(True)
        ax.set_yticks([0, poked, len(matrix) - 1])
        edge = matrix.shape[1] - 0.5
        ax.plot(
            edge, poked, "<", ms=11, color=OTHERS[2].color, mec="white", clip_on=False, zorder=3
        )
    return figure


def distances(state: Any) -> np.ndarray:
    """How far each two steps lie apart, in units of the steps' size, (T, D) -> (T, T)."""
    rows = as_array(state)
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    return np.asarray(apart / max(float(np.sqrt((rows**2).sum(1).mean())), SMALLEST))


def apartness(state: Any) -> float:
    """The share of a sequence's size in which its steps differ: 0 where all are one vector.

    Shape:
        - state: (T, D)
    """
    rows = as_array(state)
    apart = float(np.linalg.norm(rows - rows.mean(0, keepdims=True)))
    return apart / max(float(np.linalg.norm(rows)), SMALLEST)


@styled
def depth_map(
    states: Sequence[Any], *, depth: int, names: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Draw how far the steps are apart after `depth` blocks, and what every depth leaves of them.

    Args:
        states: the sequence before the first block and after each, (T, D) each.
        depth: the state to draw on the left, and to mark on the right.
        names: a label for each step.
        title: what the stack is.

    Raises:
        ValueError: a depth that the states do not reach.
    """
    if not 0 <= depth < len(states):
        raise ValueError(f"depth={depth}; expected 0 to {len(states) - 1}, which the states reach.")
    figure = new_figure(5.0, 2.6)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    left.imshow(distances(states[depth]), cmap="Greys", vmin=0, vmax=1)
    blocks = f"after {depth} block{'s' * (depth != 1)}"
    left.set_title(f"{blocks}: distance", fontsize=9.5)
    left.set_xlabel("white: the same step", fontsize=9)
    left.spines[:].set_visible(True)
    left.tick_params(length=0)
    if names is not None:
        left.set_xticks(range(len(names)), names, fontsize=8)
        left.set_yticks(range(len(names)), names, fontsize=8)
    depths = np.arange(len(states))
    sizes = [float(np.sqrt(np.mean(as_array(state) ** 2))) for state in states]
    lines = {
        "steps differ by": ([apartness(state) for state in states], look("vision")),
        "size of numbers": (sizes, look("text")),
    }
    for label, (values, kind) in lines.items():
        shown = np.maximum(values, SMALLEST)
        right.plot(
            depths,
            shown,
            color=kind.color,
            ls=kind.linestyle,
            marker=kind.marker,
            markevery=max(1, len(states) // 6),
            ms=4,
            label=label,
        )
    right.axvline(depth, color=OTHERS[2].color, lw=5, alpha=0.3, ls="-")
    right.set(yscale="log", ylim=(1e-8, 1e6))
    right.set_title(title, fontsize=9.5)
    right.set_xlabel("blocks", fontsize=9)
    right.tick_params(labelsize=8)
    right.legend(fontsize=8, loc="upper left")
    return figure


@styled
def code_maps(codes: Any) -> Figure:
    """Draw position codes (T, D), and beside them the inner product of every two steps' codes."""
    matrix = as_array(codes)
    figure = new_figure(8.4, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    picture = left.imshow(matrix, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    figure.colorbar(picture, ax=left, shrink=0.85)
    left.set(xlabel="feature", ylabel="step", title="the codes")
    products = matrix @ matrix.T
    picture = right.imshow(products, cmap="Greys")
    figure.colorbar(picture, ax=right, shrink=0.85)
    right.set(xlabel="step", ylabel="step", title="their inner products")
    for ax in (left, right):
        ax.spines[:].set_visible(True)
    return figure
