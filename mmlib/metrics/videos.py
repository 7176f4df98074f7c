"""Metrics of numbers that are followed through videos: concordance of each video, and smoothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.metrics.numbers import checked, concordance
from mmlib.metrics.reading import Values, as_numbers
from mmlib.metrics.resampling import Groups
from mmlib.metrics.sums import sums_of


class VideoConcordance(NamedTuple):
    """Lin's concordance of each video, computed over its own kept steps alone.

    Shape:
        names: V of them, sorted; each: `(V, K)` float64, NaN for a video of which less than two
        steps are kept, 0 for one in which a side does not vary; counts: `(V,)` int64, of kept steps.
    """

    names: tuple[str, ...]
    each: Tensor
    counts: Tensor

    @property
    def mean(self) -> Tensor:
        """Average over the videos that have a concordance, `(K,)`; NaN where none has."""
        return self.each[self.counts > 1].mean(0)


def target_concordances(
    prediction: Values, target: Values, mask: Values | None = None
) -> tuple[float, ...]:
    """Compute the concordance of each target (valence, arousal) over all kept steps at once.

    Shape:
        prediction, target: `(N, K)` or `(N, T, K)`; mask: `(N,)` or `(N, T)`, True = keep.

    Choices:
        J-22, J-23: a step that is not kept is never scored, not even as a pair of zeros.

    Raises:
        ValueError: as `concordance`, or fewer than two axes.
    """
    x, y = _with_targets(prediction, target)
    return tuple(concordance(x[..., k], y[..., k], mask) for k in range(y.shape[-1]))


def concordance_by_video(
    prediction: Values, target: Values, videos: Groups, mask: Values | None = None
) -> VideoConcordance:
    """Compute the concordance of each target in each video.

    It asks another question than the concordance over all: whether the course of each video was
    followed, for which it does not help to know which video is the happier one.

    Shape:
        prediction, target: `(N, K)` or `(N, T, K)`; videos: `(N,)` names, one a sample;
        mask: `(N,)` or `(N, T)`, True = keep.

    Choices:
        J-21, J-23: one formula (population statistics) for a video and for all of them.

    Raises:
        ValueError: as `concordance`, or another number of videos than of samples.
    """
    x, y = _with_targets(prediction, target)
    names, of = np.unique(_names(videos, len(y)), return_inverse=True)
    _, _, keep = checked(x[..., 0], y[..., 0], mask)
    counts = torch.zeros(len(names), dtype=torch.long)
    counts.index_add_(0, torch.from_numpy(of), keep.reshape(len(y), -1).sum(1))
    columns = []
    for k in range(y.shape[-1]):
        sums = sums_of("ccc", x[..., k], y[..., k], mask)
        added = torch.zeros(len(names), sums.adds.shape[1], dtype=sums.adds.dtype)
        added.index_add_(0, torch.from_numpy(of), sums.adds[torch.from_numpy(sums.kind)])
        columns.append(sums.finish(added))
    each = torch.stack(columns, dim=1).masked_fill((counts < 2)[:, None], torch.nan)
    return VideoConcordance(tuple(names.tolist()), each, counts)


def moving_average(
    prediction: Values,
    videos: Groups,
    widths: Sequence[int],
    mask: Values | None = None,
) -> Tensor:
    """Smooth predictions along each video: the mean of the steps around, cut short at both ends.

    A video's samples are taken in their order, and of their steps the kept ones, as one sequence.

    Shape:
        prediction: `(N, K)` or `(N, T, K)`; videos: `(N,)` names, one a sample; mask: `(N,)` or
        `(N, T)`, True = keep; returns the same as prediction, steps that are not kept unchanged.

    Args:
        prediction: what a model says.
        videos: which video each sample is of.
        widths: how many steps are averaged, for each target; 1 changes nothing. Of an even number,
            one more lies before the step than after it.
        mask: which steps count.

    Choices:
        J-23: the released code averages 20 frames of valence and 50 of arousal, which the paper
        does not say; here it is never done unless asked for.

    Raises:
        ValueError: not one width from 1 on for each target, or shapes that do not fit.
    """
    said = as_numbers(prediction, "prediction")
    smooth, _ = _with_targets(said, said)
    if len(widths) != smooth.shape[-1] or any(width < 1 for width in widths):
        raise ValueError(
            f"widths are {list(widths)}, expected {smooth.shape[-1]} whole numbers from 1 on, one "
            "for each target."
        )
    _, of = np.unique(_names(videos, len(smooth)), return_inverse=True)
    _, _, keep = checked(smooth[..., 0], smooth[..., 0], mask)
    keep = keep.reshape(len(smooth), -1)
    rows = torch.from_numpy(np.argsort(of, kind="stable"))
    steps = keep[rows]
    video = torch.from_numpy(of)[rows, None].expand(steps.shape)[steps]  # (M,) in time's order
    place = torch.arange(len(video))
    first = torch.searchsorted(video, video, right=False)
    after = torch.searchsorted(video, video, right=True)
    flat = smooth.double().reshape(*keep.shape, -1)
    series = flat[rows][steps]  # (M, K)
    sums = torch.cat([series.new_zeros(1, series.shape[1]), series.cumsum(0)])
    means = torch.empty_like(series)
    for k, width in enumerate(widths):
        start = torch.maximum(first, place - width // 2)
        stop = torch.minimum(after, place - width // 2 + width)
        means[:, k] = (sums[stop, k] - sums[start, k]) / (stop - start)
    ordered = flat[rows]
    ordered[steps] = means
    flat[rows] = ordered
    return flat.reshape(smooth.shape).to(said.dtype)


def _with_targets(prediction: Values, target: Values) -> tuple[Tensor, Tensor]:
    x, y = as_numbers(prediction, "prediction"), as_numbers(target, "target")
    if y.ndim not in (2, 3) or x.shape != y.shape:
        raise ValueError(
            f"prediction has shape {tuple(x.shape)} and target {tuple(y.shape)}, expected both "
            "(N, K) or both (N, T, K)."
        )
    return x, y


def _names(videos: Groups, samples: int) -> np.ndarray:
    column = np.asarray(videos.cpu() if isinstance(videos, Tensor) else videos)
    if column.shape != (samples,):
        raise ValueError(
            f"videos has shape {column.shape} but there are {samples} samples; name one for each."
        )
    return column
