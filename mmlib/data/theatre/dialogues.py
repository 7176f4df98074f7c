"""Dialogues: a turn's emotion depends on the last one's, so the turns around it tell something.

Along a dialogue the emotion is a Markov chain: with probability `stick` the last one again, else a
new one from the prior. What the context adds to a turn is found exactly by the forward-backward
recursion. The dialogues are synthetic.
"""

import functools

import numpy as np

from mmlib.data.theatre.displays import Cues, draw_cues
from mmlib.data.theatre.posteriors import emotion_likelihood
from mmlib.data.theatre.script import Script
from mmlib.data.theatre.tables import by_class


def transitions(script: Script) -> np.ndarray:
    """P(next emotion | this one), (E, E)."""
    prior = np.array(script.emotion_prior)
    return script.stick * np.eye(len(prior)) + (1 - script.stick) * prior


def forward_backward(likelihood: np.ndarray, prior: np.ndarray, step: np.ndarray) -> np.ndarray:
    """P(emotion of each turn | the whole dialogue).

    Shape:
        likelihood (N, turns, E) of what each turn shows, prior (E,), step (E, E) -> (N, turns, E)
    """
    turns = likelihood.shape[1]
    past = np.empty_like(likelihood)
    future = np.ones_like(likelihood)
    for t in range(turns):
        expected = np.broadcast_to(prior, past[:, 0].shape) if t == 0 else past[:, t - 1] @ step
        past[:, t] = expected * likelihood[:, t]
        past[:, t] /= past[:, t].sum(1, keepdims=True)
    for t in range(turns - 2, -1, -1):
        future[:, t] = (future[:, t + 1] * likelihood[:, t + 1]) @ step.T
        future[:, t] /= future[:, t].sum(1, keepdims=True)
    belief = past * future
    return belief / belief.sum(2, keepdims=True)


def context_posterior(cues: Cues, subset: tuple[str, ...]) -> np.ndarray:
    """P(class of each turn | its whole dialogue), (N, C); incomplete dialogues are cut off.

    Shape:
        (N, C), where N is the number of turns in whole dialogues.
    """
    script = cues.script
    whole = len(cues) // script.turns * script.turns
    likelihood = emotion_likelihood(cues, subset)[:whole]
    belief = forward_backward(
        likelihood.reshape(-1, script.turns, likelihood.shape[1]),
        np.array(script.emotion_prior),
        transitions(script),
    )
    return by_class(script, belief.reshape(whole, -1).T).T


@functools.lru_cache(maxsize=64)
def context_accuracy(
    script: Script, subset: tuple[str, ...], *, n: int = 800, seed: int = 0
) -> tuple[float, float]:
    """The best accuracy of who sees whole dialogues, and its standard error over n dialogues."""
    best = context_posterior(draw_cues(script, n * script.turns, seed), subset).max(1)
    means = best.reshape(n, script.turns).mean(1)
    return float(means.mean()), float(means.std(ddof=1) / n**0.5)
