"""Layers whose law under a shuffle of the steps is known, for the permutation test of lesson 04."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmlib.layers import MultiHeadAttention, SinusoidalPositions, TransformerBlock, masked_mean

Layer = Callable[[Tensor], Tensor]


class Apply(nn.Module):
    """A function of a sequence as a module, with whatever weights it needs."""

    def __init__(self, function: Layer, *held: nn.Module) -> None:
        """Keep the function, and the modules it calls."""
        super().__init__()
        self.function, self.held = function, nn.ModuleList(held)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> whatever the function gives."""
        return self.function(x)


def convolution(weight: Tensor, mode: str) -> Layer:
    """A convolution over time with one kernel (3,) for all features, zeros or the far end outside."""

    def apply(x: Tensor) -> Tensor:
        padded = F.pad(x.mT, (1, 1), mode=mode)  # (B, D, T + 2)
        return (padded.unfold(-1, 3, 1) @ weight).mT

    return apply


def layers_to_judge(width: int) -> list[tuple[nn.Module, str, str, int]]:
    """Modules, their law, what they are in words, and the hint that helps."""
    block = TransformerBlock(embed_dim=width, num_heads=2, dropout=0.3)
    quiet = TransformerBlock(embed_dim=width, num_heads=2, dropout=0.0)
    asking = MultiHeadAttention(query_dim=width, num_heads=2)
    questions = torch.randn(1, 4, width)
    gru = nn.GRU(width, width, batch_first=True)
    codes = SinusoidalPositions()
    symmetric, even = torch.tensor([0.5, 1.0, 0.5]), torch.tensor([1.0, -2.0, 0.5])

    def mark_last(x: Tensor) -> Tensor:
        return x + F.one_hot(torch.tensor(x.shape[1] - 1), x.shape[1]).to(x)[:, None]

    def ask(x: Tensor) -> Tensor:
        return asking(questions.expand(len(x), -1, -1), x)

    def over_time(x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-3)

    def everywhere(x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True).expand_as(x)

    return [
        (quiet, "equivariant", "a transformer block", 1),
        (Apply(masked_mean), "invariant", "the mean over time, which returns (B, D)", 1),
        (Apply(lambda x: gru(x)[0], gru), "neither", "a recurrent layer", 2),
        (
            Apply(lambda x: quiet(codes(x)), quiet),
            "neither",
            "a transformer block behind position codes",
            2,
        ),
        (Apply(ask, asking), "invariant", "four learnt queries that ask the sequence", 3),
        (block, "equivariant", "a block with dropout, left in training mode", 3),
        (Apply(everywhere), "invariant", "the mean, repeated at every step", 3),
        (Apply(over_time), "equivariant", "each feature standardised over time", 2),
        (
            Apply(convolution(symmetric, "constant")),
            "neither",
            "a convolution whose kernel is the same forwards and backwards",
            3,
        ),
        (
            Apply(convolution(even, "circular")),
            "neither",
            "a convolution that runs round the end of the sequence",
            3,
        ),
        (Apply(mark_last), "neither", "a layer that marks the last step and no other", 3),
        (
            Apply(lambda x: x + 0.01 * (codes(x) - x)),
            "neither",
            "position codes a hundred times fainter",
            3,
        ),
        (Apply(lambda x: x[:, -1]), "neither", "the last step, (B, D)", 2),
    ]
