"""Train a system by its name: what `train` does once and `compare` many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from mmlib.data import FeatureSet, Standardised
from mmlib.systems import EXPERTS, SYSTEMS, build, find
from mmlib.systems.switches import with_switches
from mmlib.training import runs
from mmlib.training.fitting import fit, seed_everything

#: How a system is trained that says nothing itself.
RECIPE: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "weight_decay": 1e-2,
    "optimizer": "adamw",
    "patience": None,
}

#: Systems in which no stream can be leant on, so that dropping some teaches nothing.
HEEDLESS = {
    "late": "each of its streams learns from its own decision alone",
    "majority": "it looks at no stream",
}


def train_system(
    system: str,
    features: FeatureSet,
    folder: Path,
    *,
    source: str = "",
    scale: str = "small",
    weights: str | None = None,
    switches: Mapping[str, str] | None = None,
    modality_dropout: float | None = None,
    seed: int = 0,
    resume: bool = False,
    recipe: dict[str, Any] | None = None,
    **settings: Any,
) -> tuple[nn.Module, pd.DataFrame]:
    """Train a system on the train split, choose its best epoch on valid, and leave a run's folder.

    Args:
        system: a name in `mmlib.systems.SYSTEMS` or `EXPERTS`.
        features: with a train split; a valid split chooses the best epoch.
        folder: where the run goes.
        source: where the features came from, for the run's description.
        scale: "small" or "paper", or another preset that the system has.
        weights: public weights that an expert starts from, as its config takes them; None leaves it
            to the config.
        switches: fields of the config that are to be others, in words (`with_switches`).
        modality_dropout: how often a sample loses a stream in training; None leaves it to the
            config.
        seed: of weights, order and noise.
        resume: continue what the folder holds.
        recipe: epochs, batch_size, learning_rate, weight_decay, optimizer, patience where they are
            not the system's own; None counts as not given.
        **settings: passed on to `fit`, such as class_weights and sampling.

    Returns:
        The model, which standardises its inputs by the train split, with the weights of the best
        epoch; and the history.

    Raises:
        UnknownSystem, ValueError: the system does not exist, or does not fit the data (whole numbers
            such as tokens fit none of `SYSTEMS`, which weigh quantities).
        CheckpointError, TrainingError: the folder holds another run.
    """
    kind = find(system)
    train_set = features.subset("train")
    valid_set = features.subset("valid") if "valid" in features.split else None
    start = {} if weights is None else {"weights": weights}
    if start and system not in EXPERTS:
        raise ValueError(
            f"{system} starts from no public weights; leave --weights away, or train an expert: "
            f"{', '.join(sorted(EXPERTS))}."
        )
    config = kind.config.for_dataset(train_set, scale=scale, **start)
    if switches:
        config = with_switches(system, config, switches)
    if modality_dropout is not None:
        config = with_modality_dropout(system, config, modality_dropout)
    streams = getattr(config, "streams", features.modalities)
    if set(streams) != set(features.modalities):  # a system of two streams leaves the third alone
        features, train_set = features.select(streams), train_set.select(streams)
        valid_set = None if valid_set is None else valid_set.select(streams)
    _refuse_tokens(system, features)
    seed_everything(seed)
    bare = build(system, config)
    asked = config
    config = getattr(bare, "config", config)  # an ablation's name sets switches in it
    for name in switches or ():
        if getattr(asked, name) != getattr(config, name):
            raise ValueError(
                f"{name} of {system} is {getattr(config, name)} by its name; train another."
            )
    model = Standardised(model=bare, widths=features.widths).learn(train_set)
    runs.start(folder, runs.describe(system, config, features, source), resume)
    given = {name: value for name, value in (recipe or {}).items() if value is not None}
    own = {name: getattr(config, name, usual) for name, usual in RECIPE.items()}
    if valid_set is None:  # a system's own patience needs one; the caller's is refused by `fit`
        own["patience"] = None
    history = fit(
        model,
        train_set,
        valid_set,
        **(own | given),
        seed=seed,
        out=folder,
        resume=resume,
        **settings,
    )
    return model, history


def _refuse_tokens(system: str, features: FeatureSet) -> None:
    """Refuse names of things, such as tokens, where a system would take them for quantities."""
    if features.whole_numbers and system in SYSTEMS and system != "majority":
        raise ValueError(
            f"'{features.whole_numbers[0]}' of {features.name} holds whole numbers such as tokens, "
            f"which {system} would take for quantities; train a system that reads tokens (gpt), or "
            "make features of them first."
        )


def with_modality_dropout(system: str, config: Any, rate: float) -> Any:
    """Set how often a sample loses a stream in training, in a system that can do that.

    Those of `HEEDLESS` train as they would without.

    Raises:
        ValueError: the system cannot, or the rate is no probability below 1.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(
            f"modality dropout is {rate}, expected a rate from 0 to below 1, such as 0.35."
        )
    if not _drops_streams(config):
        able = [name for name, kind in SYSTEMS.items() if _drops_streams(kind.config)]
        raise ValueError(
            f"{system} has no modality dropout, which neither its paper nor its model knows; leave "
            f"--modality-dropout away, or take one of {', '.join(able)}."
        )
    if hasattr(config, "modality_rate"):  # a form of its own beside the rate
        form = "drop" if rate else None
        return replace(config, modality_dropout=form, modality_rate=rate)
    return replace(config, modality_dropout=rate)


def _drops_streams(config: Any) -> bool:
    """Say whether a config has a modality dropout to set."""
    return "modality_dropout" in {field.name for field in fields(config)}
