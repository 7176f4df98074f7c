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
from mmlib.data.feature_set import SPLITS, FeatureError, FeatureSet, listed, where
from mmlib.data.npz import read_arrays

__all__ = ["SPLITS", "FeatureError", "FeatureSet", "load_features", "save_features"]

_KEYS = (
    *MODALITIES,
    *(f"{name}_mask" for name in MODALITIES),
    *("labels", "class_names", "split", "group", "ids", "label_step"),
)


def load_features(path: str | Path) -> FeatureSet:
    """Load a feature file, refusing a bad one with one clear sentence.

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

    Raises:
        FeatureError: the file or something in it cannot be used.
    """
    arrays, found = read_arrays(path, _KEYS)
    try:
        return _assemble(arrays, found, Path(path))
    except FeatureError as error:
        raise FeatureError(f"{path}: {error}") from None


def save_features(features: FeatureSet, path: str | Path) -> None:
    """Write a feature file that `load_features` reads back."""
    features.save(path)


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
        name=path.parent.name if path.name == "features.npz" else path.stem,
    )
    for name in streams:
        _refuse_not_finite(features, name)
    return features


def _numbers(arrays: dict[str, np.ndarray], name: str) -> Tensor:
    """Take a stream as a tensor, in the precision in which it is stored."""
    value = arrays.pop(name)  # popped, so that a converted copy does not live beside the original
    if value.dtype.kind not in "fiu":
        raise FeatureError(f"'{name}' is of type {value.dtype}, expected float16 or float32.")
    if value.dtype == np.uint8 and name == "vision" and value.ndim == 5:
        return torch.from_numpy(np.ascontiguousarray(value))
    if value.dtype.kind != "f" and value.ndim == 5:
        raise FeatureError(
            f"'{name}' holds pictures as {value.dtype}, expected uint8 of 0 to 255 or floats of 0 "
            "to 1; write it again with .astype('uint8')."
        )
    if value.dtype.kind in "iu" and value.dtype.itemsize > 1:
        return _whole(value, name)
    keep = value.dtype.itemsize == 2 and value.dtype.kind == "f"
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
        value = np.ascontiguousarray(value, dtype=np.float16 if keep else np.float32)
    return torch.from_numpy(value)


def _whole(value: np.ndarray, name: str) -> Tensor:
    """Take a stream of whole numbers, in the type in which it is stored if torch has that."""
    if value.dtype.kind == "u":
        if value.size and int(value.max()) > np.iinfo(np.int64).max:
            raise FeatureError(f"'{name}' holds {int(value.max())}, which no int64 can hold.")
        value = value.astype(np.int32 if value.dtype.itemsize == 2 else np.int64)
    value = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))
    return torch.from_numpy(value)


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


def _refuse_not_finite(features: FeatureSet, name: str, samples_at_once: int = 256) -> None:
    """Refuse NaN and infinity at real steps, saying where; some samples at a time spare memory."""
    if not features.inputs[name].is_floating_point():
        return
    for start in range(0, len(features), samples_at_once):
        value = features.inputs[name][start : start + samples_at_once].flatten(2)
        bad = ~torch.isfinite(value)
        bad &= features.masks[name][start : start + samples_at_once, :, None]
        if bool(bad.any()):
            sample, step, feature = bad.nonzero()[0].tolist()
            what = "NaN" if bool(value[sample, step, feature].isnan()) else "an infinite value"
            raise FeatureError(
                f"'{name}' has {what} at sample {where(features, start + sample)}, step {step}, "
                f"feature {feature}; mend it, or mark the step as not real in '{name}_mask'."
            )
