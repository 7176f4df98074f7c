"""Notices when something that a check relies on was replaced.

Before any learner's code runs, the identity of every function, class and module of the watched
libraries is written down, with the code of Python functions and the members of classes; afterwards
the same places are looked at again. New names are nobody's business; replaced ones are tampering.
"""

from __future__ import annotations

import builtins
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from mmlib.checks import framework
from mmlib.checks.counting import Counted

# Roots of the modules whose functions the checks, this package or torch under them call.
ROOTS = frozenset(
    (
        *("builtins", "numpy", "mmlib", "einops", "sys", "os", "posix", "io", "time", "gc"),
        *("inspect", "dis", "ast", "types", "typing", "enum", "dataclasses", "abc", "linecache"),
        *("functools", "contextlib", "itertools", "operator", "collections", "copy", "random"),
        *("math", "re", "json", "hmac", "hashlib", "_hashlib", "threading", "_thread"),
        *("importlib", "sysconfig", "pathlib"),
    )
)
# Of torch only these: its compiler and exporter replace functions of their own when first used.
TORCH = re.compile(
    r"torch(\.(_tensor|_C(\._\w+)?|functional|random|linalg|special|overrides|autograd(\..+)?"
    r"|nn(\.(functional|parameter|init|modules(\..+)?))?))?$"
)
CHECKS = "mmlib.checks"
# Looked at after every call of an answer, so few: what a check's next line calls.
NEAR = {"builtins", "torch", "inspect", "contextlib"}
NEAR_CLASSES = {"Tensor", "TensorBase", "Module", "Generator"}
# These are rewritten by the libraries themselves, or by harmless settings.
RESTLESS = {
    *("sys.stdout", "sys.stderr", "sys.stdin", "sys.displayhook", "torch.Storage"),
    "torch.nn.modules.module.Module.__init__",
}
BUILTINS = frozenset(vars(builtins))
IGNORED = {"__warningregistry__"}


class Entry(NamedTuple):
    """A place, the name that stands in it, and what stood there."""

    place: Mapping[str, Any]
    key: str
    value: Any
    name: str


class Function(NamedTuple):
    """A Python function with what can be exchanged inside it."""

    function: FunctionType
    code: CodeType
    defaults: Any
    named_defaults: Any
    cells: tuple[tuple[Any, Any], ...]
    name: str


class Names(NamedTuple):
    """The names that a place had. Where it is `closed`, a new one matters, else only a builtin's."""

    place: Mapping[str, Any]
    names: frozenset[str]
    closed: bool
    name: str

    def grown(self) -> set[str]:
        """Names that were added and matter."""
        now = self.place.keys() if self.closed else self.place.keys() & BUILTINS
        return now - self.names - IGNORED


class Watch:
    """The libraries as they were when this was made."""

    def __init__(self, hidden: Mapping[str, ModuleType] | None = None) -> None:
        """Write down what is there, and in modules that are no longer found by their names."""
        self._modules = {
            name: module
            for name, module in sys.modules.items()
            if name.split(".")[0] in ROOTS or TORCH.match(name)
        }
        self._entries: list[Entry] = []
        self._near: list[Entry] = []
        self._functions: list[Function] = []
        self._names: list[Names] = []
        self._classes: set[int] = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # looking at a deprecated name is not using it
            for name, module in {**self._modules, **(hidden or {})}.items():
                self._note_module(name, vars(module))
        for number, task in framework._exercises.items():
            name = f"exercise {number}"
            self._note(Entry(framework._exercises, number, task, name), near=True)
            # Frozen, but there is object.__setattr__.
            for key in ("checking", "reference", "forbidden"):
                inside = Entry(vars(task), key, getattr(task, key), f"{key} of {name}")
                self._note(inside, near=True)

    def _note_module(self, name: str, place: dict[str, Any]) -> None:
        of_checks = name.startswith(CHECKS)
        here = frozenset(place) if of_checks else frozenset(place) & BUILTINS
        self._names.append(Names(place, here, of_checks, name))
        for key, value in list(place.items()):
            if _is_data(value) and not of_checks:
                continue
            self._note(Entry(place, key, value, f"{name}.{key}"), near=of_checks or name in NEAR)
            if isinstance(value, type) and id(value) not in self._classes:
                self._classes.add(id(value))
                near = of_checks or value.__name__ in NEAR_CLASSES
                self._note_class(value, f"{name}.{key}", near=near)

    def _note_class(self, kind: type, name: str, *, near: bool) -> None:
        members = vars(kind)
        if near:  # a new member may stand before an inherited one
            self._names.append(Names(members, frozenset(members), True, name))
        for key, value in list(members.items()):
            if not _is_data(value) or isinstance(value, property | staticmethod | classmethod):
                self._note(Entry(members, key, value, f"{name}.{key}"), near=near)

    def _note(self, entry: Entry, *, near: bool) -> None:
        if entry.name in RESTLESS:
            return
        self._entries.append(entry)
        if near:
            self._near.append(entry)
        for function in _functions(entry.value):
            # Libraries keep state in closures ("warned already"); the checks' own do not change.
            inside = (function.__closure__ or ()) if entry.name.startswith(CHECKS) else ()
            self._functions.append(
                Function(
                    function,
                    function.__code__,
                    function.__defaults__,
                    function.__kwdefaults__,
                    tuple((cell, _content(cell)) for cell in inside),
                    entry.name,
                )
            )

    def changed(self) -> str:
        """The name of the first thing that was replaced; empty where nothing was."""
        modules = sys.modules
        for name, module in self._modules.items():
            if modules.get(name) is not module:
                return f"sys.modules[{name!r}]"
        if name := _first(self._entries):
            return name
        for names in self._names:
            if more := names.grown():
                return f"{names.name}.{more.pop()}"
        for function, code, defaults, named_defaults, cells, name in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not named_defaults
                or any(_content(cell) is not value for cell, value in cells)
            ):
                return name
        return _modes()

    def changed_nearby(self) -> str:
        """The same for the few things that the next line of a check may call."""
        return _first(self._near) or _modes()


def _first(entries: list[Entry]) -> str:
    for place, key, value, name in entries:
        if place.get(key) is not value:
            return name
    return ""


def _modes() -> str:
    """A mode that stands between every function of torch and its result; a check's own may."""
    import torch
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    if torch._C._len_torch_function_stack() or any(
        type(mode) is not Counted for mode in _get_current_dispatch_mode_stack()
    ):
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
