"""What a phase leaves alone stands still: weights, gradients, and statistics."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from mmlib.data import FeatureSet
from mmlib.losses import Phase, default_loss
from mmlib.training import fit
from mmlib.training.phases import Still


class Output(NamedTuple):
    logits: torch.Tensor


class Normed(nn.Module):
    """Two layers with batch norm, one with weights and one without; one phase for the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5, affine=False))
        self.second = nn.Sequential(nn.Linear(5, 2), nn.BatchNorm1d(2))

    def forward(self, masks=None, audio=None):
        return Output(self.second(self.first(audio.mean(1))))

    def phases(self):
        return [Phase("second", self.second.parameters(), default_loss)]


def test_statistics_of_what_stands_still_stay_and_those_of_what_moves_do_not():
    torch.manual_seed(0)
    model = Normed()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = FeatureSet({"audio": torch.randn(12, 4, 3)}, {}, torch.arange(12) % 2, ("a", "b"))
    fit(model, data, epochs=1, batch_size=5, learning_rate=0.1, progress=False)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("first"), name


def test_what_stands_still_gets_no_gradient_and_is_free_again_afterwards():
    model = Normed()
    model.first[0].bias.requires_grad_(False)  # frozen before, and so it stays
    (phase,) = model.phases()
    still = Still(model, phase._replace(parameters=list(phase.parameters)))
    with pytest.raises(RuntimeError, match="stop"), still.held():
        assert not model.first[0].weight.requires_grad and model.second[0].weight.requires_grad
        model(audio=torch.randn(4, 2, 3)).logits.sum().backward()
        raise RuntimeError("stop")
    assert model.first[0].weight.grad is None and model.second[0].weight.grad is not None
    assert model.first[0].weight.requires_grad and not model.first[0].bias.requires_grad
