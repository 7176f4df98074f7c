"""The page of a comparison: scores beside what could be reached, what they cost, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.data import FeatureSet, theatre
from mmlib.metrics import confusion_matrix
from mmlib.plots import (
    accuracy_curves,
    bars_with_seeds,
    confusion_map,
    differences,
    training_curves,
)
from mmlib.plots.words import metric_words
from mmlib.reporting.tables import figure, in_words, write_csv
from mmlib.systems.own import folder_name
from mmlib.training.checkpoints import replace_file
from mmlib.training.evaluating import FEW_GROUPS
from mmlib.training.results import Results
from mmlib.training.tuning import SEED

#: The head of the column of intervals.
LEVEL = "95 %"


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
    word = metric_words(metric)
    table = _with_intervals(results)
    table["device"] = " and ".join(dict.fromkeys(run.device for run in results.runs))
    bounds = _bounds(results, ceiling, ceilings)
    if bounds:
        table["ceiling"] = [bounds.get(name) for name in table["system"]]
    write_csv(folder / "table.csv", table)
    write_csv(folder / "runs.csv", results.every_run())
    shown = comparison_in_words(table)
    parts = ["# Comparison", _protocol(results, source, ceiling, word, note), shown, _costs(table)]
    if results.tried is not None:
        write_csv(folder / "tuning.csv", results.tried)
        parts += ["## Tuning", _budget(results), tuning_in_words(results.tried)]
    scores = {name: [run.scores[metric] for run in results.of(name)] for name in results.systems}
    one_for_all = len(set(bounds.values())) < 2
    axes = bars_with_seeds(scores, ceilings=ceiling if one_for_all else bounds, ylabel=word)
    alt = f"Bars of {word} on the {results.split} split, a dot for each seed."
    parts.append(figure(folder, "scores", axes, alt))
    parts += _curves(results, folder, ceiling)
    others = [name for name in results.systems if name != "majority"]
    if len(others) > 1 and len(results.judged) > 1:  # one sample has no others to be drawn
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
        table: what `Results.table` gives, with the column `device`, and maybe `ceiling` and the ends
            of the first metric's interval (`accuracy_low`, `accuracy_high`); or its csv.
    """
    table = _in_one_column(table)
    left_out = ["device", "learning_rate"]
    if table["streams"].nunique() == 1:
        left_out.append("streams")
    if "ceiling" in table and table["ceiling"].nunique() == 1:
        left_out.append("ceiling")  # the protocol says it
    shown = table.drop(columns=left_out)
    peak = [bytes_ / 1e6 for bytes_ in table["peak_bytes"].astype(float)]
    shown["peak_bytes"] = peak
    return in_words(shown.rename(columns={"peak_bytes": f"peak MB ({table['device'][0]})"}))


def _with_intervals(results: Results) -> pd.DataFrame:
    """Put the ends of the first metric's intervals into the table of systems, behind its deviation."""
    table, metric = results.table(), results.metrics[0]
    found = [results.interval(name) for name in table["system"]]
    known = [each for each in found if each is not None]
    if known:
        place = list(table.columns).index(f"{metric}_sd") + 1
        table.insert(place, f"{metric}_low", [each.low for each in known])
        table.insert(place + 1, f"{metric}_high", [each.high for each in known])
    return table


