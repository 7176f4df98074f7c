"""The leak detector: it names who stands in two splits, and finds a sample's copy in disguise."""

import time

import numpy as np
import pytest
import torch

from mmlib.data import FeatureError, FeatureSet, Leaks, find_leaks, split_by_group


def feature_set(count=12, **changes) -> FeatureSet:
    """Draw samples of two streams; four groups a, b, c, d in turn, each in one split."""
    generator = torch.Generator().manual_seed(0)
    group = np.array(list("abcd"))[np.arange(count) % 4]
    arrays = {
        "inputs": {
            "audio": torch.randn(count, 5, 3, generator=generator),
            "vision": torch.randn(count, 2, 7, generator=generator).half(),
        },
        "masks": {"audio": torch.arange(5) < 1 + torch.arange(count)[:, None] % 5},
        "labels": torch.arange(count) % 3,
        "class_names": ("x", "y", "z"),
        "split": np.array(["train", "train", "valid", "test"])[np.arange(count) % 4],
        "group": group,
        "ids": np.array([f"clip{n}" for n in range(count)]),
        "name": "toy",
    }
    return FeatureSet(**{**arrays, **changes})


def copied(whole: FeatureSet, source: int, target: int) -> FeatureSet:
    """Put what one sample holds into another's place."""
    for table in (whole.inputs, whole.masks):
        for value in table.values():
            value[target] = value[source]
    return whole


def test_a_clean_split_has_no_leaks():
    leaks = find_leaks(feature_set())
    assert not leaks and leaks == Leaks(total=4, name="toy")
    assert leaks.sentence() == ""
    assert leaks.describe().startswith("toy: no leak. No group of 4")


def test_groups_that_leak_are_named_with_their_samples_in_each_split():
    split = feature_set().split.copy()
    split[[0, 4]] = "test"  # a: two of its three samples
    split[2] = "train"  # c: one of its three, the others are in valid
    leaks = find_leaks(feature_set(split=split))
    assert leaks.groups == {"a": {"train": 1, "test": 2}, "c": {"train": 1, "valid": 2}}
    assert leaks.samples == () and leaks.total == 4
    assert leaks.sentence().startswith("2 of 4 groups of toy stand in more than one split (a, c)")
    said = leaks.describe()
    assert "a  1 in train, 2 in test" in said and "mmlib split" in said


def test_many_groups_are_counted_and_some_named():
    group = np.array([f"speaker{n % 20:02d}" for n in range(40)])
    split = np.array(["train"] * 20 + ["test"] * 20)
    leaks = find_leaks(feature_set(40, group=group, split=split))
    assert len(leaks.groups) == 20
    assert "(speaker00, speaker01, speaker02, ...)" in leaks.sentence()
    said = leaks.describe()
    assert "speaker09" in said and "speaker10" not in said and "and 10 more groups" in said


def test_other_groups_can_be_asked_about():
    whole = feature_set()
    assert not find_leaks(whole)
    pairs = np.array(["ab", "ab", "cd", "cd"])[np.arange(12) % 4]
    assert find_leaks(whole, by=pairs).groups == {"cd": {"valid": 3, "test": 3}}
    with pytest.raises(FeatureError, match=r"by has shape \(2,\) but there are 12 samples"):
        find_leaks(whole, by=["a", "b"])


def test_a_sample_is_found_again_under_another_id():
    leaks = find_leaks(copied(feature_set(), source=0, target=7))
    assert leaks.groups == {}
    assert leaks.samples == ((("clip0", "train"), ("clip7", "test")),)
    assert bool(leaks) and "clip0 (train) = clip7 (test)" in leaks.describe()


def test_a_copy_in_the_same_split_is_no_leak():
    assert not find_leaks(copied(feature_set(), source=0, target=5))


def test_what_stands_at_padded_steps_does_not_hide_a_copy():
    whole = copied(feature_set(), source=0, target=3)  # one real audio step
    whole.inputs["audio"][3, 1:] = float("nan")
    assert len(find_leaks(whole).samples) == 1
    whole.inputs["audio"][3, 0, 0] += 1
    assert not find_leaks(whole)


def test_a_sample_that_differs_in_one_stream_is_another_sample():
    whole = copied(feature_set(), source=0, target=3)
    whole.inputs["vision"][3, 1, 6] += 1
    assert not find_leaks(whole)


def test_a_real_zero_is_not_padding():
    whole = copied(feature_set(), source=0, target=3)
    whole.inputs["audio"][[0, 3], 1] = 0.0
    whole.masks["audio"][3, 1] = True
    assert not find_leaks(whole)


@pytest.mark.parametrize("absent", ["audio", "vision"])
def test_a_copy_is_found_where_a_stream_is_absent(absent):
    whole = copied(feature_set(), source=0, target=3)
    whole.masks[absent][[0, 3]] = False
    assert len(find_leaks(whole).samples) == 1


def test_samples_without_a_real_step_are_not_each_others_copies():
    masks = {"audio": torch.zeros(12, 5).bool(), "vision": torch.zeros(12, 2).bool()}
    assert not find_leaks(feature_set(masks=masks))


def test_an_id_that_comes_twice_is_found():
    ids = feature_set().ids.copy()
    ids[3] = "clip0"
    assert find_leaks(feature_set(ids=ids)).samples == ((("clip0", "train"), ("clip0", "test")),)


def test_groups_alone_are_found_without_reading_the_streams():
    whole = copied(feature_set(), source=0, target=7)
    assert not find_leaks(whole, content=False)
    assert find_leaks(whole)


def test_a_split_by_group_heals_groups_and_random_clips_leak():
    whole = feature_set(200, group=np.repeat([f"actor{n}" for n in range(10)], 20))
    clips = np.random.default_rng(0).choice(["train", "valid", "test"], 200)
    leaking = whole.with_split(clips)
    assert len(find_leaks(leaking).groups) == 10
    healed = leaking.with_split(split_by_group(whole.group, labels=whole.labels))
    assert not find_leaks(healed)


def test_ten_thousand_samples_are_searched_in_a_moment():
    inputs = {"audio": torch.randn(10_000, 16, 32)}
    split = np.array(["train", "test"])[np.arange(10_000) % 2]
    whole = FeatureSet(inputs, {}, torch.zeros(10_000, dtype=torch.long), ("a",), split=split)
    whole.inputs["audio"][9_000] = whole.inputs["audio"][17]
    began = time.process_time()
    leaks = find_leaks(whole)
    assert time.process_time() - began < 3.0
    assert leaks.samples == ((("17", "test"), ("9000", "train")),)


@pytest.mark.data
@pytest.mark.parametrize("name", ["ravdess", "mosi", "meld_dev"])
def test_real_splits_hold_their_groups_apart(shared_data, name):
    from mmlib.data import load_features

    path = shared_data / name / "features.npz"
    if not path.is_file():
        pytest.skip(f"{name} is not here")
    features = load_features(path)
    assert not find_leaks(features)
    again = features.with_split(split_by_group(features.group, labels=features.labels))
    assert not find_leaks(again, content=False)
    assert (again.split == "train").mean() == pytest.approx(0.7, abs=0.03)
