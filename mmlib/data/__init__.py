"""Data: batches, feature sets and their file, and the theatre (`from mmlib.data import theatre`)."""

from mmlib.data.batch import MODALITIES, Batch
from mmlib.data.features import SPLITS, FeatureError, FeatureSet, load_features, save_features
from mmlib.data.standardise import Standardised

__all__ = [
    "MODALITIES",
    "SPLITS",
    "Batch",
    "FeatureError",
    "FeatureSet",
    "Standardised",
    "load_features",
    "save_features",
]
