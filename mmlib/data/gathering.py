"""From the files of many clips to one feature set, in memory or, block by block, in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mmlib.data.clip_streams import stack_clips
from mmlib.data.clip_table import Clip, class_numbers
from mmlib.data.feature_cache import FeatureCache, Kept
from mmlib.data.feature_folder import FeatureWriter
from mmlib.data.feature_set import FeatureError, FeatureSet
from mmlib.data.features import load_features

_AT_ONCE = 16

#: A stream that is there already: its features (N, T, D) and its mask (N, T).
Given = tuple[Tensor, Tensor]


class Taking(Protocol):
    """What decides what is taken from each clip, such as a `Recipe`."""

    @property
    def seconds(self) -> float:
        """How long a clip must be for nothing of it to be masked."""

    @property
    def lengths(self) -> dict[str, int]:
        """How many steps of each stream are kept at most."""

    def bytes_for(self, clips: int, streams: Sequence[str]) -> int:
        """How much so many clips take at most."""

    def identity(self, stream: str) -> list[object]:
        """Tell whatever decides the features of a stream: others' in a cache do not count."""

    def take(self, path: Path, stream: str) -> Kept:
        """Make the features of a clip; a `MediaError` says why there are none."""


def refuse_full_disk(place: Path, needed: int) -> None:
    """Look, before hours of work, whether it can end well.

    Args:
        place: a folder that need not be there yet.
        needed: bytes that will be written there.

    Raises:
        FeatureError: fewer are free.
    """
    place = place.absolute()
    there = next((folder for folder in (place, *place.parents) if folder.exists()), place)
    free = shutil.disk_usage(there).free
    if needed > free:
        raise FeatureError(
            f"this needs up to {needed / 1e6:,.1f} MB in {place}, but {free / 1e6:,.1f} MB are free "
            "there; make room, or take fewer clips, frames or pixels."
        )


def gather(
    clips: Sequence[Clip],
    kept: Mapping[str, FeatureCache],
    lengths: Mapping[str, int],
    *,
    class_names: Sequence[str],
    given: Mapping[str, Given],
    name: str,
    folder: Path | None = None,
) -> tuple[FeatureSet, dict[str, list[str]]]:
    """Put the clips' features side by side; a stream that no clip has is left out.

    Args:
        clips: in the order of the samples.
        kept: stream -> where the features of each clip are.
        lengths: stream -> steps, to which a shorter clip is padded and a longer one cut.
        class_names: what the labels mean.
        given: streams that are there already, a sample for each clip.
        name: of the feature set.
        folder: write there, some clips at a time, and leave the streams in their files; None keeps
            all in memory.

    Returns:
        The features, and stream -> the clips that have more steps than are kept.

    Raises:
        FeatureError: the folder holds something else than features.
    """
    cut: dict[str, list[str]] = {stream: [] for stream in kept}
    forms = {stream: _form(clips, stream, cache) for stream, cache in kept.items()}

    def some(rows: range) -> FeatureSet:
        chosen = [clips[row] for row in rows]
        inputs = {stream: value[rows.start : rows.stop] for stream, (value, _) in given.items()}
        masks = {stream: mask[rows.start : rows.stop] for stream, (_, mask) in given.items()}
        for stream, form in forms.items():
            if form is None:
                continue
            count, length = len(chosen), lengths[stream]
            parts = _parts(chosen, stream, kept[stream], length, cut[stream])
            inputs[stream], masks[stream] = stack_clips(parts, count, length)
            if inputs[stream].ndim == 1:  # none of these has any of it
                inputs[stream] = form.new_zeros(count, length, *form.shape[1:])
        return _feature_set(chosen, inputs, masks, class_names, name)

    if folder is None:
        return some(range(len(clips))), cut
    with FeatureWriter(folder, class_names=class_names) as writer:
        for start in range(0, len(clips), _AT_ONCE):
            writer.extend(some(range(start, min(start + _AT_ONCE, len(clips)))))
    return load_features(folder), cut


def _feature_set(
    clips: Sequence[Clip],
    inputs: dict[str, Tensor],
    masks: dict[str, Tensor],
    class_names: Sequence[str],
    name: str,
) -> FeatureSet:
    """Put streams beside what the table says of their clips."""
    return FeatureSet(
        inputs=inputs,
        masks=masks,
        labels=torch.tensor(class_numbers(clips, class_names)),
        class_names=tuple(class_names),
        split=np.array([clip.split for clip in clips]),
        group=np.array([clip.group for clip in clips]),
        ids=np.array([clip.name for clip in clips]),
        name=name,
    )


def _form(clips: Sequence[Clip], stream: str, cache: FeatureCache) -> Tensor | None:
    """Give the features of the first clip that has any."""
    for clip in clips:
        one = cache.load(clip, stream)
        if one is not None:
            return one.features
    return None


def _parts(
    clips: Sequence[Clip], stream: str, cache: FeatureCache, length: int, cut: list[str]
) -> Iterator[tuple[int, Tensor]]:
    """Take a stream out of the cache, clip by clip, and note which clips have more of it."""
    for row, clip in enumerate(clips):
        one = cache.load(clip, stream)
        if one is not None:
            if one.steps > length:
                cut.append(clip.name)
            yield row, one.features
