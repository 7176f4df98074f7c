"""What a training step of AVT-CA costs at the paper's shapes: its parts, and the memory it needs.

Run `pytest tests/benchmarks/test_avt_ca_speed.py -s` to read the table.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from timing import STEADY, seconds
from torch import Tensor

from mmlib.systems import AVTCAConfig, build

#: Two steps in a process of its own, which then says its memory before them and its highest.
ALONE = """
import sys, torch
from mmlib.systems import AVTCAConfig, build

def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith(name))

batch = int(sys.argv[1])
model = build("avt_ca", AVTCAConfig.paper()).train()
optimizer = torch.optim.Adam(model.parameters(), lr=0.0)
given = {"audio": torch.randn(batch, 156, 10), "vision": torch.rand(batch, 15, 3, 224, 224)}
before = kilobytes("VmRSS")
for _ in range(2):
    optimizer.zero_grad(set_to_none=True)
    model(**given).logits.logsumexp(-1).sum().backward()
    optimizer.step()
print(before, kilobytes("VmHWM"))
"""


class Parts:
    """The parts of a step on one batch; each runs forwards on what the part before it gave."""

    def __init__(self, batch: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.model = build("avt_ca", AVTCAConfig.paper()).to(device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.0)
        self.audio = torch.randn(batch, 156, 10, device=device)
        self.vision = torch.rand(batch, 15, 3, 224, 224, device=device)
        self.labels = torch.arange(batch, device=device) % 8

    def __call__(self) -> dict[str, float]:
        """Time one step and its parts; the parts' times sum up to less than the step's."""
        spent: dict[str, float] = {}
        handles = [
            hook
            for name, modules in {
                "trunk": [self.model.visual],
                "convolutions over time": [
                    self.model.audio_stage1,
                    self.model.vision_stage1,
                    self.model.audio_stage2,
                    self.model.vision_stage2,
                ],
                "attention": [*self.model.intermediate, *self.model.second, self.model.late],
            }.items()
            for module in modules
            for hook in self._timed(module, name, spent)
        ]
        loss: list[Tensor] = []

        def forwards() -> None:
            output = self.model(audio=self.audio, vision=self.vision)
            loss.append(torch.nn.functional.cross_entropy(output.logits, self.labels))

        self.optimizer.zero_grad(set_to_none=True)
        try:
            spent["forwards"] = seconds(forwards, self.device)
            spent["backwards"] = seconds(loss[0].backward, self.device)
            spent["update"] = seconds(self.optimizer.step, self.device)
        finally:
            for handle in handles:
                handle.remove()
        spent["step"] = spent["forwards"] + spent["backwards"] + spent["update"]
        return spent

    def _timed(self, module: torch.nn.Module, name: str, spent: dict[str, float]) -> list:
        """Add up what a module's forward passes take."""
        start: list[Callable[[], float]] = []

        def before(*_: object) -> None:
            start.append(_stopwatch(self.device))

        def after(*_: object) -> None:
            spent[name] = spent.get(name, 0.0) + start.pop()()

        return [
            module.register_forward_pre_hook(before),
            module.register_forward_hook(after),
        ]


def _stopwatch(device: torch.device) -> Callable[[], float]:
    """Start by the clock of `timing.seconds`; the call that comes back stops."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock()

    began = now()
    return lambda: now() - began


def peak_mb(batch: int) -> tuple[float, float]:
    """Measure what a step adds to the memory of the process it runs in, and that process's peak."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux says how much memory a process had at most")
    told = subprocess.run(
        [sys.executable, "-c", ALONE, str(batch)],
        env=os.environ | STEADY,
        capture_output=True,
        text=True,
        check=True,
    )
    before, highest = (int(word) / 1024 for word in told.stdout.split())
    return highest - before, highest


@pytest.mark.slow
@pytest.mark.parametrize("batch", [2, 8])
def test_a_training_step_at_the_papers_shapes_and_its_parts(batch, device):
    """The trunk is nearly all of it: attention over 150 and 15 steps is cheap beside 224 pixels."""
    parts = Parts(batch, device)
    parts()
    rounds = [parts() for _ in range(3)]
    whole = statistics.median(row["step"] for row in rounds)
    share = {
        name: statistics.median(row[name] / row["step"] for row in rounds) for name in rounds[0]
    }
    print(f"\na step at the paper's shapes, batch {batch}, {device}: {whole:.2f} s")
    for name, value in sorted(share.items(), key=lambda entry: -entry[1]):
        print(f"{name:>24} {value:7.1%}")
    if device.type == "cpu":
        assert share["trunk"] > 0.9 * share["forwards"], share
        assert share["attention"] < 0.1 * share["forwards"], share


@pytest.mark.slow
def test_memory_grows_with_the_batch_and_not_faster():
    """Frames go through at once, and what is kept for the backward pass is a fixed size a frame."""
    added = {}
    for batch in (2, 8):
        added[batch], highest = peak_mb(batch)
        print(f"\na step at batch {batch} adds {added[batch]:.0f} MB, peak {highest:.0f} MB")
    assert 2.0 < added[8] / added[2] < 4.4, added
