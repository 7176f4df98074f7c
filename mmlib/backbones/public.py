"""Files of public weights: read safely, load strictly, or not at all."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmlib.backbones.loading import PretrainedError

HEAD = "fc."
# What a damaged file was seen to make `torch.load` raise, beside an OSError.
_STUMBLES = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AssertionError,
    AttributeError,
    TypeError,
    struct.error,
)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of a file; nothing but tensors is unpickled.

    They may stand under ``state_dict``, and their names may begin with ``module.``.

    Raises:
        PretrainedError: no such file, or one that holds something else.
    """
    path = Path(path).expanduser()
    try:
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = error.strerror or "not found"
        raise PretrainedError(f"{path} cannot be read ({reason}).") from None
    except _STUMBLES as error:
        if isinstance(error, pickle.UnpicklingError) and _was_saved(path):
            raise PretrainedError(
                f"{path} holds more than tensors, and to unpickle that would run code from the file. "
                "Re-save its state dict alone where you trust it: torch.save(checkpoint["
                "'state_dict'], 'weights.pth')."
            ) from None
        raise PretrainedError(
            f"{path} is no file of weights, or a damaged one; fetch it again."
        ) from None
    state = held.get("state_dict", held) if isinstance(held, dict) else held
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise PretrainedError(f"{path} holds no state dict, expected names and their tensors.")
    named = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if len(named) < len(state):
        raise PretrainedError(f"{path} holds entries both with and without the prefix module.")
    return named


def _was_saved(path: Path) -> bool:
    """Say whether a file begins as those of torch.save do: an archive, or formerly a pickle."""
    with open(path, "rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def load_strictly(
    model: nn.Module,
    weights: dict[str, Tensor],
    *,
    head: bool,
    source: object,
    last: str = HEAD,
) -> None:
    """Load every weight into a model, or refuse in one sentence and leave the model as it was.

    Counters of batch norm may be missing, as in old files.

    Args:
        model: with the public names.
        weights: by name.
        head: take the last layer too; without, everything called `last` is left out and the
            model keeps its own.
        source: where the weights come from, for the message.
        last: how the names of the last layer begin.

    Raises:
        PretrainedError: a name or a shape differs.
    """
    own = model.state_dict()
    if not head:
        weights = {name: value for name, value in weights.items() if not name.startswith(last)}
        weights |= {name: value for name, value in own.items() if name.startswith(last)}
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    missing, unknown = sorted(needed - weights.keys()), sorted(weights.keys() - own.keys())
    if wrong := missing + unknown:
        hint = ""
        if all(name.startswith(last) for name in wrong):
            hint = "; take the rest with head=False and train a last layer of your own"
        if any(name.startswith("visual_model.") for name in unknown):
            hint = "; it is a whole AVT-CA, whose trunk is the part named visual_model"
        raise PretrainedError(
            f"{source} does not fit: {len(missing)} of the entries needed are missing and "
            f"{len(unknown)} are unknown, the first is {wrong[0]}{hint}."
        )
    for name, value in weights.items():
        if value.shape != own[name].shape:
            hint = "; with head=False the last layer stays your own" * name.startswith(last)
            raise PretrainedError(
                f"{source} does not fit: {name} is {tuple(value.shape)}, expected "
                f"{tuple(own[name].shape)}{hint}."
            )
    model.load_state_dict(weights, strict=True)
