"""Backbones: networks that turn sound, pictures and words into features (`schools`, `pretrained`)."""

from mmlib.backbones.visual_trunk import VisualTrunk

__all__ = ["VisualTrunk"]
