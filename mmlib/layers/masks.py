"""Masks of padding: boolean, (batch, time), True where a step is real."""

from __future__ import annotations

import torch
from torch import Tensor


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
