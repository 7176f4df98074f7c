"""Printing numbers so that the text is the same on a CPU, on a GPU and on the next machine.

A stored output that a test compares must not hang on the last bits of a float. `show` rounds,
and refuses a value so near to a rounding edge that another machine could round it the other way.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

TOLERANCE = 1e-5
MOST_VALUES = 200


def show(*values: Any, digits: int = 3, tolerance: float = TOLERANCE, **named: Any) -> None:
    """Print values on one line, then each named value on its own: `show(rows=x.sum(-1), digits=2)`.

    Strings, booleans, integers and shapes are printed as they are; floats, and the floats in
    tensors, arrays and containers, are rounded to `digits` decimals. Two machines are taken to
    differ by no more than `tolerance`, relative to the value, and absolutely below one.

    Args:
        values: what to print, separated by spaces.
        digits: decimals to keep.
        tolerance: how far another machine's number may lie from this one's. Give what you know:
            1e-5 suits a forward pass; a trained model's accuracy needs far more, or a comparison
            (`accuracy > 0.8`) in the number's place.
        named: what to print with a name before it.

    Raises:
        ValueError: a value lies too near to a rounding edge, is one too many, or is of a kind
            whose text may differ from machine to machine.
    """
    if values:
        print(*(text(value, digits=digits, tolerance=tolerance) for value in values))
    for name, value in named.items():
        print(f"{name}: {text(value, digits=digits, tolerance=tolerance)}")


def text(value: Any, *, digits: int = 3, tolerance: float = TOLERANCE) -> str:
    """The text that `show` prints for one value.

    Raises:
        ValueError: as for `show`.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().tolist()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return str(value)
    if isinstance(value, float):
        return _rounded(value, digits, tolerance)
    if isinstance(value, torch.Size):
        return str(tuple(value))
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, dict):
        items = (
            f"{key}: {text(v, digits=digits, tolerance=tolerance)}" for key, v in value.items()
        )
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list | tuple):
        return _sequence(value, digits, tolerance)
    raise ValueError(
        f"show prints strings, booleans, numbers, shapes, tensors, arrays, lists, tuples and dicts; "
        f"the text of a {type(value).__name__} may differ from machine to machine: print a number of it"
    )


def _sequence(value: list[Any] | tuple[Any, ...], digits: int, tolerance: float) -> str:
    if (count := sum(1 for _ in _leaves(value))) > MOST_VALUES:
        raise ValueError(f"{count} values are too many to read; show a part or a summary of them")
    items = [text(item, digits=digits, tolerance=tolerance) for item in value]
    if isinstance(value, tuple):
        return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"
    nested = any(isinstance(item, list | tuple) for item in value)
    return "[" + (",\n ".join(items) if nested else ", ".join(items)) + "]"


def _leaves(value: Any) -> Iterable[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _rounded(value: float, digits: int, tolerance: float) -> str:
    if not math.isfinite(value):
        return str(value)
    slack = tolerance * max(1.0, abs(value))
    low, middle, high = (f"{value + shift:.{digits}f}" for shift in (-slack, 0.0, slack))
    zero = f"{0.0:.{digits}f}"
    low, middle, high = (zero if item == "-" + zero else item for item in (low, middle, high))
    if not low == middle == high:
        raise ValueError(
            f"{value!r} may print as {low} or {high} on another machine (tolerance {tolerance:g}): "
            f"show it with other digits than {digits}, choose another seed, or show a comparison"
        )
    return middle
