"""Checkpoints that survive a kill at any moment: safetensors and JSON, replaced whole or not at all.

One file holds everything that belongs to one moment (weights, optimiser state, and as JSON in the
file's header the epoch, the history and the settings), so that there is no moment at which two
files disagree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_PART = ".part"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one sentence."""


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, and put it in place once it is safely on disk.

    Slower than `mmlib.data.whole_file`, which holds against a kill: this holds against a power cut.
    A part that a killed run left is written over, as only one process writes to a run.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + _PART)
    write(part)
    with open(part, "rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(part, path)
    if os.name == "posix":  # the new name itself must reach the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, value: object) -> None:
    """Write JSON that is replaced whole or not at all; a list of plain values takes one line."""
    text = _laid_out(value) + "\n"
    replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def _laid_out(value: object, margin: str = "") -> str:
    """Write JSON with a line for each entry, but a row of numbers as a row."""
    inner = f"{margin}  "
    if isinstance(value, Mapping) and value:
        entries = [f"{json.dumps(str(key))}: {_laid_out(it, inner)}" for key, it in value.items()]
        opening, closing = "{", "}"
    elif isinstance(value, list | tuple) and any(
        isinstance(it, Mapping | list | tuple) for it in value
    ):
        entries = [_laid_out(it, inner) for it in value]
        opening, closing = "[", "]"
    else:
        return json.dumps(value)
    lines = ",\n".join(f"{inner}{entry}" for entry in entries)
    return f"{opening}\n{lines}\n{margin}{closing}"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}).") from None
    except ValueError:
        raise CheckpointError(f"{path} is not JSON, or is damaged.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, expected a JSON object.")
    return value


def save_tensors(path: Path, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Write named tensors, and `info` as JSON in the file's header, in one piece."""
    from safetensors.torch import save_file

    # Cloned, since safetensors refuses names that share memory (tied weights).
    plain = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    header = {"info": json.dumps(info)}
    replace_file(path, lambda part: save_file(plain, part, metadata=header))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}.")
    try:
        with safe_open(path, framework="pt") as stream:
            info = json.loads((stream.metadata() or {})["info"])
            return {name: stream.get_tensor(name) for name in stream.keys()}, info  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged ({error}).") from None


def optimizer_tensors(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten an optimiser's state to names such as `prefix.3.exp_avg`."""
    return {
        f"{prefix}.{index}.{key}": torch.as_tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def load_optimizer(
    prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(f"{prefix}."):
            index, key = name.removeprefix(f"{prefix}.").split(".")
            state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_weights(model: torch.nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Load weights into a model, saying in one sentence what does not fit.

    Raises:
        CheckpointError: a name or shape differs.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(own.keys() | theirs.keys()):
        if own.get(name) != theirs.get(name):
            raise CheckpointError(
                f"the weights in {source} do not fit the model: {name} is {own.get(name)} in the "
                f"model and {theirs.get(name)} in the file; build the model as it was trained."
            )
    model.load_state_dict(dict(tensors))
