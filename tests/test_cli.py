"""The command line, as a person or a script calls it."""

import importlib
import json

import numpy as np
import pytest

from mmlib.cli import main
from mmlib.data import FeatureSet, load_features


@pytest.fixture
def data(tmp_path):
    """Write a small feature file in which audio tells the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    arrays = {
        "audio": (rng.normal(size=(60, 3, 2)) + labels[:, None, None]).astype(np.float32),
        "vision": rng.normal(size=(60, 2, 5)).astype(np.float32),
        "labels": labels,
        "class_names": np.array(["a", "b", "c"]),
        "split": np.array(["train"] * 40 + ["valid"] * 13 + ["test"] * 7),
    }

    def write(name="features.npz", **changes):
        np.savez(
            tmp_path / name, **{k: v for k, v in {**arrays, **changes}.items() if v is not None}
        )
        return str(tmp_path / name)

    return write


def run(*words) -> int:
    """Call the command line as a shell would, with the exit code of a parser's refusal too."""
    try:
        return main([str(word) for word in words])
    except SystemExit as ended:
        return ended.code


def train(out, file, *more, system="concat", epochs=2) -> int:
    words = ["--system", system, "--data", file, "--out", out, "--epochs", epochs, "--quiet"]
    return run("train", *words, *more)


@pytest.mark.parametrize("system", ["concat", "late", "majority"])
def test_train_leaves_a_run_and_evaluate_reads_it(data, tmp_path, system, capsys):
    out, file = tmp_path / "run", data()
    assert train(out, file, system=system) == 0
    assert {"config.json", "history.csv", "best.safetensors", "last.safetensors"} <= {
        path.name for path in out.iterdir()
    }
    about = json.loads((out / "config.json").read_text())
    assert about["system"] == system and about["class_names"] == ["a", "b", "c"]
    assert about["data"]["fingerprint"] == load_features(file).fingerprint()
    assert (
        run("evaluate", "--run", out, "--data", file, "--json", tmp_path / "deep" / "r.json") == 0
    )
    result = json.loads((tmp_path / "deep" / "r.json").read_text())
    wanted = {"accuracy", "balanced_accuracy", "weighted_f1", "macro_f1", "confusion", "n"}
    assert wanted <= set(result) and result["n"] == 7
    assert np.sum(result["confusion"]) == 7
    assert "accuracy" in capsys.readouterr().out


def test_a_regression_is_evaluated_by_concordance(data, tmp_path):
    labels = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    file = data(labels=labels, class_names=None)
    assert train(tmp_path / "run", file) == 0
    words = ["--run", tmp_path / "run", "--data", file, "--split", "valid"]
    assert run("evaluate", *words, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert {"mean_ccc", "mean_pearson", "n"} <= set(result) and result["n"] == 13
    assert np.mean(result["ccc"]) == pytest.approx(result["mean_ccc"])
    assert result["video_ccc"] is None and "smoothed" not in result  # each sample its own group
    smooth = ["--json", tmp_path / "smooth.json", "--smooth", "1,1,1,1"]
    assert run("evaluate", *words, *smooth) == 0
    again = json.loads((tmp_path / "smooth.json").read_text())
    assert again["smoothed"]["ccc"] == again["ccc"] == result["ccc"]
    assert run("evaluate", *words, "--json", tmp_path / "r.json", "--smooth", "3") == 2


def test_the_theatre_is_data_too(tmp_path):
    assert train(tmp_path / "run", "theatre", "--n", 60, epochs=1) == 0
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    assert set(about["streams"]) == {"text", "audio", "vision"}


def test_a_file_without_valid_trains_to_the_last_epoch(data, tmp_path):
    file = data(split=np.array(["train"] * 50 + ["test"] * 10))
    assert train(tmp_path / "run", file) == 0
    assert run("evaluate", "--run", tmp_path / "run", "--data", file, "--json", tmp_path / "r") == 0


def test_evaluation_gives_the_numbers_of_the_best_epoch(data, tmp_path):
    import pandas as pd

    out, file = tmp_path / "run", data()
    assert train(out, file, epochs=4) == 0
    words = ["--run", out, "--data", file, "--split", "valid", "--json", tmp_path / "r.json"]
    assert run("evaluate", *words) == 0
    history = pd.read_csv(out / "history.csv")
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["accuracy"] == pytest.approx(history["valid_accuracy"].max())


def test_streams_can_be_chosen_and_the_file_may_hold_more(data, tmp_path):
    out, file = tmp_path / "run", data()
    assert train(out, file, "--streams", "audio") == 0
    assert json.loads((out / "config.json").read_text())["streams"] == {"audio": 2}
    assert run("evaluate", "--run", out, "--data", file, "--json", tmp_path / "r.json") == 0


def test_a_run_is_resumed_or_left_alone(data, tmp_path, capsys):
    out, file = tmp_path / "run", data()
    assert train(out, file) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert train(out, file) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert train(out, file, "--resume") == 0
    capsys.readouterr()
    assert train(out, file, "--resume", epochs=5) == 2
    assert "epochs=2, not 5" in capsys.readouterr().err
    assert train(out, data("other.npz", ids=np.arange(60).astype(str)[::-1]), "--resume") == 2
    assert "data are not those" in capsys.readouterr().err
    assert train(out, file, "--resume", system="late") == 2
    assert "another system" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_an_interrupted_training_says_how_to_go_on(data, tmp_path, capsys, monkeypatch):
    import mmlib.training.jobs

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(mmlib.training.jobs, "fit", interrupted)
    assert train(tmp_path / "run", data()) == 130
    said = capsys.readouterr().err
    assert "continue with: python -m mmlib train" in said and said.strip().endswith("--resume")


@pytest.mark.parametrize(
    ("module", "words", "ending"),
    [
        ("compare", ("--data", "theatre", "--out", "a folder"), "--out 'a folder'"),
        ("grade", ("class", "--csv", "marks.csv"), "--csv marks.csv --resume"),
        ("convert", ("--data", "a.npz", "--out", "b"), "interrupted"),
    ],
)
def test_what_is_interrupted_says_so_and_how_to_go_on(module, words, ending, capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"mmlib.cli.{module}"), "run", interrupted)
    assert run(module, *words) == 130
    assert capsys.readouterr().err.endswith(f"{ending}\n")


