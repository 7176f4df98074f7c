"""What the plots accept, and how they say that something does not fit."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch


def numbers(values: Any, what: str) -> np.ndarray:
    """Return a tensor, array, column or list as float64 numbers, none of them missing.

    Raises:
        ValueError: nothing came, or not numbers, or some of them are NaN or infinite.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double()  # NumPy knows no bfloat16
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{what}: got {type(values).__name__} {short(values)}, which is not an array of "
            "numbers; give a tensor, an array or a list, all rows equally long"
        ) from None
    if array.size == 0:
        raise ValueError(
            f"{what}: nothing to draw, the shape is {array.shape}; give at least one number"
        )
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        where = f"at {place if len(place) > 1 else place[0]}" if place else "alone"
        raise ValueError(
            f"{what}: {int((~finite).sum())} of {array.size} numbers are NaN or infinite, the first "
            f"{where}; leave them out, or find where they come from"
        )
    return array


def class_indices(labels: Any, names: Sequence[str], what: str = "labels") -> np.ndarray:
    """Return labels `(N,)` as integers that each have a name.

    Raises:
        ValueError: the labels are not one whole number a sample, or one has no name.
    """
    array = numbers(labels, what)
    if array.ndim != 1:
        raise ValueError(
            f"{what}: expected one class a sample, shape (N,), but got {array.shape}; "
            "logits become classes by .argmax(-1)"
        )
    whole = array.astype(np.int64)
    if (whole != array).any():
        raise ValueError(
            f"{what}: {array[whole != array][0]:g} is not a class; give whole numbers, 0 to "
            f"{len(names) - 1}"
        )
    if whole.min() < 0 or whole.max() >= len(names):
        wrong = int(whole.min() if whole.min() < 0 else whole.max())
        raise ValueError(
            f"{what}: class {wrong} has no name; {len(names)} names are for the classes 0 to "
            f"{len(names) - 1}"
        )
    return whole


def named(things: Any, function: str, example: str) -> dict[str, Any]:
    """Return a mapping with at least one entry as a dict.

    Raises:
        ValueError: something else came, or nothing.
    """
    if not hasattr(things, "items"):
        raise ValueError(
            f"{function} draws a dict from names to what they stand for, but got "
            f"{type(things).__name__} {short(things)}; write {example}"
        )
    entries = {str(name): thing for name, thing in things.items()}
    if not entries:
        raise ValueError(f"{function}: the dict is empty; write {example}")
    return entries


class Span(NamedTuple):
    """A number with its interval."""

    value: float
    low: float
    high: float


def span(name: str, given: Any) -> Span:
    """Return the value and the ends of an `Interval`, `Spread` or `Comparison`, or of a tuple.

    Raises:
        ValueError: they are not three finite numbers, or the interval ends before it begins.
    """
    try:
        ends = (given.low, given.high) if hasattr(given, "low") else tuple(given)[1:3]
        value, low, high = (float(part) for part in (given[0], *ends))
    except (TypeError, ValueError, KeyError):
        raise ValueError(
            f"{name!r} is {short(given)}; give (value, low, high), as bootstrap_interval and compare return it"
        ) from None
    if not np.isfinite([value, low, high]).all():
        raise ValueError(
            f"{name!r} is {short(given)}, which is not finite; compute it on items that have an answer"
        )
    if low > high:
        raise ValueError(
            f"{name!r}: the interval begins at {low:g} and ends at {high:g}; "
            "the order is (value, low, high)"
        )
    return Span(value, low, high)


def with_level(label: str, intervals: Iterable[Any]) -> str:
    """Add to an axis label how sure the intervals are, where they all say the same."""
    levels = {getattr(each, "level", None) for each in intervals}
    level = levels.pop() if len(levels) == 1 else None
    return label if level is None else f"{label} ({100 * level:g}% intervals)"


def short(thing: Any) -> str:
    """Say what came in at most 60 characters."""
    text = " ".join(repr(thing).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
