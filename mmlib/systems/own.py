"""A fusion in a file of one's own: `my_fusion.py:MyFusion` stands where a system's name does.

The class is made as `MyFusion(widths, num_classes)`, `widths` by stream, and called as
`model(**streams, masks=masks)`; `python -m mmlib contract my_fusion.py:MyFusion` holds it against what
every system keeps to. The file is run when the name is used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Self

from torch import nn

from mmlib.data.feature_set import FeatureSet

_NAME = re.compile(r"(?P<file>.+\.py):(?P<kind>[^\W\d]\w*)")


@dataclass(frozen=True)
class OwnConfig:
    """What a class from a file is made with, and how it is trained.

    Attributes:
        streams: the modalities it takes; widths: their numbers of features.
        num_outputs: how many classes.
        epochs, batch_size, learning_rate, weight_decay: how it is trained by default.
        code: of the file, so that no run is taken for one of a class that has changed since.
    """

    streams: tuple[str, ...]
    widths: tuple[int, ...]
    num_outputs: int
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    code: str = ""

    @classmethod
    def for_dataset(cls, dataset: FeatureSet, scale: str = "small") -> Self:
        """Take streams, widths and classes from the data; a class of one's own has no scales.

        Raises:
            ValueError: the labels are numbers.
        """
        if dataset.task != "classification":
            raise ValueError(
                f"the labels of {dataset.name} are numbers, but a class from a file is made as "
                "MyFusion(widths, num_classes); take classes, or register a system of your own in "
                "mmlib/systems/__init__.py."
            )
        widths = tuple(dataset.widths[name] for name in dataset.modalities)
        return cls(tuple(dataset.modalities), widths, dataset.num_outputs)


def is_own(name: str) -> bool:
    """Say whether a name means a class in a file."""
    return _NAME.fullmatch(name) is not None


class Own(NamedTuple):
    """What a name of the registry would stand for: see `mmlib.systems.System`."""

    config: Any
    model: Any


def read_own(name: str) -> Own:
    """Run the file and make a system of the class in it.

    Raises:
        ValueError: there is no such file, it fails, or it holds no such class.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no class in a file; write my_fusion.py:MyFusion.")
    path = Path(match["file"]).absolute()
    if not path.is_file():
        raise ValueError(f"there is no file {match['file']} in {Path.cwd()}; name it from there.")
    code = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return _system(path, match["kind"], code)


@lru_cache
def _system(path: Path, word: str, code: str) -> Own:
    kind: Any = _class_of(_run(path), path, word)
    fields = {"__annotations__": {"code": "str"}, "code": code, "__doc__": OwnConfig.__doc__}
    config: Any = dataclass(frozen=True)(type("OwnConfig", (OwnConfig,), fields))

    def make(*, config: OwnConfig) -> nn.Module:
        if config.code != code:
            raise ValueError(
                f"{path.name} has changed since this run was trained; train it again, into another "
                "folder."
            )
        return kind(dict(zip(config.streams, config.widths, strict=True)), config.num_outputs)

    return Own(config, make)


def _run(path: Path) -> ModuleType:
    name = f"mmlib_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look a class up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else "?"
        told = str(error).partition(" (")[0] if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"{path.name}, line {line}: {type(error).__name__}: {told}") from error
    return module


def _class_of(module: ModuleType, path: Path, word: str) -> type[nn.Module]:
    found = getattr(module, word, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    kinds = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    here = [
        name
        for name, kind in kinds.items()
        if issubclass(kind, nn.Module) and kind.__module__ == module.__name__
    ]
    told = f"it has {', '.join(here)}" if here else "it has none"
    raise ValueError(f"{path.name} has no class {word} derived from nn.Module; {told}.")


def folder_name(system: str) -> str:
    """Tell by which name a system's runs go into a folder: its own, or the file's and the class's."""
    if not is_own(system):
        return system
    path, _, kind = system.rpartition(":")
    return f"{Path(path).stem}-{kind}"
