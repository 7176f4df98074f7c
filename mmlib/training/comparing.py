"""Compare systems under one protocol: same data, splits and budget, several seeds, every run kept.

Each run has a folder of its own and a file that says it is finished, so that a comparison that was
killed goes on where it stopped, in the middle of a run too, and ends with the same numbers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmlib.data import FeatureSet
from mmlib.systems import find
from mmlib.systems.own import folder_name
from mmlib.training import checkpoints, evaluating, finished, runs, tuning
from mmlib.training.costing import cost_of
from mmlib.training.jobs import train_system, with_modality_dropout
from mmlib.training.machine import chosen
from mmlib.training.results import Results, Run
from mmlib.training.trainer import HISTORY

OUTPUTS = "outputs.safetensors"


def compare_systems(
    features: FeatureSet,
    systems: Sequence[str],
    folder: Path,
    *,
    seeds: int = 3,
    split: str = "test",
    tune: int = 0,
    source: str = "",
    progress: bool = True,
    **training: Any,
) -> Results:
    """Train every system with every seed, each once, and judge all of them on the same split.

    With `tune` each system's learning rate is chosen first, by one and the same number of trials on
    train and valid (see `mmlib.training.tuning.tune`), and then taken for all of its seeds.

    Args:
        features: with the splits train, valid (it chooses the best epoch) and the judged one.
        systems: names in `mmlib.systems.SYSTEMS`, each once.
        folder: where the runs go; those that stand there finished are not trained again.
        seeds: 0, 1, ... for each system.
        split: the samples that are judged.
        tune: how many learning rates are tried for each system; 0 takes each system's own.
        source: where the features came from, for the runs' descriptions.
        progress: whether a bar counts the runs.
        **training: passed on to `train_system`: scale, recipe, modality_dropout, class_weights, ...

    Raises:
        UnknownSystem, ValueError: a system does not exist, or does not fit the data.
        CheckpointError: the folder holds a comparison of other data or settings.
    """
    from tqdm.auto import tqdm

    twice = [name for name, count in Counter(systems).items() if count > 1]
    if twice or seeds < 1:
        raise ValueError(
            f"{', '.join(twice)} is asked for twice; name each system once."
            if twice
            else f"seeds is {seeds}, expected at least 1."
        )
    places = Counter(map(folder_name, systems))
    alike = [name for name in systems if places[folder_name(name)] > 1]
    if alike:
        raise ValueError(
            f"the runs of {' and '.join(alike)} would go into one folder; give one of the files or "
            "classes another name."
        )
    train_set = features.subset("train")
    for system in systems:  # what cannot be trained is said before anything is
        config = find(system).config.for_dataset(train_set, scale=training.get("scale", "small"))
        if training.get("modality_dropout") is not None:
            with_modality_dropout(system, config, training["modality_dropout"])
    judged = features.subset(split)
    trials = len(tuning.factors(tune)) if tune else 0
    total = len(systems) * seeds + trials * len([s for s in systems if s not in tuning.UNTUNED])
    found, tried, rates = [], None, {}
    with tqdm(total=total, unit="run", disable=not progress, dynamic_ncols=True) as bar:
        if trials:
            tried = tuning.tune(
                features,
                systems,
                folder / "tuning",
                settings=tune,
                source=source,
                before=bar.set_description,
                after=bar.update,
                **training,
            )
            rates = tuning.chosen(tried)
        for system, seed in _pairs(systems, seeds):
            bar.set_description(f"{system}, seed {seed}")
            place = folder / f"{folder_name(system)}_{seed}"
            mine = dict(training)
            if system in rates:
                mine["recipe"] = (training.get("recipe") or {}) | {"learning_rate": rates[system]}
            found.append(
                _run(system, seed, features, judged, place, source=source, split=split, **mine)
            )
            bar.update(1)
    return Results(tuple(found), judged, split, tried)


def _pairs(systems: Sequence[str], seeds: int) -> Iterator[tuple[str, int]]:
    return ((system, seed) for system in systems for seed in range(seeds))


def _run(
    system: str,
    seed: int,
    features: FeatureSet,
    judged: FeatureSet,
    place: Path,
    *,
    source: str,
    split: str,
    **training: Any,
) -> Run:
    """Train one system with one seed, or read what an earlier call left."""
    asked = finished.asked_for(system, seed, features, training) | {"split": split}
    about = finished.read(place, asked)
    if about is None:
        fresh = not (place / runs.CONFIG).is_file()
        start = time.perf_counter()
        model, _ = train_system(
            system,
            features,
            place,
            source=source,
            seed=seed,
            resume=True,
            progress=False,
            **training,
        )
        seconds = time.perf_counter() - start
        model.to(chosen(training.get("device", "auto")))  # judged and measured where it was trained
        outputs = evaluating.predict(model, judged)
        checkpoints.save_tensors(place / OUTPUTS, {"outputs": outputs}, {})
        about = cost_of(model, features, place, training.get("precision", "auto"))
        about["seconds"] = round(seconds, 3) if fresh else None
        finished.write(place, asked, about)
    outputs = checkpoints.load_tensors(place / OUTPUTS)[0]["outputs"]
    streams = checkpoints.read_json(place / runs.CONFIG)["streams"]
    return Run(
        system,
        seed,
        outputs,
        evaluating.score(outputs, judged),
        pd.read_csv(place / HISTORY),
        about["parameters"],
        about["seconds"],
        tuple(name for name in features.modalities if name in streams),
        about.get("learning_rate"),
        about.get("peak_bytes"),
        about.get("device", "cpu"),
    )
