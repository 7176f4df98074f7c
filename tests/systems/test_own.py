"""A class in a file stands where a system's name does: it is found, trained, kept and refused."""

import json
from pathlib import Path

import pytest
import torch

from mmlib.cli import main
from mmlib.data import FeatureSet
from mmlib.systems import UnknownSystem, build, find
from mmlib.systems.own import OwnConfig, folder_name, is_own, read_own
from mmlib.training.checkpoints import CheckpointError
from mmlib.training.comparing import compare_systems
from mmlib.training.jobs import train_system
from mmlib.training.results import Results
from mmlib.training.runs import load_run

SOURCE = """
from typing import NamedTuple

from torch import Tensor, nn

from mmlib.layers import masked_mean


class Fused(NamedTuple):
    logits: Tensor


class Mine(nn.Module):
    def __init__(self, widths, num_classes, dim=7):
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        self.head = nn.Linear(dim, num_classes)

    def forward(self, masks=None, **streams):
        missing = [name for name in self.layers if name not in streams]
        if missing:
            raise ValueError(f"no {missing[0]}")
        return Fused(self.head(sum(
            masked_mean(layer(streams[name]), None if masks is None else masks[name]).tanh()
            for name, layer in self.layers.items()
        )))


class Paler(Mine):
    def forward(self, masks=None, **streams):
        return super().forward(None, **streams)


size = 3
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with a class that keeps the contract and one that does not."""
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def features(samples: int = 20) -> FeatureSet:
    """Two streams of different widths and lengths, three classes, a train and a valid split."""
    draw = torch.Generator().manual_seed(0)
    inputs = {
        "audio": torch.randn(samples, 5, 3, generator=draw),
        "text": torch.randn(samples, 4, 2, generator=draw),
    }
    split = ["train"] * (samples - 6) + ["valid"] * 6
    return FeatureSet(inputs, {}, torch.arange(samples) % 3, ("a", "b", "c"), split=split)


def test_a_name_with_a_file_and_a_class_is_ones_own_and_no_other():
    assert is_own("mine.py:Mine") and is_own("some/where/mine.py:_Mine2")
    assert not any(map(is_own, ("concat", "mine.py", "mine:Mine", "mine.py:", "mine.py:2", ":A")))


def test_it_is_built_from_the_data_like_any_system(source):
    name = f"{source}:Mine"
    system = find(name)
    config = system.config.for_dataset(features())
    assert (config.streams, config.widths, config.num_outputs) == (("text", "audio"), (2, 3), 3)
    model = build(name, config)
    assert type(model).__name__ == "Mine" and model.layers["audio"].in_features == 3
    assert isinstance(config, OwnConfig) and model.head.out_features == 3


def test_a_run_is_trained_and_read_again(source, tmp_path):
    data = features()
    model, _ = train_system(f"{source}:Mine", data, tmp_path / "run", recipe={"epochs": 1})
    again, about = load_run(tmp_path / "run")
    batch = data.batch(range(4))
    said = [m.eval()(**batch.inputs, masks=batch.masks).logits for m in (model, again)]
    assert torch.equal(*said) and about["system"] == f"{source}:Mine"


def test_a_run_of_a_class_that_has_changed_is_neither_read_nor_resumed(source, tmp_path):
    name, run = f"{source}:Mine", tmp_path / "run"
    train_system(name, features(), run, recipe={"epochs": 1})
    source.write_text(SOURCE.replace(".tanh()", ".relu()"))
    with pytest.raises(ValueError, match=r"mine\.py has changed since this run was trained"):
        load_run(run)
    with pytest.raises(CheckpointError, match="has another config"):
        train_system(name, features(), run, recipe={"epochs": 1}, resume=True)


