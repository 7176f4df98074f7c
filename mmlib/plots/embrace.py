"""EmbraceNet in pictures: one draw, who won which feature, how sampling settles, patterns of gaps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mmlib.plots.looks import CEILING, LOOKS, OTHERS, Look, as_array, ink, new_figure, panel, styled
from mmlib.plots.words import wrap

EMPTY = "#F1F1F1"
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def _look(name: str, names: Sequence[str]) -> Look:
    return LOOKS[name] if name in LOOKS else OTHERS[list(names).index(name) % len(OTHERS)]


def _square(ax: Axes, x: float, y: float, kind: Look, word: str, *, size: float, on: bool) -> None:
    """Draw one feature: in its stream's colour with the word on it, or pale and hatched."""
    face = kind.color if on else "white"
    cell = Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, facecolor=face, edgecolor=kind.color)
    cell.set(hatch="" if on else kind.hatch, linewidth=1.6 if on else 0.9, alpha=1 if on else 0.45)
    ax.add_patch(cell)
    if not word:
        return
    text = ax.text(x, y, word, ha="center", va="center", size=size, color=ink(face))
    if not on:
        text.set_bbox({"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6})


@styled
def one_draw(docked: Any, chosen: Any, names: Sequence[str], *, title: str = "") -> Axes:
    """Draw one sample's docked streams as rows, the features drawn filled, and what is embraced.

    Args:
        docked: one sample's docked streams, (c, M), c at most 16.
        chosen: the place in `names` of each feature's stream, (c,).
        names: of the streams, M of them.
        title: what is shown.

    Raises:
        ValueError: the shapes do not fit together.
    """
    values, winners = as_array(docked), as_array(chosen).astype(int)
    if values.ndim != 2 or values.shape != (len(winners), len(names)) or len(winners) > 16:
        raise ValueError(
            f"docked {values.shape}, chosen {winners.shape} and {len(names)} names do not fit: "
            "expected (c, M), (c,) and M names, with c at most 16"
        )
    ax = panel(None, 2.6 + 0.5 * len(winners), 1.0 + 0.62 * (len(names) + 1))
    for row, name in enumerate(names):
        height = len(names) - row + 0.35
        for feature, winner in enumerate(winners):
            word = f"{values[feature, row]:.1f}"
            _square(ax, feature, height, _look(name, names), word, size=8.5, on=winner == row)
        ax.text(-0.8, height, f"docked {name}", ha="right", va="center", size=10.5)
    for feature, winner in enumerate(winners):
        name = names[winner]
        word = f"{name[0].upper()} {values[feature, winner]:.1f}"
        _square(ax, feature, 0, _look(name, names), word, size=8.5, on=True)
    ax.text(-0.8, 0, "embraced", ha="right", va="center", size=10.5, weight="bold")
    ax.text(-0.8, -0.78, "feature", ha="right", va="center", size=9)
    for feature in range(len(winners)):
        ax.text(feature, -0.78, str(feature), ha="center", va="center", size=9)
    ax.set(xlim=(-4.3, len(winners) - 0.3), ylim=(-1.1, len(names) + 1.0), xticks=[], yticks=[])
    ax.set_title(title, size=11.5)
    ax.set_aspect("equal")
    ax.spines[:].set_visible(False)
    return ax


@styled
def winners(
    chosen: Any, names: Sequence[str], shares: Sequence[float], *, columns: int = 16
) -> Figure:
    """Draw which stream won each feature, a lettered square a feature, and the shares beside it.

    Args:
        chosen: the place in `names` of each feature's stream, (c,), or -1 where nobody won.
        names: of the streams.
        shares: the probability of each, in the same order.
        columns: squares in a row.
    """
    places = as_array(chosen).astype(int)
    rows = -(-len(places) // columns)
    figure = new_figure(9.4, 0.7 + 0.3 * rows)
    left, right = figure.subplots(1, 2, width_ratios=(columns / rows, 1.2))
    for feature, place in enumerate(places):
        x, y = feature % columns, rows - 1 - feature // columns
        if place < 0:
            cell = Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, facecolor=EMPTY, edgecolor="#8C8C8C")
            left.add_patch(cell)
            continue
        name = names[place]
        _square(left, x, y, _look(name, names), name[0].upper(), size=9, on=True)
    left.set(xlim=(-0.6, columns - 0.4), ylim=(-0.6, rows - 0.4), xticks=[], yticks=[])
    words = f"who gives each of the {len(places)} features"
    if (places < 0).all():
        words = f"nobody can give any of the {len(places)} features: zeros"
    left.set_title(words, size=11)
    left.set_aspect("equal")
    left.spines[:].set_visible(False)
    for row, (name, share) in enumerate(zip(names, shares, strict=True)):
        kind, count = _look(name, names), int((places == row).sum())
        right.barh(-row, share, 0.6, color=kind.color, alpha=0.45, hatch=kind.hatch,
                   edgecolor=kind.color)  # fmt: skip
        right.text(share + 0.03, -row, f"p = {share:.2f}, won {count}", va="center", size=9.5)
    right.set_yticks(-np.arange(len(names)), [f"{name[0].upper()}  {name}" for name in names])
    right.set(xlim=(0, 1.75), xticks=[], ylim=(0.6 - len(names), 0.6))
    right.spines["bottom"].set_visible(False)
    right.set_title("the shares", size=11)
    return figure


@styled
def settling(counts: Sequence[int], found: Sequence[float], exact: float) -> Axes:
    """Draw how far the mean of n draws lies from the expected value, and the line that theory draws.

    Args:
        counts: how many draws were averaged, n.
        found: the root mean square distance for each of them.
        exact: that of a single draw, from the shares; the line is exact / sqrt(n).
    """
    ax = panel(None, 6.6, 3.6)
    kind = LOOKS["fusion"]
    line = exact / np.sqrt(np.asarray(counts, dtype=float))
    ax.loglog(counts, line, color=CEILING, ls="--", lw=1.5)
    ax.loglog(counts, found, ls="", marker=kind.marker, ms=7, color=kind.color)
    middle = len(counts) // 2
    ax.annotate("exact deviation / √n", (counts[middle], line[middle]), xytext=(10, 8),
                textcoords="offset points", color=CEILING, size=10)  # fmt: skip
    ax.annotate("measured", (counts[1], found[1]), xytext=(-8, -18), textcoords="offset points",
                ha="right", size=10)  # fmt: skip
    ax.set(xlabel="draws averaged, n", ylabel="distance from the\nexpected embracement")
    ax.set_title("The mean of n draws settles", size=11.5)
    ax.xaxis.set_major_formatter(PLAIN)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.yaxis.set_major_formatter(PLAIN)
    ax.yaxis.set_minor_formatter(NullFormatter())
    return ax


SYSTEMS = (LOOKS["fusion"], OTHERS[1], OTHERS[2], OTHERS[0])


@styled
def patterns(
    panels: Mapping[str, Mapping[str, Any]],
    columns: Sequence[str],
    ceilings: Sequence[float],
    *,
    chance: float | None = None,
) -> Figure:
    """Draw accuracy for every pattern of availability: a panel a training, a marker a system.

    Args:
        panels: title -> system -> scores (seeds, patterns). A system keeps its look in all panels.
        columns: the patterns' names, such as "audio+text".
        ceilings: the best possible score of each pattern.
        chance: the score of guessing.
    """
    figure = new_figure(9.6, 0.6 + 2.75 * len(panels))
    grid = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    every = list(dict.fromkeys(name for systems in panels.values() for name in systems))
    for ax, (title, systems) in zip(grid, panels.items(), strict=True):
        for place, best in enumerate(ceilings):
            ax.plot([place - 0.42, place + 0.42], [best, best], color=CEILING, lw=2.2, ls="-",
                    label="best possible" if not place else None)  # fmt: skip
        for name, scores in systems.items():
            kind, runs = SYSTEMS[every.index(name) % len(SYSTEMS)], as_array(scores)
            shift = (every.index(name) - (len(every) - 1) / 2) * 0.66 / max(1, len(every))
            where = np.arange(len(columns)) + shift
            ax.vlines(where, runs.min(0), runs.max(0), color=kind.color, lw=2.0, alpha=0.6)
            ax.plot(where, runs.mean(0), ls="", marker=kind.marker, ms=7.5, color=kind.color,
                    label=name)  # fmt: skip
        if chance is not None:
            ax.axhline(chance, color="#6E6E6E", ls=":", lw=1.3, label="chance")
        for place in range(1, len(columns)):
            ax.axvline(place - 0.5, color="#DADADA", lw=0.8, zorder=0)
        ax.set(ylabel="accuracy", xlim=(-0.5, len(columns) - 0.5))
        ax.set_title(title, size=11.5)
    grid[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    grid[-1].set_xticks(range(len(columns)), [wrap(name, 9) for name in columns])
    return figure


@styled
def trust(
    shares: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    marks: Mapping[str, float],
    *,
    xlabel: str,
    title: str = "",
) -> Axes:
    """Draw accuracy against the share of features that one stream gets, a line a condition.

    Args:
        shares: of that stream.
        lines: condition -> accuracy at each of the shares.
        marks: name -> a share to mark by an upright line, such as the uniform one.
        xlabel: whose share it is.
        title: what is shown.
    """
    ax = panel(None, 7.0, 3.7)
    for share in marks.values():
        ax.axvline(share, color="#6E6E6E", lw=1.1, ls=":")
    for kind, (name, heights) in zip((SYSTEMS[0], SYSTEMS[2], SYSTEMS[1]), lines.items()):  # noqa: B905
        ax.plot(
            shares, heights, color=kind.color, marker=kind.marker, ls=kind.linestyle, label=name
        )
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.1 * (high - low))
    for name, share in marks.items():
        ax.text(share, high + 0.08 * (high - low), f" {name}", va="top", size=9.5)
    ax.set(xlabel=xlabel, ylabel="accuracy")
    ax.set_title(title, size=11.5)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
