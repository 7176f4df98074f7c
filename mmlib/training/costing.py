"""What a training costs: the numbers that are trained, and the memory that this takes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmlib.data import FeatureSet
from mmlib.training import checkpoints, runs
from mmlib.training.evaluating import own_device
from mmlib.training.fitting import fit
from mmlib.training.trainer import LAST

#: Settings of a run that decide how much memory it takes.
_HELD = ("optimizer", "weight_decay", "accumulate", "clip_norm")


def cost_of(
    model: nn.Module, features: FeatureSet, place: Path, precision: str = "auto"
) -> dict[str, Any]:
    """Tell a trained run's `parameters`, `learning_rate`, `peak_bytes` of training, and `device`.

    Args:
        model: the run's model.
        features: what it was trained on; of it, the run's own streams count.
        place: the run's folder.
        precision: as of `fit`.
    """
    settings = checkpoints.load_tensors(place / LAST)[1]["settings"]
    device = own_device(model).type
    streams = list(checkpoints.read_json(place / runs.CONFIG)["streams"])
    train_set = features.select(streams).subset("train")
    return {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "learning_rate": settings["learning_rate"],
        "peak_bytes": training_memory(
            model, train_set, settings, device=device, precision=precision
        ),
        "device": device,
    }


def training_memory(
    model: nn.Module,
    train_set: FeatureSet,
    settings: dict[str, Any],
    *,
    device: str = "cpu",
    precision: str = "auto",
) -> int:
    """Tell how many bytes a training holds at most: its first steps are taken with a copy.

    On a GPU by the allocator's own count. Elsewhere by adding up, after every operation, the tensors
    that are alive; what an operation needs for itself while it runs is not seen. Either way weights,
    gradients, the optimiser's state, a batch and what is computed of it count; the data set does not.

    Args:
        model: as `fit` takes it; it stays as it is.
        train_set: what it learns from.
        settings: those of the run, of which the batch's size counts most.
        device: "cpu", "cuda" or "mps".
        precision: as of `fit`.
    """
    # The second step finds the optimiser's state; a model in phases comes to its last one later.
    phases = model.phases() if hasattr(model, "phases") else []  # type: ignore[operator]
    steps = max([2, *(phase.first + phase.every for phase in phases)])
    size = min(settings["batch_size"], len(train_set))
    few = train_set.subset(np.arange(steps * size) % len(train_set))
    held = {name: settings[name] for name in _HELD if name in settings}

    def train() -> None:
        # So small a rate, since only the first steps' memory is wanted and nothing may diverge.
        fit(
            copy.deepcopy(model),
            few,
            epochs=1,
            batch_size=size,
            learning_rate=1e-9,
            device=device,
            precision=precision,
            progress=False,
            **held,
        )

    from mmlib.benchmark.measuring import peak_bytes

    state = torch.get_rng_state()
    try:
        return peak_bytes(train, device)
    finally:
        torch.set_rng_state(state)
