"""Bars: scores with their seeds or their intervals, scores of each class, and how many there are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mmlib.plots.inputs import class_indices, named, numbers, span, with_level
from mmlib.plots.looks import CEILING, LOOKS, distinct_looks, panel, styled
from mmlib.plots.words import LETTER, ceiling_line, chance_line, name_bars, note, room


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

    Raises:
        ValueError: there is nothing to draw, or a score is NaN.
    """
    example = '{"early": [0.61, 0.63, 0.60]}'
    runs = {
        name: numbers(seeds, f"the scores of {name!r}").reshape(-1)
        for name, seeds in named(scores, "bars_with_seeds", example).items()
    }
    ax = panel(ax, max(4.5, 1.5 + 1.1 * len(scores)), 3.8)
    looks = distinct_looks(list(runs))
    for order, ((name, seeds), kind) in enumerate(zip(runs.items(), looks, strict=True)):
        mean = float(np.mean(seeds))
        ax.bar(
            order, mean, 0.62, color=kind.color, alpha=0.35, hatch=kind.hatch, edgecolor=kind.color
        )
        spread = np.linspace(-0.16, 0.16, len(seeds)) if len(seeds) > 1 else [0.0]
        ax.scatter(
            order + np.asarray(spread), seeds, marker=kind.marker, color=kind.color, s=26, zorder=3
        )
        foot_note(ax, order, f"{mean:.3f}", min(seeds), max(seeds))
        if isinstance(ceilings, Mapping) and name in ceilings:
            best = ceilings[name]
            ax.plot([order - 0.4, order + 0.4], [best, best], color=CEILING, ls="-", lw=2.2)
            note(ax, order, max(best, *seeds), f"ceiling {best:.3f}", CEILING)
    _finish(ax, list(runs), ceilings, chance, ylabel, title)
    return ax


