"""Write small .csd files in the layout that CMU-MOSEI's SDK writes."""

import json

import h5py
import numpy as np

LABELS = "All Labels"


def write_csd(path, name, videos):
    """`videos` gives for each key (intervals, features)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        root = file.create_group(name)
        data = root.create_group("data")
        for key, (intervals, features) in videos.items():
            piece = data.create_group(key)
            piece.create_dataset("features", data=np.asarray(features, np.float32))
            piece.create_dataset("intervals", data=np.asarray(intervals, np.float64))
        metadata = root.create_group("metadata")
        for key in ("root name", "computational sequence version"):
            held = metadata.create_dataset(key, (1,), dtype=h5py.string_dtype())
            held[0] = json.dumps(name)


def ticks(start, stop, apart, width, seed=0):
    """Rows that follow each other without a gap, of random features."""
    edges = np.arange(start, stop + apart / 2, apart)
    features = np.random.default_rng(seed).standard_normal((len(edges) - 1, width))
    return np.stack([edges[:-1], edges[1:]], 1), features.astype(np.float32)