def test_a_comparison_takes_no_finished_run_of_a_class_that_has_changed(source, tmp_path):
    data = features(30).with_split(["train"] * 18 + ["valid"] * 6 + ["test"] * 6)

    def compared(folder: str) -> Results:
        settings = {"seeds": 1, "recipe": {"epochs": 1}, "progress": False}
        return compare_systems(data, [f"{source}:Mine"], tmp_path / folder, **settings)

    first, again = compared("out").runs[0], compared("out").runs[0]
    assert torch.equal(first.outputs, again.outputs)
    source.write_text(SOURCE.replace(".tanh()", ".relu()"))
    with pytest.raises(CheckpointError, match=r"mine-Mine_0 was run before mine\.py was changed"):
        compared("out")
    assert not torch.equal(first.outputs, compared("other").runs[0].outputs)


def test_a_change_in_the_file_is_seen_at_once(source):
    before = read_own(f"{source}:Mine")
    assert read_own(f"{source}:Mine") is before
    source.write_text(SOURCE.replace("dim=7", "dim=11"))
    after = read_own(f"{source}:Mine")
    model = after.model(config=after.config.for_dataset(features()))
    assert model.head.in_features == 11


def test_numbers_as_labels_are_refused(source):
    data = FeatureSet({"audio": torch.zeros(2, 5, 3)}, {}, torch.zeros(2, 1), None)
    with pytest.raises(ValueError, match="are numbers"):
        find(f"{source}:Mine").config.for_dataset(data)


@pytest.mark.parametrize(
    ("word", "text", "told"),
    [
        (
            "Other",
            SOURCE,
            r"mine\.py has no class Other derived from nn\.Module; it has Fused|Mine",
        ),
        ("size", SOURCE, r"no class size derived from nn\.Module; it has Mine, Paler\.$"),
        ("Fused", SOURCE, r"no class Fused derived"),
        ("Mine", "x = 1\n\ny = x +\n", r"mine\.py, line 3: SyntaxError: invalid syntax$"),
        (
            "Mine",
            "x = 1\n\n\ny = 1 / 0\n",
            r"mine\.py, line 4: ZeroDivisionError: division by zero$",
        ),
        ("Mine", "x = 1\n", r"it has none\.$"),
    ],
)
def test_a_file_that_does_not_give_the_class_is_refused_with_the_place(source, word, text, told):
    source.write_text(text)
    with pytest.raises(ValueError, match=told):
        find(f"{source}:{word}")


def test_a_file_that_is_not_there_and_an_unknown_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*nowhere\.py"):
        find(f"{tmp_path / 'nowhere.py'}:Mine")
    with pytest.raises(UnknownSystem, match=r"my_fusion\.py:MyFusion"):
        find("mine")


def test_runs_of_it_go_into_folders_that_every_disk_can_name():
    assert folder_name("some/where/mine.py:Mine") == "mine-Mine" and folder_name("jmt") == "jmt"


def test_the_command_says_which_clauses_are_kept(source, capsys):
    assert main(["contract", f"{source}:Mine"]) == 0
    assert capsys.readouterr().out.endswith("13 of 13 clauses kept.\n")
    assert main(["contract", f"{source}:Paler"]) == 1
    told = capsys.readouterr().out
    assert "50 in every step whose mask is False" in told and "11 of 13 clauses kept." in told
    assert main(["contract", "concat"]) == 2


def test_it_is_compared_with_a_system_of_the_course(source, tmp_path, capsys):
    data = features(30).with_split(["train"] * 18 + ["valid"] * 6 + ["test"] * 6)
    data.save(tmp_path / "data.npz")
    words = ["--systems", f"late,{source}:Mine", "--seeds", "1", "--epochs", "1", "--quiet"]
    out = tmp_path / "out"
    assert main(["compare", "--data", str(tmp_path / "data.npz"), *words, "--out", str(out)]) == 0
    assert {path.name for path in (out / "runs").iterdir()} == {
        "majority_0",
        "late_0",
        "mine-Mine_0",
    }
    assert not [path for path in out.iterdir() if ":" in path.name]
    about = json.loads((out / "runs" / "mine-Mine_0" / "config.json").read_text())
    assert about["config"]["code"] and "mine.py:Mine" in (out / "report.md").read_text()
