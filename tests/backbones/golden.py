"""What a public checkpoint expects of a backbone: names, shapes, and outputs to compare with."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from torch import Tensor, nn


class Case(NamedTuple):
    """One set of computed weights and inputs, with the outputs that they must give."""

    weights: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, np.ndarray]
    stages: list[tuple[str, list[int]]]
    moments: np.ndarray
    steps: dict[str, int]

    def error(self, name: str, actual: Tensor) -> float:
        """Measure the largest difference, as a share of the largest value."""
        found = actual.detach().float().reshape(-1)[:: self.steps[name]].numpy()
        assert found.shape == self.outputs[name].shape
        return float(np.abs(found - self.outputs[name]).max() / np.abs(self.outputs[name]).max())

    def compare(self, kept: dict[str, Tensor]) -> None:
        """Hold shapes, means and deviations of the stages, and the outputs, against what is kept."""
        for (name, shape), (mean, std) in zip(self.stages, self.moments.tolist(), strict=True):
            assert list(kept[name].shape) == shape, name
            assert kept[name].mean().item() == pytest.approx(mean, abs=1e-5 * std), name
            assert kept[name].std().item() == pytest.approx(std, rel=1e-5), name
        for name in self.outputs:
            assert self.error(name, kept[name]) < 1e-5, name


class Golden:
    """The facts of one backbone; `folder` is the fixture `shared_facts`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder = name, folder
        self.facts: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
        spec = importlib.util.spec_from_file_location("fill", folder / "golden" / "fill.py")
        self.recipes = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.recipes)

    def table(self) -> list[list[Any]]:
        """List name, shape and type of every entry, sorted."""
        return sorted(self.facts["state_dict"])

    def filled(self, model: nn.Module, seed: int) -> dict[str, Tensor]:
        """Compute weights from names, element indices and a seed."""
        return self.recipes.fill(model.state_dict(), seed)

    def cases(self, model: nn.Module) -> Iterator[Case]:
        """Give each recorded case for a model of these names."""
        stored = np.load(self.folder / "golden" / f"{self.name}.npz", allow_pickle=False)
        for case, recipe in json.loads(str(stored["recipe"]))["cases"].items():
            seed = recipe["seed"]
            inputs = {
                name: self.recipes.example(name, tuple(how["shape"]), seed, how["scale"])
                for name, how in recipe["inputs"].items()
            }
            yield Case(
                self.filled(model, seed),
                inputs,
                {name: stored[f"{case}.{name}"] for name in recipe["outputs"]},
                [(name, shape) for name, shape in recipe["stages"]],
                stored[f"{case}.stages"],
                {name: how["step"] for name, how in recipe["outputs"].items()},
            )


def table_of(model: nn.Module) -> list[list[Any]]:
    """List name, shape and type of every entry of a model, sorted, as the facts do."""
    return sorted([k, list(v.shape), str(v.dtype)[6:]] for k, v in model.state_dict().items())
