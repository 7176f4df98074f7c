"""CMU-MOSEI from its computational sequences: labelled segments of videos, and the features in them.

Labels. Annotators gave each segment a sentiment from -3 to 3 and six emotions from 0 to 3; several
emotions can be there at once, and often none is. `target` says what becomes of that:

* "emotions": the six intensities, `(N, 6)`; with `threshold` t, 1 where an intensity is above t and
  0 elsewhere. The data set's authors count an emotion as present above 0. Either way these are
  numbers, which a training here regresses; it knows no loss for several classes at once.
* "emotion": one class, the strongest emotion (arg-max). It throws away every further one, and a
  segment without any is left out; equally strong ones are settled by the order of `EMOTIONS`. How
  many segments each of these concerns is told. The result is not balanced (A-27).
* "sentiment": `(N, 1)`, from -3 to 3. Accuracies of 82 to 85 % in the literature are for its sign,
  and cannot be compared with an accuracy over emotions (A-35).

Alignment. A row belongs to a segment where their intervals overlap by more than 10 microseconds.
Words stay one step each, the first of them where there are too many. A segment of the other streams
is cut into equally long parts, and a step is the mean of a part's rows, each weighted by how long it
lies in it; a part without rows is not real.

Not finite. COVAREP holds NaN and infinity. They take no part in a mean; a value that is left without
any becomes the mean of that feature over the training split, and a step that is left without any
value is not real. How many there are is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from mmlib.data.aligning import LEAST, align_parts, align_rows
from mmlib.data.csd import Csd, csd_files
from mmlib.data.feature_set import FeatureError, FeatureSet, listed
from mmlib.data.folds import read_folds
from mmlib.data.splits import split_by_group

Target = Literal["emotion", "emotions", "sentiment"]

#: The columns of the labels after the first, which is the sentiment.
EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
LABELS = ("All Labels",)
#: The sequences that can be a stream, the first of those that are there.
SEQUENCES = {
    "text": ("glove_vectors",),
    "audio": ("COVAREP",),
    "vision": ("FACET 4.2", "OpenFace_2"),
}
STEPS = {"text": 50, "audio": 50, "vision": 50}


def load_mosei(
    root: str | Path,
    *,
    target: Target = "emotion",
    threshold: float | None = None,
    folds: str | Path | None = None,
    steps: Mapping[str, int] | None = None,
    sequences: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[FeatureSet, list[str]]:
    """Make a feature set of the .csd files in a folder.

    Args:
        root: a folder, searched with its subfolders; the name inside a file says what it is.
        target: see above.
        threshold: for the target "emotions" only.
        folds: the official videos of each split, as `read_folds` takes them; left out: a split by
            video. People may appear in several videos, and the files do not say who.
        steps: how many of each stream; left out: 50.
        sequences: which sequence is a stream, by its name inside the file, such as
            {"vision": "OpenFace_2"}.
        seed: of the split by video.
        progress: show a bar.

    Returns:
        The feature set, a video being a group, and sentences about what was left out or mended.

    Raises:
        FeatureError: files, labels or folds that cannot be used; the message is one sentence.
    """
    wanted = STEPS | dict(steps or {})
    bad = {name: number for name, number in wanted.items() if name not in STEPS or number < 1}
    if bad:
        raise FeatureError(f"steps are {bad}, expected at least 1 of text, audio and vision.")
    if threshold is not None and target != "emotions":
        raise FeatureError(f"a threshold is for the target 'emotions', not for '{target}'.")
    notes: list[str] = []
    with ExitStack() as stack:
        opened = _open(root, stack)
        labels = _pick(opened, "labels", LABELS, root)
        streams = _streams(opened, dict(sequences or {}), root)
        segments = _segments(labels, notes)
        split_of = read_folds(folds) if folds else None
        if split_of is not None:
            segments = _in_folds(segments, split_of, folds, notes)
        segments, values = _targets(segments, target, threshold, notes)
        inputs, masks = _gather(segments, streams, wanted, notes, progress)
    there = np.any([mask.any(1) for mask in masks.values()], axis=0)
    if not there.any():
        raise FeatureError(
            f"no labelled segment in {root} has a single row in {listed(list(streams))}."
        )
    if not there.all():
        notes.append(f"{(~there).sum()} segments have no row in any stream and were left out.")
        segments = [segment for segment, keep in zip(segments, there, strict=True) if keep]
        values = values[there]
        inputs = {name: value[there] for name, value in inputs.items()}
        masks = {name: value[there] for name, value in masks.items()}
    group = np.array([segment.video for segment in segments])
    if split_of is not None:
        split = np.array([split_of[video] for video in group])
    else:
        split = split_by_group(group, labels=values, seed=seed)
        notes.append(f"No folds were given: the split is by video, with seed {seed}.")
    for name in inputs:
        _mend(name, inputs[name], masks[name], split == "train", notes)
    features = FeatureSet(
        inputs={name: torch.from_numpy(value) for name, value in inputs.items()},
        masks={name: torch.from_numpy(value) for name, value in masks.items()},
        labels=torch.from_numpy(values),
        class_names=EMOTIONS if target == "emotion" else None,
        split=split,
        group=group,
        ids=np.array([f"{segment.video}[{segment.number}]" for segment in segments]),
        name="mosei",
    )
    return features, notes


class _Segment(NamedTuple):
    """A labelled piece of a video: from start to end, in seconds."""

    video: str
    number: int
    start: float
    end: float
    label: np.ndarray


def _open(root: str | Path, stack: ExitStack) -> dict[str, Csd]:
    """Open every sequence in a folder, by its name."""
    opened: dict[str, Csd] = {}
    for path in csd_files(root):
        csd = stack.enter_context(Csd(path))
        other = opened.setdefault(csd.name, csd)
        if other is not csd:
            raise FeatureError(f"{path} and {other.path} are both '{csd.name}'; keep one of them.")
    return opened


def _pick(opened: dict[str, Csd], stream: str, names: Sequence[str], root: str | Path) -> Csd:
    """Take the first sequence of these names, however they are spelt."""
    plain = {_plain(name): csd for name, csd in opened.items()}
    for name in names:
        if _plain(name) in plain:
            return plain[_plain(name)]
    raise FeatureError(
        f"{root} has no sequence {' or '.join(names)} for {stream}; it has {listed(sorted(opened))}."
    )


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _streams(opened: dict[str, Csd], chosen: dict[str, str], root: str | Path) -> dict[str, Csd]:
    """Find the sequence of each stream: the chosen one, or the first of the known that is there."""
    strange = [stream for stream in chosen if stream not in SEQUENCES]
    if strange:
        raise FeatureError(f"there is no stream '{strange[0]}', only {listed(list(SEQUENCES))}.")
    streams = {}
    present = {_plain(name) for name in opened}
    for stream, names in SEQUENCES.items():
        if stream in chosen:
            streams[stream] = _pick(opened, stream, (chosen[stream],), root)
        elif present & {_plain(name) for name in names}:
            streams[stream] = _pick(opened, stream, names, root)
    if not streams:
        known = [name for names in SEQUENCES.values() for name in names]
        raise FeatureError(f"{root} has none of {listed(known)}; it has {listed(sorted(opened))}.")
    return streams


def _segments(labels: Csd, notes: list[str]) -> list[_Segment]:
    """Read the labelled segments; one without length, or whose numbers are none, is left out."""
    width = labels.width()
    if width != 1 + len(EMOTIONS):
        raise FeatureError(
            f"{labels.path} has {width} labels a segment, expected 7: sentiment, "
            f"{', '.join(EMOTIONS)}."
        )
    segments, left_out = [], []
    for video in labels.videos:
        intervals, values = labels.read(video)
        for number, ((start, end), label) in enumerate(zip(intervals, values, strict=True)):
            finite = bool(np.isfinite([start, end]).all() and np.isfinite(label).all())
            if finite and end - start > LEAST:
                segments.append(_Segment(video, number, float(start), float(end), label))
            else:
                left_out.append(f"{video}[{number}]")
    if left_out:
        notes.append(
            f"{len(left_out)} segments have no length, or a label or time that is not finite, and "
            f"were left out: {listed(left_out)}."
        )
    if not segments:
        raise FeatureError(f"{labels.path} has no segment that could be used.")
    return segments


def _in_folds(
    segments: list[_Segment], split_of: dict[str, str], path: Any, notes: list[str]
) -> list[_Segment]:
    """Keep the segments whose video is in a fold."""
    kept = [segment for segment in segments if segment.video in split_of]
    strange = sorted({segment.video for segment in segments} - split_of.keys())
    if not kept:
        raise FeatureError(
            f"no video of the labels is in {path}; the labels have {listed(strange)}."
        )
    if strange:
        notes.append(
            f"{len(segments) - len(kept)} segments of {len(strange)} videos are in no fold of {path} "
            f"and were left out: {listed(strange)}."
        )
    return kept


def _targets(
    segments: list[_Segment], target: Target, threshold: float | None, notes: list[str]
) -> tuple[list[_Segment], np.ndarray]:
    """Turn the labels into what is to be predicted."""
    table = np.stack([segment.label for segment in segments]).astype(np.float32)
    emotions = table[:, 1:]
    if target == "sentiment":
        return segments, table[:, :1].copy()
    if target == "emotions":
        if threshold is None:
            return segments, emotions.copy()
        present = emotions > threshold
        counts = ", ".join(f"{name} {n}" for name, n in zip(EMOTIONS, present.sum(0), strict=True))
        notes.append(
            f"Above {threshold:g}: {counts}; {(present.sum(1) > 1).sum()} of {len(present)} segments "
            f"have several emotions and {(~present.any(1)).sum()} none."
        )
        return segments, present.astype(np.float32)
    if target != "emotion":
        raise FeatureError(f"there is no target '{target}', only emotion, emotions and sentiment.")
    strongest = emotions.max(1)
    there = strongest > 0
    if not there.any():
        raise FeatureError("no segment has any emotion, so none can be the strongest.")
    several = (emotions[there] > 0).sum(1) > 1
    tied = (emotions[there] == strongest[there, None]).sum(1) > 1
    notes.append(
        f"One emotion a segment, by arg-max: {(~there).sum()} of {len(there)} segments have none and "
        f"were left out, {several.sum()} have several of which one was kept, and in {tied.sum()} of "
        "these the strongest is tied."
    )
    kept = [segment for segment, keep in zip(segments, there, strict=True) if keep]
    return kept, emotions[there].argmax(1).astype(np.int64)


def _gather(
    segments: list[_Segment],
    streams: dict[str, Csd],
    steps: Mapping[str, int],
    notes: list[str],
    progress: bool,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Align every stream to the segments; NaN stands where a value is not finite."""
    rows_of: dict[str, list[int]] = {}
    for row, segment in enumerate(segments):
        rows_of.setdefault(segment.video, []).append(row)
    inputs, masks = {}, {}
    for name, csd in streams.items():
        value = np.zeros((len(segments), steps[name], csd.width()), np.float32)
        mask = np.zeros(value.shape[:2], dtype=bool)
        align = align_rows if name == "text" else align_parts
        seen = bad = 0
        for video, rows in tqdm(rows_of.items(), desc=name, disable=not progress):
            intervals, features = csd.read(video)
            if not len(intervals):
                continue
            if features.shape[1] != value.shape[2]:
                raise FeatureError(
                    f"{csd.path}: '{video}' has {features.shape[1]} features a row, the others "
                    f"{value.shape[2]}."
                )
            seen += features.size
            bad += int((~np.isfinite(features)).sum())
            for row in rows:
                interval = segments[row].start, segments[row].end
                step = align(interval, intervals, features, steps[name])
                value[row, : len(step)] = step
                mask[row, : len(step)] = np.isfinite(step).any(1)
        value[~mask] = 0.0
        inputs[name], masks[name] = value, mask
        if bad:
            notes.append(
                f"{name}: {bad:,} of the {seen:,} values in {csd.path.name} are not finite."
            )
        videos = [video for video in rows_of if video not in csd]
        missing = int((~mask.any(1)).sum())
        if missing:
            whole = f", {len(videos)} whole videos among them ({listed(videos)})" if videos else ""
            notes.append(f"{name}: {missing} of {len(mask)} segments have no rows{whole}.")
    return inputs, masks


def _mend(
    name: str, value: np.ndarray, mask: np.ndarray, train: np.ndarray, notes: list[str]
) -> None:
    """Put the training split's mean where a value of a real step is not finite, in place."""
    total = np.zeros(value.shape[2])
    count = np.zeros(value.shape[2])
    bad = 0
    for row in range(len(value)):  # one at a time: a whole data set's copy would not fit
        missing = np.isnan(value[row])
        bad += int(missing.sum())
        if train[row]:
            real = mask[row][:, None] & ~missing
            total += np.where(real, value[row], 0.0).sum(0)
            count += real.sum(0)
    if not bad:
        return
    mean = (total / np.maximum(count, 1)).astype(np.float32)
    for row in range(len(value)):
        missing = np.isnan(value[row])
        value[row] = np.where(missing, mean, value[row])
    features = int((count == 0).sum())
    nowhere = f"; {features} features are finite nowhere in it and became 0" if features else ""
    notes.append(
        f"{name}: {bad:,} values of real steps were not finite and became their feature's mean over "
        f"the training split{nowhere}."
    )