def _in_one_column(table: pd.DataFrame) -> pd.DataFrame:
    """Write both ends of an interval as words, where the table has them."""
    shown = table.copy()
    for low in [str(name) for name in table.columns if str(name).endswith("_low")]:
        high = f"{low.removesuffix('_low')}_high"
        shown[low] = [_interval(a, b) for a, b in zip(table[low], table[high], strict=True)]
        shown = shown.drop(columns=high).rename(columns={low: LEVEL})
    return shown


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _protocol(results: Results, source: str, ceiling: float | None, word: str, note: str) -> str:
    judged, seeds = results.judged, len(results.of(results.systems[0]))
    groups = len(np.unique(judged.group))
    told = (
        f"Data: {source}. Judged on {len(judged)} samples of the {results.split} split, from "
        f"{groups} groups. Each system was trained with {seeds} {'seed' if seeds == 1 else 'seeds'} "
        f"on the train split, {_epochs(results)}, and {_chosen(results)}. Numbers are means over the "
        f"seeds ± their sample deviation."
    )
    if len(judged) > 1:
        told += (
            f" The {LEVEL} intervals are of other {results.drawn}s, drawn anew 2,000 times, and say "
            "nothing of further seeds."
        )
    if groups == 1:
        told += f" All are from the group {judged.group[0]}: of others they say nothing."
    elif results.drawn == "group" and groups < FEW_GROUPS:
        told += f" {groups} groups are so few that they come out too narrow."
    told += f" {note}" if note else ""
    if results.split == "valid":
        what = "The epoch was" if results.tried is None else "Learning rate and epoch were"
        told += f" {what} chosen on the judged samples themselves, so the scores flatter."
    if ceiling is not None:
        told += f" In the long run no model has a better {word} than {ceiling:.3f}."
    return told


def _chosen(results: Results) -> str:
    """Say which epoch was taken: without a valid split there is nothing to choose one by."""
    if any(str(column).startswith("valid_") for run in results.runs for column in run.history):
        return "the epoch chosen on valid"
    return "the last epoch taken, since there is no valid split to choose one on"


def _epochs(results: Results) -> str:
    """Say how long was trained, where all did so equally long."""
    counts = {len(run.history) for run in results.runs}
    if len(counts) == 1:
        count = counts.pop()
        return f"for {count} {'epoch' if count == 1 else 'epochs'} each"
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
    device = str(table["device"][0])
    how = (
        "counted by the GPU's allocator"
        if device == "cuda"
        else "the tensors alive after each operation, added up; what an operation needs for itself "
        "while it runs is not seen"
    )
    told = (
        "Seconds are those of one training by the clock, on this machine. The peak is what training "
        f"holds at most: weights, gradients, the optimiser's state and a batch's work ({how})."
    )
    if " and " in device:  # a comparison that went on elsewhere
        told += f" Not all ran on one device, but on {device} (runs.csv): so these columns compare nothing."
    return told


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


def tuning_in_words(tried: pd.DataFrame) -> str:
    """Write the table of `mmlib.training.tuning.tune`, or its csv, as markdown."""
    shown = pd.DataFrame(
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
    return in_words(shown)


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
    parts = ["## While they learn", figure(folder, "epochs", axes, alt)]
    for name, runs in histories.items():
        columns = [column for column in runs[0].columns if column.startswith("loss_")]
        if columns:
            axes = training_curves(runs[0], column=columns, title=f"{name}, seed 0")
            alt = f"The {len(columns)} losses of {name} over the epochs, seed 0."
            parts.append(figure(folder, f"losses_{folder_name(name)}", axes, alt))
    return parts


def _differences(results: Results, folder: Path, reference: str, word: str) -> list[str]:
    found = results.differences(reference)
    axes = differences(found, xlabel=f"difference in {word} to {reference}")
    alt = f"For each system the difference in {word} to {reference}, with its interval."
    frame = pd.DataFrame({"system": name, **each._asdict()} for name, each in found.items())
    write_csv(folder / "differences.csv", frame)
    note = (
        "Paired differences on the same samples, averaged over the seeds; the intervals are of "
        f"other {results.drawn}s, too."
    )
    rows = frame.drop(columns=["low", "high", "level"])
    rows.insert(2, LEVEL, [_interval(each.low, each.high) for each in found.values()])
    parts = [f"## Against {reference}", note, in_words(rows)]
    return [*parts, figure(folder, "differences", axes, alt)]


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
    return figure(folder, f"confusion_{folder_name(name)}", axes, alt)
