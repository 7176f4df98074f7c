"""A run's folder: what was trained on what, and the way back from the folder to the model."""

from __future__ import annotations

import dataclasses
import os
import platform
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mmlib
from mmlib.data import FeatureError, FeatureSet, Standardised
from mmlib.systems import build, find
from mmlib.training import checkpoints
from mmlib.training.checkpoints import CheckpointError
from mmlib.training.trainer import BEST, LAST

CONFIG = "config.json"


def describe(system: str, config: Any, features: FeatureSet, source: str) -> dict[str, Any]:
    """Say what a run is made of, as JSON."""
    return {
        "system": system,
        "config": dataclasses.asdict(config),
        "data": {"source": source, "fingerprint": features.fingerprint(), "samples": len(features)},
        "streams": features.widths,
        "whole_numbers": features.whole_numbers,
        "class_names": features.class_names,
        "label_step": features.label_step,
        "versions": {
            "mmlib": mmlib.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def start(folder: Path, about: dict[str, Any], resume: bool) -> None:
    """Write config.json, or see that a run that is resumed is the same.

    Raises:
        CheckpointError: the folder's run is of another system, setting or data.
    """
    path = folder / CONFIG
    if resume and path.is_file():
        before = checkpoints.read_json(path)
        now = _plain(about)
        for key in ("system", "streams", "class_names", "config"):
            if before.get(key) != now[key]:
                raise CheckpointError(
                    f"the run in {folder} has another {key} than this command asks for; resume it "
                    "with the same options, or choose another folder."
                )
        if before.get("data", {}).get("fingerprint") != now["data"]["fingerprint"]:
            raise CheckpointError(
                f"the data are not those that the run in {folder} was started with; resume it with "
                "the same file, or choose another folder."
            )
    elif not (folder / LAST).exists() and int(os.environ.get("RANK", "0")) == 0:
        checkpoints.write_json(path, about)


def load_run(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build a run's model with its best weights (without a valid split, the last).

    Raises:
        CheckpointError: the folder holds no run, or a damaged one.
    """
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} holds no run (there is no {CONFIG}); train one first.")
    about = checkpoints.read_json(folder / CONFIG)
    try:
        system, widths = about["system"], about["streams"]
        values = {name: _tuples(value) for name, value in about["config"].items()}
        config = find(system).config(**values)
        if getattr(config, "weights", None) is not None:  # the run's own weights stand for them
            config = dataclasses.replace(config, weights=None)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / CONFIG} does not describe a run ({error}).") from None
    model = Standardised(model=build(system, config), widths=widths)
    if (folder / BEST).exists():
        path = folder / BEST
        weights, _ = checkpoints.load_tensors(path)
    else:
        path = folder / LAST
        tensors, _ = checkpoints.load_tensors(path)
        weights = {k.removeprefix("model."): v for k, v in tensors.items() if k[:6] == "model."}
    checkpoints.load_weights(model, weights, path)
    return model, about


def fitted(features: FeatureSet, about: dict[str, Any]) -> FeatureSet:
    """Take from a feature set what a run was trained on.

    Raises:
        FeatureError: a stream is missing or of another width, or it or the labels mean something
            else.
    """
    for name, width in about["streams"].items():
        if name not in features.widths:
            raise FeatureError(
                f"the run was trained on {', '.join(about['streams'])}, but {features.name} has no "
                f"'{name}'; it has {', '.join(features.modalities)}."
            )
        if features.widths[name] != width:
            raise FeatureError(
                f"'{name}' has {features.widths[name]} features a step in {features.name}, but the "
                f"run was trained on {width}; make the features in the same way."
            )
        if (name in features.whole_numbers) != (name in about.get("whole_numbers", ())):
            kinds = ("quantities", "whole numbers such as tokens")
            here, there = kinds if name not in features.whole_numbers else kinds[::-1]
            raise FeatureError(
                f"'{name}' holds {here} in {features.name}, but the run was trained on {there}; make "
                "the features in the same way."
            )
    theirs = about["class_names"]
    ours = None if features.class_names is None else list(features.class_names)
    if ours != theirs:
        raise FeatureError(
            f"the run knows {_classes(theirs)}, but {features.name} has {_classes(ours)}."
        )
    if ours is None and features.num_outputs != about["config"].get("num_outputs", 0):
        raise FeatureError(
            f"the run predicts {about['config'].get('num_outputs')} numbers a sample, but "
            f"{features.name} has {features.num_outputs}."
        )
    if features.label_step != about["label_step"]:
        raise FeatureError(
            f"the labels belong to step {features.label_step} in {features.name}, but to step "
            f"{about['label_step']} in what the run was trained on."
        )
    return features.select(list(about["streams"]))


def _classes(names: list[str] | None) -> str:
    return "numbers instead of classes" if names is None else f"the classes {', '.join(names)}"


def _plain(value: Any) -> Any:
    """Turn tuples to lists, as JSON does."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, tuple | list) else value


def _tuples(value: Any) -> Any:
    """Turn lists to tuples, as the frozen configs hold them."""
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value
