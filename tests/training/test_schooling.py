"""Frozen features: portraits, the school's view of clips, and sound in ticks."""

import pytest
import torch

from mmlib.data import theatre
from mmlib.data.feature_set import FeatureSet
from mmlib.training import evaluate
from mmlib.training.schooling import (
    NO_LIGHT,
    in_ticks,
    portrait_set,
    train_face_school,
    with_face_features,
)


@pytest.fixture(scope="module")
def portraits():
    return portrait_set(n=1500, seed=3)


@pytest.fixture(scope="module")
def school(portraits):
    return train_face_school(portraits, epochs=4)


def test_portraits_show_every_light_and_none(portraits):
    assert len(portraits) == 1500
    lights = portraits.labels % (NO_LIGHT + 1)
    assert torch.bincount(lights).shape == (5,)
    assert (lights == NO_LIGHT).sum() == 300


def test_portraits_keep_the_actors_of_the_splits_apart(portraits):
    actors = {split: set(portraits.subset(split).group) for split in ("train", "valid", "test")}
    assert not actors["train"] & actors["test"]
    assert not actors["train"] & actors["valid"]


def test_the_school_recognises_actors_that_it_has_never_seen(portraits, school):
    assert evaluate(school, portraits.subset("test"))["accuracy"] > 0.85


def test_the_school_is_frozen(school):
    assert not school.training
    assert not any(parameter.requires_grad for parameter in school.parameters())


def test_face_features_stand_in_the_place_of_face_units(school):
    clips = theatre.make("spotlight", n=7, seed=2)
    features = with_face_features(clips, school, clips_at_once=3)
    assert features.inputs["vision"].shape == (7, 12, 48)
    torch.testing.assert_close(features.inputs["text"], clips.features().inputs["text"])
    alone = school.features(clips.frames[4:5])
    torch.testing.assert_close(features.inputs["vision"][4:5], alone, atol=1e-5, rtol=1e-4)


def small_set(values, mask):
    return FeatureSet(
        inputs={"audio": values},
        masks={"audio": mask},
        labels=torch.zeros(len(values), dtype=torch.long),
        class_names=("only",),
    )


def test_a_tick_is_the_mean_of_its_steps():
    values = torch.arange(12.0).reshape(1, 6, 2)
    ticks = in_ticks(small_set(values, torch.ones(1, 6, dtype=torch.bool)), "audio", 3)
    expected = torch.tensor([[[1.0, 2.0], [5.0, 6.0], [9.0, 10.0]]])
    torch.testing.assert_close(ticks.inputs["audio"], expected)
    assert ticks.masks["audio"].all()


def test_padding_does_not_count_in_a_tick():
    values = torch.tensor([[[2.0], [99.0], [99.0], [99.0]]])
    mask = torch.tensor([[True, False, False, False]])
    ticks = in_ticks(small_set(values, mask), "audio", 2)
    assert ticks.inputs["audio"].tolist() == [[[2.0], [0.0]]]
    assert ticks.masks["audio"].tolist() == [[True, False]]


def test_more_ticks_than_steps_are_refused():
    few = small_set(torch.zeros(1, 4, 1), torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="4 steps, which cannot be averaged into 5 ticks"):
        in_ticks(few, "audio", 5)
