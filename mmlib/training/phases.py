"""What the loop does for a system with phases: hold the rest still, and keep count of the losses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from mmlib.losses import Phase


class Still:
    """The part of a model that a phase leaves alone: other parameters, and their modules' buffers.

    Others get no gradient, so nothing is computed for them and no process waits for it. A forward
    pass in training mode also moves statistics (batch norm's); those of modules whose parameters the
    phase does not change are put back.
    """

    def __init__(self, model: nn.Module, phase: Phase) -> None:
        """Find what the phase leaves alone; what is frozen already stays so."""
        own = {id(parameter) for parameter in phase.parameters}
        self.parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
        self.buffers = [
            buffer
            for name, module in model.named_modules()
            for buffer in module.buffers(recurse=False)
            if not own & {id(p) for p in _nearest(model, name)}
        ]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it still."""
        before = [buffer.clone() for buffer in self.buffers]
        try:
            _require(self.parameters, False)
            yield
        finally:
            _require(self.parameters, True)
            with torch.no_grad():
                for buffer, value in zip(self.buffers, before, strict=True):
                    buffer.copy_(value)


class Tally:
    """Sums over an epoch, kept on the device, so that the loop need not wait for a number."""

    def __init__(self, device: torch.device) -> None:
        """Start with nothing."""
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._samples: dict[str, int] = {}

    def add(self, name: str, total: Tensor, samples: int) -> None:
        """Add this process's part of a sum over so many samples of all processes."""
        before = self._sums.get(name, torch.zeros((), device=self._device))
        self._sums[name] = before + total.detach()
        self._samples[name] = self._samples.get(name, 0) + samples

    def means(self, accelerator: Any) -> dict[str, float]:
        """Divide the sums over all processes by the samples."""
        if not self._sums:
            return {}
        sums = torch.stack([self._sums[name].float() for name in self._sums])
        whole = accelerator.reduce(sums, "sum").tolist()
        return {
            name: total / self._samples[name] for name, total in zip(self._sums, whole, strict=True)
        }


def _nearest(model: nn.Module, name: str) -> list[Parameter]:
    """List the parameters of a module, or of the nearest module around it that has any."""
    while name:
        found = list(model.get_submodule(name).parameters())
        if found:
            return found
        name = name.rpartition(".")[0]
    return list(model.parameters())


def _require(parameters: Iterable[Parameter], gradient: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(gradient)
