"""What a comparison found: every run, and tables, intervals and differences over their seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmlib.data import FeatureSet
from mmlib.data.batch import Batch
from mmlib.metrics import Comparison, Interval, bootstrap_interval, compare, per_class
from mmlib.training import evaluating


@dataclass(frozen=True)
class Run:
    """One system trained with one seed, and what it says of the judged samples.

    Attributes:
        system, seed: which run it is.
        outputs: logits `(N, C)` or predictions `(N, K)` or `(N, T, K)` of the judged samples.
        scores: what `mmlib.training.evaluate` gives.
        history: one row an epoch.
        parameters: how many numbers were trained.
        seconds: of training, by the clock; None where the run was interrupted.
        streams: what it looks at, in the data's order.
        learning_rate: the highest of its schedule.
        peak_bytes: what training holds at most (see `training_memory`), on `device`.
        device: where it was trained.
    """

    system: str
    seed: int
    outputs: Tensor
    scores: dict[str, Any]
    history: pd.DataFrame
    parameters: int
    seconds: float | None
    streams: tuple[str, ...] = ()
    learning_rate: float | None = None
    peak_bytes: int | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Results:
    """All runs of a comparison, what they were judged on, and what was tried before.

    Attributes:
        runs: a run for each system and seed.
        judged: the samples.
        split: their split.
        tried: the table of `mmlib.training.tuning.tune`; None without tuning.
    """

    runs: tuple[Run, ...]
    judged: FeatureSet
    split: str
    tried: pd.DataFrame | None = None

    @property
    def systems(self) -> tuple[str, ...]:
        """Name the systems in the order in which they were asked for."""
        return tuple(dict.fromkeys(run.system for run in self.runs))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Name the metrics, the first of which decides."""
        return evaluating.judged_by(self.judged)

    def of(self, system: str) -> list[Run]:
        """Return a system's runs, a seed each."""
        return [run for run in self.runs if run.system == system]

    def table(self) -> pd.DataFrame:
        """Tell each system's metrics as mean and sample deviation over its seeds."""
        rows = []
        for system in self.systems:
            mine = self.of(system)
            row: dict[str, Any] = {
                "system": system,
                "streams": "+".join(mine[0].streams),
                "seeds": len(mine),
            }
            for metric in self.metrics:
                values = [run.scores[metric] for run in mine]
                row[metric] = float(np.mean(values))
                row[f"{metric}_sd"] = _deviation(values)
            row |= {
                "learning_rate": mine[0].learning_rate,
                "parameters": mine[0].parameters,
                "seconds": _mean(run.seconds for run in mine),
                "peak_bytes": _mean(run.peak_bytes for run in mine),
            }
            rows.append(row)
        return pd.DataFrame(rows)

    def every_run(self) -> pd.DataFrame:
        """Tell each run's metrics, a row a run."""
        return pd.DataFrame(
            {
                "system": run.system,
                "seed": run.seed,
                "split": self.split,
                "n": run.scores["n"],
                **{metric: run.scores[metric] for metric in self.metrics},
                "epochs": len(run.history),
                "learning_rate": run.learning_rate,
                "parameters": run.parameters,
                "seconds": run.seconds,
                "peak_bytes": run.peak_bytes,
                "device": run.device,
            }
            for run in self.runs
        )

    def class_table(self) -> pd.DataFrame:
        """Tell each class's F1 and their mean, each as mean and sample deviation over the seeds.

        Choices:
            C-21: the average is the plain mean over the classes.

        Raises:
            ValueError: the labels are no classes.
        """
        names = self.judged.class_names
        if names is None:
            raise ValueError("the labels are numbers, so there are no classes to tell apart.")
        rows = []
        for system in self.systems:
            found = [
                per_class(run.outputs, self.judged.labels, len(names))["f1"].tolist()
                for run in self.of(system)
            ]
            row: dict[str, Any] = {"system": system}
            for place, name in enumerate(names):
                row[name] = float(np.mean([f1[place] for f1 in found]))
                row[f"{name}_sd"] = _deviation([f1[place] for f1 in found])
            averages = [float(np.mean(f1)) for f1 in found]
            row |= {"average": float(np.mean(averages)), "average_sd": _deviation(averages)}
            rows.append(row)
        return pd.DataFrame(rows)

    @property
    def drawn(self) -> Literal["group", "sample"]:
        """What a resampling draws: groups where samples share one, unless all share the same."""
        several = 1 < len(np.unique(self.judged.group)) < len(self.judged)
        return "group" if several else "sample"

    def differences(self, reference: str, *, level: float = 0.95) -> dict[str, Comparison]:
        """Compare every other system with a reference on the same samples, averaged over seeds.

        The interval is that of other samples, or other groups (see `drawn`): it speaks of the seeds
        that were run and not of further ones.
        """
        theirs = self._stacked(reference)
        target, groups = self._truth(len(self.of(reference)))
        return {
            system: compare(
                self.metrics[0], self._stacked(system), theirs, target, groups=groups, level=level
            )
            for system in self.systems
            if system != reference
        }

    def interval(self, system: str, *, level: float = 0.95) -> Interval | None:
        """Say where a system's first metric would mostly lie, had other samples been judged.

        All seeds' answers are judged as one, and drawn as for `differences`: by groups where samples
        share one. None where a single sample is judged.
        """
        if len(self.judged) < 2:
            return None
        target, groups = self._truth(len(self.of(system)))
        return bootstrap_interval(
            self.metrics[0], self._stacked(system), target, groups=groups, level=level
        )

    def _truth(self, seeds: int) -> tuple[Tensor, np.ndarray]:
        """Give the labels of what all seeds say, below each other, and what is drawn as one.

        A sample that several seeds judged is one sample: it, or its group, is drawn whole.
        """
        units = self.judged.group if self.drawn == "group" else self.judged.ids
        target = torch.cat([self._rows(self.judged.labels)] * seeds)
        return target, np.concatenate([self._rows(units)] * seeds)

    def _stacked(self, system: str) -> Tensor:
        """Put what all seeds say below each other, classes or numbers."""
        said = torch.cat([self._rows(run.outputs) for run in self.of(system)])
        return said if self.judged.class_names is None else said.argmax(1)

    def _rows(self, values: Any) -> Any:
        """Give a row to each sample, or to each real step where steps have labels of their own."""
        mask = Batch({}, self.judged.masks, self.judged.labels).label_mask
        if mask is None:
            return values
        if isinstance(values, np.ndarray):
            return np.repeat(values, mask.sum(1).numpy())
        return values[mask]


def _mean(values: Iterable[float | None]) -> float | None:
    """Average those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
