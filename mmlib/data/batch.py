"""What travels from a data set to a model: named streams, their masks, and the labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MODALITIES = ("text", "audio", "vision")


class Batch(NamedTuple):
    """Some samples, ready for a model: `model(**batch.inputs, masks=batch.masks)`.

    Shape:
        inputs: name -> `(B, T, D)` float (frames: `(B, T, C, H, W)`), or int64 where the stream is
            of whole numbers, such as tokens; zero where a step is not real.
        masks: name -> `(B, T)` bool, True where a step is real; a stream that is absent for a
            sample is all False.
        labels: `(B,)` int64 classes, or `(B, K)` or `(B, T, K)` float targets.
        weights: `(B,)` float, what each sample counts in a loss over classes; None: all alike.
    """

    inputs: dict[str, Tensor]
    masks: dict[str, Tensor]
    labels: Tensor
    weights: Tensor | None = None

    @property
    def size(self) -> int:
        """Count the samples (`len` counts the fields, as of any NamedTuple)."""
        return len(self.labels)

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on `device`, without waiting for what the device is doing."""
        device = torch.device(device)

        def move(tensor: Tensor) -> Tensor:
            if device.type == "cuda" and tensor.device.type == "cpu":
                tensor = tensor.pin_memory()  # a copy from pageable memory would wait
            return tensor.to(device, non_blocking=True)

        return Batch(
            {name: move(value) for name, value in self.inputs.items()},
            {name: move(value) for name, value in self.masks.items()},
            move(self.labels),
            None if self.weights is None else move(self.weights),
        )

    @property
    def label_mask(self) -> Tensor | None:
        """Say which steps of `(B, T, K)` labels are real; None where a label is a sample's.

        A step counts where any stream with as many steps is real.
        """
        if self.labels.ndim != 3:
            return None
        steps = self.labels.shape[1]
        aligned = [mask for mask in self.masks.values() if mask.shape[1] == steps]
        return torch.stack(aligned).any(0) if aligned else None
