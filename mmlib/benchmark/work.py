"""The work in a step: which operations torch is asked for, how many products, how many bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import FlopCounterMode, flop_registry

#: Recurrent layers are one operation each in torch, and its counter does not know them.
_RECURRENT = ("mkldnn_rnn_layer", "_cudnn_rnn", "_thnn_fused_lstm_cell", "_thnn_fused_gru_cell")


class _Spec(tuple):
    """What is needed to make a tensor of the same kind: shape, strides, dtype, device."""


class Recorder(TorchDispatchMode):
    """Write down what torch is asked to do: the heavy products, and the bytes of everything else.

    Attributes:
        products: (operation, arguments with `_Spec` in the place of tensors) -> how often.
        other_bytes: what all other operations read and write, each once.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        super().__init__()
        self.products: Counter[Any] = Counter()
        self.arguments: dict[Any, Any] = {}
        self.other_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note a call and pass it on."""
        out = func(*args, **(kwargs or {}))
        if is_product(func):
            given = tree_map(_spec, (args, kwargs or {}))
            key = (func, repr(given))
            self.products[key] += 1
            self.arguments[key] = given
        elif not func.is_view:
            self.other_bytes += _bytes((args, kwargs)) + _bytes(out)
        return out


def is_product(func: Any) -> bool:
    """Say whether an operation is matrix products, convolutions, attention or a recurrent layer."""
    return func.overloadpacket in flop_registry or _plain_name(func) in _RECURRENT


def record(step: Callable[[], object]) -> Recorder:
    """Run a step and note what it asked for."""
    with Recorder() as recorder:
        step()
    return recorder


def replay(recorder: Recorder) -> Callable[[], None]:
    """Return a function that runs the recorded products alone, on tensors of the same kind.

    Tensors of one kind are shared, so that the memory stays small.
    """
    made: dict[Any, Tensor] = {}

    def tensor(leaf: Any) -> Any:
        if not isinstance(leaf, _Spec):
            return leaf
        if leaf not in made:
            shape, strides, dtype, device = leaf
            count = 1 + sum((size - 1) * jump for size, jump in zip(shape, strides, strict=True))
            x = torch.zeros(max(count, 0), dtype=dtype, device=device)  # one place may serve twice
            x = x.uniform_(-1, 1) if dtype.is_floating_point else x
            made[leaf] = x.as_strided(shape, strides)
        return made[leaf]

    calls = [
        (key[0], *tree_map(tensor, recorder.arguments[key], is_leaf=_is_spec), count)
        for key, count in recorder.products.items()
    ]

    @torch.no_grad()
    def run() -> None:
        for func, args, kwargs, count in calls:
            for _ in range(count):
                func(*args, **kwargs)

    return run


def operations(step: Callable[[], object]) -> int:
    """Count the floating-point operations of a step's products: two for each multiply-add.

    What is no matrix product, convolution, attention or recurrent layer is left out, as is usual.
    """
    aten = torch.ops.aten
    mapping = {
        aten.mkldnn_rnn_layer: _recurrent,
        aten.mkldnn_rnn_layer_backward: _recurrent_backward,
        aten._cudnn_rnn: _recurrent,
        aten._cudnn_rnn_backward: _recurrent_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        step()
    return int(counter.get_total_flops())


def _recurrent(x: Any, *weights: Any, out_val: Any = None, **_: Any) -> int:
    """Two operations a weight, a step and a sample, for every matrix of a recurrent layer.

    Two matrices follow the input on a CPU, a list of all layers' matrices and biases on a GPU.
    """
    shapes = weights[0] if isinstance(weights[0], list) else weights[:2]
    return 2 * x[0] * x[1] * sum(shape[0] * shape[1] for shape in shapes if len(shape) == 2)


def _recurrent_backward(*given: Any, out_val: Any = None, **_: Any) -> int:
    """Both gradients, as those of any other matrix product."""
    return 2 * _recurrent(*given)


def _plain_name(func: Any) -> str:
    return str(func.overloadpacket.__name__).removesuffix("_backward")


def _spec(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return _Spec((tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device))


def _is_spec(leaf: Any) -> bool:
    return isinstance(leaf, _Spec)


def _bytes(tree: Any) -> int:
    return sum(x.nbytes for x in tree_flatten(tree)[0] if isinstance(x, Tensor))
