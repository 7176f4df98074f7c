"""`python -m mmlib robustness`: trained runs where streams are absent, and what `train` can do about it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from mmlib.cli import main
from mmlib.data import theatre
from mmlib.training import evaluate
from mmlib.training.hearing import Without
from mmlib.training.robustness import find_trials
from mmlib.training.runs import load_run

DATA = ("--data", "theatre:ca_mmaaet", "--n", "60")
QUICK = ("--epochs", "1", "--device", "cpu", "--quiet")


def call(*words) -> int:
    return main([str(word) for word in words])


def measure(out: Path, *words) -> int:
    return call("robustness", "--out", out, "--device", "cpu", "--quiet", "--draws", 2, *words)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A comparison of two seeds, and single runs beside it."""
    folder = tmp_path_factory.mktemp("runs")
    words = ("--systems", "late,concat", "--seeds", 2, *DATA, *QUICK)
    assert call("compare", *words, "--modality-dropout", 0.35, "--out", folder / "compared") == 0
    single = {
        "concat": ("--system", "concat", "--modality-dropout", 0),
        "weighted": ("--system", "concat", "--modality-dropout", 0, "--class-weights", "balanced"),
        "jmt": ("--system", "jmt", "--sampling", "balanced"),
        "two": ("--system", "gated", "--streams", "text,audio"),
    }
    for name, more in single.items():
        assert call("train", *DATA, *QUICK, *more, "--out", folder / name) == 0
    return folder


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    places = [runs / name for name in ("compared", "concat", "weighted", "jmt")]
    assert measure(out, "--runs", *places) == 0
    return out


def test_runs_are_told_apart_by_what_differs_and_seeds_put_together(report):
    table = pd.read_csv(report / "patterns.csv")
    seeds = table.groupby("system", sort=False)["seed"].unique().apply(sorted).to_dict()
    assert seeds == {
        "concat, modality dropout 0.35": [0, 1],
        "late": [0, 1],
        "majority": [0, 1],
        "concat, modality dropout 0.0": [0],
        "concat, modality dropout 0.0, class weights balanced": [0],
        "jmt": [0],
    }
    assert len(table) == 8 * 7 + 3
    falling = pd.read_csv(report / "falling.csv")
    assert len(falling) == 9 * 9 * 2 and set(falling["draw"]) == {0, 1}


def test_the_same_run_in_two_comparisons_counts_once(runs):
    folder = runs / "compared"
    once = find_trials([folder])
    assert find_trials([folder, folder / "runs" / "late_1", folder / "runs"]) == once
    assert [trial.name for trial in once] == ["concat"] * 2 + ["late"] * 2 + ["majority"] * 2


def test_numbers_are_those_of_the_run_on_its_own_test_samples(runs, report):
    model, _ = load_run(runs / "concat")
    features = theatre.make("ca_mmaaet", n=60).features().subset("test")
    expected = evaluate(Without(model=model, streams=["text", "vision"]), features)
    table = pd.read_csv(report / "patterns.csv").set_index(["system", "pattern"])
    row = table.loc[("concat, modality dropout 0.0", "text+vision")]
    for metric in ("accuracy", "balanced_accuracy", "weighted_f1", "macro_f1"):
        assert row[metric] == pytest.approx(expected[metric])
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] and row["n"] == 15


def test_the_report_says_the_means_the_draws_and_what_could_be_reached(report):
    text = (report / "report.md").read_text()
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:1] == "|"}
    assert "never loses all" in text and "2 draws" in text and "theatre:ca_mmaaet" in text
    assert "| availability | the mean of the decisions" in text
    rows = [line for line in text.splitlines() if line.startswith("| late ")]
    assert rows[0].rstrip(" |").endswith("-") and len(rows) == 3  # no dropout to speak of
    assert "ceiling of jmt" in lines
    known = theatre.ceilings("ca_mmaaet")
    best = [line for line in text.splitlines() if line.startswith("| ceiling  ")]
    cells = [float(cell) for cell in best[0].split("|")[2:-1]]
    assert cells == pytest.approx([round(value, 3) for value in known.values()], abs=6e-4)
    assert float(best[1].split("|")[2]) == pytest.approx(cells[-1])
    for figure in ("patterns.png", "falling.png"):
        assert (report / figure).stat().st_size > 5000 and f"({figure})" in text


