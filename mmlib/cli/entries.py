"""What `prepare` needs to know of a data set: add an entry to `DATASETS` in `mmlib.cli.prepare`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mmlib.data import FeatureSet
    from mmlib.data.clip_streams import Failure


class Made(NamedTuple):
    """What a data set's entry made.

    Attributes:
        features: what goes into the feature file.
        notes: sentences for the user, without the command's name and in the order to be said.
        failures: every stream of every clip that could not be had.
        left_out: the clips of which no stream could be had.
        written: the features stand in `--out` already, which is a feature folder.
    """

    features: FeatureSet
    notes: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    left_out: Sequence[str] = ()
    written: bool = False


class Entry(NamedTuple):
    """A data set that `prepare` knows.

    Attributes:
        about: a line for the help.
        add: declares options on the command's parser (in a group of its own, if it has any); the
            same function may stand in several entries and is called once. `--dataset`, `--root`,
            `--out` and `--quiet` are there already.
        make: reads `options.root` and makes the features; refuses by a ValueError of one sentence.
        folders: `--out` may be a feature folder, too, which `make` writes itself.
        table: writes a table of clips, for `extract`, where `--out` is a csv file, and gives the
            sentences to be said.
        takes: options (as in `options.valid_actors`) that other entries declare and `make` reads,
            too. Any other of theirs is refused.
    """

    about: str
    add: Callable[[Any], None] | None
    make: Callable[[argparse.Namespace], Made]
    folders: bool = False
    table: Callable[[argparse.Namespace], Sequence[str]] | None = None
    takes: Sequence[str] = ()
