"""The feature folder: a feature file unpacked, for data larger than memory.

Each key of the feature file is a file of numpy's own format: `audio.npy`, `audio_mask.npy`,
`labels.npy` and so on (an unzipped `features.npz` is such a folder). Streams stay on disk, and a batch
reads its own samples; masks, labels, groups and ids, which are small beside them, are loaded.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mmlib.data.batch import MODALITIES
from mmlib.data.feature_set import FeatureError, FeatureSet, check_finite, listed
from mmlib.data.npz import honest_header, npz_members
from mmlib.data.stored_stream import in_blocks

#: What a feature file or folder may hold.
KEYS = (
    *MODALITIES,
    *(f"{name}_mask" for name in MODALITIES),
    *("labels", "class_names", "split", "group", "ids", "label_step"),
)


def is_feature_folder(path: str | Path) -> bool:
    """Say whether a folder holds any array of a feature set."""
    return Path(path).is_dir() and any((Path(path) / f"{key}.npy").exists() for key in KEYS)


def open_arrays(folder: Path, wanted: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list]:
    """Open the `wanted` arrays of a folder: streams memory-mapped, all else loaded.

    Returns:
        The arrays by name, and the names of everything in the folder.

    Raises:
        FeatureError: the folder holds no array, or one is cut off, holds Python objects, or cannot
            be read sample by sample.
    """
    found = sorted(path.stem for path in folder.glob("*.npy"))
    if not set(found) & set(wanted):
        raise FeatureError(
            f"{folder} is a folder without features, expected a feature file such as features.npz, "
            "or a folder with audio.npy, labels.npy and so on, as python -m mmlib convert --to "
            "folder makes it."
        )
    arrays = {}
    for name in wanted:
        if name in found:
            try:
                arrays[name] = _open(folder, name)
            except OSError as error:
                reason = error.strerror or error
                raise FeatureError(f"{folder / name}.npy cannot be read ({reason}).") from None
    return arrays, found


def _open(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    if not path.is_file():
        raise FeatureError(f"{path} is not a file; write the folder again.")
    with open(path, "rb") as stream:
        header = honest_header(folder, name, stream, path.stat().st_size)
        if name not in MODALITIES or 0 in header.shape:
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
    if header.fortran and len(header.shape) > 1:
        raise FeatureError(
            f"{folder}: '{name}' is stored column by column, so that no sample stands in one place; "
            "write it again with numpy.ascontiguousarray."
        )
    return np.memmap(path, header.dtype, "r", header.offset, header.shape)


class FeatureWriter:
    """Write a feature folder sample by sample, for more samples than memory holds.

    Used in a `with` block. The folder appears whole when the block ends, or, where it ends in an
    error or is killed, not at all. A feature folder that stood there is then replaced; any other
    folder is refused at once.

    Args:
        folder: where the features go.
        class_names: what the labels 0, 1, 2, ... mean; None where they are numbers.
        label_step: as in `FeatureSet`.

    Raises:
        FeatureError: the folder holds something else, no sample came, or one does not fit.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        class_names: Sequence[str] | None = None,
        label_step: int | None = None,
    ) -> None:
        """Remember where to write; nothing is touched before the block begins."""
        self.folder = Path(folder)
        self._class_names = None if class_names is None else tuple(class_names)
        self._label_step = label_step
        self._files: dict[str, _Growing] = {}
        self._shapes: dict[str, Any] = {}
        self._labels: list[Tensor] = []
        self._words: dict[str, list[np.ndarray]] = {"split": [], "group": [], "ids": []}
        self._count = 0

    def __enter__(self) -> Self:
        """Begin in a hidden folder beside the final one."""
        self._part = _begin(self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the folder in its place if all went well, else leave nothing behind."""
        try:
            for file in self._files.values():
                file.close()
            if kind is None:
                self._write_rest()
                _put_in_place(self._part, self.folder)
        finally:
            shutil.rmtree(self._part, ignore_errors=True)

    def add(
        self,
        inputs: Mapping[str, Tensor],
        label: Any,
        *,
        masks: Mapping[str, Tensor] | None = None,
        split: str = "train",
        group: str | None = None,
        id: str | None = None,
    ) -> None:
        """Write one sample.

        Shape:
            inputs: name -> `(T, D)`; masks: name -> `(T,)` bool, left out where all is real.
            label: a class's number, or `(K,)` or `(T, K)` floats.

        Raises:
            FeatureError: it is not shaped as the samples before it, or not finite at a real step.
        """
        name = str(self._count) if id is None else id
        kind = torch.float32 if self._class_names is None else torch.int64
        sample = FeatureSet(
            {stream: value[None] for stream, value in inputs.items()},
            {stream: mask[None] for stream, mask in (masks or {}).items()},
            torch.as_tensor(label, dtype=kind)[None],
            self._class_names,
            np.array([split]),
            np.array([name if group is None else group]),
            np.array([name]),
            self._label_step,
        )
        self.extend(sample)

    def extend(self, features: FeatureSet) -> None:
        """Write all samples of a feature set, some of them at a time.

        Raises:
            FeatureError: they are not shaped as the samples before, or not finite at a real step.
        """
        self._compare(features)
        for name in features.modalities:
            for block, value in in_blocks(features.inputs[name]):
                check_finite(features, name, range(len(features))[block], value)
                self._file(name).append(value.numpy())
            self._file(f"{name}_mask").append(features.masks[name].numpy())
        self._labels.append(features.labels.clone())
        for key, words in self._words.items():
            words.append(getattr(features, key))
        self._count += len(features)

    def _compare(self, features: FeatureSet) -> None:
        """Refuse samples that cannot stand in one array with those before."""
        shapes = {
            name: f"{tuple(value.shape[1:])} of {value.dtype}"
            for name, value in [*features.inputs.items(), ("labels", features.labels)]
        }
        self._shapes = self._shapes or shapes
        for what, came, expected in (
            ("the shapes", shapes, self._shapes),
            ("the class names", features.class_names, self._class_names),
            ("the label step", features.label_step, self._label_step),
        ):
            if came != expected:
                raise FeatureError(
                    f"sample {self._count} (id {features.ids[0]}) has {what} {came}, expected "
                    f"{expected}, as all of one folder have."
                )

    def _file(self, name: str) -> _Growing:
        if name not in self._files:
            self._files[name] = _Growing(self._part / f"{name}.npy")
        return self._files[name]

    def _write_rest(self) -> None:
        """Write what was collected in memory."""
        if self._count == 0:
            raise FeatureError(f"no sample came, so there is nothing to write to {self.folder}.")
        arrays = {key: np.concatenate(words) for key, words in self._words.items()}
        arrays["labels"] = torch.cat(self._labels).numpy()
        if self._class_names is not None:
            arrays["class_names"] = np.array(self._class_names)
        if self._label_step is not None:
            arrays["label_step"] = np.array(self._label_step, dtype=np.int64)
        for name, array in arrays.items():
            np.save(self._part / f"{name}.npy", array, allow_pickle=False)


class _Growing:
    """An array's file that grows along its first axis; only `close` makes it a whole one."""

    def __init__(self, path: Path) -> None:
        self._stream = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(bool)
        self._count = 0

    def append(self, rows: np.ndarray) -> None:
        """Write rows behind those that are there."""
        if self._count == 0:
            self._shape, self._dtype = rows.shape[1:], rows.dtype
            self._write_header()
        self._stream.write(np.ascontiguousarray(rows).data)
        self._count += len(rows)

    def close(self) -> None:
        """Say in the header how many rows came; numpy leaves room in it for the first axis."""
        self._stream.seek(0)
        self._write_header()
        self._stream.close()

    def _write_header(self) -> None:
        about = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._count, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._stream, about)


