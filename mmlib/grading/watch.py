"""Notices when something that a check relies on was replaced.

Before any learner's code runs, the identity of every function, class and module of the watched
libraries is written down, with the code of Python functions and the members of classes; afterwards
the same places are looked at again. New names are nobody's business; replaced ones are tampering.
"""

from __future__ import annotations

import builtins
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

# Roots of the module names whose functions the checks, this package or torch under them call.
ROOTS = frozenset(
    (
        *(
            "builtins",
            "torch",
            "numpy",
            "mmlib",
            "einops",
            "sys",
            "os",
            "posix",
            "io",
            "time",
            "gc",
        ),
        *("inspect", "dis", "ast", "types", "typing", "enum", "dataclasses", "abc", "linecache"),
        *("functools", "contextlib", "itertools", "operator", "collections", "copy", "random"),
        *("math", "re", "json", "hmac", "hashlib", "_hashlib", "threading", "_thread"),
        *("importlib", "sysconfig", "pathlib"),
    )
)
# Looked at after every call of an answer, so few: what a check's next line calls.
NEAR = ("builtins", "torch", "mmlib.checks", "inspect", "contextlib")
NEAR_CLASSES = ("Tensor", "TensorBase", "Module", "Generator")
# These are rewritten by the libraries themselves.
RESTLESS = frozenset(
    {("sys", "stdout"), ("sys", "stderr"), ("sys", "stdin"), ("sys", "displayhook")}
)

BUILTINS = frozenset(vars(builtins))
IGNORED = {"__warningregistry__"}

Entry = tuple[Any, str, Any, str]


class Watch:
    """The libraries as they were when this was made."""

    def __init__(self) -> None:
        """Write down what is there."""
        self._modules = {n: m for n, m in sys.modules.items() if n.split(".")[0] in ROOTS}
        self._entries: list[Entry] = []
        self._codes: list[
            tuple[FunctionType, CodeType, Any, Any, tuple[tuple[Any, Any], ...], str]
        ] = []
        self._near: list[Entry] = []
        # Places, the names there, whether any new name matters or only one of Python's own.
        self._grown: list[tuple[Mapping[str, Any], set[str], bool, str]] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # looking at a deprecated name is not using it
            self._look()

    def _look(self) -> None:
        seen: set[int] = set()
        for name, module in self._modules.items():
            own = vars(module)
            closed = name.startswith("mmlib.checks")
            self._grown.append((own, set(own) if closed else set(own) & BUILTINS, closed, name))
            for key, value in list(own.items()):
                if _is_data(value) and not name.startswith("mmlib.checks"):
                    continue
                if (name, key) in RESTLESS:
                    continue
                self._note(
                    own,
                    key,
                    value,
                    f"{name}.{key}",
                    near=name.startswith(NEAR[2:3]) or name in NEAR,
                )
                if isinstance(value, type) and id(value) not in seen:
                    seen.add(id(value))
                    self._note_class(value, f"{name}.{key}", near=value.__name__ in NEAR_CLASSES)
        from mmlib.checks import framework

        for number, task in framework._exercises.items():
            self._note(framework._exercises, number, task, f"exercise {number}", near=True)

    def _note(self, own: Mapping[str, Any], key: str, value: Any, name: str, *, near: bool) -> None:
        entry = (own, key, value, name)
        self._entries.append(entry)
        if near:
            self._near.append(entry)
        for function in _functions(value):
            # Libraries keep state in closures ("warned already"); the checks' own do not change.
            inside = (function.__closure__ or ()) if name.startswith("mmlib.checks") else ()
            cells = tuple((cell, _content(cell)) for cell in inside)
            self._codes.append(
                (
                    function,
                    function.__code__,
                    function.__defaults__,
                    function.__kwdefaults__,
                    cells,
                    name,
                )
            )

    def _note_class(self, kind: type, name: str, *, near: bool) -> None:
        members = vars(kind)
        if near:  # a new member may stand before an inherited one
            self._grown.append((members, set(members), True, name))
        for key, value in list(members.items()):
            if not _is_data(value) or isinstance(value, property | staticmethod | classmethod):
                self._note(members, key, value, f"{name}.{key}", near=near)

    def changed(self) -> str:
        """The name of the first thing that was replaced; empty where nothing was."""
        modules = sys.modules
        for name, module in self._modules.items():
            if modules.get(name) is not module:
                return f"sys.modules[{name!r}]"
        if name := _first(self._entries):
            return name
        for own, names, closed, name in self._grown:
            now = own.keys() if closed else own.keys() & BUILTINS
            if more := now - names - IGNORED:
                return f"{name}.{more.pop()}"
        for function, code, defaults, named, cells, name in self._codes:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not named
            ):
                return name
            if any(_content(cell) is not value for cell, value in cells):
                return name
        return _modes()

    def changed_nearby(self) -> str:
        """The same for the few things that the next line of a check may call."""
        return _first(self._near) or _modes()


def _first(entries: list[Entry]) -> str:
    for own, key, value, name in entries:
        if own.get(key) is not value:
            return name
    return ""


def _modes() -> str:
    """A mode that stands between every function of torch and its result."""
    import torch

    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        return "torch by a mode that was left on"
    return ""


def _is_data(value: Any) -> bool:
    return not (callable(value) or isinstance(value, ModuleType))


def _functions(value: Any) -> Iterator[FunctionType]:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    found = (value.fget, value.fset) if isinstance(value, property) else (value,)
    for each in found:
        if isinstance(each, FunctionType):
            yield each
            inner = getattr(each, "__wrapped__", None)
            if isinstance(inner, FunctionType):
                yield inner


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
