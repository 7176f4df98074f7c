"""Backbones: networks that turn sound, pictures and words into features (`schools`, `pretrained`)."""
