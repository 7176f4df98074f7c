"""A results board: systems in rows, each with its seeds, its interval and what could be reached at best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.transforms import blended_transform_factory

from mmlib.plots.looks import CEILING, LOOKS, Look, distinct_looks, new_figure, panel, styled

KEPT, BROKEN = "#009E73", "#D55E00"


class Row(NamedTuple):
    """One system on the board.

    Attributes:
        value, low, high: its score, or its difference from another one's, and the interval.
        seeds: the score of each seed.
        ceiling: the best that can be reached with what it sees; None where that is not known.
    """

    value: float
    low: float
    high: float
    seeds: Sequence[float] = ()
    ceiling: float | None = None


@styled
def results_board(
    rows: Mapping[str, Row],
    *,
    xlabel: str,
    title: str = "",
    zero: bool = False,
    looks: Mapping[str, Look] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a row a system: interval, mean, a small ring for each seed, a red bar for its ceiling.

    Args:
        rows: name -> its `Row`, from the top down.
        xlabel: what the numbers are.
        title: what is shown.
        zero: the numbers are differences; a point is filled where the interval leaves out zero.
        looks: name -> its look in the figures beside; who has none is a dark diamond.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError('the board is empty; write {"concat": Row(0.7, 0.66, 0.74)}')
    ax = panel(ax, 8.2, 1.3 + 0.44 * len(rows))
    beside = blended_transform_factory(ax.transAxes, ax.transData)
    if zero:
        ax.axvline(0, color="#6E6E6E", lw=1.2, zorder=0)
    for place, (name, row) in enumerate(rows.items()):
        look = (looks or {}).get(name, LOOKS["fusion"])
        full = not zero or row.low > 0 or row.high < 0
        ax.plot(
            [row.low, row.high], [place] * 2, color=look.color, lw=2.2, ls="-", marker="|", ms=8
        )
        ax.plot(
            row.value,
            place,
            ls="",
            marker=look.marker,
            ms=10,
            mec="white" if full else look.color,
            mfc=look.color if full else "white",
            mew=1.0 if full else 1.5,
        )
        for seed in row.seeds:
            ax.plot(seed, place + 0.29, ls="", marker="o", ms=4.5, color="#3D3D3D", mfc="w", mew=1)
        if row.ceiling is not None:
            ax.plot([row.ceiling] * 2, [place - 0.36, place + 0.36], color=CEILING, lw=2.6, ls="-")
        form = "+.3f" if zero else ".3f"
        words = f"{row.value:{form}} [{row.low:{form}}, {row.high:{form}}]".replace("-", "−")
        ax.text(1.02, place, words, transform=beside, va="center", size=9.5)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(ylim=(len(rows) - 0.4, -0.6), title=title, xlabel=xlabel)
    return ax


@styled
def growth(
    costs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    looks: Mapping[str, Look] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how costs grow, both axes logarithmic, with the slopes of once and twice as guides.

    Args:
        costs: name -> (lengths, costs).
        xlabel: what grows.
        ylabel: what it costs.
        title: what is shown.
        looks: name -> its look in the figures beside; else any that differ.
        ax: the panel to draw on; a new figure without it.
    """
    ax = panel(ax, 7.4, 3.9)
    looks = looks or dict(zip(costs, distinct_looks(list(costs)), strict=True))
    for name, (x, y) in costs.items():
        look = looks[name]
        ax.plot(x, y, color=look.color, ls=look.linestyle, marker=look.marker, ms=6, label=name)
    lengths = np.array(next(iter(costs.values()))[0], dtype=float)
    start = min(float(y[0]) for _, y in costs.values()) * 0.6
    for power, words in ((1, "in proportion"), (2, "with the square")):
        end = start * (lengths[-1] / lengths[0]) ** power
        grown = start * (lengths / lengths[0]) ** power
        ax.plot(lengths, grown, color="#9A9A9A", ls=":" if power == 2 else "--", lw=1)
        ax.annotate(
            words,
            (lengths[-1], end),
            xytext=(7, 0),
            textcoords="offset points",
            size=9,
            color="#6E6E6E",
            va="center",
        )
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel, title=title)
    ax.set_xticks(lengths, [f"{each:g}" for each in lengths])
    low, high = ax.get_ylim()
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    round_numbers = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
    shown = [each for each in round_numbers if low <= each <= high]
    ax.set_yticks(shown, [f"{each:g}" for each in shown])
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1.2, 0.5))
    return ax


@styled
def contract_matrix(reports: Mapping[str, Mapping[str, str]], *, title: str = "") -> Axes:
    """Draw which clauses of the contract each module keeps: a tick or a cross in every cell.

    Args:
        reports: module -> what `mmlib.checks.contract.contract_report` gave.
        title: what is shown.
    """
    clauses = list(dict.fromkeys(name for report in reports.values() for name in report))
    figure = new_figure(3.2 + 1.5 * len(reports), 1.0 + 0.3 * len(clauses))
    ax = figure.subplots()
    for column, report in enumerate(reports.values()):
        for row, name in enumerate(clauses):
            kept = report.get(name) == "kept"
            color = KEPT if kept else BROKEN
            hatch = "" if kept else "///"
            ax.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5),
                    1,
                    1,
                    facecolor=color,
                    alpha=0.22,
                    edgecolor="white",
                    hatch=hatch,
                )
            )
            word = "kept" if kept else "broken"
            ax.text(column, row, word, ha="center", va="center", size=9.5, color="black")
    ax.set_yticks(range(len(clauses)), clauses)
    ax.set_xticks(range(len(reports)), list(reports))
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlim=(-0.5, len(reports) - 0.5), ylim=(len(clauses) - 0.5, -0.5), title=title)
    return ax


@styled
def winners(
    boards: Mapping[str, Mapping[str, float]],
    *,
    title: str = "",
    looks: Mapping[str, Look] | None = None,
) -> Axes:
    """Draw several rankings side by side: a column each, the scores as markers, the favourite filled.

    Args:
        boards: favourite -> (system -> score).
        title: what is shown.
        looks: name -> its look in the figures beside; else any that differ.
    """
    ax = panel(None, 8.6, 3.9)
    names = list(dict.fromkeys(name for board in boards.values() for name in board))
    looks = looks or dict(zip(names, distinct_looks(names), strict=True))
    for column, (favourite, board) in enumerate(boards.items()):
        for name, score in board.items():
            look, mine = looks[name], name == favourite
            ax.plot(
                column,
                score,
                ls="",
                marker=look.marker,
                ms=12 if mine else 6.5,
                color=look.color,
                mfc=look.color if mine else "white",
                mew=1.4,
            )
    ax.set_xticks(range(len(boards)), [f"paper of\n{name}" for name in boards], size=9)
    ax.set(xlim=(-0.5, len(boards) - 0.5), ylabel="test accuracy", title=title)
    ax.grid(axis="x", alpha=0.25)
    for name in names:  # for the legend alone: all of one size, none filled
        look = looks[name]
        ax.plot([], [], ls="", marker=look.marker, ms=7, color=look.color, mfc="white", label=name)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


__all__ = ["Row", "contract_matrix", "growth", "results_board", "winners"]
