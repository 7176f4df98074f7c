"""Absent streams: a score for each combination that is there, and as availability falls."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mmlib.data.batch import MODALITIES
from mmlib.plots.inputs import named
from mmlib.plots.looks import CEILING, distinct_looks, panel, styled
from mmlib.plots.words import metric_words, name_bars

#: The metrics that a table's ceilings are of.
BOUNDED = ("accuracy", "mean_ccc")
Tables = Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]]


@styled
def pattern_bars(
    tables: Tables,
    *,
    metric: str = "accuracy",
    ceilings: Mapping[str, float] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a group of bars for each combination of streams: a bar a system, a dot for every seed.

    A system that does not take a combination's streams, or refuses, has no bar there.

    Args:
        tables: name -> what `mmlib.training.availability.availability_patterns` gave, one a seed.
        metric: the column to draw.
        ceilings: combination -> the best score; None takes the tables' own, where they have some
            and the metric is the one that they bound.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: there is nothing to draw, or a table lacks the column.
    """
    systems = _systems(tables, "pattern_bars", ("pattern", metric))
    every = [table for seeds in systems.values() for table in seeds]
    patterns = list(dict.fromkeys(name for table in every for name in table["pattern"]))
    patterns.sort(key=_place)
    ax = panel(ax, min(9.8, max(5.0, 2.0 + 0.26 * len(patterns) * (1 + len(systems)))), 4.0)
    width = 0.84 / len(systems)
    for order, ((name, seeds), kind) in enumerate(
        zip(systems.items(), distinct_looks(list(systems)), strict=True)
    ):
        label: str | None = name
        for place, pattern in enumerate(patterns):
            found = [table.loc[table["pattern"] == pattern, metric] for table in seeds]
            scores = np.array([float(each.iloc[0]) for each in found if len(each)])
            scores = scores[np.isfinite(scores)]
            if not len(scores):
                continue
            x = place + (order - (len(systems) - 1) / 2) * width
            ax.bar(
                x,
                scores.mean(),
                0.92 * width,
                color=kind.color,
                alpha=0.4,
                hatch=kind.hatch,
                edgecolor=kind.color,
                label=label,
            )
            label = None
            spread = np.linspace(-0.22, 0.22, len(scores)) * width if len(scores) > 1 else [0.0]
            ax.scatter(
                x + np.asarray(spread), scores, marker=kind.marker, color=kind.color, s=14, zorder=3
            )
    own = _own_ceilings(every) if metric in BOUNDED else {}
    best = own if ceilings is None else dict(ceilings)
    label = "ceiling"
    for place, pattern in enumerate(patterns):
        if pattern in best:
            ends = [place - 0.45, place + 0.45]
            ax.plot(ends, [best[pattern]] * 2, color=CEILING, ls="-", lw=2.2, label=label)
            label = None
    ax.set(xlim=(-0.55, len(patterns) - 0.45), ylabel=metric_words(metric), title=title)
    name_bars(ax, patterns)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@styled
def falling_curves(
    tables: Tables,
    *,
    metric: str = "accuracy",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a score against the rate at which streams are gone: mean of the seeds, and their range.

    Each seed's score at a rate is the mean over its draws. Where the tables know what could be
    reached at best, a line says it; systems of other streams have one of their own.

    Args:
        tables: name -> what `mmlib.training.availability.falling_availability` gave, one a seed.
        metric: the column to draw.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: there is nothing to draw, or a table lacks the column.
    """
    systems = _systems(tables, "falling_curves", ("rate", "draw", metric))
    ax = panel(ax, 7.4, 4.0)
    ceilings: dict[tuple[float, ...], list[str]] = {}
    for (name, seeds), kind in zip(systems.items(), distinct_looks(list(systems)), strict=True):
        each = pd.DataFrame(
            {seed: t.groupby("rate")[metric].mean() for seed, t in enumerate(seeds)}
        )
        each = each.dropna()
        if each.empty:
            raise ValueError(f"the tables of {name!r} have no {metric} at any rate of all seeds")
        rates, heights = each.index.to_numpy(), each.to_numpy()
        ax.plot(
            rates,
            heights.mean(1),
            color=kind.color,
            linestyle=kind.linestyle,
            marker=kind.marker,
            ms=5.5,
            label=name,
        )
        if len(seeds) > 1:
            low, high = heights.min(1), heights.max(1)
            ax.fill_between(rates, low, high, color=kind.color, alpha=0.18, lw=0)
        if "ceiling" in seeds[0] and metric in BOUNDED:
            best = seeds[0].groupby("rate")["ceiling"].first().dropna()
            if len(best):
                key = (*best.index, *best.round(6))
                ceilings.setdefault(key, []).append(name)
    # Most systems take the same streams; of others the line says whose it is.
    whose = sorted(ceilings.items(), key=lambda each: -len(each[1]))
    for place, (key, names) in enumerate(whose):
        half = len(key) // 2
        of = f" of {', '.join(names)}" if place else ""
        ax.plot(key[:half], key[half:], color=CEILING, ls=(0, (6, 2)), lw=1.5, label=f"ceiling{of}")
    ax.set(xlabel="rate at which each stream is gone", ylabel=metric_words(metric), title=title)
    legend = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    counts = sorted({len(seeds) for seeds in systems.values()})
    if counts[-1] > 1:
        many = " or ".join(map(str, counts))
        legend.set_title(f"mean of {many} seeds,\nband: lowest to highest")
        legend.get_title().set_fontsize(8.5)
    return ax


def _systems(tables: Any, function: str, columns: tuple[str, ...]) -> dict[str, list[pd.DataFrame]]:
    """Return a list of tables for each name, refusing what lacks a column."""
    example = '{"concat": [table, table], "late": [table, table]}'
    found = {}
    for name, given in named(tables, function, example).items():
        seeds = [given] if isinstance(given, pd.DataFrame) else list(given)
        if not seeds:
            raise ValueError(f"{name!r} has no table; write {example}")
        for table in seeds:
            for column in columns:
                if column not in table:
                    raise ValueError(
                        f"a table of {name!r} has no column {column!r}; it has "
                        f"{', '.join(map(str, table))}"
                    )
        found[name] = seeds
    return found


def _place(pattern: str) -> tuple[int, list[int]]:
    """Order combinations: small ones first, then as the streams are always ordered."""
    streams = pattern.split("+")
    known = [MODALITIES.index(name) if name in MODALITIES else 3 for name in streams]
    return len(streams), known


def _own_ceilings(tables: Sequence[pd.DataFrame]) -> dict[str, float]:
    """Read each combination's ceiling from the tables that know some."""
    known: dict[str, float] = {}
    for table in tables:
        if "ceiling" in table:
            some = table.dropna(subset=["ceiling"])
            known |= {
                name: float(best)
                for name, best in zip(some["pattern"], some["ceiling"], strict=True)
            }
    return known