def test_what_shares_no_work_among_processes_is_refused_under_torchrun(
    data, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ("--data", data(), "--out", tmp_path / "runs", "--systems", "concat", "--device", "cpu")
    assert run("compare", *words) == 2
    assert (
        "start this without torchrun" in capsys.readouterr().err
        and not (tmp_path / "runs").exists()
    )
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert run("split", "--data", data(), "--out", tmp_path / "again.npz") == 0


REFUSED_TRAININGS = {
    "unknown system": (["--system", "nonesuch"], "no system 'nonesuch'; there are"),
    "unknown stream": (["--streams", "smell"], "no stream 'smell'; it has audio, vision"),
    "no stream": (["--streams", ","], "--streams is ,, expected one or more of audio,vision."),
    "unknown preset": (["--data", "theatre:nonesuch"], "nonesuch"),
    "missing file": (["--data", "nonesuch.npz"], "nonesuch.npz does not exist"),
    "no number": (["--epochs", "many"], "invalid int value"),
    "no epochs": (["--epochs", "0"], "epochs is 0"),
    "unknown scale": (["--scale", "huge"], "invalid choice"),
}


@pytest.mark.parametrize("case", REFUSED_TRAININGS)
def test_an_impossible_training_is_refused_with_one_sentence(data, tmp_path, capsys, case):
    words, sentence = REFUSED_TRAININGS[case]
    assert train(tmp_path / "run", data(), *words) == 2
    said = capsys.readouterr().err
    assert sentence in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "last.safetensors").exists()


REFUSED_FILES = {
    "no train split": ({"split": np.array(["valid"] * 60)}, "no split 'train'; it has valid"),
    "nan": ({"audio": np.full((60, 3, 2), np.nan, np.float32)}, "'audio' has NaN at sample 0"),
    "no labels": ({"labels": None}, "'labels' is missing"),
}


@pytest.mark.parametrize("case", REFUSED_FILES)
def test_a_bad_file_is_refused_with_one_sentence(data, tmp_path, capsys, case):
    changes, sentence = REFUSED_FILES[case]
    assert train(tmp_path / "run", data(**changes)) == 2
    said = capsys.readouterr().err
    assert sentence in said and len(said.strip().splitlines()) == 1


