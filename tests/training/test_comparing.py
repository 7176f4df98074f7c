"""A comparison trains each run once, goes on after an interruption, and tells what the runs say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mmlib.data import FeatureSet
from mmlib.reporting import in_words, write_report
from mmlib.systems import UnknownSystem
from mmlib.training import comparing
from mmlib.training.checkpoints import CheckpointError
from mmlib.training.comparing import compare_systems
from mmlib.training.evaluating import score
from mmlib.training.results import Results, Run


def features_of(count: int = 30, seed: int = 0) -> FeatureSet:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    vision = torch.randn(count, 4, 5, generator=draw)
    vision[:, :, 0] += 2.0 * labels[:, None]
    audio = torch.randn(count, 7, 3, generator=draw)
    return FeatureSet(
        inputs={"audio": audio, "vision": vision},
        masks={},
        labels=labels,
        class_names=("low", "middle", "high"),
        split=np.repeat(["train", "valid", "test"], count // 3),
        group=np.array([f"speaker {i // 2}" for i in range(count)]),
    )


TINY = {"recipe": {"epochs": 2}, "device": "cpu", "progress": False}


def by_hand(outputs: dict[str, list[list[int]]], truth: list[int]) -> Results:
    """Results whose predictions are written out: system -> one list of classes for each seed."""
    judged = FeatureSet(
        inputs={"audio": torch.zeros(len(truth), 2, 3)},
        masks={},
        labels=torch.tensor(truth),
        class_names=("low", "high"),
    )
    runs = []
    for system, seeds in outputs.items():
        for seed, said in enumerate(seeds):
            logits = torch.nn.functional.one_hot(torch.tensor(said), 2).float()
            history = pd.DataFrame({"epoch": [1, 2], "valid_accuracy": [0.4, 0.6]})
            runs.append(Run(system, seed, logits, score(logits, judged), history, 11, 1.5))
    return Results(tuple(runs), judged, "test")


def test_the_table_has_mean_and_sample_deviation_over_seeds():
    results = by_hand({"a": [[0, 0, 1, 1], [0, 1, 1, 1]]}, truth=[0, 0, 1, 1])
    row = results.table().iloc[0]
    assert row["accuracy"] == pytest.approx((1.0 + 0.75) / 2)
    assert row["accuracy_sd"] == pytest.approx(0.25 / 2**0.5)
    assert (row["seeds"], row["parameters"], row["seconds"]) == (2, 11, 1.5)


def test_one_seed_has_no_deviation():
    table = by_hand({"a": [[0, 1]]}, truth=[0, 1]).table()
    assert pd.isna(table["accuracy_sd"][0])
    assert "±" not in in_words(table)


def test_the_class_table_averages_f1_over_classes_and_then_over_seeds():
    results = by_hand({"a": [[0, 0, 1, 1], [0, 0, 0, 0]]}, truth=[0, 0, 1, 1])
    row = results.class_table().iloc[0]
    assert row["low"] == pytest.approx((1 + 2 / 3) / 2)  # 2 * 2 / (2 + 4) with the second seed
    assert row["high"] == pytest.approx((1 + 0) / 2)
    assert row["average"] == pytest.approx((1 + 1 / 3) / 2)
    assert row["average_sd"] == pytest.approx((2 / 3) / 2**0.5)


def test_differences_are_of_the_same_samples_and_of_the_seeds_mean():
    truth = [0, 1] * 6
    wrong_once = [1 - truth[0], *truth[1:]]
    results = by_hand({"a": [truth, truth], "b": [truth, wrong_once]}, truth)
    found = results.differences("a")
    assert list(found) == ["b"]
    assert found["b"].difference == pytest.approx(-1 / 24)
    assert found["b"].low < 0 <= found["b"].high


def test_a_sample_that_several_seeds_judged_is_drawn_as_one():
    rng = np.random.default_rng(0)
    truth = [0] * 40
    said = rng.integers(0, 2, 40).tolist()
    once = by_hand({"a": [truth], "b": [said]}, truth).differences("a")["b"]
    often = by_hand({"a": [truth] * 5, "b": [said] * 5}, truth).differences("a")["b"]
    assert often.high - often.low == pytest.approx(once.high - once.low)


def test_a_systems_interval_holds_the_mean_of_its_seeds_and_draws_whole_groups():
    rng = np.random.default_rng(0)
    truth, groups = [0] * 60, np.repeat(np.arange(12), 5).astype(str)
    by_group = np.repeat(rng.integers(0, 2, 12), 5).tolist()  # a group is right or wrong as one
    half = by_hand({"a": [by_group, truth]}, truth)
    found = half.interval("a")
    assert found.value == pytest.approx(half.table()["accuracy"][0])
    assert found.low < found.value < found.high
    whole = replace(half, judged=replace(half.judged, group=groups)).interval("a")
    assert whole.high - whole.low > 1.5 * (found.high - found.low)
    once, often = (by_hand({"a": [by_group] * count}, truth).interval("a") for count in (1, 5))
    assert once[1:3] == pytest.approx(often[1:3])
    assert by_hand({"a": [[0]]}, [0]).interval("a") is None


def test_the_report_tells_intervals_and_differences_in_numbers_too(tmp_path):
    truth = [0, 1] * 6
    results = by_hand(
        {"majority": [[0] * 12], "a": [truth], "b": [[1 - truth[0], *truth[1:]]]}, truth
    )
    pairs = replace(results.judged, group=np.repeat(np.arange(6), 2).astype(str))
    results = replace(results, judged=pairs)
    shown = " ".join(write_report(results, tmp_path, source="theatre").split())
    text = " ".join((tmp_path / "report.md").read_text(encoding="utf-8").split())
    b, table = results.interval("b"), pd.read_csv(tmp_path / "table.csv")
    assert table[["accuracy_low", "accuracy_high"]].iloc[2].tolist() == pytest.approx(b[1:3])
    assert f"| {b.value:.3f} | {b.low:.3f} to {b.high:.3f} |" in shown
    gain = results.differences("a")["b"]
    row = f"| b | {gain.difference:.3f} | {gain.low:.3f} to {gain.high:.3f} |"
    assert row in text.partition("## Against a")[2]
    assert "of other groups, drawn anew" in text and "6 groups are so few" in text


def test_the_figures_of_a_class_in_a_file_get_names_that_every_disk_can_hold(tmp_path):
    name = "some/where/mine.py:Mine"
    results = by_hand({name: [[0, 1, 1, 1]]}, [0, 0, 1, 1])
    history = results.runs[0].history.assign(loss_mask=[0.7, 0.5])
    results = replace(results, runs=(replace(results.runs[0], history=history),))
    write_report(results, tmp_path, source="theatre")
    figures = {path.name for path in tmp_path.glob("*_*.png")}
    assert figures == {"losses_mine-Mine.png", "confusion_mine-Mine.png"}


def test_a_comparison_that_went_on_elsewhere_says_so(tmp_path):
    results = by_hand({"a": [[0, 1]], "b": [[0, 0]]}, [0, 1])
    shown = write_report(results, tmp_path / "here", source="theatre")
    there = (results.runs[0], replace(results.runs[1], device="cuda"))
    moved = write_report(replace(results, runs=there), tmp_path / "there", source="theatre")
    assert "peak MB (cpu)" in shown and "peak MB (cpu and cuda)" in moved
    for place, said in (("here", False), ("there", True)):
        text = (tmp_path / place / "report.md").read_text(encoding="utf-8")
        assert ("Not all ran on one device, but on cpu and cuda" in text) == said


def test_a_single_judged_sample_is_reported_without_what_needs_others(tmp_path):
    shown = write_report(
        by_hand({"a": [[0], [1]], "b": [[0]] * 2}, [0]), tmp_path, source="theatre"
    )
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "0.500" in shown and "95 %" not in text and "Against" not in text


def test_samples_of_a_single_group_are_drawn_one_by_one_and_the_report_says_so(tmp_path):
    truth = [0, 1] * 6
    alone = by_hand({"a": [truth] * 2, "b": [[1 - truth[0], *truth[1:]]] * 2}, truth)
    same = replace(alone, judged=replace(alone.judged, group=np.full(12, "actor05")))
    assert (alone.drawn, same.drawn) == ("sample", "sample")
    assert same.differences("a") == alone.differences("a")
    pairs = replace(alone.judged, group=np.repeat(np.arange(6), 2).astype(str))
    assert replace(alone, judged=pairs).drawn == "group"
    write_report(same, tmp_path, source="theatre")
    assert "from the group actor05" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_an_interrupted_comparison_ends_with_the_same_numbers(tmp_path, monkeypatch):
    features = features_of()
    whole = compare_systems(features, ["majority", "concat"], tmp_path / "a", seeds=2, **TINY)
    trained = []
    real = comparing.train_system

    def interrupted(system, *arguments, **options):
        trained.append((system, options["seed"]))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(system, *arguments, **options)

    monkeypatch.setattr(comparing, "train_system", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare_systems(features, ["majority", "concat"], tmp_path / "b", seeds=2, **TINY)
    again = compare_systems(features, ["majority", "concat"], tmp_path / "b", seeds=2, **TINY)
    assert trained == [
        *(("majority", 0), ("majority", 1), ("concat", 0)),
        *(("concat", 0), ("concat", 1)),
    ]
    for one, other in zip(whole.runs, again.runs, strict=True):
        assert torch.equal(one.outputs, other.outputs)
    columns = ["system", "accuracy", "accuracy_sd", "weighted_f1"]
    pd.testing.assert_frame_equal(whole.table()[columns], again.table()[columns])


def test_more_seeds_later_train_only_the_new_ones(tmp_path, monkeypatch):
    features = features_of()
    compare_systems(features, ["concat"], tmp_path, seeds=1, **TINY)
    trained, real = [], comparing.train_system

    def counted(system, *arguments, **options):
        trained.append(options["seed"])
        return real(system, *arguments, **options)

    monkeypatch.setattr(comparing, "train_system", counted)
    compare_systems(features, ["concat"], tmp_path, seeds=2, **TINY)
    assert trained == [1]


def test_finished_runs_of_other_data_or_settings_are_refused(tmp_path):
    compare_systems(features_of(), ["concat"], tmp_path, seeds=1, **TINY)
    with pytest.raises(CheckpointError, match="another data"):
        compare_systems(features_of(seed=1), ["concat"], tmp_path, seeds=1, **TINY)
    with pytest.raises(CheckpointError, match="another recipe"):
        compare_systems(
            features_of(), ["concat"], tmp_path, seeds=1, **TINY | {"recipe": {"epochs": 3}}
        )
    with pytest.raises(CheckpointError, match="another precision"):
        compare_systems(features_of(), ["concat"], tmp_path, seeds=1, **TINY, precision="bf16")


def test_what_cannot_be_trained_is_refused_before_anything_is(tmp_path):
    with pytest.raises(UnknownSystem, match="concatt"):
        compare_systems(features_of(), ["concat", "concatt"], tmp_path, seeds=1, **TINY)
    with pytest.raises(ValueError, match="no text"):
        compare_systems(features_of(), ["concat", "ca_mmaaet"], tmp_path, seeds=1, **TINY)
    with pytest.raises(ValueError, match="twice"):
        compare_systems(features_of(), ["concat", "concat"], tmp_path, seeds=1, **TINY)
    for part in ("one", "other"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "mine.py").write_text("from torch.nn import Linear as Mine\n")
    both = [f"{tmp_path / part / 'mine.py'}:Mine" for part in ("one", "other")]
    with pytest.raises(ValueError, match="into one folder"):
        compare_systems(features_of(), both, tmp_path / "runs", seeds=1, **TINY)
    with pytest.raises(ValueError, match="seeds is 0"):
        compare_systems(features_of(), ["concat"], tmp_path, seeds=0, **TINY)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "other"}


def test_the_report_has_a_table_and_every_figure_it_shows(tmp_path):
    results = by_hand(
        {"majority": [[0] * 6], "a": [[0, 0, 1, 1, 0, 1]], "b": [[0, 1] * 3]}, [0, 1] * 3
    )
    shown = write_report(results, tmp_path, source="theatre", ceiling=0.9)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert shown in text
    assert "than 0.900" in text
    pictures = {line.rpartition("](")[2][:-1] for line in text.splitlines() if line[:2] == "!["}
    assert {"scores.png", "epochs.png", "differences.png", "confusion_b.png"} <= pictures
    assert pictures == {path.name for path in tmp_path.glob("*.png")}
    assert pd.read_csv(tmp_path / "classes.csv")["average"][2] == pytest.approx(1.0)
    assert set(pd.read_csv(tmp_path / "differences.csv")["system"]) == {"majority", "b"}


def test_a_regression_is_compared_by_concordance(tmp_path):
    draw = torch.Generator().manual_seed(0)
    target = torch.randn(14, 5, 2, generator=draw)
    judged = FeatureSet(
        inputs={"audio": torch.zeros(14, 5, 3)},
        masks={"audio": torch.arange(5) < torch.randint(2, 6, (14, 1), generator=draw)},
        labels=target,
        class_names=None,
    )
    runs = []
    for system, noise in (("near", 0.1), ("far", 2.0)):
        said = target + noise * torch.randn(14, 5, 2, generator=draw)
        history = pd.DataFrame({"epoch": [1, 2], "valid_mean_ccc": [0.1, 0.2]})
        runs.append(Run(system, 0, said, score(said, judged), history, 7, None))
    results = Results(tuple(runs), judged, "valid")
    found = results.differences("near")["far"]
    scores = results.table()["mean_ccc"]
    assert found.difference == pytest.approx(scores[1] - scores[0])
    assert found.high < 0
    write_report(results, tmp_path, source="traces.npz")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "mean CCC" in text and "flatter" in text and "Confusion" not in text


def test_the_report_says_where_no_valid_split_chose_the_epoch(tmp_path):
    features = features_of()
    rest = replace(features, split=np.where(features.split == "valid", "train", features.split))
    short = TINY | {"recipe": {"epochs": 1}}
    for name, data in (("with", features), ("without", rest)):
        results = compare_systems(data, ["majority"], tmp_path / name / "runs", seeds=1, **short)
        write_report(results, tmp_path / name, source="three.npz")
    with_valid = (tmp_path / "with" / "report.md").read_text(encoding="utf-8")
    without = (tmp_path / "without" / "report.md").read_text(encoding="utf-8")
    assert "for 1 epoch each, and the epoch chosen on valid" in with_valid
    assert "the last epoch taken" in without and "chosen on valid" not in without
