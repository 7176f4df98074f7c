"""What is left for people: tables as csv and markdown, figures, and a page with both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmlib.data import FeatureSet, theatre
from mmlib.metrics import confusion_matrix
from mmlib.plots import (
    accuracy_curves,
    bars_with_seeds,
    confusion_map,
    differences,
    save_figure,
    training_curves,
)
from mmlib.plots.availability import falling_curves, pattern_bars
from mmlib.training.checkpoints import replace_file
from mmlib.training.comparing import Results
from mmlib.training.robustness import Robustness
from mmlib.training.tuning import SEED

WORDS = {"mean_ccc": "mean CCC", "mean_pearson": "mean r", "mean_rmse": "mean RMSE"}


def ceiling_of(source: str, features: FeatureSet) -> float | None:
    """Say what the best model could reach on the streams of a theatre's play; None elsewhere."""
    known = ceilings_of(source)
    return None if known is None else known.get("+".join(features.modalities))


def ceilings_of(source: str) -> theatre.Ceilings | None:
    """Say what the best model could reach on each combination of streams; None off the stage."""
    stage, _, play = source.partition(":")
    preset = play.partition(":")[0]
    return theatre.ceilings(preset or "masks") if stage == "theatre" else None


def write_report(
    results: Results,
    folder: Path,
    *,
    source: str,
    ceiling: float | None = None,
    ceilings: Mapping[str, float] | None = None,
    note: str = "",
) -> str:
    """Write the tables, the figures and `report.md`, and return the table of systems as text.

    Args:
        results: what `compare_systems` gave.
        folder: where to write.
        source: where the data came from, as it was asked for.
        ceiling: the best score of the first metric that any model can reach.
        ceilings: the same for combinations of streams ("text+audio"): each system is held against
            that of the streams it looks at.
        note: a sentence more about how the systems were trained.
    """
    metric = results.metrics[0]
    word = WORDS.get(metric, metric.replace("_", " "))
    table = results.table()
    table["device"] = results.runs[0].device
    bounds = _bounds(results, ceiling, ceilings)
    if bounds:
        table["ceiling"] = [bounds.get(name) for name in table["system"]]
    write_csv(folder / "table.csv", table)
    write_csv(folder / "runs.csv", results.every_run())
    shown = comparison_in_words(table)
    parts = ["# Comparison", _protocol(results, source, ceiling, word, note), shown, _costs(table)]
    if results.tried is not None:
        write_csv(folder / "tuning.csv", results.tried)
        parts += ["## Tuning", _budget(results), in_words(_tried(results.tried))]
    scores = {name: [run.scores[metric] for run in results.of(name)] for name in results.systems}
    one_for_all = len(set(bounds.values())) < 2
    axes = bars_with_seeds(scores, ceilings=ceiling if one_for_all else bounds, ylabel=word)
    alt = f"Bars of {word} on the {results.split} split, a dot for each seed."
    parts.append(_figure(folder, "scores", axes, alt))
    parts += _curves(results, folder, ceiling)
    others = [name for name in results.systems if name != "majority"]
    if len(others) > 1:
        parts += _differences(results, folder, others[0], word)
    if results.judged.class_names is not None:
        classes = results.class_table()
        write_csv(folder / "classes.csv", classes)
        parts += ["## F1 of each class", in_words(classes)]
        parts += ["## Confusion"]
        for name in others:
            parts.append(_confusion(results, folder, name))
    text = "\n\n".join(parts) + "\n"
    replace_file(folder / "report.md", lambda part: part.write_text(text, encoding="utf-8"))
    return shown


