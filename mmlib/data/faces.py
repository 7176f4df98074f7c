"""Faces in frames: found by a detector that can be exchanged, cut out as squares of one size.

OpenCV up to version 4 brings a face detector of its own (a Haar cascade); version 5 brings none. A
detector is any callable that takes a frame and returns a box, or None where it sees no face.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmlib.data.extras import NotInstalled, load_extra
from mmlib.data.media import MediaError

#: Left, top, width and height, in pixels of the frame.
Box = tuple[int, int, int, int]
#: Takes a frame (height, width, 3) uint8 RGB.
Detect = Callable[[np.ndarray], Box | None]

_CASCADE = "haarcascade_frontalface_default.xml"
_SMALLEST = 6  # a face's share of the shorter side, at least 1 in this many
_WORKING_SIDE = 240  # a frame's shorter side while a face is sought


class NoFace(MediaError):
    """A clip in none of whose frames a face was found."""


class FaceDetector:
    """The largest face of a frame, by OpenCV.

    Args:
        model: a file: a Haar or LBP cascade (xml), or a YuNet network (onnx), which also finds faces
            that are turned or dark; left out, the cascade that OpenCV brings.

    Raises:
        NotInstalled: the extra `media` is missing, or this OpenCV brings no detector.
        ValueError: the file is no such model.
    """

    def __init__(self, model: str | Path | None = None) -> None:
        """Load the model once, so that a wrong one is refused before any clip is read."""
        self.model = None if model is None else Path(model)
        _load(self.model)

    @property
    def identity(self) -> str:
        """What decides which boxes come out."""
        version = load_extra("cv2", extra="media", purpose="finding faces").__version__
        if self.model is None:
            return f"{_CASCADE} of OpenCV {version}"
        status = self.model.stat()
        return f"{self.model.name} {status.st_size} {status.st_mtime_ns} in OpenCV {version}"

    def __call__(self, frame: np.ndarray) -> Box | None:
        """Find the largest face of a frame (height, width, 3)."""
        cv2 = load_extra("cv2", extra="media", purpose="finding faces")
        scale = min(1.0, _WORKING_SIDE / min(frame.shape[:2]))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        boxes = _load(self.model)(small)
        if not boxes:
            return None
        left, top, width, height = max(boxes, key=lambda box: box[2] * box[3])
        return round(left / scale), round(top / scale), round(width / scale), round(height / scale)


def identity_of(detect: Detect | None) -> object:
    """What decides which boxes a detector finds, for a cache of what is made with them."""
    if detect is None:
        return None
    name = getattr(detect, "__qualname__", type(detect).__qualname__)
    return getattr(detect, "identity", f"{detect.__module__}.{name}")


def crop_faces(frames: Tensor, detect: Detect, *, size: int = 224, margin: float = 0.3) -> Tensor:
    """Cut the face out of each frame as a square, and bring it to one size.

    Where a frame shows no face to the detector, the box of the nearest frame that does is taken (of
    two as near, the earlier).

    Args:
        frames: of one clip.
        detect: finds a box in a frame.
        size: side of the result.
        margin: how much longer the square's side is than that of the box.

    Shape:
        frames (T, 3, H, W) uint8 -> (T, 3, size, size) uint8

    Choices:
        A-30: the released code takes the last box before, and forgets frames before the first.

    Raises:
        NoFace: there is a face in no frame.
    """
    boxes = [detect(frame.permute(1, 2, 0).contiguous().numpy()) for frame in frames]
    seen = [number for number, box in enumerate(boxes) if box is not None]
    if not seen:
        raise NoFace(f"there is no face in any of its {len(frames)} frames.")
    cut = []
    for number, frame in enumerate(frames):
        box = boxes[min(seen, key=lambda other: abs(other - number))]
        assert box is not None
        cut.append(_resized(_square(frame, box, margin), size))
    return torch.stack(cut)


def centre_squares(frames: Tensor, *, size: int = 224) -> Tensor:
    """Cut the middle square out of each frame, and bring it to one size.

    Shape:
        frames (T, 3, H, W) uint8 -> (T, 3, size, size) uint8
    """
    height, width = frames.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return _resized(frames[..., top : top + side, left : left + side], size)


def _square(frame: Tensor, box: Box, margin: float) -> Tensor:
    """The square around a box, moved (and at last made smaller) to lie inside the frame."""
    left, top, width, height = box
    sides = frame.shape[1:]
    side = max(1, min(round(max(width, height) * (1 + margin)), *sides))
    middle = top + height / 2, left + width / 2
    start = [
        min(max(0, round(centre - side / 2)), whole - side)
        for centre, whole in zip(middle, sides, strict=True)
    ]
    return frame[:, start[0] : start[0] + side, start[1] : start[1] + side]


def _resized(frames: Tensor, size: int) -> Tensor:
    """Bring (..., 3, h, w) to (..., 3, size, size); what becomes smaller is averaged."""
    whole = frames if frames.ndim == 4 else frames[None]
    small = interpolate(whole, (size, size), mode="bilinear", antialias=True)
    return small if frames.ndim == 4 else small[0]


@functools.cache
def _load(model: Path | None) -> Callable[[np.ndarray], list[Box]]:
    """Give the function that lists the boxes of faces in a frame; one for each process."""
    cv2 = load_extra("cv2", extra="media", purpose="finding faces")
    if model is not None and not model.is_file():
        raise ValueError(f"{model} does not exist, expected a face model (xml or onnx).")
    if model is not None and model.suffix == ".onnx":
        return functools.partial(_by_network, cv2, _opened(cv2.FaceDetectorYN.create, model))
    path = Path(getattr(cv2.data, "haarcascades", "")) / _CASCADE if model is None else model
    if not hasattr(cv2, "CascadeClassifier") or not path.is_file():
        raise NotInstalled(
            f"OpenCV {cv2.__version__} brings no face detector, as version 4 does; install that, "
            "pip install 'opencv-python-headless<5', or give a YuNet model (onnx), or go without "
            "faces."
        )
    cascade = _opened(cv2.CascadeClassifier, path)
    if cascade.empty():
        raise ValueError(f"{path} is no cascade that OpenCV {cv2.__version__} can use.")
    return functools.partial(_by_cascade, cv2, cascade)


def _opened(make: Callable[..., Any], path: Path) -> Any:
    """Let OpenCV read a model; its own complaint is a page long."""
    try:
        return make(str(path), "", (0, 0)) if path.suffix == ".onnx" else make(str(path))
    except Exception as error:  # cv2.error, or whatever its parsers throw
        raise ValueError(f"{path} is no face model that OpenCV can read.") from error


def _by_cascade(cv2: Any, cascade: Any, frame: np.ndarray) -> list[Box]:
    grey = cv2.equalizeHist(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
    least = max(24, min(frame.shape[:2]) // _SMALLEST)
    found = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(least, least))
    return [_box(box) for box in found]


def _by_network(cv2: Any, network: Any, frame: np.ndarray) -> list[Box]:
    network.setInputSize((frame.shape[1], frame.shape[0]))
    _, found = network.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return [] if found is None else [_box(box[:4]) for box in found]


def _box(numbers: np.ndarray) -> Box:
    left, top, width, height = (int(number) for number in numbers)
    return left, top, width, height
