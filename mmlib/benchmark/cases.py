"""What is measured: a system at a scale, on made-up streams of the shapes that its paper has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmlib.data import FeatureSet
from mmlib.systems import build, find

#: Stream -> (steps, features...) at the papers' sizes; what is not there takes `OTHERS`.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "avt_ca": {"audio": (156, 10), "vision": (15, 3, 224, 224)},
    "jmt": {"audio": (8, 512), "vision": (8, 512)},
    "embracenet": {"text": (36, 768), "audio": (50, 512), "vision": (50, 512)},
}
OTHERS = {"text": (36, 768), "audio": (128, 512), "vision": (10, 512)}
#: At the scale `small` pictures are as small as the theatre's.
_SMALL_PICTURE = 48
_CLASSES = {"avt_ca": 8, "embracenet": 7}
#: Systems of one family have the shapes of its head.
_FAMILIES = {"crossmodal": "embracenet"}


class Case(NamedTuple):
    """One thing to measure.

    Attributes:
        system: a name in `mmlib.systems.SYSTEMS`.
        scale: of its configuration, "small" or "paper".
        batch: samples at once.
        length: factor on the number of steps of every stream.
    """

    system: str
    scale: str = "paper"
    batch: int = 16
    length: float = 1.0

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tell each stream's (steps, features...), without the batch."""
        name = next((head for head in SHAPES if self.system.startswith(head)), self.system)
        streams = SHAPES.get(_FAMILIES.get(name, name), OTHERS)
        found = {}
        for stream, (steps, *features) in streams.items():
            if self.scale == "small" and len(features) == 3:
                features = [features[0], _SMALL_PICTURE, _SMALL_PICTURE]
            found[stream] = (max(1, round(steps * self.length)), *features)
        return found

    def build(self, device: str) -> tuple[nn.Module, dict[str, Tensor]]:
        """Make the model, with seed 0, and its inputs.

        Shape:
            inputs: stream -> (batch, steps, features...), float32
        """
        draw = torch.Generator().manual_seed(0)
        inputs = {
            stream: torch.rand(self.batch, *shape, generator=draw)
            for stream, shape in self.shapes.items()
        }
        classes = _CLASSES.get(self.system, 3)
        if self.system == "jmt":
            steps = self.shapes["audio"][0]
            labels = torch.rand(self.batch, steps, 2, generator=draw)
            features = FeatureSet(inputs, {}, labels, None, name="made-up streams")
        else:
            labels = torch.arange(self.batch) % classes
            names = tuple(map(str, range(classes)))
            features = FeatureSet(inputs, {}, labels, names, name="made-up streams")
        torch.manual_seed(0)
        model = build(self.system, find(self.system).config.for_dataset(features, self.scale))
        return model.to(device), {name: x.to(device) for name, x in inputs.items()}


def cases(
    systems: Sequence[str],
    *,
    scale: str = "paper",
    batches: Sequence[int] = (2, 16),
    lengths: Sequence[float] = (1.0, 2.0),
) -> Iterator[Case]:
    """Vary the batch at the papers' lengths, and the length at the first batch, for each system.

    Args:
        systems: names.
        scale: "paper" or "small".
        batches: samples at once.
        lengths: factors on every stream's steps.
    """
    for system in systems:
        pairs = [(batch, 1.0) for batch in batches]
        pairs += [(batches[0], length) for length in lengths if length != 1.0]
        for batch, length in dict.fromkeys(pairs):
            yield Case(system, scale, batch, length)
