"""Features kept clip by clip, so that what was computed once is never computed again.

Each clip has a file of its own that appears whole or not at all, and says by a key which model, which
settings and which recording or text it was made from. A file with another key does not count.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmlib.data.clip_table import Clip
from mmlib.data.feature_set import FeatureError
from mmlib.data.npz import read_arrays
from mmlib.data.whole_file import whole_file


class Kept(NamedTuple):
    """The features of one clip, (T, ...), and how many steps it had before any were cut away."""

    features: Tensor
    steps: int


class FeatureCache:
    """The folder of one stream's features.

    Args:
        folder: where the files are; made when the first is stored.
        identity: of the encoder, as `Encoder.identity` gives it.
        settings: whatever else decides what comes out.
    """

    def __init__(self, folder: Path, identity: str, settings: object) -> None:
        """Take note of what all keys have in common."""
        self._folder, self._common = folder, [identity, settings]

    def load(self, clip: Clip, stream: str) -> Kept | None:
        """Give a clip's features, or None where there are none, or others', or a damaged file."""
        path = self._path(clip)
        if not path.is_file():
            return None
        try:
            found, _ = read_arrays(path, ("features", "steps", "key"))
            if str(found["key"]) != self._key(clip, stream):
                return None
            return Kept(torch.from_numpy(found["features"]), int(found["steps"]))
        except (FeatureError, KeyError, ValueError):
            return None

    def store(self, clip: Clip, stream: str, kept: Kept) -> None:
        """Keep a clip's features."""
        with whole_file(self._path(clip)) as part, open(part, "wb") as file:
            np.savez(
                file,
                features=kept.features.numpy(),
                steps=np.array(kept.steps),
                key=np.array(self._key(clip, stream)),
                id=np.array(clip.name),
            )

    def _path(self, clip: Clip) -> Path:
        # A digest: an id may be longer than a file name, or hold what one may not.
        return self._folder / f"{_digest(clip.name)}.npz"

    def _key(self, clip: Clip, stream: str) -> str:
        """Digest model, settings and source; a recording is known by its size and its date."""
        source: list[object] = [clip.text]
        if stream != "text" and clip.path is not None and clip.path.is_file():
            status = clip.path.stat()
            source = [clip.path.name, status.st_size, status.st_mtime_ns]
        return _digest(json.dumps([*self._common, stream, source]))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
