"""What data sets of acted emotion share: recordings in folders, one a take, and splits by actor."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from mmlib.data.clip_table import ENDINGS, Clip, is_hidden
from mmlib.data.feature_set import FeatureError, listed


class Found(NamedTuple):
    """What a folder holds of a data set.

    Attributes:
        clips: one a take, in the order of their names.
        streams: what each of these clips has, of audio and vision.
        strange: recordings whose names are not of the data set; they are not used.
        left_out: takes that are there only in a form that the other clips are not, such as sound
            alone in a folder of videos.
    """

    clips: list[Clip]
    streams: tuple[str, ...]
    strange: list[str]
    left_out: list[str]


def recordings(root: str | Path) -> list[Path]:
    """List the recordings in a folder and its folders, as archives unpack, in a fixed order.

    Raises:
        FeatureError: there is no such folder, or no recording in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise FeatureError(f"{root} is not a folder, expected the one with the recordings.")
    found = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in ENDINGS and not is_hidden(path.relative_to(root))
    )
    if not found:
        raise FeatureError(
            f"there is no recording (such as .mp4, .flv or .wav) in {root} or its folders; unpack "
            "the archives there."
        )
    return found


def part_of(actor: int, valid: Collection[int], test: Collection[int]) -> str:
    """Say in which part an actor's clips are: those of neither `valid` nor `test` train."""
    return "valid" if actor in valid else "test" if actor in test else "train"


def check_actors(known: Collection[int], valid: Collection[int], test: Collection[int]) -> None:
    """Refuse a split that puts an actor into two parts, or names one that does not exist.

    Raises:
        FeatureError: it does, or it leaves no actor to train on.
    """
    both = sorted(set(valid) & set(test))
    if both:
        raise FeatureError(
            f"actor {both[0]} is named for valid and for test; an actor can stand in one part only."
        )
    strange = sorted((set(valid) | set(test)) - set(known))
    if strange:
        raise FeatureError(
            f"there is no actor {strange[0]}; the actors are {min(known)} to {max(known)}."
        )
    if not set(known) - set(valid) - set(test):
        raise FeatureError("all actors are in valid or test, so that none is left to train on.")


def refuse_nothing(root: str | Path, clips: list[Clip], strange: list[str], example: str) -> None:
    """Refuse a folder in which no recording is of the data set.

    Raises:
        FeatureError: `clips` is empty.
    """
    if not clips:
        names = f"; found {listed(strange)}" if strange else ""
        raise FeatureError(f"no recording in {root} has a name such as {example}{names}.")
