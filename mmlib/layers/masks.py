"""Masks of padding: boolean, (batch, time), True where a step is real."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def all_real(x: Tensor) -> Tensor:
    """Make the mask of sequences in which every step is real.

    Shape:
        - x: (B, T, ...) -> (B, T) bool, on the same device
    """
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)


def check_mask(x: Tensor, mask: Tensor | None, name: str = "") -> None:
    """Refuse a mask that is not one of these sequences; None says that every step is real.

    Args:
        x: the sequences.
        mask: what came with them.
        name: of the stream, for the message.

    Shape:
        - x: (B, T, ...); mask: (B, T) bool

    Raises:
        ValueError: the mask has another shape or type.
    """
    if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
        raise ValueError(
            f"the mask{name and f' of {name}'} is {mask.dtype} of shape {tuple(mask.shape)}, "
            f"expected torch.bool of {tuple(x.shape[:2])}, True where a step is real."
        )


def zeros_from(module: nn.Module, like: Tensor, *shape: int) -> Tensor:
    """Make the zeros that a module gives where nothing is real, in reach of all its parameters.

    Their gradient is then zero, too, and not left out: several processes, of which one may have
    nothing to do, wait for each other's gradient of every parameter.

    Args:
        module: was not called.
        like: what it would have been called with.
        shape: of the zeros.
    """
    zeros = like.new_zeros(shape)
    learning = (
        [x for x in module.parameters() if x.requires_grad] if torch.is_grad_enabled() else []
    )
    return zeros + 0.0 * sum(x.sum() for x in learning) if learning else zeros
