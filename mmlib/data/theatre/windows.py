"""Windows of a dialogue: each turn with those before and after it, as a model of context sees it.

A turn becomes one step, the mean of its real steps, and a sample the turn between its neighbours. What
lies beyond an end of the dialogue has a mask of False. The dialogues are synthetic.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmlib.data.feature_set import FeatureSet
from mmlib.data.theatre.dialogues import forward_backward, transitions
from mmlib.data.theatre.displays import Cues, draw_cues
from mmlib.data.theatre.posteriors import emotion_likelihood
from mmlib.data.theatre.script import MODALITIES, Script
from mmlib.data.theatre.tables import by_class

if TYPE_CHECKING:
    from mmlib.data.theatre.clips import Clips


def window_rows(
    dialogue: np.ndarray, turn: np.ndarray, *, before: int, after: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of each turn's neighbours, and which of them there are.

    The turns may come in any order, and some may be absent; a neighbour that is not there gets row 0.

    Shape:
        dialogue, turn: `(N,)`; returns rows `(N, before + 1 + after)` and whether they are there.

    Raises:
        ValueError: a number below zero, or a turn that comes twice.
    """
    if before < 0 or after < 0:
        raise ValueError(f"before and after count turns, from 0; they came as {before}, {after}.")
    stride = int(turn.max()) + 1 + before + after  # no neighbour reaches into another dialogue
    own = dialogue.astype(np.int64) * stride + turn + before
    order = np.argsort(own, kind="stable")
    known = own[order]
    if (known[1:] == known[:-1]).any():
        raise ValueError("a turn of a dialogue comes twice; give each turn once.")
    wanted = own[:, None] + np.arange(-before, after + 1)
    place = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    there = known[place] == wanted
    return np.where(there, order[place], 0), there


def dialogue_windows(
    clips: Clips, *, before: int = 5, after: int = 5, modalities: Sequence[str] | None = None
) -> FeatureSet:
    """Give each turn in its context: `before` turns before it, the turn itself, `after` turns after it.

    A turn's features are the means over its words, its voice (`audio="units"`) and its frames. The
    label, the id and the split are the turn's own, the group is its dialogue; `label_step` is `before`.
    A modality that did not arrive, and a turn beyond an end of the dialogue, have a mask of False.

    Args:
        clips: turns of dialogues, such as `theatre.make("conversations")`.
        before: how many turns of the past.
        after: how many turns of the future, which only those know who come later.
        modalities: which ones; None for those that the script is about.

    Shape:
        text (N, W, 32), audio (N, W, 10), vision (N, W, 16), with W = before + 1 + after.

    Raises:
        ValueError: clips without dialogues, or a number below zero.
    """
    if clips.dialogue is None or clips.turn is None:
        raise ValueError(
            f"only dialogues have windows; {clips.script.name!r} has turns=0, try 'conversations'."
        )
    turns = clips.features(modalities=modalities, audio="units")
    rows, there = window_rows(
        clips.dialogue.numpy(), clips.turn.numpy(), before=before, after=after
    )
    here, real = torch.from_numpy(rows), torch.from_numpy(there)
    inputs: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for name in turns.modalities:
        steps, mask = turns.inputs[name][:].float(), turns.masks[name]
        total = (steps * mask[..., None]).sum(1)
        mean = total / mask.sum(1, keepdim=True).clamp(min=1)
        masks[name] = mask.any(1)[here] & real
        inputs[name] = mean[here].masked_fill(~masks[name][..., None], 0.0)
    return FeatureSet(
        inputs=inputs,
        masks=masks,
        labels=turns.labels,
        class_names=turns.class_names,
        split=turns.split,
        group=turns.group,
        ids=turns.ids,
        label_step=before,
        name=f"theatre {clips.script.name}, {before} turns before and {after} after",
    )


def window_beliefs(cues: Cues, subset: tuple[str, ...], before: int, after: int) -> np.ndarray:
    """P(class of each turn | its window), (N, C), by forward and backward steps inside the window.

    A turn that is not there says nothing: its likelihood is 1 for every emotion. The chain is
    stationary, so that it may begin in front of the dialogue.
    """
    script = cues.script
    rows, there = window_rows(cues.dialogue, cues.turn, before=before, after=after)
    likelihood = emotion_likelihood(cues, subset)[rows]
    likelihood[~there] = 1.0
    belief = forward_backward(likelihood, np.array(script.emotion_prior), transitions(script))
    return by_class(script, belief[:, before].T).T


def window_posterior(
    clips: Clips, modalities: Sequence[str] = MODALITIES, *, before: int = 5, after: int = 5
) -> Tensor:
    """What an ideal observer of each turn's window believes about its label.

    Args:
        clips: turns of dialogues.
        modalities: what the observer has access to, in all turns of the window.
        before: how many turns of the past.
        after: how many turns of the future.

    Shape:
        (N, C), rows sum to one; float64.

    Raises:
        ValueError: no such modality, clips without dialogues, or a number below zero.
    """
    if not modalities or not set(modalities) <= set(MODALITIES):
        raise ValueError(f"modalities must be some of {MODALITIES}, not {modalities!r}.")
    if not clips.script.turns:
        raise ValueError(
            f"only dialogues have windows; {clips.script.name!r} has turns=0, try 'conversations'."
        )
    belief = window_beliefs(clips.cues, tuple(modalities), before, after)
    return torch.from_numpy(belief[clips.index])


@functools.lru_cache(maxsize=64)
def window_accuracy(
    script: Script, subset: tuple[str, ...], window: tuple[int, int], *, n: int = 800, seed: int = 0
) -> tuple[float, float]:
    """The best accuracy of who sees such windows, and its standard error over n dialogues."""
    cues = draw_cues(script, n * script.turns, seed)
    best = window_beliefs(cues, subset, *window).max(1)
    means = best.reshape(n, script.turns).mean(1)
    return float(means.mean()), float(means.std(ddof=1) / n**0.5)
