"""Features of staged clips: what a model is given where pixels and sound would take too long.

The stand-ins are synthetic and honest: word vectors know nothing of meaning, face units play a
detector of action units that never errs.
"""

import functools
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmlib.data.features import FeatureSet
from mmlib.data.theatre.displays import NUM_LIGHTS
from mmlib.data.theatre.emotions import FACE, VOICE
from mmlib.data.theatre.motion import FACE_SPREAD, VOICE_SPREAD
from mmlib.data.theatre.script import MODALITIES
from mmlib.data.theatre.sentences import VOCABULARY

if TYPE_CHECKING:
    from mmlib.data.theatre.clips import Clips

WORD_WIDTH = 32
#: Centre and half-width of a log-mel value, so that features are of unit size.
MEL_CENTRE, MEL_SPREAD = -4.0, 3.0


@functools.lru_cache(maxsize=4)
def word_vectors(width: int = WORD_WIDTH) -> Tensor:
    """A frozen table of word vectors, one row per word of the vocabulary, zeros for padding.

    Each vector is drawn from a standard normal seeded by its word, so that it knows nothing of the
    meaning and never changes: a stand-in for a pretrained embedding.

    Shape:
        (words, width)
    """
    table = torch.zeros(len(VOCABULARY), width)
    for place, word in enumerate(VOCABULARY[1:], start=1):
        draw = np.random.default_rng([zlib.crc32(b"word"), zlib.crc32(word.encode())])
        table[place] = torch.from_numpy(draw.standard_normal(width))
    return table


def clip_features(
    clips: "Clips", *, modalities: Sequence[str] | None, audio: str | None, vision: str
) -> FeatureSet:
    """The features of some clips; see `Clips.features`."""
    chosen = clips.script.modalities if modalities is None else tuple(modalities)
    if not chosen or not set(chosen) <= set(MODALITIES):
        raise ValueError(f"modalities must be some of {MODALITIES}, not {modalities!r}.")
    if clips.class_names is None and "text" in chosen:
        raise ValueError("traces have no text; ask for 'audio' and 'vision'.")
    audio = audio or ("log_mel" if clips.class_names is not None else "units")
    inputs: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for name in MODALITIES:
        if name not in chosen:
            continue
        if name == "text":
            inputs[name], masks[name] = word_vectors()[clips.tokens], clips.token_mask
        else:
            inputs[name] = _heard(clips, audio) if name == "audio" else _watched(clips, vision)
            masks[name] = torch.ones(inputs[name].shape[:2], dtype=torch.bool)
        there = clips.arrives[name]
        masks[name] = masks[name] & there[:, None]
        if not bool(there.all()):
            inputs[name] = inputs[name].masked_fill(
                ~there.reshape(-1, *[1] * (inputs[name].dim() - 1)), 0.0
            )
    return FeatureSet(
        inputs=inputs,
        masks=masks,
        labels=clips.labels,
        class_names=clips.class_names,
        split=clips.split,
        group=clips.group,
        ids=clips.ids,
        name=f"theatre {clips.script.name}",
    )


def _heard(clips: "Clips", kind: str) -> Tensor:
    if kind == "log_mel":
        return (clips.log_mel - MEL_CENTRE) / MEL_SPREAD
    if kind == "mfcc":
        return clips.mfcc / MEL_SPREAD
    if kind == "units":
        neutral = torch.from_numpy(VOICE[0])
        units = (clips.voice_units - neutral) / torch.from_numpy(VOICE_SPREAD).float()
        return units if units.dim() == 3 else units[:, None]
    raise ValueError(f"audio must be 'log_mel', 'mfcc' or 'units', not {kind!r}.")


def _watched(clips: "Clips", kind: str) -> Tensor:
    if kind == "frames":
        return clips.frames  # bytes, which a batch brings from 0 to 1
    if kind != "units":
        raise ValueError(f"vision must be 'units' or 'frames', not {kind!r}.")
    neutral = torch.from_numpy(FACE[0])
    units = (clips.face_units - neutral) / torch.from_numpy(FACE_SPREAD).float()
    if clips.lights is None:
        return units
    return torch.cat([units, torch.nn.functional.one_hot(clips.lights, NUM_LIGHTS)], -1)
