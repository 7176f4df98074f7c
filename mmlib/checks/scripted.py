"""What lesson 13's checks put in the place of trained models: blocks, and one that is right by script."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmlib.checks.expect import Fresh
from mmlib.layers import CrossModalTransformer


def six_blocks(
    fresh: Fresh, widths: Mapping[str, int], embed_dim: int
) -> dict[tuple[str, str], CrossModalTransformer]:
    """Build a block for each ordered pair (source, target), with norms as after training."""
    blocks = {}
    for source, target in itertools.permutations(widths, 2):
        block = CrossModalTransformer(
            target_dim=widths[target],
            source_dim=widths[source],
            embed_dim=embed_dim,
            num_heads=2,
            dropout=0.0,
        )
        for part in block.modules():
            if isinstance(part, nn.LayerNorm):
                part.weight.data = fresh.uniform(embed_dim, low=0.5, high=1.5)
                part.bias.data = fresh.normal(embed_dim)
        blocks[source, target] = block.eval()
    return blocks


class Said(NamedTuple):
    """What a stub of a model returns."""

    logits: Tensor


class Scripted(nn.Module):
    """Is right for a chosen share of the samples under each pattern of streams, and counts its calls.

    It looks at the masks alone, as a system that handles absent streams does; a stream that is left
    out of the call is absent too. Where a sample has none, it refuses, as EmbraceNet does.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        shares: Mapping[tuple[bool, ...], int],
        labels: Tensor,
        classes: int,
    ) -> None:
        """Keep what to be right about."""
        super().__init__()
        self.names, self.shares, self.labels, self.classes = names, dict(shares), labels, classes
        self.calls: list[tuple[bool, ...]] = []

    def forward(self, masks: Mapping[str, Tensor] | None = None, **inputs: Tensor) -> Said:
        """Answer the first so many samples rightly and the others with the next class."""
        if masks is None or not set(inputs) <= set(masks):
            raise ValueError("the model wants a mask for each stream that it is given")
        there = [name in inputs and bool(masks[name].any()) for name in self.names]
        if not any(there):
            raise ValueError("no sample has any stream to draw from")
        pattern = tuple(there)
        self.calls.append(pattern)
        right = torch.arange(len(self.labels)) < self.shares[pattern]
        said = torch.where(right, self.labels, (self.labels + 1) % self.classes)
        return Said(nn.functional.one_hot(said, self.classes).float() - 2.0)
