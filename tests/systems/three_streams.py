"""Three small streams of different lengths and widths, and an untrained fusion of them."""

from dataclasses import replace

import torch

from mmlib.data import Batch, FeatureSet
from mmlib.systems import build, find

B = 6
SHAPES = {"text": (7, 11), "audio": (13, 2), "vision": (3, 5)}  # all sizes differ


def features(labels: torch.Tensor | None = None, label_step: int | None = None) -> FeatureSet:
    draw = torch.Generator().manual_seed(0)
    inputs = {key: torch.randn(B, *shape, generator=draw) for key, shape in SHAPES.items()}
    masks = {key: torch.rand(x.shape[:2], generator=draw) < 0.8 for key, x in inputs.items()}
    for mask in masks.values():
        mask[:, 1] = True
    labels = torch.arange(B) % 3 if labels is None else labels
    names = None if labels.is_floating_point() else ("a", "b", "c")
    return FeatureSet(inputs, masks, labels, names, label_step=label_step)


LABELS = {
    "class": {},
    "class of a step": {"label_step": 2},
    "numbers": {"labels": torch.randn(B, 4, generator=torch.Generator().manual_seed(1))},
    "numbers of every step": {
        "labels": torch.randn(B, 13, 2, generator=torch.Generator().manual_seed(1))
    },
}


def made(name: str, data: FeatureSet, **changes) -> torch.nn.Module:
    torch.manual_seed(1)
    config = replace(find(name).config.for_dataset(data), embed_dim=12, **changes)
    return build(name, config).eval()


def call(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch.inputs, masks=batch.masks)[0]


def without(batch: Batch, *absent: str, fill: float = 0.0) -> Batch:
    """The same batch with some streams absent for all samples, by their masks."""
    inputs, masks = dict(batch.inputs), dict(batch.masks)
    for key in absent:
        masks[key] = torch.zeros_like(masks[key])
        inputs[key] = torch.full_like(inputs[key], fill)
    return batch._replace(inputs=inputs, masks=masks)
