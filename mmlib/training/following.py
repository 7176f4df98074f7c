"""How well numbers are followed through videos: beside the scores over everything, never among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mmlib.data import FeatureSet
from mmlib.data.batch import Batch
from mmlib.metrics import concordance_by_video, moving_average, target_concordances


def videos_of(features: FeatureSet) -> np.ndarray:
    """Say which video each sample is a piece of, in whose order the samples stand.

    That is what precedes the last "/" of its id (`12-24-1920x1080_left/000257`). Where an id has
    none, a sample with labels for its steps is a video of its own, and one with a single label a
    piece of its group.

    Shape:
        returns `(N,)` str
    """
    cut = np.char.rpartition(features.ids.astype(np.str_), "/")
    whole = features.ids if features.labels.ndim == 3 else features.group
    return np.where(cut[:, 1] == "/", cut[:, 0], whole)


def concordances(
    outputs: Tensor,
    dataset: FeatureSet,
    *,
    by_video: bool = False,
    smooth: Sequence[int] | None = None,
) -> list[float]:
    """Compute each target's concordance of outputs that `predict` gave, over real steps alone.

    Args:
        outputs: predictions `(N, K)` or `(N, T, K)`.
        dataset: what was predicted.
        by_video: the mean over videos of each one's own concordance (NaN where no video has two
            labels), instead of the concordance over all steps at once.
        smooth: of each target, over how many steps of a video the predictions are averaged before.

    Choices:
        J-22, J-23: what has no label is not scored, and nothing is smoothed unless asked for.

    Raises:
        ValueError: the labels are classes, or not one width for each target.
    """
    if dataset.class_names is not None:
        raise ValueError(
            "the labels are classes, which have no course through a video; leave out what is by "
            "video or smoothed."
        )
    mask = Batch({}, dataset.masks, dataset.labels).label_mask
    if smooth:
        outputs = moving_average(outputs, videos_of(dataset), smooth, mask)
    if by_video:
        found = concordance_by_video(outputs, dataset.labels, videos_of(dataset), mask)
        return found.mean.tolist()
    return list(target_concordances(outputs, dataset.labels, mask))


def following_report(
    outputs: Tensor, dataset: FeatureSet, smooth: Sequence[int] | None = None
) -> dict[str, Any]:
    """Tell each target's concordance over all and by video, and, if asked for, smoothed.

    Returns:
        `ccc` and `video_ccc`, a number for each target (None where no video has two labels); with
        `smooth` also `smoothed`: its `steps`, and `ccc` and `mean_ccc` after it.
    """
    by_video = concordances(outputs, dataset, by_video=True)
    report: dict[str, Any] = {
        "ccc": concordances(outputs, dataset),
        "video_ccc": None if np.isnan(by_video).any() else by_video,
    }
    if smooth:
        after = concordances(outputs, dataset, smooth=smooth)
        report["smoothed"] = {
            "steps": list(smooth),
            "ccc": after,
            "mean_ccc": float(np.mean(after)),
        }
    return report
