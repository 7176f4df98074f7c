"""Modality dropout: in training, take streams away, so that none is leant on alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmlib.layers.masks import all_real

Inputs = dict[str, Tensor]
Masks = dict[str, Tensor]


class ModalityDropout(nn.Module):
    """Take streams away from samples in training; at evaluation everything passes as it is.

    ``form="drop"``: each sample loses each stream with probability ``rate``, but never the last one
    that it has. What is lost is zero and its mask is False: just as an absent stream.

    ``form="copies"``: of two streams, every sample comes back four times: as it is; one stream
    scaled by c and the other by 1 - c, with c drawn from [0, 1) for each sample; the first stream
    zeroed; the second stream zeroed. The batch is four times as long, copy after copy, and the
    masks stay: silence and darkness, not absence. ``CrossEntropy(logits, labels.repeat(4))`` learns
    from all of them.

    Args:
        form: ``"drop"`` or ``"copies"``.
        rate: of ``"drop"``.

    Shape:
        - inputs: name -> (B, T, ...), any number of streams (``"copies"``: two); masks: name ->
          (B, T) bool, True where a step is real, a name left out is all real, or None
        - returns: inputs and masks, every mask filled in: (B, ...), or (4 B, ...) of copies

    Source:
        The public code of AVT-CA; the paper does not mention it.

    Choices:
        A-33: ``"copies"`` is what that code calls "softhard"; ``"drop"`` costs nothing. The copies
        come in order: no layer but batch norm sees the batch, and that does not see an order.

    Raises:
        ValueError: an unknown form, a rate outside [0, 1), or copies of other than two streams.
    """

    def __init__(self, *, form: Literal["drop", "copies"] = "drop", rate: float = 0.2) -> None:
        """Keep the form and the rate; see the class."""
        super().__init__()
        if form not in ("drop", "copies"):
            raise ValueError(f"form={form!r} is unknown; expected 'drop' or 'copies'.")
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"rate={rate}; expected a probability from 0 to below 1.")
        self.form, self.rate = form, rate

    def forward(self, inputs: Inputs, masks: Masks | None = None) -> tuple[Inputs, Masks]:
        """Take streams away in training; see the class."""
        masks = {
            name: all_real(x) if masks is None or name not in masks else masks[name]
            for name, x in inputs.items()
        }
        if not self.training:
            return dict(inputs), masks
        return _copies(inputs, masks) if self.form == "copies" else self._drop(inputs, masks)

    def extra_repr(self) -> str:
        """Show the form, and the rate where it counts."""
        return f"form={self.form!r}" + (f", rate={self.rate}" if self.form == "drop" else "")

    def _drop(self, inputs: Inputs, masks: Masks) -> tuple[Inputs, Masks]:
        present = torch.stack([mask.any(1) for mask in masks.values()], dim=1)  # (B, M)
        draw = torch.rand_like(present, dtype=torch.float32)
        # A sample that would lose all that it has keeps the stream with the luckiest draw.
        luckiest = torch.where(present, draw, -1.0).argmax(1, keepdim=True)
        kept = (draw >= self.rate).scatter(1, luckiest, True)
        streams = zip(inputs, kept.unbind(1), strict=True)
        out, left = {}, {}
        for name, keep in streams:
            x = inputs[name]
            out[name] = x.masked_fill(~keep.reshape(-1, *[1] * (x.ndim - 1)), 0.0)
            left[name] = masks[name] & keep[:, None]
        return out, left


def _copies(inputs: Inputs, masks: Masks) -> tuple[Inputs, Masks]:
    if len(inputs) != 2:
        raise ValueError(
            f"form='copies' scales two streams against each other, but {len(inputs)} came "
            f"({', '.join(inputs)}); give two, or use form='drop'."
        )
    first, second = inputs.values()
    share = torch.rand_like(first.reshape(len(first), -1)[:, 0], dtype=torch.float32)  # c, (B,)
    parts = (
        (first, _scaled(first, share), torch.zeros_like(first), first),
        (second, _scaled(second, 1 - share), second, torch.zeros_like(second)),
    )
    out = {name: torch.cat(part) for name, part in zip(inputs, parts, strict=True)}
    return out, {name: mask.repeat(len(parts[0]), 1) for name, mask in masks.items()}


def _scaled(x: Tensor, share: Tensor) -> Tensor:
    return x * share.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
