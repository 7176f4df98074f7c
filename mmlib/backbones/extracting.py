"""From a folder of clips to a feature set: each stream by its encoder, resumable, losing no other clip."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from mmlib.backbones.clip_encoders import ClipEncoder
from mmlib.backbones.loading import PretrainedError
from mmlib.backbones.pretrained import AudioEncoder, Encoder, Prepared
from mmlib.data.clip_streams import Failure
from mmlib.data.clip_table import Clip, class_numbers
from mmlib.data.extras import load_extra
from mmlib.data.feature_cache import FeatureCache, Kept
from mmlib.data.feature_set import FeatureSet
from mmlib.data.gathering import gather
from mmlib.data.media import MediaError, read_frames, read_sound

#: Steps of each stream in CA-MMAAET, section III.
LENGTHS = {"text": 36, "audio": 128, "vision": 10}

Outcome = Prepared | MediaError | PretrainedError


class Extraction(NamedTuple):
    """What came out.

    Attributes:
        features: the clips of which at least one stream could be had; another is masked as absent.
        failures: every stream of every clip that could not be had.
        left_out: the clips of which no stream could be had.
        computed: stream -> how many clips were computed now, not taken from the cache.
        longer: stream -> how many clips have more steps than fit, and were cut.
    """

    features: FeatureSet
    failures: list[Failure]
    left_out: list[str]
    computed: dict[str, int]
    longer: dict[str, int]


class _Stream(NamedTuple):
    rows: set[int]  # clips that have at least one step of it
    reasons: dict[int, str]
    computed: int


def extract(
    clips: Sequence[Clip],
    encoders: Sequence[Encoder],
    *,
    class_names: Sequence[str],
    cache: str | Path,
    lengths: Mapping[str, int] = LENGTHS,
    batch_size: int = 16,
    name: str = "features",
    folder: Path | None = None,
    progress: bool = True,
) -> Extraction:
    """Encode each stream of each clip, and make one feature set of them.

    Recordings are decoded by a few threads while the device is busy with the batch before. Batches
    are made of the table's rows in their order, so that an extraction which was killed between two
    batches goes on with the same numbers.

    Args:
        clips: as `read_clip_table` gives them.
        encoders: one for each stream that is wanted.
        class_names: what the labels 0, 1, 2, ... mean, in this order.
        cache: a folder for the features of each clip and stream.
        lengths: stream -> steps T of the feature set; for vision also the frames that are looked at.
        batch_size: clips at a time.
        name: of the feature set.
        folder: write there, some clips at a time, and leave the streams in their files; None keeps
            all in memory.
        progress: show a bar for each stream.

    Shape:
        streams (N, T, D) float32 with masks (N, T), False where a clip has no such step

    Choices:
        C-02: the order of the classes is given, never guessed. C-19: masks tell what is padding.

    Raises:
        PretrainedError: a stream could be had of no clip.
        FeatureError: the labels and the class names do not fit together.
    """
    class_numbers(clips, class_names)  # nothing should be computed that cannot be labelled
    if batch_size < 1:
        raise PretrainedError(f"the batch size is {batch_size}, expected at least 1.")
    if any(encoder.stream != "text" for encoder in encoders):
        load_extra("av", extra="media", purpose="reading recordings")  # its lack is no clip's fault
    made, caches = {}, {}
    for encoder in encoders:
        stream, length = encoder.stream, lengths[encoder.stream]
        caches[stream] = FeatureCache(Path(cache) / stream, encoder.identity, length)
        made[stream] = _extract_stream(clips, encoder, length, caches[stream], batch_size, progress)
    present = set().union(*(one.rows for one in made.values()))
    features, longer = gather(
        [clip for row, clip in enumerate(clips) if row in present],
        caches,
        lengths,
        class_names=class_names,
        given={},
        name=name,
        folder=folder,
    )
    return Extraction(
        features,
        [
            Failure(clips[row].name, stream, reason)
            for stream, one in made.items()
            for row, reason in one.reasons.items()
        ],
        [clip.name for row, clip in enumerate(clips) if row not in present],
        {stream: one.computed for stream, one in made.items()},
        {stream: len(names) for stream, names in longer.items()},
    )


def _extract_stream(
    clips: Sequence[Clip],
    encoder: Encoder,
    length: int,
    cache: FeatureCache,
    batch_size: int,
    progress: bool,
) -> _Stream:
    """Encode one stream of all clips into the cache, as far as it has not been done before."""
    from tqdm.auto import tqdm

    kept: dict[int, int] = {}  # clip -> steps: the features themselves wait in their files
    for row, clip in enumerate(clips):
        if (one := cache.load(clip, encoder.stream)) is not None:
            kept[row] = len(one.features)
    reasons: dict[int, str] = {}
    batches = [
        [row for row in range(start, min(start + batch_size, len(clips))) if row not in kept]
        for start in range(0, len(clips), batch_size)
    ]
    before = len(kept)
    with tqdm(
        total=len(clips), initial=before, desc=encoder.stream, unit="clip", disable=not progress
    ) as bar:
        for rows, outcomes in _ahead(clips, encoder, length, [some for some in batches if some]):
            good = {}
            for row, outcome in zip(rows, outcomes, strict=True):
                if isinstance(outcome, Prepared):
                    good[row] = outcome
                else:
                    reasons[row] = str(outcome)
            parts = encoder.run(list(good.values())) if good else []
            for (row, prepared), part in zip(good.items(), parts, strict=True):
                one = Kept(part[:length].float().cpu(), prepared.steps)
                cache.store(clips[row], encoder.stream, one)
                kept[row] = len(one.features)
            bar.update(len(rows))
    if not kept:
        raise PretrainedError(
            f"of {len(clips)} clips none has a usable {encoder.stream}; leave this stream out, or "
            f"mend them, first '{clips[0].name}': {reasons[0]}"
        )
    return _Stream({row for row, steps in kept.items() if steps}, reasons, len(kept) - before)


def _ahead(
    clips: Sequence[Clip], encoder: Encoder, length: int, batches: list[list[int]]
) -> Iterator[tuple[list[int], list[Outcome]]]:
    """Read and prepare a batch while the one before it is encoded."""

    def prepare(row: int) -> Outcome:
        try:
            return encoder.prepare(_read(clips[row], encoder, length))
        except (MediaError, PretrainedError) as error:  # one bad clip must not lose the others
            return error

    # Decoding leaves Python's lock alone; tokenizers do not like several threads.
    workers = 1 if encoder.stream == "text" else min(4, os.cpu_count() or 1)
    waiting: deque[tuple[list[int], list[Future[Outcome]]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for rows in batches:
            waiting.append((rows, [pool.submit(prepare, row) for row in rows]))
            if len(waiting) > 1:
                yield _done(*waiting.popleft())
        while waiting:
            yield _done(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _done(rows: list[int], futures: list[Future[Outcome]]) -> tuple[list[int], list[Outcome]]:
    return rows, [future.result() for future in futures]


def _read(clip: Clip, encoder: Encoder, frames: int) -> Any:
    """Get from a clip what an encoder takes."""
    if encoder.stream == "text":
        return clip.text or ""
    if clip.path is None:
        raise MediaError("there is no folder of clips.")
    if isinstance(encoder, ClipEncoder):
        return encoder.read(clip.path, frames)
    if isinstance(encoder, AudioEncoder):
        return read_sound(clip.path, sample_rate=encoder.sample_rate)
    return read_frames(clip.path, frames)
