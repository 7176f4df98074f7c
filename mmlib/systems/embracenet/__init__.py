"""Crossmodal transformers with EmbraceNet, for emotions in conversations.

Every stream asks every other one; what they answer is multiplied and pooled; EmbraceNet makes one
vector of it, in training by drawing each feature from one of the streams that are there.
"""

from mmlib.systems.embracenet.config import CrossModalEmbraceNetConfig
from mmlib.systems.embracenet.crossing import CrossModalPairs
from mmlib.systems.embracenet.model import (
    CrossModal,
    CrossModalEmbraceNet,
    EmbraceClassified,
    EmbracePredicted,
)

__all__ = [
    "CrossModal",
    "CrossModalEmbraceNet",
    "CrossModalEmbraceNetConfig",
    "CrossModalPairs",
    "EmbraceClassified",
    "EmbracePredicted",
]
