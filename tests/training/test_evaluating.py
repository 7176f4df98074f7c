"""What an evaluation says beside its numbers: intervals, and JSON that a person can read."""

import json

import numpy as np
import pytest
import torch

from mmlib.data import FeatureSet
from mmlib.metrics import bootstrap_interval
from mmlib.training import checkpoints
from mmlib.training.evaluating import intervals, score


@pytest.fixture
def rated() -> tuple[FeatureSet, torch.Tensor]:
    """Ratings of every step, `(N, T, K)`, of which some steps are padding, and predictions."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randn(33, 5, 2, generator=generator)
    lengths = torch.randint(1, 6, (33, 1), generator=generator)
    features = FeatureSet(
        inputs={"audio": torch.randn(33, 5, 3, generator=generator)},
        masks={"audio": torch.arange(5) < lengths},
        labels=labels,
        class_names=None,
        group=np.arange(33) % 11,
    )
    return features, labels + torch.randn(33, 5, 2, generator=generator)


def test_intervals_of_ratings_are_drawn_by_group_over_real_steps(rated):
    features, outputs = rated
    mask = features.masks["audio"]
    outputs = outputs.masked_fill(~mask[..., None], float("nan"))
    told = intervals(outputs, features, resamples=97, level=0.8, seed=3)
    expected = bootstrap_interval(
        "mean_ccc", outputs, features.labels, groups=features.group, mask=mask,
        resamples=97, level=0.8, seed=3,
    )  # fmt: skip
    assert told["intervals"]["mean_ccc"] == [expected.low, expected.high]
    assert set(told["intervals"]) == {"mean_ccc", "mean_pearson", "mean_rmse"}
    drawn = {"by": "group", "units": 11, "resamples": 97, "level": 0.8, "seed": 3}
    assert told["intervals_drawn"] == drawn
    report = score(outputs, features)
    assert expected.value == pytest.approx(report["mean_ccc"])


def test_few_groups_are_remarked_on(rated):
    features, outputs = rated
    some = features.subset(slice(0, 9))
    assert "note" not in intervals(outputs[:9], some, resamples=5)["intervals_drawn"]
    crowded = FeatureSet(
        some.inputs, some.masks, some.labels, None, group=np.arange(9) // 3, split=some.split
    )
    assert "too narrow" in intervals(outputs[:9], crowded, resamples=5)["intervals_drawn"]["note"]


VALUES = [
    {"table": [[1, 2], [3, 4]], "name": "a [b], {c}", "none": None, "nan": float("inf")},
    {"empty": {}, "rows": [], "deep": [[], [[1.5, True]], {"x": {"y": ["é", '"']}}]},
    {},
]


@pytest.mark.parametrize("value", VALUES)
def test_json_comes_back_as_it_went(tmp_path, value):
    checkpoints.write_json(tmp_path / "value.json", value)
    assert checkpoints.read_json(tmp_path / "value.json") == value


def test_json_has_a_line_for_each_row_of_a_table(tmp_path):
    table = {"table": [[10, 2], [3, 4]], "names": ("a", "b"), "inner": {"n": 7}}
    checkpoints.write_json(tmp_path / "table.json", table)
    text = (tmp_path / "table.json").read_text()
    assert text == (
        '{\n  "table": [\n    [10, 2],\n    [3, 4]\n  ],\n  "names": ["a", "b"],\n'
        '  "inner": {\n    "n": 7\n  }\n}\n'
    )
    assert json.loads(text)["inner"] == {"n": 7}
