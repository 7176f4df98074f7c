"""Cross-validation grouped by video: every fold trained, judged and reported, none of them chosen.

A fold's folder holds an ordinary comparison, so that a cross-validation which was killed goes on
where it stopped and ends with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from mmlib.data import FeatureError, FeatureSet, grouped_folds, split_by_group
from mmlib.data.batch import Batch
from mmlib.training.comparing import compare_systems
from mmlib.training.following import concordances
from mmlib.training.results import Results

OFFICIAL = "official"
#: Of the samples that are not judged, those that choose the epoch; of other groups than the rest.
CHOOSING = 0.15


@dataclass(frozen=True)
class Fold:
    """One way of splitting the data, and what was found under it.

    Attributes:
        name: "official", or "fold-1", "fold-2", ...
        results: every system with every seed, judged on this fold's samples.
    """

    name: str
    results: Results


@dataclass(frozen=True)
class CrossValidation:
    """All folds of a cross-validation.

    Attributes:
        folds: in their order, after the official split where the data have one.
        targets: what the numbers of a regression are called; none for classes.
        official: the split on which the official one is judged, None where it was not run.
    """

    folds: tuple[Fold, ...]
    targets: tuple[str, ...] = ()
    official: str | None = None

    @property
    def systems(self) -> tuple[str, ...]:
        """Name the systems in the order in which they were asked for."""
        return self.folds[0].results.systems

    @property
    def metrics(self) -> tuple[str, ...]:
        """Name the columns: each target's concordance and their mean, or metrics of classes."""
        classes = self.folds[0].results.judged.class_names
        return (*self.targets, "mean") if classes is None else self.folds[0].results.metrics

    def table(
        self, system: str, *, by_video: bool = False, smooth: Sequence[int] | None = None
    ) -> pd.DataFrame:
        """Tell every fold's scores, then their mean and sample deviation.

        A fold's score is the mean over its seeds. The official split, where there is one, stands in
        a row of its own and counts neither in the mean nor in the deviation.

        Args:
            system: whose.
            by_video: the mean over videos of each one's own concordance, instead of the concordance
                over all steps at once.
            smooth: of each target, over how many steps the predictions are averaged before.

        Source:
            JMT, Table 1: valence, arousal and their mean for each fold.

        Choices:
            J-23: smoothing only on request. J-24: all folds, never the best one.

        Raises:
            ValueError: by video or smoothed, although the labels are classes.
        """
        rows = [
            {
                "fold": fold.name,
                "n": len(fold.results.judged),
                **dict(
                    zip(self.metrics, self._scores(fold, system, by_video, smooth), strict=True)
                ),
            }
            for fold in self.folds
        ]
        table = pd.DataFrame(rows)
        folds = table[table["fold"] != OFFICIAL][list(self.metrics)]
        mean = {"fold": "mean of folds", **folds.mean().to_dict()}
        deviation = {"fold": "deviation", **folds.std(ddof=1).to_dict()}
        return pd.concat([table, pd.DataFrame([mean, deviation])], ignore_index=True)

    def every_run(self) -> pd.DataFrame:
        """Tell each run's metrics, a row a run, with its fold."""
        parts = []
        for fold in self.folds:
            part = fold.results.every_run().drop(columns="split")
            part.insert(0, "fold", fold.name)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _scores(
        self, fold: Fold, system: str, by_video: bool, smooth: Sequence[int] | None
    ) -> np.ndarray:
        """Average a system's metrics in a fold over its seeds."""
        judged, runs = fold.results.judged, fold.results.of(system)
        if judged.class_names is None or by_video or smooth:
            each = [
                concordances(run.outputs, judged, by_video=by_video, smooth=smooth) for run in runs
            ]
            each = [[*scores, float(np.mean(scores))] for scores in each]
        else:
            each = [[run.scores[metric] for metric in self.metrics] for run in runs]
        return np.mean(np.array(each, dtype=np.float64), axis=0)


