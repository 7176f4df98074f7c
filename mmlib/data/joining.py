"""Join feature files of the same samples, one stream here and another there, by the samples' ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.data.feature_set import FeatureError, FeatureSet, listed


class Joined(NamedTuple):
    """What came of it.

    Attributes:
        features: all samples and all streams; one that a sample does not have is masked.
        patterns: which streams are there -> how many samples have just these.
        found: the name of each set -> how many samples it has.
    """

    features: FeatureSet
    patterns: dict[tuple[str, ...], int]
    found: dict[str, int]


def join(sets: Sequence[FeatureSet], *, name: str = "joined") -> Joined:
    """Join feature sets by id: all samples of any of them, with all streams.

    A sample that a set does not have gets that set's streams as absent: zeros, and a mask that is all
    False. Samples stand in the order in which their ids first appear. Where a set has no groups of its
    own (each sample is one by itself), the others' hold.

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
    inputs: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for features in sets:
        rows = np.array([place[one] for one in features.ids.tolist()])
        told = {"label": features.labels.numpy(), "split": features.split}
        if (features.group != features.ids).any():  # else nobody told it any
            told["group"] = features.group
        for what, values in told.items():
            table[what].fill(rows, values, what, features)
        for stream in features.modalities:
            inputs[stream], masks[stream] = _spread(features, stream, rows, len(ids))
    joined = FeatureSet(
        inputs=inputs,
        masks=masks,
        labels=torch.from_numpy(table["label"].values),
        class_names=sets[0].class_names,
        split=table["split"].values.astype(str),
        group=table["group"].values.astype(str),
        ids=np.array(ids),
        label_step=sets[0].label_step,
        name=name,
    )
    there = torch.stack([joined.masks[stream].any(1) for stream in joined.modalities], 1)
    patterns = Counter(
        tuple(s for s, has in zip(joined.modalities, row, strict=True) if has)
        for row in there.tolist()
    )
    return Joined(joined, dict(patterns), {one.name: len(one) for one in sets})


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


def _spread(
    features: FeatureSet, stream: str, rows: np.ndarray, count: int
) -> tuple[Tensor, Tensor]:
    """Put a set's samples into their places among all; the rest is zero and not real."""
    stored, own = features.inputs[stream], torch.from_numpy(rows)
    values = torch.zeros(count, *stored.shape[1:], dtype=stored.dtype)
    for start in range(0, len(rows), 256):
        values[own[start : start + 256]] = stored[start : start + 256]
    mask = torch.zeros(count, stored.shape[1], dtype=torch.bool)
    mask[own] = features.masks[stream]
    return values, mask
