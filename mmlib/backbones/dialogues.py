"""Dialogues as whole numbers: history, sentence and reply in one row of tokens, beside a distractor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

#: The four numbers of a step: of the true candidate, then of the distractor.
TOKEN, SEGMENT, OTHER_TOKEN, OTHER_SEGMENT = range(4)


class DialogueError(ValueError):
    """Dialogues that cannot be encoded, or numbers that are none; the message is one sentence."""


class Spoken(Protocol):
    """What is read of an utterance, such as one of `mmlib.data.meld`.

    `history` is of utterances, oldest first, `reply` one or None.
    """

    @property
    def dialogue(self) -> Any:
        """Tell which dialogue it belongs to, within its split."""

    @property
    def split(self) -> str:
        """Tell its split."""

    @property
    def speaker(self) -> str:
        """Tell who says it."""

    @property
    def sentence(self) -> str:
        """Tell what is said."""

    @property
    def history(self) -> Sequence[Any]:
        """Tell what was said before, each with `speaker` and `sentence`."""

    @property
    def reply(self) -> Any:
        """Tell what is said next, with `speaker` and `sentence`; None after the last."""


class Tokenizer(Protocol):
    """What is asked of a tokenizer, a published one or `WordTokenizer`."""

    def __len__(self) -> int:
        """Count its entries."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Turn a text into numbers below the count."""


class SpecialTokens(NamedTuple):
    """The five tokens that a dialogue needs, numbered after the tokenizer's own.

    Source:
        The public recipe that the paper follows (Wolf et al., reference 47).

    Choices:
        E-21: no [CLS]; `eos` ends each row, and it is the state there that is classified.
    """

    bos: int
    eos: int
    speaker1: int
    speaker2: int
    pad: int

    @classmethod
    def after(cls, entries: int) -> SpecialTokens:
        """Number them after so many entries of a tokenizer."""
        return cls(*range(entries, entries + 5))

    @property
    def entries(self) -> int:
        """Count the tokenizer's own entries."""
        return self.bos

    @property
    def total(self) -> int:
        """Count all entries, these five among them."""
        return self.pad + 1


class EncodedDialogues(NamedTuple):
    """Rows for a feature file, one an utterance.

    Shape:
        tokens: (N, T, 4) int32: token and segment of the true candidate, token and segment of the
        distractor; where a row is over, all are `special.pad`
        masks: (N, T, 2) bool: which steps of the true candidate and of the distractor are real
        drawn: (N,) int64: which utterance each distractor's last sentence is
        cut: (N,) bool: something of the history, or of a sentence, was left out for want of room
    """

    tokens: np.ndarray
    masks: np.ndarray
    drawn: np.ndarray
    cut: np.ndarray
    special: SpecialTokens

    @property
    def mask(self) -> np.ndarray:
        """Give the stream's mask, (N, T): a step is real where it is of one candidate at least."""
        return np.asarray(self.masks.any(2))


