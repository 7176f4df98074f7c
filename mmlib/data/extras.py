"""Packages that only some need: imported where they are used, missed in one sentence."""

from __future__ import annotations

import importlib
from typing import Any


class NotInstalled(ValueError):
    """A package of an extra that is not there; the message says how to get it."""


def load_extra(package: str, *, extra: str, purpose: str) -> Any:
    """Import a package of one of the extras in `pyproject.toml`.

    Raises:
        NotInstalled: it cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        reason = "" if error.name == package else f", which is there but broken ({error})"
        raise NotInstalled(
            f"{purpose} needs the package '{package}'{reason}; install it with the extra "
            f"'{extra}': pip install -e '.[{extra}]'"
        ) from None
