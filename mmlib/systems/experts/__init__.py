"""Experts: one modality each, from its raw form to classes, and the features that a fusion takes.

An expert is called, trained and evaluated like any system. Beside that, its method
`features(**inputs, masks=...)` gives what stands before its last layer, `(B, T, D)`, and the mask.
"""

from __future__ import annotations

from typing import Any

from mmlib.systems.experts.facenet_gru import FaceNetGRU, FaceNetGRUConfig
from mmlib.systems.experts.gpt import GPTExpert, GPTExpertConfig
from mmlib.systems.experts.wavernn import WaveRNNExpert, WaveRNNExpertConfig

#: By name: a configuration class and its model, which is made as `model(config=config)`.
EXPERTS: dict[str, tuple[Any, Any]] = {
    "facenet_gru": (FaceNetGRUConfig, FaceNetGRU),
    "gpt": (GPTExpertConfig, GPTExpert),
    "wavernn": (WaveRNNExpertConfig, WaveRNNExpert),
}

__all__ = [
    "EXPERTS",
    "FaceNetGRU",
    "FaceNetGRUConfig",
    "GPTExpert",
    "GPTExpertConfig",
    "WaveRNNExpert",
    "WaveRNNExpertConfig",
]
