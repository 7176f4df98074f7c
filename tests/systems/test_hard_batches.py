"""What a batch may be like that no one draws for a test: NaN beside it, silence, hardly a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_contract import OF_FRAMES, TASKS, candidate
from torch import Tensor, nn

from mmlib.checks.clauses import Candidate
from mmlib.data import Batch
from mmlib.losses import Phase, default_loss
from mmlib.systems import SYSTEMS

NAMES = [*sorted(SYSTEMS), *(f"{name} of frames" for name in OF_FRAMES)]
#: Of dense layers alone: torch has all that they need in float16 on a CPU, too.
DENSE = ("crossmodal", "embracenet", "jmt")


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


def some_task(name: str) -> Candidate:
    """Put a system up for the first task that it takes."""
    for task in TASKS:
        try:
            return candidate(name, task, label_step=2)
        except pytest.skip.Exception as refusal:
            reason = refusal
    raise reason


def with_gaps(batch: Batch) -> Batch:
    """The same batch, of which sample 0 lacks the first stream and sample 4 all of them."""
    masks = {key: mask.clone() for key, mask in batch.masks.items()}
    for mask in masks.values():
        mask[4] = False
    next(iter(masks.values()))[0] = False
    return batch._replace(masks=masks)


def where_not_real(batch: Batch, value: float) -> Batch:
    inputs = {
        key: x.masked_fill(~batch.masks[key].reshape(*x.shape[:2], *[1] * (x.ndim - 2)), value)
        for key, x in batch.inputs.items()
    }
    return batch._replace(inputs=inputs)


def step(model: Any, batch: Batch, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Take all gradients of a training step, phase by phase; with a dtype, under autocast."""
    loss = getattr(model, "loss", default_loss)
    phases = model.phases() if hasattr(model, "phases") else [Phase("", model.parameters(), loss)]
    found: list[Tensor] = []
    for phase in phases:
        torch.manual_seed(3)
        with torch.autocast(batch.labels.device.type, dtype, enabled=dtype is not None):
            value = phase.losses(model(**batch.inputs, masks=batch.masks), batch)[0]
        parameters = list(phase.parameters)
        found += torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        assert torch.isfinite(value)
    return found


def all_finite(tensors: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(x).all()) for x in tensors)


def test_nan_where_nothing_is_real_reaches_no_gradient(name):
    tried = some_task(name)
    gappy = with_gaps(tried.batch)
    model = tried.built().train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    expected = step(model, where_not_real(gappy, 0.0))
    model.load_state_dict(state)  # batch norm has learnt
    found = step(model, where_not_real(gappy, float("nan")))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_silence_has_finite_gradients(name):
    tried = some_task(name)
    silent = {key: torch.zeros_like(x) for key, x in tried.batch.inputs.items()}
    assert all_finite(step(tried.built().train(), tried.batch._replace(inputs=silent)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_training_step_under_autocast_is_finite_with_streams_absent(name, dtype, device):
    if device.type == "cpu" and dtype == torch.float16 and name not in DENSE:
        pytest.skip("not every torch convolves or recurs in float16 on a CPU")
    tried = some_task(name)
    model = tried.built().to(device).train()
    assert all_finite(step(model, with_gaps(tried.batch).to(device), dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_module_of_another_precision_trains_and_answers_in_it(name, dtype, device):
    tried = some_task(name)
    model = tried.built().to(device, dtype).train()
    batch = with_gaps(tried.batch).to(device)
    batch = batch._replace(inputs={key: x.to(dtype) for key, x in batch.inputs.items()})
    assert all_finite(step(model, batch))
    answer = model.eval()(**batch.inputs, masks=batch.masks)[0]
    assert answer.dtype == dtype and all_finite([answer])


def test_streams_of_one_step_are_enough(name):
    tried = some_task(name)
    (inputs, masks, labels, _), model = tried.batch, tried.built().eval()
    if labels.ndim == 3:
        pytest.skip("each step has a label")
    first = next(iter(inputs))
    fewer = {**inputs, first: inputs[first][:, 1:2]}
    short = {**masks, first: masks[first][:, 1:2]}
    assert all_finite([model(**fewer, masks=short)[0]])


def test_a_stream_without_steps_is_refused_or_done_without(name):
    tried = some_task(name)
    model: nn.Module = tried.built().eval()
    for stream in tried.batch.inputs:
        inputs, masks = dict(tried.batch.inputs), dict(tried.batch.masks)
        inputs[stream], masks[stream] = inputs[stream][:, :0], masks[stream][:, :0]
        try:
            answer = model(**inputs, masks=masks)[0]
        except ValueError as refusal:
            assert stream in str(refusal) or "0 steps" in str(refusal)
        else:
            assert all_finite([answer])
