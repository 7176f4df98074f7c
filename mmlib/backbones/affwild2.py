"""Aff-Wild2 through frozen backbones: sub-sequences of clips, with valence and arousal for each clip.

Each video's features are kept in a file of their own, whatever sub-sequences are cut from them, so
that an extraction which was killed goes on with the next video.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.backbones.clip_encoders import ClipEncoder, ClipSound, ClipVision
from mmlib.backbones.pretrained import Prepared
from mmlib.data.affwild2 import (
    Annotation,
    SequenceGeometry,
    Video,
    clip_labels,
    into_sequences,
    numbered_pictures,
    read_annotation,
)
from mmlib.data.clip_streams import Failure
from mmlib.data.clip_table import Clip
from mmlib.data.faces import centre_squares
from mmlib.data.feature_cache import FeatureCache, Kept
from mmlib.data.feature_set import FeatureError, FeatureSet
from mmlib.data.media import MediaError, extent, frame_rate, read_sound
from mmlib.data.spectrogram import clip_spectrograms


class SequenceExtraction(NamedTuple):
    """What came out.

    Attributes:
        features: sub-sequences of the videos of which at least one stream could be had.
        failures: every stream (or the labels) of every video that could not be had.
        left_out: the videos of which nothing could be had.
        computed: how many videos were worked on now, not taken from the cache.
        black: video -> how many of the pictures looked at are missing, and were black.
        beyond: video -> how many pictures come after the last label, and were not used.
        unlabelled: how many sub-sequences have no valid label at all, and were left out.
    """

    features: FeatureSet
    failures: list[Failure]
    left_out: list[str]
    computed: int
    black: dict[str, int]
    beyond: dict[str, int]
    unlabelled: int


class _Job(NamedTuple):
    """One stream of one video: its name in the cache, how to compute it, and what is known before."""

    clip: Clip
    compute: Callable[[], Tensor]
    real: Tensor  # (C,) bool
    black: int = 0
    beyond: int = 0


class _Told(NamedTuple):
    """What is to be said of the videos, as it comes up."""

    failures: list[Failure]
    left_out: list[str]
    black: dict[str, int]
    beyond: dict[str, int]

    def note(self, name: str, job: _Job) -> None:
        """Take note of pictures that are missing or too many."""
        self.black.update({name: job.black} if job.black else {})
        self.beyond.update({name: job.beyond} if job.beyond else {})


def extract_videos(
    videos: Sequence[Video],
    *,
    vision: ClipVision | None,
    audio: ClipSound | None,
    geometry: SequenceGeometry,
    cache: str | Path,
    name: str = "affwild2",
    progress: bool = True,
) -> SequenceExtraction:
    """Encode the clips of each video, and cut sub-sequences of them.

    A picture that is missing (no face was found in the frame) is black; a clip without any picture
    is masked in `vision`. A clip without a valid label is masked in both streams, so that it is
    neither learnt from nor judged: labels with a mask are what `FeatureSet` and the losses know.

    Args:
        videos: as `find_videos` gives them.
        vision: encodes pictures; None leaves the stream out.
        audio: encodes sound; None leaves the stream out.
        geometry: how videos are cut; frames and dilation are the encoders' too.
        cache: a folder for the features of each video.
        name: of the feature set.
        progress: show a bar.

    Shape:
        vision and audio (N, clips, 512) float32, with masks; labels (N, clips, 2), valence and
        arousal. The id of a sub-sequence is its video's name and first frame, the group its
        recording.

    Source:
        JMT, section 4.2.

    Choices:
        J-15: sub-sequences do not overlap; the last of a video is filled up and masked. J-17: a
        clip's sound is that of its frames at the recording's own rate. J-22: a clip's label is the
        mean over its valid frames; the paper does not say how frames become clips.

    Raises:
        FeatureError: nothing could be had of any video, or encoders cut otherwise than `geometry`.
        NotInstalled: the extra `media` is missing.
    """
    from tqdm.auto import tqdm

    given: list[ClipEncoder | None] = [audio, vision]
    encoders = {one.stream: one for one in given if one is not None}
    for stream, encoder in encoders.items():
        if (encoder.geometry.frames, encoder.geometry.dilation) != (
            geometry.frames,
            geometry.dilation,
        ):
            raise FeatureError(
                f"the {stream} encoder takes {encoder.geometry.frames} pictures dilated by "
                f"{encoder.geometry.dilation}, but the videos are cut into {geometry.frames} dilated "
                f"by {geometry.dilation}; build it with the same geometry."
            )
    if not encoders:
        raise FeatureError("there is no encoder; give vision, audio or both.")
    kept = {
        stream: FeatureCache(Path(cache) / stream, one.identity, "affwild2")
        for stream, one in encoders.items()
    }
    told = _Told([], [], {}, {})
    parts, computed = [], 0
    with tqdm(videos, unit="video", disable=not progress, dynamic_ncols=True) as bar:
        for video in bar:
            try:
                annotation = read_annotation(video.annotation)
            except FeatureError as error:
                told.failures.append(Failure(video.name, "labels", str(error)))
                told.left_out.append(video.name)
                continue
            streams: dict[str, tuple[Tensor, Tensor]] = {}
            fresh = False
            for stream, encoder in encoders.items():
                try:
                    job = _job(video, annotation, geometry, encoder)
                    one = kept[stream].load(job.clip, stream)
                    if one is None:
                        computed_now = job.compute()
                        one, fresh = Kept(computed_now, len(computed_now)), True
                        kept[stream].store(job.clip, stream, one)
                except MediaError as error:  # one bad video must not lose the others
                    told.failures.append(Failure(video.name, stream, str(error)))
                    continue
                streams[stream] = one.features, job.real
                told.note(video.name, job)
            computed += fresh
            if streams:
                parts.append((video, clip_labels(annotation, geometry), streams))
            else:
                told.left_out.append(video.name)
    if not parts:
        first = told.failures[0]
        raise FeatureError(
            f"nothing could be had of any of {len(videos)} videos; first '{first.clip}', "
            f"{first.stream}: {first.reason}"
        )
    features, unlabelled = _assembled(parts, geometry, name)
    return SequenceExtraction(features, *told[:2], computed, *told[2:], unlabelled)


def _job(
    video: Video, annotation: Annotation, geometry: SequenceGeometry, encoder: ClipEncoder
) -> _Job:
    """Say what there is to do for a stream of a video."""
    if isinstance(encoder, ClipVision):
        return _faces(video, annotation, geometry, encoder)
    return _sound(video, annotation, geometry, encoder)


def _faces(
    video: Video, annotation: Annotation, geometry: SequenceGeometry, encoder: ClipVision
) -> _Job:
    """Find a video's pictures."""
    if video.pictures is None:
        raise MediaError("there is no folder of its faces.")
    found, frames = numbered_pictures(video.pictures), len(annotation.labels)
    wanted = geometry.pictures(frames)
    usable = {number - 1: path for number, path in found.items() if number <= frames}
    paths = [[usable.get(number) for number in row] for row in wanted.tolist()]
    there = torch.tensor([[path is not None for path in row] for row in paths])
    if not bool(there.any()):
        raise MediaError(f"there is no picture of its {frames} frames in {video.pictures}.")
    # What is beyond the last frame is not missing.
    black = int((~there & (wanted < frames)).sum())
    stamps = [path.stat() for row in paths for path in row if path is not None]
    stamp = [frames, black, sum(s.st_size for s in stamps), max(s.st_mtime_ns for s in stamps)]
    return _Job(
        _named(video, stamp, None),
        lambda: _look(paths, there.any(1), encoder),
        there.any(1),
        black,
        sum(number > frames for number in found),
    )


