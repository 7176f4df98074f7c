"""What a phase leaves alone stands still: weights, gradients, and statistics."""

from contextlib import nullcontext
from typing import NamedTuple

import pytest
import torch
from torch import nn

from mmlib.data import FeatureSet
from mmlib.losses import Phase, default_loss
from mmlib.training import fit, trainer
from mmlib.training.machine import make_accelerator
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


class Sharing(nn.Module):
    """Two phases that both train the first layer, as an encoder learns in one and plays in another."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, masks=None, audio=None):
        return Output(self.head(self.shared(audio.mean(1)).tanh()))

    def phases(self):
        return [
            Phase("learn", self.parameters(), default_loss),
            Phase("play", self.shared.parameters(), default_loss),
        ]


def scaling(device: str, precision: str, several: bool):
    """Make what a GPU of half precision has, on a CPU: losses scaled up, gradients scaled down."""
    made = make_accelerator(device, "fp32", several)
    made.scaler, made.native_amp = torch.amp.GradScaler("cpu"), True
    made.state._mixed_precision = "fp16"
    made.autocast = nullcontext
    made.prepare_model = lambda model, **_: model
    return made


@pytest.mark.parametrize("clip_norm", [None, 1.0, 0.01])
def test_gradients_that_two_phases_share_are_scaled_down_once(clip_norm, monkeypatch):
    data = FeatureSet({"audio": torch.randn(12, 4, 3)}, {}, torch.arange(12) % 2, ("a", "b"))
    found = []
    for make in (make_accelerator, scaling):
        monkeypatch.setattr(trainer, "make_accelerator", make)
        torch.manual_seed(0)
        model = Sharing()
        fit(
            model, data, epochs=2, batch_size=5, learning_rate=0.5, optimizer="sgd",
            weight_decay=0.0, clip_norm=clip_norm, warmup_steps=0, device="cpu", progress=False,
        )  # fmt: skip
        found.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
    torch.testing.assert_close(*found)
