"""Small recordings, written where a test needs them."""

import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    """A sine at half of full scale, (samples,)."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    """Write (samples,) or (samples, channels) in [-1, 1] as 16 bits."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def shades(count: int, size: tuple[int, int] = (32, 48)) -> list[np.ndarray]:
    """Frames (height, width, 3), each of one grey that tells its number: 6 greys a step."""
    return [np.full((*size, 3), 20 + 6 * number, dtype=np.uint8) for number in range(count)]


def number_of(frame: np.ndarray) -> int:
    """Which of the `shades` this is, whatever a codec lost."""
    return round((float(np.asarray(frame, dtype=float).mean()) - 20) / 6)


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    rate: int = 30,
    times: Sequence[int] | None = None,
    sound: np.ndarray | None = None,
    sound_rate: int = 44_100,
    sound_delay: float = 0.0,
    turned: int = 0,
) -> Path:
    """Write frames, at `times` in milliseconds or at an even rate, and a sound of two channels."""
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        if frames:
            picture = container.add_stream(codec, rate=1000 if times else rate)
            picture.height, picture.width = frames[0].shape[:2]
            picture.pix_fmt = "yuv420p"
            if times:
                picture.codec_context.time_base = Fraction(1, 1000)
            if turned:
                picture.set_display_rotation(turned)
        if sound is not None:
            voice = container.add_stream("aac", rate=sound_rate, layout="stereo")
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.time_base = Fraction(1, 1000) if times else Fraction(1, rate)
            frame.pts = times[number] if times else number
            container.mux(picture.encode(frame))
        if frames:
            container.mux(picture.encode(None))
        if sound is not None:
            both = np.stack([sound, sound]).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = sound_rate, round(sound_delay * sound_rate)
            container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
    return path
