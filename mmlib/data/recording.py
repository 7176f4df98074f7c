"""Recordings as files: opened, with what goes wrong in one sentence, and when their tracks are there.

Second 0 is where a recording begins, that is where the first of its tracks does: a track that starts
late keeps its delay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from mmlib.data.extras import load_extra

#: Seconds of a recording, from its beginning: (start, stop).
Window = tuple[float, float]


class MediaError(ValueError):
    """A recording that cannot be used; the message is one sentence."""


class Extent(NamedTuple):
    """When each track of a recording is there; None where it has no such track, or an empty one."""

    sound: Window | None
    picture: Window | None


def extent(path: str | Path) -> Extent:
    """Tell when sound and picture of a recording begin and end, without decoding them.

    Raises:
        MediaError: the recording is missing, empty or damaged.
        NotInstalled: the extra `media` is missing.
    """
    path = Path(path)
    with opened(path) as container:
        origin, cover = origin_of(container), package().stream.Disposition.attached_pic
        pictures = [s for s in container.streams.video if not s.disposition & cover]
        tracks = [*container.streams.audio[:1], *pictures[:1]]
        spans: dict[str, list[tuple[int, int]]] = {track.type: [] for track in tracks}
        for packet in container.demux(tracks) if tracks else ():
            if packet.size and packet.pts is not None:
                spans[packet.stream.type].append((packet.pts, packet.duration or 0))
        found = {track.type: _span(track, spans[track.type], origin) for track in tracks}
    return Extent(found.get("audio"), found.get("video"))


def frame_rate(path: str | Path) -> float:
    """Tell how many pictures a second a recording has, on the average.

    Raises:
        MediaError: the recording is missing, empty or damaged, or has no picture or no rate.
    """
    path = Path(path)
    with opened(path) as container:
        rate = container.streams.video[picture_number(path, container)].average_rate
    if not rate:
        raise MediaError(f"{path} does not say how many pictures a second it has.")
    return float(rate)


def centred_window(path: str | Path, seconds: float = 3.6) -> Window:
    """Choose the seconds around the middle of a recording, for sound and picture alike.

    The middle is that of the time in which both are there (or the one that there is), and the window
    never leaves it: what a delayed track or a sound that stops early lacks is cut from both. A
    recording in which that time is shorter gives all of it: a window shorter than `seconds`.

    *Choices*: A-30; AVT-CA's released code takes 3.6 seconds around the middle of the sound, but the
    picture from its beginning.

    Raises:
        MediaError: the recording is missing, empty or damaged, has neither sound nor picture, or
            never both at once.
        NotInstalled: the extra `media` is missing.
        ValueError: `seconds` is not positive.
    """
    if not seconds > 0:
        raise ValueError(f"a window of {seconds:g} seconds is wanted, expected more than 0.")
    sound, picture = extent(path)
    one, other = sound or picture, picture or sound
    if one is None or other is None:
        raise MediaError(f"{path} has neither sound nor picture in it.")
    start, stop = max(one[0], other[0]), min(one[1], other[1])
    if stop <= start:
        raise MediaError(f"{path} has sound and picture, but never both at once.")
    if stop - start <= seconds:
        return start, stop
    middle = (start + stop) / 2
    return middle - seconds / 2, middle + seconds / 2


def _span(track: Any, packets: list[tuple[int, int]], origin: Fraction) -> Window | None:
    """From where to where the packets of a track reach, in seconds."""
    if not packets:
        return None
    packets.sort()
    (first, _), (last, lasts), count = packets[0], packets[-1], len(packets)
    # Some containers do not say how long a packet lasts: as long as one does on the average.
    mean = Fraction(last - first, count - 1) if count > 1 else Fraction(lasts)
    stop = last + (mean if track.type == "video" else Fraction(lasts) or mean)
    # What precedes the stream's own start is there to wind a decoder up, and is not heard.
    start = first if track.start_time is None else max(first, int(track.start_time))
    return float(start * track.time_base - origin), float(stop * track.time_base - origin)


def origin_of(container: Any) -> Fraction:
    """Give the time that a recording's clock shows where it begins."""
    return Fraction(container.start_time or 0, 1_000_000)


def check_window(window: Window | None) -> None:
    """Refuse a window that ends before it starts."""
    if window is not None and not window[0] < window[1]:
        raise ValueError(f"the window is {window}, expected (start, stop) in seconds.")


def between(window: Window) -> str:
    """Name a window in a sentence."""
    return f"between {window[0]:.2f} and {window[1]:.2f} seconds"


def picture_number(path: Path, container: Any) -> int:
    """Give the number of the first video stream that is no cover image."""
    cover = package().stream.Disposition.attached_pic
    for number, stream in enumerate(container.streams.video):
        if not stream.disposition & cover:
            return number
    raise MediaError(f"{path} has no picture, only {kinds_of(container)}.")


def kinds_of(container: Any) -> str:
    """Name what a recording has."""
    words = {"audio": "sound", "video": "picture"}
    kinds = sorted({words.get(stream.type, stream.type) for stream in container.streams})
    return " and ".join(kinds) or "an empty container"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a recording; what goes wrong inside becomes one sentence that names it."""
    av = package()
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
    except IndexError:  # PyAV knows the tracks that a recording begins with, and no later ones
        raise MediaError(f"{path} is damaged: a track begins in the middle of it.") from None


def package() -> Any:
    """Import PyAV, which not everybody has."""
    return load_extra("av", extra="media", purpose="reading recordings")
