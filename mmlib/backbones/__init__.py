"""Backbones: networks that turn sound, pictures and words into features (`schools`, `pretrained`)."""

from mmlib.backbones.face_sequence import FaceSequence, PlainGRUCell, choose_evenly
from mmlib.backbones.inception_resnet import InceptionResnetV1
from mmlib.backbones.r2plus1d import R2Plus1D, r2plus1d_18
from mmlib.backbones.resnet import ResNet18, TemporalGRU, resnet18
from mmlib.backbones.visual_trunk import VisualTrunk
from mmlib.backbones.wavernn import WaveRNN, WaveRNNFeaturePool

__all__ = [
    "FaceSequence",
    "InceptionResnetV1",
    "PlainGRUCell",
    "R2Plus1D",
    "ResNet18",
    "TemporalGRU",
    "VisualTrunk",
    "WaveRNN",
    "WaveRNNFeaturePool",
    "choose_evenly",
    "r2plus1d_18",
    "resnet18",
]
