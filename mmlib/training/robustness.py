"""Trained runs where streams are absent: found in folders, told apart, measured on the same draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmlib.data import FeatureError, FeatureSet
from mmlib.systems.absence import Absence, Means
from mmlib.training import checkpoints, evaluating, runs
from mmlib.training.availability import RATES, judge_falling, judge_patterns
from mmlib.training.checkpoints import CheckpointError
from mmlib.training.finished import CHOICES
from mmlib.training.hearing import hear, patterns_of
from mmlib.training.jobs import HEEDLESS
from mmlib.training.trainer import BEST, LAST


@dataclass(frozen=True)
class Trial:
    """A run's folder, what config.json says of it, the settings of its training, and its name."""

    folder: Path
    about: dict[str, Any]
    settings: dict[str, Any]
    name: str = ""

    @property
    def system(self) -> str:
        """Name the system."""
        return self.about["system"]

    @property
    def seed(self) -> int:
        """Give the seed of weights, order and noise."""
        return self.settings["seed"]

    @property
    def modality_dropout(self) -> float | str | None:
        """Say how often a sample lost a stream in training; None where that has no meaning."""
        config = self.about["config"]
        if self.system in HEEDLESS or "modality_dropout" not in config:
            return None
        form = config["modality_dropout"] or 0.0
        return config["modality_rate"] if form == "drop" else form

    def choice(self, name: str) -> Any:
        """Give a setting of the training, or of the config where it has none."""
        if name == "modality_dropout":
            return self.modality_dropout
        return self.settings.get(name, self.about["config"].get(name))

    @property
    def passes(self) -> int:
        """Count how often the run is asked about all samples."""
        return len(patterns_of(tuple(self.about["streams"])))


@dataclass(frozen=True)
class Robustness:
    """What was measured: a row a run and combination, and a row a run, rate and draw.

    Attributes:
        patterns, falling: as `availability_patterns` and `falling_availability` give them, with
            `system` (the trial's name) and `seed` before them.
        absences: name -> how the system does without a stream.
        trials: the runs.
        judged: the samples.
    """

    patterns: pd.DataFrame
    falling: pd.DataFrame
    absences: dict[str, Absence]
    trials: tuple[Trial, ...]
    judged: FeatureSet

    @property
    def metrics(self) -> tuple[str, ...]:
        """Name the metrics, the first of which is told and drawn."""
        return evaluating.judged_by(self.judged)


def find_trials(places: Sequence[Path]) -> tuple[Trial, ...]:
    """Find the runs in folders that `train` or `compare` left, and name them.

    Runs are named by their system; where runs of one system differ in more than the seed, by that
    too. A run that differs in nothing from an earlier one is the same and is left out.

    Raises:
        CheckpointError: a folder without a finished run.
    """
    folders = list(dict.fromkeys(folder for place in places for folder in _runs_in(place)))
    trials = [_trial(folder) for folder in folders]
    named: dict[tuple[str, int], Trial] = {}
    for trial in trials:
        mine = [other for other in trials if other.system == trial.system]
        values = [(name, trial.choice(name)) for name in _differing(mine)]
        words = [f"{name.replace('_', ' ')} {value}" for name, value in values if value is not None]
        name = ", ".join([trial.system, *words])
        named.setdefault((name, trial.seed), replace(trial, name=name))
    return tuple(named.values())


def own_data(trials: Sequence[Trial]) -> tuple[str, int]:
    """Say what all runs were trained on, as `--data` and `--n` take it.

    Raises:
        CheckpointError: they were trained on different data, or do not say on what.
    """
    told = {(trial.about["data"]["source"], trial.about["data"]["samples"]) for trial in trials}
    if len(told) > 1:
        listed = ", ".join(sorted(f"{source} ({count} samples)" for source, count in told))
        raise CheckpointError(
            f"the runs were trained on different data: {listed}; measure them one by one, or name "
            "what all of them are judged on by --data."
        )
    source, count = told.pop()
    if not source:
        raise CheckpointError(
            f"{trials[0].folder} does not say on which file it was trained; name one by --data."
        )
    return source, count


