"""How the benchmarks time a step."""

import time
from collections.abc import Callable

import torch

#: For a process whose peak memory counts: what is freed goes back at once. Else how much the
#: allocator keeps for later differs from run to run, and is part of the peak.
STEADY = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def seconds(step: Callable[[], object], device: torch.device) -> float:
    """Time a step: this process's own time on a CPU, which a busy machine stretches less."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize()  # what was asked for before is not this step's
    start = clock()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start