def _look(paths: list[list[Path | None]], there: Tensor, encoder: ClipVision) -> Tensor:
    """Encode the clips that have a picture; the next are read while one lot is encoded."""
    rows = there.nonzero().flatten().split(encoder.at_once)
    features = torch.zeros(len(paths), encoder.feature_dim)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:

        def started(lot: Tensor) -> list[Future[Tensor]]:
            wanted = [path for row in lot.tolist() for path in paths[row]]
            return [pool.submit(_picture, path, encoder.size) for path in wanted]

        waiting = started(rows[0])
        for number, lot in enumerate(rows):
            pictures = torch.stack([future.result() for future in waiting])
            if number + 1 < len(rows):
                waiting = started(rows[number + 1])
            clips = pictures.unflatten(0, (len(lot), -1))
            features[lot] = encoder.run([Prepared(clips, len(clips))])[0].float().cpu()
    return features


def _picture(path: Path | None, size: int) -> Tensor:
    """Read a picture as a square (3, size, size) uint8; one that is missing is black."""
    from PIL import Image

    if path is None:
        return torch.zeros(3, size, size, dtype=torch.uint8)
    try:
        with Image.open(path) as file:
            pixels = np.array(file.convert("RGB"))
    except OSError:
        raise MediaError(
            f"{path} is no picture; unpack it again, or delete it to have a black one."
        ) from None
    picture = torch.from_numpy(pixels).permute(2, 0, 1)
    if picture.shape[1:] == (size, size):  # as they are published
        return picture
    return centre_squares(picture[None], size=size)[0]


