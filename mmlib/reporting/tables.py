"""Tables as markdown and csv, and figures in a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmlib.plots import save_figure
from mmlib.plots.words import metric_words
from mmlib.training.checkpoints import replace_file


def in_words(table: pd.DataFrame) -> str:
    """Write a table as markdown, a mean and its deviation in one cell."""
    columns = [name for name in table.columns if not name.endswith("_sd")]
    rows = [
        [_cell(name, row[name], row.get(f"{name}_sd")) for name in columns]
        for row in table.to_dict("records")
    ]
    heads = [metric_words(name) for name in columns]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in (heads, rule, *rows)
    ]
    return "\n".join(lines)


def _cell(name: str, value: Any, deviation: float | None) -> str:
    if isinstance(value, str):
        return value
    if value is None or np.isnan(value):
        return "-"
    if name in ("seeds", "parameters", "n"):
        return f"{int(value):,}"
    if name == "learning_rate":
        return f"{value:.2g}"
    if name == "seconds" or name.startswith("peak MB"):
        return f"{value:.1f}"
    spread = "" if deviation is None or np.isnan(deviation) else f" ± {deviation:.3f}"
    return f"{value:.3f}{spread}"


def figure(folder: Path, name: str, axes: Axes, alt: str) -> str:
    """Save the figure of some axes and return its markdown."""
    drawn = axes.figure
    assert isinstance(drawn, Figure)
    replace_file(folder / f"{name}.png", lambda part: save_figure(drawn, part))
    return f"![{alt}]({name}.png)"


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table that is replaced whole or not at all."""
    replace_file(path, lambda part: table.to_csv(part, index=False))
