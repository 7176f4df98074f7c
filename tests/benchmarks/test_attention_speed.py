"""What attention costs: time against torch's own module, and memory against the length.

Run `pytest tests/benchmarks/test_attention_speed.py -s` to read the tables.
"""

import json
import os
import statistics
import subprocess
import sys

import pytest
import torch
from timing import STEADY, seconds
from torch import nn

from mmlib.layers import MultiHeadAttention

BATCH, TIME, WIDTH, HEADS = 16, 128, 256, 8
LENGTHS = (1024, 2048, 4096, 8192)


def test_forward_and_backward_cost_no_more_than_torchs_module(benchmark, device):
    """Both are timed in turns, so that whatever else the machine does hits both alike."""
    torch.manual_seed(0)
    ours = MultiHeadAttention(query_dim=WIDTH, num_heads=HEADS).to(device)
    peer = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).to(device)
    x = torch.randn(BATCH, TIME, WIDTH, device=device)

    def our_step() -> None:
        ours(x).sum().backward()

    def peer_step() -> None:
        peer(x, x, x, need_weights=False)[0].sum().backward()

    for _ in range(3):
        our_step(), peer_step()
    pairs = [(seconds(our_step, device), seconds(peer_step, device)) for _ in range(25)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    benchmark.extra_info["ratio to torch.nn.MultiheadAttention"] = round(ratio, 3)
    benchmark.pedantic(our_step, rounds=10, warmup_rounds=1)
    print(f"\n({BATCH}, {TIME}, {WIDTH}), {HEADS} heads, {device}: {ratio:.2f} x torch's module")
    assert ratio < 1.25


# One process a path, so that its peak is its own; the lengths grow, so each sets a new peak.
PROBE = """
import json, sys, torch
from mmlib.layers import scaled_dot_product_attention
torch.set_num_threads(1)
path, device = sys.argv[1], torch.device(sys.argv[2])

def step(length):
    x = torch.randn(1, 2, length, 64, device=device, requires_grad=True)
    mask = torch.ones(1, 1, 1, length, dtype=torch.bool, device=device)
    mask[..., -7:] = False
    out = scaled_dot_product_attention(x, x, x, mask=mask, return_weights=path == "explicit")
    (out[0] if path == "explicit" else out).sum().backward()

def peak():
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # Not getrusage: its peak is inherited from the parent, this one starts with the process.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

step(64)
base, rows = peak(), {}
for length in map(int, sys.argv[3:]):
    step(length)
    rows[length] = peak() - base
print(json.dumps(rows))
"""


def peak_megabytes(path: str, device: torch.device, lengths: tuple[int, ...]) -> dict[int, float]:
    command = [sys.executable, "-c", PROBE, path, device.type, *map(str, lengths)]
    done = subprocess.run(
        command, env=os.environ | STEADY, capture_output=True, text=True, check=True, timeout=300
    )
    return {int(length): size for length, size in json.loads(done.stdout).items()}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_peak_memory_of_the_fused_path_grows_linearly_with_length(device):
    fused = peak_megabytes("fused", device, LENGTHS)
    explicit = peak_megabytes("explicit", device, LENGTHS[:3])
    print(f"\npeak memory above the start, MB, forward and backward, {device}")
    print(f"{'T':>6} {'fused':>8} {'with weights':>13}")
    for length in LENGTHS:
        shown = f"{explicit[length]:13.1f}" if length in explicit else f"{'-':>13}"
        print(f"{length:6d} {fused[length]:8.1f} {shown}")
    # Eight times the length: linear is 8, quadratic is 64. The explicit path shows that the
    # measurement would see a square matrix.
    assert fused[8192] / fused[1024] < 12  # measured: 6.4
    assert fused[8192] < explicit[1024] * 2
    assert explicit[4096] / explicit[1024] > 10  # measured: 15.4
