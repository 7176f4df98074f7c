"""Aff-Wild2's own files, small, written where a test needs them."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from recordings import shades, tone, write_video


def write_annotation(root: Path, split: str, name: str, pairs: Sequence[Sequence[float]]) -> Path:
    """Write `valence,arousal` and a line for each frame, as the published files are."""
    folder = root / "annotations" / "VA_Estimation_Challenge" / split
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.txt"
    lines = ["valence,arousal", *(",".join(f"{number:g}" for number in pair) for pair in pairs)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_pictures(
    root: Path, name: str, count: int, *, missing: Collection[int] = (), size: int = 24
) -> Path:
    """Write pictures 00001.jpg, ... but those that are missing; each is of one grey, its number."""
    from PIL import Image

    folder = root / "cropped_aligned" / name
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        if number not in missing:
            pixels = np.full((size, size, 3), 10 + 3 * (number % 70), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=95)
    return folder


def write_recording(root: Path, name: str, frames: int, *, rate: int = 30) -> Path:
    """Write a recording with picture and a tone."""
    (root / "batch1").mkdir(exist_ok=True)
    return write_video(
        root / "batch1" / f"{name}.mp4",
        [shade for shade in shades(1) for _ in range(frames)],
        rate=rate,
        sound=tone(frames / rate, 44_100, 330.0),
    )


def ramp(count: int, start: float = -0.5) -> list[tuple[float, float]]:
    """Labels that grow by a hundredth a frame; arousal is the opposite."""
    return [(round(start + 0.01 * n, 2), round(-start - 0.01 * n, 2)) for n in range(count)]
