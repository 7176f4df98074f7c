"""From raw clips to a feature set: cepstra of the sound and pictures of the face, cut alike.

Each clip is worked on alone, in one of several processes, and what comes out is kept in a file of
its own, so that a preparation that was killed goes on where it stopped and one bad clip loses no
other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmlib.data.clip_streams import Failure
from mmlib.data.clip_table import Clip, class_numbers
from mmlib.data.extras import load_extra
from mmlib.data.faces import Detect, centre_squares, crop_faces, identity_of
from mmlib.data.feature_cache import FeatureCache, Kept
from mmlib.data.feature_set import FeatureError, FeatureSet
from mmlib.data.gathering import Given, Taking, gather, refuse_full_disk
from mmlib.data.media import MediaError, Window, centred_window, read_frames, read_sound
from mmlib.data.sound import log_mel, mfcc
from mmlib.data.working import in_processes

STREAMS = ("audio", "vision")


@dataclass(frozen=True)
class Recipe:
    """What is taken from each clip.

    Attributes:
        seconds: around the middle of the clip.
        frames: at the middles of as many equal parts of these seconds.
        size: side of the square pictures, in pixels.
        audio: "mfcc", or "log_mel" for the mel bands that they are made from.
        detect: finds the face in a frame (must be picklable for several processes); None takes the
            middle square of the picture.
        margin: how much longer the square's side is than that of the face.
        sample_rate, n_fft, hop, n_mels, n_mfcc: of the sound; librosa's usual ones.

    Choices:
        A-30: sound and picture are cut to the same seconds.

    Raises:
        FeatureError: a number is not positive, or `audio` is another word.
    """

    seconds: float = 3.6
    frames: int = 15
    size: int = 224
    audio: Literal["mfcc", "log_mel"] = "mfcc"
    detect: Detect | None = None
    margin: float = 0.3
    sample_rate: int = 22_050
    n_fft: int = 2048
    hop: int = 512
    n_mels: int = 128
    n_mfcc: int = 10

    def __post_init__(self) -> None:
        """Refuse what no clip could be prepared by."""
        for name in ("seconds", "frames", "size"):
            if not getattr(self, name) > 0:
                raise FeatureError(f"{name} is {getattr(self, name)}, expected more than 0.")
        if self.audio not in ("mfcc", "log_mel"):
            raise FeatureError(f"audio is '{self.audio}', expected mfcc or log_mel.")
        if self.seconds * self.sample_rate <= self.n_fft:
            least = self.n_fft / self.sample_rate
            raise FeatureError(f"seconds is {self.seconds:g}, expected more than {least:.2f}.")

    @property
    def lengths(self) -> dict[str, int]:
        """Steps of each stream: 156 and 15 for 3.6 seconds."""
        samples = round(self.seconds * self.sample_rate)
        return {"audio": math.ceil(samples / self.hop), "vision": self.frames}

    def bytes_for(self, clips: int, streams: Sequence[str] = STREAMS) -> int:
        """How large the feature file of so many clips will be."""
        width = 4 * (self.n_mfcc if self.audio == "mfcc" else self.n_mels)
        sizes = {"audio": self.lengths["audio"] * width, "vision": 3 * self.frames * self.size**2}
        return clips * sum(sizes[stream] for stream in streams)

    def identity(self, stream: str) -> list[object]:
        """What decides the features of a stream, for the cache."""
        if stream == "audio":
            sound = [self.sample_rate, self.n_fft, self.hop, self.n_mels, self.n_mfcc]
            return [self.seconds, self.audio, *sound]
        return [self.seconds, self.frames, self.size, self.margin, identity_of(self.detect)]

    def take(self, path: Path, stream: str) -> Kept:
        """Make the features of a clip's middle."""
        window = centred_window(path, self.seconds)
        if stream == "vision":
            features = face_pictures(path, window, self)
        else:
            sound = read_sound(path, sample_rate=self.sample_rate, window=window)
            features = sound_features(sound, self)
        return Kept(features, len(features))


class Preparation(NamedTuple):
    """What came out.

    Attributes:
        features: the clips of which at least one stream could be had; another is masked as absent.
        failures: every stream of every clip that could not be had.
        left_out: the clips of which no stream could be had.
        shorter: clip -> about how many seconds it has, where these are less than wanted; the rest
            is masked.
        computed: how many clips were worked on now, not taken from the cache.
        cut: stream -> the clips that have more steps of it than are kept.
    """

    features: FeatureSet
    failures: list[Failure]
    left_out: list[str]
    shorter: dict[str, float]
    computed: int
    cut: dict[str, list[str]]


