"""Where streams meet: the five plain fusions in one picture, and why adding scores cannot solve a square."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from mmlib.plots.looks import LOOKS, OTHERS, new_figure, panel, styled

STREAMS = ("text", "audio", "vision")
#: Fusion -> the level at which the streams meet (1 before the encoders, 2 behind them, 3 at the end), and how.
MEETINGS: dict[str, tuple[int, str]] = {
    "early": (1, "side by side"),
    "concat": (2, "side by side"),
    "gated": (2, "weighed by gates"),
    "tensor": (2, "all products"),
    "late": (3, "mean of logits"),
}
STEP = 1.35  # from one level to the next


@styled
def meeting_points() -> Figure:
    """Draw the five fusions as pipelines from below to above; a dark bar is where the streams meet."""
    figure = new_figure(9.0, 3.1)
    panels: Any = figure.subplots(1, len(MEETINGS))
    for ax, (name, (level, how)) in zip(panels, MEETINGS.items(), strict=True):
        for column, stream in enumerate(STREAMS):
            kind = LOOKS[stream]
            _box(ax, column, 0, 1, stream[0].upper(), kind.color)
        above = 0.0
        for stage, words in ((1, "encode"), (2, "decide")):
            if level == stage:
                above = _meet(ax, stage * STEP, how)
            for column in range(3) if level > stage else (0,):
                wide = 1 if level > stage else 3
                _box(ax, column, stage * STEP + above, wide, words, "#FFFFFF")
        if level == 3:
            _meet(ax, 3 * STEP, how)
        ax.set(xlim=(-0.62, 2.62), ylim=(-0.45, 3 * STEP + 0.55), xticks=[], yticks=[], title=name)
        ax.spines[:].set_visible(False)
    return figure


def _box(ax: Axes, column: int, y: float, wide: int, words: str, color: str) -> None:
    """Draw one box over `wide` columns, and the line that enters it from below."""
    width = wide - 0.2
    style = "round,pad=0,rounding_size=0.12"
    box = FancyBboxPatch((column - 0.4, y - 0.32), width, 0.64, boxstyle=style)
    box.set(facecolor=to_rgba(color, 0.5), edgecolor="#4D4D4D", linewidth=1.0)
    ax.add_patch(box)
    centre = column - 0.4 + width / 2
    size = 8.0 if len(words) > 1 and wide == 1 else 10.0
    ax.text(centre, y - 0.01, words, ha="center", va="center", size=size)
    if y > 0:
        ax.plot(
            [centre, centre], [y - STEP + 0.32, y - 0.32], color="#4D4D4D", ls="-", lw=1, zorder=0
        )


def _meet(ax: Axes, y: float, how: str) -> float:
    """Draw the bar at which three lines become one; return how much higher the rest stands."""
    for column in range(3):
        ax.plot([column, column], [y - STEP + 0.32, y - 0.2], color="#4D4D4D", ls="-", lw=1)
    ax.add_patch(Rectangle((-0.5, y - 0.25), 3.0, 0.5, facecolor=LOOKS["fusion"].color))
    ax.text(1, y - 0.01, how, ha="center", va="center", size=8.5, color="white")
    return STEP * 0.75


@styled
def irony_square(ax: Axes | None = None) -> Axes:
    """Draw the four cells of words and tone, and what their speaker means: equal along the diagonals."""
    ax = panel(ax, 4.4, 3.3)
    for column, tone in enumerate(("plain tone", "ironic tone")):
        ax.text(column, 1.62, tone, ha="center", va="bottom", size=10)
        for row, words in enumerate(("sad words", "glad words")):
            glad = (row == 1) != (column == 1)
            kind = OTHERS[1] if glad else OTHERS[2]
            ax.add_patch(
                Rectangle(
                    (column - 0.48, row - 0.48),
                    0.96,
                    0.96,
                    facecolor=kind.color,
                    alpha=0.35,
                    hatch=kind.hatch,
                    edgecolor=kind.color,
                )
            )
            meant = "means well\n(+)" if glad else "means ill\n(−)"
            ax.text(
                column,
                row,
                meant,
                ha="center",
                va="center",
                size=10.5,
                weight="bold",
                bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.5},
            )
            if column == 0:
                ax.text(-0.6, row, words, ha="right", va="center", size=10)
    ax.set(xlim=(-0.55, 1.55), ylim=(-0.55, 1.6), xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    return ax
