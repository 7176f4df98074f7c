"""Aff-Wild2: valence and arousal of every frame, faces cut out and aligned, official splits.

The data are given on request: a person with a permanent post at a university signs the authors' end
user licence agreement, and writes to them from the university's address; what comes back are links
to archives. Unpacked below one folder they look like this:

    annotations/VA_Estimation_Challenge/Train_Set/12-24-1920x1080.txt    one line a frame
    annotations/VA_Estimation_Challenge/Validation_Set/46-30-484x360_left.txt
    cropped_aligned/12-24-1920x1080/00001.jpg                            one picture a frame with a face
    batch1/12-24-1920x1080.mp4                                           the recording, with its sound

An annotation begins with the line `valence,arousal`; line n after it belongs to picture n, both from
-1 to 1, -5 where there is no label. Two people in one recording have a file each, with `_left` and
`_right` after its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.data.clip_table import ENDINGS
from mmlib.data.feature_set import SPLITS, FeatureError, listed

HEADER, INVALID = "valence,arousal", -5.0
TARGETS = ("valence", "arousal")
#: The official splits by the names of their folders; the labels of the test set are not given out.
FOLDERS = {"Train_Set": "train", "Validation_Set": "valid", "Test_Set": "test"}
CROPPED = "cropped"  # how the name of the folder of aligned faces begins
_PICTURE = re.compile(r"(\d+)\.(?:jpe?g|png)", re.IGNORECASE)


class Annotation(NamedTuple):
    """The labels of a video.

    Shape:
        labels: `(F, 2)` float32, valence and arousal, 0 where there is none; valid: `(F,)` bool.
    """

    labels: Tensor
    valid: Tensor


class Video(NamedTuple):
    """One person in one recording.

    Attributes:
        name: of the annotation file.
        recording: the name without `_left` and `_right`: both people are of one group.
        split: train, valid or test.
        annotation: the file of its labels.
        pictures: the folder of its faces, None where there is none.
        sound: the recording, None where there is none.
    """

    name: str
    recording: str
    split: str
    annotation: Path
    pictures: Path | None
    sound: Path | None


class FoundVideos(NamedTuple):
    """What a folder holds.

    Attributes:
        videos: those with an annotation, in the order of splits and names.
        excluded: those that were left out by name.
        unlisted: those with an annotation but in none of the given lists, and so not used.
        missing: those in a list that have no annotation, as the official test set has none.
    """

    videos: list[Video]
    excluded: list[str]
    unlisted: list[str]
    missing: list[str]


@dataclass(frozen=True)
class SequenceGeometry:
    """How a video is cut: sub-sequences of clips, clips of pictures.

    Attributes:
        clips: T, of a sub-sequence.
        frames: pictures of a clip.
        dilation: every how many frames of the video one is taken; a clip spans frames * dilation.

    Source:
        JMT, section 4.2: clips of 8 pictures, sub-sequences of 8 clips, 64 x 107 spectrograms.

    Choices:
        J-15: T is free; the released configuration has clips=16, each of 32 frames dilated by 4.
        J-17: 107 columns are the sound of 32 frames at 30 a second, so a clip of 8 pictures is
        dilated by 4 here. With dilation=1 a sub-sequence is 64 frames in a row, and a spectrogram
        has 27 columns.

    Raises:
        FeatureError: a number less than one.
    """

    clips: int = 8
    frames: int = 8
    dilation: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be cut by."""
        for name, value in vars(self).items():
            if value < 1:
                raise FeatureError(f"{name} is {value}, expected at least 1.")

    @property
    def span(self) -> int:
        """Count the frames of the video from the beginning of a clip to that of the next."""
        return self.frames * self.dilation

    def num_clips(self, frames: int) -> int:
        """Count the clips of a video; the last may be shorter than the others."""
        return -(-frames // self.span)

    def pictures(self, frames: int) -> Tensor:
        """Number the frames of each clip's pictures, from 0, beyond the end where the video is over.

        Shape:
            returns `(C, frames)` int64
        """
        starts = torch.arange(self.num_clips(frames))[:, None] * self.span
        return starts + torch.arange(self.frames) * self.dilation


def read_annotation(path: str | Path) -> Annotation:
    """Read the labels of a video; -5 in either number says that the frame has none (J-22).

    Raises:
        FeatureError: the file is missing, empty, no annotation, or damaged; it says in which line.
    """
    path = Path(path)
    try:
        first, *lines = path.read_text("utf-8-sig").rstrip().splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise FeatureError(f"{path} cannot be read ({reason}).") from None
    if first.replace(" ", "") != HEADER:
        raise FeatureError(f"{path} begins with '{first[:40]}', expected the line {HEADER}.")
    if not lines:
        raise FeatureError(f"{path} has a header, but the labels of no frame.")
    numbers = np.array([_pair(line, path, row) for row, line in enumerate(lines, start=2)])
    valid = (numbers != INVALID).all(1)
    numbers[~valid] = 0.0
    return Annotation(torch.from_numpy(numbers).float(), torch.from_numpy(valid))


def clip_labels(annotation: Annotation, geometry: SequenceGeometry) -> Annotation:
    """Give each clip the mean of its frames' labels; one without a valid frame is not valid.

    Shape:
        annotation: of F frames; returns labels `(C, 2)` and valid `(C,)`
    """
    frames = len(annotation.labels)
    count = geometry.num_clips(frames)
    room = count * geometry.span - frames
    labels = torch.cat([annotation.labels, annotation.labels.new_zeros(room, 2)])
    valid = torch.cat([annotation.valid, annotation.valid.new_zeros(room)])
    labels, valid = labels.reshape(count, -1, 2), valid.reshape(count, -1)
    kept = (labels * valid[..., None]).sum(1) / valid.sum(1, keepdim=True).clamp(min=1)
    return Annotation(kept, valid.any(1))


def into_sequences(clips: Tensor, length: int) -> Tensor:
    """Cut a row of clips into sub-sequences one after the other; the last is filled up with zeros.

    Shape:
        clips: `(C, ...)`; returns `(ceil(C / length), length, ...)`
    """
    count = -(-len(clips) // length)
    room = clips.new_zeros(count * length - len(clips), *clips.shape[1:])
    return torch.cat([clips, room]).reshape(count, length, *clips.shape[1:])


def find_videos(
    root: str | Path,
    *,
    annotations: str | Path | None = None,
    pictures: str | Path | None = None,
    lists: Mapping[str, str | Path] | None = None,
    exclude: Collection[str] = (),
) -> FoundVideos:
    """Find the annotated videos, their faces and their recordings.

    Args:
        root: the folder below which everything is.
        annotations: the folder with `Train_Set` and `Validation_Set`; left out, the one below the
            root that holds valence and arousal.
        pictures: the folder of folders of faces; left out, `cropped_aligned` below the root.
        lists: split -> a text file of videos' names, one a line; left out, the folders decide.
        exclude: names of videos (or recordings, for all people in them) that are not wanted.

    Choices:
        J-26: ten videos are excluded by name in the released code, without a reason. None is here,
        unless it is named.

    Raises:
        FeatureError: there is no annotation, a name stands in two splits, or one that is to be
            excluded is not there.
    """
    root = Path(root)
    if not root.is_dir():
        raise FeatureError(f"{root} is not a folder, expected the one with the unpacked archives.")
    files = _annotations(root if annotations is None else Path(annotations))
    splits = {name: split for name, (split, _) in files.items()}
    if lists is not None:
        splits = _read_lists(lists)
    known = {*files, *map(recording_of, files)}
    strange = sorted(set(exclude) - known)
    if strange:
        raise FeatureError(f"there is no video '{strange[0]}' in {root} that could be excluded.")
    place = None if pictures is None else Path(pictures)
    faces = _folders(root, place)
    recordings = _recordings(root, place)
    found, excluded = [], []
    for name in sorted(files, key=lambda one: (SPLITS.index(splits.get(one, "test")), one)):
        if name not in splits:
            continue
        recording = recording_of(name)
        if {name, recording} & {*exclude}:
            excluded.append(name)
            continue
        sound = recordings.get(recording)
        found.append(Video(name, recording, splits[name], files[name][1], faces.get(name), sound))
    if not found:
        raise FeatureError(f"no annotated video in {root} is left; name others in the lists.")
    unlisted = [name for name in files if name not in splits]
    return FoundVideos(found, excluded, unlisted, sorted(set(splits) - set(files)))


def recording_of(name: str) -> str:
    """Name the recording that a person was cut out of: the name without `_left` or `_right`."""
    return re.sub(r"_(left|right)$", "", name)


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """List the pictures of a video by their frames, from 1 as their names count."""
    found = {}
    for path in sorted(folder.iterdir()):
        match = _PICTURE.fullmatch(path.name)
        if match:
            found[int(match[1])] = path
    return found


def _pair(line: str, path: Path, row: int) -> tuple[float, float]:
    """Read a line of two numbers."""
    try:
        valence, arousal = (float(cell) for cell in line.split(","))
    except ValueError:
        valence = arousal = float("nan")
    if not all(-1 <= number <= 1 or number == INVALID for number in (valence, arousal)):
        raise FeatureError(
            f"{path}, line {row}: '{line[:40]}', expected two numbers from -1 to 1 (or -5), such as "
            "0.25,-0.1; unpack the file again."
        )
    return valence, arousal


def _annotations(root: Path) -> dict[str, tuple[str, Path]]:
    """Find name -> split and annotation file; those of other challenges have another header."""
    files: dict[str, tuple[str, Path]] = {}
    for folder, names in _walk(root):
        split = FOLDERS.get(folder.name)
        texts = [folder / name for name in names if split and name.endswith(".txt")]
        if not split or not texts or not _begins(texts[0]):
            continue
        for path in texts:
            before = files.setdefault(path.stem, (split, path))
            if before[1] != path:
                raise FeatureError(
                    f"there are two annotations of '{path.stem}': {before[1]}, {path}."
                )
    if not files:
        raise FeatureError(
            f"there is no annotation of valence and arousal in {root}, expected such as "
            "VA_Estimation_Challenge/Train_Set/NAME.txt that begins with the line valence,arousal."
        )
    return files


def _begins(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return file.readline().replace(" ", "").strip() == HEADER


def _walk(root: Path, pictures: Path | None = None) -> Iterator[tuple[Path, list[str]]]:
    """List folders and the files in them, but not in those of pictures, which are millions."""
    for place, folders, files in os.walk(root):
        here = Path(place)
        if here.name.startswith(CROPPED) or here == pictures:
            folders.clear()
            files.clear()
        folders.sort()
        yield here, sorted(files)


def _folders(root: Path, pictures: Path | None) -> dict[str, Path]:
    """Find the folders of faces, by the names of their videos."""
    places = [here for here, _ in _walk(root) if here.name.startswith(CROPPED)]
    if pictures is not None:
        if not pictures.is_dir():
            raise FeatureError(f"{pictures} is not a folder, expected that of the videos' faces.")
        places = [pictures]
    found = (path for place in places for path in sorted(place.iterdir()))
    return {path.name: path for path in found if path.is_dir()}


def _recordings(root: Path, pictures: Path | None) -> dict[str, Path]:
    """Find the recordings by name; of two, one with a picture (its rate is needed)."""
    found = [
        here / name
        for here, names in _walk(root, pictures)
        for name in names
        if Path(name).suffix.lower() in ENDINGS
    ]
    found.sort(key=lambda path: ENDINGS.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in found}


def _read_lists(lists: Mapping[str, str | Path]) -> dict[str, str]:
    """Read the names in each list; endings such as .txt and .mp4 do not belong to them."""
    splits: dict[str, str] = {}
    for split, path in lists.items():
        if split not in SPLITS:
            raise FeatureError(f"there is a list of '{split}', expected of {listed(SPLITS)}.")
        try:
            lines = Path(path).read_text("utf-8-sig").splitlines()
        except OSError as error:
            raise FeatureError(f"{path} cannot be read ({error.strerror or error}).") from None
        for name in filter(None, map(str.strip, lines)):
            stem = re.sub(r"\.(txt|mp4|avi)$", "", name)
            if splits.setdefault(stem, split) != split:
                raise FeatureError(f"'{stem}' is listed for {splits[stem]} and for {split}.")
    if not splits:
        raise FeatureError("the lists name no video.")
    return splits