class _Task(NamedTuple):
    """A clip, and the streams of it that are not in the cache."""

    clip: Clip
    streams: tuple[str, ...]
    recipe: Taking
    cache: Path


def prepare(
    clips: Sequence[Clip],
    recipe: Taking,
    *,
    class_names: Sequence[str],
    cache: str | Path,
    streams: Sequence[str] = STREAMS,
    given: Mapping[str, Given] | None = None,
    folder: str | Path | None = None,
    accept: Callable[[Sequence[Failure]], None] | None = None,
    workers: int = 1,
    name: str = "features",
    progress: bool = True,
) -> Preparation:
    """Work on each clip, and make one feature set of them.

    The pictures are put into memory once, as bytes; only what is held at the end is ever held, and
    with a folder no more than a few clips.

    Args:
        clips: such as `ravdess.find_clips` and `cremad.find_clips` give them.
        recipe: what is taken from each.
        class_names: what the labels 0, 1, 2, ... mean, in this order.
        cache: a folder for the features of each clip.
        streams: "audio", "vision" or both.
        given: streams that are there already, name -> features (N, T, D) and mask (N, T) of all
            clips; a clip with a real step in them is never left out.
        folder: of features, to be written clip by clip, for more than memory holds; None: no folder.
        accept: sees what could not be had before any features are gathered, and may raise.
        workers: processes; 1 works in this one. A script that asks for several must stand behind
            `if __name__ == "__main__":`, for each process reads it again.
        name: of the feature set.
        progress: show a bar.

    Shape:
        audio (N, T, D) float32 and vision (N, frames, 3, size, size) uint8, with masks, False where
        a clip has no such step

    Choices:
        C-02: the order of the classes is given, never guessed. C-19: masks tell what is padding.

    Raises:
        FeatureError: no stream could be had of any clip, the labels and the class names do not fit
            together, or the disk has no room for it.
    """
    class_numbers(clips, class_names)  # nothing should be computed that cannot be labelled
    given = given or {}
    if workers < 1:
        raise FeatureError(f"workers is {workers}, expected at least 1.")
    load_extra("av", extra="media", purpose="reading recordings")  # its lack is no clip's fault
    kept = {stream: _cache(Path(cache), stream, recipe) for stream in streams}
    tasks = {}
    for row, clip in enumerate(clips):
        missing = tuple(one for one in streams if kept[one].load(clip, one) is None)
        if missing:
            tasks[row] = _Task(clip, missing, recipe, Path(cache))
    needed = sum(recipe.bytes_for(1, one.streams) for one in tasks.values() if one.clip.path)
    if folder is not None:
        needed += recipe.bytes_for(sum(clip.path is not None for clip in clips), streams)
    refuse_full_disk(Path(cache), needed)
    reasons: dict[int, dict[str, str]] = {}
    for row, outcome in _with_bar(tasks, len(clips), workers, progress):
        reasons[row] = outcome
    failures = [
        Failure(clips[row].name, stream, reason)
        for row in sorted(reasons)
        for stream, reason in reasons[row].items()
    ]
    if accept is not None:
        accept(failures)
    known = torch.stack([mask.any(1) for _, mask in given.values()]).any(0) if given else None
    rows = [
        row
        for row in range(len(clips))
        if len(reasons.get(row, {})) < len(streams) or (known is not None and known[row])
    ]
    if not rows:
        first = failures[0]
        raise FeatureError(
            f"nothing could be had of any of {len(clips)} clips; first '{first.clip}', "
            f"{first.stream}: {first.reason}"
        )
    some = [clips[row] for row in rows]
    features, cut = gather(
        some,
        kept,
        recipe.lengths,
        class_names=class_names,
        given={one: (value[rows], mask[rows]) for one, (value, mask) in given.items()},
        name=name,
        folder=None if folder is None else Path(folder),
    )
    there = set(rows)
    left_out = [clip.name for row, clip in enumerate(clips) if row not in there]
    return Preparation(features, failures, left_out, _shorter(features, recipe), len(tasks), cut)


