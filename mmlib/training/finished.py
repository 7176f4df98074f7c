"""Trainings that are done once: what was asked for stands beside what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmlib.data import FeatureSet
from mmlib.systems import find
from mmlib.systems.own import is_own
from mmlib.training import checkpoints
from mmlib.training.checkpoints import CheckpointError

DONE = "done.json"
#: What may be chosen for all systems of a comparison alike, beside the recipe.
CHOICES = ("modality_dropout", "class_weights", "sampling", "monitor")


def asked_for(
    system: str, seed: int, features: FeatureSet, training: dict[str, Any]
) -> dict[str, Any]:
    """Tell what makes a training the one that it is, as JSON.

    Args:
        system: its name.
        seed: of weights, order and noise.
        features: what it learns from.
        training: what is passed on to `train_system`.
    """
    precision = training.get("precision", "auto")
    return {
        "system": system,
        **({"code": find(system).config.code} if is_own(system) else {}),
        "seed": seed,
        "data": features.fingerprint(),
        "scale": training.get("scale", "small"),
        "recipe": {k: v for k, v in (training.get("recipe") or {}).items() if v is not None},
        # What an earlier comparison did not know of is None there too.
        "precision": None if precision == "auto" else precision,
        **{name: training.get(name) for name in CHOICES},
    }


def read(place: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Read what a finished training left; None where it is not finished.

    Raises:
        CheckpointError: the folder holds one that was asked for otherwise.
    """
    if not (place / DONE).is_file():
        return None
    about = checkpoints.read_json(place / DONE)
    strange = [name for name in asked if about.get(name) != asked[name]]
    if strange == ["code"]:
        file = Path(asked["system"].rpartition(":")[0]).name
        raise CheckpointError(
            f"{place} was run before {file} was changed; delete that folder, or choose another one."
        )
    if strange:
        raise CheckpointError(
            f"{place} was run with another {' and '.join(strange)} than is asked for now; repeat "
            "the command as it was, or choose another folder."
        )
    return about


def write(place: Path, asked: dict[str, Any], told: dict[str, Any]) -> None:
    """Say that a training is finished, and what came of it."""
    checkpoints.write_json(place / DONE, {**asked, **told})
