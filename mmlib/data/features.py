"""The feature file, written and read.

It is an npz with `text`, `audio`, `vision` `(N, T, D)` (those there are), `text_mask`, ... `(N, T)`
bool, `labels`, `class_names`, `split`, `group`, `ids` and `label_step`; what is optional is said at
`load_features`. Vision may be pictures, `(N, T, 3, H, W)` uint8; a stream may be whole numbers, such
as tokens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmlib.data.batch import MODALITIES
from mmlib.data.feature_folder import (
    KEYS,
    FeatureWriter,
    open_arrays,
    part_of,
    save_folder,
    unpack_arrays,
)
from mmlib.data.feature_set import SPLITS, FeatureError, FeatureSet, check_finite, listed
from mmlib.data.npz import read_arrays
from mmlib.data.stored_stream import StoredStream, Stream, in_blocks

__all__ = [
    "SPLITS",
    "FeatureError",
    "FeatureSet",
    "FeatureWriter",
    "load_features",
    "save_features",
    "save_folder",
    "unpack_features",
]


def load_features(path: str | Path) -> FeatureSet:
    """Load a feature file, or open a feature folder, refusing a bad one with one clear sentence.

    At least one of `text`, `audio`, `vision` must be there, and `labels` and `split`. A mask that is
    absent means that every step is real; without `ids` samples are numbered; without `group` each
    sample is its own group; without `label_step` the label belongs to the whole sequence. Whole
    numbers as labels need `class_names`. NaN and infinity are refused at real steps and of no
    importance at others. Other keys are ignored.

    A stream stored as floats, or as integers of 8 bits, holds quantities and is loaded as floats. One
    stored as integers of 16 bits or more holds names of things, such as tokens: it stays as it is, a
    batch has it as int64, nothing standardises it, and only a system that looks such numbers up in a
    table (`gpt`) can be trained on it. Quantities that are whole (counts, samples of a sound) are to
    be stored as floats.

    A feature folder has the same keys, each in a file of its own (see `mmlib.data.feature_folder`).
    Its streams are not loaded: a batch reads its samples when it is made, and that is when NaN and
    infinity in them are refused.

    Raises:
        FeatureError: the file or something in it cannot be used.
    """
    folder = Path(path).is_dir()
    arrays, found = open_arrays(Path(path), KEYS) if folder else read_arrays(path, KEYS)
    try:
        return _assemble(arrays, found, Path(path))
    except FeatureError as error:
        raise FeatureError(f"{path}: {error}") from None


def save_features(features: FeatureSet, path: str | Path) -> None:
    """Write a feature file that `load_features` reads back.

    Args:
        features: what goes into it.
        path: such as features.npz; what stood there is replaced when the new one is whole.
    """
    features.save(path)


def unpack_features(path: str | Path, folder: str | Path) -> FeatureSet:
    """Unpack a feature file into a feature folder, whatever its size, and open that.

    Raises:
        FeatureError: the file or something in it cannot be used, or the folder holds something else.
    """

    def check(part: Path) -> None:
        features = load_features(part)
        for name in features.modalities:
            refuse_not_finite(features, name)

    try:
        unpack_arrays(path, folder, check)
    except FeatureError as error:
        part = part_of(folder)
        raise FeatureError(str(error).replace(str(part), str(path))) from None
    return load_features(folder)


def _assemble(arrays: dict[str, np.ndarray], found: list, path: Path) -> FeatureSet:
    """Turn the arrays of a file into a feature set."""
    streams = [name for name in MODALITIES if name in arrays]
    if not streams:
        raise FeatureError(
            f"there is none of text, audio, vision in it; it holds {listed(found) or 'nothing'}."
        )
    for key in ("labels", "split"):
        if key not in arrays:
            raise FeatureError(f"the key '{key}' is missing; it holds {listed(found)}.")
    for key in ("split", "group", "ids", "class_names"):
        if key in arrays and arrays[key].dtype.kind == "S":
            arrays[key] = np.char.decode(arrays[key], "utf-8", "replace")
        if key in arrays and (arrays[key].dtype.kind != "U" or arrays[key].ndim != 1):
            what = f"{arrays[key].dtype} of shape {arrays[key].shape}"
            raise FeatureError(f"'{key}' is {what}, expected a list of str, one a sample.")
    for name in MODALITIES:
        if f"{name}_mask" in arrays and name not in arrays:
            raise FeatureError(f"there is a '{name}_mask' but no '{name}' that it could belong to.")
    labels = _labels(arrays)
    names = tuple(arrays["class_names"].tolist()) if "class_names" in arrays else None
    features = FeatureSet(
        inputs={name: _numbers(arrays, name) for name in streams},
        masks={name: _mask(arrays, name) for name in streams if f"{name}_mask" in arrays},
        labels=labels,
        class_names=names,
        **{key: arrays[key] for key in ("split", "group", "ids") if key in arrays},
        label_step=_label_step(arrays),
        name=_name(path),
    )
    for name in streams:
        if isinstance(features.inputs[name], Tensor):
            refuse_not_finite(features, name)
    return features


def _name(path: Path) -> str:
    """Name a feature set after its file; a folder's dots are no endings."""
    if path.is_dir():
        return path.resolve().name
    folder = path.parent.name if path.name == "features.npz" else ""  # "" of where one stands
    return folder or path.stem


