"""A stream that stays in its file: samples are read when they are asked for, never all at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

_BYTES_AT_ONCE = 2**24


class StoredStream:
    """Samples of one stream in a memory-mapped array, read when indexed.

    It stands in a `FeatureSet` where a tensor would, for data larger than memory. Indexed by samples
    (a number, a slice, a mask or a list of numbers) it reads these and returns a tensor of their
    own; `choose` reads nothing and returns a stream of some of the samples. Pickled, it travels as
    the file's name, not as what the file holds.

    Args:
        array: the memory-mapped array `(N, T, ...)`; only what is asked for is ever read of it.
        kept: the type of what is read, where it is not the array's own.
    """

    def __init__(self, array: np.memmap, kept: Any = None) -> None:
        """Take note of the array; nothing of it is read."""
        self._array = array
        self._kept = np.dtype(array.dtype if kept is None else kept).newbyteorder("=")
        self._rows: np.ndarray | None = None

    @property
    def shape(self) -> torch.Size:
        """Give the shape of all samples together."""
        return torch.Size((len(self), *self._array.shape[1:]))

    @property
    def ndim(self) -> int:
        """Count the axes."""
        return self._array.ndim

    @property
    def dtype(self) -> torch.dtype:
        """Give the type of what is read."""
        return torch.from_numpy(np.empty(0, self._kept)).dtype

    @property
    def nbytes(self) -> int:
        """Count the bytes that all samples would take in memory."""
        return self.shape.numel() * self._kept.itemsize

    def is_floating_point(self) -> bool:
        """Say whether the numbers are floats."""
        return self._kept.kind == "f"

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._array) if self._rows is None else len(self._rows)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """Read samples into a tensor of their own.

        Raises:
            TypeError: an index into steps or features, for which samples must be read first.
        """
        if isinstance(index, tuple):
            raise TypeError(
                "a stored stream is indexed by samples only, here by several axes; read the samples "
                "first: stream[rows][:, steps]."
            )
        if isinstance(index, Tensor):
            index = index.numpy()
        chosen = index if self._rows is None else self._rows[index]
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
            values = np.array(self._array[chosen], dtype=self._kept, order="C")
        return torch.from_numpy(values)

    def __iter__(self) -> Iterator[Tensor]:
        """Read one sample after the other."""
        return (self[row] for row in range(len(self)))

    def choose(self, rows: Any) -> StoredStream:
        """Return the stream of some of the samples, in the order given; nothing is read."""
        chosen = copy.copy(self)
        before = np.arange(len(self)) if self._rows is None else self._rows
        chosen._rows = before[np.asarray(rows)]
        return chosen

    def __copy__(self) -> StoredStream:
        """Return another view of the same array."""
        other = StoredStream(self._array, self._kept)
        other._rows = self._rows
        return other

    def __deepcopy__(self, memo: dict) -> StoredStream:
        """Return another view of the same array, which nobody can write to."""
        return copy.copy(self)

    def __reduce__(self) -> tuple:
        """Travel to another process as a file's name."""
        array = self._array
        where = (str(array.filename), array.dtype, array.offset, array.shape)
        return _reopen, (where, self._kept, self._rows)

    def __repr__(self) -> str:
        """Say what it is without reading."""
        return f"StoredStream({str(self._array.filename)!r}, {tuple(self.shape)}, {self.dtype})"


#: What stands for one stream in a feature set: in memory, or in its file.
Stream = Tensor | StoredStream


def choose(stream: Stream, rows: Tensor) -> Stream:
    """Take some samples of a stream: copied from memory, or only noted where they are in a file."""
    return stream.choose(rows) if isinstance(stream, StoredStream) else stream[rows]


def in_blocks(
    stream: Stream, bytes_at_once: int = _BYTES_AT_ONCE
) -> Iterator[tuple[slice, Tensor]]:
    """Go through a stream in order, as many samples at once as fit into so many bytes."""
    each = max(1, stream.nbytes // max(1, len(stream)))
    at_once = max(1, bytes_at_once // each)
    for start in range(0, len(stream), at_once):
        block = slice(start, min(start + at_once, len(stream)))
        yield block, stream[block]


def write_array(file: IO[bytes], array: np.ndarray | Stream) -> None:
    """Write an array in numpy's own format, of a stored stream only a block at a time."""
    if isinstance(array, StoredStream):
        kind = np.lib.format.dtype_to_descr(array[:0].numpy().dtype)
        about = {"descr": kind, "fortran_order": False, "shape": tuple(array.shape)}
        np.lib.format.write_array_header_1_0(file, about)
        for _, block in in_blocks(array):
            file.write(block.numpy().data)
        return
    values = array.numpy() if isinstance(array, Tensor) else array
    np.lib.format.write_array(file, values, allow_pickle=False)


def _reopen(where: tuple, kept: np.dtype, rows: np.ndarray | None) -> StoredStream:
    name, dtype, offset, shape = where
    stream = StoredStream(np.memmap(name, dtype, "r", offset, shape), kept)
    return stream if rows is None else stream.choose(rows)