def save_folder(features: FeatureSet, folder: str | Path) -> None:
    """Write a feature folder that `load_features` opens without loading it.

    Raises:
        FeatureError: the folder holds something else, or a real step is not finite.
    """
    names, step = features.class_names, features.label_step
    with FeatureWriter(folder, class_names=names, label_step=step) as writer:
        writer.extend(features)


def unpack_arrays(path: str | Path, folder: str | Path, check: Callable[[Path], object]) -> None:
    """Unpack a feature file into a feature folder, whatever its size.

    Args:
        path: the npz.
        folder: where its arrays go.
        check: refuses what is bad in the unpacked folder before it is put in its place.

    Raises:
        FeatureError: the file is damaged or not a feature file, or the folder holds something else.
    """
    path, folder = Path(path), Path(folder)
    part = _begin(folder)
    try:
        with npz_members(path, KEYS) as (archive, members, _):
            for name, info in members.items():
                _unpack(path, name, archive, info, part / f"{name}.npy")
        check(part)
        _put_in_place(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpack(
    path: Path, name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path
) -> None:
    """Copy an array's file out of the archive; one stored column by column is turned, in memory."""
    with archive.open(info) as stream:
        header = honest_header(path, name, stream, info.file_size)
    with archive.open(info) as stream:
        if header.fortran and len(header.shape) > 1:
            array = np.lib.format.read_array(stream, allow_pickle=False)
            np.save(target, np.ascontiguousarray(array), allow_pickle=False)
            return
        with open(target, "wb") as file:
            shutil.copyfileobj(stream, file, 2**20)


def part_of(folder: str | Path) -> Path:
    """Name the hidden folder in which a new one grows."""
    place = _place(Path(folder))
    return place.with_name(f".{place.name}.part")


def _place(folder: Path) -> Path:
    """Follow a link: it may lead to a larger disk, and stays."""
    return folder.resolve() if folder.is_symlink() else folder


def others_in(folder: Path) -> list[str]:
    """Name what is in a folder and no array of a feature set: such a folder is never replaced."""
    known = {*(f"{key}.npy" for key in KEYS), ".DS_Store", "Thumbs.db"}  # systems leave the latter
    return sorted(path.name for path in folder.iterdir() if path.name not in known)


def _begin(folder: Path) -> Path:
    """Make the hidden folder in which the new one grows; what a killed attempt left there goes."""
    if folder.exists():
        if not folder.is_dir():
            raise FeatureError(f"{folder} is a file, expected a folder for the features.")
        if strange := others_in(folder):
            raise FeatureError(
                f"{folder} holds {listed(strange)}, which are no features; choose another folder."
            )
    part = part_of(folder)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def _put_in_place(part: Path, folder: Path) -> None:
    """Rename the finished folder; one that stood there is moved aside first, then deleted."""
    folder = _place(folder)
    if not folder.exists():
        os.rename(part, folder)
        return
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    os.rename(folder, old)
    os.rename(part, folder)
    shutil.rmtree(old)
