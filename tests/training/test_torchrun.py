"""Two processes on one machine train to the numbers of one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mmlib.data import FeatureSet, save_folder

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="needs torch.distributed with gloo",
)


def features(task: str) -> FeatureSet:
    """Make 29 + 7 samples, so that the last batch is uneven, with masks."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(36) % 3
    audio = torch.randn(36, 5, 4, generator=draw) + labels[:, None, None]
    vision = torch.randn(36, 2, 3, generator=draw)
    mask = torch.rand(36, 5, generator=draw) < 0.8
    split = np.array(["train"] * 29 + ["valid"] * 7)
    numbers = audio.mean(1)[:, :2] if task == "regression" else labels
    names = None if task == "regression" else ("a", "b", "c")
    inputs = {"audio": audio, "vision": vision}
    if task == "three streams":
        inputs["text"] = torch.randn(36, 4, 2, generator=draw)
    return FeatureSet(inputs, {"audio": mask}, numbers, names, split)


def command(out: Path, data: Path, system: str, processes: int, *more: str) -> None:
    """Train by the command line in one or several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--nnodes=1"]
    launcher += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    words = [sys.executable, *(launcher if processes > 1 else []), "-m", "mmlib", "train"]
    words += ["--system", system, "--data", str(data), "--out", str(out), "--epochs", "3"]
    words += ["--batch-size", "9", "--device", "cpu", "--quiet", *more]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "system", "more"),
    [
        ("classification", "concat", ("--accumulate", "2", "--class-weights", "1,5,2")),
        ("regression", "late", ()),
        ("three streams", "ca_mmaaet", ("--accumulate", "2")),
    ],
)
def test_two_processes_train_to_the_loss_of_one(tmp_path, task, system, more):
    features(task).save(tmp_path / "features.npz")
    save_folder(features(task), tmp_path / "folder")  # two processes read their shares from disk
    tables, weights = [], []
    for processes in (1, 2):
        out = tmp_path / f"run{processes}"
        data = tmp_path / ("features.npz" if processes == 1 else "folder")
        command(out, data, system, processes, *more)
        tables.append(pd.read_csv(out / "history.csv").drop(columns="seconds"))
        weights.append(load_file(out / "last.safetensors"))
    assert list(tables[0]) == list(tables[1]) and len(tables[0]) == len(tables[1]) == 3
    for column in tables[0]:
        difference = (tables[0][column] - tables[1][column]).abs().max()
        assert difference < 1e-4, f"{column} differs by {difference}"
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], atol=1e-4), name
