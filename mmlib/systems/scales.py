"""The two scales at which every system can be built: the paper's numbers, or small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

Config = TypeVar("Config")
SCALES = ("small", "paper")


def at_scale(kind: type[Config], scale: str, known: Sequence[str] = SCALES) -> Config:
    """Make a configuration by one of its class methods, `small()` or `paper()`.

    Args:
        kind: the configuration's class.
        scale: the method's name.
        known: the names that there are.

    Raises:
        ValueError: the scale is none of them.
    """
    if scale not in known:
        *others, last = known
        raise ValueError(f"scale is {scale!r}, expected {', '.join(others)} or {last}.")
    make: Any = getattr(kind, scale)
    return make()
