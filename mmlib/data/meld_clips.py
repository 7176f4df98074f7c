"""MELD's clips: found by their names, faults and all, and what is taken from each.

The archives have folders `train_splits`, `dev_splits_complete` and `output_repeated_splits_test` of
clips `dia0_utt1.mp4`. Some clips are missing, damaged or minutes long, and some belong to no
utterance; none of that stops a preparation, but all of it is told, by kind and by name.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import pad

from mmlib.data.clip_table import ENDINGS
from mmlib.data.extras import load_extra
from mmlib.data.faces import Detect, centre_squares, crop_faces, identity_of
from mmlib.data.feature_cache import Kept
from mmlib.data.feature_set import FeatureError, listed
from mmlib.data.media import MediaError, read_frames, read_sound
from mmlib.data.meld import FOLDERS, Utterance

#: What may be amiss with clips.
FAULTS = {
    "missing": "labelled utterances without a clip",
    "corrupt": "clips that cannot be opened",
    "over-long": "clips far longer than any utterance, so badly cut",
    "extra": "clips of no labelled utterance, not used",
    "double": "clips of which there is another copy, not used",
    "unplaced": "clips in a folder that names no split, not used",
    "hidden": "files that another system left (._name), not used",
}

#: Seconds; the longest utterance of train and dev lasts 41 by its time stamps.
LONGEST = 60.0

_NAME = re.compile(r"dia(\d{1,9})_utt(\d{1,9})", re.IGNORECASE)
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "valid", "val", "validation", "development"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# Where an utterance is there in several forms, one with a picture is taken.
_FORMS = tuple(ENDINGS)


class FoundClips(NamedTuple):
    """Which clip belongs to which utterance.

    Attributes:
        utterances: as they came, each with the place of its clip; None where it is missing or
            cannot be opened.
        faults: kind (of `FAULTS`) -> the names of what it befell; a kind that befell nothing is not
            there.
        lasts: over-long clip -> its seconds.
    """

    utterances: list[Utterance]
    faults: dict[str, list[str]]
    lasts: dict[str, float]

    def refuse(self, kinds: Collection[str]) -> None:
        """Refuse to go on where there is a fault of one of these kinds.

        Raises:
            FeatureError: there is, or a kind is unknown.
        """
        strange = sorted(set(kinds) - set(FAULTS))
        if strange:
            raise FeatureError(
                f"there is no kind of fault '{strange[0]}', expected {listed(list(FAULTS))}."
            )
        found = [kind for kind in FAULTS if kind in kinds and self.faults.get(kind)]
        if found:
            told = [
                f"{kind} {len(self.faults[kind])} ({listed(self.faults[kind])})" for kind in found
            ]
            raise FeatureError(f"these faults are not to be tolerated: {'; '.join(told)}.")


def find_clips(
    root: str | Path, utterances: Sequence[Utterance], *, longest: float = LONGEST
) -> FoundClips:
    """Find the clip of each utterance by its name, in the folders of its split.

    A clip's split is named by the innermost of its folders whose name has a word such as train, dev,
    valid or test in it; where all utterances are of one split, folders need not name it. Each clip
    that is found is opened, but not decoded.

    Args:
        root: the folder in which all clips are.
        utterances: such as `read_sentences` gives them.
        longest: what lasts longer, in seconds, counts as over-long.

    Raises:
        FeatureError: no such folder, or not a single clip of these utterances in it.
        NotInstalled: the extra `media` is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise FeatureError(f"{root} is not a folder, expected the one with MELD's clips.")
    load_extra("av", extra="media", purpose="reading recordings")
    splits = {one.split for one in utterances}
    faults: dict[str, list[str]] = defaultdict(list)
    places: dict[tuple[str, int, int], list[Path]] = defaultdict(list)
    wanted = {(one.split, one.dialogue, one.number) for one in utterances}
    for path in _recordings(root):
        told = path.relative_to(root).as_posix()
        match = _NAME.fullmatch(path.stem)
        split = _split_of(path.relative_to(root), splits)
        if split is not None and split not in splits:
            continue  # its csv file is not there
        if path.name.startswith("."):
            faults["hidden"].append(told)
        elif match and split is None:
            faults["unplaced"].append(told)
        elif match and (split, int(match[1]), int(match[2])) in wanted:
            places[str(split), int(match[1]), int(match[2])].append(path)
        else:
            faults["extra"].append(told)
    if not places:
        raise FeatureError(
            f"there is no clip of any of the {len(utterances):,} utterances in {root}; expected such "
            "as train_splits/dia0_utt0.mp4, unpacked."
        )
    found, lasts = [], {}
    for one in utterances:
        paths = places.get((one.split, one.dialogue, one.number), [])
        if not paths:
            faults["missing"].append(one.id)
            found.append(replace(one, clip=None))
            continue
        best, *others = sorted(paths, key=lambda path: _rank(path, FOLDERS[one.split]))
        # The same utterance as sound alone, beside its video, is no second copy.
        same = [path for path in others if path.suffix.lower() == best.suffix.lower()]
        faults["double"] += [path.relative_to(root).as_posix() for path in same]
        seconds = _seconds(best)
        if seconds is None:
            faults["corrupt"].append(one.id)
        elif seconds > longest:
            faults["over-long"].append(one.id)
            lasts[one.id] = seconds
        found.append(replace(one, clip=None if seconds is None else best))
    return FoundClips(found, {kind: faults[kind] for kind in FAULTS if faults[kind]}, lasts)


