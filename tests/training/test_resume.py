"""A training that is killed at any moment and resumed ends as if it had never stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mmlib.training import TrainingError, fit, seed_everything
from tests.training.killed import TwoPhases, data

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

# 5 batches an epoch, 2 phases, 2 parts: 20 calls an epoch. An epoch renames best (where it is one),
# last and the table.
MOMENTS = {
    "in the first epoch": [("call", 7)],
    "in a later epoch": [("call", 50)],
    "in the middle of writing the first checkpoint": [("write", 1)],
    "in the middle of writing the first state": [("write", 2)],
    "in the middle of writing a later one": [("write", 4)],
    "before the best weights get their name": [("before rename", 1)],
    "between best weights and state": [("after rename", 1)],
    "between state and table": [("after rename", 2)],
    "before a later state gets its name": [("before rename", 5)],
    "again and again": [("call", 30), ("write", 1), ("call", 30), ("after rename", 1)],
}


# Three phases, two parts and five batches: 30 calls an epoch, and one in its validation.
ADVERSARIAL = {
    "between the phases of a batch": [("call", 3)],
    "in a later epoch": [("call", 70)],
    "in a validation": [("call", 62)],
}


def attempts_at(moments: dict) -> list[tuple]:
    """List the attempts: a whole one, and for each moment the kills and what resumes after them."""
    attempts: list[tuple] = [("whole", None, None)]
    for name, plans in moments.items():
        attempts += [(name, plan, None) for plan in plans] + [(name, None, None)]
    return attempts


def made(folder: Path, kind: str, attempts: list[tuple]) -> Path:
    """Make all attempts in one process that forks."""
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, script, folder, json.dumps(attempts), kind]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    ended = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ended) == len(attempts)
    for (name, reached), (_, plan, after) in zip(ended, attempts, strict=True):
        if plan is not None:
            assert not reached, f"{name}: the kill at {plan} did not happen"
        elif after is None:
            assert reached, f"{name}: the resumed run did not end"
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Killed as planned, and by the clock."""
    attempts = attempts_at(MOMENTS)
    for milliseconds in (40, 90, 160, 300):
        attempts.append(("by the clock", None, milliseconds / 1000))
    attempts.append(("by the clock", None, None))
    return made(tmp_path_factory.mktemp("runs"), "two phases", attempts)


@pytest.fixture(scope="module")
def adversarial_runs(tmp_path_factory) -> Path:
    """An adversarial autoencoder, whose losses draw from the prior."""
    return made(tmp_path_factory.mktemp("runs"), "adversarial", attempts_at(ADVERSARIAL))


@pytest.mark.parametrize("name", [*MOMENTS, "by the clock"])
def test_killed_and_resumed_is_bit_for_bit_the_uninterrupted_run(runs, name):
    assert_same(runs, name)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_draws_of_the_prior_survive_a_kill(adversarial_runs, name):
    assert_same(adversarial_runs, name)
    table = pd.read_csv(adversarial_runs / name / "history.csv")
    assert table.loss_discriminator.nunique() == len(table), "every epoch has its own draws"


def assert_same(runs: Path, name: str) -> None:
    """Compare a resumed run with the whole one, bit for bit."""
    for file in ("last.safetensors", "best.safetensors"):
        expected, found = load_file(runs / "whole" / file), load_file(runs / name / file)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert torch.equal(value, found[key]), key
    tables = [pd.read_csv(runs / run / "history.csv") for run in ("whole", name)]
    columns = [column for column in tables[0] if column != "seconds"]
    assert tables[0][columns].equals(tables[1][columns])
    assert not list((runs / name).glob("*.part")), "a half-written file is replaced, not left"


def settings(**changes) -> dict:
    return {"epochs": 2, "batch_size": 5, "seed": 1, "progress": False, **changes}


def test_a_finished_run_resumes_to_itself(tmp_path):
    train, valid = data()
    seed_everything(1)
    first = TwoPhases()
    history = fit(first, train, valid, **settings(), out=tmp_path)
    second = TwoPhases()
    again = fit(second, train, valid, **settings(), out=tmp_path, resume=True)
    assert again.equals(history)
    for (name, expected), value in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, value), name


def test_a_run_is_not_overwritten_unasked(tmp_path):
    train, valid = data()
    fit(TwoPhases(), train, valid, **settings(), out=tmp_path)
    before = (tmp_path / "last.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="already holds a run.*--resume"):
        fit(TwoPhases(), train, valid, **settings(), out=tmp_path)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_resuming_with_other_settings_names_the_difference(tmp_path):
    train, valid = data()
    fit(TwoPhases(), train, valid, **settings(), out=tmp_path)
    with pytest.raises(TrainingError, match="started with epochs=2, not 3"):
        fit(TwoPhases(), train, valid, **settings(epochs=3), out=tmp_path, resume=True)


def test_a_damaged_checkpoint_and_another_model_are_named(tmp_path):
    from mmlib.training.checkpoints import CheckpointError

    train, valid = data()
    fit(TwoPhases(), train, valid, **settings(), out=tmp_path)
    other = TwoPhases()
    other.decide = torch.nn.Linear(7, 5, bias=False)
    with pytest.raises(CheckpointError, match="decide.bias is None in the model"):
        fit(other, train, valid, **settings(), out=tmp_path, resume=True)
    path = tmp_path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="is damaged"):
        fit(TwoPhases(), train, valid, **settings(), out=tmp_path, resume=True)


def test_a_checkpoint_is_safetensors_and_json_and_no_pickle(tmp_path):
    train, valid = data()
    fit(TwoPhases(), train, valid, **settings(), out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "best.safetensors", "last.safetensors", "history.csv",
    }  # fmt: skip
    tensors = load_file(tmp_path / "last.safetensors")
    assert any(name.startswith("optimizer1.") and name.endswith("exp_avg") for name in tensors)
