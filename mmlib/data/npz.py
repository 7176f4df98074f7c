"""Read arrays from an npz file that nobody vouches for.

A feature file may be cut off, mislabelled or hostile. Before a single array is made, the zip
directory and each array's header are compared with the bytes that are really there; Python objects
(pickles) are refused by their header and never opened.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from mmlib.data.feature_set import FeatureError

# An honest archive may hold many zeros; beyond this size, a file must weigh something itself.
_FREE_BYTES = 256 * 2**20
_MOST_EXPANSION = 100


def read_arrays(path: str | Path, wanted: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list]:
    """Read those of the `wanted` arrays that an npz file holds.

    Returns:
        The arrays by name, and the names of everything in the file.

    Raises:
        FeatureError: the file is missing, not an npz, cut off, holds Python objects under a wanted
            name, or claims more data than it carries.
    """
    path = Path(path)
    with npz_members(path, wanted) as (archive, chosen, found):
        return {name: _read(path, name, archive, info) for name, info in chosen.items()}, found


@contextmanager
def npz_members(
    path: Path, wanted: tuple[str, ...]
) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo], list[str]]]:
    """Open an npz file for a while: the archive, its `wanted` members, and all names in it.

    Raises:
        FeatureError: as `read_arrays`, also for what goes wrong while it is open.
    """
    if path.is_dir():
        raise FeatureError(f"{path} is a folder, expected a feature file such as features.npz.")
    if not path.is_file():
        raise FeatureError(f"{path} does not exist, expected a feature file (npz).")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            chosen = {name: members[name] for name in wanted if name in members}
            _refuse_bombs(path, chosen)
            yield archive, chosen, sorted(members)
    except zipfile.BadZipFile:
        raise FeatureError(
            f"{path} is not a whole npz file: it is cut off, damaged or of another kind."
        ) from None
    except (EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise FeatureError(f"{path} is damaged and cannot be unpacked ({error}).") from None
    except OSError as error:
        raise FeatureError(f"{path} cannot be read ({error.strerror or error}).") from None


def _refuse_bombs(path: Path, members: dict[str, zipfile.ZipInfo]) -> None:
    """Refuse an archive that would unpack to far more than it weighs."""
    total = sum(info.file_size for info in members.values())
    allowed = max(_FREE_BYTES, _MOST_EXPANSION * path.stat().st_size)
    if total > allowed:
        raise FeatureError(
            f"{path} would unpack to {total:,} bytes from {path.stat().st_size:,}, which no real "
            "features do; write it again with numpy.savez if it is yours."
        )


def _read(path: Path, name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one array after its header has been found honest."""
    with archive.open(info) as stream:
        honest_header(path, name, stream, info.file_size)
    with archive.open(info) as stream:
        try:
            return np.lib.format.read_array(stream, allow_pickle=False)
        except ValueError as error:
            raise FeatureError(f"{path}: '{name}' cannot be read ({error}).") from None


class Header(NamedTuple):
    """What an npy file says of its array, and where the array's bytes start."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int


def honest_header(path: Path, name: str, stream: IO[bytes], length: int) -> Header:
    """Read the header of an array that stands in `length` bytes, and see that it tells the truth.

    Raises:
        FeatureError: it is no array, it holds Python objects, or it claims what is not there.
    """
    header = _header(path, name, stream)
    if header.dtype.hasobject:
        raise FeatureError(
            f"{path}: '{name}' holds Python objects, which could run code when loaded and are "
            "never opened; save it as a plain numeric or str array."
        )
    claimed = header.dtype.itemsize
    for size in header.shape:  # plain integers: a product in int64 could overflow and look small
        claimed *= size
    if claimed != length - header.offset:
        raise FeatureError(
            f"{path}: '{name}' says it has shape {header.shape} of {header.dtype}, {claimed:,} "
            f"bytes, but {length - header.offset:,} are there; the file is damaged."
        )
    return header


def _header(path: Path, name: str, stream: IO[bytes]) -> Header:
    """Read an array's header without comparing it with anything."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"format version {version}")
    except (ValueError, SyntaxError, TypeError, EOFError) as error:
        reason = str(error).splitlines()[0][:80]
        raise FeatureError(f"{path}: '{name}' is not a numpy array ({reason}).") from None
    if any(size < 0 for size in shape):
        raise FeatureError(f"{path}: '{name}' claims the impossible shape {shape}.")
    return Header(shape, fortran, dtype, stream.tell())
