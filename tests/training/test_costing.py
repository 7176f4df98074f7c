"""What a training holds in memory: its own weights twice and more, and what a batch makes of them."""

import pytest
import torch
from torch import nn

from mmlib.data import FeatureSet
from mmlib.losses import Phase, default_loss
from mmlib.training.costing import training_memory

SETTINGS = {"batch_size": 11, "optimizer": "adamw", "weight_decay": 0.0, "accumulate": 1}
FLOAT = 4


def features_of(count: int) -> FeatureSet:
    return FeatureSet(
        inputs={"audio": torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(0))},
        masks={},
        labels=torch.arange(count) % 5,
        class_names=tuple("abcde"),
    )


class Wide(nn.Module):
    """A layer so wide that nothing beside its weights counts."""

    def __init__(self, width: int = 20_011) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, width), nn.Linear(width, 5)

    def forward(self, audio, masks):
        return (self.last(self.first(audio.mean(1)).mean(0, keepdim=True)).expand(len(audio), -1),)


class InPhases(Wide):
    """Trains its first layer in every step and its last one in each third."""

    def phases(self):
        return [
            Phase("first", self.first.parameters(), default_loss),
            Phase("last", self.last.parameters(), default_loss, every=3, first=2),
        ]


class Working(nn.Module):
    """Few weights, and much that a batch makes of them."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.last, self.copies = nn.Linear(3, 5), copies

    def forward(self, audio, masks):
        wide = audio.mean(1).repeat_interleave(self.copies, 0).requires_grad_()
        return (self.last((wide * wide).unflatten(0, (len(audio), -1)).mean(1)),)


def count_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 0), ("adamw", 2)])
def test_weights_gradients_and_the_optimisers_state_are_counted(optimizer, states):
    model = Wide()
    found = training_memory(model, features_of(23), SETTINGS | {"optimizer": optimizer})
    held = (2 + states) * FLOAT * count_of(model)
    assert held < found < held + 1.9 * FLOAT * count_of(model)


def test_a_phase_that_comes_late_is_waited_for():
    """Only with the third step has the last layer an optimiser's state."""
    model = InPhases()
    found = training_memory(model, features_of(23), SETTINGS)
    assert found > 4 * FLOAT * count_of(model)


def test_a_batch_counts_by_its_size_and_the_data_set_does_not():
    model = Working(copies=997)
    small, large = (
        training_memory(model, features_of(40), SETTINGS | {"batch_size": size}) for size in (5, 20)
    )
    assert 3.5 < large / small < 4.5
    more = training_memory(model, features_of(400), SETTINGS | {"batch_size": 20})
    assert more == pytest.approx(large, rel=0.05)
    # Four parts of five, one after the other, take about what a batch of five does.
    parts = training_memory(model, features_of(40), SETTINGS | {"batch_size": 20, "accumulate": 4})
    assert parts < 1.5 * small


def test_a_batch_is_no_larger_than_the_data():
    model = Working(copies=997)
    sizes = [
        training_memory(model, features_of(7), SETTINGS | {"batch_size": size}) for size in (7, 70)
    ]
    assert sizes[0] == sizes[1]


def test_the_model_and_the_draws_stay_as_they_were(device):
    model = Wide(13).to(device)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    training_memory(model, features_of(23), SETTINGS, device=torch.device(device).type)
    assert torch.equal(torch.rand(3), expected)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in model.parameters())
