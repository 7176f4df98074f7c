"""Recordings, decoded: the sound of a clip as a waveform, and frames spread evenly over its picture.

A window `(start, stop)` in seconds cuts both at the same instants. Second 0 is where the recording
begins, that is where the first of its tracks does: a track that starts late keeps its delay.

Needs the extra `media` (PyAV, which brings its own FFmpeg); what FFmpeg reads, this reads: mp4, flv,
mkv, wav, ogg, mp3 and more.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlib.data.recording import (
    Extent,
    MediaError,
    Window,
    between,
    centred_window,
    check_window,
    extent,
    frame_rate,
    kinds_of,
    opened,
    origin_of,
    package,
    picture_number,
)

__all__ = [
    "SAMPLE_RATE",
    "Extent",
    "MediaError",
    "Window",
    "centred_window",
    "extent",
    "frame_rate",
    "read_frames",
    "read_sound",
]

#: Samples in a second, where nothing else is asked for: what speech encoders are trained on.
SAMPLE_RATE = 16_000


def read_sound(
    path: str | Path, *, sample_rate: int = SAMPLE_RATE, window: Window | None = None
) -> Tensor:
    """Decode the sound of a recording: the mean of its channels, resampled.

    Args:
        path: the recording.
        sample_rate: samples in a second of what is returned.
        window: the seconds that are wanted; left out, the whole track, wherever it starts. Inside a
            window there is silence where the track has not begun or is over.

    Shape:
        (samples,) float32, in [-1, 1] where the recording is; with a window its seconds times the
        rate, rounded.

    Raises:
        MediaError: the recording is missing, empty or damaged, or there is no sound in it or in
            the window.
        NotInstalled: the extra `media` is missing.
        ValueError: the window ends before it starts.
    """
    path = Path(path)
    check_window(window)
    with opened(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no sound, only {kinds_of(container)}.")
        resample = package().AudioResampler(format="fltp", rate=sample_rate).resample
        begins: list[float] = []
        frames = _until(container.decode(audio=0), origin_of(container), window, begins)
        pieces = [
            piece.to_ndarray().mean(0)  # FFmpeg's own mix of two channels is louder than both
            for frame in frames
            for piece in resample(frame)
        ]
    if not sum(map(len, pieces)):
        raise MediaError(f"{path} has a sound track, but not a single sample in it.")
    sound = torch.from_numpy(np.concatenate(pieces))
    if window is not None:
        sound = _placed(path, sound, begins[0], sample_rate, window)
    if not bool(torch.isfinite(sound).all()):
        raise MediaError(f"{path} has NaN or infinity among its samples; write it again.")
    return sound


def read_frames(path: str | Path, count: int, *, window: Window | None = None) -> Tensor:
    """Decode what is on screen in the middle of each of `count` equal parts of a recording.

    A picture that is on screen at two of those moments is given once, so a recording of fewer
    pictures than `count` gives them all and no copies. Phones store a turned picture and the angle:
    it is turned upright. A cover image in a sound file is not a picture of the recording.

    Args:
        path: the recording.
        count: of moments.
        window: the seconds that are divided into equal parts; left out, all of the picture track.
            A moment at which no picture is there yet, or none is any more, gives none.

    Shape:
        (up to count, 3, height, width) uint8, RGB.

    Raises:
        MediaError: the recording is missing, empty or damaged, or there is no picture in it or in
            the window, or its pictures tell no times although a window is wanted.
        NotInstalled: the extra `media` is missing.
        ValueError: `count` is less than one, or the window ends before it starts.
    """
    path = Path(path)
    check_window(window)
    if count < 1:
        raise ValueError(f"count is {count}, expected at least one frame.")
    with opened(path) as container:
        number = picture_number(path, container)
        stream, origin = container.streams.video[number], origin_of(container)
        times = [packet.pts for packet in container.demux(video=number) if packet.size]
        base = Fraction(stream.time_base or 1)
    if not times:
        raise MediaError(f"{path} has a picture track, but not a single frame in it.")
    if window is None:
        moments, on_clock = _moments(times, count)
    else:
        moments, on_clock = _moments_in(path, times, count, window, origin, base), True
    with opened(path) as container:
        frames = container.decode(video=number)
        chosen = list(_on_screen(frames, moments, on_clock))
        if not chosen and window is not None:
            raise MediaError(f"{path} has no picture {between(window)}.")
        if not chosen:
            raise MediaError(f"{path} has a picture track, but no frame in it can be decoded.")
        size = chosen[0].width, chosen[0].height
        pictures = np.stack([_upright(frame, *size) for frame in chosen])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def _until(
    frames: Iterator[Any], origin: Fraction, window: Window | None, begins: list[float]
) -> Iterator[Any]:
    """Give the frames of a sound, and a None that makes a resampler hand out what it still holds.

    Notes in `begins` when the first starts, and stops where a window does.
    """
    for frame in frames:
        time = float((frame.time or 0.0) - origin)
        begins.append(time)
        # One frame more, for the resampler looks a little ahead.
        if window is not None and len(begins) > 1 and begins[-2] > window[1]:
            break
        yield frame
    yield None


def _placed(path: Path, sound: Tensor, begins: float, rate: int, window: Window) -> Tensor:
    """The samples of a window, from a sound that begins at a certain second."""
    whole = sound.new_zeros(max(1, round((window[1] - window[0]) * rate)))
    shift = round((begins - window[0]) * rate)  # where in the window the sound's first sample is
    first, last = max(0, shift), min(len(whole), shift + len(sound))
    if last <= first:
        raise MediaError(f"{path} has no sound {between(window)}.")
    whole[first:last] = sound[first - shift : last - shift]
    return whole


def _moments_in(
    path: Path,
    times: list[int | None],
    count: int,
    window: Window,
    origin: Fraction,
    base: Fraction,
) -> list[Fraction]:
    """The middles of `count` equal parts of a window, in ticks, up to the end of the picture."""
    known = sorted(time for time in times if time is not None)
    if len(known) < len(times):
        raise MediaError(
            f"{path} does not say when its pictures are shown; store it as mp4 or mkv."
        )
    stays = Fraction(known[-1] - known[0], len(known) - 1) if len(known) > 1 else None
    start, stop = (Fraction(round(second * 10**6), 10**6) for second in window)
    moments = [
        (start + (stop - start) * (2 * part + 1) / (2 * count) + origin) / base
        for part in range(count)
    ]
    # A single picture stays; the last of several, as long as one does on the average.
    return [moment for moment in moments if stays is None or moment < known[-1] + stays]


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
