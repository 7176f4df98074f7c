"""Cross-validation: no group on both sides, no epoch chosen on what is judged, every fold told."""

import numpy as np
import pandas as pd
import pytest
import torch

from mmlib.data import FeatureError, FeatureSet
from mmlib.metrics import concordance, concordance_by_video, moving_average
from mmlib.training import comparing
from mmlib.training.checkpoints import CheckpointError
from mmlib.training.crossvalidating import CrossValidation, Fold, cross_validate
from mmlib.training.evaluating import score
from mmlib.training.results import Results, Run

TINY = {"recipe": {"epochs": 1}, "device": "cpu", "progress": False}


def sequences(count: int = 33, split: str = "train train valid test") -> FeatureSet:
    """Pieces of videos with two numbers for each step, three pieces a video, some steps masked."""
    draw = torch.Generator().manual_seed(0)
    audio = torch.randn(count, 5, 3, generator=draw)
    mask = torch.rand(count, 5, generator=draw) < 0.8
    mask[:, 0] = True
    parts = split.split()
    return FeatureSet(
        inputs={"audio": audio},
        masks={"audio": mask},
        labels=audio[..., :2] + 0.1 * torch.randn(count, 5, 2, generator=draw),
        class_names=None,
        split=np.array([parts[(i // 3) % len(parts)] for i in range(count)]),
        group=np.array([f"video{i // 3}" for i in range(count)]),
        ids=np.array([f"video{i // 3}/{i % 3:03d}" for i in range(count)]),
    )


def classes(count: int = 30) -> FeatureSet:
    labels = torch.arange(count) % 3
    vision = torch.randn(count, 4, 5, generator=torch.Generator().manual_seed(0))
    vision[:, :, 0] += 2.0 * labels[:, None]
    return FeatureSet(
        inputs={"vision": vision},
        masks={},
        labels=labels,
        class_names=("low", "middle", "high"),
        group=np.array([f"speaker {i // 2}" for i in range(count)]),
    )


@pytest.fixture
def divisions(monkeypatch):
    """Note what each fold is trained and judged on, without training."""
    seen = {}

    def noted(features, systems, folder, *, seeds, split, **_):
        seen[folder.name] = features
        judged = features.subset(split)
        history = pd.DataFrame({"epoch": [1]})
        runs = [
            Run(name, seed, judged.labels.clone(), {"n": len(judged)}, history, 7, None)
            for name in systems
            for seed in range(seeds)
        ]
        return Results(tuple(runs), judged, split)

    monkeypatch.setattr("mmlib.training.crossvalidating.compare_systems", noted)
    return seen


def groups(features: FeatureSet, split: str) -> set[str]:
    return set(features.group[features.split == split].tolist())


def test_every_piece_outside_test_is_judged_once_by_groups_it_was_not_trained_on(
    divisions, tmp_path
):
    features = sequences()
    cross_validate(features, ["concat"], tmp_path, folds=4, progress=False)
    assert list(divisions) == ["official", "fold-1", "fold-2", "fold-3", "fold-4"]
    judged = []
    for name, divided in divisions.items():
        parts = [groups(divided, split) for split in ("train", "valid", "test")]
        assert all(parts) and not set.intersection(*parts)
        assert sum(map(len, parts)) == len(set().union(*parts))
        if name != "official":
            judged += divided.ids[divided.split == "test"].tolist()
    assert sorted(judged) == sorted(features.ids[features.split != "test"].tolist())


def test_a_file_with_three_splits_keeps_them_in_the_official_row(divisions, tmp_path):
    features = sequences()
    found = cross_validate(features, ["concat"], tmp_path, folds=2, progress=False)
    assert divisions["official"].split.tolist() == features.split.tolist()
    assert found.official == "test"


def test_where_there_is_no_test_split_valid_is_judged_and_does_not_choose(divisions, tmp_path):
    features = sequences(split="train train valid")
    found = cross_validate(features, ["concat"], tmp_path, folds=2, progress=False)
    official = divisions["official"]
    assert groups(official, "test") == groups(features, "valid") and found.official == "valid"
    assert groups(official, "valid") < groups(features, "train")


def test_a_file_without_a_split_of_its_own_has_no_official_row(divisions, tmp_path):
    found = cross_validate(classes(), ["concat"], tmp_path, folds=3, progress=False)
    assert list(divisions) == ["fold-1", "fold-2", "fold-3"] and found.official is None
    cross_validate(
        sequences(), ["concat"], tmp_path, folds=2, official=False, fold_seed=1, progress=False
    )
    assert len(divisions) == 3  # fold-1 and fold-2 are those of the second call


def test_another_fold_seed_divides_otherwise_and_the_same_alike(divisions, tmp_path):
    found = []
    for seed in (0, 0, 1):
        cross_validate(classes(), ["concat"], tmp_path, folds=3, fold_seed=seed, progress=False)
        found.append([divisions[f"fold-{n}"].split.tolist() for n in (1, 2, 3)])
    assert found[0] == found[1] != found[2]


def by_hand(outputs: dict[str, list[torch.Tensor]], judged: FeatureSet) -> CrossValidation:
    """Folds that all judge the same pieces; a prediction for each seed."""
    folds = []
    for name, seeds in outputs.items():
        history = pd.DataFrame({"epoch": [1]})
        runs = [
            Run("a", seed, said, score(said, judged), history, 7, 1.0)
            for seed, said in enumerate(seeds)
        ]
        folds.append(Fold(name, Results(tuple(runs), judged, "test")))
    targets = ("valence", "arousal") if judged.class_names is None else ()
    return CrossValidation(tuple(folds), targets, "test" if "official" in outputs else None)


def predictions(judged: FeatureSet, *noises: float) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(7)
    return [judged.labels + x * torch.randn(judged.labels.shape, generator=draw) for x in noises]


def test_the_table_has_the_papers_form():
    judged = sequences()
    one, two, three, four = predictions(judged, 0.1, 0.5, 0.9, 2.0)
    found = by_hand({"official": [four], "fold-1": [one, two], "fold-2": [three]}, judged)
    table = found.table("a").set_index("fold")
    assert list(table.columns) == ["n", "valence", "arousal", "mean"]
    assert list(table.index) == ["official", "fold-1", "fold-2", "mean of folds", "deviation"]
    mask = judged.masks["audio"]

    def ccc(said, k):
        return concordance(said[..., k], judged.labels[..., k], mask)

    assert table.loc["official", "arousal"] == pytest.approx(ccc(four, 1))
    first = (ccc(one, 0) + ccc(two, 0)) / 2  # seeds are averaged within a fold
    assert table.loc["fold-1", "valence"] == pytest.approx(first)
    assert table.loc["mean of folds", "valence"] == pytest.approx((first + ccc(three, 0)) / 2)
    deviation = abs(first - ccc(three, 0)) / 2**0.5
    assert table.loc["deviation", "valence"] == pytest.approx(deviation)
    for fold in ("official", "fold-1", "fold-2", "mean of folds"):
        row = table.loc[fold]
        assert row["mean"] == pytest.approx((row["valence"] + row["arousal"]) / 2)
    assert table["n"].tolist()[:3] == [33, 33, 33]


def test_masked_steps_are_not_scored():
    judged = sequences()
    (said,) = predictions(judged, 0.5)
    spoilt = torch.where(judged.masks["audio"][..., None], said, torch.full_like(said, 9.0))
    one, other = (by_hand({"fold-1": [x]}, judged) for x in (said, spoilt))
    for options in ({}, {"by_video": True}, {"smooth": [3, 5]}):
        pd.testing.assert_frame_equal(one.table("a", **options), other.table("a", **options))


def test_by_video_and_smoothed_are_tables_of_their_own():
    judged = sequences()
    (said,) = predictions(judged, 1.0)
    found, mask, videos = by_hand({"fold-1": [said]}, judged), judged.masks["audio"], judged.group
    before = found.table("a")
    by_video = found.table("a", by_video=True)
    each = concordance_by_video(said, judged.labels, videos, mask)
    assert by_video.loc[0, "valence"] == pytest.approx(each.mean[0].item())
    smooth = found.table("a", smooth=[3, 5])
    wanted = moving_average(said, videos, [3, 5], mask)
    arousal = concordance(wanted[..., 1], judged.labels[..., 1], mask)
    assert smooth.loc[0, "arousal"] == pytest.approx(arousal)
    pd.testing.assert_frame_equal(found.table("a"), before)  # the main numbers stay as they were


def test_classes_have_accuracy_for_each_fold_and_no_course_through_a_video(tmp_path):
    found = cross_validate(classes(), ["majority", "concat"], tmp_path, folds=2, **TINY)
    table = found.table("concat").set_index("fold")
    assert list(table.columns[:3]) == ["n", "accuracy", "balanced_accuracy"]
    assert list(table.index) == ["fold-1", "fold-2", "mean of folds", "deviation"]
    run = found.folds[1].results.of("concat")[0]
    judged = found.folds[1].results.judged
    right = (run.outputs.argmax(1) == judged.labels).double().mean().item()
    assert table.loc["fold-2", "accuracy"] == pytest.approx(right)
    assert len(found.every_run()) == 4 and set(found.every_run()["fold"]) == {"fold-1", "fold-2"}
    for wrong in ({"by_video": True}, {"smooth": [3]}):
        with pytest.raises(ValueError, match="labels are classes"):
            found.table("concat", **wrong)


def test_an_interrupted_cross_validation_ends_with_the_same_numbers(tmp_path, monkeypatch):
    features, options = sequences(), {"folds": 2, "targets": ["valence", "arousal"], **TINY}
    whole = cross_validate(features, ["concat"], tmp_path / "a", **options)
    real, trained = comparing.train_system, []

    def interrupted(system, divided, place, **settings):
        trained.append(place.parent.name)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(system, divided, place, **settings)

    monkeypatch.setattr(comparing, "train_system", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(features, ["concat"], tmp_path / "b", **options)
    again = cross_validate(features, ["concat"], tmp_path / "b", **options)
    assert trained == ["official", "fold-1", "fold-2", "fold-2"]
    pd.testing.assert_frame_equal(again.table("concat"), whole.table("concat"))
    # Another division in the same folder is refused, not mixed in.
    with pytest.raises(CheckpointError, match="another data"):
        cross_validate(features, ["concat"], tmp_path / "b", **options | {"folds": 3})


@pytest.mark.parametrize(
    ("features", "options", "said"),
    [
        (sequences, {"folds": 10}, "9 groups .* for 10 folds"),
        (sequences, {"folds": 1}, "folds is 1"),
        (sequences, {"targets": ["valence"]}, "has 2; name each"),
        (sequences, {"targets": ["valence", "mean"]}, "name each, all different"),
        (classes, {"targets": ["valence"]}, "has classes"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_anything_is_trained(
    tmp_path, features, options, said
):
    with pytest.raises(FeatureError, match=said):
        cross_validate(features(), ["concat"], tmp_path, **TINY, **options)
    assert not list(tmp_path.iterdir())
