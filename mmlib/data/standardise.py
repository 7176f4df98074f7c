"""Standardisation, learned on the train split and carried with the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmlib.data.feature_set import FeatureSet
from mmlib.data.features import refuse_not_finite
from mmlib.data.stored_stream import Stream

_NUMBERS_AT_ONCE = 2**19


class Standardised(nn.Module):
    """A model behind the standardisation of its inputs: zero mean and unit variance per feature.

    Mean and deviation are buffers, so a checkpoint carries them and an evaluation applies what
    training learned. A feature that is constant in training keeps its unit (it is only centred).
    What lies further than `limit` deviations from the mean is clipped to it: one wild value of an
    extractor then costs one sample no more than it must. Steps that are not real stay zero.
    Pictures (uint8) have a scale of their own, 0 to 1, and keep it; whole numbers, such as tokens,
    have none and pass as they are, as do the streams that a model names in `raw_streams`, such as a
    waveform.

    Shape:
        called as the model: `(B, T, D)` streams by name, `masks` name -> `(B, T)` bool.
    """

    def __init__(self, *, model: nn.Module, widths: dict[str, int], limit: float = 10.0) -> None:
        """Start with mean 0 and deviation 1; `learn` measures them."""
        super().__init__()
        self.model = model
        self.limit = limit
        raw = getattr(model, "raw_streams", ())
        self.names = tuple(name for name in widths if name not in raw)
        widths = {name: widths[name] for name in self.names}
        for name, width in widths.items():
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"deviation_{name}", torch.ones(width))

    def learn(self, train_set: FeatureSet) -> Standardised:
        """Measure each feature's mean and deviation over the real steps of `train_set`."""
        for name in self.names:
            if not train_set.inputs[name].is_floating_point():
                continue
            mean, deviation = feature_statistics(train_set.inputs[name], train_set.masks[name])
            if not bool(torch.isfinite(mean).all()):  # of a stream that only now is read
                refuse_not_finite(train_set, name)
            self.get_buffer(f"mean_{name}").copy_(mean)
            self.get_buffer(f"deviation_{name}").copy_(deviation)
        return self

    def forward(self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None) -> Any:
        """Standardise the streams that are there and call the model."""
        return self.model(**self.standardise(inputs, masks), masks=masks)

    def standardise(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor] | None
    ) -> dict[str, Tensor | None]:
        """Standardise the streams that are there; those that are not known pass as they are."""
        ready: dict[str, Tensor | None] = {}
        for name, value in inputs.items():
            if value is not None and name in self.names and value.is_floating_point():
                mean = self.get_buffer(f"mean_{name}").reshape(value.shape[2:])
                deviation = self.get_buffer(f"deviation_{name}").reshape(value.shape[2:])
                value = ((value - mean) / deviation).clamp(-self.limit, self.limit)
                if masks is not None and name in masks:
                    real = masks[name].reshape(*masks[name].shape, *[1] * (value.ndim - 2))
                    value = value.masked_fill(~real, 0.0)
            ready[name] = value
        return ready

    def __getattr__(self, name: str) -> Any:
        """Offer what the training loop may ask of a system as the model's own, where it has it.

        The losses see what the model sees: a reconstruction is of what went in.
        """
        if name in ("loss", "losses"):
            return self._seeing(self._own(name))
        if name in ("attention_maps", "features"):
            made = self._own(name)
            return lambda masks=None, **x: made(masks=masks, **self.standardise(x, masks))
        if name == "phases":
            phases = self._own(name)
            return lambda: [p._replace(loss=self._seeing(p.loss)) for p in phases()]
        return super().__getattr__(name)

    def _own(self, name: str) -> Any:
        return getattr(super().__getattr__("model"), name)

    def _seeing(self, loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """Give a loss the standardised batch."""

        def seeing(output: Any, batch: Any) -> Any:
            inputs = self.standardise(batch.inputs, batch.masks)
            return loss(output, batch._replace(inputs=inputs))

        return seeing


def feature_statistics(
    values: Stream, mask: Tensor, samples_at_once: int = 256
) -> tuple[Tensor, Tensor]:
    """Measure mean and deviation of each feature over real steps, in float64, some at a time.

    Shape:
        values: `(N, T, ...)`; mask: `(N, T)` bool, True where a step is real.
        returns: mean and deviation, `(D,)` float32; a constant feature has deviation 1.
    """
    width = values.shape[2:].numel()
    samples_at_once = max(1, min(samples_at_once, _NUMBERS_AT_ONCE // values.shape[1:].numel()))
    count = int(mask.sum())
    if count == 0:
        return torch.zeros(width), torch.ones(width)
    blocks = range(0, len(values), samples_at_once)

    def real(start: int) -> Tensor:
        block = slice(start, start + samples_at_once)
        return values[block].flatten(2)[mask[block]].double()

    mean = torch.stack([real(start).sum(0) for start in blocks]).sum(0) / count
    # A second pass: squares of raw values would lose the digits of a large mean.
    squares = torch.stack([((real(start) - mean) ** 2).sum(0) for start in blocks]).sum(0)
    deviation = (squares / count).sqrt()
    # Below the precision of stored values a spread is rounding, not information.
    constant = deviation <= 1e-6 * mean.abs().clamp(min=1e-6)
    return mean.float(), deviation.masked_fill(constant, 1.0).float()
