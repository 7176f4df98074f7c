"""Answers with an eye on them: results that pretend are refused, and a decoy has its results spoilt.

A decoy is the learner's answer with the result of one of its calls shifted. A check that accepts
it was tampered with, whatever the way. Which calls a check looks at is tried on the reference, before
any learner's code runs.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
ANSWERS_FOR_TORCH = ("__torch_function__", "__array__", "__array_function__", "__array_ufunc__")


class Pretence(Exception):
    """A result that is not what it seems; the message says which."""


def watched(answer: Any, after: Callable[[], None]) -> Any:
    """The answer, whose results must be what they seem; `after` is called when it has returned."""

    def look(result: Any) -> Any:
        after()
        refuse_pretence(result)
        return result

    return _with(answer, look)


def decoy(answer: Any, call: int) -> Any:
    """The answer with the result of its call number `call`, counted from 0, spoilt."""
    calls = itertools.count()
    return _with(answer, lambda result: spoilt(result) if next(calls) == call else result)


def calls_of(check: Callable[[Any], None], answer: Any) -> int:
    """How often a check calls an answer that it accepts."""
    calls: list[None] = []

    def count(result: Any) -> Any:
        calls.append(None)
        return result

    check(_with(answer, count))
    return len(calls)


def _with(answer: Any, change: Callable[[Any], Any]) -> Any:
    if inspect.isclass(answer):
        return _class_with(answer, change)
    if not callable(answer):
        return answer

    def called(*arguments: Any, **named: Any) -> Any:
        return change(answer(*arguments, **named))

    # wraps() leaves __wrapped__, by which the checks find the learner's own function.
    return (
        functools.wraps(answer)(called) if hasattr(answer, "__name__") else _object(answer, called)
    )


def _object(answer: Any, called: Callable[..., Any]) -> Any:
    called.__wrapped__ = answer  # type: ignore[attr-defined]
    return called


def _class_with(answer: type, change: Callable[[Any], Any]) -> type:
    """A subclass that changes what the calls of its instances give."""
    name = "forward" if issubclass(answer, torch.nn.Module) else "__call__"
    plain = getattr(answer, name, None)
    if plain is None or isinstance(plain, type(type.__call__)):
        return answer

    def called(self: Any, *arguments: Any, **named: Any) -> Any:
        return change(plain(self, *arguments, **named))

    functools.update_wrapper(called, plain)
    return type(answer)(answer.__name__, (answer,), {name: called, "__module__": "__main__"})


def refuse_pretence(result: Any) -> None:
    """Refuse tensors, arrays, numbers and texts of a kind of the learner's own making.

    Raises:
        Pretence: a subclass that could answer comparisons as it likes.
    """
    kind = type(result)
    if kind is torch.Tensor or kind is torch.nn.Parameter or kind in PLAIN[:6]:
        return
    if isinstance(result, torch.Tensor | np.ndarray) and kind is not np.ndarray:
        raise Pretence(f"a result of a tensor class of its own, {kind.__name__}")
    if object.__getattribute__(result, "__class__") is not kind:
        raise Pretence(f"a result that claims to be of another class than {kind.__name__}")
    own = kind.__module__ == "__main__"
    if own and isinstance(result, PLAIN) and not hasattr(kind, "_fields"):
        raise Pretence(f"a result of a class of its own, {kind.__name__}")
    if own and any(hasattr(kind, name) for name in ANSWERS_FOR_TORCH):
        raise Pretence(f"a result that answers in the place of torch, {kind.__name__}")
    if isinstance(result, list | tuple | set | frozenset):
        for each in result:
            refuse_pretence(each)
    elif isinstance(result, dict):
        for each in (*result.keys(), *result.values()):
            refuse_pretence(each)


def spoilt(result: Any) -> Any:
    """The result, shifted: every number by one, every truth turned round, every text lengthened."""
    if isinstance(result, bool | np.bool_):
        return not result
    if isinstance(result, int | float | complex | np.number):
        return result + 1
    if isinstance(result, str):
        return f"{result}?"
    if isinstance(result, torch.Tensor):
        plain = result.as_subclass(torch.Tensor)
        return ~plain if plain.dtype == torch.bool else plain + 1
    if isinstance(result, np.ndarray):
        return _spoilt_array(result)
    if isinstance(result, tuple):
        values = [spoilt(each) for each in result]
        return type(result)(*values) if hasattr(result, "_fields") else tuple(values)
    if isinstance(result, list | set):
        return type(result)(spoilt(each) for each in result)
    if isinstance(result, dict):
        return {key: spoilt(each) for key, each in result.items()}
    if callable(result):
        return _with(result, spoilt)
    return None if result is not None else 0


def _spoilt_array(result: np.ndarray) -> np.ndarray:
    if result.dtype == bool:
        return ~result
    if np.issubdtype(result.dtype, np.number):
        return result + np.ones((), result.dtype)
    return np.array([f"{each}?" for each in result.ravel()], dtype=object).reshape(result.shape)
