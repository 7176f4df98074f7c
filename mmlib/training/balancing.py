"""Classes of unequal size: weights in the loss, or an order that takes as many of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmlib.data.feature_set import FeatureSet

ClassWeights = Literal["balanced"] | Sequence[float] | None


def weights_by_class(asked: ClassWeights, train_set: FeatureSet) -> Tensor | None:
    """Say what a sample of each class counts, scaled so that the mean over the train set is 1.

    So a weighted loss is as large as one that is not, and asks for no other learning rate. With
    "balanced", a class of `n` among `N` samples and `K` classes that occur counts `N / (K n)` each:
    every class counts as much as every other, however rare.

    Shape:
        returns: `(C,)` float32; None where all count alike.
    """
    if asked is None:
        return None
    counts = torch.bincount(train_set.labels, minlength=train_set.num_outputs).double()
    if isinstance(asked, str):
        weights = torch.where(counts > 0, 1 / counts, 0.0)
    else:
        weights = torch.tensor(asked, dtype=torch.float64)
    return (weights * counts.sum() / (weights @ counts)).float()


def balanced_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order as many samples as there are so that each class that occurs comes as often.

    Of a class with more samples than its share a part is taken, of one with fewer each comes equally
    often, or once more. Where the number of samples does not divide by that of the classes, chance
    says which classes come once more.

    Shape:
        labels: `(N,)` int; returns `(N,)` int64, indices.
    """
    classes = np.unique(labels)
    share, more = divmod(len(labels), len(classes))
    luckier = set(rng.permutation(classes)[:more].tolist())
    taken = []
    for each in classes.tolist():
        members = np.flatnonzero(labels == each)
        wanted = share + (each in luckier)
        rounds = [rng.permutation(members) for _ in range(-(-wanted // len(members)))]
        taken.append(np.concatenate(rounds)[:wanted] if rounds else members[:0])
    return rng.permutation(np.concatenate(taken))