@dataclass(frozen=True)
class MeldRecipe:
    """What is taken from each clip, for the networks that learn each stream by itself.

    Attributes:
        samples: of the waveform, from its beginning; in blocks of `hop` samples each.
        hop: samples of one column of the spectrogram that the audio network makes.
        sample_rate: of the waveform, which is the mean of the channels.
        frames: pictures at most, at the middles of as many equal parts of the clip.
        size: side of the square pictures, in pixels.
        detect: finds the largest face in a frame, which is not always the speaker's; None takes the
            middle square of the picture.
        margin: how much longer the square's side is than that of the face.
        longest: of a longer clip, pictures are taken from the first so many seconds only.

    Choices:
        E-16: 47,200 samples at 16 kHz are 2.95 seconds; two in five utterances last longer and are
        cut. E-20: how the paper comes down to 50 faces is not said; here they are evenly spread.

    Raises:
        FeatureError: a number is not positive, or `samples` are not whole blocks.
    """

    samples: int = 47_200
    hop: int = 200
    sample_rate: int = 16_000
    frames: int = 50
    size: int = 160
    detect: Detect | None = None
    margin: float = 0.3
    longest: float = LONGEST

    def __post_init__(self) -> None:
        """Refuse what no clip could be prepared by."""
        for name in ("samples", "hop", "sample_rate", "frames", "size", "longest"):
            if not getattr(self, name) > 0:
                raise FeatureError(f"{name} is {getattr(self, name)}, expected more than 0.")
        if self.samples % self.hop:
            raise FeatureError(
                f"samples is {self.samples}, expected whole blocks of {self.hop} samples."
            )

    @property
    def seconds(self) -> float:
        """How much of the sound is kept."""
        return self.samples / self.sample_rate

    @property
    def lengths(self) -> dict[str, int]:
        """Steps of each stream: 236 blocks of sound and 50 pictures."""
        return {"audio": self.samples // self.hop, "vision": self.frames}

    def bytes_for(self, clips: int, streams: Sequence[str]) -> int:
        """How large the feature file of so many clips will be."""
        sizes = {"audio": 2 * self.samples, "vision": 3 * self.frames * self.size**2}
        return clips * sum(sizes[stream] for stream in streams)

    def identity(self, stream: str) -> list[object]:
        """What decides the features of a stream, for the cache."""
        if stream == "audio":
            return ["meld", self.samples, self.hop, self.sample_rate]
        face = identity_of(self.detect)
        return ["meld", self.frames, self.size, self.margin, self.longest, face]

    def take(self, path: Path, stream: str) -> Kept:
        """Take a stream out of a clip.

        Shape:
            audio (up to 236, 200) float16, a step for each block that begins in the sound, the last
            one filled up with zeros; vision (up to 50, 3, size, size) uint8.

        Raises:
            MediaError: there is no sound, or only silence; no picture, or no face in any.
        """
        return self._sound(path) if stream == "audio" else self._faces(path)

    def _sound(self, path: Path) -> Kept:
        sound = read_sound(path, sample_rate=self.sample_rate)
        if not bool(sound.any()):
            raise MediaError("its sound is silent throughout.")
        steps = math.ceil(len(sound) / self.hop)
        kept = sound[: self.samples]
        blocks = pad(kept, (0, -len(kept) % self.hop)).reshape(-1, self.hop)
        return Kept(blocks.half(), steps)

    def _faces(self, path: Path) -> Kept:
        seconds = _seconds(path) or 0.0
        window = (0.0, self.longest) if seconds > self.longest else None
        frames = read_frames(path, self.frames, window=window)
        faces: Tensor
        if self.detect is None:
            faces = centre_squares(frames, size=self.size)
        else:
            faces = crop_faces(frames, self.detect, size=self.size, margin=self.margin)
        return Kept(faces, len(faces))


def _recordings(root: Path) -> list[Path]:
    """List all files that are recordings by their ending, hidden ones too, in a fixed order."""
    found = []
    for folder, _, names in os.walk(root):
        found += [Path(folder, name) for name in names if Path(name).suffix.lower() in ENDINGS]
    return sorted(found)


def _split_of(path: Path, splits: Collection[str]) -> str | None:
    """Read a clip's split from its folders, from the inside out."""
    for folder in reversed(path.parts[:-1]):
        words = Counter(
            _SPLIT_WORDS[word]
            for word in re.split(r"[^a-z]+", folder.lower())
            if word in _SPLIT_WORDS
        )
        if len(words) == 1:
            return next(iter(words))
    return next(iter(splits)) if len(splits) == 1 else None


def _rank(path: Path, official: str) -> tuple[int, bool, int, Path]:
    """Order copies: with a picture, in the release's own folder, not deep in it."""
    return _FORMS.index(path.suffix.lower()), official not in path.parts, len(path.parts), path


def _seconds(path: Path) -> float | None:
    """How long a clip lasts by its own header; None where it cannot be opened."""
    av = load_extra("av", extra="media", purpose="reading recordings")
    try:
        # Absolute: a name such as `http:clip` must not be taken for an address.
        with av.open(str(path.absolute())) as container:
            return float(container.duration or 0) / av.time_base if container.streams else None
    except (av.FFmpegError, OSError, ValueError):
        return None
