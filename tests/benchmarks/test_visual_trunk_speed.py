"""What a training step of AVT-CA's trunk costs, beside the plain arrangement of the same layers.

The plain arrangement runs each layer by itself with the channels outermost, as the public code
does, and uses the same weights. `pytest tests/benchmarks/test_visual_trunk_speed.py -s` prints the
table; TRUNK_FRAMES=120 takes the paper's batch of 8 samples of 15 frames.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timing import STEADY, seconds
from torch import Tensor, nn

from mmlib.backbones import VisualTrunk

FRAMES = int(os.environ.get("TRUNK_FRAMES", "16"))


def row(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Apply each layer by itself, so that autograd keeps what each wants."""
    for layer in layers:
        x = layer(x)
    return x


def plain_unit(unit: nn.Module, x: Tensor) -> Tensor:
    kept, worked = x.chunk(2, 1) if unit.stride == 1 else (x, x)
    x = torch.cat((row(unit.branch1, kept), row(unit.branch2, worked)), 1)
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def plain_quarter(local: nn.Module, k: int, x: Tensor) -> Tensor:
    for step in (1, 2):
        x = local.get_submodule(f"conv{k}_{step}")(x)
        x = local.get_submodule(f"bn{k}_{step}")(x).relu_()
    return x


def plain(trunk: VisualTrunk, x: Tensor) -> Tensor:
    """Run the trunk's layers in the plain arrangement."""
    stem = row(trunk.conv1, x)
    x = stem
    for unit in trunk.stage2:
        x = plain_unit(unit, x)
    channel = row(trunk.modulator.channel_att.gate_c, x.mean((2, 3)))[:, :, None, None]
    place = row(trunk.modulator.spatial_att.gate_s, x)
    x = torch.sigmoid(channel * place) * x
    cut = stem.shape[2] // 2
    sides = (slice(None, cut), slice(cut, None))
    quarters = [stem[:, :, rows, columns] for columns in sides for rows in sides]
    looked = [plain_quarter(trunk.local, k + 1, part) for k, part in enumerate(quarters)]
    x = x + torch.cat((torch.cat(looked[:2], 2), torch.cat(looked[2:], 2)), 3)
    for unit in (*trunk.stage3, *trunk.stage4):
        x = plain_unit(unit, x)
    return row(trunk.conv5, x).mean((2, 3))


class Step:
    """Forward and backward of one batch of frames, in one of the two arrangements."""

    def __init__(self, name: str, device: torch.device, frames: int) -> None:
        torch.manual_seed(0)
        self.trunk = VisualTrunk().to(device).train()
        self.run = {"plain": lambda x: plain(self.trunk, x), "ours": self.trunk}[name]
        self.frames = torch.rand(frames, 3, 224, 224, device=device)
        self.slope = torch.randn(1024, device=device)

    def __call__(self) -> Tensor:
        self.trunk.zero_grad()
        out = self.run(self.frames)
        (out @ self.slope).tanh().sum().backward()
        return out.detach()


def test_both_arrangements_give_the_same_vectors_and_gradients():
    cpu = torch.device("cpu")
    ours, other = Step("ours", cpu, 2), Step("plain", cpu, 2)
    torch.testing.assert_close(ours(), other(), atol=1e-4, rtol=1e-4)
    for (name, mine), theirs in zip(
        ours.trunk.named_parameters(), other.trunk.parameters(), strict=True
    ):
        largest = theirs.grad.abs().max().item()
        # The offsets before a norm have a gradient of nothing but rounding.
        torch.testing.assert_close(mine.grad, theirs.grad, atol=0.02 * largest + 1e-4, rtol=0.02)
        assert mine.grad.shape == theirs.grad.shape, name


@pytest.mark.slow
def test_a_training_step_takes_less_time_than_the_plain_arrangement(device):
    """Both are timed in turns, so that whatever else the machine does hits both alike."""
    ours, other = Step("ours", device, FRAMES), Step("plain", device, FRAMES)
    ours(), other()
    pairs = [(seconds(ours, device), seconds(other, device)) for _ in range(5)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    print(f"\n{FRAMES} frames of 224 x 224, {device}: {ratio:.2f} x the plain arrangement's time")
    # What saves memory runs on a CPU only; a GPU has the layout alone to gain from.
    assert ratio < (1.0 if device.type == "cpu" else 1.5)


# One process an arrangement, so that its peak is its own.
PROBE = """
import sys
import torch
torch.set_num_threads(1)
from test_visual_trunk_speed import Step
device = torch.device("cpu")

def peak():
    # Not getrusage: its peak is inherited from the parent, this one starts with the process.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

Step(sys.argv[1], device, 2)()
step = Step(sys.argv[1], device, int(sys.argv[2]))
base = peak()
step(), step()
print(peak() - base)
"""


def peak_megabytes(name: str) -> float:
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join((str(here), str(here.parent.parent), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-c", PROBE, name, str(FRAMES)],
        env=os.environ | STEADY | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return float(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_training_step_takes_less_memory_than_the_plain_arrangement():
    ours, other = peak_megabytes("ours"), peak_megabytes("plain")
    print(f"\n{FRAMES} frames, peak above the start: {ours:.0f} MB, plain {other:.0f} MB", end="")
    print(f", {ours / other:.2f} x")
    assert ours < 0.7 * other  # measured: 0.56


def kept_megabytes(step: Step) -> float:
    """Add up what autograd keeps between the forward and the backward pass."""
    sizes: dict[int, int] = {}
    held = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = step.run(step.frames)
    assert out.requires_grad
    return sum(sizes.values()) / 2**20


def test_what_is_kept_for_the_backward_pass_is_little_more_than_half():
    cpu = torch.device("cpu")
    ours, other = (kept_megabytes(Step(name, cpu, 4)) for name in ("ours", "plain"))
    print(f"\nkept a frame: {ours / 4:.1f} MB, plain {other / 4:.1f} MB, {ours / other:.2f} x")
    assert ours < 0.65 * other
