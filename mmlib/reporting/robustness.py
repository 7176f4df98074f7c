"""The page of trained systems where streams are absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib.plots.availability import falling_curves, pattern_bars
from mmlib.plots.words import metric_words
from mmlib.reporting.tables import figure, in_words, write_csv
from mmlib.training.checkpoints import replace_file
from mmlib.training.robustness import Robustness


def write_robustness(
    found: Robustness, folder: Path, *, source: str, split: str, draws: int
) -> str:
    """Write what `mmlib.training.robustness.measure_runs` found, and return its tables as text.

    Args:
        found: what was measured.
        folder: where to write.
        source: where the data came from, as it was asked for.
        split: the samples that were judged.
        draws: how often was drawn what goes.
    """
    metric = found.metrics[0]
    word = metric_words(metric)
    write_csv(folder / "patterns.csv", found.patterns)
    write_csv(folder / "falling.csv", found.falling)
    dropouts = {trial.name: trial.modality_dropout for trial in found.trials}
    means = pd.DataFrame(
        {
            "system": name,
            "means": absence.means,
            "without a stream": absence.words,
            "modality dropout in training": dropouts[name],
        }
        for name, absence in found.absences.items()
    )
    # A seed's score at a rate is the mean over its draws.
    each = found.falling.groupby(["system", "seed", "rate"], sort=False)
    columns = [metric, "ceiling"] if "ceiling" in found.falling else [metric]
    falling = each[columns].mean().reset_index()
    wide = {
        "patterns": _wide(found.patterns, "pattern", metric),
        "falling": _wide(falling, "rate", metric),
    }
    for name, rows in wide.items():
        write_csv(folder / f"{name}_table.csv", rows)
    tables = [in_words(rows) for rows in wide.values()]
    groups = len(np.unique(found.judged.group))
    protocol = (
        f"Data: {source}. Judged on {len(found.judged)} samples of the {split} split, from {groups} "
        f"groups. Numbers are {word}, means over the seeds ± their sample deviation; intervals over "
        "groups, and further metrics, are in patterns.csv."
    )
    rates = (
        f"Each stream of each sample is gone with the probability at the head of a column, in {draws} "
        "draws that are the same for every run. A sample never loses all: where it would, it keeps "
        "one of its streams, each as likely."
    )
    bars = figure(
        folder,
        "patterns",
        pattern_bars(_by_system(found.patterns), metric=metric),
        f"Bars of {word} for each combination of streams, a bar a system, a dot a seed.",
    )
    curves = figure(
        folder,
        "falling",
        falling_curves(_by_system(found.falling), metric=metric),
        f"{word} of each system against the rate at which each stream is gone.",
    )
    parts = ["# Where streams are absent", protocol, in_words(means)]
    parts += ["## Each combination of streams", tables[0], bars]
    parts += ["## As availability falls", rates, tables[1], curves]
    text = "\n\n".join(parts) + "\n"
    replace_file(folder / "report.md", lambda part: part.write_text(text, encoding="utf-8"))
    return "\n\n".join([in_words(means), *tables])


def _by_system(rows: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """Give each system's tables, one a seed."""
    return {
        str(name): [table for _, table in mine.groupby("seed")]
        for name, mine in rows.groupby("system", sort=False)
    }


def _wide(rows: pd.DataFrame, column: str, metric: str) -> pd.DataFrame:
    """Put the values of a column side by side, mean and deviation over seeds, ceilings below."""
    lines: list[dict[str, Any]] = []
    for name, mine in rows.groupby("system", sort=False):
        line: dict[str, Any] = {"system": name}
        for value, scores in mine.groupby(column, sort=False):
            head = _head(value)
            line |= {head: scores[metric].mean(), f"{head}_sd": scores[metric].std(ddof=1)}
        lines.append(line)
    bounds = _ceilings(rows, column) if "ceiling" in rows else []
    # Most systems take the same streams; of others the ceiling says whose it is.
    bounds.sort(key=lambda bound: -len(bound[1]))
    for place, (heads, names) in enumerate(bounds):
        whose = f"ceiling of {', '.join(names)}" if place else "ceiling"
        lines.append({"system": whose, **heads})
    return pd.DataFrame(lines)


def _ceilings(rows: pd.DataFrame, column: str) -> list[tuple[dict[str, float], list[str]]]:
    """Put together the ceilings of systems that agree on what they have in common."""
    found: list[tuple[dict[str, float], list[str]]] = []
    for name, mine in rows.dropna(subset=["ceiling"]).groupby("system", sort=False):
        heads = {_head(v): float(c) for v, c in zip(mine[column], mine["ceiling"], strict=True)}
        for known, names in found:
            if all(abs(known.get(head, best) - best) < 1e-9 for head, best in heads.items()):
                known |= heads
                names.append(str(name))
                break
        else:
            found.append((heads, [str(name)]))
    return found


def _head(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