def measure_runs(
    trials: Sequence[Trial],
    whole: FeatureSet,
    split: str = "test",
    *,
    same_data: bool = False,
    rates: Sequence[float] = RATES,
    draws: int = 10,
    seed: int = 0,
    means: Means | None = None,
    ceilings: Mapping[str, float] | None = None,
    device: str = "auto",
    update: Callable[[int], object] | None = None,
) -> Robustness:
    """Measure every run on every combination of its streams and at falling availability.

    Args:
        trials: what `find_trials` found.
        whole: the data; of it, each run is given the streams that it was trained on.
        split: the samples that are judged.
        same_data: whether `whole` must be what the runs were trained on.
        rates: as of `falling_availability`; so are draws, seed, means and ceilings.
        draws: see there.
        seed: see there.
        means: see there.
        ceilings: see there.
        device: where the models compute.
        update: called with 1 after each pass through the data.

    Raises:
        FeatureError: the data do not fit a run, or are not what it was trained on.
        CheckpointError: a run is damaged.
    """
    patterns: list[pd.DataFrame] = []
    falling: list[pd.DataFrame] = []
    absences: dict[str, Absence] = {}
    for trial in trials:
        model, about = runs.load_run(trial.folder)
        features = runs.fitted(whole, about)
        if same_data and features.fingerprint() != about["data"]["fingerprint"]:
            raise FeatureError(
                f"{whole.name} is no longer what {trial.folder} was trained on; name by --data what "
                "it is to be judged on."
            )
        judged = features.subset(split)
        heard = hear(model, judged, means=means, device=device, update=update)
        absences[trial.name] = heard.absence
        tables = (
            judge_patterns(heard, ceilings=ceilings),
            judge_falling(heard, rates, draws=draws, seed=seed, ceilings=ceilings),
        )
        for table, found in zip(tables, (patterns, falling), strict=True):
            table.insert(0, "system", trial.name)
            table.insert(1, "seed", trial.seed)
            found.append(table)
    return Robustness(
        pd.concat(patterns, ignore_index=True),
        pd.concat(falling, ignore_index=True),
        absences,
        tuple(trials),
        whole.subset(split),
    )


def _differing(trials: Sequence[Trial]) -> list[str]:
    """Name as few settings as tell these runs apart, those of `CHOICES` first."""
    every = (name for trial in trials for name in (*trial.settings, *trial.about["config"]))
    names = dict.fromkeys([*CHOICES, *every])
    chosen: list[str] = []

    def kinds(some: list[str]) -> int:
        return len({tuple(str(trial.choice(name)) for name in some) for trial in trials})

    for name in names:
        told_already = name in ("seed", "modality_rate")
        if not told_already and kinds([*chosen, name]) > kinds(chosen):
            chosen.append(name)
    return chosen


def _runs_in(place: Path) -> list[Path]:
    """List the runs in a folder: itself, or those below it, or below its folder `runs`."""
    for inside in ([place], place.glob("*"), place.glob("runs/*")):
        found = sorted(folder for folder in inside if (folder / runs.CONFIG).is_file())
        if found:
            return found
    raise CheckpointError(f"{place} holds no run; give a folder that train or compare left.")


def _trial(folder: Path) -> Trial:
    """Read what a run says of itself."""
    about = checkpoints.read_json(folder / runs.CONFIG)
    weights = folder / (BEST if (folder / BEST).exists() else LAST)
    _, told = checkpoints.load_tensors(weights)
    try:
        trial = Trial(folder, about, told["settings"])
        _ = trial.system, trial.seed, trial.modality_dropout, trial.passes, about["data"]["source"]
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} does not describe a run ({error}).") from None
    return trial
