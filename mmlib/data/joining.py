"""Join feature files of the same samples, one stream here and another there, by the samples' ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.data.feature_folder import FeatureWriter
from mmlib.data.feature_set import FeatureError, FeatureSet, listed
from mmlib.data.features import load_features

_AT_ONCE = 16


class Joined(NamedTuple):
    """What came of it.

    Attributes:
        features: all samples and all streams; one that a sample does not have is masked.
        patterns: which streams are there -> how many samples have just these.
    """

    features: FeatureSet
    patterns: dict[tuple[str, ...], int]


def join(sets: Sequence[FeatureSet], *, name: str = "joined", folder: Path | None = None) -> Joined:
    """Join feature sets by id: all samples of any of them, with all streams.

    A sample that a set does not have gets that set's streams as absent: zeros, and a mask that is all
    False. Samples stand in the order in which their ids first appear. Where a set has no groups of its
    own (each sample is one by itself), the others' hold.

    Args:
        sets: of different streams.
        name: of what comes of it, in memory.
        folder: write there, some samples at a time, and leave the streams in their files; None
            keeps all in memory. Sets that stand in feature folders are read as they are written.

    Raises:
        FeatureError: two sets have a stream in common, an id stands twice in one, or they disagree
            about a sample's label, split or group, or about what the labels mean.
    """
    if len(sets) < 2:
        raise FeatureError(f"there is {len(sets)} feature set to join, expected two or more.")
    _check_meaning(sets)
    ids = list(dict.fromkeys(one for features in sets for one in features.ids.tolist()))
    place = {one: row for row, one in enumerate(ids)}
    table = {
        "label": _Column(
            np.zeros((len(ids), *sets[0].labels.shape[1:]), sets[0].labels.numpy().dtype)
        ),
        "split": _Column(np.full(len(ids), "", dtype=object)),
        "group": _Column(np.array(ids, dtype=object)),
    }
    sources: dict[str, _Source] = {}
    for features in sets:
        rows = np.array([place[one] for one in features.ids.tolist()])
        told = {"label": features.labels.numpy(), "split": features.split}
        if (features.group != features.ids).any():  # else nobody told it any
            told["group"] = features.group
        for what, values in told.items():
            table[what].fill(rows, values, what, features)
        where = torch.full((len(ids),), -1)
        where[torch.from_numpy(rows)] = torch.arange(len(rows))
        sources |= {stream: _Source(features, stream, where) for stream in features.modalities}

    def some(rows: slice) -> FeatureSet:
        return FeatureSet(
            inputs={stream: source.values(rows) for stream, source in sources.items()},
            masks={stream: source.mask(rows) for stream, source in sources.items()},
            labels=torch.from_numpy(table["label"].values[rows]),
            class_names=sets[0].class_names,
            split=table["split"].values[rows].astype(str),
            group=table["group"].values[rows].astype(str),
            ids=np.array(ids[rows]),
            label_step=sets[0].label_step,
            name=name,
        )

    joined = some(slice(0, len(ids))) if folder is None else _written(folder, some, len(ids))
    there = torch.stack([joined.masks[stream].any(1) for stream in joined.modalities], 1)
    patterns = Counter(
        tuple(s for s, has in zip(joined.modalities, row, strict=True) if has)
        for row in there.tolist()
    )
    return Joined(joined, dict(patterns))


def _check_meaning(sets: Sequence[FeatureSet]) -> None:
    """Refuse sets that cannot stand in one file."""
    first = sets[0]
    seen: dict[str, str] = {}
    for features in sets:
        for stream in features.modalities:
            if stream in seen:
                raise FeatureError(
                    f"both {seen[stream]} and {features.name} have '{stream}'; join files of "
                    "different streams."
                )
            seen[stream] = features.name
        twice = [one for one, times in Counter(features.ids.tolist()).items() if times > 1]
        if twice:
            raise FeatureError(f"the id '{twice[0]}' stands twice in {features.name}.")
        shapes = first.labels.shape[1:], features.labels.shape[1:]
        for what, ours, theirs in (
            ("classes", _told(first.class_names), _told(features.class_names)),
            ("a label step", first.label_step, features.label_step),
            ("labels of shape", tuple(shapes[0]), tuple(shapes[1])),
        ):
            if ours != theirs:
                raise FeatureError(
                    f"{first.name} has {what} {ours} but {features.name} {theirs}; join files of the "
                    "same samples and labels."
                )


def _told(names: tuple[str, ...] | None) -> str:
    return "none (numbers)" if names is None else listed(names)


class _Column:
    """What is told of each sample, and of which samples it has been told."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self._told = np.zeros(len(values), dtype=bool)

    def fill(self, rows: np.ndarray, values: np.ndarray, what: str, features: FeatureSet) -> None:
        """Take over what a set tells of its samples, if it agrees with what is known already."""
        before = self.values[rows]
        differs = (before != values).reshape(len(rows), -1).any(1) & self._told[rows]
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            told = [_shown(one[row], what, features) for one in (before, values)]
            raise FeatureError(
                f"the {what} of sample '{features.ids[row]}' is {told[0]} in a file before, but "
                f"{told[1]} in {features.name} (samples that disagree: {int(differs.sum())}); join "
                "files that were made from the same table."
            )
        self.values[rows] = values
        self._told[rows] = True


def _shown(value: Any, what: str, features: FeatureSet) -> str:
    if what == "label" and features.class_names is not None:
        return features.class_names[int(value)]
    return listed([str(one) for one in np.ravel(value)])


class _Source(NamedTuple):
    """Where a stream is taken from: for each sample of all its place in a set, -1 where it has none."""

    features: FeatureSet
    stream: str
    where: Tensor

    def values(self, rows: slice) -> Tensor:
        """Put some samples into their places; one that is not there is zero."""
        stored, where = self.features.inputs[self.stream], self.where[rows]
        values = torch.zeros(len(where), *stored.shape[1:], dtype=stored.dtype)
        there = (where >= 0).nonzero().flatten()
        for places in there.split(_AT_ONCE):
            values[places] = stored[where[places]]
        return values

    def mask(self, rows: slice) -> Tensor:
        """Say which steps of some samples are real."""
        there = self.where[rows] >= 0
        return self.features.masks[self.stream][self.where[rows]] & there[:, None]


def _written(folder: Path, some: Callable[[slice], FeatureSet], count: int) -> FeatureSet:
    """Write all samples, a few at a time, and open what was written."""
    first = some(slice(0, 1))
    with FeatureWriter(
        folder, class_names=first.class_names, label_step=first.label_step
    ) as writer:
        for start in range(0, count, _AT_ONCE):
            writer.extend(some(slice(start, start + _AT_ONCE)))
    return load_features(folder)
