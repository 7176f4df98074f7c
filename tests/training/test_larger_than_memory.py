"""A feature folder larger than the memory that a process may have is trained on all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from mmlib.data import load_features

SAMPLES, STEPS, WIDTH = 9000, 47, 113  # 191 MB
LIMIT = 112 * 2**20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs Linux's limit of what is allocated"
)


@pytest.fixture
def large(tmp_path):
    """Write the same features as a sparse folder and as a compressed file: little disk, much data."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "large"
    folder.mkdir()
    labels = np.arange(SAMPLES) % 3
    shape = (SAMPLES, STEPS, WIDTH)
    audio = np.lib.format.open_memmap(folder / "audio.npy", "w+", np.float32, shape)
    audio[:, 5, :7] = rng.normal(size=(SAMPLES, 7)) + labels[:, None]
    audio.flush()
    rest = {
        "labels": labels,
        "class_names": np.array(["a", "b", "c"]),
        "split": np.array(["train"] * (SAMPLES - 500) + ["valid"] * 500),
    }
    for key, value in rest.items():
        np.save(folder / f"{key}.npy", value)
    np.savez_compressed(tmp_path / "large.npz", audio=audio, **rest)
    return folder, tmp_path / "large.npz"


@pytest.mark.slow
def test_a_set_larger_than_memory_trains_to_the_numbers_of_one_in_memory(large, tmp_path):
    folder, file = large
    assert load_features(folder).inputs["audio"].nbytes > 1.5 * LIMIT

    def train(data: Path, out: str) -> list[str]:
        words = ["train", "--system", "concat", "--data", data, "--out", tmp_path / out]
        words += ["--epochs", 1, "--batch-size", 50, "--device", "cpu", "--quiet"]
        return [str(word) for word in words]

    runs = [(train(folder, "folder"), LIMIT), (train(file, "fails"), LIMIT)]
    runs += [(train(file, "memory"), None)]
    script = Path(__file__).with_name("limited.py")
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(runs)],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    codes = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0, 71, 0], done.stderr[-2000:]  # 71: there was not so much memory
    tables = [pd.read_csv(tmp_path / run / "history.csv") for run in ("folder", "memory")]
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in tables))
    weights = [load_file(tmp_path / run / "last.safetensors") for run in ("folder", "memory")]
    assert weights[0].keys() == weights[1].keys()
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])
