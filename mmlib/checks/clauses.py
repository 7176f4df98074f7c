"""The clauses of the contract that every fusion keeps, one function each; see `mmlib.checks.contract`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmlib.checks.framework import CheckFailed
from mmlib.data.batch import Batch
from mmlib.losses import Phase, default_loss


class Candidate(NamedTuple):
    """What is held against the contract.

    Attributes:
        make: builds the module; twice called, two of the same form with weights of their own.
        batch: five samples or more, in each of which every stream has a real step and one that is not.
        classes: how many; None where the labels are numbers.
        looks: False for a module that answers without looking, such as the majority.
    """

    make: Callable[[], nn.Module]
    batch: Batch
    classes: int | None
    looks: bool = True

    def built(self, seed: int = 1) -> nn.Module:
        """Build the module with seeded weights, and the random numbers as they were."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make()


Clause = Callable[[Candidate, str], None]
#: Every clause by its name, in the order in which they are tried.
CONTRACT: dict[str, Clause] = {}


def clause(name: str) -> Callable[[Clause], Clause]:
    """Take a function into the contract."""

    def register(function: Clause) -> Clause:
        @wraps(function)
        def keeps(candidate: Candidate, device: str) -> None:
            with in_full(device):
                function(candidate, device)

        CONTRACT[name] = keeps
        return keeps

    return register


@contextmanager
def in_full(device: str) -> Iterator[None]:
    """Let a GPU convolve and recur in full float32, as it multiplies matrices.

    By default cuDNN may round to ten bits (TF32) in some of its ways to do so, and takes another way
    for another batch or length: a sample alone would not get what it gets among others.
    """
    cudnn = torch.backends.cudnn
    exact = torch.device(device).type == "cuda"
    with cudnn.flags(enabled=cudnn.enabled, allow_tf32=False) if exact else nullcontext():
        yield


def call(model: nn.Module, batch: Batch) -> Tensor:
    """Call a module and take the first field of what it gives."""
    return model(**batch.inputs, masks=batch.masks)[0]


def _expect(holds: bool, expected: str, got: str, tried: str, hint: int = 1) -> None:
    if not holds:
        raise CheckFailed(expected, got=got, tried=tried, hint=hint)


def _tried(candidate: Candidate, words: str) -> str:
    streams = ", ".join(f"{k} {tuple(v.shape)}" for k, v in candidate.batch.inputs.items())
    return f"{words}; streams {streams}"


def _apart(first: Tensor, second: Tensor) -> str:
    return f"outputs that differ by up to {(first - second).abs().max().item():.2g}"


@clause("shape")
def the_first_field_has_the_labels_shape(candidate: Candidate, device: str) -> None:
    """The first field is `logits` `(B, C)`, or a `prediction` of the labels' shape."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    output = model(**batch.inputs, masks=batch.masks)
    tried = _tried(candidate, "a batch with padding, in evaluation")
    given = getattr(output, "_fields", (None,))[0]
    classified = candidate.classes is not None
    name = "logits" if classified else "prediction"
    expected = (len(batch.labels), candidate.classes) if classified else tuple(batch.labels.shape)
    _expect(
        given == name,
        f"a named tuple whose first field is `{name}`",
        f"a {type(output).__name__}" + (f" whose first field is {given}" if given else ""),
        tried,
    )
    came = tuple(output[0].shape)
    _expect(came == expected, f"{name} {expected}", f"{name} {came}", tried)
    where = output[0].device.type
    _expect(where == torch.device(device).type, f"{name} on {device}", f"on {where}", tried)
    finite = bool(torch.isfinite(output[0]).all())
    _expect(finite, "finite numbers", "NaN or infinity", tried, 3)


@clause("the same answer twice")
def evaluation_is_deterministic(candidate: Candidate, device: str) -> None:
    """Asked twice at evaluation, a module says the same, and leaves what it was given as it was."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    given = [x.clone() for x in (*batch.inputs.values(), *batch.masks.values())]
    tried = _tried(candidate, "the same batch twice, after model.eval()")
    with torch.no_grad():
        first = call(model, batch)
        left = all(map(torch.equal, given, (*batch.inputs.values(), *batch.masks.values())))
        _expect(
            left, "streams and masks as they were", "changed ones: no x *= 2, no x[...] =", tried
        )
        second = call(model, batch)
    same = torch.equal(first, second)
    _expect(same, "the same numbers", _apart(first, second), tried)


