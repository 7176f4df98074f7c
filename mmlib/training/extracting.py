"""From a trained expert to a feature file: what stands before its last layer, for every sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mmlib.data.feature_set import FeatureError, FeatureSet
from mmlib.data.features import FeatureWriter, load_features
from mmlib.training.evaluating import own_device


def extract_features(
    model: nn.Module,
    dataset: FeatureSet,
    *,
    steps: int | None = None,
    dtype: torch.dtype = torch.float16,
    batch_size: int = 16,
    device: str = "auto",
    folder: Path | None = None,
    progress: bool = True,
) -> FeatureSet:
    """Compute a trained system's features of every sample, at evaluation.

    Labels, splits, groups and ids stay. Steps at the end that no sample has are left out, unless the
    labels belong to steps.

    Args:
        model: with `features(**inputs, masks=...) -> (features (B, T, D), mask (B, T))`.
        dataset: what it was trained on, and whatever else of the kind; one stream.
        steps: of each sample the last so many real steps only; None keeps all.
        dtype: in which the features are kept.
        batch_size: samples at a time.
        device: where to compute; "auto" is where the model is.
        folder: write there, a batch at a time, and leave the features in their file; steps that no
            sample has then stay. None keeps all in memory.
        progress: show a bar.

    Shape:
        returns: the same stream, (N, T', D), with its mask (N, T')

    Choices:
        E-12: sequences go into the fusion; `pool="last"` there makes a vector of them.

    Raises:
        FeatureError: the system has no features, reads several streams, gives what `dtype` cannot
            hold, or gives other steps than those that have labels.
    """
    compute = getattr(model, "features", None)
    if compute is None:
        raise FeatureError(
            "the system has no features to extract; expected an expert such as gpt, wavernn or "
            "facenet_gru."
        )
    if len(dataset.modalities) != 1:
        raise FeatureError(
            f"the system reads {' and '.join(dataset.modalities)}, but only the features of a single "
            "stream have a place in a feature file."
        )
    if steps is not None and steps < 1:
        raise FeatureError(f"steps is {steps}, expected at least 1.")
    if batch_size < 1:
        raise FeatureError(f"the batch size is {batch_size}, expected at least 1.")
    (stream,) = dataset.modalities
    by_step = dataset.label_step is not None or dataset.labels.ndim == 3
    place = own_device(model) if device == "auto" else torch.device(device)

    def batches() -> Iterator[tuple[range, Tensor, Tensor]]:
        for rows in _ranges(dataset, batch_size, progress):
            batch = dataset.batch(rows).to(place)
            with torch.no_grad():
                features, mask = compute(**batch.inputs, masks=batch.masks)
            if steps is not None:
                features, mask = last_steps(features, mask, steps)
            if by_step and features.shape[1] != dataset.lengths[stream]:
                raise FeatureError(
                    f"the features have {features.shape[1]} steps, but the labels of "
                    f"{dataset.name} belong to its {dataset.lengths[stream]} steps."
                )
            whole = by_step or folder is not None
            yield rows, *_kept(features, mask, dtype, dataset, rows, whole=whole)

    training = model.training
    model.to(place).eval()
    try:
        if folder is not None:
            return _written(folder, dataset, batches())
        values, masks = _stacked([(value, mask) for _, value, mask in batches()])
    finally:
        model.train(training)
    return replace(dataset, inputs={stream: values}, masks={stream: masks})


def last_steps(features: Tensor, mask: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Take the last so many real steps of each sample, in order and from the first place on.

    Shape:
        features (B, T, D), mask (B, T); returns (B, K, D) and (B, K), K = min(steps, T)
    """
    order = (~mask).byte().argsort(dim=1, stable=True)  # real steps first, each in its order
    kept = min(steps, mask.shape[1])
    begin = (mask.sum(1, keepdim=True) - kept).clamp(min=0)
    taken = order.gather(1, begin + torch.arange(kept, device=mask.device))
    return features.take_along_dim(taken[..., None], 1), mask.gather(1, taken)


def _ranges(dataset: FeatureSet, batch_size: int, progress: bool) -> Iterator[range]:
    """Cut the samples into batches, and show how far they have got."""
    from tqdm.auto import tqdm

    (stream,) = dataset.modalities
    with tqdm(total=len(dataset), desc=stream, unit="clip", disable=not progress) as bar:
        for start in range(0, len(dataset), batch_size):
            yield (rows := range(start, min(start + batch_size, len(dataset))))
            bar.update(len(rows))


def _written(
    folder: Path, dataset: FeatureSet, batches: Iterator[tuple[range, Tensor, Tensor]]
) -> FeatureSet:
    """Write each batch as it comes, and open what was written."""
    (stream,) = dataset.modalities
    names, step = dataset.class_names, dataset.label_step
    with FeatureWriter(folder, class_names=names, label_step=step) as writer:
        for rows, value, mask in batches:
            some = dataset.subset(list(rows))
            writer.extend(replace(some, inputs={stream: value}, masks={stream: mask}))
    return load_features(folder)


def _kept(
    features: Tensor,
    mask: Tensor,
    dtype: torch.dtype,
    dataset: FeatureSet,
    rows: range,
    *,
    whole: bool,
) -> tuple[Tensor, Tensor]:
    """Bring a batch's features to the CPU as they are kept, without steps that none of it has."""
    if not whole:
        there = mask.any(0).nonzero()
        end = int(there[-1]) + 1 if len(there) else 1
        features, mask = features[:, :end], mask[:, :end]
    kept = features.masked_fill(~mask[..., None], 0.0).to(dtype).cpu()
    bad = (~torch.isfinite(kept)).flatten(1).any(1).nonzero()
    if len(bad):
        name = dataset.ids[rows[int(bad[0])]]
        finite = bool(torch.isfinite(features[bad[0]][mask[bad[0]]]).all())
        reason = f"too large for {dtype}; keep float32" if finite else "not finite"
        raise FeatureError(f"the features of sample {name} are {reason}.")
    return kept, mask.cpu()


def _stacked(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Put batches of different lengths into one array, letting go of each as it finds its place."""
    count = sum(len(mask) for _, mask in parts)
    steps = max(mask.shape[1] for _, mask in parts)
    first = parts[0][0]
    values = torch.zeros(count, steps, first.shape[2], dtype=first.dtype)
    masks = torch.zeros(count, steps, dtype=torch.bool)
    start = 0
    parts.reverse()
    while parts:
        value, mask = parts.pop()
        rows = slice(start, start + len(mask))
        values[rows, : value.shape[1]] = value
        masks[rows] = pad(mask, (0, steps - mask.shape[1]))
        start += len(mask)
    return values, masks
