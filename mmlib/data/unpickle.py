"""Read a pickle that nobody vouches for: NumPy arrays, plain containers and numbers, nothing else.

A pickle is a program. It is read twice. First its opcodes are listed without running any: what could
name, make or change an object of another kind is refused, and so is a claim of more bytes than the
file has. Then it runs, but every name in it stands for a harmless piece of this module, which makes
an array only where its shape and its bytes agree.
"""

from __future__ import annotations

import math
import pickle
import pickletools
from pathlib import Path
from typing import IO, Any

import numpy as np

from mmlib.data.feature_set import FeatureError

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_STRINGS = {
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING",
    "SHORT_BINSTRING",
}  # fmt: skip
_GETS, _PUTS = ("GET", "BINGET", "LONG_BINGET"), ("PUT", "BINPUT", "LONG_BINPUT")
_ALLOWED = _STRINGS | {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "MEMOIZE", *_GETS, *_PUTS),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("FLOAT", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2"),
    *("TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),  # of the names in _PIECES only
}
_ONLY = "only NumPy arrays, lists, dicts and numbers are read, and nothing in it was run"


class _Refused(ValueError):
    """What is wrong with a pickle, as the end of a sentence."""


def read_pickle(path: str | Path) -> Any:
    """Read a pickle of NumPy arrays, lists, tuples, dicts, strings and numbers.

    Protocols 2 to 5, from NumPy 1 and 2. Nothing in the file can run, import or allocate more than
    the file weighs.

    Raises:
        FeatureError: the file is missing or cut off, or holds anything else; one sentence.
    """
    path = Path(path)
    try:
        if not path.is_file():
            path.stat()  # says why, where the system knows: no such file, a loop of links
            raise FeatureError(f"{path} is not a file, expected a pickle.")
        with open(path, "rb") as stream:
            size = path.stat().st_size
            _scan(_Clamped(stream, size))
            stream.seek(0)
            found = _Reader(_Clamped(stream, size), encoding="latin1").load()
    except OSError as error:
        raise FeatureError(f"{path} cannot be read ({error.strerror or error}).") from None
    except _Refused as error:
        raise FeatureError(f"{path} {error}.") from None
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError,
            AttributeError, MemoryError, OverflowError, RecursionError) as error:  # fmt: skip
        if isinstance(error, FeatureError):
            raise
        reason = " ".join(str(error).split())[:90]
        raise FeatureError(f"{path} is not a whole pickle ({reason}).") from None
    if isinstance(found, _Piece | _DType | _Array):
        raise FeatureError(f"{path} holds a lone {found.name}, expected arrays in a dict.")
    return found


class _Clamped:
    """A file that is never asked for more bytes than it has, since asking may already allocate."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, count: int = -1) -> bytes:
        wanted = self._left if count < 0 else min(count, self._left)
        self._left -= wanted
        return self._stream.read(wanted)

    def readline(self) -> bytes:
        line = self._stream.readline(self._left)
        self._left -= len(line)
        return line


def _scan(stream: _Clamped) -> None:
    """List the opcodes without running them, and refuse what no feature file needs."""
    memo: dict[int, str | None] = {}
    before: str | None = None  # the last two things pushed, where they are strings
    last: str | None = None
    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
        name = opcode.name
        if count == 0 and name != "PROTO":
            raise _Refused("does not begin as a pickle of protocol 2 to 5 does")
        if name not in _ALLOWED:
            raise _Refused(f"holds objects of some other kind (opcode {name}); {_ONLY}")
        if name == "GLOBAL":
            _require_known(*str(argument).split(" ", 1))
        if name == "STACK_GLOBAL":
            if before is None or last is None:
                raise _Refused(f"hides the name of what it wants to import; {_ONLY}")
            _require_known(before, last)
        if name in _PUTS:
            if not 0 <= argument <= count:  # a slot far away would make the reader allocate a table
                raise _Refused(f"claims a memory of {argument:,} entries, more than it can fill")
            memo[argument] = last
        elif name == "MEMOIZE":
            memo[len(memo)] = last
        elif name in _GETS:
            before, last = last, memo.get(argument)
        elif name != "FRAME":
            before, last = last, argument if name in _STRINGS else None


def _require_known(module: str, name: str) -> _Piece:
    piece = _PIECES.get((module, name))
    if piece is None:
        whole = f"{module}.{name}"[:60]
        raise _Refused(f"wants to import {whole!r}; {_ONLY}")
    return piece


class _Reader(pickle.Unpickler):
    """An unpickler in which a name is a piece of this module."""

    def find_class(self, module: str, name: str) -> Any:
        return _require_known(module, name)


class _Piece:
    """What a name stands for: something that may be called, or only passed on, never changed."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Any = None) -> None:
        self.name, self.call = name, call

    def __call__(self, *arguments: Any) -> Any:
        if self.call is None:
            raise _Refused(f"calls {self.name}, which no array needs")
        return self.call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _Refused(f"tries to change {self.name}; {_ONLY}")