@clause("samples do not mix")
def samples_do_not_mix(candidate: Candidate, device: str) -> None:
    """At evaluation another sample in the batch changes nothing; the sample itself does."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    changed = {key: value.clone() for key, value in batch.inputs.items()}
    for value in changed.values():
        value[2] += 3.0
    with torch.no_grad():
        before, after = call(model, batch), call(model, batch._replace(inputs=changed))
    others = torch.arange(len(before), device=before.device) != 2
    tried = _tried(candidate, "sample 2 changed in every stream")
    same = torch.allclose(before[others], after[others], atol=1e-6)
    apart = _apart(before[others], after[others])
    _expect(same, "the other samples' outputs as they were", apart, tried)
    if candidate.looks:
        moved = not torch.allclose(before[2], after[2], atol=1e-4)
        _expect(moved, "another output for sample 2", "the same one", tried)


@clause("every stream is heard")
def every_stream_is_heard(candidate: Candidate, device: str) -> None:
    """Each stream alone, when it changes, changes the output."""
    if not candidate.looks:
        return
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    with torch.no_grad():
        before = call(model, batch)
        for name, value in batch.inputs.items():
            slope = torch.linspace(-2.0, 3.0, value[0].numel(), device=value.device)
            changed = {**batch.inputs, name: value + slope.reshape(value.shape[1:])}
            moved = (call(model, batch._replace(inputs=changed)) - before).abs().max()
            tried = _tried(candidate, f"{name} changed, the rest as it was")
            _expect(bool(moved > 1e-6), "another output", f"the same: {name} is not heard", tried)


@clause("padding does not matter")
def masked_steps_do_not_matter(candidate: Candidate, device: str) -> None:
    """What stands in steps that are not real changes nothing."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    changed = {
        key: torch.where(_spread(batch.masks[key], value), value, 50.0)
        for key, value in batch.inputs.items()
    }
    with torch.no_grad():
        before, after = call(model, batch), call(model, batch._replace(inputs=changed))
    kept = batch.label_mask
    if kept is not None:  # what is said of steps that are not real does not count either
        before, after = before[kept], after[kept]
    tried = _tried(candidate, "50 in every step whose mask is False")
    same = torch.allclose(before, after, atol=1e-5)
    _expect(same, "the outputs as they were", _apart(before, after), tried, 2)


@clause("longer padding does not matter")
def longer_padding_does_not_matter(candidate: Candidate, device: str) -> None:
    """Four more steps, none of them real, change nothing."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    inputs = {
        k: torch.cat([v, v.new_zeros(len(v), 4, *v.shape[2:])], 1) for k, v in batch.inputs.items()
    }
    masks = {k: torch.cat([m, m.new_zeros(len(m), 4)], 1) for k, m in batch.masks.items()}
    with torch.no_grad():
        before, longer = call(model, batch), call(model, Batch(inputs, masks, batch.labels))
    tried = _tried(candidate, "four steps of zeros more, masks False there")
    same = torch.allclose(longer, before, atol=1e-5)
    _expect(same, "the outputs as they were", _apart(before, longer), tried, 2)


@clause("every parameter learns")
def every_parameter_gets_a_gradient(candidate: Candidate, device: str) -> None:
    """A training step reaches every parameter of its phase."""
    model: Any = candidate.built().to(device).train()
    batch = candidate.batch.to(device)
    loss = getattr(model, "loss", default_loss)
    phases = model.phases() if hasattr(model, "phases") else [Phase("", model.parameters(), loss)]
    tried = _tried(candidate, "one training step")
    _expect(
        not candidate.looks or any(True for _ in model.parameters()),
        "parameters that can learn",
        "none: is each layer an attribute, or in an nn.ModuleList or nn.ModuleDict?",
        tried,
        2,
    )
    for phase in phases:
        model.zero_grad()
        value = phase.losses(model(**batch.inputs, masks=batch.masks), batch)[0]
        scalar = value.ndim == 0 and bool(torch.isfinite(value))
        _expect(scalar, "one finite number as the loss", f"{value}", tried, 3)
        value.backward()
        own = {id(parameter) for parameter in phase.parameters}
        idle = _before_a_norm(model)
        for key, parameter in model.named_parameters():
            if id(parameter) in own and key not in idle:
                reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
                _expect(reached, "a gradient for every parameter", f"none for {key}", tried, 2)


@clause("saved and loaded")
def saving_and_loading_gives_the_same(candidate: Candidate, device: str) -> None:
    """The weights of one, written and read, make another of the same form say the same."""
    from safetensors.torch import load, save

    model, other = candidate.built().eval(), candidate.built(seed=2).eval()
    # Cloned, since safetensors refuses names that share memory (tied weights).
    plain = torch.contiguous_format
    kept = save({k: value.clone(memory_format=plain) for k, value in model.state_dict().items()})
    other.load_state_dict(load(kept))
    with torch.no_grad():
        first, second = call(model, candidate.batch), call(other, candidate.batch)
    tried = _tried(candidate, "state_dict() of one loaded into a second with other weights")
    same = torch.equal(first, second)
    _expect(same, "the same numbers from both", _apart(first, second), tried, 2)


@clause("a batch of one")
def a_batch_of_one_gives_the_same(candidate: Candidate, device: str) -> None:
    """A sample alone gets what it gets among others; in training too it can be alone."""
    model, batch = candidate.built().to(device), candidate.batch.to(device)
    one = Batch(
        {k: v[3:4] for k, v in batch.inputs.items()},
        {k: v[3:4] for k, v in batch.masks.items()},
        batch.labels[3:4],
    )
    with torch.no_grad():
        alone, among = call(model.eval(), one), call(model, batch)[3:4]
    tried = _tried(candidate, "sample 3 alone")
    shaped = alone.shape == among.shape
    _expect(shaped, f"an output {tuple(among.shape)}", f"{tuple(alone.shape)}", tried)
    same = torch.allclose(alone, among, atol=1e-5)
    _expect(same, "what it gets among others", _apart(alone, among), tried)
    finite = bool(torch.isfinite(call(model.train(), one)).all())
    _expect(finite, "finite numbers in training too", "NaN or infinity", tried)


@clause("bfloat16")
def bfloat16_agrees(candidate: Candidate, device: str) -> None:
    """Under autocast the outputs are those of full precision, but for rounding."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    kind = torch.device(device).type
    with torch.no_grad():
        full = call(model, batch)
        with torch.autocast(kind, dtype=torch.bfloat16):
            half = call(model, batch).float()
    tried = _tried(candidate, "torch.autocast with bfloat16")
    _expect(bool(torch.isfinite(half).all()), "finite numbers", "NaN or infinity", tried, 3)
    same = torch.allclose(full, half, atol=0.1, rtol=0.1)
    _expect(same, "the same within a tenth", _apart(full, half), tried, 3)


