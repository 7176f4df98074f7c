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


def needed_streams(
    system: str, inputs: Mapping[str, Tensor | None], streams: Sequence[str]
) -> dict[str, Tensor]:
    """Take all streams of a system that cannot do without one; others are left out.

    Args:
        system: its name, for the message.
        inputs: name -> values, or None, as if it had been left out.
        streams: those that it needs.

    Raises:
        ValueError: one is missing, or they are not of as many samples.
    """
    given: dict[str, Tensor] = {}
    for name in streams:
        x = inputs.get(name)
        if x is None:
            raise ValueError(
                f"{system} needs {', '.join(streams[:-1])} and {streams[-1]}, but {name} is missing; "
                "the paper has no way to do without. Take a system that has, such as 'concat'."
            )
        given[name] = x
    first, *others = given
    for name in others:
        counts = [len(given[first]), len(given[name])]
        if counts[0] != counts[1]:
            raise ValueError(
                f"{first} has {counts[0]} samples and {name} {counts[1]}; give both for the same "
                "samples."
            )
    return given
