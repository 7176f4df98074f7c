"""Losses, and what a system that is trained in its own way tells the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

Loss = Callable[[Any, Any], Tensor]
PartedLoss = Callable[[Any, Any], Tensor | dict[str, Tensor]]


class Phase(NamedTuple):
    """One step that a system wants taken for a batch: which parameters reduce which loss.

    A system without an opinion is trained in one phase over all its parameters. One that is (an
    adversarial autoencoder, say) defines `phases() -> list[Phase]`; for each batch the phases are
    taken in order, each with a fresh forward pass and an optimiser of its own. What is not among a
    phase's parameters stands still in it and gets no gradient.

    Attributes:
        name: a column of the history, `loss_<name>`, where the loss has no named parts.
        parameters: what this phase may change; the rest stays as it is.
        loss: `loss(output, batch)`, the mean over the batch's samples; or several of them by name,
            whose weighted sum is reduced and each of which is a column `loss_<part>`.
        learning_rate: a factor on the learning rate of `fit`.
        every, first: the phase is taken for the batches `first`, `first + every`, ... of a training.
        weights: what a named part counts in the sum; 1 where it is not named.
    """

    name: str
    parameters: Iterable[Parameter]
    loss: PartedLoss
    learning_rate: float = 1.0
    every: int = 1
    first: int = 0
    weights: Mapping[str, float] | None = None

    def losses(self, output: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute what is reduced, and its parts by name."""
        found = self.loss(output, batch)
        if isinstance(found, Tensor):
            return found, {self.name: found}
        weights = self.weights or {}
        weighted = [weights.get(name, 1.0) * value for name, value in found.items()]
        return torch.stack(weighted).sum(), found


def cross_entropy(logits: Tensor, batch: Any) -> Tensor:
    """Average the cross-entropy over samples, each counted by `batch.weights` where there are some.

    The weighted sum is divided by the number of samples, not by the sum of their weights as torch's
    own weighted loss is: so the loss of a batch stays the mean of its parts' losses, in however many
    parts or processes it is computed.

    Shape:
        logits: `(B, C)`, or `(k B, C)` where the batch came k times, copy after copy.
        returns: a scalar, in float32.
    """
    copies = len(logits) // len(batch.labels)
    weights = getattr(batch, "weights", None)
    labels = batch.labels.repeat(copies)
    if weights is None:
        return F.cross_entropy(logits.float(), labels)
    each = F.cross_entropy(logits.float(), labels, reduction="none")
    return (each * weights.repeat(copies)).mean()


def default_loss(output: Any, batch: Any) -> Tensor:
    """Take `cross_entropy` for classes, and 1 - concordance for numbers, averaged over the targets.

    The concordance is that of the batch, so a batch should be large enough to vary. A tenth of the
    mean squared error gives a direction where the concordance has none yet.

    Shape:
        output: its first entry is `(B, C)` logits, or predictions of the labels' shape, `(B, K)` or
            `(B, T, K)`, of which the real steps count.
        returns: a scalar, in float32 or better.
    """
    if not batch.labels.is_floating_point():
        return cross_entropy(output[0], batch)
    prediction, mask = output[0].float(), batch.label_mask
    keep = torch.ones_like(prediction[..., 0], dtype=torch.bool) if mask is None else mask
    # Before the square: a label that does not count may be NaN, and so would the gradient be.
    error = torch.where(keep[..., None], prediction - batch.labels, 0.0).square().sum()
    error = error / (keep.sum().clamp(min=1) * prediction.shape[-1])
    return concordance_loss(prediction, batch.labels, mask, per_target=True) + 0.1 * error


def concordance_loss(
    prediction: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    *,
    per_target: bool = False,
    eps: float = 1e-8,
) -> Tensor:
    """Compute 1 - Lin's concordance correlation coefficient.

    The coefficient belongs to a set of elements, not to one element: a batch of one sample has
    nothing to agree about, and the loss is 1 there with a gradient that is finite.

    Shape:
        prediction, target: the same, any; mask: the same or without the last axes, True = keep.
        returns: a scalar, in float32 or better.

    Args:
        prediction: what the model says.
        target: what is true.
        mask: what to keep; None keeps all.
        per_target: one coefficient for each entry of the last axis, averaged, instead of one over
            all elements.
        eps: added to the denominator, so that constants have a loss and a gradient.

    Choices:
        J-03, J-04: the covariance form with population statistics.

    Raises:
        ValueError: shapes that do not fit.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)} but target {tuple(target.shape)}; "
            "give both in one shape."
        )
    dtype = torch.promote_types(torch.promote_types(prediction.dtype, target.dtype), torch.float32)
    x, y = prediction.to(dtype), target.to(dtype)
    keep = torch.ones_like(x, dtype=torch.bool)
    if mask is not None:
        if mask.dtype != torch.bool or mask.shape != x.shape[: mask.ndim]:
            raise ValueError(
                f"the mask is {mask.dtype} of shape {tuple(mask.shape)}, expected bool of the "
                f"first axes of {tuple(x.shape)}."
            )
        keep = keep & mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim))
    axes = tuple(range(x.ndim - 1)) if per_target and x.ndim > 1 else tuple(range(x.ndim))
    count = keep.sum(axes, keepdim=True).clamp(min=1)

    def mean(values: Tensor) -> Tensor:  # `where` and not a product: a dropped NaN stays out
        return torch.where(keep, values, 0.0).sum(axes, keepdim=True) / count

    x, y = torch.where(keep, x, 0.0), torch.where(keep, y, 0.0)
    mean_x, mean_y = mean(x), mean(y)
    dx, dy = x - mean_x, y - mean_y
    apart = (mean_x - mean_y) ** 2
    coefficient = 2 * mean(dx * dy) / (mean(dx**2) + mean(dy**2) + apart + eps)
    return 1 - coefficient.mean()
