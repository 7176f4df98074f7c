"""What every system keeps to, tested on the day it is added to `mmlib.systems.SYSTEMS`."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from mmlib.data import Batch, FeatureSet
from mmlib.losses import Phase, default_loss
from mmlib.systems import SYSTEMS, build, find

B, CLASSES = 5, 3
SHAPES = {"text": (7, 11), "audio": (13, 2), "vision": (3, 5)}  # all sizes differ
PICTURES = {"audio": (13, 2), "vision": (5, 3, 16, 24)}
#: Systems that also take frames, `(B, T, 3, H, W)`, for vision.
OF_FRAMES = ("avt_ca",)
TASKS = ("classification", "regression", "sequence")


def features(task: str, label_step: int | None = None, **shapes: tuple[int, ...]) -> FeatureSet:
    """Make a small set of random streams with masks in which every sample has a real step."""
    draw = torch.Generator().manual_seed(0)
    shapes = shapes or SHAPES
    inputs = {name: torch.randn(B, *shape, generator=draw) for name, shape in shapes.items()}
    masks = {}
    for name, (steps, *_) in shapes.items():
        masks[name] = torch.rand(B, steps, generator=draw) < 0.6
        masks[name][:, 1] = True
        masks[name][:, -1] = False
    labels = {
        "classification": torch.arange(B) % CLASSES,
        "regression": torch.randn(B, 4, generator=draw),
        "sequence": torch.randn(B, 13, 2, generator=draw),
    }[task]
    names = ("a", "b", "c") if task == "classification" else None
    return FeatureSet(inputs, masks, labels, names, label_step=label_step)


def made(name: str, task: str, label_step: int | None = None) -> tuple[torch.nn.Module, Batch]:
    """Build a system for such a set, and a batch of it."""
    name, _, frames = name.partition(" of ")
    dataset = features(task, label_step, **(PICTURES if frames else SHAPES))
    try:
        config = find(name).config.for_dataset(dataset)
    except ValueError as refusal:
        pytest.skip(f"{name} does not take this: {refusal}")
    torch.manual_seed(1)
    batch = dataset.batch(range(B))
    streams = getattr(config, "streams", tuple(batch.inputs))
    kept = [{n: v for n, v in part.items() if n in streams} for part in batch[:2]]
    return build(name, config), Batch(*kept, batch.labels)


def spread(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Shape a mask so that it lies over features or pictures."""
    return mask.reshape(*mask.shape, *[1] * (like.ndim - 2))


def before_a_norm(model: torch.nn.Module) -> set[str]:
    """Name the offsets that a batch norm takes away again: rounding is all of their gradient."""
    norm = torch.nn.modules.batchnorm._BatchNorm
    return {
        f"{place}.{name}.bias"
        for place, part in model.named_modules()
        if isinstance(part, torch.nn.Sequential)
        for (name, _), (_, after) in pairwise(part.named_children())
        if isinstance(after, norm)
    }


