"""Find what stands in more than one split: groups by name, and samples by what they hold."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from mmlib.data.feature_set import SPLITS, FeatureError, FeatureSet

_SHOWN = 10
_BYTES_AT_ONCE = 2**25


@dataclass(frozen=True)
class Leaks:
    """What stands in more than one split; false where nothing does.

    Attributes:
        groups: name -> how many of its samples stand in which split, for the groups that leak.
        samples: the sets of one and the same sample, each as (id, split) of all its copies.
        total: how many groups there are in all.
        name: the feature set's.
    """

    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    samples: tuple[tuple[tuple[str, str], ...], ...] = ()
    total: int = 0
    name: str = "features"

    def __bool__(self) -> bool:
        """Say whether anything leaks."""
        return bool(self.groups or self.samples)

    def sentence(self) -> str:
        """Say in one sentence how many groups leak and what follows; empty where none does."""
        if not self.groups:
            return ""
        first = ", ".join(list(self.groups)[:3]) + (", ..." if len(self.groups) > 3 else "")
        verb = "stands" if len(self.groups) == 1 else "stand"
        return (
            f"{len(self.groups)} of {self.total} groups of {self.name} {verb} in more than one "
            f"split ({first}), so its scores say little about new ones"
        )

    def describe(self) -> str:
        """Tell all of it as a text: which groups, which samples, and what to do."""
        if not self:
            return (
                f"{self.name}: no leak. No group of {self.total} and no sample stands in more than "
                "one split."
            )
        lines = []
        if self.groups:
            verb = "group stands" if len(self.groups) == 1 else "groups stand"
            lines.append(
                f"{self.name}: {len(self.groups)} of {self.total} {verb} in more than one split:"
            )
            width = max(len(name) for name in list(self.groups)[:_SHOWN])
            for name, counts in list(self.groups.items())[:_SHOWN]:
                told = ", ".join(f"{count} in {split}" for split, count in counts.items())
                lines.append(f"  {name:<{width}}  {told}")
            lines += _more(len(self.groups), "groups")
            lines.append("  Split by group (mmlib.data.split_by_group, python -m mmlib split).")
        if self.samples:
            what = "sample stands" if len(self.samples) == 1 else "samples stand"
            lines.append(f"{self.name}: {len(self.samples)} {what} in more than one split:")
            for copies in self.samples[:_SHOWN]:
                lines.append("  " + " = ".join(f"{name} ({split})" for name, split in copies[:4]))
            lines += _more(len(self.samples), "samples")
            lines.append("  Keep one copy of each, or give all copies one group and split again.")
        return "\n".join(lines)


def find_leaks(
    features: FeatureSet, *, by: Sequence[str] | np.ndarray | None = None, content: bool = True
) -> Leaks:
    """Name the groups, and the samples, that stand in more than one split.

    Two samples are one and the same if all their streams hold the same bytes at the same real steps,
    whatever their ids, or if they have the same id. Samples without a real step are left out.

    Args:
        features: samples with `split` and `group`.
        by: other groups than `features.group`, `(N,)`: speakers where the groups are dialogues.
        content: False looks at groups only, and does not read the streams.

    Raises:
        FeatureError: `by` does not name one group for each sample.
    """
    column = features.group if by is None else np.asarray(by)
    if column.shape != (len(features),):
        raise FeatureError(
            f"by has shape {column.shape} but there are {len(features)} samples; name one group "
            "for each."
        )
    names, of_sample = np.unique(column, return_inverse=True)
    place = _places(features)
    table = np.bincount(of_sample * len(SPLITS) + place, minlength=len(names) * len(SPLITS))
    table = table.reshape(len(names), len(SPLITS))
    groups = {
        str(names[row]): {SPLITS[k]: int(table[row, k]) for k in np.flatnonzero(table[row])}
        for row in np.flatnonzero((table > 0).sum(1) > 1)
    }
    samples = _same_samples(features, place) if content else ()
    return Leaks(groups, samples, len(names), features.name)


def _places(features: FeatureSet) -> np.ndarray:
    """Number each sample's split."""
    return np.array([SPLITS.index(split) for split in features.split.tolist()])


def _same_samples(
    features: FeatureSet, place: np.ndarray
) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Collect samples of equal content, or of equal id, that stand in different splits."""
    found: dict[tuple[int, ...], None] = {}
    for keys in (_digests(features), features.ids.tolist()):
        rows_of = defaultdict(list)
        for row, key in enumerate(keys):
            if key is not None:
                rows_of[key].append(row)
        for rows in rows_of.values():
            if len(rows) > 1 and len(set(place[rows].tolist())) > 1:
                found[tuple(rows)] = None
    return tuple(
        tuple((str(features.ids[row]), str(features.split[row])) for row in rows)
        for rows in sorted(found)
    )


def _digests(features: FeatureSet) -> list[bytes | None]:
    """Digest what each sample holds at its real steps; None where there is none."""
    digests: list[bytes | None] = []
    one = sum(value.nbytes // len(features) for value in features.inputs.values())
    at_once = max(1, _BYTES_AT_ONCE // one)
    for start in range(0, len(features), at_once):
        block = slice(start, start + at_once)
        rows, anything = [], torch.zeros(len(features.labels[block]), dtype=torch.bool)
        for name in features.modalities:
            mask = features.masks[name][block]
            value = features.inputs[name][block].flatten(2)
            rows.append(value.masked_fill(~mask[..., None], 0.0).flatten(1).numpy())
            rows.append(mask.numpy())
            anything |= mask.any(1)
        for row, real in enumerate(anything.tolist()):
            digest = hashlib.blake2b(digest_size=16)
            for values in rows:
                digest.update(values[row].data)
            digests.append(digest.digest() if real else None)
    return digests


def _more(count: int, what: str) -> list[str]:
    return [f"  ... and {count - _SHOWN} more {what}"] if count > _SHOWN else []
