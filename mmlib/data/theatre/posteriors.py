"""The ideal observer: the exact posterior of the felt emotion, given what one clip shows.

It reads the numbers behind face and voice before they are clipped to what can be drawn, and the
emotion words of the sentence. By the data-processing inequality nobody who sees pixels and hears
sound can know more.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmlib.data.theatre import motion
from mmlib.data.theatre.clips import Clips
from mmlib.data.theatre.displays import Cues, missing_rates
from mmlib.data.theatre.emotions import EMOTIONS, FACE, VOICE
from mmlib.data.theatre.script import MODALITIES
from mmlib.data.theatre.sentences import LEXICON, VOCABULARY
from mmlib.data.theatre.tables import (
    MARKER_CHANNEL,
    by_class,
    kernel,
    pick_weights,
    sequences,
    tone_given_irony,
    with_lips,
)


def _normal(squared: np.ndarray) -> np.ndarray:
    """Likelihoods up to a factor per clip, from squared distances (n, ..., E)."""
    return np.exp(-0.5 * (squared - squared.min(-1, keepdims=True)))


@functools.lru_cache(maxsize=1)
def _lexicon_of_word() -> np.ndarray:
    """The emotion of each word of the vocabulary, one column each, (words, 8)."""
    lists = [set(LEXICON[name]) for name in EMOTIONS]
    return np.array([[word in words for words in lists] for word in VOCABULARY], dtype=float)


def text_likelihood(cues: Cues) -> np.ndarray:
    """P(emotion words | display), up to a factor per clip, (N, E)."""
    noise, emotions = cues.script.word_noise, cues.script.emotions
    if noise == 0:
        return np.eye(len(emotions))[cues.displays["text"]]
    counts = _lexicon_of_word()[Clips(cues).tokens.numpy()].sum(1)  # (N, 8)
    hit = counts[:, [EMOTIONS.index(name) for name in emotions]]
    miss = counts.sum(1, keepdims=True) - hit
    return np.exp(hit * np.log(1 - noise + noise / 8) + miss * np.log(noise / 8))


def audio_likelihood(cues: Cues, *, known_actor: bool, offsets: np.ndarray) -> np.ndarray:
    """P(voice units | display), up to a factor per clip, (N, E).

    A known actor's offset of pitch is subtracted; a new one's is one more source of noise.
    """
    script, count = cues.script, len(cues.script.emotions)
    if script.voice_blur == 0:
        return np.eye(count)[cues.displays["audio"]]
    heard = motion.voice_signals(cues)
    variance = (script.voice_blur * motion.VOICE_SPREAD) ** 2
    if not known_actor:
        heard[:, 0] += offsets
        variance = variance.copy()
        variance[0] += (script.pitch_offset * motion.VOICE_SPREAD[0]) ** 2
    centres = VOICE.astype(np.float64)[motion.shown_emotion(cues, np.arange(count))]
    return _normal(((heard[:, None] - centres) ** 2 / variance).sum(-1))


def vision_likelihood(cues: Cues) -> np.ndarray:
    """P(face units | expression) at each moment, up to a factor, (N, J, E)."""
    script, count = cues.script, len(cues.script.emotions)
    if script.face_blur == 0:
        return np.eye(count)[cues.expressions]
    seen = motion.face_signals(cues)
    centres = FACE.astype(np.float64)[motion.shown_emotion(cues, np.arange(count))]
    scale = script.face_blur * motion.FACE_SPREAD
    return _normal((((seen[:, :, None] - centres) / scale) ** 2).sum(-1))


def _display_likelihood(
    cues: Cues,
    modality: str,
    subset: Sequence[str],
    *,
    known_actor: bool,
    offsets: np.ndarray,
) -> np.ndarray:
    """P(what one modality shows | display), up to a factor per clip, (N, E)."""
    if modality == "text":
        return text_likelihood(cues)
    if modality == "audio":
        return audio_likelihood(cues, known_actor=known_actor, offsets=offsets)
    moments = vision_likelihood(cues)
    n, count = len(cues), cues.script.moments
    planted: np.ndarray = moments[np.arange(n), cues.moment]
    if count == 1:
        return planted
    rows = sequences(cues.script)
    of_row = np.ones((n, len(rows)))
    for moment in range(count):
        of_row *= moments[:, moment, rows[:, moment]]
    unknown = of_row @ pick_weights(cues.script)
    marker = MARKER_CHANNEL[cues.script.marker]
    if marker not in subset:
        return unknown
    known = np.zeros_like(planted)
    for moment in range(count):  # the expressions of other moments must differ from this one's
        clips = cues.moment == moment
        for display in range(known.shape[1]):
            known[clips, display] = of_row[np.ix_(clips, rows[:, moment] == display)].sum(1)
    unknown[cues.arrives[marker]] = known[cues.arrives[marker]]
    return unknown


def emotion_likelihood(
    cues: Cues,
    subset: Sequence[str],
    *,
    known_actor: bool = False,
    offsets: np.ndarray | None = None,
) -> np.ndarray:
    """P(everything that some modalities show | felt), up to a factor per clip, (N, E).

    Where lips follow the voice, who sees the face is taken to know what is heard.
    """
    script, subset = with_lips(cues.script, tuple(subset))
    if script is not cues.script:
        heard = {**cues.arrives, "audio": np.ones(len(cues), dtype=bool)}
        cues = dataclasses.replace(cues, script=script, arrives=heard)
    count = len(script.emotions)
    offsets = motion.actor_offsets(cues) if offsets is None else offsets
    by_irony = np.ones((2, len(cues), count)) * np.array([1 - script.irony, script.irony]).reshape(
        2, 1, 1
    )
    for modality in subset:
        shown = kernel(script, modality)
        lost = missing_rates(script, modality)
        there = cues.arrives[modality][:, None]
        likelihood = _display_likelihood(
            cues, modality, subset, known_actor=known_actor, offsets=offsets
        )
        for irony in range(2):
            seen = (likelihood * (1 - lost)) @ shown[irony].T
            if modality == "audio":
                seen *= tone_given_irony(script)[irony, cues.tone.astype(int)][:, None]
            by_irony[irony] *= np.where(there, seen, shown[irony] @ lost)
    return by_irony.sum(0)


def class_posterior(
    cues: Cues,
    subset: Sequence[str],
    *,
    known_actor: bool = False,
    offsets: np.ndarray | None = None,
) -> np.ndarray:
    """P(class | what some modalities show), (N, C)."""
    script = cues.script
    prior = np.tile(script.emotion_prior, (len(cues), 1))
    if script.habit:
        own = np.eye(prior.shape[1])[cues.habits]  # (actors, E)
        every = own[cues.actor] if known_actor else own.mean(0)
        prior = (1 - script.habit) * prior + script.habit * every
    likelihood = emotion_likelihood(cues, subset, known_actor=known_actor, offsets=offsets)
    joint = by_class(script, (prior * likelihood).T).T
    return joint / joint.sum(1, keepdims=True)


def posterior(
    clips: Clips, modalities: Sequence[str] = MODALITIES, *, known_actor: bool = False
) -> Tensor:
    """What an ideal observer believes about the label of each clip.

    Args:
        clips: clips of any preset but traces.
        modalities: what the observer has access to.
        known_actor: whether the observer knows the actors' habits and pitch.

    Shape:
        (N, C), rows sum to one; float64.

    Raises:
        ValueError: no such modality, or clips without classes.
    """
    if not modalities or not set(modalities) <= set(MODALITIES):
        raise ValueError(f"modalities must be some of {MODALITIES}, not {modalities!r}.")
    if clips.class_names is None:
        raise ValueError("traces have no classes; use traces.posterior_mean for them.")
    belief = class_posterior(clips.cues, tuple(modalities), known_actor=known_actor)
    return torch.from_numpy(belief[clips.index])
