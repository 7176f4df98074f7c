"""The shares of a batch, and the noise that is drawn for them, are those of one process."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmlib.data import FeatureSet
from mmlib.layers import MaskedBatchNorm
from mmlib.systems import SYSTEMS, build
from mmlib.training import fit
from mmlib.training.processes import DrawAsOne, shares, warn_of_norms

DRAWS = {
    "dropout": lambda x: F.dropout(x, 0.4),
    "dropout of a view": lambda x: F.dropout(x.transpose(1, 2), 0.4),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.4),
    "rand_like": lambda x: torch.rand_like(x),
    "randn_like": lambda x: torch.randn_like(x),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "rand": lambda x: torch.rand((len(x), 3)),
    "randn": lambda x: torch.randn([len(x), 5], dtype=torch.float64),
    "randint": lambda x: torch.randint(7, x.shape[:2]),
}


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_processes_draw_together_what_one_draws(name):
    x = torch.randn(7, 4, 6)

    def twice(rows):
        torch.manual_seed(3)
        return [DRAWS[name](x[rows]) for _ in range(2)]

    alone = twice(list(range(7)))
    assert not torch.equal(alone[0], alone[1])
    pieces = []
    for rank in range(3):
        (share,) = shares(np.arange(7), 1, rank, 3)
        with DrawAsOne(share):
            pieces.append(twice(share.samples.tolist()))
    for number, whole in enumerate(alone):
        together = torch.cat([piece[number] for piece in pieces])
        assert torch.allclose(together, whole, atol=1e-6)


def test_what_has_no_sample_along_its_first_axis_is_drawn_as_ever():
    (share,) = shares(np.arange(7), 1, 1, 2)
    torch.manual_seed(3)
    expected = [torch.rand(5, 2), torch.rand((4, 1)), torch.randn(6), F.dropout(torch.ones(4, 9))]
    torch.manual_seed(3)
    with DrawAsOne(share):
        found = [torch.rand(5, 2), torch.rand((4, 1)), torch.randn(6), F.dropout(torch.ones(4, 9))]
    assert len(share.samples) == 3
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def _streams(count: int) -> tuple[FeatureSet, dict[str, torch.Tensor]]:
    """Make three streams of unlike lengths, two of them with masks."""
    draw = torch.Generator().manual_seed(5)
    shapes = {"audio": (5, 4), "text": (6, 3), "vision": (2, 8)}
    inputs = {name: torch.randn(count, *shape, generator=draw) for name, shape in shapes.items()}
    masks = {
        name: torch.ones(count, shapes[name][0], dtype=torch.bool) for name in ("audio", "text")
    }
    masks["audio"][2:5, 3:] = masks["text"][4, 1:] = False
    labels, split = torch.arange(count) % 3, np.array(["train"] * count)
    return FeatureSet(inputs, masks, labels, ("a", "b", "c"), split), inputs


@pytest.mark.parametrize("name", sorted(set(SYSTEMS) - {"majority"}))
def test_a_system_drops_in_several_processes_what_it_drops_in_one(name):
    data, inputs = _streams(7)
    system = SYSTEMS[name]
    torch.manual_seed(1)
    model = system.model(config=system.config.for_dataset(data)).train()
    for layer in model.modules():  # statistics of a share are no draws
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.eval()

    def logits(rows):
        torch.manual_seed(3)
        some = {stream: values[rows] for stream, values in inputs.items()}
        masks = {stream: mask[rows] for stream, mask in data.masks.items()}
        return [model(**some, masks=masks)[0] for _ in range(2)]

    alone = logits(list(range(7)))
    assert not torch.equal(*alone), "nothing is dropped, so nothing is asked"
    for rank in range(3):
        (share,) = shares(np.arange(7), 1, rank, 3)
        with DrawAsOne(share):
            mine = logits(share.samples.tolist())
        for whole, part in zip(alone, mine, strict=True):
            assert torch.allclose(part, whole[share.samples], atol=1e-5)


def test_batch_norms_that_measure_a_share_are_told_of_and_no_others():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), MaskedBatchNorm(5)).train()
    with pytest.warns(UserWarning, match=r"2 batch norms \(the first: 1\).* some 4 samples of 9"):
        warn_of_norms(model, world=2, batch_size=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_norms(model, world=1, batch_size=9)
        warn_of_norms(model.eval(), world=2, batch_size=9)  # as those of a frozen network
        warn_of_norms(nn.Sequential(nn.LayerNorm(5)).train(), world=2, batch_size=9)


def test_a_training_asks_once_with_its_model_in_training(monkeypatch):
    data = FeatureSet({"audio": torch.randn(7, 2, 3)}, {}, torch.arange(7) % 2, ("a", "b"))
    model = build("concat", SYSTEMS["concat"].config.for_dataset(data))
    seen = []

    def note(model, world, batch_size):
        seen.append((model.training, world, batch_size))

    monkeypatch.setattr("mmlib.training.trainer.warn_of_norms", note)
    fit(model, data, epochs=2, batch_size=5, device="cpu", progress=False)
    assert seen == [(True, 1, 5)]
