"""Backbones: networks that turn sound, pictures and words into features (`schools`, `pretrained`)."""

from mmlib.backbones.r2plus1d import R2Plus1D, r2plus1d_18
from mmlib.backbones.resnet import ResNet18, TemporalGRU, resnet18
from mmlib.backbones.visual_trunk import VisualTrunk

__all__ = ["R2Plus1D", "ResNet18", "TemporalGRU", "VisualTrunk", "r2plus1d_18", "resnet18"]
