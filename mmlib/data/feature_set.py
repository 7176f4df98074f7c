"""Feature sets: named streams of features per sample, with masks, labels and splits, in memory."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmlib.data.batch import MODALITIES, Batch
from mmlib.data.stored_stream import StoredStream, Stream, choose, in_blocks, write_array
from mmlib.data.whole_file import whole_file

SPLITS = ("train", "valid", "test")

#: What a stream of whole numbers (tokens, say) may be stored as.
WHOLE = (torch.int16, torch.int32, torch.int64)
Index = str | slice | Sequence[int] | np.ndarray | Tensor


class FeatureError(ValueError):
    """A feature file or feature set that cannot be used; the message is one sentence."""


def _none() -> np.ndarray:
    return np.empty(0, dtype="U1")


@dataclass(frozen=True, eq=False)
class FeatureSet(Dataset):
    """Samples of named streams with masks and labels.

    Padding is never inferred from values: only a mask says which steps are real. What stands at a
    step that is not real does not matter, it may even be NaN; `batch` puts a zero there.

    Shape:
        inputs: name -> `(N, T, D)`, a tensor, or a `StoredStream` that stays in its file until a
            batch needs it; float16 or float32 (vision may be frames `(N, T, C, H, W)`, or
            pictures `(N, T, 3, H, W)` uint8 of 0 to 255); kept as it is, made float32 when a batch
            is made, pictures from 0 to 1. What is no quantity but a name, such as a token, is stored
            as int16, int32 or int64 `(N, T, D)` and stays whole: a batch has it as int64.
        masks: name -> `(N, T)` bool, True where a step is real; a name left out is all real.
        labels: `(N,)` int64 with `class_names`, or `(N, K)` or `(N, T, K)` float without.
        split, group, ids: `(N,)` str; left out: all "train", the ids, and "0", "1", ....
        label_step: the step that the label belongs to, None where it is the whole sequence's.

    Raises:
        FeatureError: parts that do not fit together.
    """

    inputs: Mapping[str, Stream]
    masks: dict[str, Tensor]
    labels: Tensor
    class_names: tuple[str, ...] | None
    split: np.ndarray = field(default_factory=_none)
    group: np.ndarray = field(default_factory=_none)
    ids: np.ndarray = field(default_factory=_none)
    label_step: int | None = None
    name: str = "features"

    def __post_init__(self) -> None:
        """Fill in what may be left out and refuse what does not fit together."""
        count = len(self.labels)
        masks = dict(self.masks)
        for name, value in self.inputs.items():
            if name not in masks and value.ndim >= 2:
                masks[name] = torch.ones(value.shape[:2], dtype=torch.bool)
        ids = np.asarray(self.ids) if len(self.ids) else np.arange(count).astype(str)
        group = np.asarray(self.group) if len(self.group) else ids
        split = np.asarray(self.split) if len(self.split) else np.full(count, "train")
        names = None if self.class_names is None else tuple(str(n) for n in self.class_names)
        filled = {"masks": masks, "ids": ids, "group": group, "split": split, "class_names": names}
        for key, filling in filled.items():
            object.__setattr__(self, key, filling)
        _check_streams(self)
        _check_labels(self)

    @property
    def task(self) -> Literal["classification", "regression"]:
        """Say whether the labels are classes or numbers."""
        return "regression" if self.class_names is None else "classification"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Name the streams there are, in the order text, audio, vision."""
        known = [name for name in MODALITIES if name in self.inputs]
        return (*known, *(name for name in self.inputs if name not in MODALITIES))

    @property
    def widths(self) -> dict[str, int]:
        """Give the number of features D of each stream."""
        return {name: int(np.prod(self.inputs[name].shape[2:])) for name in self.modalities}

    @property
    def lengths(self) -> dict[str, int]:
        """Give the number of steps T of each stream."""
        return {name: self.inputs[name].shape[1] for name in self.modalities}

    @property
    def whole_numbers(self) -> tuple[str, ...]:
        """Name the streams that hold whole numbers, such as tokens, which no system may scale."""
        return tuple(name for name in self.modalities if self.inputs[name].dtype in WHOLE)

    @property
    def num_outputs(self) -> int:
        """Count the classes, or the targets of a regression."""
        return self.labels.shape[-1] if self.class_names is None else len(self.class_names)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        """Return one sample, without the batch axis."""
        one = self.batch([range(len(self))[index]])
        return Batch(
            {name: value[0] for name, value in one.inputs.items()},
            {name: value[0] for name, value in one.masks.items()},
            one.labels[0],
        )

    def batch(self, indices: Sequence[int] | np.ndarray | Tensor) -> Batch:
        """Gather samples, with zeros where a step is not real.

        They are float32, pictures from 0 to 1, and whole numbers int64.
        """
        rows = torch.as_tensor(indices, dtype=torch.long)
        masks = {name: self.masks[name][rows] for name in self.modalities}
        inputs = {}
        for name in self.modalities:
            stored = self.inputs[name]
            value = stored[rows].long() if stored.dtype in WHOLE else stored[rows].float()
            if stored.dtype == torch.uint8:
                value.div_(255)
            real = masks[name].reshape(*masks[name].shape, *[1] * (value.ndim - 2))
            inputs[name] = value.masked_fill_(~real, 0)  # indexing made a copy
            if isinstance(stored, StoredStream) and stored.is_floating_point():
                check_finite(self, name, rows, inputs[name])  # loaded only now
        return Batch(inputs, masks, self.labels[rows])

    def subset(self, which: Index) -> FeatureSet:
        """Return the samples of a split ("train", "valid", "test"), a slice, a mask or indices.

        Raises:
            FeatureError: there is no such split, or nothing is left.
        """
        if isinstance(which, str):
            rows = np.flatnonzero(self.split == which)
            if len(rows) == 0:
                raise FeatureError(
                    f"{self.name} has no split '{which}'; it has {listed(np.unique(self.split))}."
                )
        elif isinstance(which, slice):
            rows = np.arange(len(self))[which]
        else:
            rows = np.arange(len(self))[np.asarray(which)]
        if len(rows) == 0:
            raise FeatureError(
                f"this choice leaves none of the {len(self)} samples of {self.name}."
            )
        index = torch.from_numpy(rows)
        return replace(
            self,
            inputs={name: choose(value, index) for name, value in self.inputs.items()},
            masks={name: value[index] for name, value in self.masks.items()},
            labels=self.labels[index],
            split=self.split[rows],
            group=self.group[rows],
            ids=self.ids[rows],
        )

    def select(self, streams: Sequence[str]) -> FeatureSet:
        """Return the same samples with only the named streams.

        Raises:
            FeatureError: a name that the set does not have.
        """
        for name in streams:
            if name not in self.inputs:
                raise FeatureError(
                    f"{self.name} has no stream '{name}'; it has {listed(self.modalities)}."
                )
        return replace(
            self,
            inputs={name: self.inputs[name] for name in streams},
            masks={name: self.masks[name] for name in streams},
        )

    def with_split(self, split: Sequence[str] | np.ndarray) -> FeatureSet:
        """Return the same samples with other splits, such as `split_by_group` gives.

        Raises:
            FeatureError: not one of "train", "valid", "test" for each sample.
        """
        return replace(self, split=np.asarray(split, dtype=np.str_))

    def fingerprint(self) -> str:
        """Digest what a training depends on: a run can say which data it was made from."""
        digest = hashlib.blake2b(digest_size=8)
        for name in self.modalities:
            digest.update(f"{name}{tuple(self.inputs[name].shape)}".encode())
            for _, block in in_blocks(self.inputs[name]):
                digest.update(block.contiguous().numpy().data)
            digest.update(self.masks[name].contiguous().numpy().data)
        digest.update(self.labels.contiguous().numpy().data)
        digest.update("\n".join([*self.ids, *self.split]).encode())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write a feature file; what stood there is replaced only when the new one is whole."""
        arrays: dict[str, np.ndarray | Stream] = {}
        for name in self.modalities:
            arrays[name] = self.inputs[name]
            if not bool(self.masks[name].all()):
                arrays[f"{name}_mask"] = self.masks[name].numpy()
        arrays |= {"labels": self.labels.numpy(), "split": self.split}
        arrays |= {"group": self.group, "ids": self.ids}
        if self.class_names is not None:
            arrays["class_names"] = np.array(self.class_names)
        if self.label_step is not None:
            arrays["label_step"] = np.array(self.label_step, dtype=np.int64)
        with whole_file(path) as part, zipfile.ZipFile(part, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                    write_array(stream, array)


def _check_streams(features: FeatureSet) -> None:
    """Refuse streams, masks and columns that do not fit together."""
    count = len(features.labels)
    if count == 0:
        raise FeatureError("there are no samples in it.")
    if not features.inputs:
        raise FeatureError("there is no stream in it; expected one of text, audio, vision.")
    for name, value in features.inputs.items():
        shape = tuple(value.shape)
        if value.ndim != 3 and not (name == "vision" and value.ndim == 5):
            raise FeatureError(f"'{name}' has shape {shape}, expected (samples, steps, features).")
        if shape[0] != count:
            raise FeatureError(f"'{name}' has {shape[0]} samples but 'labels' has {count}.")
        if 0 in shape:
            raise FeatureError(f"'{name}' has shape {shape}, in which a size is zero.")
        if value.dtype == torch.uint8 and (value.ndim != 5 or shape[2] != 3):
            raise FeatureError(
                f"'{name}' is uint8 of shape {shape}, expected floats, or pictures of vision "
                "(samples, steps, 3, height, width)."
            )
        if not value.is_floating_point() and value.dtype != torch.uint8:
            _check_whole(name, value)
        mask = features.masks[name]
        if tuple(mask.shape) != shape[:2] or mask.dtype != torch.bool:
            raise FeatureError(
                f"'{name}_mask' is {mask.dtype} of shape {tuple(mask.shape)}, expected bool of "
                f"{shape[:2]}."
            )
    for key in ("split", "group", "ids"):
        if getattr(features, key).shape != (count,):
            what = getattr(features, key).shape
            raise FeatureError(f"'{key}' has shape {what} but there are {count} samples.")
    strange = sorted(set(features.split.tolist()) - set(SPLITS))
    if strange:
        raise FeatureError(f"'split' holds {listed(strange)}, expected only {listed(SPLITS)}.")
    if features.label_step is not None:
        longest = max(value.shape[1] for value in features.inputs.values())
        if not 0 <= features.label_step < longest:
            raise FeatureError(
                f"'label_step' is {features.label_step} but the longest stream has {longest} "
                "steps, counted from 0."
            )


def _check_whole(name: str, value: Stream) -> None:
    """Refuse what is neither a quantity nor a whole number that a batch could hold."""
    if value.dtype not in WHOLE:
        raise FeatureError(
            f"'{name}' is {value.dtype}, expected floats, or int16, int32 or int64 for whole numbers "
            "such as tokens."
        )
    if value.ndim != 3:
        raise FeatureError(
            f"'{name}' holds whole numbers of shape {tuple(value.shape)}, expected (samples, steps, "
            "features); pictures are uint8 or floats."
        )


def _check_labels(features: FeatureSet) -> None:
    """Refuse labels that are neither classes with names nor finite numbers."""
    labels, names = features.labels, features.class_names
    if names is None:
        if not labels.is_floating_point() or labels.ndim not in (2, 3) or 0 in labels.shape:
            raise FeatureError(
                f"'labels' is {labels.dtype} of shape {tuple(labels.shape)}, expected float "
                "(N, K) or (N, T, K), or int64 (N,) with class_names."
            )
        bad = (~torch.isfinite(labels.reshape(len(labels), -1))).any(1).nonzero()
        if len(bad):
            raise FeatureError(f"'labels' is not finite at sample {where(features, bad[0])}.")
        return
    if labels.is_floating_point() or labels.ndim != 1:
        raise FeatureError(
            f"'labels' is {labels.dtype} of shape {tuple(labels.shape)} although there are "
            "class_names, expected int64 of shape (N,)."
        )
    if len(set(names)) != len(names):
        raise FeatureError(f"'class_names' names a class twice: {listed(names)}.")
    bad = ((labels < 0) | (labels >= len(names))).nonzero()
    if len(bad):
        raise FeatureError(
            f"sample {where(features, bad[0])} has the label {int(labels[bad[0]])} but there are "
            f"{len(names)} class_names, so labels go from 0 to {len(names) - 1}."
        )


def check_finite(
    features: FeatureSet, name: str, rows: Sequence[int] | Tensor, value: Tensor
) -> None:
    """Look through the real steps of the samples `rows`, whose `value` was read.

    Raises:
        FeatureError: there is NaN or infinity at one of them.
    """
    if not value.is_floating_point() or bool(torch.isfinite(value).all()):
        return
    value = value.flatten(2)
    bad = ~torch.isfinite(value) & features.masks[name][torch.as_tensor(rows)][..., None]
    if bool(bad.any()):
        sample, step, feature = bad.nonzero()[0].tolist()
        what = "NaN" if bool(value[sample, step, feature].isnan()) else "an infinite value"
        raise FeatureError(
            f"'{name}' has {what} at sample {where(features, rows[sample])}, step {step}, "
            f"feature {feature}; mend it, or mark the step as not real in '{name}_mask'."
        )


def where(features: FeatureSet, index: int | Tensor) -> str:
    """Name a sample by its position and id."""
    return f"{int(index)} (id {features.ids[int(index)]})"


def listed(names: Sequence[str] | np.ndarray) -> str:
    """Join names for a message, not more than fits a sentence."""
    shown = ", ".join(str(name)[:40] for name in names[:12])
    return shown + (", ..." if len(names) > 12 else "")
