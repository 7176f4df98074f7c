"""CREMA-D by its file names: `1001_DFA_ANG_XX` is actor, sentence, emotion and intensity."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from mmlib.data.acted import Found, check_actors, part_of, recordings, refuse_nothing
from mmlib.data.clip_table import Clip

EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
ACTORS = tuple(range(1001, 1092))

#: 61 actors to train on, 15 and 15 to choose and to test by. The data set itself has no split.
TEST_ACTORS, VALID_ACTORS = tuple(range(1001, 1016)), tuple(range(1016, 1031))

# Where a take is there in several forms: sound and picture, else the sound that lost least.
_WITH_PICTURE = (".flv", ".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg")
_FORMS = (*_WITH_PICTURE, ".wav", ".flac")
# One released name ends in a single X.
_NAME = re.compile(
    rf"(\d{{4}})_({'|'.join(SENTENCES)})_({'|'.join(EMOTIONS)})_({'|'.join(INTENSITIES)}|X)"
)


class Name(NamedTuple):
    """The four parts of a file name."""

    actor: int
    sentence: str
    emotion: str
    intensity: str

    @property
    def label(self) -> str:
        """The emotion as a word."""
        return EMOTIONS[self.emotion]

    @property
    def text(self) -> str:
        """What is said."""
        return SENTENCES[self.sentence]


def parse_name(stem: str) -> Name | None:
    """Read a file name without its ending; None where it is not of the data set."""
    match = _NAME.fullmatch(stem)
    if match is None or int(match[1]) not in ACTORS:
        return None
    return Name(int(match[1]), match[2], match[3], "XX" if match[4] == "X" else match[4])


def class_names() -> tuple[str, ...]:
    """Name the six emotions in the order of their codes."""
    return tuple(EMOTIONS.values())


def find_clips(
    root: str | Path,
    *,
    valid_actors: Collection[int] = VALID_ACTORS,
    test_actors: Collection[int] = TEST_ACTORS,
) -> Found:
    """Find the clips in a folder, each take once, and split them by actor.

    The archive has each take as a video (flv) and twice as sound (wav, mp3). Where there is any
    video, only videos are taken; where there is none, sound.

    Choices:
        A-28, A-29: as for RAVDESS, a split by actor that says which, and no sound twice.

    Raises:
        FeatureError: no folder, no recording of the data set in it, or an impossible split.
    """
    check_actors(ACTORS, valid_actors, test_actors)
    takes: dict[Name, list[Path]] = {}
    strange = []
    for path in recordings(root):
        name = parse_name(path.stem)
        if name is None:
            strange.append(path.name)
        else:
            takes.setdefault(name, []).append(path)
    best = {name: min(paths, key=_rank) for name, paths in takes.items()}
    seen = any(path.suffix.lower() in _WITH_PICTURE for path in best.values())
    chosen = {
        name: path
        for name, path in best.items()
        if not seen or path.suffix.lower() in _WITH_PICTURE
    }
    clips = [
        Clip(
            name=path.stem,
            path=path,
            text=name.text,
            label=name.label,
            split=part_of(name.actor, valid_actors, test_actors),
            group=str(name.actor),
        )
        for name, path in sorted(chosen.items())
    ]
    refuse_nothing(root, clips, strange, "1001_DFA_ANG_XX.flv")
    left_out = sorted(path.stem for name, path in best.items() if name not in chosen)
    return Found(clips, ("audio", "vision") if seen else ("audio",), strange, left_out)


def _rank(path: Path) -> int:
    ending = path.suffix.lower()
    return _FORMS.index(ending) if ending in _FORMS else len(_FORMS)
