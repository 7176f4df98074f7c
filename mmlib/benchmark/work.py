"""The work in a step: which operations torch is asked for, how many products, how many bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

#: One operation each in torch, and its counter does not know them: whole recurrent layers, and the
#: fused attention of a CPU.
_UNCOUNTED = ("mkldnn_rnn_layer", "_cudnn_rnn", "_scaled_dot_product_flash_attention_for_cpu")
#: Operations that neither read nor write, although torch does not call them views.
_STILL = ("_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "lift_fresh")
#: Operations that write the whole of their first tensor without a look at it.
_OVERWRITING = ("copy_", "zero_", "fill_", "bernoulli_", "uniform_", "normal_", "random_")
#: Operations that read no more of their first tensor than they give.
_GATHERING = ("embedding", "index_select", "gather", "index")


class _Spec(tuple):
    """A tensor's shape, strides, dtype and device, and, where it is a parameter, its address."""


class Recorder(TorchDispatchMode):
    """Write down what torch is asked to do: the heavy products, and the bytes of everything else.

    Attributes:
        products: (operation, arguments with `_Spec` in the place of tensors) -> how often.
        other_bytes: what all other operations read and write, each once; views, and memory that
            is only set aside, cost nothing.
    """

    def __init__(self, parameters: Iterable[Tensor] = ()) -> None:
        """Start at nothing.

        Args:
            parameters: what a replay shall read where the step read it. Any other tensor may be
                replaced by one of its kind, but each weight must come from the memory.
        """
        super().__init__()
        self._own = {x.untyped_storage().data_ptr() for x in parameters}
        self.kept: dict[_Spec, Tensor] = {}
        self.products: Counter[Any] = Counter()
        self.arguments: dict[Any, Any] = {}
        self.other_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note a call and pass it on."""
        out = func(*args, **(kwargs or {}))
        if is_product(func):
            given = tree_map(self._spec, (args, kwargs or {}))
            key = (func, repr(given))
            self.products[key] += 1
            self.arguments[key] = given
        else:
            self.other_bytes += _moved(func, (args, kwargs), out)
        return out

    def _spec(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        own = leaf.untyped_storage().data_ptr() in self._own
        address = leaf.data_ptr() if own else 0
        spec = _Spec((tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device, address))
        if own:
            self.kept[spec] = leaf.detach()
        return spec


def is_product(func: Any) -> bool:
    """Say whether an operation is matrix products, convolutions, attention or a recurrent layer."""
    return func.overloadpacket in flop_registry or _plain_name(func) in _UNCOUNTED


def record(step: Callable[[], object], parameters: Iterable[Tensor] = ()) -> Recorder:
    """Run a step and note what it asked for."""
    with Recorder(parameters) as recorder:
        step()
    return recorder


def replay(recorder: Recorder) -> Callable[[], None]:
    """Return a function that runs the recorded products alone, on tensors of the same kind.

    Tensors of one kind are shared, so that the memory stays small; parameters are themselves.
    """
    made: dict[Any, Tensor] = dict(recorder.kept)

    def tensor(leaf: Any) -> Any:
        if not isinstance(leaf, _Spec):
            return leaf
        if leaf not in made:
            shape, strides, dtype, device, _ = leaf
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
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        aten.convolution_backward: _convolution_backward,
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


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Two products: the scores, and the weighted values."""
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Five products: the scores once more, and the gradients of all that went into two."""
    return int(sdpa_backward_flop_count(grad, query, key, value))


def _convolution_backward(
    grad: Any, x: Any, weight: Any, *given: Any, out_shape: Any = None, **_: Any
) -> int:
    """As much as forward for each gradient asked for; torch's own count is wrong for groups."""
    transposed, asked = given[4], given[-1]
    each = int(conv_flop_count(x, weight, grad, transposed=transposed))
    return each * (bool(asked[0]) + bool(asked[1]))


def _plain_name(func: Any) -> str:
    return str(func.overloadpacket.__name__).removesuffix("_backward")


def _is_spec(leaf: Any) -> bool:
    return isinstance(leaf, _Spec)


def _moved(func: Any, given: Any, out: Any) -> int:
    """Tell how many bytes an operation has to read and to write, each once."""
    name = str(func.overloadpacket.__name__)
    if func.is_view or torch.Tag.inplace_view in func.tags or name in _STILL:
        return 0
    if name.startswith(("empty", "new_empty")):
        return 0
    read, written = _tensors(given), _tensors(out)
    if name in _OVERWRITING:
        read = read[1:]
    elif name in _GATHERING:
        read = [*read[1:], *written]
    return sum(map(_bytes, read)) + sum(map(_bytes, written))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def _bytes(x: Tensor) -> int:
    """Tell a tensor's bytes; what is expanded stands in memory once."""
    places = [size for size, jump in zip(x.shape, x.stride(), strict=True) if jump]
    return x.element_size() * prod(places) if x.numel() else 0
