"""What systems cost: time of a training step and its share of the limit, against batch and length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from mmlib.plots.looks import distinct_looks, new_figure, styled


@styled
def costs(rows: Sequence[dict[str, Any]], *, title: str = "") -> Figure:
    """Draw the time of a step above and limit / step below, against batch (left) and length (right).

    Args:
        rows: the `costs` of what `python -m mmlib benchmark --json` writes, of one precision and
            not compiled, or all of them: others than the first row's kind are left out.
        title: what is shown.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not rows:
        raise ValueError("there is nothing to draw: expected one measured case at least.")
    kind = ("precision", "compiled", "scale")
    kept = [row for row in rows if all(row[key] == rows[0][key] for key in kind)]
    names = list(dict.fromkeys(row["system"] for row in kept))
    looks = dict(zip(names, distinct_looks(names), strict=True))
    figure = new_figure(9.6, 5.6)
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    least = min(row["batch"] for row in kept)
    sides = (("batch", "length", 1.0), ("length", "batch", least))
    for place, (across, fixed, value) in enumerate(sides):
        time, share = panels[0, place], panels[1, place]
        for name in names:
            here = [row for row in kept if row["system"] == name and row[fixed] == value]
            here.sort(key=lambda row: row[across])
            style = {
                "color": looks[name].color,
                "marker": looks[name].marker,
                "ls": looks[name].linestyle,
                "label": name,
            }
            where = [row[across] for row in here]
            time.plot(where, [1e3 * row["step_seconds"] for row in here], **style)
            share.plot(where, [row["share"] for row in here], **style)
        time.set(xscale="log", yscale="log")
        ticks = sorted({row[across] for row in kept if row[fixed] == value})
        share.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        share.minorticks_off()
        share.axhline(1.0, color="#6E6E6E", lw=1.2, ls="-", zorder=0)
        share.set_ylim(bottom=0.0)
    panels[0, 0].set(ylabel="a training step, ms", title=title)
    panels[1, 0].set(ylabel="limit / step", xlabel="samples at once (length 1)")
    panels[1, 1].set_xlabel(f"length of every stream (batch {least})")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    return figure
