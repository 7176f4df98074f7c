"""What the two residual networks of 18 layers share: widths, four layers of two blocks, and scale."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)


def four_layers(block: Callable[..., nn.Module]) -> list[nn.Sequential]:
    """Build four layers of two blocks each; all but the first begin by halving the map.

    Args:
        block: is called with `in_channels`, `out_channels` and `stride`.
    """
    before = (WIDTHS[0], *WIDTHS[:-1])
    return [
        nn.Sequential(
            block(in_channels=inside, out_channels=width, stride=1 if number == 0 else 2),
            block(in_channels=width, out_channels=width, stride=1),
        )
        for number, (inside, width) in enumerate(zip(before, WIDTHS, strict=True))
    ]


def scaled(
    pictures: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Tensor:
    """Bring pictures (..., 3, H, W) in [0, 1] to the mean and deviation of public weights."""
    centre, spread = (torch.tensor(x).to(pictures)[:, None, None] for x in (mean, std))
    return (pictures - centre) / spread
