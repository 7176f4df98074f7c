"""Several dense layers of one size, side by side in one batched product."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """Several dense layers of one size side by side, each for its own input.

    A weight is stored as (input, output), the other way round than in ``nn.Linear``: batched
    products of few rows are twice as fast so.

    Args:
        layers: how many.
        in_dim: features of what comes in.
        out_dim: features of a block that comes out.
        parts: blocks that come out of a layer, one after the other.

    Shape:
        - x: (layers, N, in_dim) -> (layers, N, parts * out_dim); with `which`, a slice, only these
          layers' inputs and outputs
    """

    def __init__(self, *, layers: int, in_dim: int, out_dim: int, parts: int = 1) -> None:
        """Draw each of `parts` (out_dim, in_dim) blocks of a layer as Xavier says, offsets zero."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(layers, in_dim, parts * out_dim))
        self.bias = nn.Parameter(torch.zeros(layers, 1, parts * out_dim))
        with torch.no_grad():
            for layer in self.weight:
                for block in layer.chunk(parts, dim=-1):
                    nn.init.xavier_uniform_(block)

    def forward(self, x: Tensor, which: slice | None = None) -> Tensor:
        """Apply each layer to its input."""
        if which is None:
            return torch.baddbmm(self.bias, x, self.weight)
        return torch.baddbmm(self.bias[which], x, self.weight[which])
