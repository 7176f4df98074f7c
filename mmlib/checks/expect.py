"""What a check may expect of an answer, in the order in which a check asks for it.

callable, type, shape, dtype, device; finite; invariants (rows that sum to one, weights that are
zero, gradients, permutations, inputs left alone); values. Each helper returns nothing and raises
`CheckFailed`. `tried` says in words what was called, `name` what the value is, `hint` which of the
three hints helps with this failure.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from mmlib.checks.framework import CheckFailed

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)


class Fresh:
    """Draws inputs that no answer can know: normal values, masks, labels, sizes that all differ.

    The draws repeat for the same seed, so that a failing check fails the same way twice.
    """

    def __init__(self, seed: int = 0, *, device: torch.device | str = "cpu") -> None:
        """Start a stream of draws for `device`."""
        self.device = torch.device(device)
        self._generator = torch.Generator().manual_seed(20_011 + seed)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Independent standard normal values."""
        return torch.randn(*shape, generator=self._generator).to(self.device, dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Independent values between `low` and `high`."""
        values = torch.rand(*shape, generator=self._generator)
        return (low + (high - low) * values).to(self.device)

    def integers(self, *shape: int, low: int = 0, high: int) -> Tensor:
        """Independent integers from `low` up to, not including, `high`."""
        return torch.randint(low, high, shape, generator=self._generator).to(self.device)

    def padding_mask(self, batch: int, time: int) -> Tensor:
        """A mask (batch, time), True where a step is real: each row starts real, one is all real."""
        if batch < 2 or time < 2:
            raise ValueError(f"a telling mask has two rows and two steps: {(batch, time)}")
        lengths = torch.randint(1, time, (batch,), generator=self._generator)
        lengths[batch // 2] = time
        return (torch.arange(time) < lengths[:, None]).to(self.device)

    def permutation(self, length: int) -> Tensor:
        """An order of 0 .. length - 1 that is not the sorted one."""
        if length < 2:
            raise ValueError(f"nothing to permute among {length}")
        while True:
            order = torch.randperm(length, generator=self._generator)
            if not torch.equal(order, torch.arange(length)):
                return order.to(self.device)

    def sizes(self, count: int) -> tuple[int, ...]:
        """Different primes in a drawn order, so that a swapped axis cannot pass."""
        order = torch.randperm(len(PRIMES), generator=self._generator)[:count]
        return tuple(PRIMES[i] for i in order.tolist())


def devices() -> list[torch.device]:
    """The CPU always, and a GPU where there is one."""
    return [torch.device(name) for name in ["cpu"] + ["cuda"] * torch.cuda.is_available()]


def that(
    condition: bool, expected: str, *, got: str = "", tried: str = "", hint: int | None = None
) -> None:
    """Expect anything that the helpers below do not cover."""
    if not condition:
        raise CheckFailed(expected, got=got, tried=tried, hint=hint)


def is_callable(value: Any, *, name: str = "the answer", hint: int | None = None) -> None:
    """Expect a function or a class."""
    that(callable(value), f"{name} is a function", got=f"a {type(value).__name__}", hint=hint)


def parameters(function: Callable[..., Any], *names: str, hint: int | None = None) -> None:
    """Expect that a function takes arguments of these names."""
    known = inspect.signature(function).parameters
    missing = [name for name in names if name not in known]
    that(
        not missing or any(p.kind is p.VAR_KEYWORD for p in known.values()),
        f"arguments named {', '.join(names)}",
        got=f"arguments named {', '.join(known) or '(none)'}",
        hint=hint,
    )


def kind(
    value: Any,
    expected: type | tuple[type, ...],
    *,
    name: str = "the result",
    tried: str = "",
    hint: int | None = None,
) -> None:
    """Expect a value of a type; None gets a word about a missing `return`."""
    wanted = expected if isinstance(expected, tuple) else (expected,)
    words = " or ".join(each.__name__ for each in wanted)
    got = "None: is there a `return`?" if value is None else f"a {type(value).__name__}"
    article = "an" if words[0] in "aeiou" else "a"
    that(isinstance(value, wanted), f"{name} is {article} {words}", got=got, tried=tried, hint=hint)


def shape(
    value: Any,
    expected: tuple[int, ...],
    *,
    name: str = "the result",
    tried: str = "",
    hint: int | None = None,
) -> None:
    """Expect a tensor of a shape."""
    kind(value, Tensor, name=name, tried=tried, hint=hint)
    that(
        tuple(value.shape) == tuple(expected),
        f"{name} of shape {tuple(expected)}",
        got=f"shape {tuple(value.shape)}",
        tried=tried,
        hint=hint,
    )


def like(
    value: Any, other: Tensor, *, name: str = "the result", tried: str = "", hint: int | None = None
) -> None:
    """Expect a tensor with the dtype and on the device of another."""
    kind(value, Tensor, name=name, tried=tried, hint=hint)
    for what in ("dtype", "device"):
        came, wanted = getattr(value, what), getattr(other, what)
        that(
            came == wanted,
            f"{name} with the input's {what}, {wanted}",
            got=f"{what} {came}",
            tried=tried,
            hint=hint,
        )


def finite(
    value: Tensor, *, name: str = "the result", tried: str = "", hint: int | None = None
) -> None:
    """Expect no NaN and no infinity."""
    bad = ~torch.isfinite(value)
    if bool(bad.any()):
        where = tuple(bad.nonzero()[0].tolist())
        got = f"{int(bad.sum())} values that are not, the first at {where}: {value[where].item()}"
        raise CheckFailed(f"{name} is finite everywhere", got=got, tried=tried, hint=hint)


def sums_to_one(
    weights: Tensor,
    *,
    dim: int = -1,
    where: Tensor | None = None,
    name: str = "the weights",
    tried: str = "",
    hint: int | None = None,
    atol: float = 1e-5,
) -> None:
    """Expect that weights along `dim` are not negative and sum to one (in rows where `where`)."""
    totals = weights.sum(dim)
    off = (totals - 1).abs() > atol
    if where is not None:
        off = off & where
    if bool(off.any()):
        row = tuple(off.nonzero()[0].tolist())
        got = f"row {row} sums to {totals[row].item():.4g}"
        raise CheckFailed(f"{name} sum to one along dim {dim}", got=got, tried=tried, hint=hint)
    lowest = weights.min().item()
    that(lowest >= -atol, f"{name} are not negative", got=f"{lowest:.4g}", tried=tried, hint=hint)


def zero(
    value: Tensor,
    where: Tensor | None = None,
    *,
    name: str = "the result",
    tried: str = "",
    hint: int | None = None,
) -> None:
    """Expect exact zeros, everywhere or where the boolean `where` (broadcast) says so."""
    wrong = value != 0
    if where is not None:
        wrong = wrong & where
    if bool(wrong.any()):
        at = tuple(wrong.nonzero()[0].tolist())
        got = f"{value[at].item():.4g} at {at}"
        raise CheckFailed(f"{name} is exactly zero there", got=got, tried=tried, hint=hint)


def gradient_reaches(
    output: Tensor,
    *sources: Tensor,
    where: Any = ...,
    name: str = "the input",
    tried: str = "",
    hint: int | None = None,
) -> None:
    """Expect that `output` depends on each source (at the index `where`) through its gradient."""
    for gradient in _gradients(output, sources):
        reached = gradient is not None and bool((gradient[where] != 0).any())
        that(reached, f"a gradient reaches {name}", got="none does", tried=tried, hint=hint)


def no_gradient_reaches(
    output: Tensor,
    *sources: Tensor,
    where: Any = ...,
    name: str = "the input",
    tried: str = "",
    hint: int | None = None,
) -> None:
    """Expect that `output` does not depend on the sources (at the index `where`)."""
    for gradient in _gradients(output, sources):
        if gradient is None:
            continue
        size = gradient[where].abs().max().item()
        that(
            size == 0,
            f"no gradient reaches {name}",
            got=f"one of size {size:.3g}",
            tried=tried,
            hint=hint,
        )


def _gradients(output: Tensor, sources: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    if not output.requires_grad:
        return (None,) * len(sources)
    # A plain sum would hide a softmax's gradient: its weights sum to one whatever they are.
    weights = Fresh(7, device=output.device).normal(*output.shape, dtype=output.dtype)
    total = (output * weights).sum()
    return torch.autograd.grad(total, sources, allow_unused=True, retain_graph=True)


@contextlib.contextmanager
def inputs_left_alone(hint: int | None = None, **inputs: Tensor) -> Iterator[None]:
    """Expect that the named tensors are the same after the block as before it."""
    before = {name: tensor.detach().clone() for name, tensor in inputs.items()}
    yield
    for name, tensor in inputs.items():
        same = torch.equal(torch.nan_to_num(tensor.detach()), torch.nan_to_num(before[name]))
        that(same, f"the argument {name} left as it was", got="changed in place", hint=hint)


def close(
    value: Any,
    expected: Any,
    *,
    name: str = "the result",
    tried: str = "",
    hint: int | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Expect numbers or tensors equal up to rounding; say how many differ and where most."""
    wanted = torch.as_tensor(expected)
    came = (
        value if isinstance(value, Tensor) else torch.as_tensor(_number(value, name, tried, hint))
    )
    shape(came, tuple(wanted.shape), name=name, tried=tried, hint=hint)
    came, wanted = came.detach().cpu().double(), wanted.detach().cpu().double()
    off = ~torch.isclose(came, wanted, rtol=rtol, atol=atol, equal_nan=True)
    if not bool(off.any()):
        return
    gap = torch.where(off, (came - wanted).abs().nan_to_num(torch.inf), -1.0)
    at = torch.unravel_index(gap.argmax(), gap.shape) if gap.ndim else ()
    place = tuple(int(i) for i in at)
    if not place:
        expectation, got = f"{name} = {wanted.item():.6g}", f"{came.item():.6g}"
    else:
        expectation = f"{name}[{', '.join(map(str, place))}] = {wanted[place].item():.6g}"
        got = f"{came[place].item():.6g} there; {int(off.sum())} of {off.numel()} values are off"
    raise CheckFailed(expectation, got=got, tried=tried, hint=hint)


def _number(value: Any, name: str, tried: str, hint: int | None) -> Any:
    try:
        return torch.as_tensor(value).tolist()
    except (TypeError, ValueError, RuntimeError):
        kind(value, (Tensor, float), name=name, tried=tried, hint=hint)
        raise


def pair(value: Any, expected: str, *, tried: str) -> tuple[Any, Any]:
    """Require two values, `expected` in words, and hand them on."""
    kind(value, (tuple, list), tried=tried, hint=1)
    that(len(value) == 2, expected, got=f"{len(value)} values", tried=tried, hint=1)
    return value[0], value[1]