def sound_features(sound: Tensor, recipe: Recipe) -> Tensor:
    """The cepstra or mel bands of a waveform, one step for each hop that begins in it.

    3.6 seconds at 22,050 Hz are 79,380 samples, and give the 156 steps that librosa gives too.

    Shape:
        (samples,) -> (ceil(samples / hop), n_mfcc or n_mels)

    Raises:
        MediaError: the sound is silent throughout, or too short for a single window.
    """
    reach = recipe.n_fft // 2
    if len(sound) <= reach:
        raise MediaError(f"its sound lasts only {len(sound) / recipe.sample_rate:.3f} seconds.")
    if not bool(sound.any()):
        raise MediaError("its sound is silent throughout.")
    steps = math.ceil(len(sound) / recipe.hop)
    # The last step may begin so near the end that `log_mel` would leave it out: mirror a little.
    longer = pad(sound[None, None], (0, reach), mode="reflect")[0]
    rate, n_fft, hop, n_mels = recipe.sample_rate, recipe.n_fft, recipe.hop, recipe.n_mels
    if recipe.audio == "log_mel":
        bands = log_mel(longer, sample_rate=rate, n_fft=n_fft, hop=hop, n_mels=n_mels)
        return bands[0, :steps]
    cepstra = mfcc(
        longer, sample_rate=rate, n_fft=n_fft, hop=hop, n_mels=n_mels, n_mfcc=recipe.n_mfcc
    )
    return cepstra[0, :steps]


def face_pictures(path: Path, window: Window, recipe: Recipe) -> Tensor:
    """The pictures of a window, each a square of the recipe's size.

    Moments lie as far from each other in a short clip as in a long one, so a short one has fewer.

    Shape:
        (up to frames, 3, size, size) uint8

    Raises:
        MediaError: there is no picture, or no face in any.
    """
    apart = recipe.seconds / recipe.frames
    count = min(recipe.frames, max(1, round((window[1] - window[0]) / apart)))
    frames = read_frames(path, count, window=(window[0], window[0] + count * apart))
    if recipe.detect is None:
        return centre_squares(frames, size=recipe.size)
    return crop_faces(frames, recipe.detect, size=recipe.size, margin=recipe.margin)


def _work(task: _Task) -> dict[str, str]:
    """Make the streams of a clip and keep them; tell which could not be had, and why."""
    clip, recipe = task.clip, task.recipe
    reasons = {}
    for stream in task.streams:
        try:
            kept = _features(clip, stream, recipe)
        except MediaError as error:  # one bad clip must not lose the others
            reasons[stream] = str(error)
            continue
        except Exception as error:  # noqa: BLE001 - nor may what no decoder should ever raise
            first = (str(error).splitlines() or [""])[0]
            reasons[stream] = f"{type(error).__name__}: {first}"
            continue
        _cache(task.cache, stream, recipe).store(clip, stream, kept)
    return reasons


def _features(clip: Clip, stream: str, recipe: Taking) -> Kept:
    if clip.path is None:
        raise MediaError("there is no recording of it.")
    return recipe.take(clip.path, stream)


def _with_bar(
    tasks: dict[int, _Task], count: int, workers: int, progress: bool
) -> Iterator[tuple[int, dict[str, str]]]:
    """Work on the tasks behind a bar of all clips."""
    from tqdm.auto import tqdm

    with tqdm(
        total=count,
        initial=count - len(tasks),
        desc="clips",
        unit="clip",
        disable=not progress,
    ) as bar:
        for outcome in in_processes(_work, tasks, workers):
            bar.update()
            yield outcome


def _shorter(features: FeatureSet, recipe: Taking) -> dict[str, float]:
    """Clip -> about how many seconds it has, where the masks say that some are missing."""
    found: dict[str, float] = {}
    for stream in recipe.lengths:
        if stream not in features.masks:
            continue
        steps = features.masks[stream].sum(1)
        for row in ((steps > 0) & (steps < recipe.lengths[stream])).nonzero().flatten().tolist():
            share = float(steps[row]) / recipe.lengths[stream]
            found.setdefault(str(features.ids[row]), recipe.seconds * share)
    return found


def _cache(folder: Path, stream: str, recipe: Taking) -> FeatureCache:
    return FeatureCache(folder / stream, "prepare", recipe.identity(stream))
