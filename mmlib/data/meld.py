"""MELD by its own csv files: utterances of dialogues, with who speaks, what was said before, a label.

The release has a csv file for each split and a folder of clips for each; `mmlib.data.meld_clips`
finds the clips.

*Source*: Poria and others (2019), ACL, 527 to 536; the annotations are under the GPL-3.0.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from mmlib.data.clip_table import Clip, is_hidden
from mmlib.data.feature_set import FeatureError, listed

#: In the order of the ledger's table of counts; a feature file has them as 0 to 6.
EMOTIONS = ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust")
SENTIMENTS = ("neutral", "positive", "negative")

#: The csv file of each split; the release says dev where feature files say valid.
FILES = {
    "train": "train_sent_emo.csv",
    "valid": "dev_sent_emo.csv",
    "test": "test_sent_emo.csv",
}

#: The folder of clips of each split in the release.
FOLDERS = {
    "train": "train_splits",
    "valid": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}

#: How many utterances of each emotion the release has, in the order of `EMOTIONS`.
RELEASED_COUNTS = {
    "train": (4710, 1743, 683, 1109, 1205, 268, 271),
    "valid": (470, 163, 111, 153, 150, 40, 22),
    "test": (1256, 402, 208, 345, 281, 50, 68),
}

#: Earlier utterances that a history holds, as in the text model of the fusion's paper (E-21).
HISTORY = 5

_COLUMNS = (
    *("Utterance", "Speaker", "Emotion", "Sentiment"),
    *("Dialogue_ID", "Utterance_ID", "StartTime", "EndTime"),
)
_TIME = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})(?:[,.:](\d{1,3}))?")
# Windows' signs for quotes and dashes, where someone read them as Latin-1: bytes 0x80 to 0x9f.
_WINDOWS = {
    number: character
    for number in range(0x80, 0xA0)
    if (character := bytes([number]).decode("cp1252", "ignore"))
}


class Turn(NamedTuple):
    """Who said what."""

    speaker: str
    sentence: str


@dataclass(frozen=True)
class Utterance:
    """An utterance of a dialogue, and what a system may know of it.

    Attributes:
        dialogue, number: of its split; numbers grow with time, but some are left out.
        speaker, sentence: who says what.
        emotion: one of `EMOTIONS`; sentiment: one of `SENTIMENTS`.
        split: train, valid (the release's dev) or test.
        start, end: seconds of the episode, by the csv file; NaN where it does not tell.
        clip: the recording; None where clips were not looked for.
        history: what was said before in this dialogue, oldest first, the last five at most.
        reply: what is said next in this dialogue, None after its last utterance. It lies in the
            future: a system that has to answer at once has not heard it yet (E-22).
    """

    dialogue: int
    number: int
    speaker: str
    sentence: str
    emotion: str
    sentiment: str
    split: str
    start: float
    end: float
    clip: Path | None = None
    history: tuple[Turn, ...] = ()
    reply: Turn | None = None

    @property
    def id(self) -> str:
        """Name it as no utterance of another split is named: train_dia0_utt1."""
        return f"{self.group}_utt{self.number}"

    @property
    def group(self) -> str:
        """Name its dialogue as no dialogue of another split is named: train_dia0."""
        return f"{self.split}_dia{self.dialogue}"

    @property
    def seconds(self) -> float:
        """How long it lasts, by the csv file."""
        return self.end - self.start

    @property
    def label(self) -> int:
        """The number of its emotion."""
        return EMOTIONS.index(self.emotion)

    def as_clip(self) -> Clip:
        """Give what a preparation of clips has to know of it."""
        return Clip(self.id, self.clip, self.sentence, self.emotion, self.split, self.group)


class Sentences(NamedTuple):
    """What the csv files in a folder say.

    Attributes:
        utterances: split by split, and in it dialogue by dialogue as they were spoken.
        files: split -> the csv file that was read; a split without a file is not there.
        timeless: the names of utterances whose time stamps cannot be right.
    """

    utterances: list[Utterance]
    files: dict[str, Path]
    timeless: list[str]

    def incomplete(self) -> str:
        """Say in one sentence in which splits the counts are not the release's; empty if in none."""
        told = []
        for split in self.files:
            emotions = [one.emotion for one in self.utterances if one.split == split]
            found = tuple(emotions.count(emotion) for emotion in EMOTIONS)
            if found != RELEASED_COUNTS[split]:
                told.append(f"{split} has {sum(found):,} of {sum(RELEASED_COUNTS[split]):,}")
        absent = [f"{split} has no {FILES[split]}" for split in FILES if split not in self.files]
        parts = "; ".join([*told, *absent])
        return f"these are not all the utterances that were released: {parts}." if parts else ""


def read_sentences(root: str | Path, *, history: int = HISTORY) -> Sentences:
    """Read the csv files in a folder and its folders, those of `FILES` that are there.

    Args:
        root: such as the unpacked archive, or `data/MELD` of the authors' repository.
        history: how many earlier utterances of its dialogue each knows, at most.

    Choices:
        E-21: a history of five. E-22: the reply is given, and whether it is used is another's choice.

    Raises:
        FeatureError: there is no such folder or none of the files in it, or one cannot be used.
    """
    root = Path(root)
    if not root.is_dir():
        raise FeatureError(f"{root} is not a folder, expected the one with MELD's csv files.")
    files, utterances, timeless = {}, [], []
    for split, name in FILES.items():
        found = sorted(_below(root, name), key=lambda path: (len(path.parts), path))
        if not found:
            continue
        others = [path for path in found[1:] if path.read_bytes() != found[0].read_bytes()]
        if others:
            raise FeatureError(
                f"{found[0]} and {others[0]} differ; leave only the one of them that is wanted."
            )
        files[split] = found[0]
        some = read_csv(found[0], split, history=history)
        utterances += some
        timeless += [one.id for one in some if not one.seconds > 0]
    if not files:
        raise FeatureError(
            f"there is none of {listed(list(FILES.values()))} in {root} or its folders."
        )
    return Sentences(utterances, files, timeless)


def read_csv(path: str | Path, split: str, *, history: int = HISTORY) -> list[Utterance]:
    """Read one of MELD's csv files.

    The text is UTF-8, or Windows-1252 as in some copies, or a mixture, or UTF-8 made of Windows-1252
    taken for Latin-1: in each the apostrophe of "It\u2019s" comes out as such.

    Args:
        path: the file.
        split: train, valid or test, which names the utterances.
        history: how many earlier utterances of its dialogue each knows, at most.

    Raises:
        FeatureError: the file cannot be read, a column is missing, a row is cut off or cannot be
            understood, or two rows are of one utterance.
    """
    path = Path(path)
    if history < 0:
        raise FeatureError(f"history is {history}, expected 0 or more utterances.")
    dialogues: dict[int, dict[int, Utterance]] = {}
    for line, row in _rows(path):
        one = _utterance(row, split, f"{path}, line {line}")
        numbers = dialogues.setdefault(one.dialogue, {})
        if one.number in numbers:
            raise FeatureError(
                f"{path}, line {line}: dialogue {one.dialogue}, utterance {one.number} stands in a "
                "line before, too."
            )
        numbers[one.number] = one
    if not dialogues:
        raise FeatureError(f"{path} has a header but no utterances.")
    return [
        one
        for _, numbers in sorted(dialogues.items())
        for one in _linked([numbers[number] for number in sorted(numbers)], history)
    ]


def _linked(dialogue: Sequence[Utterance], history: int) -> Iterator[Utterance]:
    """Let each utterance of a dialogue know what was said before it and next."""
    turns = [Turn(one.speaker, one.sentence) for one in dialogue]
    for place, one in enumerate(dialogue):
        before = tuple(turns[max(0, place - history) : place])
        reply = turns[place + 1] if place + 1 < len(turns) else None
        yield replace(one, history=before, reply=reply)


def _utterance(row: dict[str, str], split: str, where: str) -> Utterance:
    """Understand a row."""
    emotion, sentiment = row["Emotion"].lower(), row["Sentiment"].lower()
    for word, known, column in (
        (emotion, EMOTIONS, "Emotion"),
        (sentiment, SENTIMENTS, "Sentiment"),
    ):
        if word not in known:
            raise FeatureError(f"{where}: the {column} is '{word[:40]}', expected {listed(known)}.")
    for column in ("Dialogue_ID", "Utterance_ID"):
        if not re.fullmatch(r"[0-9]{1,9}", row[column]):
            raise FeatureError(
                f"{where}: the {column} is '{row[column][:40]}', expected a whole number."
            )
    return Utterance(
        dialogue=int(row["Dialogue_ID"]),
        number=int(row["Utterance_ID"]),
        speaker=row["Speaker"],
        sentence=row["Utterance"],
        emotion=emotion,
        sentiment=sentiment,
        split=split,
        start=_seconds(row["StartTime"]),
        end=_seconds(row["EndTime"]),
    )


def _seconds(stamp: str) -> float:
    """Turn 0:16:21,731 into 981.731; NaN where it is no time."""
    match = _TIME.fullmatch(stamp)
    if match is None:
        return math.nan
    hours, minutes, seconds = (int(part) for part in match.groups()[:3])
    return hours * 3600 + minutes * 60 + seconds + float(f"0.{match[4] or 0}")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Give each row with its line, and refuse one that has not the header's number of cells."""
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        names = {name.lower(): name for name in _COLUMNS}
        header = [names.get(cell.lower(), cell) for cell in header]
        missing = [name for name in _COLUMNS if name not in header]
        if missing:
            raise FeatureError(
                f"{path} has no column {listed(missing)}; its header is {listed(header) or 'empty'}."
            )
        twice = [name for name in _COLUMNS if header.count(name) > 1]
        if twice:
            raise FeatureError(f"{path} has the column {twice[0]} twice.")
        for cells in reader:
            if len(cells) != len(header) and any(cell.strip() for cell in cells):
                raise FeatureError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells but the header has "
                    f"{len(header)}; the file is cut off or damaged there, fetch it again."
                )
            if any(cell.strip() for cell in cells):
                yield reader.line_num, dict(zip(header, map(str.strip, cells), strict=True))
        if text.endswith(","):  # the last row has all its commas, and ends behind them
            raise FeatureError(
                f"{path}, line {reader.line_num}: the file is cut off there, fetch it again."
            )
    except csv.Error as error:
        raise FeatureError(
            f"{path}, line {reader.line_num}: this is no whole row of a csv file ({error}); fetch "
            "the file again."
        ) from None


def _text(path: Path) -> str:
    """Read a file's text, whatever became of Windows' apostrophes in it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FeatureError(f"{path} cannot be read ({error.strerror or error}).") from None
    try:
        return data.decode("utf-8-sig", "mmlib.windows").translate(_WINDOWS)
    except UnicodeDecodeError:
        raise FeatureError(
            f"{path} is neither UTF-8 nor Windows-1252; fetch the file again."
        ) from None


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    """Take bytes that are no UTF-8 for Windows-1252, though all else may be UTF-8."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252"), error.end


codecs.register_error("mmlib.windows", _as_windows)


def _below(root: Path, name: str) -> list[Path]:
    """Find the files of a name in a folder and its folders, hidden ones apart."""
    return [
        path
        for path in root.rglob(name)
        if path.is_file() and not is_hidden(path.relative_to(root))
    ]
