"""Frozen features for lessons on fusion: faces through a face school, sound in the camera's ticks.

The school is trained on portraits of the theatre's training actors, one frame at a time, so it can
know neither when something happens in a clip nor what is said.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from mmlib.backbones.schools import FaceSchool
from mmlib.data import theatre
from mmlib.data.feature_set import FeatureSet
from mmlib.training import fit, seed_everything

NO_LIGHT = len(theatre.LIGHTS)


def portrait_set(*, n: int = 3000, seed: int = 0) -> FeatureSet:
    """Single portraits, four in five under a random light, labelled by expression and light.

    Labels are those of `FaceSchool.code`; the light of a portrait without one is `NO_LIGHT`.

    Shape:
        vision (n, 1, 3, S, S) float16 in [0, 1]
    """
    lit = theatre.make("portraits", n=n - n // 5, seed=seed)
    plain = theatre.make("portraits", n=n // 5, seed=seed + 1, random_lights=False)
    assert lit.lights is not None
    lights = torch.cat([lit.lights[:, 0], torch.full((len(plain),), NO_LIGHT)])
    expressions = torch.cat([lit.labels, plain.labels])
    names = [f"{e} in {light} light" for e in theatre.EMOTIONS for light in (*theatre.LIGHTS, "no")]
    return FeatureSet(
        inputs={"vision": torch.cat([lit.frames, plain.frames]).half() / 255},
        masks={},
        labels=expressions * (NO_LIGHT + 1) + lights,
        class_names=tuple(names),
        split=np.concatenate([lit.split, plain.split]),
        group=np.concatenate([lit.group, plain.group]),
        name="portraits",
    )


def train_face_school(portraits: FeatureSet, *, seed: int = 0, epochs: int = 6) -> FaceSchool:
    """Train a face school on the training actors' portraits, and freeze it."""
    seed_everything(seed)
    school = FaceSchool(num_expressions=len(theatre.EMOTIONS), num_lights=NO_LIGHT + 1)
    settings = {"batch_size": 64, "learning_rate": 3e-3, "seed": seed, "progress": False}
    fit(school, portraits.subset("train"), epochs=epochs, **settings)  # type: ignore[arg-type]
    return school.eval().requires_grad_(False)


def with_face_features(
    clips: theatre.Clips, school: FaceSchool, *, clips_at_once: int = 100
) -> FeatureSet:
    """The clips' features, with what the school sees in each frame in the place of face units.

    Shape:
        vision (N, T, feature_dim); the other streams as in `Clips.features`
    """
    place = next(school.parameters()).device
    parts = [
        school.features(frames.to(place)).cpu() for frames in clips.frames.split(clips_at_once)
    ]
    features = clips.features()
    return replace(features, inputs={**features.inputs, "vision": torch.cat(parts)})


def in_ticks(features: FeatureSet, stream: str, ticks: int) -> FeatureSet:
    """The same features with one stream averaged into so many steps of equal length.

    Shape:
        the stream (N, T, D) -> (N, ticks, D); a tick is real where any step in it is

    Raises:
        ValueError: the stream has fewer steps than ticks.
    """
    values, mask = features.inputs[stream][:].float(), features.masks[stream]
    if values.shape[1] < ticks:
        raise ValueError(
            f"{stream!r} has {values.shape[1]} steps, which cannot be averaged into {ticks} ticks; "
            "ask for fewer, or average the other stream."
        )
    share = F.adaptive_avg_pool1d(mask[:, None].float(), ticks)[:, 0]
    sums = F.adaptive_avg_pool1d(values.masked_fill(~mask[..., None], 0.0).mT, ticks).mT
    return replace(
        features,
        inputs={**features.inputs, stream: sums / share.clamp(min=1e-6)[..., None]},
        masks={**features.masks, stream: share > 0},
    )