def test_a_run_on_fewer_streams_is_measured_on_those(runs, tmp_path):
    assert measure(tmp_path, "--runs", runs / "two", "--means", "zeros") == 0
    table = pd.read_csv(tmp_path / "patterns.csv")
    assert table["pattern"].tolist() == ["text", "audio", "text+audio"]
    assert set(table["means"]) == {"zeros"}


def test_other_data_may_be_named(runs, tmp_path):
    path = tmp_path / "other.npz"
    theatre.make("ca_mmaaet", n=48, seed=5).features().save(path)
    assert measure(tmp_path, "--runs", runs / "two", "--data", path, "--split", "train") == 0
    table = pd.read_csv(tmp_path / "patterns.csv")
    assert "ceiling" not in table and table["n"].iloc[0] > 20


def test_the_choices_are_kept_with_the_run(runs):
    config = json.loads((runs / "compared" / "runs" / "concat_1" / "config.json").read_text())
    assert config["config"]["modality_dropout"] == 0.35
    [weighted] = find_trials([runs / "weighted"])
    assert weighted.settings["class_weights"] == "balanced"
    assert weighted.settings["monitor"] == "valid_balanced_accuracy"
    text = (runs / "compared" / "report.md").read_text()
    assert "For all of them: modality dropout 0.35." in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--runs", "{tmp}"), "holds no run; give a folder that train or compare left"),
        (("--runs", "{runs}/jmt", "--draws", "0"), "--draws is 0, expected at least 1"),
        (("--runs", "{runs}/jmt", "--data", "theatre"), "the run knows the classes negative"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(runs, tmp_path, capsys, words, says):
    words = [word.format(runs=runs, tmp=tmp_path) for word in words]
    assert measure(tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_runs_on_different_data_are_not_mixed(runs, tmp_path, capsys):
    other = ("--data", "theatre:ca_mmaaet", "--n", "48", *QUICK)
    assert call("train", "--system", "concat", *other, "--out", tmp_path / "run") == 0
    assert measure(tmp_path, "--runs", tmp_path / "run", runs / "jmt") == 2
    error = capsys.readouterr().err
    assert "theatre:ca_mmaaet (48 samples), theatre:ca_mmaaet (60 samples)" in error


def test_data_that_have_changed_are_refused(tmp_path, capsys):
    path = tmp_path / "file.npz"
    theatre.make("ca_mmaaet", n=48, seed=1).features().save(path)
    assert call("train", "--system", "late", "--data", path, *QUICK, "--out", tmp_path / "run") == 0
    theatre.make("ca_mmaaet", n=48, seed=2).features().save(path)
    assert measure(tmp_path, "--runs", tmp_path / "run") == 2
    assert "no longer what" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--class-weights", "1,x"), "--class-weights is 1,x, expected balanced, or a number"),
        (("--class-weights", "1,2"), "a number from 0 on for each of the 3 classes"),
        (("--class-weights", "balanced", "--sampling", "balanced"), "choose one"),
        (("--modality-dropout", "1.0"), "modality dropout is 1.0, expected a rate"),
        (("--system", "ca_mmaaet", "--modality-dropout", ".3"), "ca_mmaaet has no modality dropo"),
    ],
)
def test_choices_that_cannot_be_met_are_refused(tmp_path, capsys, words, says):
    system = () if "--system" in words else ("--system", "concat")
    assert call("train", *system, *DATA, *QUICK, "--out", tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_comparison_refuses_a_choice_before_anything_is_trained(tmp_path, capsys):
    words = ("--systems", "concat,mmaae", *DATA, *QUICK, "--modality-dropout", "0.2")
    assert call("compare", *words, "--out", tmp_path) == 2
    assert "mmaae has no modality dropout" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_where_a_dropout_changes_nothing_that_is_said(tmp_path, capsys):
    words = ("--system", "late", *DATA, *QUICK, "--modality-dropout", "0.4")
    assert call("train", *words, "--out", tmp_path / "run") == 0
    assert "changes nothing in late: each of its streams" in capsys.readouterr().err


def test_dropout_sets_the_form_of_systems_that_have_several(tmp_path):
    words = ("--system", "avt_ca", *DATA, *QUICK, "--modality-dropout", "0.4")
    assert call("train", *words, "--out", tmp_path / "run") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (config["modality_dropout"], config["modality_rate"]) == ("drop", 0.4)
    [trial] = find_trials([tmp_path / "run"])
    assert trial.modality_dropout == 0.4
