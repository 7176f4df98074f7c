"""Time and memory of a step, with the limit measured beside it in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmlib.benchmark.cases import Case
from mmlib.benchmark.compiling import check_agreement, check_compiler, compile_afresh, time_first
from mmlib.benchmark.living import Living, foresee
from mmlib.benchmark.work import operations, record, replay

PRECISIONS = ("fp32", "bf16")
_KEPT_FREE = 0.8  # of the free memory a step may take so much
_COPIED_AT_ONCE = 1 << 26  # bytes: far more than a cache holds, far less than the memory


@dataclass(frozen=True)
class Cost:
    """What a case costs in one precision.

    Attributes:
        case: what was measured.
        precision: "fp32", or "bf16" by autocast.
        compiled: whether torch.compile had it first.
        parameters: numbers that are trained.
        operations: of a forward pass, two for each multiply-add (see `work.operations`).
        step_operations: of a training step.
        forward_seconds: of a forward pass without gradients, at evaluation.
        step_seconds: of a training step: forward, backward; without the optimiser.
        product_seconds: of the step's matrix products and convolutions alone.
        copy_seconds: of copying as many bytes as all other operations of the step read and write.
        peak_bytes: what a step allocates at most beside the parameters and the inputs; None where
            torch.compile has it on a CPU.
        eager_seconds: of the same step, not compiled, in turn with it; this and the following are
            None where nothing was compiled.
        compile_seconds: of the first forward pass and the first step together, which compile.
        graphs: into how many pieces the step was compiled, 1 where nothing stood in the way.
        difference: the largest between compiled and plain outputs at evaluation, as a share of the
            largest output.
    """

    case: Case
    precision: str
    compiled: bool
    parameters: int
    operations: int
    step_operations: int
    forward_seconds: float
    step_seconds: float
    product_seconds: float
    copy_seconds: float
    peak_bytes: int | None
    eager_seconds: float | None = None
    compile_seconds: float | None = None
    graphs: int | None = None
    difference: float | None = None

    @property
    def limit_seconds(self) -> float:
        """Tell how long the step's products and its other bytes take at the least."""
        return self.product_seconds + self.copy_seconds

    @property
    def share(self) -> float:
        """Tell the limit as a share of the step: 1 is as fast as these operations can be.

        More than 1 is possible: what stays in a cache, or is compiled into one loop, is not read
        from memory each time, as the copy is.
        """
        return self.limit_seconds / self.step_seconds


def measure(
    case: Case,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    compiled: bool = False,
    repeats: int = 5,
) -> Cost:
    """Measure a case: every number in turn, several times over, and the median of each.

    Taking turns is what makes the ratios trustworthy: whatever else the machine does, it does to all.
    With one thread on a CPU the time is the process's own, of which others can take nothing away.

    Raises:
        ValueError: an unknown precision, fewer than one repeat, or `compiled` without a C++ compiler.
        ArithmeticError: the compiled model's outputs are others than the plain one's.
        MemoryError: a step on a CPU would need more than is free; nothing of it has been taken.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}.")
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}, expected at least 1.")
    if compiled:
        check_compiler()
    model, inputs = case.build(device)
    called: Callable[..., Any] = compile_afresh(model) if compiled else model

    def autocast() -> AbstractContextManager[Any]:
        wanted = precision == "bf16"
        return torch.autocast(device, torch.bfloat16) if wanted else nullcontext()

    def forward(run: Callable[..., Any] = called) -> Any:
        model.eval()
        with torch.no_grad(), autocast():
            return run(**inputs)

    def step(run: Callable[..., Any] = called) -> None:
        model.train()
        model.zero_grad(set_to_none=True)
        with autocast():
            value = _sum_of_squares(run(**inputs))
        value.backward()

    def plain_step() -> None:  # what is counted is what is asked for, compiled or not
        step(model)

    if device == "cpu":
        _refuse_if_short(foresee(model, step))
    work = record(plain_step, model.parameters())
    timed: dict[str, Callable[[], object]] = {
        "forward": forward,
        "step": step,
        "product": replay(work),
        "copy": _copy(work.other_bytes, device),
    }
    compilation: dict[str, Any] = {}
    if compiled:
        timed["eager"] = plain_step
        first, _ = time_first(forward, device)
        second, graphs = time_first(step, device)
        difference = check_agreement(forward(), forward(model), precision)
        compilation = {
            "compile_seconds": first + second,
            "graphs": graphs,
            "difference": difference,
        }
    found = _medians(timed, device, repeats)
    return Cost(
        case=case,
        precision=precision,
        compiled=compiled,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        operations=operations(lambda: _plain_forward(model, inputs)),
        step_operations=operations(plain_step),
        forward_seconds=found["forward"],
        step_seconds=found["step"],
        product_seconds=found["product"],
        copy_seconds=found["copy"],
        # What a compiled step takes on a CPU passes the dispatcher by, where it is counted.
        peak_bytes=None if compiled and device == "cpu" else peak_bytes(step, device),
        eager_seconds=found.get("eager"),
        **compilation,
    )


def peak_bytes(step: Callable[[], object], device: str) -> int:
    """Tell how much a step allocates at most beyond what stood before it.

    On a GPU by the allocator's own count. On a CPU by adding up, after every operation, the tensors
    that are alive; what an operation needs for itself while it runs is not seen.
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with Living() as living:
        step()
    return living.most


def _refuse_if_short(needed: int | None) -> None:
    """Refuse a step that would drive the machine to kill what takes most of its memory."""
    import psutil

    free = psutil.virtual_memory().available
    if needed is not None and needed > _KEPT_FREE * free:
        raise MemoryError(
            f"a step needs {needed / 1e9:.1f} GB beside its parameters, and {free / 1e9:.1f} GB are "
            "free; take a smaller batch or a shorter length."
        )


def _plain_forward(model: nn.Module, inputs: dict[str, Tensor]) -> None:
    model.eval()
    with torch.no_grad():
        model(**inputs)


def _sum_of_squares(output: Any) -> Tensor:
    """Make one number of all outputs, so that every part of the model takes part in the step."""
    fields = [x for x in output if isinstance(x, Tensor) and x.is_floating_point()]
    return torch.stack([x.float().pow(2).mean() for x in fields]).sum()


def _copy(count: int, device: str) -> Callable[[], None]:
    """Return a function that reads and writes as many bytes as asked for, both together."""
    at_once = min(max(count // 2, 1), _COPIED_AT_ONCE)
    here = torch.zeros(at_once, dtype=torch.uint8, device=device)
    there = torch.empty_like(here)
    whole, rest = divmod(count // 2, at_once)

    def run() -> None:
        for _ in range(whole):
            there.copy_(here)
        there[:rest].copy_(here[:rest])

    return run


def _medians(timed: dict[str, Callable[[], object]], device: str, repeats: int) -> dict[str, float]:
    """Time each in turn, `repeats` times after a first that does not count."""
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(repeats + 1):
        for name, run in timed.items():
            _wait(device)
            start = clock()
            run()
            _wait(device)
            if turn:
                seconds[name].append(clock() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
