"""Data: batches, feature sets and their file, and the theatre (`from mmlib.data import theatre`)."""

from .batch import MODALITIES, Batch
from .features import SPLITS, FeatureError, FeatureSet, load_features, save_features

__all__ = [
    "MODALITIES",
    "SPLITS",
    "Batch",
    "FeatureError",
    "FeatureSet",
    "load_features",
    "save_features",
]
