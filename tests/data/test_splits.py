"""Splits by group: nobody in two parts, shares and labels as near as the groups allow."""

import time

import numpy as np
import pytest
import torch

from mmlib.data import SPLITS, FeatureError, FeatureSet, grouped_folds, split_by_group


@pytest.fixture
def videos() -> tuple[np.ndarray, np.ndarray]:
    """61 videos of very unequal length, whose labels differ from video to video."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 60, 61)
    group = np.repeat([f"video{n:02d}" for n in range(61)], sizes)
    lean = rng.dirichlet([2.0, 1.0, 0.5], 61)
    labels = np.concatenate([rng.choice(3, n, p=p) for n, p in zip(sizes, lean, strict=True)])
    order = rng.permutation(len(group))
    return group[order], labels[order]


def parts_of(group: np.ndarray, split: np.ndarray) -> dict[str, set]:
    return {part: set(group[split == part]) for part in SPLITS}


@pytest.mark.parametrize("seed", range(4))
def test_no_group_stands_in_two_parts_and_every_sample_in_one(videos, seed):
    group, labels = videos
    for given in (None, labels):
        parts = parts_of(group, split_by_group(group, labels=given, seed=seed))
        assert not parts["train"] & parts["valid"]
        assert not parts["train"] & parts["test"] and not parts["valid"] & parts["test"]
        assert set.union(*parts.values()) == set(group) and all(parts.values())


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.5, 0.3, 0.2), (0.34, 0.33, 0.33)])
def test_parts_come_near_their_shares_of_the_samples(videos, shares):
    group, labels = videos
    split = split_by_group(group, labels=labels, shares=shares)
    found = [(split == part).mean() for part in SPLITS]
    assert found == pytest.approx(shares, abs=0.02)


def test_labels_are_balanced_far_better_than_by_chance(videos):
    group, labels = videos
    whole = np.bincount(labels) / len(labels)

    def apart(split: np.ndarray) -> float:
        return max(
            np.abs(
                np.bincount(labels[split == part], minlength=3) / (split == part).sum() - whole
            ).max()
            for part in SPLITS
        )

    seeds = range(5)
    balanced = [apart(split_by_group(group, labels=labels, seed=seed)) for seed in seeds]
    blind = [apart(split_by_group(group, seed=seed)) for seed in seeds]
    assert max(balanced) < 0.05 and np.mean(balanced) < 0.4 * np.mean(blind)


def test_what_can_be_balanced_exactly_is():
    # Ten actors with the same clips each: 7, 2 and 1 of them are exactly .7, .2 and .1 of each class.
    group, labels = np.repeat(np.arange(10), 12), np.tile(np.arange(12) % 4, 10)
    split = split_by_group(group, labels=labels, shares=(0.7, 0.2, 0.1))
    counts = [np.bincount(labels[split == part]).tolist() for part in SPLITS]
    assert counts == [[21] * 4, [6] * 4, [3] * 4]


def test_ratings_are_balanced_by_quarters():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(40), 25)
    mood = rng.normal(size=(40, 2))[group] * 2
    ratings = (mood + rng.normal(size=(1000, 2))).astype(np.float32)
    given = torch.from_numpy(ratings)
    split = split_by_group(group, labels=given, seed=3)
    sway = torch.from_numpy(rng.normal(size=(1000, 2)).astype(np.float32)) * 5
    steps = torch.stack([given + sway, given, given - sway], dim=1)  # a sample counts by its mean
    assert (split_by_group(group, labels=steps, seed=3) == split).all()

    def apart(split: np.ndarray) -> float:
        means = [ratings[split == part].mean(0) for part in SPLITS]
        return float(np.abs(np.array(means) - ratings.mean(0)).max())

    blind = np.mean([apart(split_by_group(group, seed=seed)) for seed in range(8)])
    assert apart(split) < 0.7 * blind


def test_a_seed_gives_one_split_and_another_seed_another(videos):
    group, labels = videos
    first, again, other = (split_by_group(group, labels=labels, seed=seed) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_the_order_of_samples_does_not_matter(videos):
    group, labels = videos
    turned = split_by_group(group[::-1], labels=labels[::-1])
    assert (turned[::-1] == split_by_group(group, labels=labels)).all()


def test_a_part_may_be_left_out(videos):
    group, _ = videos
    assert set(split_by_group(group, shares=(0.8, 0, 0.2))) == {"train", "test"}
    assert set(split_by_group(group, shares={"train": 0.8, "valid": 0.2})) == {"train", "valid"}
    assert set(split_by_group(group, shares={"test": 1})) == {"test"}


def test_as_many_groups_as_parts_are_enough():
    split = split_by_group(["a", "b", "b", "c"], seed=2)
    assert sorted(split[[0, 1, 3]]) == sorted(SPLITS) and split[1] == split[2]


IMPOSSIBLE = {
    "two people": ({"group": ["a", "b", "a"]}, r"there are 2 groups \(a, b\) for 3 parts"),
    "nobody": ({"group": []}, "one name for each sample"),
    "shares of two": ({"shares": (0.8, 0.2)}, "the shares are 0.8, 0.2; expected three numbers"),
    "too much": ({"shares": (0.8, 0.2, 0.2)}, "that sum to 1"),
    "less than nothing": ({"shares": (1.2, -0.1, -0.1)}, "from 0 to 1"),
    "unknown share": ({"shares": {"train": 0.5, "dev": 0.5}}, "no part 'dev'"),
    "other labels": ({"labels": [0, 1]}, "2 labels but 4 samples"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_split_is_refused(case):
    changes, sentence = IMPOSSIBLE[case]
    asked = {"group": ["a", "b", "c", "d"], **changes}
    with pytest.raises(FeatureError, match=sentence):
        split_by_group(asked.pop("group"), **asked)


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_folds_test_every_sample_once_and_share_no_group(videos, folds):
    group, labels = videos
    seen = np.zeros(len(group), dtype=int)
    pairs = grouped_folds(group, labels=labels, folds=folds)
    assert len(pairs) == folds
    for train, test in pairs:
        assert not set(group[train]) & set(group[test])
        assert sorted([*train, *test]) == list(range(len(group)))
        seen[test] += 1
    assert (seen == 1).all()


def test_folds_are_even_in_size_and_labels(videos):
    group, labels = videos
    whole = np.bincount(labels) / len(labels)
    for _, test in grouped_folds(group, labels=labels, folds=5, seed=1):
        assert np.abs(np.bincount(labels[test], minlength=3) / len(test) - whole).max() < 0.08
    sizes = [len(test) for _, test in grouped_folds(group, folds=5, seed=1)]
    assert max(sizes) - min(sizes) < 0.05 * len(group)


def test_folds_are_those_of_their_seed(videos):
    group, labels = videos
    first, again, other = (
        [test.tolist() for _, test in grouped_folds(group, labels=labels, seed=seed)]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_folds_bear_rare_classes_and_ratings_without_a_warning(recwarn):
    group = np.repeat(np.arange(6), 2)
    rare = np.arange(12)  # no class comes twice
    assert len(grouped_folds(group, labels=rare, folds=3)) == 3
    assert len(grouped_folds(group, labels=rare[:, None] / 7, folds=3)) == 3
    assert not recwarn.list


def test_impossible_folds_are_refused():
    with pytest.raises(FeatureError, match="2 groups .* for 3 folds"):
        grouped_folds(["a", "b", "b"], folds=3)
    with pytest.raises(FeatureError, match="expected at least 2"):
        grouped_folds(["a", "b"], folds=1)
    with pytest.raises(FeatureError, match="3 labels but 2 samples"):
        grouped_folds(["a", "b"], labels=[0, 1, 0], folds=2)


@pytest.mark.parametrize("groups", [24, 10_000])
def test_ten_thousand_samples_are_split_in_a_moment(groups):
    rng = np.random.default_rng(0)
    group = np.arange(10_000) % groups
    labels = rng.integers(0, 7, 10_000)
    split_by_group(group[:50])  # scikit-learn is imported here
    began = time.process_time()
    split_by_group(group, labels=labels)
    assert time.process_time() - began < 2.0


def test_a_feature_set_takes_a_new_split():
    whole = FeatureSet({"text": torch.zeros(4, 1, 2)}, {}, torch.arange(4) % 2, ("no", "yes"))
    again = whole.with_split(["train", "test", "valid", "test"])
    assert len(again.subset("test")) == 2 and (whole.split == "train").all()
    assert again.inputs is whole.inputs and again.fingerprint() != whole.fingerprint()
    with pytest.raises(FeatureError, match="'split' has shape"):
        whole.with_split(["train", "test"])
    with pytest.raises(FeatureError, match="'split' holds dev"):
        whole.with_split(["train", "dev", "train", "train"])
