"""Several processes from a notebook, in a notebook that is really run."""

import json
import os
import sys
from pathlib import Path

import accelerate
import nbformat
import pytest
import torch
from nbclient import NotebookClient

from mmlib.training import TrainingError, launching
from mmlib.training.launching import launch

ROOT = Path(__file__).resolve().parents[2]

needs_gloo = pytest.mark.skipif(
    not hasattr(os, "fork")
    or not torch.distributed.is_available()
    or not torch.distributed.is_gloo_available(),
    reason="needs fork and torch.distributed with gloo",
)

BEFORE = """
import json, os, signal, sys, torch
from mmlib.data import load_features, save_folder, theatre
from mmlib.data.stored_stream import StoredStream
from mmlib.systems import build, find
from mmlib.training import TrainingError, fit, seed_everything
from mmlib.training.launching import launch

torch.set_num_threads(2)
(torch.randn(700, 700) @ torch.randn(700, 700)).sum()  # threads that a copy of this process lacks
save_folder(theatre.make("masks", n=110).features(), FOLDER)
features = load_features(FOLDER)
train_set, valid_set = features.subset("train"), features.subset("valid")

def train(system):
    seed_everything(0)
    model = build(system, find(system).config.for_dataset(train_set))
    history = fit(model, train_set, valid_set, epochs=2, batch_size=13, device="cpu")
    here = (int(os.environ.get("WORLD_SIZE", 1)), torch.get_num_threads())
    return history.drop(columns="seconds"), model.state_dict(), here
"""
ONE_AND_TWO = """
alone, weights, here = train("concat")  # and so an Accelerator was made in this process
together, theirs, there = launch(train, ("concat",), processes=2)

def rows_read():
    read, take = [], StoredStream.__getitem__
    def counted(self, index):
        value = take(self, index)
        read.append(len(value))
        return value
    StoredStream.__getitem__ = counted
    seed_everything(0)
    model = build("concat", find("concat").config.for_dataset(train_set))
    fit(model, train_set, epochs=1, batch_size=12, device="cpu", progress=False)
    StoredStream.__getitem__ = take
    return sum(read)

result = {
    "share": launch(rows_read) / rows_read(),
    "processes": [here[0], there[0]],
    "threads": [torch.get_num_threads(), there[1]],
    "apart": float((alone - together).abs().max().max()),
    "weights": max(float((weights[name] - theirs[name]).abs().max()) for name in weights),
    "epochs": len(together),
    "learnt": float(together.train_loss.iloc[-1]),
}
"""
FAILURES = """
def fails():
    if os.environ["RANK"] == "1":
        raise RuntimeError("the second of two")
    launch_never_ends = signal.pause()

def is_killed():
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()

result["failures"] = {}
for function in (fails, is_killed, lambda: (lambda: 0), lambda: sys.exit(0)):
    try:
        launch(function)
    except TrainingError as error:
        name = function.__name__ + str(len(result["failures"]))
        result["failures"][name] = [str(error), *getattr(error, "__notes__", [])]
result["again"] = launch(lambda: int(os.environ["WORLD_SIZE"]), processes=3)
print("RESULT", json.dumps(result))
"""


@pytest.mark.slow
@needs_gloo
def test_a_notebook_trains_in_two_processes_to_the_numbers_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    cells = [BEFORE.replace("FOLDER", repr(str(tmp_path / "folder"))), ONE_AND_TWO, FAILURES]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=200, kernel_name="python3").execute()
    printed = [
        output["text"]
        for cell in book.cells
        for output in cell.outputs
        if output["output_type"] == "stream" and output["name"] == "stdout"
    ]
    assert len(printed) == 1 and printed[0].startswith("RESULT "), printed  # no launcher's noise
    result = json.loads(printed[0].removeprefix("RESULT "))
    assert result["processes"] == [1, 2] and result["threads"] == [2, 1]
    assert result["epochs"] == 2 and result["learnt"] > 0
    assert result["apart"] < 1e-4 and result["weights"] < 1e-4
    assert 0.49 < result["share"] < 0.54  # each process reads its share of each batch, no more
    assert result["again"] == 3
    (said, *note), (killed,), (pickled, *_), (left,) = result["failures"].values()
    assert said == "process 1: RuntimeError: the second of two"
    assert "in fails" in note[0]
    assert killed.startswith("process 1 ended with exit code -9")
    assert pickled.startswith("process 0: ") and "pickle" in pickled
    assert left.startswith("the first process ended")


def test_one_process_is_this_one():
    seen = []
    assert (
        launch(lambda *args: seen.append(args) or os.getpid(), (3, 5), processes=1) == os.getpid()
    )
    assert seen == [(3, 5)]


def test_colab_without_two_gpus_stays_in_one_process(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert launch(os.getpid) == os.getpid()


def test_no_process_is_refused():
    with pytest.raises(TrainingError, match="processes is 0"):
        launch(print, processes=0)


def test_a_used_gpu_stays_in_one_process_where_there_is_not_one_for_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.warns(UserWarning, match="the function runs once, in this process; 2 processes"):
        assert launch(os.getpid) == os.getpid()


@pytest.fixture
def uncopied(monkeypatch):
    """No process is copied: what each would do is done once, here."""

    def work_here(work, args, **_):
        work(*args)

    monkeypatch.setattr(accelerate, "notebook_launcher", work_here)


@needs_gloo
def test_the_gpu_is_asked_for_only_in_the_way_that_leaves_copies_the_use_of_it(
    uncopied, monkeypatch
):
    asked = []

    def is_available():
        asked.append(os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK"))
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    assert launch(lambda x: x + 1, (2,)) == 3 and set(asked) == {"1"}


@needs_gloo
def test_what_comes_back_is_on_the_cpu(uncopied, monkeypatch):
    seen, real = [], torch.load

    def load(*args, **kwargs):
        seen.append(kwargs["map_location"])
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "load", load)
    weights = {"a": torch.arange(3.0)}
    found, told = launch(lambda: (weights, "told"))
    assert torch.equal(found["a"], weights["a"]) and told == "told" and seen == ["cpu"]


@needs_gloo
def test_a_copy_that_cannot_use_the_gpu_says_what_to_do(uncopied, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(launching.tempfile, "TemporaryDirectory", lambda prefix: Kept(tmp_path))

    def fails():
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA with ...")

    with pytest.raises(RuntimeError, match="Cannot re-initialize"):
        launch(fails)
    (told,) = tmp_path.glob("failed0")
    assert "has no way to the GPU: restart the kernel and launch before" in told.read_text()


class Kept:
    """A folder that stays."""

    def __init__(self, place):
        self.place = place

    def __enter__(self):
        return str(self.place)

    def __exit__(self, *about):
        return None


def test_a_used_gpu_and_a_system_without_fork_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainingError, match="has used the GPU already"):
        launch(print)
    monkeypatch.delattr(os, "fork", raising=False)
    with pytest.raises(TrainingError, match="torchrun --nproc-per-node 2"):
        launch(print)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    from mmlib.training.machine import make_accelerator

    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainingError, match="3 processes need 3 GPUs, but there are 2"):
        make_accelerator("auto", "fp32", several=False)