@clause("masks left out")
def masks_may_be_left_out(candidate: Candidate, device: str) -> None:
    """No masks mean that all is real."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    whole = {key: torch.ones_like(mask) for key, mask in batch.masks.items()}
    with torch.no_grad():
        without = model(**batch.inputs)[0]
        real = call(model, batch._replace(masks=whole))
    tried = _tried(candidate, "called without masks")
    same = torch.allclose(without, real, atol=1e-5)
    _expect(same, "what masks of all True give", _apart(without, real), tried, 2)


@clause("a stream left out")
def a_missing_modality_is_handled_or_refused(candidate: Candidate, device: str) -> None:
    """A stream that is not given is done without, or refused with a ValueError that names it."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    first, *rest = batch.inputs
    expected = f"finite outputs, or a ValueError that names {first}"
    tried = _tried(candidate, f"called without {first}")
    fewer = {key: batch.inputs[key] for key in rest}
    try:
        with torch.no_grad():
            output = model(**fewer, masks={key: batch.masks[key] for key in rest})[0]
    except Exception as refusal:  # noqa: BLE001 - whatever a module raises
        clear = isinstance(refusal, ValueError) and first in str(refusal)
        _expect(clear, expected, f"{type(refusal).__name__}: {refusal}", tried, 3)
    else:
        shaped = output.shape[0] == len(batch.labels) and bool(torch.isfinite(output).all())
        _expect(shaped, expected, f"{tuple(output.shape)}, or numbers not finite", tried, 3)


@clause("a stream absent for some")
def a_stream_that_a_sample_lacks_counts_as_missing(candidate: Candidate, device: str) -> None:
    """A mask that is all False says that the sample has no such stream."""
    model, batch = candidate.built().to(device).eval(), candidate.batch.to(device)
    masks = {key: mask.clone() for key, mask in batch.masks.items()}
    for mask in masks.values():
        mask[4] = False  # a sample with nothing at all
    absent = "audio" if "audio" in masks else next(iter(masks))
    masks[absent][0] = False
    tried = _tried(candidate, f"sample 0 lacks {absent}, sample 4 everything: masks all False")
    expected = f"finite outputs, or a ValueError that names {absent}"
    try:
        with torch.no_grad():
            outputs = call(model, batch._replace(masks=masks))
    except Exception as refusal:  # noqa: BLE001 - whatever a module raises
        clear = isinstance(refusal, ValueError) and absent in str(refusal)
        _expect(clear, expected, f"{type(refusal).__name__}: {refusal}", tried, 3)
    else:
        _expect(bool(torch.isfinite(outputs).all()), expected, "NaN or infinity", tried, 3)


def _spread(mask: Tensor, like: Tensor) -> Tensor:
    """Shape a mask so that it lies over features or pictures."""
    return mask.reshape(*mask.shape, *[1] * (like.ndim - 2))


def _before_a_norm(model: nn.Module) -> set[str]:
    """Name the offsets that a batch norm takes away again: rounding is all of their gradient."""
    norm = torch.nn.modules.batchnorm._BatchNorm
    return {
        f"{place}.{name}.bias".lstrip(".")
        for place, part in model.named_modules()
        if isinstance(part, nn.Sequential)
        for (name, _), (_, after) in pairwise(part.named_children())
        if isinstance(after, norm)
    }
