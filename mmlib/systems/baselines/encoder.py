"""One stream's encoder: temporal convolutions, and a summary that keeps what needs no learning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlib.layers import TemporalConv, all_real, masked_max, masked_mean
from mmlib.systems.baselines.config import BaselineConfig


class StreamEncoder(nn.Module):
    """Make states and one summary of a stream by residual temporal convolutions.

    The summary joins the states' mean, maximum and deviation over the real steps with mean and
    deviation of the inputs themselves: with a thousand samples, what is known without learning is
    worth as much as what is learnt. Where the label belongs to one step, that step's state and input
    join too. A stream that is absent for a sample has the summary zero.

    Shape:
        x: `(B, T, D)` (or frames, flattened); mask: `(B, T)` bool or None.
        returns: states `(B, T', E)` with T' = T without patches, summary `(B, E)`.
    """

    def __init__(self, *, in_dim: int, patch: int, depth: int, config: BaselineConfig) -> None:
        """Build `depth` convolutions over steps of `patch` joined inputs."""
        super().__init__()
        width = config.embed_dim
        self.patch, self.label_step = patch, config.label_step
        self.noise, self.gain, self.hide = config.noise, config.gain, config.hide
        self.every_step_counts = config.label_step is not None or config.output_steps is not None
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Sequential(
            nn.Linear(patch * in_dim, width), nn.LayerNorm(width), nn.GELU()
        )
        self.blocks = nn.ModuleList(
            TemporalConv(
                in_dim=width,
                out_dim=width,
                kernel_size=config.kernel_size,
                norm="layer",
                activation="gelu",
            )
            for _ in range(depth)
        )
        here = 0 if config.label_step is None else 1
        parts = (3 + here) * width + (2 + here) * in_dim
        self.summarise = nn.Sequential(nn.Linear(parts, width), nn.LayerNorm(width), nn.GELU())

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode one stream."""
        x = x.flatten(2)
        if self.training:
            x, mask = self._vary(x, mask)
        if mask is not None:  # a patch may hold steps that are not real
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        joined, joined_mask = join_patches(x, mask, self.patch)
        states = self.project(self.input_dropout(joined))
        for block in self.blocks:
            states = states + self.dropout(block(states, joined_mask)[0])
        parts = [masked_mean(x, mask), _deviation(x, mask), masked_mean(states, joined_mask)]
        parts += [masked_max(states, joined_mask), _deviation(states, joined_mask)]
        if self.label_step is not None:
            parts += [self._here(x, mask), self._here(states, joined_mask)]
        summary = self.summarise(self.dropout(torch.cat(parts, dim=-1)))
        if mask is not None:
            summary = summary * mask.any(1, keepdim=True)
        return states, summary

    def _vary(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Play a sample a little differently, and hide a span of it."""
        louder, higher, start = (torch.randn_like(x[:, :1, :1]) for _ in range(3))
        x = play(x, louder * self.gain, higher * self.gain, self.noise)
        span = int(self.hide * x.shape[1])
        if span > 0 and not self.every_step_counts:
            first = torch.special.ndtr(start[..., 0]) * (x.shape[1] - span + 1)  # (B, 1), uniform
            step = torch.arange(x.shape[1], device=x.device)
            seen = (step < first.floor()) | (step >= first.floor() + span)  # (B, T)
            left = seen if mask is None else seen & mask
            # Where nothing real would be left, the sample is shown whole.
            whole = ~left.any(1, keepdim=True)
            mask = left | whole if mask is None else left | (whole & mask)
        return x, mask

    def _here(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Take the labelled step, zero where it is not real."""
        assert self.label_step is not None
        step = min(self.label_step, x.shape[1] - 1)
        return x[:, step] if mask is None else x[:, step] * mask[:, step, None]


def play(x: Tensor, louder: Tensor, higher: Tensor, noise: float) -> Tensor:
    """Play each sample a little louder or softer, higher or lower, with a little noise."""
    return x * (1 + louder) + higher + noise * torch.randn_like(x)


def join_patches(x: Tensor, mask: Tensor | None, patch: int) -> tuple[Tensor, Tensor | None]:
    """Join every `patch` steps of a long stream to one, which is real if any of them is.

    Shape:
        x: `(B, T, D)`, zero where not real; mask: `(B, T)` bool or None.
        returns: `(B, ceil(T / patch), patch * D)` and its mask.
    """
    if patch == 1:
        return x, mask
    missing = -x.shape[1] % patch
    if missing and mask is None:
        mask = all_real(x)
    x = F.pad(x, (0, 0, 0, missing)).unflatten(1, (-1, patch)).flatten(2)
    if mask is not None:
        mask = F.pad(mask, (0, missing)).unflatten(1, (-1, patch)).any(-1)
    return x, mask


def _deviation(x: Tensor, mask: Tensor | None) -> Tensor:
    """Measure each feature's deviation over the real steps; the addend keeps its gradient finite."""
    apart = (x - masked_mean(x, mask).unsqueeze(1)) ** 2
    return (masked_mean(apart, mask) + 1e-5).sqrt()
