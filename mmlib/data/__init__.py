"""Data: batches, feature sets and their file, and the theatre (`from mmlib.data import theatre`)."""

from mmlib.data.batch import MODALITIES, Batch
from mmlib.data.features import (
    SPLITS,
    FeatureError,
    FeatureSet,
    FeatureWriter,
    load_features,
    save_features,
    save_folder,
    unpack_features,
)
from mmlib.data.leaks import Leaks, find_leaks
from mmlib.data.real import real_features
from mmlib.data.splits import grouped_folds, split_by_group
from mmlib.data.standardise import Standardised

__all__ = [
    "MODALITIES",
    "SPLITS",
    "Batch",
    "FeatureError",
    "FeatureSet",
    "FeatureWriter",
    "Leaks",
    "Standardised",
    "find_leaks",
    "grouped_folds",
    "load_features",
    "real_features",
    "save_features",
    "save_folder",
    "split_by_group",
    "unpack_features",
]
