"""The four pickles of CA-MMAAET's data: visual_clip, acoustic_wav2vec, textual_bert and labels.

Each is a dict with `train`, `valid` and `test`; a stream's entry is a list of `(T, D)` arrays or one
`(N, T, D)` array, that of the labels a list or array of N whole numbers.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmlib.data.feature_set import SPLITS, FeatureError, FeatureSet, listed
from mmlib.data.unpickle import plain, read_pickle
from mmlib.data.whole_file import whole_file

FILES = {
    "text": "textual_bert.pkl",
    "audio": "acoustic_wav2vec.pkl",
    "vision": "visual_clip.pkl",
}
LABELS = "labels.pkl"


def load_pickles(folder: str | Path, *, class_names: Sequence[str]) -> FeatureSet:
    """Read the four pickles of a folder as one feature set.

    Nothing says which steps are padding, and zeros are not taken for a sign of it: all are real.

    Args:
        folder: where the four files are.
        class_names: what 0, 1, 2, ... mean. The files hold numbers only, and two orders are about.

    Shape:
        text (N, 36, 768), audio (N, 128, 512), vision (N, 10, 512) in the paper; any other, too.

    Source:
        CA-MMAAET, section III.

    Choices:
        C-02: names are given, never guessed: the paper prints negative, neutral, positive, the
        public feature script for CH-SIMS writes negative, positive, neutral. C-19: no padding is
        inferred. C-20: the files' own splits.

    Raises:
        FeatureError: a file is missing, unsafe or damaged, or the four do not fit together.
    """
    folder = Path(folder)
    labels = {key: _labels(value, key) for key, value in _splits(folder / LABELS).items()}
    inputs = {}
    for stream, file in FILES.items():
        parts = _splits(folder / file)
        if parts.keys() != labels.keys():
            raise FeatureError(
                f"{folder / file} has the splits {listed(list(parts))} but {LABELS} has "
                f"{listed(list(labels))}; all four files need the same."
            )
        room = (folder / file).stat().st_size
        arrays = {key: _stream(value, folder / file, key, room) for key, value in parts.items()}
        for key, array in arrays.items():
            if len(array) != len(labels[key]):
                raise FeatureError(
                    f"{folder / file} has {len(array)} samples in '{key}' but {LABELS} has "
                    f"{len(labels[key])}; each sample needs one entry in every file."
                )
        shapes = {array.shape[1:] for array in arrays.values()}
        if len(shapes) > 1:
            raise FeatureError(
                f"{folder / file} has samples of the shapes {listed(sorted(map(str, shapes)))} in "
                "its splits, expected one shape (steps, features)."
            )
        inputs[stream] = torch.from_numpy(np.concatenate(list(arrays.values())))
    rows = [(key, number) for key, values in labels.items() for number in range(len(values))]
    try:
        return FeatureSet(
            inputs=inputs,
            masks={},
            labels=torch.from_numpy(np.concatenate(list(labels.values()))),
            class_names=tuple(class_names),
            split=np.array([key for key, _ in rows]),
            ids=np.array([f"{key}_{number:05d}" for key, number in rows]),
            name=folder.name,
        )
    except FeatureError as error:
        raise FeatureError(f"{folder}: {error}") from None


def save_pickles(features: FeatureSet, folder: str | Path) -> None:
    """Write the four pickles; steps that are not real become zeros, and class names are not kept.

    Raises:
        FeatureError: one of the three streams is missing, or the labels are not classes.
    """
    folder = Path(folder)
    missing = [name for name in FILES if name not in features.modalities]
    if missing or features.class_names is None:
        lack = f"no {' and no '.join(missing)}" if missing else "numbers instead of classes"
        raise FeatureError(
            f"{features.name} has {lack}; the four pickles hold text, audio, vision and classes."
        )
    if features.whole_numbers:
        raise FeatureError(
            f"{features.name} has whole numbers such as tokens in {listed(features.whole_numbers)}; "
            "the four pickles hold floats only."
        )
    folder.mkdir(parents=True, exist_ok=True)
    rows = {key: np.flatnonzero(features.split == key) for key in SPLITS if key in features.split}
    whole = features.batch(range(len(features)))
    for stream, file in FILES.items():
        values = whole.inputs[stream].flatten(2).numpy()
        _write(folder / file, {key: list(values[index]) for key, index in rows.items()})
    labels = features.labels.numpy()
    _write(folder / LABELS, {key: labels[index] for key, index in rows.items()})


def _write(path: Path, content: dict[str, Any]) -> None:
    with whole_file(path) as part, open(part, "wb") as stream:
        pickle.dump(content, stream, protocol=4)


def _splits(path: Path) -> dict[str, Any]:
    """Read a file and see that it is a dict of splits."""
    found = read_pickle(path)
    if not isinstance(found, dict):
        raise FeatureError(
            f"{path} holds a {type(found).__name__}, expected a dict with {listed(SPLITS)}."
        )
    strange = [str(key) for key in found if key not in SPLITS]
    if strange or not found:
        raise FeatureError(
            f"{path} has the keys {listed(strange) or 'of an empty dict'}, expected only "
            f"{listed(SPLITS)}."
        )
    return {key: found[key] for key in SPLITS if key in found}


def _stream(value: Any, path: Path, split: str, room: int) -> np.ndarray:
    """Make one (N, T, D) float32 array of a split."""
    value = plain(value)
    each = list(value) if isinstance(value, np.ndarray) else value
    if not isinstance(each, list | tuple) or not len(each):
        raise FeatureError(
            f"{path} holds a {type(value).__name__} under '{split}', expected a list of arrays of "
            "shape (steps, features), at least one."
        )
    arrays = [plain(entry) for entry in each]
    for number, array in enumerate(arrays):
        if not isinstance(array, np.ndarray) or array.ndim != 2:
            what = array.shape if isinstance(array, np.ndarray) else type(array).__name__
            raise FeatureError(
                f"{path} has {what} as sample {number} of '{split}', expected an array of shape "
                "(steps, features)."
            )
        if array.shape != arrays[0].shape:
            raise FeatureError(
                f"{path} has shape {array.shape} at sample {number} of '{split}' but "
                f"{arrays[0].shape} at the first; pad or cut all to one length."
            )
    # One array may be listed many times by reference: what comes out must have gone in.
    if sum(array.nbytes for array in arrays) > room:
        raise FeatureError(
            f"{path} lists one array many times over under '{split}' and would unpack to far more "
            "than it weighs; write each sample by itself."
        )
    joined = np.stack(arrays).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(joined).all((1, 2)))
    if len(bad):
        raise FeatureError(
            f"{path} has NaN or an infinite value at sample {bad[0]} of '{split}'; mend it first."
        )
    return joined


def _labels(value: Any, split: str) -> np.ndarray:
    """Make an (N,) int64 array of a split's labels."""
    value = plain(value)
    if isinstance(value, list | tuple):
        value = [plain(entry) for entry in value]
        if not all(isinstance(entry, int | np.ndarray) and np.size(entry) == 1 for entry in value):
            raise FeatureError(f"{LABELS} holds something else than whole numbers in '{split}'.")
        value = np.array([np.asarray(entry).reshape(()) for entry in value])
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or not value.size:
        what = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise FeatureError(f"{LABELS} holds {what} in '{split}', expected whole numbers.")
    if value.size != len(value):
        raise FeatureError(
            f"{LABELS} has shape {value.shape} in '{split}', expected one number a sample."
        )
    return value.reshape(-1).astype(np.int64)
