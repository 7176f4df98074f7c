"""Every system is given the same budget of tuning, on train and valid alone, once."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from mmlib.data import FeatureError, FeatureSet
from mmlib.training import TrainingError, comparing, tuning
from mmlib.training.checkpoints import CheckpointError
from mmlib.training.comparing import compare_systems
from mmlib.training.fitting import seed_everything
from mmlib.training.trainer import Diverged, Trainer

RATES = {"early": 1e-3, "concat": 1e-3}


@pytest.fixture
def features():
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(33) % 3
    audio = torch.randn(33, 7, 5, generator=draw)
    audio[:, :, 0] += labels[:, None]
    return FeatureSet(
        inputs={"audio": audio, "vision": torch.randn(33, 2, 3, generator=draw)},
        masks={},
        labels=labels,
        class_names=("low", "middle", "high"),
        split=np.repeat(["train", "valid", "test"], 11),
    )


@pytest.fixture
def trials(monkeypatch):
    """Replace trainings by a table: what a system reaches on valid at each multiple of its rate."""
    asked = []
    reached: dict[tuple[str, str], float | None] = {}

    def trained(system, features, folder, *, seed, recipe, **_):
        factor = Fraction(recipe["learning_rate"] / RATES[system]).limit_denominator(100)
        asked.append((system, str(factor), seed, sorted(set(features.split.tolist()))))
        score = reached[system, str(factor)]
        if score is None:
            raise Diverged("the loss became nan")
        return None, pd.DataFrame({"valid_accuracy": [0.0, score], "valid_loss": [1.0, 1.0]})

    def loaded(_):
        return {}, {"settings": {"monitor": "valid_accuracy"}}

    monkeypatch.setattr(tuning, "train_system", trained)
    monkeypatch.setattr(tuning.checkpoints, "load_tensors", loaded)
    return asked, reached


def test_rates_lie_around_a_systems_own_nearest_first():
    assert tuning.factors(2) == (1, 3)
    assert tuning.factors(5) == (1, 3, Fraction(1, 3), 9, Fraction(1, 9))


@pytest.mark.parametrize("count", [-3, 1])
def test_one_rate_is_nothing_to_choose_from(count):
    with pytest.raises(ValueError, match=f"tune is {count}"):
        tuning.factors(count)


def test_the_middle_is_the_recipes_rate_else_the_systems_own(features):
    assert tuning.own_rate("concat", features, {}) == 1e-3
    assert tuning.own_rate("avt_ca", features, {}) == 3e-3
    assert tuning.own_rate("avt_ca", features, {"recipe": {"learning_rate": 0.02}}) == 0.02
    assert tuning.own_rate("avt_ca", features, {"recipe": {"learning_rate": None}}) == 3e-3


def test_all_systems_get_as_many_trials_and_the_best_on_valid_is_chosen(features, trials, tmp_path):
    asked, reached = trials
    reached |= {("early", "1"): 0.5, ("early", "3"): 0.7, ("early", "1/3"): 0.6}
    reached |= {("concat", "1"): 0.6, ("concat", "3"): 0.4, ("concat", "1/3"): 0.6}
    tried = tuning.tune(features, ["majority", "early", "concat"], tmp_path, settings=3)
    assert tried.groupby("system").size().to_dict() == {"early": 3, "concat": 3}
    # Of equals the one nearest to the system's own.
    assert tuning.chosen(tried) == {"early": pytest.approx(3e-3), "concat": pytest.approx(1e-3)}
    assert tried["epoch"].tolist() == [2] * 6
    assert {seed for *_, seed, _ in asked} == {tuning.SEED}


def test_no_trial_is_handed_a_sample_to_be_judged(features, trials, tmp_path):
    asked, reached = trials
    reached |= {("early", "1"): 0.5, ("early", "3"): 0.7}
    tuning.tune(features, ["early"], tmp_path, settings=2)
    assert [splits for *_, splits in asked] == [["train", "valid"]] * 2


def test_a_rate_at_which_the_loss_is_lost_is_never_chosen(features, trials, tmp_path):
    _, reached = trials
    reached |= {("early", "1"): None, ("early", "3"): None, ("early", "1/3"): 0.1}
    tried = tuning.tune(features, ["early"], tmp_path, settings=3)
    assert tuning.chosen(tried) == {"early": pytest.approx(1e-3 / 3)}
    assert tried["score"].isna().tolist() == [True, True, False]


def test_where_every_rate_loses_the_loss_that_is_said(features, trials, tmp_path):
    _, reached = trials
    reached |= {("early", "1"): None, ("early", "3"): None}
    with pytest.raises(TrainingError, match="early was no longer a number.*0.001, 0.003"):
        tuning.tune(features, ["early"], tmp_path, settings=2)


def test_finished_trials_are_not_repeated_and_others_are_refused(features, trials, tmp_path):
    asked, reached = trials
    reached |= {("early", "1"): None, ("early", "3"): 0.7, ("early", "1/3"): 0.8}
    first = tuning.tune(features, ["early"], tmp_path, settings=2)
    again = tuning.tune(features, ["early"], tmp_path, settings=2)
    assert len(asked) == 2
    pd.testing.assert_frame_equal(first, again)
    more = tuning.tune(features, ["early"], tmp_path, settings=3)
    assert [factor for _, factor, *_ in asked[2:]] == ["1/3"]
    assert more["chosen"].tolist() == [False, False, True]
    with pytest.raises(CheckpointError, match="another recipe"):
        tuning.tune(features, ["early"], tmp_path, settings=2, recipe={"epochs": 7})


def test_without_a_valid_split_there_is_nothing_to_tune_on(features, tmp_path):
    split = np.where(features.split == "valid", "train", features.split)
    with pytest.raises(FeatureError, match="no valid split"):
        tuning.tune(features.with_split(split), ["early"], tmp_path, settings=2)


def test_the_chosen_rate_trains_every_seed(features, tmp_path, monkeypatch):
    taken, real = [], comparing.train_system

    def noted(system, *arguments, **options):
        taken.append((system, options["seed"], options["recipe"].get("learning_rate")))
        return real(system, *arguments, **options)

    monkeypatch.setattr(comparing, "train_system", noted)
    results = compare_systems(
        features,
        ["majority", "early"],
        tmp_path,
        seeds=2,
        tune=2,
        recipe={"epochs": 2},
        device="cpu",
        progress=False,
    )
    assert results.tried is not None and len(results.tried) == 2
    rate = tuning.chosen(results.tried)["early"]
    assert taken == [
        *(("majority", 0, None), ("majority", 1, None)),
        *(("early", 0, rate), ("early", 1, rate)),
    ]
    assert [run.learning_rate for run in results.of("early")] == [rate, rate]


def test_tuning_leaves_the_runs_as_they_are_at_the_same_rate(features, tmp_path):
    shared = {"seeds": 1, "device": "cpu", "progress": False}
    tuned = compare_systems(
        features, ["early"], tmp_path / "a", tune=2, recipe={"epochs": 2}, **shared
    )
    seed_everything(77)
    rate = tuning.chosen(tuned.tried)["early"]
    alone = compare_systems(
        features,
        ["early"],
        tmp_path / "b",
        recipe={"epochs": 2, "learning_rate": rate},
        **shared,
    )
    assert torch.equal(tuned.runs[0].outputs, alone.runs[0].outputs)


def test_killed_while_it_tunes_it_goes_on_to_the_same_numbers(features, tmp_path, monkeypatch):
    shared = {"seeds": 2, "tune": 2, "device": "cpu", "progress": False, "recipe": {"epochs": 3}}
    systems = ["early", "concat"]
    whole = compare_systems(features, systems, tmp_path / "whole", **shared)
    real, epochs = Trainer.keep, []

    def killed(self, *arguments):
        real(self, *arguments)
        epochs.append(1)
        if len(epochs) == 5:  # in the middle of the second trial
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            compare_systems(features, systems, tmp_path / "killed", **shared)
    assert not (tmp_path / "killed" / "early_0").exists()
    again = compare_systems(features, systems, tmp_path / "killed", **shared)
    pd.testing.assert_frame_equal(whole.tried, again.tried)
    for one, other in zip(whole.runs, again.runs, strict=True):
        assert torch.equal(one.outputs, other.outputs)
        assert one.peak_bytes == other.peak_bytes
