"""What the systems check alike: the options of a configuration, and the streams that came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def check_options(config: Any, options: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a configuration in which a field is none of its options.

    Args:
        config: what has the fields.
        options: field -> the values that it may have.

    Raises:
        ValueError: so, naming the field, what it is, and what it may be.
    """
    for name, choices in options.items():
        if getattr(config, name) not in choices:
            raise ValueError(
                f"{name}={getattr(config, name)!r} is unknown; expected one of "
                f"{', '.join(map(repr, choices))}."
            )


def given_streams(inputs: Mapping[str, Tensor | None], streams: Sequence[str]) -> dict[str, Tensor]:
    """Take the streams that came, for a system that does without the others.

    Args:
        inputs: name -> values, or None, as if it had been left out.
        streams: those that the system knows.

    Raises:
        ValueError: none came, or one that the system does not know.
    """
    given = {name: x for name, x in inputs.items() if x is not None}
    if not given or given.keys() - set(streams):
        raise ValueError(
            f"the model takes {', '.join(streams)} (one of them at least), but "
            f"{', '.join(given) or 'nothing'} came."
        )
    return given
