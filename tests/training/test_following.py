"""Numbers followed through videos: which video a sample is of, and what is told beside the scores."""

import numpy as np
import pytest
import torch

from mmlib.data import FeatureSet
from mmlib.metrics import concordance, concordance_by_video, moving_average
from mmlib.training.following import concordances, following_report, videos_of


def pieces(seed: int = 0) -> tuple[torch.Tensor, FeatureSet]:
    """Predictions, and 12 pieces of four videos with some steps that are not real."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randn(12, 5, 2, generator=draw)
    mask = torch.rand(12, 5, generator=draw) < 0.7
    features = FeatureSet(
        inputs={"audio": torch.zeros(12, 5, 3)},
        masks={"audio": mask},
        labels=labels,
        class_names=None,
        ids=np.array([f"video{i // 3}/{i % 3:03d}" for i in range(12)]),
    )
    return labels + torch.randn(12, 5, 2, generator=draw), features


def test_a_video_is_what_stands_before_the_last_slash_of_an_id():
    people = FeatureSet(
        inputs={"audio": torch.zeros(3, 4, 2)},
        masks={},
        labels=torch.zeros(3, 4, 2),
        class_names=None,
        group=np.array(["a", "a", "b"]),
        ids=np.array(["x/a_left/01", "x/a_right/01", "alone"]),
    )
    assert videos_of(people).tolist() == ["x/a_left", "x/a_right", "alone"]
    one_label = FeatureSet(people.inputs, {}, torch.zeros(3, 2), None, group=people.group)
    assert videos_of(one_label).tolist() == ["a", "a", "b"]


def test_scores_are_over_real_steps_by_video_and_smoothed():
    said, features = pieces()
    mask, videos = features.masks["audio"], np.repeat(np.arange(4), 3)
    labels = features.labels
    assert concordances(said, features) == [
        concordance(said[..., k], labels[..., k], mask) for k in (0, 1)
    ]
    by_video = concordance_by_video(said, labels, videos, mask).mean.tolist()
    assert concordances(said, features, by_video=True) == pytest.approx(by_video)
    smooth = moving_average(said, videos, [3, 5], mask)
    found = concordances(said, features, smooth=[3, 5])
    assert found == [concordance(smooth[..., k], labels[..., k], mask) for k in (0, 1)]
    both = concordance_by_video(smooth, labels, videos, mask).mean.tolist()
    assert concordances(said, features, by_video=True, smooth=[3, 5]) == pytest.approx(both)


def test_a_report_tells_smoothing_apart_and_only_where_it_was_asked_for():
    said, features = pieces()
    plain = following_report(said, features)
    assert set(plain) == {"ccc", "video_ccc"}
    report = following_report(said, features, [3, 1])
    assert report["ccc"] == plain["ccc"] and report["video_ccc"] == plain["video_ccc"]
    smoothed = report["smoothed"]
    assert smoothed["steps"] == [3, 1] and smoothed["ccc"][1] == plain["ccc"][1]
    assert smoothed["ccc"][0] != plain["ccc"][0]
    assert smoothed["mean_ccc"] == pytest.approx(sum(smoothed["ccc"]) / 2)


def test_where_each_video_has_one_label_none_can_be_followed():
    draw = torch.Generator().manual_seed(0)
    features = FeatureSet(
        inputs={"audio": torch.zeros(9, 5, 3)},
        masks={},
        labels=torch.randn(9, 2, generator=draw),
        class_names=None,
    )
    report = following_report(torch.randn(9, 2, generator=draw), features)
    assert report["video_ccc"] is None and len(report["ccc"]) == 2


def test_classes_cannot_be_followed():
    features = FeatureSet(
        inputs={"audio": torch.zeros(4, 5, 3)},
        masks={},
        labels=torch.tensor([0, 1, 0, 1]),
        class_names=("low", "high"),
    )
    with pytest.raises(ValueError, match="labels are classes"):
        concordances(torch.zeros(4, 2), features)
