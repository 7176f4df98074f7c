"""A GPU's rules without a GPU: what a model is given lies on `meta`, and nothing may meet the CPU.

A tensor that a forward pass makes where it stands, and not where its input lies, goes unnoticed on a
CPU; a number that it reads off a tensor makes a GPU wait. On the device `meta` neither works.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from mmlib.data import Batch

#: Operations that take something from one device to another, which is what they are for.
_CARRIERS = ("aten::_to_copy", "aten::copy_")


class OneDevice(TorchDispatchMode):
    """Refuse any operation between tensors of two devices; a number of no axes may lie anywhere.

    Meta's own kernels look at that in most operations, but not in products, convolutions or
    gathering.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.ndim]
        devices = {str(x.device) for x in given}
        if len(devices) > 1 and func.name().partition(".")[0] not in _CARRIERS:
            raise AssertionError(f"{func} of tensors on {' and '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))


def there(value: Any) -> Any:
    """Take tensors, modules, and what holds tensors, to `meta`."""
    if isinstance(value, torch.nn.Module):
        return value.to("meta")
    if isinstance(value, Batch):
        return Batch(*(there(part) for part in value))
    return tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, value)


def on_one_device(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Tensor]:
    """Call a function, or a module, there; all tensors that come out must lie there, too."""
    function = there(function) if isinstance(function, torch.nn.Module) else function
    without_autocast = patch.object(torch, "autocast", lambda *_, **__: nullcontext())
    with OneDevice(), without_autocast:  # meta has none, not even to be switched off
        found = [
            x for x in tree_leaves(function(*there(args), **there(kwargs))) if isinstance(x, Tensor)
        ]
    assert found and all(x.device.type == "meta" for x in found)
    return found
