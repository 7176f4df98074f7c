"""How much memory the tensors of a step take while it runs, where no allocator counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class Living(TorchDispatchMode):
    """Follow every storage that is made inside, until nobody holds it any more.

    What was there before, and comes out of an operation only because it was given in, is not counted.

    Attributes:
        most: bytes of all of them together, when they were most.
    """

    def __init__(self) -> None:
        """Start with nothing alive."""
        super().__init__()
        self.most = 0
        # A storage whose weak reference is kept here keeps its number, too, alive or not.
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._known: dict[int, StorageWeakRef] = {}
        self._counted = 0  # bytes of all in _alive, of which some may be gone since

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Pass a call on, and look at what it made."""
        for x in _tensors((args, kwargs)):
            reference = StorageWeakRef(x.untyped_storage())
            if reference.cdata not in self._alive:
                self._known[reference.cdata] = reference
        out = func(*args, **(kwargs or {}))
        for x in _tensors(out):
            storage = x.untyped_storage()
            reference = StorageWeakRef(storage)
            if reference.cdata not in self._known:
                _, before = self._alive.get(reference.cdata, (None, 0))
                self._alive[reference.cdata] = (reference, storage.nbytes())
                self._counted += storage.nbytes() - before
        if self._counted > self.most:  # else there is no need to ask who is gone
            self._forget()
            self.most = max(self.most, self._counted)
        return out

    def _forget(self) -> None:
        """Leave out what nobody holds any more."""
        gone = UntypedStorage._expired  # called for each storage: the wrapper around it costs more
        for key in [key for key in self._alive if gone(key)]:
            self._counted -= self._alive.pop(key)[1]


def foresee(model: nn.Module, step: Callable[[Callable[..., Any]], object]) -> int | None:
    """Tell the most that a step will allocate without allocating it, None where that cannot be told.

    The step is taken by tensors that have shapes and no memory. A model that decides by a tensor's
    values what to do next cannot be asked so.

    Args:
        model: as it stands; neither its parameters nor their gradients change.
        step: takes what to call in the model's place, with tensors from the same place.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        state: dict[str, Tensor] = {
            name: mode.from_tensor(x)
            for name, x in [*model.named_parameters(), *model.named_buffers()]
        }

        def called(**inputs: Tensor) -> Any:
            fake = {name: mode.from_tensor(x) for name, x in inputs.items()}
            return functional_call(model, state, args=(), kwargs=fake)

        with Living() as living:
            try:
                step(called)
            except (RuntimeError, AssertionError):  # whatever it is, the step itself will say so
                return None
    return living.most


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
