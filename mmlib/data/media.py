"""Recordings, decoded: the sound of a clip as a waveform, and frames spread evenly over its picture.

Needs the extra `media` (PyAV, which brings its own FFmpeg); what FFmpeg reads, this reads: mp4, flv,
mkv, wav, ogg, mp3 and more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlib.data.extras import load_extra

#: Samples in a second, where nothing else is asked for: what speech encoders are trained on.
SAMPLE_RATE = 16_000


class MediaError(ValueError):
    """A recording that cannot be used; the message is one sentence."""


def read_sound(path: str | Path, *, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Decode the whole sound of a recording: the mean of its channels, resampled.

    Shape:
        (samples,) float32, in [-1, 1] where the recording is.

    Raises:
        MediaError: the recording is missing, empty or damaged, or there is no sound in it.
        NotInstalled: the extra `media` is missing.
    """
    path = Path(path)
    with _opened(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no sound, only {_kinds(container)}.")
        resample = _package().AudioResampler(format="fltp", rate=sample_rate).resample
        pieces = [
            piece.to_ndarray().mean(0)  # FFmpeg's own mix of two channels is louder than both
            for frame in _until_the_end(container.decode(audio=0))
            for piece in resample(frame)
        ]
    if not sum(map(len, pieces)):
        raise MediaError(f"{path} has a sound track, but not a single sample in it.")
    sound = torch.from_numpy(np.concatenate(pieces))
    if not bool(torch.isfinite(sound).all()):
        raise MediaError(f"{path} has NaN or infinity among its samples; write it again.")
    return sound


def read_frames(path: str | Path, count: int) -> Tensor:
    """Decode what is on screen in the middle of each of `count` equal parts of a recording.

    A picture that is on screen at two of those moments is given once, so a recording of fewer
    pictures than `count` gives them all and no copies. Phones store a turned picture and the angle:
    it is turned upright. A cover image in a sound file is not a picture of the recording.

    Shape:
        (up to count, 3, height, width) uint8, RGB.

    Raises:
        MediaError: the recording is missing, empty or damaged, or there is no picture in it.
        NotInstalled: the extra `media` is missing.
        ValueError: `count` is less than one.
    """
    path = Path(path)
    if count < 1:
        raise ValueError(f"count is {count}, expected at least one frame.")
    with _opened(path) as container:
        number = _picture(path, container)
        times = [packet.pts for packet in container.demux(video=number) if packet.size]
    if not times:
        raise MediaError(f"{path} has a picture track, but not a single frame in it.")
    with _opened(path) as container:
        frames = container.decode(video=number)
        chosen = list(_on_screen(frames, *_moments(times, count)))
        if not chosen:
            raise MediaError(f"{path} has a picture track, but no frame in it can be decoded.")
        size = chosen[0].width, chosen[0].height
        pictures = np.stack([_upright(frame, *size) for frame in chosen])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def _moments(times: list[int | None], count: int) -> tuple[list[Fraction], bool]:
    """The middles of `count` equal parts, and whether on the clock or in numbers of frames."""
    known = sorted(time for time in times if time is not None)
    on_clock = len(known) == len(times)
    if not on_clock:  # some old containers tell no times: count frames instead
        known = list(range(len(times)))
    start, steps = known[0], len(known) - 1
    # The last picture stays as long as one does on the average. Fractions: no rounding may decide.
    whole = Fraction((known[-1] - start) * (steps + 1), steps) if steps else Fraction(1)
    return [start + whole * (2 * part + 1) / (2 * count) for part in range(count)], on_clock


def _on_screen(frames: Iterator[Any], waiting: list[Fraction], on_clock: bool) -> Iterator[Any]:
    """Give the frame on screen at each moment, each once, and decode no further than needed."""
    last = None
    for number, frame in enumerate(frames):
        time = frame.pts if on_clock and frame.pts is not None else number
        passed = sum(moment < time for moment in waiting)
        if passed and last is not None:
            yield last
        waiting = waiting[passed:]
        if not waiting:
            return
        last = frame
    if last is not None:
        yield last


def _upright(frame: Any, width: int, height: int) -> np.ndarray:
    """A frame of that size as (height, width, 3), turned as its display matrix says."""
    picture = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.rot90(picture, k=round(frame.rotation / 90) % 4)  # both counter-clockwise


def _picture(path: Path, container: Any) -> int:
    """The number of the first video stream that is no cover image."""
    cover = _package().stream.Disposition.attached_pic
    for number, stream in enumerate(container.streams.video):
        if not stream.disposition & cover:
            return number
    raise MediaError(f"{path} has no picture, only {_kinds(container)}.")


def _kinds(container: Any) -> str:
    """Name what a recording has."""
    words = {"audio": "sound", "video": "picture"}
    kinds = sorted({words.get(stream.type, stream.type) for stream in container.streams})
    return " and ".join(kinds) or "an empty container"


def _until_the_end(frames: Iterator[Any]) -> Iterator[Any]:
    """Give the frames, and a None that makes a resampler hand out what it still holds."""
    yield from frames
    yield None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a recording; what goes wrong inside becomes one sentence that names it."""
    av = _package()
    if not path.is_file():
        raise MediaError(f"{path} does not exist, expected a recording such as clip.mp4.")
    if not path.stat().st_size:
        raise MediaError(f"{path} is an empty file, expected a recording.")
    try:
        # Absolute: a name such as `http:clip` must not be taken for an address.
        with av.open(str(path.absolute())) as container:
            yield container
    except MediaError:  # its sentence is written already
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise MediaError(f"{path} is damaged or no recording ({reason}).") from None


def _package() -> Any:
    return load_extra("av", extra="media", purpose="reading recordings")
