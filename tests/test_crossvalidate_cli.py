"""`python -m mmlib crossvalidate`: one command from data to a table of all folds."""

import json

import pandas as pd
import pytest

from mmlib.cli import main
from mmlib.data import theatre


def crossvalidate(data, out, *more) -> int:
    words = ["crossvalidate", "--data", str(data), "--out", str(out), "--device", "cpu", "--quiet"]
    return main([*words, *map(str, more)])


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "traces.npz"
    theatre.make("jmt", n=40, seed=0).features().save(path)
    return path


def test_it_writes_what_it_prints_and_does_not_train_twice(traces, tmp_path, capsys):
    options = ("--systems", "concat", "--folds", 2, "--epochs", 1, "--smooth", "3,5")
    options = (*options, "--targets", "valence,arousal")
    assert crossvalidate(traces, tmp_path, *options) == 0
    first = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "folds.csv")
    assert list(table.columns) == ["system", "fold", "n", "valence", "arousal", "mean"]
    assert list(table["fold"]) == ["official", "fold-1", "fold-2", "mean of folds", "deviation"]
    assert f"{table['valence'][1]:.3f}" in first
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "judged on test" in report and "# Each video by itself" in report
    # What is smoothed is told apart, and has its own table.
    main_part, _, smoothed = report.partition("# Smoothed")
    other = pd.read_csv(tmp_path / "smoothed.csv")
    assert "valence 3, arousal 5" in smoothed
    assert f"| {other['mean'][1]:.3f}" in smoothed and f"| {table['mean'][1]:.3f}" in main_part
    assert not other["mean"].equals(table["mean"])
    assert (tmp_path / "by_video.csv").is_file() and len(pd.read_csv(tmp_path / "runs.csv")) == 3
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.safetensors")}
    assert len(before) == 3
    assert crossvalidate(traces, tmp_path, *options) == 0
    assert capsys.readouterr().out == first
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_unequal_classes_and_absent_streams_are_met_as_in_train(tmp_path, capsys):
    options = ("--systems", "concat,late", "--folds", 2, "--epochs", 1, "--n", 40)
    options = (*options, "--sampling", "balanced", "--modality-dropout", 0.35)
    assert crossvalidate("theatre", tmp_path, *options, "--class-weights", "1,2,1,1,1,1,1,1") == 0
    assert "--modality-dropout changes nothing in late" in capsys.readouterr().err
    told = json.loads((tmp_path / "runs" / "fold-1" / "concat_0" / "config.json").read_text())
    assert told["config"]["modality_dropout"] == 0.35
    done = json.loads((tmp_path / "runs" / "fold-1" / "concat_0" / "done.json").read_text())
    assert done["sampling"] == "balanced"
    assert done["class_weights"] == [1.0, 2.0, *[1.0] * 6]
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "class weights [1.0, 2.0" in report and "sampling balanced" in report


def test_every_scale_of_train_may_be_crossvalidated(traces, tmp_path, capsys):
    options = ("--systems", "concat", "--folds", 2, "--scale", "official")
    assert crossvalidate(traces, tmp_path, *options) == 2
    assert "expected small or paper" in capsys.readouterr().err  # the system's word, not argparse's


def test_numbers_have_no_classes_to_balance(traces, tmp_path, capsys):
    options = ("--systems", "concat", "--folds", 2, "--sampling", "balanced")
    assert crossvalidate(traces, tmp_path, *options) == 2
    assert "are numbers; leave both out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--systems", "nonesuch"), "nonesuch"),
        (("--systems", "concat", "--folds", 1), "folds is 1"),
        (("--systems", "concat", "--class-weights", "1,x"), "--class-weights is 1,x"),
        (("--systems", "concat", "--folds", 999), "for 999 folds"),
        (("--systems", "concat", "--smooth", "3"), "expected 2 whole numbers"),
        (("--systems", "concat", "--smooth", "3,x"), "expected 2 whole numbers"),
        (("--systems", "concat", "--targets", "valence"), "has 2"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(traces, tmp_path, capsys, options, said):
    assert crossvalidate(traces, tmp_path / "out", *options) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
