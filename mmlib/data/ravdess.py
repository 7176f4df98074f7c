"""RAVDESS by its file names: what each recording is, which ones to take, and who is in which part.

A name is seven numbers: modality, vocal channel, emotion, intensity, statement, repetition, actor.
Each take was released three times, as 01 (sound and picture), 02 (picture alone) and 03 (sound
alone); to take more than one of them counts it twice.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from mmlib.data.acted import Found, check_actors, part_of, recordings, refuse_nothing
from mmlib.data.clip_table import Clip
from mmlib.data.feature_set import FeatureError, listed

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
STATEMENTS = ("Kids are talking by the door.", "Dogs are sitting by the door.")
CHANNELS = ("speech", "song")
ACTORS = tuple(range(1, 25))

#: A-28: 16 actors to train on, 4 and 4 to choose and to test by; odd numbers are men, even women.
TEST_ACTORS, VALID_ACTORS = (1, 2, 3, 4), (5, 6, 7, 8)

_AUDIO_VIDEO, _VIDEO, _AUDIO = 1, 2, 3
_STREAMS = {_AUDIO_VIDEO: ("audio", "vision"), _AUDIO: ("audio",), _VIDEO: ("vision",)}
_NAME = re.compile(r"-".join([r"(\d\d)"] * 7))


class Name(NamedTuple):
    """The seven numbers of a file name."""

    modality: int
    channel: int
    emotion: int
    intensity: int
    statement: int
    repetition: int
    actor: int

    @property
    def label(self) -> str:
        """The emotion as a word."""
        return EMOTIONS[self.emotion - 1]

    @property
    def text(self) -> str:
        """What is said or sung."""
        return STATEMENTS[self.statement - 1]

    def __str__(self) -> str:
        """The name as it stands in a folder, without its ending."""
        return "-".join(f"{number:02d}" for number in self)


def parse_name(stem: str) -> Name | None:
    """Read a file name without its ending; None where it is not of the data set."""
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    name = Name(*map(int, match.groups()))
    bounds = (3, len(CHANNELS), len(EMOTIONS), 2, len(STATEMENTS), 2, len(ACTORS))
    good = all(1 <= number <= most for number, most in zip(name, bounds, strict=True))
    return name if good and _was_recorded(name) else None


def official_names(channel: str = "speech", modality: int = _AUDIO_VIDEO) -> Iterator[Name]:
    """Give the names of the complete data set, by its rules and not from a list.

    Neutral was not played strongly; disgust and surprise were not sung; actor 18 did not sing.
    """
    twice = (1, 2)
    numbers = itertools.product(ACTORS, range(1, len(EMOTIONS) + 1), twice, twice, twice)
    for actor, emotion, intensity, statement, repetition in numbers:
        name = Name(modality, _channel(channel), emotion, intensity, statement, repetition, actor)
        if _was_recorded(name):
            yield name


def official_counts(channel: str = "speech") -> dict[str, int]:
    """Count the takes of each emotion in the complete data set (A-27)."""
    return dict(Counter(name.label for name in official_names(channel)))


def class_names(channel: str = "speech") -> tuple[str, ...]:
    """Name the emotions of a channel in the order of their numbers."""
    return tuple(official_counts(channel))


def find_clips(
    root: str | Path,
    *,
    channel: str = "speech",
    valid_actors: Collection[int] = VALID_ACTORS,
    test_actors: Collection[int] = TEST_ACTORS,
) -> Found:
    """Find the clips of one channel in a folder, each take once, and split them by actor.

    Where there is any recording with sound and picture (01), only those are taken; where there is
    none, sound alone (03), else picture alone (02). A copy in another folder counts once.

    Choices:
        A-28: the split is by actor, and says which. A-29: a sound never counts twice.

    Raises:
        FeatureError: no folder, no recording of this channel in it, or an impossible split.
    """
    check_actors(ACTORS, valid_actors, test_actors)
    by_modality: dict[int, dict[tuple[int, ...], Path]] = {1: {}, 2: {}, 3: {}}
    strange = []
    for path in recordings(root):
        name = parse_name(path.stem)
        if name is None:
            strange.append(path.name)
        elif name.channel == _channel(channel):
            by_modality[name.modality].setdefault(name[1:], path)
    modality = next((kind for kind in _STREAMS if by_modality[kind]), _AUDIO_VIDEO)
    chosen = by_modality[modality]
    named = sorted((Name(modality, *take), path) for take, path in chosen.items())
    clips = [
        Clip(
            name=str(name),
            path=path,
            text=name.text,
            label=name.label,
            split=part_of(name.actor, valid_actors, test_actors),
            group=f"actor{name.actor:02d}",
        )
        for name, path in named
    ]
    example = f"01-{_channel(channel):02d}-06-01-02-01-12.mp4 ({channel})"
    refuse_nothing(root, clips, strange, example)
    others = {str(Name(kind, *take)): take for kind, some in by_modality.items() for take in some}
    left_out = sorted(name for name, take in others.items() if take not in chosen)
    return Found(clips, _STREAMS[modality], strange, left_out)


def _was_recorded(name: Name) -> bool:
    """Say whether the data set has such a take."""
    if name.label == "neutral" and name.intensity == 2:
        return False
    return name.channel == 1 or (name.label not in ("disgust", "surprised") and name.actor != 18)


def _channel(channel: str) -> int:
    if channel not in CHANNELS:
        raise FeatureError(f"the channel is '{channel}', expected one of {listed(CHANNELS)}.")
    return CHANNELS.index(channel) + 1
