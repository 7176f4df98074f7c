"""What a model says of every sample for each combination of its streams.

At evaluation samples do not mix, so what a system says of a sample depends only on which streams
this sample has: one pass for each combination answers every question after it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from mmlib.data.feature_set import FeatureSet
from mmlib.systems.absence import MEANS, Absence, Means, absence_of
from mmlib.training import evaluating


def patterns_of(streams: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """List every combination of one stream or more, small ones first, in the streams' order."""
    sizes = range(1, len(streams) + 1)
    return tuple(some for size in sizes for some in itertools.combinations(streams, size))


@dataclass(frozen=True)
class Heard:
    """What a model says of every sample, for each combination of its streams.

    Attributes:
        features: the judged samples, those that have a stream at all, with the model's streams.
        present: which streams each sample has to begin with, before any is taken away.
        outputs: logits or predictions for each of `patterns_of(streams)`; NaN for a sample that has
            none of a pattern's streams, and where the model refuses.
        absence: by which means the streams were taken away.

    Shape:
        present: `(N, M)` bool; outputs: `(P, N, C)`, or `(P, N, K)` or `(P, N, T, K)`.
    """

    features: FeatureSet
    present: np.ndarray
    outputs: Tensor
    absence: Absence

    @property
    def streams(self) -> tuple[str, ...]:
        """Name the streams that the model takes."""
        return self.features.modalities

    def left(self, rate: float, *, draw: int = 0, seed: int = 0) -> np.ndarray:
        """Draw which streams each sample keeps.

        The draw depends on seed, draw, the stream's name and the sample's place alone: it is the
        same for every system. What is gone at one rate is gone at every higher one.

        Shape:
            returns: `(N, M)` bool.
        """
        luck = np.stack(
            [
                np.random.default_rng([seed, draw, crc32(name.encode())]).random(len(self.present))
                for name in self.streams
            ],
            axis=1,
        )
        luck[~self.present] = -1.0
        keeps = self.present & (luck >= rate)
        # A sample that would lose all that it has keeps the stream with the luckiest draw.
        keeps[np.arange(len(keeps)), luck.argmax(1)] = True
        return keeps

    def said_of(self, left: np.ndarray) -> Tensor:
        """Give what the model says where each sample keeps these streams, at least one of its own.

        Shape:
            left: `(N, M)` bool; returns `(N, C)`, or `(N, K)` or `(N, T, K)`.
        """
        if not left.any(1).all():
            raise ValueError(
                f"sample {int((~left.any(1)).argmax())} keeps no stream; leave each one of its own."
            )
        codes = 2 ** np.arange(len(self.streams))
        place = np.zeros(2 ** len(self.streams), dtype=np.int64)
        for order, pattern in enumerate(patterns_of(self.streams)):
            place[sum(codes[self.streams.index(name)] for name in pattern)] = order
        chosen = torch.from_numpy(place[left @ codes])
        return self.outputs[chosen, torch.arange(len(left))]

    def has(self, pattern: Sequence[str]) -> np.ndarray:
        """Say which samples have at least one stream of a combination, `(N,)` bool."""
        return _any(self.present, [self.streams.index(name) for name in pattern])

    @property
    def whole(self) -> bool:
        """Say whether every sample has every stream to begin with, as known ceilings presume."""
        return bool(self.present.all())


def hear(
    model: nn.Module,
    features: FeatureSet,
    *,
    means: Means | None = None,
    batch_size: int = 256,
    device: str = "auto",
    update: Callable[[int], object] | None = None,
) -> Heard:
    """Ask a model about every sample, once for each combination of the streams that it takes.

    Args:
        model: any model that `fit` trains.
        features: the samples to judge; of streams that the model does not take nothing is asked, and
            a sample that has none at all is left out.
        means: how streams are taken away; None takes the system's own, see `mmlib.systems.absence`.
        batch_size: as of `mmlib.training.predict`.
        device: as of `mmlib.training.predict`.
        update: called with 1 after each pass, such as a progress bar's own `update`.

    Raises:
        ValueError: unknown means, or no sample that has any stream.
    """
    if means is not None and means not in MEANS:
        raise ValueError(f"means is {means!r}, expected one of {', '.join(MEANS)}, or None.")
    own = absence_of(model)
    absence = own if means in (None, own.means) else Absence(means, "as asked for")
    features = features.select(_taken(model, features))
    present = np.stack([features.masks[name].any(1).numpy() for name in features.modalities], 1)
    if not present.any():
        raise ValueError(f"no sample of {features.name} has any stream; look at its masks.")
    some = _any(present, range(present.shape[1]))
    if not some.all():
        features, present = features.subset(some), present[some]
    passes = []
    for pattern in patterns_of(features.modalities):
        columns = [features.modalities.index(name) for name in pattern]
        rows = np.flatnonzero(_any(present, columns))
        refused = absence.means == "refuses" and len(pattern) < present.shape[1]
        said = None
        if len(rows) and not refused:
            lacking = Without(model=model, streams=pattern, means=absence.means)
            judged = features if len(rows) == len(features) else features.subset(rows)
            said = evaluating.predict(lacking, judged, batch_size=batch_size, device=device)
        passes.append((rows, said))
        if update is not None:
            update(1)
    like = next(said for _, said in passes if said is not None)
    outputs = like.new_full((len(passes), len(features), *like.shape[1:]), float("nan"))
    for place, (rows, said) in enumerate(passes):
        if said is not None:
            outputs[place, rows] = said
    return Heard(features, present, outputs, absence)


class Without(nn.Module):
    """A model that is given some streams only, the others taken away in one of the means.

    Shape:
        called as the model, and returns what it returns.
    """

    def __init__(self, *, model: nn.Module, streams: Sequence[str], means: Means = "mask") -> None:
        """Keep the model as it is, in the mode in which it is."""
        super().__init__()
        self.model, self.streams, self.means = model, tuple(streams), means
        self.training = model.training

    def forward(self, masks: dict[str, Tensor], **inputs: Tensor) -> Any:
        """Take the other streams away and call the model."""
        inputs, masks = dict(inputs), dict(masks)
        for name in inputs.keys() - set(self.streams):
            x, mask = inputs[name], masks[name]
            inputs[name] = torch.zeros_like(x)
            if self.means != "zeros":
                masks[name] = torch.zeros_like(mask)
            elif hasattr(self.model, f"mean_{name}"):  # it will be zero once standardised
                mean = self.model.get_buffer(f"mean_{name}").reshape(x.shape[2:])
                real = mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
                inputs[name] = torch.where(real, mean.to(x.dtype), 0)
        return self.model(**inputs, masks=masks)


def _taken(model: Any, features: FeatureSet) -> list[str]:
    """Name the streams of a feature set that a model takes: those of its config, else all."""
    config = getattr(getattr(model, "model", model), "config", None)
    streams = getattr(config, "streams", features.modalities)
    return [name for name in features.modalities if name in streams]


def _any(present: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Say which samples have at least one of some streams, `(N,)` bool."""
    return np.asarray(present[:, list(columns)].any(1))
