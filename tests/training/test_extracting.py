"""Features of a trained expert: each sample's own, in order, with the labels that it had."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from mmlib.data import FeatureError, FeatureSet, Standardised
from mmlib.data.stored_stream import StoredStream
from mmlib.layers import last_real
from mmlib.training.extracting import extract_features, last_steps

N, T, D = 11, 7, 5


def raw(seed: int = 0, **changes) -> FeatureSet:
    """Sounds of one to five steps, of which sample 4 has none."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([5, 1, 3, 2, 0, 4, 5, 2, 1, 3, 5])
    given = {
        "inputs": {"audio": torch.randn(N, T, D, generator=draw)},
        "masks": {"audio": torch.arange(T) < lengths[:, None]},
        "labels": torch.arange(N) % 3,
        "class_names": ("a", "b", "c"),
        "split": np.array(["train"] * 6 + ["valid"] * 3 + ["test"] * 2),
        "group": np.array([f"g{n // 2}" for n in range(N)]),
        "ids": np.array([f"clip{n}" for n in range(N)]),
        "name": "raw",
    }
    return FeatureSet(**(given | changes))


class Said(NamedTuple):
    logits: torch.Tensor


class Doubling(nn.Module):
    """An expert whose features are twice what it hears, beside a one; noisy in training."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.dropout = nn.Dropout(0.5)

    def features(self, *, audio, masks):
        beside = torch.ones_like(audio[..., :1])
        return self.dropout(torch.cat([audio * self.factor, beside], 2)), masks["audio"]

    def forward(self, *, audio, masks):
        return Said(audio.sum((1, 2))[:, None])


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_each_sample_keeps_its_own_features_and_all_that_is_known_of_it(batch_size, device):
    data, model = raw(), Doubling().to(device).train()
    made = extract_features(model, data, batch_size=batch_size, dtype=torch.float32, progress=False)
    assert model.training and made.inputs["audio"].device.type == "cpu"
    assert made.lengths == {"audio": 5}, "steps that no sample has are left out"
    expected = torch.cat([2 * data.inputs["audio"][:, :5], torch.ones(N, 5, 1)], 2)
    expected[~data.masks["audio"][:, :5]] = 0.0
    torch.testing.assert_close(made.inputs["audio"], expected)
    assert torch.equal(made.masks["audio"], data.masks["audio"][:, :5])
    assert torch.equal(made.labels, data.labels) and made.class_names == data.class_names
    for key in ("split", "group", "ids"):
        assert getattr(made, key).tolist() == getattr(data, key).tolist()
    assert not bool(made.masks["audio"][4].any()), "what was absent stays absent"


@pytest.mark.parametrize("batch_size", [3, 32])
def test_a_folder_holds_the_same_features_with_every_step(batch_size, tmp_path):
    data = raw()
    whole = extract_features(Doubling(), data, progress=False)
    made = extract_features(
        Doubling(), data, folder=tmp_path / "f", batch_size=batch_size, progress=False
    )
    assert isinstance(made.inputs["audio"], StoredStream) and made.lengths == {"audio": T}
    assert torch.equal(made.inputs["audio"][:][:, :5], whole.inputs["audio"])
    assert torch.equal(made.masks["audio"], data.masks["audio"])
    assert made.ids.tolist() == data.ids.tolist() and torch.equal(made.labels, data.labels)
    with pytest.raises(FeatureError, match="too large"):
        extract_features(Doubling(1e6), data, folder=tmp_path / "g", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["f"], "nothing half written stays"


def test_features_are_of_what_the_run_saw_in_training():
    data = raw()
    model = Standardised(model=Doubling(), widths=data.widths).learn(data)
    made = extract_features(model, data, dtype=torch.float32, progress=False)
    values = made.inputs["audio"][made.masks["audio"]]
    assert values[:, :D].mean(0).abs().max() < 1e-5
    torch.testing.assert_close(values[:, :D].std(0, correction=0), torch.full((D,), 2.0))


def test_half_precision_is_usual_and_refused_where_it_cannot_hold_a_number():
    data = raw()
    made = extract_features(Doubling(), data, progress=False)
    assert made.inputs["audio"].dtype == torch.float16
    large = Doubling(1e6)
    with pytest.raises(
        FeatureError, match=r"of sample clip0 are too large for torch.float16; keep"
    ):
        extract_features(large, data, progress=False)
    assert extract_features(large, data, dtype=torch.float32, progress=False).lengths["audio"] == 5
    with pytest.raises(FeatureError, match="of sample clip0 are not finite"):
        extract_features(Doubling(float("nan")), data, progress=False)


def test_the_last_steps_of_each_sample_keep_its_last_vector():
    data, model = raw(), Doubling()
    whole = extract_features(model, data, dtype=torch.float32, progress=False)
    for steps in (1, 3, 5, 9):
        some = extract_features(model, data, steps=steps, dtype=torch.float32, progress=False)
        kept = min(steps, 5)
        assert some.lengths == {"audio": kept}
        assert some.masks["audio"].sum(1).tolist() == [
            min(steps, int(n)) for n in whole.masks["audio"].sum(1)
        ]
        parts = [(one.inputs["audio"], one.masks["audio"]) for one in (some, whole)]
        assert torch.equal(last_real(*parts[0]), last_real(*parts[1]))
    assert torch.equal(some.inputs["audio"], whole.inputs["audio"])


def test_last_steps_are_taken_in_order_whatever_lies_between():
    features = torch.arange(10.0).reshape(2, 5, 1)
    mask = torch.tensor([[True, False, True, True, False], [False, False, False, True, False]])
    values, real = last_steps(features, mask, 2)
    assert values[..., 0][real].tolist() == [2, 3, 8] and real.tolist() == [
        [True] * 2,
        [True, False],
    ]


def test_labels_of_steps_keep_their_steps():
    data = raw(label_step=6)
    assert extract_features(Doubling(), data, progress=False).lengths == {"audio": T}
    sequence = raw(labels=torch.randn(N, T, 2), class_names=None)
    assert extract_features(Doubling(), sequence, progress=False).labels.shape == (N, T, 2)
    with pytest.raises(FeatureError, match="have 3 steps, but the labels of raw belong to its 7"):
        extract_features(Doubling(), data, steps=3, progress=False)


def test_what_has_no_features_is_refused():
    data = raw()
    both = replace(data, inputs={**data.inputs, "vision": torch.ones(N, 2, 3)})
    for model, some, options, says in (
        (nn.Linear(2, 3), data, {}, "the system has no features to extract"),
        (Standardised(model=nn.Linear(2, 3), widths={}), data, {}, "has no features to extract"),
        (Doubling(), both, {}, "reads audio and vision, but only the features of a single stream"),
        (Doubling(), data, {"steps": 0}, "steps is 0, expected at least 1"),
        (Doubling(), data, {"batch_size": 0}, "the batch size is 0"),
    ):
        with pytest.raises(FeatureError, match=says):
            extract_features(model, some, progress=False, **options)
