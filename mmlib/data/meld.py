"""MELD by its own csv files: utterances of dialogues, with who speaks, what was said before, and a label.

The release has a csv file for each split and a folder of clips for each; `mmlib.data.meld_clips`
finds the clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

EMOTIONS = ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust")
SENTIMENTS = ("neutral", "positive", "negative")


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
        start, end: seconds of the episode, by the csv file.
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
