"""Where a training runs: the device, its precision, and how many processes share the work."""

from __future__ import annotations

import os
from typing import Any

import torch

_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


class TrainingError(ValueError):
    """A training that cannot start or go on; the message is one sentence."""


class Diverged(TrainingError):
    """A training whose loss is no longer a number."""


def chosen(device: str) -> str:
    """Say which kind of device is meant by "auto", "cpu", "cuda" or "mps"."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def make_accelerator(device: str, precision: str, several: bool) -> Any:
    """Choose device and precision, and forget those of an earlier training in this process.

    Raises:
        TrainingError: there is no such device, or not one for each process, or not that precision.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    if device not in ("auto", "cpu", "cuda", "mps"):
        raise TrainingError(f"device is {device!r}, expected auto, cpu, cuda or mps.")
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise TrainingError(
            "device is 'cuda' but torch finds no such GPU here; use 'auto' or 'cpu'."
        )
    if device == "mps" and not torch.backends.mps.is_available():
        raise TrainingError("device is 'mps' but torch finds none here; use 'auto' or 'cpu'.")
    on_cpu = chosen(device) == "cpu"
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if gpu and not on_cpu and here > torch.cuda.device_count():
        raise TrainingError(
            f"{here} processes need {here} GPUs, but there are {torch.cuda.device_count()}; start as "
            "many processes as GPUs, or take device='cpu' (--device cpu)."
        )
    if precision == "auto":
        native = gpu and torch.cuda.get_device_capability()[0] >= 8  # older ones emulate bf16
        precision = "fp32" if on_cpu or device == "mps" else "bf16" if native else "fp16"
    if precision not in _PRECISIONS or (precision == "fp16" and on_cpu):
        raise TrainingError(
            f"precision is {precision!r}, expected auto, fp32, bf16 or (on a GPU only) fp16."
        )
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    # Where a phase changes some parameters only, a process must not wait for the others' gradients.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=several)]
    return Accelerator(cpu=on_cpu, mixed_precision=_PRECISIONS[precision], kwargs_handlers=handlers)
