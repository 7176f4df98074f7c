"""Words on a panel: notes beside points, names below bars, and how much room there is for them."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes

from mmlib.plots.looks import CEILING

_METRICS = {"mean_ccc": "mean CCC", "mean_pearson": "mean r", "mean_rmse": "mean RMSE"}
LETTER = 0.6  # the width of a letter of DejaVu Sans, in font sizes


def room(ax: Axes) -> tuple[float, float]:
    """Return about how wide and how high a panel is, in points."""
    box = ax.get_window_extent()
    scale = 72.0 / ax.figure.dpi
    return box.width * scale, box.height * scale


def note(ax: Axes, x: float, y: float, text: str, color: str, *, ha: str = "center") -> None:
    """Write a few words just above a point."""
    ax.annotate(
        text, (x, y), xytext=(0, 3.5), textcoords="offset points", ha=ha, color=color, size=9.5
    )


def ceiling_line(ax: Axes, height: float, *, beside: bool = False) -> None:
    """Draw what nobody can exceed, named on the line, or beside it where the panel is full."""
    ax.axhline(height, color=CEILING, linestyle=(0, (6, 2)), linewidth=1.5)
    if beside:
        beside_line(ax, height, f"ceiling\n{height:.3f}", CEILING)
        return
    ax.annotate(
        f"ceiling {height:.3f}",
        (1, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3.5),
        textcoords="offset points",
        ha="right",
        color=CEILING,
        size=9.5,
    )


def chance_line(ax: Axes, height: float) -> None:
    """Draw the score of guessing, named beside the line."""
    ax.axhline(height, color="#6E6E6E", linestyle=":", linewidth=1.3)
    beside_line(ax, height, "chance", "#4D4D4D")


def beside_line(ax: Axes, height: float, text: str, color: str) -> None:
    """Write to the right of the panel, where a line ends."""
    ax.annotate(
        text,
        (1, height),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=color,
        size=9.5,
    )


def name_bars(ax: Axes, names: Sequence[str]) -> None:
    """Write a name below each bar, in several lines or slanted where it is long."""
    size = 10.0
    letters = max(5, int(room(ax)[0] / len(names) / (LETTER * size)))
    wrapped = [wrap(name, letters) for name in names]
    if max(len(line) for text in wrapped for line in text.split("\n")) <= letters:
        ax.set_xticks(range(len(names)), wrapped)
        return
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor", size=9)


def metric_words(metric: str) -> str:
    """Return a metric's name, a column of a table, as it is read: `mean_ccc` is mean CCC."""
    return _METRICS.get(metric, metric.replace("_", " "))


def wrap(name: str, letters: int) -> str:
    """Break a name into lines: at its plus signs, and at spaces where a line would be too long."""
    lines = name.replace("+", " +\n").split("\n")
    return "\n".join(textwrap.fill(line, letters, break_long_words=False) for line in lines)
