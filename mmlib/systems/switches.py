"""Set fields of a configuration from words, as the command line has them: `pool=max,dropout=.2`."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

#: What the data decide.
_OF_THE_DATA = {
    "streams",
    "widths",
    "lengths",
    "patches",
    "depths",
    "text_dim",
    "audio_dim",
    "vision_dim",
    "vision_steps",
    "num_outputs",
    "num_classes",
    "task",
    "label_step",
    "output_steps",
    "prior",
    "block",
    "code",
}
_TRUTHS = {"true": True, "yes": True, "false": False, "no": False}


def with_switches(system: str, config: Any, words: Mapping[str, str]) -> Any:
    """Give a configuration in which some fields are others.

    Args:
        system: its name, for the message.
        config: a system's.
        words: field -> its value in words, such as `{"pool": "max", "dropout": ".2"}`; `none` where
            a field may be None, `true` or `false` for a switch.

    Raises:
        ValueError: there is no such field, the data decide it, or the value is none that it may have.
    """
    hints = get_type_hints(type(config))
    open_to = {
        each.name: hints[each.name]
        for each in fields(config)
        if each.name not in _OF_THE_DATA and _wanted(hints[each.name])
    }
    found = {}
    for name, word in words.items():
        if name in _OF_THE_DATA and hasattr(config, name):
            raise ValueError(f"{name} of {system} comes from the data and cannot be set.")
        if name not in open_to:
            raise ValueError(
                f"{system} has no {name} to set; it has {', '.join(sorted(open_to)) or 'none'}."
            )
        found[name] = _read(name, word, open_to[name])
    return replace(config, **found)


def _parts(hint: Any) -> list[Any]:
    """Take `A | B | None` apart."""
    return list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]


def _wanted(hint: Any) -> str:
    """Say what a field may be; nothing where that cannot be written in a word."""
    told = []
    for part in _parts(hint):
        if get_origin(part) is Literal:
            told += [str(choice) for choice in get_args(part)]
        elif part in _KINDS:
            told.append(_KINDS[part])
        else:
            return ""
    return " or ".join(told)


_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    type(None): "none",
}


def _read(name: str, word: str, hint: Any) -> Any:
    """Read a word as what the field may be."""
    parts = _parts(hint)
    if type(None) in parts and word.lower() == "none":
        return None
    for part in parts:
        if get_origin(part) is Literal and word in get_args(part):
            return word
        if part is bool and word.lower() in _TRUTHS:
            return _TRUTHS[word.lower()]
        if part is str:
            return word
        if part in (int, float):
            try:
                number = part(word)
            except ValueError:
                continue
            if math.isfinite(number):
                return number
    raise ValueError(f"{name} is '{word}', expected {_wanted(hint)}.")
