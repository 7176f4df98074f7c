"""Paired comparisons: how much better one model is than another, and whether that could be chance."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from mmlib.plots.inputs import named, span, with_level
from mmlib.plots.looks import LOOKS, panel, styled
from mmlib.plots.words import wrap


@styled
def differences(
    comparisons: Mapping[str, Any],
    *,
    xlabel: str = "difference in accuracy",
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw paired comparisons against zero: a point and its interval, one row each, numbers beside.

    A filled point means that the interval leaves out zero, an open one that it does not.

    Args:
        comparisons: name -> a `Comparison` of `mmlib.metrics`, or (difference, low, high).
        xlabel: what the difference is of.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: there is nothing to draw, or an interval is not three finite numbers in order.
    """
    given = named(
        comparisons, "differences", '{"gated − early": compare(accuracy, gated, early, target)}'
    )
    rows = {name: span(name, each) for name, each in given.items()}
    ax = panel(ax, 7.6, 1.3 + 0.46 * len(rows))
    kind = LOOKS["fusion"]
    beside = blended_transform_factory(ax.transAxes, ax.transData)
    ax.axvline(0, color="#6E6E6E", lw=1.2, ls="-", zorder=0)
    for row, (name, (value, low, high)) in enumerate(rows.items()):
        sure = low > 0 or high < 0
        ax.plot([low, high], [row, row], color=kind.color, lw=2.2, ls="-", marker="|", ms=8, mew=2)
        ax.plot(
            value,
            row,
            ls="",
            marker=kind.marker,
            ms=7.5,
            color=kind.color,
            mfc=kind.color if sure else "white",
            mew=1.6,
        )
        words = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")
        p_value = getattr(given[name], "p_value", None)
        if p_value is not None:
            words += "  p < 0.001" if p_value < 0.001 else f"  p = {p_value:.3f}"
        ax.text(1.02, row, words, transform=beside, va="center", size=9.5)
    ax.set_yticks(range(len(rows)), [wrap(name, 26) for name in rows])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    reach = 1.12 * max(max(abs(low), abs(high)) for _, low, high in rows.values()) or 1.0
    ax.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6), title=title)
    ax.set_xlabel(with_level(xlabel, given.values()))
    return ax