def cross_validate(
    features: FeatureSet,
    systems: Sequence[str],
    folder: Path,
    *,
    folds: int = 5,
    fold_seed: int = 0,
    targets: Sequence[str] | None = None,
    official: bool = True,
    seeds: int = 1,
    source: str = "",
    progress: bool = True,
    **training: Any,
) -> CrossValidation:
    """Train every system on every fold and judge it on the groups that were left out.

    The folds are of the samples in train and valid; a test split stays out of them. Where the file
    has a split of its own, that is run first: trained on train, and judged on test (the epoch chosen
    on valid), or without a test split judged on valid. Wherever no valid split is given, the epoch
    is chosen on samples of other groups, held back from those to train on, and never on the judged
    ones.

    Args:
        features: with groups, such as videos or speakers; no group stands on both sides.
        systems: names in `mmlib.systems.SYSTEMS`, each once.
        folder: where the runs go, a folder a fold; finished runs are not trained again.
        folds: how many.
        fold_seed: of the division into folds.
        targets: what the numbers of a regression are called; left out, target 1, target 2, ....
        official: whether the file's own split is run, where it has one.
        seeds: 0, 1, ... for each system in each fold.
        source: where the features came from, for the runs' descriptions.
        progress: whether a bar counts the folds.
        **training: passed on to `train_system`.

    Source:
        JMT, Table 1.

    Choices:
        J-24: the paper picks a fold by its validation score, which flatters; nothing is picked here.

    Raises:
        UnknownSystem, ValueError: a system does not exist, or does not fit the data.
        FeatureError: fewer groups than folds, or other names than targets.
        CheckpointError: the folder holds another cross-validation.
    """
    from tqdm.auto import tqdm

    named = _targets(features, targets)
    judged = _official(features) if official else None
    ways = _ways(features, folds, fold_seed, judged)
    found = []
    with tqdm(ways.items(), unit="fold", disable=not progress, dynamic_ncols=True) as bar:
        for name, divided in bar:
            bar.set_description(name)
            results = compare_systems(
                divided,
                systems,
                folder / name,
                seeds=seeds,
                split="test",
                source=source,
                progress=False,
                **training,
            )
            found.append(Fold(name, results))
    return CrossValidation(tuple(found), named, judged)


def _official(features: FeatureSet) -> str | None:
    """Say on which split of its own a file is judged: on test, or else on valid."""
    own = features.split.tolist()
    judged = next((split for split in ("test", "valid") if split in own), None)
    return judged if "train" in own else None


def _ways(
    features: FeatureSet, folds: int, seed: int, official: str | None
) -> dict[str, FeatureSet]:
    """Name each way of splitting, and give the data split so: train, valid and test."""
    ways = {}
    own = set(features.split.tolist())
    if official is not None:
        whole = own == {"train", "valid", "test"}
        ways[OFFICIAL] = features if whole else _judged_on(features, official, seed)
    pool = features.subset(features.split != "test") if own != {"test"} else features
    labels = _one_each(pool)
    for number, (_, judged) in enumerate(
        grouped_folds(pool.group, labels=labels, folds=folds, seed=seed), start=1
    ):
        split = np.full(len(pool), "train", dtype="U5")
        split[judged] = "test"
        ways[f"fold-{number}"] = _judged_on(pool.with_split(split), "test", seed)
    return ways


def _judged_on(features: FeatureSet, judged: str, seed: int) -> FeatureSet:
    """Make `judged` the test split, and hold groups back from the others to choose the epoch."""
    split = np.where(features.split == judged, "test", "train").astype("U5")
    rest = np.flatnonzero(split == "train")
    if len(np.unique(features.group[rest])) > 1:
        shares = {"train": 1 - CHOOSING, "valid": CHOOSING}
        labels = _one_each(features)[rest]
        group = features.group[rest]
        split[rest] = split_by_group(group, labels=labels, shares=shares, seed=seed)
    return features.with_split(split)


def _one_each(features: FeatureSet) -> Tensor:
    """Give each sample one label: of labels a step, their mean over the real steps."""
    mask = Batch({}, features.masks, features.labels).label_mask
    if mask is None:
        return features.labels
    kept = features.labels * mask[..., None]
    return kept.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _targets(features: FeatureSet, names: Sequence[str] | None) -> tuple[str, ...]:
    """Name the targets of a regression."""
    if features.class_names is not None:
        if names:
            raise FeatureError(
                f"the targets are named {', '.join(names)}, but {features.name} has classes; leave "
                "the names out."
            )
        return ()
    count = features.num_outputs
    if names is None:
        return tuple(f"target {number}" for number in range(1, count + 1))
    if len(names) != count or len({*names, "mean"}) != count + 1:
        raise FeatureError(
            f"the targets are named {', '.join(names)}, but {features.name} has {count}; name each, "
            "all different."
        )
    return tuple(names)