def _sound(
    video: Video, annotation: Annotation, geometry: SequenceGeometry, encoder: ClipEncoder
) -> _Job:
    """Find a video's recording."""
    if video.sound is None:
        raise MediaError("there is no recording of it, and so no sound.")
    path, count = video.sound, geometry.num_clips(len(annotation.labels))
    return _Job(
        _named(video, [count], path),
        lambda: _listen(path, count, encoder),
        torch.ones(count, dtype=torch.bool),
    )


def _listen(path: Path, count: int, encoder: ClipEncoder) -> Tensor:
    """Encode the sound of each clip, at the instants of its pictures."""
    picture = extent(path).picture
    begins = 0.0 if picture is None else picture[0]
    cut = replace(encoder.geometry, frame_rate=frame_rate(path))
    apart = cut.frames * cut.dilation / cut.frame_rate
    starts = [round(number * apart * cut.sample_rate) for number in range(count)]
    window = begins, begins + (starts[-1] + cut.samples) / cut.sample_rate
    sound = read_sound(path, sample_rate=cut.sample_rate, window=window)
    if not bool(sound.any()):
        raise MediaError("its sound is silent throughout.")
    sound = torch.nn.functional.pad(sound, (0, max(0, starts[-1] + cut.samples - len(sound))))
    parts = []
    for first in range(0, count, encoder.at_once):
        some = [sound[start : start + cut.samples] for start in starts[first:][: encoder.at_once]]
        spectrograms = clip_spectrograms(torch.stack(some), cut)
        parts += encoder.run([Prepared(spectrograms, len(some))])
    return torch.cat(parts).float().cpu()


def _named(video: Video, stamp: list[int], path: Path | None) -> Clip:
    """Name a video for the cache: it is the same where file, or else stamp, is the same."""
    name = f"{video.name} {stamp}" if path is not None else video.name
    return Clip(name, path, str(stamp), "", video.split, video.recording)


def _assembled(
    parts: list[tuple[Video, Annotation, dict[str, tuple[Tensor, Tensor]]]],
    geometry: SequenceGeometry,
    name: str,
) -> tuple[FeatureSet, int]:
    """Cut every video into sub-sequences, and put them below each other."""
    present = [stream for stream in ("audio", "vision") if any(stream in own for *_, own in parts)]
    length = geometry.clips
    labels, split, group, ids = [], [], [], []
    inputs: dict[str, list[Tensor]] = {stream: [] for stream in present}
    masks: dict[str, list[Tensor]] = {stream: [] for stream in present}
    unlabelled = 0
    for video, annotation, own in parts:
        real = {s: own[s][1] & annotation.valid for s in own}
        usable = into_sequences(torch.stack(list(real.values())).any(0), length).any(1)
        unlabelled += int((~usable).sum())
        rows = usable.nonzero().flatten()
        if not len(rows):
            continue
        labels.append(into_sequences(annotation.labels, length)[rows])
        for stream in present:
            width = next(o[stream][0].shape[1] for *_, o in parts if stream in o)
            nothing = torch.zeros(len(annotation.valid), width), torch.zeros_like(annotation.valid)
            values, _ = own.get(stream, nothing)
            inputs[stream].append(into_sequences(values, length)[rows])
            masks[stream].append(into_sequences(real.get(stream, nothing[1]), length)[rows])
        split += [video.split] * len(rows)
        group += [video.recording] * len(rows)
        step = length * geometry.span
        ids += [f"{video.name}/{row * step + 1:06d}" for row in rows.tolist()]
    if not labels:
        raise FeatureError("no video has a valid label for a clip that can be seen or heard.")
    features = FeatureSet(
        inputs={stream: torch.cat(inputs[stream]) for stream in present},
        masks={stream: torch.cat(masks[stream]) for stream in present},
        labels=torch.cat(labels),
        class_names=None,
        split=np.array(split),
        group=np.array(group),
        ids=np.array(ids),
        name=name,
    )
    return features, unlabelled
