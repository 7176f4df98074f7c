"""Several processes that give the numbers of one.

A batch is the same set of samples whatever the number of processes: each process takes a contiguous
share of it, and draws of noise are made for the whole batch and cut to the share.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmlib.training.balancing import balanced_order


class Share(NamedTuple):
    """What one process does of a part of a batch.

    Attributes:
        samples: indices into the data set; never empty, since every process must take every step.
        start: the position of the first one in the part.
        total: the number of samples in the part, over all processes.
        counts: how many samples each process really has; 0 where it only keeps step.
    """

    samples: np.ndarray
    start: int
    total: int
    counts: tuple[int, ...]


def epoch_batches(
    count: int, batch_size: int, seed: int, epoch: int, *, labels: np.ndarray | None = None
) -> list[np.ndarray]:
    """Cut an order that depends on nothing but (seed, epoch) into batches.

    It is a permutation; with the samples' `labels` it has as many samples, of each class as many.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(count) if labels is None else balanced_order(labels, rng)
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def shares(batch: np.ndarray, parts: int, rank: int, world: int) -> list[Share]:
    """Cut a batch into parts, one after the other in time, and take this process's share of each."""
    taken = []
    for part in np.array_split(batch, min(parts, len(batch))):
        split = np.array_split(part, world)
        counts = tuple(len(piece) for piece in split)
        mine, start = split[rank], sum(counts[:rank])
        if len(mine) == 0:
            mine, start = part[:1], 0
        taken.append(Share(mine, start, len(part), counts))
    return taken


def gather_rows(local: Tensor, counts: Sequence[int]) -> Tensor:
    """Join the rows of all processes in order; only this process's rows carry a gradient.

    Shape:
        local: `(counts[rank], ...)`; a process with count 0 passes a row that is dropped.
        returns: `(sum(counts), ...)`, the same on every process.
    """
    import torch.distributed as dist

    if local.dtype == torch.bool:  # not every backend carries it
        return gather_rows(local.byte(), counts).bool()
    rank, most = dist.get_rank(), max(counts)
    padded = local.detach().new_zeros(most, *local.shape[1:])
    padded[: counts[rank]] = local.detach()[: counts[rank]]
    everyone = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(everyone, padded)
    rows = [piece[:count] for piece, count in zip(everyone, counts, strict=True)]
    rows[rank] = local[: counts[rank]]
    return torch.cat(rows)


def warn_of_norms(model: nn.Module, world: int, batch_size: int) -> None:
    """Warn, in several processes, of each batch norm that measures one process's share only.

    Norms at evaluation (those of a frozen network) measure nothing. Torch's own remedy,
    `SyncBatchNorm`, exists on GPUs alone and knows no mask, so it cannot stand for all of them.
    """
    kind = nn.modules.batchnorm._BatchNorm
    names = [
        name
        for name, part in model.named_modules()
        if part.training and isinstance(part, kind) and not isinstance(part, nn.SyncBatchNorm)
    ]
    if world > 1 and names:
        warnings.warn(
            f"{len(names)} batch norms (the first: {names[0]}) measure each process's share of a "
            f"batch by itself, some {max(1, batch_size // world)} samples of {batch_size}, so the "
            "numbers are not those of one process; give each a good share (--batch-size), or take "
            "fewer processes.",
            stacklevel=2,
        )


class DrawAsOne(TorchFunctionMode):
    """Make draws of noise the same as if one process had the whole batch.

    Every process starts an epoch from the same generator state. Inside this context, dropout (also
    that of attention weights), `rand_like`, `randn_like` and `bernoulli` of a tensor with this
    process's samples along the first axis, and `rand`, `randn` and `randint` of such a shape, draw
    for the whole batch and keep this process's rows. What has its samples elsewhere (folded with
    steps, say) is drawn by each process for itself, from equal states: such noise is not that of one
    process, nor are statistics that a batch norm takes over a process's share.
    """

    def __init__(self, share: Share) -> None:
        """Remember which rows of the batch are ours."""
        super().__init__()
        self._share = share

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Replace the draws, pass on everything else."""
        kwargs = kwargs or {}
        if func in (torch.rand, torch.randn, torch.randint):
            return self._shaped(func, args, kwargs)
        first = args[0] if args else kwargs.get("input")
        if not isinstance(first, Tensor) or first.ndim == 0:
            return func(*args, **kwargs)
        if len(first) != len(self._share.samples):
            return func(*args, **kwargs)
        if func in (F.dropout, torch.dropout):
            return self._dropout(
                first, *args[1:], **{k: v for k, v in kwargs.items() if k != "input"}
            )
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func in (torch.rand_like, torch.randn_like, torch.bernoulli):
            whole = self._whole(first, fill=func is torch.bernoulli)
            rest = {k: v for k, v in kwargs.items() if k != "input"}
            return self._own(func(whole, *args[1:], **rest))
        return func(*args, **kwargs)

    def _shaped(self, func: Callable, args: tuple, kwargs: dict) -> Any:
        """Draw a tensor of a shape that is given as one argument, as in `torch.rand((5, 3))`."""
        place = next((i for i, one in enumerate(args) if isinstance(one, Sequence)), None)
        shape = () if place is None else tuple(args[place])
        if shape[:1] != (len(self._share.samples),):
            return func(*args, **kwargs)
        assert place is not None
        whole = (self._share.total, *shape[1:])
        return self._own(func(*args[:place], whole, *args[place + 1 :], **kwargs))

    def _dropout(
        self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, **other: Any
    ) -> Tensor:
        """Drop as `torch.nn.functional.dropout` does on a CPU, for the whole batch."""
        if not training or p == 0.0:
            return x
        if p == 1.0:
            return x * 0.0
        kept = self._own(self._whole(x).bernoulli_(1 - p)).div(1 - p)
        return x.mul_(kept) if inplace else x * kept

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """Attend as torch's kernel does on a CPU, which draws inside where it drops weights."""
        if dropout_p == 0.0:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)
        scores = query @ key.mT * query.shape[-1] ** -0.5
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._dropout(scores.softmax(-1), dropout_p) @ value

    def _whole(self, x: Tensor, fill: bool = False) -> Tensor:
        """Make room for the whole batch in the memory order of `x`, which the draws follow."""
        shape = (self._share.total, *x.shape[1:])
        strides = x.stride()
        order = sorted(range(x.ndim), key=lambda axis: (-strides[axis], axis))
        room = x.detach().new_zeros([shape[axis] for axis in order])
        whole = room.permute([order.index(axis) for axis in range(x.ndim)])
        if fill:
            self._own(whole).copy_(x.detach())
        return whole

    def _own(self, whole: Tensor) -> Tensor:
        start = self._share.start
        return whole[start : start + len(self._share.samples)]