def test_an_impossible_evaluation_is_refused_with_one_sentence(data, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(out, data()) == 0
    capsys.readouterr()
    cases = {
        "no split 'test'; it has train": {"split": np.array(["train"] * 60)},
        "has no 'vision'; it has audio": {"vision": None},
        "has 4 features a step": {"vision": np.zeros((60, 2, 4), np.float32)},
        "the classes a, b, c, but": {"class_names": np.array(["a", "c", "b"])},
        "numbers instead of classes": {
            "labels": np.zeros((60, 3), np.float32), "class_names": None,
        },
        "belong to step 1": {"label_step": np.int64(1)},
    }  # fmt: skip
    for sentence, changes in cases.items():
        file = data("other.npz", **changes)
        assert run("evaluate", "--run", out, "--data", file, "--json", tmp_path / "r.json") == 2
        said = capsys.readouterr().err
        assert sentence in said and len(said.strip().splitlines()) == 1, said
    assert run("evaluate", "--run", tmp_path, "--data", file, "--json", tmp_path / "r.json") == 2
    assert "holds no run" in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def test_a_feature_set_made_in_python_can_be_trained_from_the_shell(tmp_path):
    import torch

    whole = FeatureSet({"text": torch.randn(9, 2, 3)}, {}, torch.arange(9) % 2, ("no", "yes"))
    whole.save(tmp_path / "mine.npz")
    assert train(tmp_path / "run", tmp_path / "mine.npz", epochs=1) == 0


SPEAKERS = np.array([f"speaker{n:02d}" for n in range(12)])[np.arange(60) % 12]


def test_a_split_that_leaks_groups_is_warned_of_in_one_sentence_and_trained(data, tmp_path, capsys):
    file = data("clips.npz", group=SPEAKERS)
    assert train(tmp_path / "run", file, epochs=1) == 0
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "warning: 12 of 12 groups of clips stand in more than one split" in said
    assert "(speaker00, speaker01, speaker02, ...)" in said and "mmlib split --data" in said
    words = ["--run", tmp_path / "run", "--data", file, "--json", tmp_path / "r.json"]
    assert run("evaluate", *words) == 0
    assert "mmlib evaluate: warning: 12 of 12 groups" in capsys.readouterr().err


def test_a_split_that_does_not_leak_is_not_warned_of(data, tmp_path, capsys):
    group = np.array(["a"] * 20 + ["b"] * 20 + ["c"] * 13 + ["d"] * 7)
    for name, column in (("alone", None), ("apart", group)):
        assert train(tmp_path / name, data(f"{name}.npz", group=column), epochs=1) == 0
        assert "warning" not in capsys.readouterr().err


def test_an_evaluation_tells_its_intervals_and_what_was_drawn(data, tmp_path, capsys):
    split = np.array((["train"] * 8 + ["test"] * 4) * 5)  # by speaker
    file = data(group=SPEAKERS, split=split)
    out = tmp_path / "run"
    assert train(out, file, epochs=1) == 0
    words = ["--run", out, "--data", file, "--json", tmp_path / "r.json"]
    assert run("evaluate", *words) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result["intervals"]) == {"accuracy", "balanced_accuracy", "weighted_f1", "macro_f1"}
    for name, (low, high) in result["intervals"].items():
        assert 0 <= low <= result[name] <= high <= 1
    drawn = {"by": "group", "units": 4, "resamples": 2000, "level": 0.95, "seed": 0}
    note = "so few that the intervals come out too narrow"
    assert result["intervals_drawn"] == {**drawn, "note": note}
    assert "95% bootstrap intervals over 4 groups" in capsys.readouterr().out


def test_samples_are_drawn_where_none_share_a_group_and_one_group_is_remarked_on(data, tmp_path):
    out = tmp_path / "run"
    assert train(out, data(), epochs=1) == 0
    alone = np.array([*np.arange(53).astype(str), *["me"] * 7])
    for group, note in ((None, None), (alone, "all from the group me")):
        file = data(group=group)
        words = ["--run", out, "--data", file, "--json", tmp_path / "r.json"]
        assert run("evaluate", *words) == 0
        drawn = json.loads((tmp_path / "r.json").read_text())["intervals_drawn"]
        assert drawn["by"] == "sample" and drawn["units"] == 7
        assert drawn.get("note", "").startswith(note or "") and ("note" in drawn) == bool(note)


def test_one_sample_is_evaluated_without_an_interval(data, tmp_path):
    file = data(split=np.array(["train"] * 59 + ["test"]))
    assert train(tmp_path / "run", file, epochs=1) == 0
    words = ["--run", tmp_path / "run", "--data", file, "--json", tmp_path / "r.json"]
    assert run("evaluate", *words) == 0
    assert json.loads((tmp_path / "r.json").read_text())["intervals"] == {}