@styled
def bars_with_intervals(
    scores: Mapping[str, Any],
    *,
    ceilings: Mapping[str, float] | float | None = None,
    chance: float | None = None,
    ylabel: str = "accuracy",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a bar for each score with its interval, and what could be reached at best.

    Args:
        scores: name -> an `Interval` or `Spread` of `mmlib.metrics`, or (value, low, high).
        ceilings: name -> the best possible score, or one for all bars.
        chance: the score of guessing.
        ylabel: what the score is.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: there is nothing to draw, or an interval is not three finite numbers in order.
    """
    example = '{"early": bootstrap_interval(accuracy, prediction, target)}'
    spans = {n: span(n, s) for n, s in named(scores, "bars_with_intervals", example).items()}
    ax = panel(ax, min(9.8, max(4.5, 1.5 + 1.35 * len(spans))), 3.8)
    wide = room(ax)[0] / len(spans) > 14 * LETTER * 9.5  # of "[0.000, 0.000]"
    for order, ((name, (value, low, high)), kind) in enumerate(
        zip(spans.items(), distinct_looks(list(spans)), strict=True)
    ):
        ax.bar(
            order, value, 0.62, color=kind.color, alpha=0.35, hatch=kind.hatch, edgecolor=kind.color
        )
        ax.vlines(order, low, high, color="black", lw=2.0)
        ax.plot([order, order], [low, high], ls="", marker="_", ms=12, mew=2.0, color="black")
        ax.plot(
            order, value, ls="", marker=kind.marker, ms=6.5, color=kind.color, mec="white", zorder=3
        )
        if isinstance(ceilings, Mapping) and name in ceilings:
            best = ceilings[name]
            ax.plot([order - 0.4, order + 0.4], [best, best], color=CEILING, ls="-", lw=2.2)
            note(ax, order, max(best, high), f"ceiling {best:.3f}", CEILING)
        words = f"{value:.3f}\n[{low:.3f}, {high:.3f}]" if wide else f"{value:.3f}"
        foot_note(ax, order, words, low, high)
    _finish(ax, list(spans), ceilings, chance, with_level(ylabel, scores.values()), title)
    return ax


def foot_note(ax: Axes, x: float, text: str, low: float, high: float) -> None:
    """Write a number at the foot of a bar, or above everything where that reaches below zero."""
    ax.annotate(
        text.replace("-", "−"),
        (x, 0 if low >= 0 else max(high, 0)),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        size=9.5,
        color="black",
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5},
    )


def _finish(
    ax: Axes,
    names: list[str],
    ceilings: Mapping[str, float] | float | None,
    chance: float | None,
    ylabel: str,
    title: str,
) -> None:
    """Draw the lines that hold for all bars, and name the axes."""
    if isinstance(ceilings, int | float):
        ceiling_line(ax, float(ceilings), beside=True)
    if chance is not None:
        chance_line(ax, chance)
    ax.set(xlim=(-0.55, len(names) - 0.45), ylabel=ylabel, title=title)
    name_bars(ax, names)


@styled
def label_histogram(
    labels: Any,
    names: Sequence[str],
    *,
    split: Any = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw how many samples each class has, in each split if there are several.

    Args:
        labels: the class of each sample, (N,).
        names: a name for each class.
        split: the part of each sample, (N,) words such as "train"; None counts all together.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: a label has no name, or labels and split differ in length.
    """
    classes = class_indices(labels, names)
    parts = np.full(len(classes), "") if split is None else np.asarray(split).astype(str)
    if parts.shape != classes.shape:
        raise ValueError(
            f"{classes.shape[0]} labels, but split has shape {parts.shape}; give one word a sample"
        )
    order = [each for each in ("train", "valid", "test") if each in parts]
    order += sorted(set(parts) - set(order))
    counts = {p: np.bincount(classes[parts == p], minlength=len(names)) for p in order}
    ax = panel(ax, max(4.5, 1.5 + 0.28 * len(names) * (1 + len(order))), 3.4)
    grouped_bars(ax, counts, "{:.0f}")
    ax.margins(y=0.1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(ylabel="samples", title=title)
    name_bars(ax, list(names))
    return ax


def grouped_bars(ax: Axes, heights: Mapping[str, np.ndarray], form: str) -> None:
    """Draw a group of bars at each whole number, its height written on each bar."""
    looks = distinct_looks(list(heights)) if len(heights) > 1 else [LOOKS["fusion"]]
    width = 0.84 / len(heights)
    points = width * room(ax)[0] / len(next(iter(heights.values())))
    for place, ((name, values), kind) in enumerate(zip(heights.items(), looks, strict=True)):
        where = np.arange(len(values)) + (place - (len(heights) - 1) / 2) * width
        bars = ax.bar(
            where,
            values,
            width,
            color=kind.color,
            alpha=0.45,
            hatch=kind.hatch,
            edgecolor=kind.color,
            label=name,
        )
        words = [form.format(value) for value in values]
        upright = max(map(len, words)) * LETTER * 7.5 < points
        if upright or points > 7.5:
            ax.bar_label(bars, words, size=7.5, padding=2, rotation=0 if upright else 90)
    if len(heights) > 1:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


@styled
def per_class_bars(
    report: Mapping[str, Any],
    names: Sequence[str],
    *,
    columns: Sequence[str] = ("precision", "recall", "f1"),
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw precision, recall and F1 of each class, with its number of samples under its name.

    Args:
        report: what `mmlib.metrics.per_class` returns: a name -> one number a class, (C,).
        names: a name for each class.
        columns: which numbers to draw.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: the report lacks a column, or does not have one number a class.
    """
    given = named(report, "per_class_bars", "per_class_bars(per_class(prediction, target), names)")
    heights = {}
    for column in columns:
        if column not in given:
            raise ValueError(f"the report has no {column!r}; it has {', '.join(given)}")
        heights[column] = numbers(given[column], column)
        if heights[column].shape != (len(names),):
            raise ValueError(
                f"{column} has shape {heights[column].shape} for {len(names)} names; give one number a class"
            )
    ax = panel(ax, max(4.5, 1.8 + 0.3 * len(names) * (1 + len(columns))), 3.4)
    grouped_bars(ax, heights, "{:.2f}")
    ax.set(ylim=(0, 1.12), ylabel="score of the class", title=title)
    support = numbers(given["support"], "support") if "support" in given else None
    name_bars(
        ax,
        list(names)
        if support is None
        else [f"{n} ({s:.0f})" for n, s in zip(names, support, strict=True)],
    )
    return ax