def comparison_in_words(table: pd.DataFrame) -> str:
    """Write the table of a comparison as markdown: what all systems share is left out.

    Args:
        table: what `Results.table` gives, with the column `device`, and maybe `ceiling`; or its csv.
    """
    left_out = ["device", "learning_rate"]
    if table["streams"].nunique() == 1:
        left_out.append("streams")
    if "ceiling" in table and table["ceiling"].nunique() == 1:
        left_out.append("ceiling")  # the protocol says it
    shown = table.drop(columns=left_out)
    peak = [bytes_ / 1e6 for bytes_ in table["peak_bytes"].astype(float)]
    shown["peak_bytes"] = peak
    return in_words(shown.rename(columns={"peak_bytes": f"peak MB ({table['device'][0]})"}))


def write_robustness(
    found: Robustness, folder: Path, *, source: str, split: str, draws: int
) -> str:
    """Write what `mmlib.training.robustness.measure` found, and return its tables as text.

    Args:
        found: what was measured.
        folder: where to write.
        source: where the data came from, as it was asked for.
        split: the samples that were judged.
        draws: how often was drawn what goes.
    """
    metric = found.metrics[0]
    word = WORDS.get(metric, metric.replace("_", " "))
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
    tables = [
        in_words(_wide(found.patterns, "pattern", metric)),
        in_words(_wide(falling, "rate", metric)),
    ]
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
    bars = _figure(
        folder,
        "patterns",
        pattern_bars(_by_system(found.patterns), metric=metric),
        f"Bars of {word} for each combination of streams, a bar a system, a dot a seed.",
    )
    curves = _figure(
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


def in_words(table: pd.DataFrame) -> str:
    """Write a table as markdown, a mean and its deviation in one cell."""
    columns = [name for name in table.columns if not name.endswith("_sd")]
    rows = [
        [_cell(name, row[name], row.get(f"{name}_sd")) for name in columns]
        for row in table.to_dict("records")
    ]
    heads = [WORDS.get(name, name.replace("_", " ")) for name in columns]
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


def _protocol(results: Results, source: str, ceiling: float | None, word: str, note: str) -> str:
    judged, seeds = results.judged, len(results.of(results.systems[0]))
    groups = len(np.unique(judged.group))
    told = (
        f"Data: {source}. Judged on {len(judged)} samples of the {results.split} split, from "
        f"{groups} groups. Each system was trained with {seeds} seeds on the train split, "
        f"{_epochs(results)}, and the epoch chosen on valid. Numbers are means over the seeds ± "
        f"their sample deviation."
    )
    told += f" {note}" if note else ""
    if results.split == "valid":
        what = "The epoch was" if results.tried is None else "Learning rate and epoch were"
        told += f" {what} chosen on the judged samples themselves, so the scores flatter."
    if ceiling is not None:
        told += f" In the long run no model has a better {word} than {ceiling:.3f}."
    return told


def _epochs(results: Results) -> str:
    """Say how long was trained, where all did so equally long."""
    counts = {len(run.history) for run in results.runs}
    if len(counts) == 1:
        return f"for {counts.pop()} epochs each"
    return "for numbers of epochs that differ (runs.csv)"


def _bounds(
    results: Results, ceiling: float | None, ceilings: Mapping[str, float] | None
) -> dict[str, float]:
    """Give the ceiling of each system by the streams it looks at, where it is known."""
    found = {}
    for name in results.systems:
        own = None if ceilings is None else ceilings.get("+".join(results.of(name)[0].streams))
        if own is not None or ceiling is not None:
            found[name] = ceiling if own is None else own
    return {name: float(best) for name, best in found.items() if best is not None}


def _costs(table: pd.DataFrame) -> str:
    """Say what the columns of time and memory count."""
    how = (
        "counted by the GPU's allocator"
        if table["device"][0] == "cuda"
        else "the tensors alive after each operation, added up; what an operation needs for itself "
        "while it runs is not seen"
    )
    return (
        "Seconds are those of one training by the clock, on this machine. The peak is what training "
        f"holds at most: weights, gradients, the optimiser's state and a batch's work ({how})."
    )


def _budget(results: Results) -> str:
    """Say what each system was given to be tuned with."""
    assert results.tried is not None
    tried = results.tried
    each = tried.groupby("system", sort=False).size()
    return (
        f"Each system was given the same budget: {each.iloc[0]} learning rates around its own, each "
        f"trained once with a seed that no run above has ({SEED}) and for as many epochs. The best "
        f"{'/'.join(tried['watched'].dropna().unique())} of any epoch chose; of equals the rate "
        "nearest to the system's own. No other split was handed to these trials."
    )


def _tried(tried: pd.DataFrame) -> pd.DataFrame:
    """Make the trials a table for people."""
    return pd.DataFrame(
        {
            "system": tried["system"],
            "x own rate": tried["factor"],
            "learning_rate": tried["learning_rate"],
            "best on valid": [
                "diverged" if np.isnan(score) else f"{score:.3f}"
                for score in tried["score"].astype(float)
            ],
            "in epoch": ["-" if np.isnan(e) else str(int(e)) for e in tried["epoch"].astype(float)],
            "chosen": ["yes" if taken else "" for taken in tried["chosen"]],
        }
    )


def _curves(results: Results, folder: Path, ceiling: float | None) -> list[str]:
    """Draw the watched number of all systems, and each system's losses, against the epoch."""
    watched = "valid_mean_ccc" if results.judged.class_names is None else "valid_accuracy"
    histories = {
        name: [run.history for run in results.of(name)]
        for name in results.systems
        if watched in results.of(name)[0].history and len(results.of(name)[0].history) > 1
    }
    if not histories:
        return []
    axes = accuracy_curves(histories, metric=watched, ceiling=ceiling)
    alt = (
        f"{watched.replace('_', ' ')} of each system over the epochs, mean and range of the seeds."
    )
    parts = ["## While they learn", _figure(folder, "epochs", axes, alt)]
    for name, runs in histories.items():
        columns = [column for column in runs[0].columns if column.startswith("loss_")]
        if columns:
            axes = training_curves(runs[0], column=columns, title=f"{name}, seed 0")
            alt = f"The {len(columns)} losses of {name} over the epochs, seed 0."
            parts.append(_figure(folder, f"losses_{name}", axes, alt))
    return parts


def _differences(results: Results, folder: Path, reference: str, word: str) -> list[str]:
    found = results.differences(reference)
    axes = differences(found, xlabel=f"difference in {word} to {reference}")
    alt = f"For each system the difference in {word} to {reference}, with its interval."
    frame = pd.DataFrame({"system": name, **each._asdict()} for name, each in found.items())
    write_csv(folder / "differences.csv", frame)
    note = (
        f"Paired differences on the same samples, averaged over the seeds; the intervals are of "
        f"other {results.drawn}s, drawn anew 2,000 times, and say nothing of further seeds."
    )
    if len(np.unique(results.judged.group)) == 1:
        note += f" All are from the group {results.judged.group[0]}: of others they say nothing."
    return [f"## Against {reference}", note, _figure(folder, "differences", axes, alt)]


def _confusion(results: Results, folder: Path, name: str) -> str:
    names = results.judged.class_names
    assert names is not None
    tables = [
        confusion_matrix(run.outputs, results.judged.labels, len(names)) for run in results.of(name)
    ]
    counts = sum(tables[1:], tables[0])
    title = f"{name}, {len(tables)} seeds added up" if len(tables) > 1 else name
    axes = confusion_map(counts, names, title=title)
    alt = f"What {name} took for what; rows are the true classes."
    return _figure(folder, f"confusion_{name}", axes, alt)


def _figure(folder: Path, name: str, axes: Axes, alt: str) -> str:
    """Save the figure of some axes and return its markdown."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    replace_file(folder / f"{name}.png", lambda part: save_figure(figure, part))
    return f"![{alt}]({name}.png)"


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table that is replaced whole or not at all."""
    replace_file(path, lambda part: table.to_csv(part, index=False))
