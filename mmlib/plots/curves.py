"""Numbers against the epoch: one run, several runs, several models with several seeds each."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mmlib.plots.inputs import named, numbers, short
from mmlib.plots.looks import LOOKS, Look, distinct_looks, panel, styled
from mmlib.plots.words import ceiling_line

EXAMPLE = '{"early": [history, history], "late": [history]}'


@styled
def training_curves(
    histories: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    column: str | Sequence[str] = "valid_accuracy",
    ceiling: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one column of one or several training histories against the epoch.

    Of one run, several columns can be drawn: `column=["train_loss", "valid_loss"]`, or by a pattern,
    `column="loss_*"`, the parts of a loss that a system minimises in several phases.

    Args:
        histories: what `fit` returned, or a name for each run -> what `fit` returned.
        column: the column to draw, or several, or a pattern.
        ceiling: the best possible number.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: a history lacks the column or has no number in it, or there are several runs and
            several columns at once.
    """
    runs = (
        {"": histories}
        if isinstance(histories, pd.DataFrame)
        else named(histories, "training_curves", '{"early": history, "late": history}')
    )
    columns = list(dict.fromkeys(c for h in runs.values() for c in _columns(h, column)))
    if len(runs) > 1 and len(columns) > 1:
        raise ValueError(
            f"training_curves got {len(runs)} runs and {len(columns)} columns "
            f"({', '.join(columns)}); draw one column of several runs, or several columns of one run"
        )
    ax = panel(ax, 7.4)
    lines = [(name, history, each) for name, history in runs.items() for each in columns]
    shared = set(columns[0].split("_")).intersection(*(each.split("_") for each in columns))
    labels = [name if len(columns) == 1 else _words(each, set(), shared) for name, _, each in lines]
    if any(labels):
        looks = distinct_looks(
            [label if label in LOOKS or "+" in label else label.split(" ")[0] for label in labels]
        )
    else:
        looks = [LOOKS["fusion"]]
    for (name, history, each), label, kind in zip(lines, labels, looks, strict=True):
        heights = numbers(
            history[each], f"column {each!r} of the history {name!r}".replace(" ''", "")
        )
        draw_curve(ax, epochs_of(history), heights, kind, label)
    if ceiling is not None:
        ceiling_line(ax, ceiling)
    label_axes(ax, _words(columns[0], shared, set()), title)
    if any(labels):
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _columns(history: Any, column: str | Sequence[str]) -> list[str]:
    """Name the columns of a history that were asked for."""
    if not hasattr(history, "columns"):
        raise ValueError(
            f"a history is the table that fit returns, but got {type(history).__name__} {short(history)}"
        )
    wanted = [column] if isinstance(column, str) else list(column)
    found: list[str] = []
    for each in wanted:
        here = [str(name) for name in history if fnmatchcase(str(name), each)]
        if not here:
            raise ValueError(
                f"the history has no column {each!r}; it has {', '.join(map(str, history))}"
            )
        found += here
    return found


def _words(column: str, only: set[str], without: set[str]) -> str:
    """Return a column's name as words: some of them only, or all but some."""
    words = column.split("_")
    return " ".join(w for w in words if w not in without and (not only or w in only)) or column


def epochs_of(history: pd.DataFrame) -> np.ndarray:
    """Return the epochs of a history, counted from 1 where it does not say."""
    return np.asarray(history["epoch"] if "epoch" in history else np.arange(len(history)) + 1)


def draw_curve(ax: Axes, epochs: np.ndarray, heights: np.ndarray, kind: Look, label: str) -> None:
    """Draw one line with about six markers."""
    ax.plot(
        epochs,
        heights,
        color=kind.color,
        linestyle=kind.linestyle,
        marker=kind.marker,
        markevery=max(1, len(heights) // 6),
        label=label or None,
    )


def label_axes(ax: Axes, ylabel: str, title: str) -> None:
    """Name the axes; an epoch is a whole number."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=ylabel, title=title)


@styled
def accuracy_curves(
    histories: Mapping[str, Sequence[Any]],
    *,
    among: Sequence[str] = (),
    metric: str = "valid_accuracy",
    ceiling: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a number over the epochs for several models: the seeds' mean, and a band over them all.

    The band reaches from the lowest to the highest. Where one seed stopped earlier than another, the
    mean and the band end, and the others go on as thin lines.

    Args:
        histories: a name for each model -> a history for each seed (or its numbers alone, (epochs,)).
        among: all systems of which these are some, so that each looks alike in several figures.
        metric: the column of the histories to draw.
        ceiling: the best possible number.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: there is nothing to draw, or a history lacks the column.
    """
    models = {
        name: [
            _run(name, run, metric)
            for run in ([seeds] if isinstance(seeds, pd.DataFrame) else seeds)
        ]
        for name, seeds in named(histories, "accuracy_curves", EXAMPLE).items()
    }
    ax = panel(ax, 7.4)
    everybody = list(among or models)
    looks = dict(zip(everybody, distinct_looks(everybody), strict=True))
    for name, runs in models.items():
        if not runs:
            raise ValueError(f"{name!r} has no run; write {EXAMPLE}")
        kind = looks[name]
        shortest = min(len(heights) for _, heights in runs)
        epochs = runs[0][0][:shortest]
        heights = np.stack([run[:shortest] for _, run in runs])
        draw_curve(ax, epochs, heights.mean(0), kind, name)
        if len(runs) > 1:
            ax.fill_between(
                epochs, heights.min(0), heights.max(0), color=kind.color, alpha=0.18, lw=0
            )
        for when, run in runs:
            if len(run) > shortest:
                ax.plot(when[shortest - 1 :], run[shortest - 1 :], color=kind.color, lw=0.8, ls="-")
    if ceiling is not None:
        ceiling_line(ax, ceiling)
    label_axes(ax, metric.replace("_", " "), title)
    seeds = sorted({len(runs) for runs in models.values()})
    legend = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    if seeds[-1] > 1:
        many = " or ".join(map(str, seeds))
        legend.set_title(f"mean of {many} seeds,\nband: lowest to highest")
        legend.get_title().set_fontsize(8.5)
    return ax


def _run(name: str, run: Any, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the epochs and the numbers of one run."""
    if isinstance(run, pd.DataFrame):
        [column] = _columns(run, metric)
        return epochs_of(run), numbers(run[column], f"{metric} of {name!r}")
    heights = numbers(run, f"{metric} of {name!r}")
    if heights.ndim != 1:
        raise ValueError(
            f"{name!r}: a run is one number an epoch, but got shape {heights.shape}; write {EXAMPLE}"
        )
    return np.arange(len(heights)) + 1, heights
