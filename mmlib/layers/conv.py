"""Convolution over time for batch-first sequences, with padding that stays padding."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmlib.layers.masks import check_mask
from mmlib.layers.transformer import ACTIVATIONS


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm over (batch, time) in which only real steps count.

    Shape:
        - x: (B, T, D); mask: (B, T) bool or None -> (B, T, D)

    Source:
        Ioffe and Szegedy (2015); AVT-CA, Algorithms 1 and 6, have one.

    Choices:
        A-12: `TwoStreamBlock` takes it on request. C-19: what stands at a step that is not real,
        be it NaN, touches no statistic and no other step.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise each feature; in training by the statistics of the real steps."""
        if mask is None or not self.training:
            return super().forward(x.transpose(1, 2)).transpose(1, 2)
        absent = ~mask.unsqueeze(-1)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = mask.sum().to(wide.dtype)
        mean = wide.masked_fill(absent, 0.0).sum((0, 1)) / count.clamp(min=1)
        centred = (wide - mean).masked_fill(absent, 0.0)
        variance = centred.square().sum((0, 1)) / count.clamp(min=1)
        with torch.no_grad():
            # A batch without a real step teaches nothing; no branch, so that no device waits.
            taught = count > 0
            self.num_batches_tracked.add_(taught)  # type: ignore[union-attr]
            if self.momentum is None:  # the mean over all batches, as torch has it
                share = taught / self.num_batches_tracked.clamp(min=1)  # type: ignore[union-attr]
            else:
                share = self.momentum * taught
            unbiased = variance * count / (count - 1).clamp(min=1)
            for kept, new in ((self.running_mean, mean), (self.running_var, unbiased)):
                # Statistics of a half-precision module are half, those of this batch are not.
                kept.lerp_(new.to(kept.dtype), share.to(kept.dtype))  # type: ignore[union-attr]
        out = centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias
        return out.to(x.dtype)


class TemporalConv(nn.Module):
    """Convolve over time, then optionally normalise, activate and max-pool.

    An output step is real where every input step under its window is real, apart from as many
    steps as ``padding`` adds at an end. So a short sequence in a long batch gives exactly what it
    gives alone, and padding never reaches a real step.

    Args:
        in_dim: features of the input.
        out_dim: features of the output.
        kernel_size: steps that one output sees.
        stride: steps from one output to the next.
        padding: ``"same"`` (the length stays, for odd kernels), ``"valid"`` (none), or zeros added
            at either end.
        norm: ``"batch"`` (over real steps), ``"layer"`` (each step by itself) or None.
        activation: ``"relu"``, ``"gelu"`` or None.
        pool_size: steps under the max pooling at the end; 1 means none.
        pool_stride: steps from one pooled output to the next.

    Shape:
        - x: (B, T, in_dim); mask: (B, T) bool, True where a step is real, or None
        - returns: (B, T', out_dim) and its mask (B, T'), or None if none came. Steps that are not
          real are zero. T' = (T + 2 padding - kernel_size) // stride + 1 before pooling.

    Source:
        CA-MMAAET, the convolutional front of each encoder; AVT-CA, Algorithm 1.

    Choices:
        C-19: padding is masked. A-02: norm and activation are optional. A-03: pooling size and
        stride are separate.

    Raises:
        ValueError: ``"same"`` with an even kernel, an unknown name, a sequence that is too short for
            the kernel and the pooling, or a mask that does not fit.
    """

    def __init__(
        self,
        *,
        in_dim: int,
        out_dim: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: Literal["same", "valid"] | int = "same",
        norm: Literal["batch", "layer"] | None = None,
        activation: str | None = "relu",
        pool_size: int = 1,
        pool_stride: int = 1,
    ) -> None:
        """Build the convolution; see the class."""
        super().__init__()
        if padding == "same" and kernel_size % 2 == 0:
            raise ValueError(
                f"padding='same' with kernel_size={kernel_size}: an even kernel has no middle step. "
                "Use an odd kernel, or give padding as a number."
            )
        named = {"same": (kernel_size - 1) // 2, "valid": 0}
        if isinstance(padding, str) and padding not in named:
            raise ValueError(
                f"padding={padding!r} is unknown; expected 'same', 'valid' or a number."
            )
        if norm not in (None, "batch", "layer"):
            raise ValueError(f"norm={norm!r} is unknown; expected 'batch', 'layer' or None.")
        if activation is not None and activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={activation!r} is unknown; expected {', '.join(ACTIVATIONS)} or None."
            )
        zeros = named[padding] if isinstance(padding, str) else padding
        if not 0 <= 2 * zeros < kernel_size:
            raise ValueError(
                f"padding={zeros} on both sides leaves no real step under a kernel of "
                f"{kernel_size}; expected 0 to {(kernel_size - 1) // 2}."
            )
        self.core = kernel_size - 2 * zeros
        self.conv = nn.Conv1d(in_dim, out_dim, kernel_size, stride=stride, padding=zeros)
        self.norm: nn.Module | None = None
        if norm is not None:
            self.norm = MaskedBatchNorm(out_dim) if norm == "batch" else nn.LayerNorm(out_dim)
        self.activation = nn.Identity() if activation is None else ACTIVATIONS[activation]()
        self.pool_size, self.pool_stride = pool_size, pool_stride

    def steps_needed(self, steps: int = 1) -> int:
        """Say how long a sequence must be at least, so that so many steps come out."""
        if self.pool_size > 1:
            steps = (steps - 1) * self.pool_stride + self.pool_size
        return (steps - 1) * self.conv.stride[0] + self.core

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the convolved sequence and its mask; see the class."""
        if x.shape[1] < self.steps_needed():
            pooled = f" and a pooling of {self.pool_size}" if self.pool_size > 1 else ""
            raise ValueError(
                f"The sequence has {x.shape[1]} steps; a kernel of {self.conv.kernel_size[0]} with "
                f"padding {self.conv.padding[0]}{pooled} needs at least {self.steps_needed()}."
            )
        check_mask(x, mask)
        x = self.conv(_clear(x, mask).transpose(1, 2)).transpose(1, 2)  # (B, T', out_dim)
        mask = _shrink(mask, self.core, self.conv.stride[0])
        if isinstance(self.norm, MaskedBatchNorm):
            x = self.norm(x, mask)
        elif self.norm is not None:
            x = self.norm(x)
        x = self.activation(x)
        if self.pool_size > 1:
            x = _max_pool(x, self.pool_size, self.pool_stride)
            mask = _shrink(mask, self.pool_size, self.pool_stride)
        return _clear(x, mask), mask


def _clear(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)


def _max_pool(x: Tensor, size: int, stride: int) -> Tensor:
    """Pool over time as over one row of a picture: torch.compile knows that for any length.

    Of `max_pool1d` it makes a graph for each length.
    """
    rows = x.transpose(1, 2).unsqueeze(2)  # (B, D, 1, T)
    return F.max_pool2d(rows, (1, size), (1, stride)).squeeze(2).transpose(1, 2)


def _shrink(mask: Tensor | None, size: int, stride: int) -> Tensor | None:
    """Slide a window over the mask: the result is real where all of the window is."""
    return None if mask is None else mask.unfold(1, size, stride).all(-1)
