"""The optimisers that a training may take, each by what its steps do."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from mmlib.data import FeatureSet
from mmlib.losses import default_loss
from mmlib.training import TrainingError, fit, seed_everything

PLAIN = {"schedule": "constant", "warmup_steps": 0, "clip_norm": None, "progress": False}


class Output(NamedTuple):
    logits: torch.Tensor


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, masks=None, audio=None):
        return Output(self.linear(audio.mean(1)))


def data(count: int = 7) -> FeatureSet:
    audio = torch.randn(count, 2, 5, generator=torch.Generator().manual_seed(0))
    return FeatureSet({"audio": audio}, {}, torch.arange(count) % 3, ("a", "b", "c"))


def made() -> Line:
    seed_everything(3)
    return Line()


def steps(optimizer: str, decay: float = 0.0, epochs: int = 2) -> list[torch.Tensor]:
    """Train for some epochs of one batch each and return what the matrix was after each."""
    found = []
    for count in range(1, epochs + 1):
        model = made()
        fit(
            model,
            data(),
            epochs=count,
            learning_rate=0.1,
            weight_decay=decay,
            optimizer=optimizer,
            **PLAIN,
        )
        found.append(model.linear.weight.detach().clone())
    return found


def gradient(weight: torch.Tensor, model: Line) -> torch.Tensor:
    with torch.no_grad():
        model.linear.weight.copy_(weight)
    model.zero_grad()
    batch = data().batch(range(7))
    default_loss(model(**batch.inputs), batch).backward()
    return model.linear.weight.grad.clone()


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_sgd_goes_down_the_gradient_and_has_no_momentum(decay):
    model = made()
    weight = model.linear.weight.detach().clone()
    for after in steps("sgd", decay):
        expected = weight - 0.1 * (gradient(weight, model) + decay * weight)
        assert torch.allclose(after, expected, atol=1e-6)
        with torch.no_grad():  # the offsets move too
            model.linear.bias -= 0.1 * model.linear.bias.grad
        weight = after


def test_first_step_of_adam_is_the_learning_rate_whatever_the_gradients_size():
    moved = steps("adam", epochs=1)[0] - made().linear.weight
    assert torch.allclose(moved.abs(), torch.full_like(moved, 0.1), atol=1e-4)


def test_adamw_is_the_default_and_its_decay_is_apart_from_the_gradient():
    start = made().linear.weight.detach()
    shrunk, adam = (steps(name, decay=0.5, epochs=1)[0] for name in ("adamw", "adam"))
    without = steps("adamw", epochs=1)[0]
    assert torch.allclose(shrunk, without - 0.1 * 0.5 * start, atol=1e-5)
    assert not torch.allclose(shrunk, adam, atol=1e-3)
    model = made()
    fit(model, data(), epochs=1, learning_rate=0.1, weight_decay=0.5, **PLAIN)
    assert torch.equal(model.linear.weight, shrunk)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_resumed_training_ends_as_an_unbroken_one(optimizer, tmp_path):
    settings = {"learning_rate": 0.1, "optimizer": optimizer, "patience": 3, **PLAIN}
    whole = made()
    fit(whole, data(), data(), epochs=9, **settings)
    broken = made()

    def stop(output, batch):
        if stop.left == 0:
            raise KeyboardInterrupt
        stop.left -= 1
        return default_loss(output, batch)

    stop.left = 4
    with pytest.raises(KeyboardInterrupt):
        fit(broken, data(), data(), epochs=9, out=tmp_path, loss=stop, **settings)
    fit(broken, data(), data(), epochs=9, out=tmp_path, resume=True, **settings)
    assert torch.equal(whole.linear.weight, broken.linear.weight)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(TrainingError, match="optimizer is 'lion', expected one of adamw, adam"):
        fit(made(), data(), epochs=1, optimizer="lion", **PLAIN)
