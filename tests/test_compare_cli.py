"""`python -m mmlib compare`: one command from data to tables and figures."""

import argparse

import pandas as pd
import pytest

from mmlib.cli import compare as compare_command
from mmlib.cli import main
from mmlib.data import theatre
from mmlib.systems import CAMMAAETConfig


def compare(data, out, *more) -> int:
    words = ["compare", "--data", str(data), "--out", str(out), "--quiet", "--device", "cpu"]
    return main([*words, *map(str, more)])


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small.npz"
    theatre.make("ca_mmaaet", n=80, seed=0).features().save(path)
    return path


def test_it_writes_what_it_prints_and_does_not_train_twice(features, tmp_path, capsys):
    options = ("--systems", "mmaae,concat", "--seeds", 2, "--epochs", 2)
    assert compare(features, tmp_path, *options) == 0
    first = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table["system"]) == ["majority", "mmaae", "concat"]
    assert set(table["seeds"]) == {2}
    assert f"{table['accuracy'][1]:.3f}" in first
    assert (table["peak_bytes"] > 8 * table["parameters"]).all()  # weights and gradients at least
    assert (tmp_path / "losses_mmaae.png").is_file()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.safetensors")}
    assert len(before) == 6
    assert compare(features, tmp_path, *options) == 0
    assert capsys.readouterr().out == first
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--systems", "concat,nonesuch"), "nonesuch"),
        (("--systems", "concat,concat"), "twice"),
        (("--systems", ""), "names none"),
        (("--streams", "audio,vision", "--systems", "ca_mmaaet"), "no text"),
        (("--seeds", 0), "seeds is 0"),
        (("--tune", 1), "tune is 1"),
        (("--streams", "smell"), "smell"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    features, tmp_path, capsys, options, said
):
    assert compare(features, tmp_path / "out", *options) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_systems_that_fit_are_compared_and_the_others_named(tmp_path, capsys):
    quick = ("--n", 40, "--epochs", 1, "--seeds", 1, "--streams", "vision")
    assert compare("theatre", tmp_path, *quick) == 0
    told = capsys.readouterr()
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table["system"]) == ["majority", "concat", "late", "embracenet"]
    for name in ("ca_mmaaet", "avt_ca", "jmt"):
        assert f"{name} is left out: " in told.err
    assert "CA-MMAAET needs text, audio and vision" in told.err


def test_every_system_is_trained_equally_long_unless_each_has_its_own_way(tmp_path):
    parser = argparse.ArgumentParser()
    compare_command.add(parser.add_subparsers())

    def epochs(*words):
        return parser.parse_args(["compare", "--data", "x", "--out", "y", *words]).epochs

    assert epochs() == compare_command.EPOCHS
    assert epochs("--epochs", "7") == 7
    quick = ("--n", 24, "--seeds", 1, "--systems", "ca_mmaaet", "--streams", "text,audio,vision")
    assert compare("theatre", tmp_path, *quick, "--epochs", "own") == 0
    runs = pd.read_csv(tmp_path / "runs.csv").set_index("system")
    assert runs["epochs"]["ca_mmaaet"] == CAMMAAETConfig.small().epochs != compare_command.EPOCHS
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "numbers of epochs that differ" in text


def test_each_system_is_held_against_the_ceiling_of_its_own_streams(tmp_path):
    quick = ("--n", 40, "--epochs", 1, "--seeds", 1, "--systems", "concat,jmt")
    assert compare("theatre:flagship", tmp_path, *quick) == 0
    table = pd.read_csv(tmp_path / "table.csv").set_index("system")
    known = theatre.ceilings("flagship")
    assert table["streams"].to_dict() == {
        "majority": "text+audio+vision",
        "concat": "text+audio+vision",
        "jmt": "audio+vision",
    }
    for name, streams in table["streams"].items():
        assert table["ceiling"][name] == pytest.approx(known[streams])
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"{known['audio+vision']:.3f}" in text and "1 seed on" in text


def test_what_was_tried_is_told(features, tmp_path):
    options = ("--systems", "concat", "--seeds", 1, "--epochs", 1, "--tune", 2)
    assert compare(features, tmp_path, *options) == 0
    tried = pd.read_csv(tmp_path / "tuning.csv")
    assert tried["system"].tolist() == ["concat"] * 2 and tried["chosen"].sum() == 1
    rate = tried[tried["chosen"]]["learning_rate"].item()
    assert pd.read_csv(tmp_path / "table.csv").set_index("system")["learning_rate"][
        "concat"
    ] == pytest.approx(rate)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "the same budget: 2 learning rates" in text and "No other split" in text
    assert f"| {rate:.2g} " in text