def call(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Call a model and take its first field."""
    return model(**batch.inputs, masks=batch.masks)[0]


@pytest.fixture(params=[*sorted(SYSTEMS), *(f"{name} of frames" for name in OF_FRAMES)])
def name(request) -> str:
    return request.param


@pytest.fixture(params=TASKS)
def task(request) -> str:
    return request.param


def test_first_field_is_logits_or_prediction_of_the_labels_shape(name, task, device):
    model, batch = made(name, task)
    output = model.to(device).eval()(**batch.to(device).inputs, masks=batch.to(device).masks)
    expected = (B, CLASSES) if task == "classification" else tuple(batch.labels.shape)
    assert output._fields[0] == ("logits" if task == "classification" else "prediction")
    assert tuple(output[0].shape) == expected and output[0].device.type == device.type


def test_samples_do_not_mix_at_evaluation(name, task):
    model, batch = made(name, task)
    model.eval()
    changed = {key: value.clone() for key, value in batch.inputs.items()}
    for value in changed.values():
        value[2] += 3.0
    with torch.no_grad():
        before, after = call(model, batch), call(model, batch._replace(inputs=changed))
    others = torch.arange(B) != 2
    assert torch.allclose(before[others], after[others], atol=1e-6)
    if name != "majority":
        assert not torch.allclose(before[2], after[2], atol=1e-4)


@pytest.mark.parametrize("label_step", [None, 2])
def test_masked_steps_do_not_matter(name, task, label_step):
    model, batch = made(name, task, label_step)
    model.eval()
    changed = {
        key: torch.where(spread(batch.masks[key], value), value, 50.0)
        for key, value in batch.inputs.items()
    }
    with torch.no_grad():
        before, after = call(model, batch), call(model, batch._replace(inputs=changed))
    if task == "sequence":  # what is said of steps that are not real does not count either
        kept = batch.label_mask
        before, after = before[kept], after[kept]
    assert torch.allclose(before, after, atol=1e-5)


def test_longer_padding_does_not_matter(name):
    model, batch = made(name, "classification")
    model.eval()
    inputs = {
        k: torch.cat([v, torch.zeros(B, 4, *v.shape[2:])], 1) for k, v in batch.inputs.items()
    }
    masks = {
        k: torch.cat([m, torch.zeros(B, 4, dtype=torch.bool)], 1) for k, m in batch.masks.items()
    }
    with torch.no_grad():
        longer = call(model, Batch(inputs, masks, batch.labels))
        assert torch.allclose(longer, call(model, batch), atol=1e-5)


@pytest.mark.parametrize("label_step", [None, 1])
def test_every_parameter_gets_a_gradient_in_a_training_step(name, task, label_step, device):
    model, batch = made(name, task, label_step)
    model.to(device).train()
    batch = batch.to(device)
    loss = getattr(model, "loss", default_loss)
    phases = model.phases() if hasattr(model, "phases") else [Phase("", model.parameters(), loss)]
    for phase in phases:
        model.zero_grad()
        value = phase.losses(model(**batch.inputs, masks=batch.masks), batch)[0]
        assert value.ndim == 0 and torch.isfinite(value)
        value.backward()
        own = {id(parameter) for parameter in phase.parameters}
        idle = before_a_norm(model)
        for key, parameter in model.named_parameters():
            if id(parameter) in own:
                assert parameter.grad is not None, key
                assert key in idle or parameter.grad.abs().sum() > 0, key


def test_evaluation_is_deterministic(name, task, device):
    model, batch = made(name, task)
    model.to(device).eval()
    with torch.no_grad():
        assert torch.equal(call(model, batch.to(device)), call(model, batch.to(device)))


def test_saving_and_loading_gives_the_same_outputs(name, tmp_path):
    from safetensors.torch import load_file, save_file

    model, batch = made(name, "classification")
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = build(name.partition(" of ")[0], model.config if hasattr(model, "config") else None)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(call(model.eval(), batch), call(other.eval(), batch))


def test_a_batch_of_one_gives_what_the_sample_gives_among_others(name, task):
    model, batch = made(name, task)
    one = Batch(
        {k: v[3:4] for k, v in batch.inputs.items()},
        {k: v[3:4] for k, v in batch.masks.items()},
        batch.labels[3:4],
    )
    with torch.no_grad():
        alone = call(model.eval(), one)
        assert torch.allclose(alone, call(model, batch)[3:4], atol=1e-5)
    assert torch.isfinite(call(model.train(), one)).all()


def test_bfloat16_under_autocast_agrees_with_full_precision(name, task, device):
    model, batch = made(name, task)
    model.to(device).eval()
    batch = batch.to(device)
    with torch.no_grad():
        full = call(model, batch)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            half = call(model, batch)
    assert torch.isfinite(half).all()
    assert torch.allclose(full, half.float(), atol=0.1, rtol=0.1)


def test_masks_may_be_left_out_where_all_is_real(name):
    model, batch = made(name, "classification")
    whole = {key: torch.ones_like(mask) for key, mask in batch.masks.items()}
    with torch.no_grad():
        without = model.eval()(**batch.inputs)[0]
        assert torch.allclose(without, call(model, batch._replace(masks=whole)), atol=1e-5)


def test_a_missing_modality_is_handled_or_refused_by_name(name):
    model, batch = made(name, "classification")
    first, *rest = batch.inputs
    fewer = {key: batch.inputs[key] for key in rest}
    try:
        output = model.eval()(**fewer, masks={key: batch.masks[key] for key in rest})[0]
    except ValueError as refusal:
        assert first in str(refusal)
    else:
        assert output.shape == (B, CLASSES) and torch.isfinite(output).all()


def test_a_stream_that_a_sample_lacks_counts_as_missing_for_it(name):
    model, batch = made(name, "classification")
    masks = {key: mask.clone() for key, mask in batch.masks.items()}
    for mask in masks.values():
        mask[4] = False  # a sample with nothing at all
    masks["audio"][0] = False
    try:
        outputs = call(model.eval(), batch._replace(masks=masks))
    except ValueError as refusal:
        assert "audio" in str(refusal)
    else:
        assert torch.isfinite(outputs).all()
