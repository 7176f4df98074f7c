"""Made-up conversations, as a data set's reader gives them, and feature sets of their tokens."""

import numpy as np
import torch

from mmlib.backbones.dialogues import WordTokenizer, encode_dialogues
from mmlib.data import FeatureSet
from mmlib.data.meld import EMOTIONS, Turn, Utterance

WORDS = (
    "yes",
    "no",
    "what",
    "oh",
    "my",
    "god",
    "you",
    "me",
    "we",
    "go",
    "now",
    "never",
    "there",
    "here",
)
#: The word that gives an emotion away.
TELLING = dict(zip(("fine", "great", "alas", "damn", "wow", "help", "yuck"), EMOTIONS, strict=True))


def dialogue(turns, *, number=0, split="train", history=5, emotions=None) -> list[Utterance]:
    """Link (speaker, sentence) pairs as the utterances of one dialogue."""
    turns = [Turn(*turn) for turn in turns]
    return [
        Utterance(
            dialogue=number,
            number=place,
            speaker=turn.speaker,
            sentence=turn.sentence,
            emotion="neutral" if emotions is None else emotions[place],
            sentiment="neutral",
            split=split,
            start=0.0,
            end=1.0,
            history=tuple(turns[max(0, place - history) : place]),
            reply=turns[place + 1] if place + 1 < len(turns) else None,
        )
        for place, turn in enumerate(turns)
    ]


def conversations(counts=(24, 7, 5), *, seed=0, classes=7) -> list[Utterance]:
    """Dialogues of two to six turns in each split, whose sentences end in a telling word."""
    draw = np.random.default_rng(seed)
    telling = list(TELLING.items())[:classes]
    found = []
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        for number in range(count):  # each split counts its dialogues from 0
            turns, emotions = [], []
            for _ in range(int(draw.integers(2, 7))):
                word, emotion = telling[draw.integers(classes)]
                words = [*draw.choice(WORDS, draw.integers(1, 5)), word]
                turns.append((str(draw.choice(["Ann", "Bob", "Cat"])), " ".join(words)))
                emotions.append(emotion)
            found += dialogue(turns, number=number, split=split, emotions=emotions)
    return found


def tokens(utterances, tokenizer=None, **options) -> FeatureSet:
    """Encode utterances as a feature file of raw text holds them."""
    known = tokenizer or WordTokenizer([*TELLING, *WORDS])
    encoded = encode_dialogues(utterances, known, **options)
    names = EMOTIONS[: 1 + max(one.label for one in utterances)]
    return FeatureSet(
        {"text": torch.from_numpy(encoded.tokens)},
        {"text": torch.from_numpy(encoded.mask)},
        torch.tensor([one.label for one in utterances]),
        names,
        split=np.array([one.split for one in utterances]),
        group=np.array([one.group for one in utterances]),
        ids=np.array([one.id for one in utterances]),
        name="conversations",
    )
