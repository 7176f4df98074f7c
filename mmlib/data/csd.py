"""Computational sequences (.csd): the HDF5 files in which CMU-MOSEI's features and labels come.

A file has one group, the sequence's name, with a group `data`; in it, for each video, `features`
`(rows, ...)` and `intervals` `(rows, 2)`, the start and end of each row in seconds. A key such as
`video[3]` holds a piece of the video. Needs the extra `data` (h5py).

Nobody vouches for a file: links, data kept elsewhere, and claims that its size cannot carry are
refused before an array is made.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mmlib.data.extras import load_extra
from mmlib.data.feature_set import FeatureError, listed

_FREE_BYTES = 256 * 2**20
_MOST_EXPANSION = 100


class Csd:
    """An open computational sequence; use it in a `with`.

    Raises:
        FeatureError: it is missing, cut off, no HDF5 or no computational sequence.
        NotInstalled: the extra `data` is missing.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file and judge its frame; the arrays are read one video at a time."""
        self.path = Path(path)
        self._h5py = load_extra("h5py", extra="data", purpose="reading .csd files")
        if not self.path.is_file():
            raise FeatureError(f"{self.path} does not exist, expected a file such as COVAREP.csd.")
        try:
            self._file = self._h5py.File(self.path, "r")
        except (OSError, RuntimeError, ValueError) as error:
            reason = "it is cut off" if "truncated" in str(error) else "it is damaged or no HDF5"
            raise FeatureError(f"{self.path} cannot be read as a .csd file: {reason}.") from None
        try:
            self._pieces: dict[str, list[Any]] = {}
            with self._reading("/"):
                self.name, data = self._frame()
                for key in data:
                    self._pieces.setdefault(key.split("[")[0], []).append(self._inside(data, key))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def __contains__(self, video: str) -> bool:
        """Say whether there is anything of a video."""
        return video in self._pieces

    @property
    def videos(self) -> list[str]:
        """Name the videos, in order."""
        return sorted(self._pieces)

    def read(self, video: str) -> tuple[np.ndarray, np.ndarray]:
        """Read a video's rows, in the order of their starts; nothing of it gives no rows.

        Shape:
            intervals (rows, 2) float64 and features (rows, width) float32, infinite where a value
            does not fit.

        Raises:
            FeatureError: damaged, of the wrong shape, or not numbers.
        """
        with self._reading(video):
            parts = [self._piece(video, piece) for piece in self._pieces.get(video, [])]
        parts = [part for part in parts if len(part[0])]
        if not parts:
            return np.empty((0, 2)), np.empty((0, 0), np.float32)
        widths = {part[1].shape[1] for part in parts}
        if len(widths) > 1:
            raise FeatureError(f"{self.path}: '{video}' has pieces of widths {sorted(widths)}.")
        intervals = np.concatenate([part[0] for part in parts])
        order = np.argsort(intervals[:, 0], kind="stable")
        return intervals[order], np.concatenate([part[1] for part in parts])[order]

    def width(self) -> int:
        """Give the number of features of a row.

        Raises:
            FeatureError: there are no rows, or videos differ.
        """
        widths = set()
        for video, pieces in self._pieces.items():
            with self._reading(video):
                shapes = [self._shape(piece) for piece in pieces]
                widths |= {math.prod(shape[1:]) for shape in shapes if shape and shape[0]}
        if len(widths) != 1:
            raise FeatureError(
                f"{self.path}: its videos have {listed([str(w) for w in sorted(widths)]) or 'no'} "
                "features a row, expected one number for all."
            )
        return next(iter(widths))

    def _frame(self) -> tuple[str, Any]:
        """Find the group of the sequence, and the data in it."""
        names = list(self._file)
        if len(names) != 1:
            raise FeatureError(
                f"{self.path} holds {listed(names) or 'nothing'}, expected one group, the name of a "
                "computational sequence."
            )
        data = self._inside(self._inside(self._file, names[0]), "data")
        if not isinstance(data, self._h5py.Group):
            raise FeatureError(f"{self.path}: '{names[0]}/data' is no group, as in a .csd file.")
        return names[0], data

    def _inside(self, group: Any, key: str) -> Any:
        """Take what lies in a group of this file; a link could lead to any file."""
        if not isinstance(group, self._h5py.Group) or key not in group:
            raise FeatureError(
                f"{self.path}: there is no '{key}' in {group.name}, as there is in a .csd file."
            )
        if not isinstance(group.get(key, getlink=True), self._h5py.HardLink):
            raise FeatureError(f"{self.path}: '{key}' is a link, which is not followed.")
        return group[key]

    def _shape(self, piece: Any) -> tuple[int, ...]:
        return getattr(self._inside(piece, "features"), "shape", None) or ()

    def _piece(self, video: str, piece: Any) -> tuple[np.ndarray, np.ndarray]:
        intervals = self._array(video, self._inside(piece, "intervals"), np.float64)
        features = self._array(video, self._inside(piece, "features"), np.float32)
        if intervals.size == 0 or features.size == 0:
            return np.empty((0, 2)), np.empty((0, 0), np.float32)
        if (
            intervals.ndim != 2
            or intervals.shape[1] != 2
            or features.shape[:1] != intervals.shape[:1]
        ):
            raise FeatureError(
                f"{self.path}: '{video}' has intervals {intervals.shape} and features "
                f"{features.shape}, expected (rows, 2) and (rows, width)."
            )
        return intervals, features.reshape(len(features), -1)

    def _array(self, video: str, dataset: Any, dtype: Any) -> np.ndarray:
        """Read an array after its header has been found honest."""
        if not isinstance(dataset, self._h5py.Dataset) or dataset.dtype.kind not in "fiu":
            what = getattr(dataset, "dtype", "a group")
            raise FeatureError(f"{self.path}: '{video}' holds {what}, expected numbers.")
        if dataset.external or dataset.is_virtual:
            raise FeatureError(f"{self.path}: the data of '{video}' lie in another file.")
        claimed = dataset.dtype.itemsize * math.prod(dataset.shape or (0,))
        weight = self.path.stat().st_size
        if claimed > max(_FREE_BYTES, _MOST_EXPANSION * weight):
            raise FeatureError(
                f"{self.path}: '{video}' claims {claimed:,} bytes in a file of {weight:,}."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(dataset[()]).astype(dtype)

    @contextlib.contextmanager
    def _reading(self, where: str) -> Iterator[None]:
        """Turn what HDF5 says of damage, in many ways, into one sentence."""
        try:
            yield
        except FeatureError:
            raise
        except (OSError, RuntimeError, LookupError, TypeError, ValueError, MemoryError) as error:
            reason = (str(error).splitlines() or ["no reason is given"])[0][:80]
            raise FeatureError(
                f"{self.path}: '{where}' is damaged and cannot be read ({reason})."
            ) from None


def csd_files(root: str | Path) -> Iterator[Path]:
    """Find the .csd files in a folder and its subfolders, in order.

    Raises:
        FeatureError: there is no such folder, or none in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise FeatureError(f"{root} is no folder, expected one with .csd files.")
    found = sorted(root.rglob("*.csd"))
    if not found:
        raise FeatureError(f"there is no .csd file in {root} or its subfolders.")
    yield from found