class _DType:
    """A plain dtype on its way: the code, then the byte order."""

    __slots__ = ("code", "name", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order, self.name = code, "=", "dtype"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(x is not None for x in state[2:5]):
            raise _Refused("holds a structured dtype; expected plain numbers")
        self.order = state[1]

    def made(self) -> np.dtype:
        """Build the dtype, of numbers only."""
        code = self.code
        if not isinstance(code, str) or code[:1] not in tuple("fiub") or len(code) > 3:
            kind = "Python objects" if str(code)[:1] == "O" else f"dtype {str(code)[:20]!r}"
            raise _Refused(f"holds an array of {kind}; expected numbers")
        return np.dtype(f"{self.order}{code}" if self.order in ("<", ">") else code)


class _Array:
    """An array on its way: nothing, until its state comes."""

    __slots__ = ("name", "value")

    def __init__(self) -> None:
        self.name = "array"
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("holds an array without shape, dtype and bytes")
        _, shape, dtype, fortran, data = state
        self.value = _assemble(data, dtype, shape, "F" if fortran else "C")


def _assemble(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Make an array where its shape and its bytes agree."""
    if not isinstance(dtype, _DType):
        raise _Refused("holds an array without a dtype")
    kind = dtype.made()
    if isinstance(data, str):  # as Python 2 wrote bytes
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise _Refused("holds an array whose values are not bytes")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not all(isinstance(size, int) and size >= 0 for size in sizes) or len(sizes) > 8:
        raise _Refused("holds an array of an impossible shape")
    if math.prod(sizes) * kind.itemsize != len(data):
        claim = f"{math.prod(sizes):,} numbers ({math.prod(sizes) * kind.itemsize:,} bytes)"
        raise _Refused(f"claims an array of {claim} but brings {len(data):,} bytes for it")
    return np.frombuffer(data, kind).reshape(sizes, order="F" if order == "F" else "C")


def _encode(text: Any, codec: Any = None) -> bytes:
    """Make bytes of text, as protocol 2 carries them."""
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise _Refused("encodes text in a way that no array needs")
    return text.encode("latin1")


_PIECES: dict[tuple[str, str], _Piece] = {
    ("numpy", "ndarray"): _Piece("numpy.ndarray"),
    ("numpy", "dtype"): _Piece("numpy.dtype", _DType),
    ("_codecs", "encode"): _Piece("_codecs.encode", _encode),
    **{(module, "_reconstruct"): _Piece("an array", lambda *_: _Array()) for module in _MULTIARRAY},
    **{
        (module, "scalar"): _Piece("a number", lambda dtype, data: _assemble(data, dtype, (), "C"))
        for module in _MULTIARRAY
    },
    **{(module, "_frombuffer"): _Piece("an array", _assemble) for module in _NUMERIC},
}


def plain(value: Any) -> Any:
    """Take the array out of what may stand for it in what `read_pickle` gives.

    An array is made in two steps in a pickle, and what holds it has only seen the first.
    """
    if isinstance(value, _Array):
        if value.value is None:
            raise FeatureError("an array in it has no values.")
        return value.value
    return value
