"""Run convolutions and batch norms in a row with little memory: same numbers, fewer copies kept.

Batch norm must see its input again in the backward pass, and the convolution after it must see its
output again, so that autograd keeps both. But the output is one cheap pass over the input away:
here only the input is kept, and the output is computed once more when the backward pass needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

aten = torch.ops.aten


class _Group(NamedTuple):
    """What follows a convolution, up to and with the next one."""

    norm: nn.BatchNorm2d
    rectified: bool
    then: nn.Conv2d | nn.MaxPool2d | None


def run(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Apply layers one after the other, as `torch.nn.Sequential` does.

    In training on a CPU, each batch norm with the ReLU after it and the convolution or max pooling
    after that is one step of autograd, which keeps the batch norm's input only. Forward hooks of
    these batch norms and ReLUs do not fire then; gradients of gradients are refused.

    Shape:
        - x: (N, C, H, W) -> what the layers make of it
    """
    layers = list(layers)
    if not _worth_it(layers, x):
        for layer in layers:
            x = layer(x)
        return x
    for part in _grouped(layers):
        if isinstance(part, _Group):
            norm, then = part.norm, part.then
            kernel = then.weight if isinstance(then, nn.Conv2d) else None
            offset = then.bias if isinstance(then, nn.Conv2d) else None
            assert norm.num_batches_tracked is not None  # as `_worth_it` has seen
            norm.num_batches_tracked.add_(1)
            x = _NormThen.apply(x, norm.weight, norm.bias, kernel, offset, part)
        else:
            x = part(x)
    return x


def _worth_it(layers: list[nn.Module], x: Tensor) -> bool:
    norms = [layer for layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    return (
        x.device.type == "cpu"  # CUDA has kernels of its own for what is joined here
        and len(x) > 1  # torch's batch norm refuses a single value, and says why
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and all(
            type(norm) is nn.BatchNorm2d
            and norm.training
            and norm.affine
            and norm.track_running_stats
            and norm.momentum is not None
            for norm in norms
        )
    )


def _grouped(layers: list[nn.Module]) -> Iterator[nn.Module | _Group]:
    place = 0
    while place < len(layers):
        layer = layers[place]
        place += 1
        if not isinstance(layer, nn.BatchNorm2d):
            yield layer
            continue
        rectified = place < len(layers) and isinstance(layers[place], nn.ReLU)
        place += rectified
        then = layers[place] if place < len(layers) else None
        joins = _joins(then)
        place += joins
        yield _Group(layer, rectified, then if joins else None)  # type: ignore[arg-type]


def _joins(layer: nn.Module | None) -> bool:
    """Say whether the backward pass below knows all that a layer does."""
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.MaxPool2d) and all(
        isinstance(side, int)
        for side in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )


class _NormThen(torch.autograd.Function):
    """Batch norm, ReLU, and a convolution or a max pooling, of which only the input is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        kernel: Tensor | None,
        offset: Tensor | None,
        group: _Group,
    ) -> Tensor:
        norm = group.norm
        assert norm.momentum is not None
        out, mean, inverse = torch.native_batch_norm(
            x, scale, shift, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps
        )
        ctx.group = group
        ctx.save_for_backward(x, scale, shift, kernel, offset, mean, inverse)
        if group.rectified:
            out.relu_()
        return out if group.then is None else group.then(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, kernel, offset, mean, inverse = ctx.saved_tensors
        norm, rectified, then = ctx.group
        middle: Tensor | None = None
        if rectified or then is not None:
            variance = inverse.pow(-2) - norm.eps
            middle, *_ = torch.native_batch_norm(
                x, scale, shift, mean, variance, False, 0.0, norm.eps
            )
            if rectified:
                middle.relu_()
        grad_kernel = grad_offset = None
        if isinstance(then, nn.Conv2d):
            grad, grad_kernel, grad_offset = aten.convolution_backward(
                grad, middle, kernel, None if offset is None else [len(offset)],
                then.stride, then.padding, then.dilation, False, [0, 0], then.groups,
                [True, ctx.needs_input_grad[3], ctx.needs_input_grad[4]],
            )  # fmt: skip
        elif isinstance(then, nn.MaxPool2d):
            window = [
                [side] * 2 for side in (then.kernel_size, then.stride, then.padding, then.dilation)
            ]
            _, places = aten.max_pool2d_with_indices(middle, *window, then.ceil_mode)
            grad = aten.max_pool2d_with_indices_backward(
                grad, middle, *window, then.ceil_mode, places
            )
        if rectified:  # into the memory of what was computed again
            grad = aten.threshold_backward.grad_input(grad, middle, 0, grad_input=middle)
        del middle
        grad, grad_scale, grad_shift = aten.native_batch_norm_backward(
            grad, x, scale, norm.running_mean, norm.running_var, mean, inverse, True, norm.eps,
            [True, True, True],
        )  # fmt: skip
        return grad, grad_scale, grad_shift, grad_kernel, grad_offset, None
