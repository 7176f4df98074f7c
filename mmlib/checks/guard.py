"""What keeps an answer honest: it may not call the reference, and it may not shift the random draws."""

import contextlib
import functools
import inspect
import os
import random
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    MethodDescriptorType,
    TracebackType,
)
from typing import Any, Self

import numpy as np
import torch

INSTALLED = ("site-packages", "dist-packages")
GENERATED = ("<frozen", "<string>", "<__array_function__")
PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep
# What would run code where the guard cannot look.
UNSEEN = {
    "setprofile": "sys.setprofile, which hides the rest from this check",
    **dict.fromkeys(
        ("start_new_thread", "start_joinable_thread"), "another thread, where nothing is checked"
    ),
}
STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"] + os.sep


def unwrapped(solution: Any) -> Any:
    """The function under partials, decorators and bound methods."""
    while True:
        if isinstance(solution, functools.partial):
            solution = solution.func
        elif inspect.ismethod(solution):
            solution = solution.__func__
        elif hasattr(solution, "__wrapped__"):
            solution = solution.__wrapped__
        else:
            return solution


@functools.lru_cache(maxsize=4096)
def _is_library(filename: str) -> bool:
    if not filename:
        return False
    if filename.startswith(GENERATED):
        return True
    if any(part in filename for part in INSTALLED):
        return True
    resolved = filename if filename.startswith("<") else str(Path(filename).resolve())
    return resolved.startswith((PACKAGE, STANDARD_LIBRARY))


def _is_librarys_class(kind: type) -> bool:
    # A notebook's own classes live in __main__, whatever file started the process.
    module = sys.modules.get(kind.__module__) if kind.__module__ != "__main__" else None
    return _is_library(getattr(module, "__file__", None) or "")


def is_course_code(code: CodeType, checking: Callable[..., Any]) -> bool:
    """Whether code belongs to the check, this library or an installed one, not to the learner."""
    return code.co_filename == checking.__code__.co_filename or _is_library(code.co_filename)


class Guard:
    """While entered, records each call of a forbidden function that comes from a learner's code.

    The checking function itself may call the reference, and so may the library below it; a call
    counts only if a frame of the learner stands between it and the checking function. It looks
    with `sys.setprofile` and puts back the profiler that was there.
    """

    def __init__(
        self, reference: Any, forbidden: Iterable[Any], checking: Callable[..., Any]
    ) -> None:
        """Collect the code objects and C functions that the answer may not call."""
        self.seen: list[str] = []
        self.last_call = ""
        self._checking_file = checking.__code__.co_filename
        self._classes: list[type] = []
        self._codes: dict[CodeType, str] = {}
        self._builtins: dict[str, str] = dict(UNSEEN)
        for target in (reference, *forbidden):
            name = "the reference" if target is reference else _name(target)
            self._add(unwrapped(target), name)

    def _add(self, target: Any, name: str) -> None:
        if inspect.isclass(target):
            self._classes.append(target)
            for member in vars(target).values():
                if inspect.isfunction(member):
                    self._codes[member.__code__] = name
        elif hasattr(target, "__code__"):
            self._codes[target.__code__] = name
        elif callable(target) and hasattr(target, "__qualname__"):
            self._builtins[_qualified(target)] = name

    def refuse(self, solution: Any) -> None:
        """Record an answer that is itself the reference, or comes from a library."""
        bare = unwrapped(solution)
        kind = bare if inspect.isclass(bare) else type(bare)
        if hasattr(bare, "__code__"):
            if bare.__code__ in self._codes or _is_library(bare.__code__.co_filename):
                self.seen.append(self._codes.get(bare.__code__) or _name(bare))
        elif isinstance(bare, BuiltinFunctionType | MethodDescriptorType):
            self.seen.append(_name(bare))
        elif known := [base for base in kind.__mro__ if base in self._classes]:
            self.seen.append(known[0].__qualname__)
        elif callable(bare) and _is_librarys_class(kind):
            self.seen.append(_name(kind))

    def __enter__(self) -> Self:
        """Start looking."""
        self._previous = sys.getprofile()
        sys.setprofile(self._look)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop looking."""
        sys.setprofile(self._previous)

    def _look(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            name = self._codes.get(frame.f_code)
            caller = frame.f_back
            if self._is_the_check(caller) and not _is_library(frame.f_code.co_filename):
                self.last_call = _told(frame)
        elif event == "c_call" and frame.f_code is not Guard.__exit__.__code__:
            name = self._builtins.get(_qualified(argument))
            caller = frame
        else:
            return
        if name is not None and self._is_learners(caller):
            self.seen.append(name)

    def _is_learners(self, frame: FrameType | None) -> bool:
        while frame is not None and not self._is_the_check(frame):
            if not _is_library(frame.f_code.co_filename):
                return True
            frame = frame.f_back
        return False

    def _is_the_check(self, frame: FrameType | None) -> bool:
        return frame is not None and frame.f_code.co_filename == self._checking_file


def _told(frame: FrameType) -> str:
    """A call in words, as it is about to run: `f(x: tensor of shape (2, 3), k=5)`."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = (_argument(name, frame.f_locals.get(name)) for name in names if name != "self")
    return f"{code.co_name}({', '.join(given)})"


def _argument(name: str, value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{name}: tensor of shape {tuple(value.shape)}"
    if isinstance(value, bool | int | float | str):
        return f"{name}={value!r}"
    return name


def _qualified(target: Any) -> str:
    """A C function's name, the same for a tensor's method and the descriptor behind it."""
    name = getattr(target, "__qualname__", None) or ""
    return name.replace("TensorBase.", "Tensor.") if isinstance(name, str) else ""


def _name(target: Any) -> str:
    name = _qualified(target).replace("_VariableFunctionsClass.", "")
    module = getattr(target, "__module__", None)
    return f"{module}.{name}" if module and not module.startswith("torch._C") else name


@contextlib.contextmanager
def same_random_draws(seed: int = 0) -> Iterator[None]:
    """Seed every global generator inside, and put them back as they were afterwards."""
    python, legacy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
