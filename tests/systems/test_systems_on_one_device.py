"""Every system works where its input lies: it makes no tensor elsewhere, and reads none off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from one_device import OneDevice, on_one_device, there
from test_contract import TASKS, candidate

from mmlib.losses import Phase, default_loss
from mmlib.systems import SYSTEMS
from mmlib.systems.moments import (
    ConcatWithAttention,
    FramewiseConcat,
    MomentAttention,
    RecurrentConcat,
)


@pytest.fixture(params=sorted(SYSTEMS))
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("task", TASKS)
def test_a_training_step_stays_on_one_device(name, task):
    tried = candidate(name, task, label_step=2)
    model: Any = there(tried.built()).train()
    batch = there(tried.batch)
    loss = getattr(model, "loss", default_loss)
    phases = model.phases() if hasattr(model, "phases") else [Phase("", model.parameters(), loss)]
    with OneDevice():
        output = model(**batch.inputs, masks=batch.masks)
        for phase in phases:
            assert phase.losses(output, batch)[0].device.type == "meta"


def test_an_answer_stays_on_one_device(name):
    tried = candidate(name, "classification" if name != "jmt" else "sequence")
    model = there(tried.built()).eval()
    inputs, masks = tried.batch.inputs, tried.batch.masks
    on_one_device(model, **inputs, masks=masks)
    on_one_device(model, **inputs)
    if hasattr(model, "attention_maps"):
        on_one_device(model.attention_maps, **inputs, masks=masks)


@pytest.mark.parametrize("training", [True, False])
def test_embracenet_stays_on_one_device_whoever_is_there(training):
    tried = candidate("embracenet", "classification")
    model = there(tried.built()).train(training)
    inputs = tried.batch.inputs
    who = [[True, False, True]] * len(inputs["text"])
    on_one_device(model, **inputs, availability=who)
    on_one_device(model, text=inputs["text"], availability=torch.tensor(who))
    on_one_device(model.winners, **inputs)


def test_avt_ca_of_frames_stays_on_one_device():
    """Without masks: to count the frames that are real, the trunk does wait."""
    tried = candidate("avt_ca of frames", "classification")
    on_one_device(tried.built().train(), **tried.batch.inputs)
    on_one_device(tried.built().eval(), **tried.batch.inputs)


@pytest.mark.parametrize("masked", [True, False])
def test_models_of_the_moment_stay_on_one_device(masked):
    widths, streams = {"audio": 3, "vision": 5}, ("audio", "vision")
    asks: Any = {"query": "audio", "context": "vision", "widths": widths, "num_classes": 2}
    models = [
        FramewiseConcat(widths=widths, num_classes=2),
        RecurrentConcat(widths=widths, num_classes=2),
        ConcatWithAttention(**asks),
        MomentAttention(**asks),
        MomentAttention(**asks, offsets=(7, 7)),
    ]
    given = {name: torch.randn(4, 7, widths[name]) for name in streams}
    masks = {name: torch.rand(4, 7) < 0.5 for name in streams} if masked else None
    for model in models:
        on_one_device(model, **given, masks=masks)


def test_a_tensor_that_is_made_elsewhere_is_found():
    class Elsewhere(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.gather(0, torch.zeros(1, 3, dtype=torch.long))

    class Waiting(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / max(1.0, x.max().item())

    with pytest.raises(AssertionError, match="aten.gather.default of tensors on cpu and meta"):
        on_one_device(Elsewhere(), torch.randn(5, 3))
    with pytest.raises((RuntimeError, NotImplementedError)):
        on_one_device(Waiting(), torch.randn(5, 3))