class WordTokenizer:
    """The words of some texts, numbered by how often they occur: for a model that starts from nothing.

    It knows no published model's numbers. The number 0 stands for any word that it does not know.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Number these words from 1 on."""
        self._numbers = {word: number for number, word in enumerate(words, start=1)}

    @classmethod
    def learn(cls, texts: Iterable[str], *, least: int = 2, most: int = 5000) -> WordTokenizer:
        """Take the words that occur at least so often; of more than `most`, the most frequent."""
        counts = Counter(word for text in texts for word in _words(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls([word for word in ranked if counts[word] >= least][:most])

    def __len__(self) -> int:
        """Count the words, and the one number for all others."""
        return len(self._numbers) + 1

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Turn a text into numbers; there are no special tokens."""
        return [self._numbers.get(word, 0) for word in _words(text)]


def encode_dialogues(
    utterances: Sequence[Spoken],
    tokenizer: Tokenizer,
    *,
    use_reply: bool = False,
    history: int = 5,
    seed: int = 0,
    max_length: int = 128,
) -> EncodedDialogues:
    """Write each utterance with what was said before as a row of tokens, and a distractor beside it.

    A row is `bos`, then each utterance behind the token of its speaker, then `eos`. `speaker1` is who
    says the sentence that is judged, `speaker2` anybody else. The last utterance of a row is the
    candidate: the sentence itself or, with `use_reply`, the reply to it where there is one. In the
    distractor's row a sentence of another dialogue of the same split stands in its place, under the
    same speaker.

    Too long a row loses whole utterances of its history, the oldest first; only where the sentence
    (and the reply) alone are too long, words at their ends. The distractor takes the history that the
    true candidate has, and is itself cut where that leaves no room: the draw changes nothing of
    the true row.

    Args:
        utterances: of one split or more; dialogues are told apart within a split.
        tokenizer: a published one, or `WordTokenizer`.
        use_reply: append the next utterance. It knows the future: whoever must answer while a
            dialogue goes on cannot have it.
        history: utterances before the sentence, at most.
        seed: of the distractors.
        max_length: steps T at most.

    Source:
        Crossmodal transformer with EmbraceNet, section 4.1.1.

    Choices:
        E-21: layout and special tokens of the public recipe, five utterances of history. E-22:
        `use_reply` is off by default, since it leaks the future.

    Raises:
        DialogueError: no utterances, a split of a single dialogue, or no room for a sentence.
    """
    _check(utterances, use_reply, history, max_length)
    special = SpecialTokens.after(len(tokenizer))
    numbers: dict[str, list[int]] = {}

    def words(text: str) -> list[int]:
        if text not in numbers:
            numbers[text] = list(tokenizer.encode(text, add_special_tokens=False))
        return numbers[text]

    drawn = _draw(utterances, seed)
    rows: list[tuple[list[list[int]], list[list[int]]]] = []
    cut = np.zeros(len(utterances), dtype=bool)
    for index, one in enumerate(utterances):
        turns = [*one.history[max(0, len(one.history) - history) :], one]
        needed = 1
        if use_reply and one.reply is not None:
            turns, needed = [*turns, one.reply], 2
        parts = [(turn.speaker == one.speaker, words(turn.sentence)) for turn in turns]
        kept, cut[index] = _fit(parts, needed, max_length)
        room = max_length - 3 - sum(1 + len(part) for _, part in kept[:-1])
        other = (kept[-1][0], words(utterances[drawn[index]].sentence)[:room])
        rows.append((_row(kept, special), _row([*kept[:-1], other], special)))
    steps = max(len(row[0]) for pair in rows for row in pair)
    tokens = np.full((len(rows), steps, 4), special.pad, dtype=np.int32)
    masks = np.zeros((len(rows), steps, 2), dtype=bool)
    for index, pair in enumerate(rows):
        for candidate, row in enumerate(pair):
            tokens[index, : len(row[0]), 2 * candidate : 2 * candidate + 2] = np.transpose(row)
            masks[index, : len(row[0]), candidate] = True
    return EncodedDialogues(tokens, masks, drawn, cut, special)


def special_tokens(text: Tensor, mask: Tensor) -> SpecialTokens:
    """Find the special tokens in rows that `encode_dialogues` made, and check that they are such rows.

    Each row begins with `bos`, whose number is the count of the tokenizer's entries; so a file tells
    by itself for which vocabulary it was made.

    Shape:
        text (N, T, 4) of whole numbers; mask (N, T) bool

    Raises:
        DialogueError: the numbers are something else.
    """
    if text.ndim != 3 or text.shape[2] != 4 or text.is_floating_point():
        raise DialogueError(
            f"text is {text.dtype} of shape {tuple(text.shape)}, expected whole numbers (samples, "
            "steps, 4), the tokens that prepare --dataset meld --streams text writes."
        )
    there = mask.any(1)
    if not bool(there.any()):
        raise DialogueError("no sample has a real step of text, expected tokens of dialogues.")
    rows, real = text[there].long(), mask[there]
    first = real.int().argmax(1)
    special = SpecialTokens.after(int(rows[0, first[0], TOKEN]))
    opening = rows[torch.arange(len(rows)), first][:, [TOKEN, OTHER_TOKEN]]
    tokens, segments = rows[..., [TOKEN, OTHER_TOKEN]], rows[..., [SEGMENT, OTHER_SEGMENT]]
    inside = real[..., None] & (tokens != special.pad)
    speaks = (segments == special.speaker1) | (segments == special.speaker2)
    closed = ((tokens == special.eos) & inside).sum(1) == 1
    fits = (
        bool((opening == special.bos).all())
        and bool(((tokens >= 0) & (tokens <= special.pad) | ~inside).all())
        and bool((speaks | ~inside).all())
        and bool(closed.all())
    )
    if not fits:
        raise DialogueError(
            "text holds whole numbers that are no dialogues: each row should begin with the same "
            f"opening token (here {special.bos}), know no token above {special.pad}, have a speaker "
            "at each step and end once; write it again with prepare --dataset meld --streams text."
        )
    return special


def _words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text.lower())


def _check(utterances: Sequence[Spoken], use_reply: bool, history: int, max_length: int) -> None:
    """Refuse what cannot be encoded."""
    if not len(utterances):
        raise DialogueError("there are no utterances to encode.")
    if history < 0:
        raise DialogueError(f"history is {history}, expected 0 or more utterances.")
    least = 6 if use_reply else 4
    if max_length < least:
        raise DialogueError(
            f"max_length is {max_length}, expected {least} or more: an opening and a closing token, "
            "and a word behind its speaker."
        )


def _draw(utterances: Sequence[Spoken], seed: int) -> np.ndarray:
    """Draw for each utterance one of another dialogue of its split, that says something else."""
    drawn = np.zeros(len(utterances), dtype=np.int64)
    splits = np.array([one.split for one in utterances])
    said = np.array([one.sentence for one in utterances])
    generator = np.random.default_rng(seed)
    for split in np.unique(splits):
        own = np.flatnonzero(splits == split)
        dialogues = np.array([str(utterances[row].dialogue) for row in own.tolist()])
        number = np.unique(dialogues, return_inverse=True)[1]
        if number.max() == 0:
            raise DialogueError(
                f"all utterances of {split} are of one dialogue, expected two or more: a distractor "
                "is a sentence of another dialogue."
            )
        # In order of dialogues, each one's are a block: draw among the others, and step over it.
        order = np.argsort(number, kind="stable")
        size = np.bincount(number)
        start = np.cumsum(size) - size
        pool, block, begin = own[order], size[number], start[number]
        waiting = np.arange(len(own))
        for _ in range(20):  # "Yeah." would be no distractor beside "Yeah."
            pick = generator.integers(len(own) - block[waiting])
            pick += np.where(pick >= begin[waiting], block[waiting], 0)
            drawn[own[waiting]] = pool[pick]
            waiting = waiting[said[pool[pick]] == said[own[waiting]]]
            if not len(waiting):
                break
    return drawn


def _fit(
    parts: list[tuple[bool, list[int]]], needed: int, max_length: int
) -> tuple[list[tuple[bool, list[int]]], bool]:
    """Keep the last `needed` utterances, and as many before them as there is room for."""
    each = (max_length - 2) // needed - 1
    room = max_length - 2
    kept: list[tuple[bool, list[int]]] = []
    shortened = False
    for back, (own, words) in enumerate(reversed(parts)):
        if back < needed:
            total = sum(1 + len(part) for _, part in parts[-needed:])
            if total > max_length - 2 and len(words) > each:
                words, shortened = words[:each], True
        elif 1 + len(words) > room:
            return kept, True
        kept.insert(0, (own, words))
        room -= 1 + len(words)
    return kept, shortened


def _row(parts: list[tuple[bool, list[int]]], special: SpecialTokens) -> list[list[int]]:
    """Write utterances as tokens and segments."""
    tokens = [special.bos]
    segments: list[int] = []
    for own, words in parts:
        speaker = special.speaker1 if own else special.speaker2
        if not segments:
            segments.append(speaker)  # of the opening token
        tokens += [speaker, *words]
        segments += [speaker] * (1 + len(words))
    return [[*tokens, special.eos], [*segments, segments[-1]]]