def test_a_row_of_the_confusion_matrix_takes_one_line(data, tmp_path):
    out, file = tmp_path / "run", data()
    assert train(out, file, epochs=1) == 0
    assert run("evaluate", "--run", out, "--data", file, "--json", tmp_path / "r.json") == 0
    text = (tmp_path / "r.json").read_text()
    result = json.loads(text)
    for row in result["confusion"]:
        assert any(line.strip().rstrip(",") == str(row) for line in text.splitlines())


def test_a_feature_file_is_split_by_group(data, tmp_path, capsys):
    file, out = data("clips.npz", group=SPEAKERS), tmp_path / "deep" / "by_group.npz"
    assert run("split", "--data", file, "--check") == 1
    assert "clips: 12 of 12 groups stand in more than one split" in capsys.readouterr().out
    assert run("split", "--data", file, "--out", out, "--seed", 3, "--shares", "0.5,0.25,0.25") == 0
    assert "train 30 samples of 6 groups, valid 15 samples of 3" in capsys.readouterr().out
    assert run("split", "--data", out, "--check") == 0
    assert "no leak" in capsys.readouterr().out
    before, after = load_features(file), load_features(out)
    assert (before.ids == after.ids).all() and (before.labels == after.labels).all()
    assert (before.inputs["audio"] == after.inputs["audio"]).all()
    for part in ("train", "valid", "test"):
        counts = np.bincount(after.labels[after.split == part])
        assert len(set(counts)) == 1, "each class a third"


def test_a_copy_in_another_group_is_found_after_splitting(data, tmp_path, capsys):
    audio = np.random.default_rng(0).normal(size=(60, 3, 2)).astype(np.float32)
    audio[:12] = audio[0]  # one recording under every speaker
    file = data(audio=audio, vision=None, group=SPEAKERS)
    assert run("split", "--data", file, "--out", tmp_path / "out.npz") == 0
    assert "copies of 1 sample stand in more than one part" in capsys.readouterr().err
    assert run("split", "--data", tmp_path / "out.npz", "--check") == 1
    assert "0 (" in capsys.readouterr().out


def test_a_file_without_groups_is_split_by_sample_and_that_is_said(data, tmp_path, capsys):
    assert run("split", "--data", data(), "--out", tmp_path / "out.npz") == 0
    assert "each sample is a group of its own" in capsys.readouterr().err
    assert run("split", "--data", data(), "--check") == 0
    assert "so no group can leak; if samples share" in capsys.readouterr().err


REFUSED_SPLITS = {
    "nothing to do": ([], "one of the arguments --out --check is required"),
    "no numbers": (["--shares", "most,some,few"], "--shares is 'most,some,few'"),
    "too much": (["--shares", "0.9,0.1,0.1"], "that sum to 1"),
    "too few groups": (["--data", "TWO"], "there are 2 groups (a, b) for 3 parts"),
    "missing file": (["--data", "nonesuch.npz"], "nonesuch.npz does not exist"),
}


@pytest.mark.parametrize("case", REFUSED_SPLITS)
def test_an_impossible_split_is_refused_with_one_sentence(data, tmp_path, capsys, case):
    words, sentence = REFUSED_SPLITS[case]
    two = data("two.npz", group=np.array(["a", "b"] * 30))
    words = [two if word == "TWO" else word for word in words]
    out = ["--out", tmp_path / "out.npz"] if words else []
    assert run("split", "--data", data(), *out, *words) == 2
    said = capsys.readouterr().err
    assert sentence in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out.npz").exists()


def test_fields_of_a_systems_config_can_be_set_and_are_kept_with_the_run(data, tmp_path, capsys):
    out, file = tmp_path / "run", data()
    assert train(out, file, "--set", "pool=mean,late=none", system="avt_ca") == 0
    config = json.loads((out / "config.json").read_text())["config"]
    assert (config["pool"], config["late"]) == ("mean", None)
    assert run("evaluate", "--run", out, "--data", file, "--json", tmp_path / "result.json") == 0
    capsys.readouterr()
    assert train(out, file, "--set", "pool=max,late=none", "--resume", system="avt_ca") == 2
    assert "config" in capsys.readouterr().err, "that would be another run"


@pytest.mark.parametrize(
    ("system", "words", "said"),
    [
        ("concat", "pool=mean", "concat has no pool to set"),
        ("concat", "dropout", "--set is dropout, expected NAME=VALUE"),
        ("concat", "num_outputs=5", "comes from the data"),
        ("avt_ca_it1", "num_heads=2", "num_heads of avt_ca_it1 is 1 by its name"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_sentence(data, tmp_path, capsys, system, words, said):
    assert train(tmp_path / "run", data(), "--set", words, system=system) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
