"""An ablation in pictures: the encoder and its two switches, one model's run, sizes that fit a row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mmlib.metrics import confusion_matrix
from mmlib.plots.curves import draw_curve, epochs_of, label_axes, training_curves
from mmlib.plots.looks import LOOKS, OTHERS, distinct_looks, new_figure, panel, styled
from mmlib.plots.matrices import confusion_map

STREAMS = ("vision", "audio", "text")
#: The paper's names of the four models, by their names in `mmlib.systems`.
NAMES = {
    "mmaae": "MMAAE",
    "mmaaet": "MMAAET",
    "ca_mmaae": "CA-MMAAE",
    "ca_mmaaet": "CA-MMAAET",
}
LINE = "#4D4D4D"


@styled
def encoder_map(ax: Axes | None = None) -> Axes:
    """Draw the encoder from below to above; the two parts that a switch can take out have a dashed frame."""
    ax = panel(ax, 8.4, 4.9)
    for column, name in enumerate(STREAMS):
        x, kind = 3.0 * column, LOOKS[name]
        _box(ax, x, 0.0, name, kind.color, solid=True)
        _box(ax, x, 1.0, "convolution" if name != "vision" else "3 convolutions", kind.color)
        is_text = name == "text"
        _box(ax, x, 2.0, "transformer block" if is_text else "LSTM", kind.color, switch=is_text)
        for below in (0.0, 1.0):
            _arrow(ax, (x, below + 0.32), (x, below + 0.68))
        _arrow(ax, (x, 2.32), (x, 2.98))
        _arrow(ax, (x, 3.62), (x, 4.28))
        # The stream's own summary goes to the latent behind the attention.
        ax.plot(
            [x + 1.1, x + 1.34, x + 1.34], [2.0, 2.0, 4.3], color=LINE, lw=1.1, ls="-", zorder=0
        )
    wide = FancyBboxPatch((-1.1, 3.0), 8.6, 0.6, boxstyle="round,pad=0,rounding_size=0.12")
    wide.set(facecolor="#F4F4F4", edgecolor=OTHERS[2].color, linewidth=2.0, linestyle=(0, (5, 2)))
    ax.add_patch(wide)
    words = "cross-attention: six ordered pairs, each averaged over the query's real steps"
    ax.text(3.0, 3.3, words, ha="center", va="center", size=10)
    top = FancyBboxPatch((-1.1, 4.3), 8.6, 0.6, boxstyle="round,pad=0,rounding_size=0.12")
    top.set(facecolor=LOOKS["fusion"].color, edgecolor=LOOKS["fusion"].color)
    ax.add_patch(top)
    joined = "side by side, one linear layer: the latent h"
    ax.text(3.0, 4.6, joined, ha="center", va="center", size=10.5, color="white")
    for x, words in ((0.0, "decoder"), (3.0, "discriminator"), (6.0, "classifier")):
        _arrow(ax, (x, 4.9), (x, 5.28))
        _box(ax, x, 5.6, words, "#FFFFFF")
    ax.text(7.7, 3.3, "switch\nCA", va="center", size=10, color=OTHERS[2].color, weight="bold")
    ax.text(7.7, 2.0, "switch\nT", va="center", size=10, color=OTHERS[2].color, weight="bold")
    ax.set(xlim=(-1.3, 8.7), ylim=(-0.5, 6.05), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _box(
    ax: Axes,
    x: float,
    y: float,
    words: str,
    color: str,
    *,
    solid: bool = False,
    switch: bool = False,
) -> None:
    """Draw a box with words in the middle, filled where it is an input, dashed where it is a switch."""
    box = FancyBboxPatch((x - 1.1, y - 0.3), 2.2, 0.6, boxstyle="round,pad=0,rounding_size=0.12")
    box.set(facecolor=color if solid else "#FFFFFF", edgecolor=color, linewidth=1.6)
    if color == "#FFFFFF":
        box.set_edgecolor(LINE)
    if switch:
        box.set(edgecolor=OTHERS[2].color, linewidth=2.0, linestyle=(0, (5, 2)))
    ax.add_patch(box)
    ax.text(x, y, words, ha="center", va="center", size=10, color="white" if solid else "black")


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0, color=LINE, lw=1.1
    )
    ax.add_patch(arrow)


@styled
def draw_model(results: Any, model: str, seed: int | None = None) -> tuple[Figure, str]:
    """Draw one model's losses, its accuracy among the others', and what it took for what.

    Args:
        results: what `mmlib.training.comparing.compare_systems` gave.
        model: a system's name in the results.
        seed: one run; None draws the losses of the first and adds up all confusions.

    Raises:
        ValueError: the results have no such run.
    """
    runs = [run for run in results.of(model) if seed is None or run.seed == seed]
    if not runs:
        known = ", ".join(f"{run.system} with seed {run.seed}" for run in results.runs)
        raise ValueError(f"there is no run of {model!r} with seed {seed}; there are {known}.")
    names = results.judged.class_names
    figure = new_figure(11.0, 3.7)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1.0, 0.95))
    history = runs[0].history
    losses = any(str(column).startswith("loss_") for column in history)
    training_curves(history, column="loss_*" if losses else "train_loss", ax=left)
    left.set(title=f"losses, seed {runs[0].seed}", ylabel="loss")
    if losses:
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2, fontsize=9)
    looks = distinct_looks(list(results.systems))
    for system, kind in zip(results.systems, looks, strict=True):
        for run in results.of(system):
            if "valid_accuracy" not in run.history:
                continue
            heights = np.asarray(run.history["valid_accuracy"], dtype=float)
            if system == model and run in runs:
                label = NAMES.get(system, system) if run is runs[0] else ""
                draw_curve(middle, epochs_of(run.history), heights, kind, label)
            else:
                middle.plot(
                    epochs_of(run.history), heights, color="#C4C4C4", ls="-", lw=0.8, zorder=0
                )
    label_axes(middle, "valid accuracy", "this model among all runs")
    middle.legend(loc="best", fontsize=9)
    counts = _confusion(results, model, seed)
    together = f"{len(runs)} seeds together" if len(runs) > 1 else "one seed"
    which = f"seed {seed}" if seed is not None else together
    confusion_map(counts, names, title=f"test, {which}", ax=right)
    figure.suptitle(NAMES.get(model, model), x=0.01, ha="left", fontsize=13, fontweight="bold")
    scores = ", ".join(f"{run.scores['accuracy']:.3f}" for run in runs)
    recalls = ", ".join(
        f"{name} {counts[row, row] / max(counts[row].sum(), 1):.0%}"
        for row, name in enumerate(names)
    )
    alt = (
        f"{NAMES.get(model, model)}, {which}: the losses over the epochs; its validation accuracy among "
        f"that of all runs; and its confusion matrix, test accuracy {scores}, recall {recalls}."
    )
    return figure, alt


@styled
def losses_of(results: Any, models: Sequence[str], *, seed: int = 0) -> Figure:
    """Draw the parts of the loss of one seed of each model, a panel for each.

    Args:
        results: what `mmlib.training.comparing.compare_systems` gave.
        models: systems in the results, trained in phases.
        seed: whose history.
    """
    figure = new_figure(2.7 * len(models), 3.2)
    panels = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    for ax, model in zip(panels, models, strict=True):
        (history,) = (run.history for run in results.of(model) if run.seed == seed)
        training_curves(history, column="loss_*", title=NAMES.get(model, model), ax=ax)
        lines, labels = ax.get_legend_handles_labels()
        ax.get_legend().remove()
        ax.set(ylabel="loss" if ax is panels[0] else "")
    figure.legend(lines, labels, loc="outside lower center", ncol=len(labels), fontsize=9.5)
    return figure


@styled
def confusions_of(results: Any, models: Sequence[str]) -> Figure:
    """Draw what each model took for what in all its runs together, a panel for each.

    Args:
        results: what `mmlib.training.comparing.compare_systems` gave.
        models: systems in the results.
    """
    figure = new_figure(2.75 * len(models), 3.6)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for ax, model in zip(panels, models, strict=True):
        title = NAMES.get(model, model)
        confusion_map(_confusion(results, model), results.judged.class_names, title=title, ax=ax)
        if ax is not panels[0]:
            ax.set_ylabel("")
            ax.set_yticklabels([])
    return figure


def _confusion(results: Any, model: str, seed: int | None = None) -> Any:
    """Add up the confusion matrices of a model's runs, or take one seed's."""
    target, classes = results.judged.labels, len(results.judged.class_names)
    runs = [run for run in results.of(model) if seed is None or run.seed == seed]
    return sum(confusion_matrix(run.outputs.argmax(1), target, classes) for run in runs)


@styled
def size_sieve(
    fits: Mapping[str, Sequence[int]],
    *,
    sizes: tuple[int, int],
    mark: int | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw for each printed row which test sizes can have produced it: a diamond for each size.

    Args:
        fits: a row's name -> the sizes that fit.
        sizes: the smallest and the largest size that were tried.
        mark: a size to point out by a line.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: there is no row.
    """
    if not fits:
        raise ValueError("size_sieve draws at least one row: {'MMAAE': [457, 629]}.")
    ax = panel(ax, 8.4, 1.5 + 0.42 * len(fits))
    kind = LOOKS["fusion"]
    if mark is not None:
        ax.axvline(mark, color=OTHERS[2].color, ls=(0, (5, 2)), lw=1.4, zorder=0)
        ax.text(mark, -0.72, str(mark), color=OTHERS[2].color, ha="center", va="bottom", size=10)
    for row, found in enumerate(fits.values()):
        ax.axhline(row, color="#E0E0E0", lw=1.0, ls="-", zorder=0)
        here = [size for size in found if size == mark]
        others = [size for size in found if size != mark]
        ax.plot(others, [row] * len(others), ls="", marker=kind.marker, ms=5, color=kind.color)
        ax.plot(here, [row] * len(here), ls="", marker="X", ms=10, color=OTHERS[2].color)
        words = f"{len(found)} fit" + ("" if len(found) != 1 else "s")
        ax.text(1.01, row, words, transform=ax.get_yaxis_transform(), va="center", size=9.5)
    ax.set_yticks(range(len(fits)), list(fits))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlim=sizes, ylim=(len(fits) - 0.5, -0.75), xlabel="samples in the test", title=title)
    if mark is not None:
        ax.title.set_position((0, 1.06))
        ax.set_title(title, pad=16)
    return ax