def _numbers(arrays: dict[str, np.ndarray], name: str) -> Stream:
    """Take a stream in the precision in which it is stored; one in a folder stays there."""
    value = arrays.pop(name)  # popped, so that a converted copy does not live beside the original
    if value.dtype.kind not in "fiu":
        raise FeatureError(f"'{name}' is of type {value.dtype}, expected float16 or float32.")
    kept = _kept(value, name)
    if isinstance(value, np.memmap):
        return StoredStream(value, kept)
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused later
        return torch.from_numpy(np.ascontiguousarray(value, dtype=kept))


def _kept(value: np.ndarray, name: str) -> np.dtype:
    """Choose the type that a stream has in a feature set: its own, if torch has that."""
    kind, size = value.dtype.kind, value.dtype.itemsize
    if value.dtype == np.uint8 and name == "vision" and value.ndim == 5:
        return np.dtype(np.uint8)
    if kind != "f" and value.ndim == 5:
        raise FeatureError(
            f"'{name}' holds pictures as {value.dtype}, expected uint8 of 0 to 255 or floats of 0 "
            "to 1; write it again with .astype('uint8')."
        )
    if kind == "u" and size > 1:
        if value.size and int(value.max()) > np.iinfo(np.int64).max:
            raise FeatureError(f"'{name}' holds {int(value.max())}, which no int64 can hold.")
        return np.dtype(np.int32 if size == 2 else np.int64)
    if kind == "i" and size > 1:
        return value.dtype.newbyteorder("=")
    return np.dtype(np.float16 if kind == "f" and size == 2 else np.float32)


def _mask(arrays: dict[str, np.ndarray], name: str) -> Tensor:
    """Take a mask as a tensor."""
    value = arrays[f"{name}_mask"]
    if value.dtype != np.bool_:
        raise FeatureError(f"'{name}_mask' is {value.dtype}, expected bool, True at a real step.")
    return torch.from_numpy(np.ascontiguousarray(value))


def _labels(arrays: dict[str, np.ndarray]) -> Tensor:
    """Take the labels as int64 classes or float32 targets."""
    value = arrays["labels"]
    if value.dtype.kind in "iu":
        if "class_names" not in arrays:
            raise FeatureError(
                "the labels are whole numbers but the key 'class_names' is missing; give the "
                "classes' names, or float labels of shape (N, K) for a regression."
            )
        return torch.from_numpy(value.astype(np.int64))
    if value.dtype.kind != "f":
        raise FeatureError(f"'labels' is of type {value.dtype}, expected int64 or float32.")
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))


def _label_step(arrays: dict[str, np.ndarray]) -> int | None:
    """Take the labelled step, where there is one."""
    if "label_step" not in arrays:
        return None
    value = arrays["label_step"]
    if value.dtype.kind not in "iu" or value.size != 1:
        raise FeatureError(f"'label_step' is {value.dtype} {value.shape}, expected one integer.")
    return int(value.reshape(()))


def refuse_not_finite(features: FeatureSet, name: str) -> None:
    """Go through a whole stream, some samples at a time, and refuse NaN and infinity where real.

    Raises:
        FeatureError: the first of them, by sample, step and feature.
    """
    for block, value in in_blocks(features.inputs[name]):
        check_finite(features, name, range(len(features))[block], value)
