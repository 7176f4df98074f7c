"""Checks of lesson 00: which clips disagree with themselves, and how often a model is right."""

from typing import Any

import torch
from torch import Tensor

from mmlib.checks import expect
from mmlib.checks.framework import exercise


def disagree(words: Tensor, voice: Tensor, face: Tensor) -> Tensor:
    """Say for each clip whether its three channels show more than one emotion."""
    return (words != voice) | (voice != face)


@exercise("00.1", title="clips that disagree with themselves", reference=disagree)
def check_disagree(answer: Any) -> None:
    """Try all five ways in which three channels can agree, then many clips at once."""
    expect.is_callable(answer, name="disagree")
    five = torch.tensor([[3, 3, 3], [3, 3, 6], [3, 6, 3], [6, 3, 3], [3, 0, 6]])
    told = (
        "nobody differs", "only the face differs", "only the voice differs",
        "only the words differ", "all three differ",
    )  # fmt: skip
    words, voice, face = five.T.contiguous()
    with expect.inputs_left_alone(hint=1, words=words, voice=voice, face=face):
        came = answer(words, voice, face)
    tried = "five clips, the tensors words, voice and face of shape (5,)"
    expect.shape(came, (5,), tried=tried, hint=1)
    expect.that(
        came.dtype == torch.bool,
        "a tensor of dtype torch.bool: True or False for each clip",
        got=f"dtype {came.dtype}",
        tried=tried,
        hint=1,
    )
    expect.like(came.int(), words.int(), tried=tried, hint=1)
    for clip, (shown, right) in enumerate(zip(told, (0, 1, 1, 1, 1), strict=True)):
        expect.that(
            bool(came[clip]) is bool(right),
            f"{bool(right)} for clip {clip}",
            got=f"{bool(came[clip])}",
            tried=f"words {five[clip, 0]}, voice {five[clip, 1]}, face {five[clip, 2]}: {shown}",
            hint=2 if clip in (0, 4) else 3,
        )
    fresh = expect.Fresh(1)
    for count, emotions in ((29, 2), (1, 8), (13, 8)):
        words, voice, face = fresh.integers(3, count, high=emotions)
        expect.close(
            answer(words, voice, face).int(),
            disagree(words, voice, face).int(),
            name="disagree(words, voice, face)",
            tried=f"{count} clips that show {emotions} emotions",
            hint=3,
        )


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of clips whose largest logit is that of the true class."""
    return (logits.argmax(dim=-1) == labels).float().mean()


@exercise("00.2", title="the share of clips that a model gets right", reference=accuracy)
def check_accuracy(answer: Any) -> None:
    """Try a batch that can be counted on one hand, then sizes that all differ."""
    expect.is_callable(answer, name="accuracy")
    logits = torch.tensor([[0.1, 2.0, 0.3], [1.5, 0.2, 0.1], [0.0, 0.4, 0.9], [3.0, 1.0, 2.0]])
    labels = torch.tensor([1, 0, 1, 2])
    tried = "logits (4 clips, 3 classes) of which the first two are right and the others wrong"
    with expect.inputs_left_alone(hint=3, logits=logits, labels=labels):
        came = answer(logits, labels)
    expect.close(came, 0.5, name="accuracy(logits, labels)", tried=tried, hint=2)
    fresh = expect.Fresh(2)
    for clips, classes in ((7, 5), (11, 3), (8, 8), (1, 13)):
        logits, labels = fresh.normal(clips, classes), fresh.integers(clips, high=classes)
        labels[::2] = logits[::2].argmax(dim=-1)  # at least half of them right
        tried = f"logits of shape ({clips}, {classes}), labels of shape ({clips},)"
        expect.close(
            answer(logits, labels),
            (logits.argmax(dim=-1) == labels).float().mean().item(),
            name="accuracy(logits, labels)",
            tried=tried,
            hint=1 if clips == classes else 2,
        )
