"""Every baseline, as a person trains it from a shell: to its end, or through an interruption."""

import json

import numpy as np
import pytest
from resuming import cut_and_resume

from mmlib.cli import main
from mmlib.systems import SYSTEMS

BASELINES = ("majority", "early", "concat", "late", "gated", "tensor")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """Two small feature files with clocks of their own: classes, and numbers for every step."""
    rng = np.random.default_rng(0)
    arrays = {
        "audio": rng.normal(size=(30, 13, 2)).astype(np.float32),
        "vision": rng.normal(size=(30, 3, 5)).astype(np.float32),
        "vision_mask": rng.random((30, 3)) < 0.5,  # absent for some
        "split": np.array(["train"] * 18 + ["valid"] * 7 + ["test"] * 5),
    }
    labels = {
        "classes": {"labels": np.arange(30) % 3, "class_names": np.array(["a", "b", "c"])},
        "numbers": {"labels": rng.normal(size=(30, 13, 2)).astype(np.float32)},
    }
    folder = tmp_path_factory.mktemp("features")
    for name, more in labels.items():
        np.savez(folder / f"{name}.npz", **arrays, **more)
    return {name: str(folder / f"{name}.npz") for name in labels}


@pytest.mark.parametrize("task", ["classes", "numbers"])
@pytest.mark.parametrize("system", BASELINES)
def test_an_interrupted_training_ends_as_one_that_was_not(
    files, tmp_path, system, task, monkeypatch, capsys
):
    cut = cut_and_resume(system, files[task], tmp_path, monkeypatch, capsys)
    result = tmp_path / "result.json"
    run = ["--run", str(cut), "--data", files[task], "--json", str(result)]
    assert main(["evaluate", *run]) == 0
    measured = json.loads(result.read_text())
    assert measured["system"] == system and measured["n"] == 5
    assert {"accuracy"} if task == "classes" else {"mean_ccc"} <= set(measured)


def test_the_majority_asks_for_one_epoch_of_its_own(files, tmp_path, capsys):
    words = ["train", "--system", "majority", "--data", files["classes"], "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith("1 epoch: train_loss")


def test_the_shell_knows_every_baseline():
    assert set(BASELINES) <= set(SYSTEMS)
