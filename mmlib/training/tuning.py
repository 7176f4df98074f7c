"""The same budget of tuning for every system: as many learning rates, chosen on valid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from mmlib.data import FeatureError, FeatureSet
from mmlib.systems import find
from mmlib.systems.own import folder_name
from mmlib.training import checkpoints, finished
from mmlib.training.jobs import RECIPE, train_system
from mmlib.training.trainer import LAST, Diverged, TrainingError, best_epoch

#: Of every setting that is tried, and of no run that is compared.
SEED = 1000
#: Systems without anything to tune.
UNTUNED = ("majority",)
_BETWEEN = 3  # a learning rate and the next one tried: halfway between two powers of ten


def factors(count: int) -> tuple[Fraction, ...]:
    """Tell what a system's own learning rate is multiplied by: 1, 3, 1/3, 9, 1/9, ....

    Raises:
        ValueError: there is nothing to choose from.
    """
    if count < 2:
        raise ValueError(f"tune is {count}, expected 0 (each system's own rate) or at least 2.")
    steps = [(place + 1) // 2 * (1 if place % 2 else -1) for place in range(count)]
    return tuple(Fraction(_BETWEEN) ** step for step in steps)


def own_rate(system: str, features: FeatureSet, training: dict[str, Any]) -> float:
    """Tell the learning rate in the middle: the recipe's, else the system's own."""
    given = (training.get("recipe") or {}).get("learning_rate")
    if given is not None:
        return float(given)
    config = find(system).config.for_dataset(
        features.subset("train"), scale=training.get("scale", "small")
    )
    return float(getattr(config, "learning_rate", RECIPE["learning_rate"]))


def tune(
    features: FeatureSet,
    systems: Sequence[str],
    folder: Path,
    *,
    settings: int,
    source: str = "",
    before: Callable[[str], object] | None = None,
    after: Callable[[], object] | None = None,
    **training: Any,
) -> pd.DataFrame:
    """Try as many learning rates for each system, on train and valid alone.

    Each is trained once, with a seed that no compared run has. A system's best is the one with the
    best `monitor` in its best epoch; of equals the one nearest to its own rate. A rate at which the
    loss was no longer a number is never chosen.

    Args:
        features: with the splits train and valid; no other sample is handed on.
        systems: names in `mmlib.systems.SYSTEMS`; the majority has nothing to tune.
        folder: where the trials go, a folder each; those that stand there finished are not repeated.
        settings: how many rates for each.
        source: where the features came from, for the runs' descriptions.
        before: called with a few words before a trial.
        after: called after a trial.
        **training: passed on to `train_system`.

    Returns:
        A row a trial: system, factor, learning_rate, watched, score (none where the loss was no
        longer a number), epoch (the best one), epochs, chosen.

    Raises:
        FeatureError: there is no valid split.
        TrainingError: at no rate was a system's loss a number to the end.
        CheckpointError: the folder holds trials of other data or settings.
    """
    tried = factors(settings)
    if "valid" not in features.split:
        raise FeatureError(
            f"{features.name} has no valid split to tune on; split it, or leave out."
        )
    seen = features.subset((features.split == "train") | (features.split == "valid"))
    rows = []
    for system in systems:
        if system in UNTUNED:
            continue
        own = own_rate(system, seen, training)
        trials = []
        for factor in tried:
            if before is not None:
                before(f"{system}, learning rate x {factor}")
            recipe = (training.get("recipe") or {}) | {"learning_rate": own * float(factor)}
            place = folder / f"{folder_name(system)}_x{str(factor).replace('/', '-')}"
            found = _try(system, seen, place, source, training | {"recipe": recipe})
            trials.append({"system": system, "factor": str(factor), **found})
            if after is not None:
                after()
        best = _best(trials)
        rows += [{**trial, "chosen": trial is best} for trial in trials]
    return pd.DataFrame(rows)


def chosen(tried: pd.DataFrame) -> dict[str, float]:
    """Tell each system's chosen learning rate."""
    best = tried[tried["chosen"]]
    return {
        str(name): float(rate)
        for name, rate in zip(best["system"], best["learning_rate"], strict=True)
    }


def _try(
    system: str, features: FeatureSet, place: Path, source: str, training: dict[str, Any]
) -> dict[str, Any]:
    """Train with one setting, or read what an earlier call found."""
    asked = finished.asked_for(system, SEED, features, training)
    about = finished.read(place, asked)
    if about is None:
        start = time.perf_counter()
        told: dict[str, Any] = {"score": None, "epoch": None, "epochs": None, "watched": None}
        try:
            _, history = train_system(
                system,
                features,
                place,
                source=source,
                seed=SEED,
                resume=True,
                progress=False,
                **training,
            )
        except Diverged:
            pass
        else:
            monitor = checkpoints.load_tensors(place / LAST)[1]["settings"]["monitor"]
            best = best_epoch([dict(row) for _, row in history.iterrows()], monitor)
            told = {
                "score": float(history[monitor][best]),
                "epoch": best + 1,
                "epochs": len(history),
                "watched": monitor,
            }
        told["seconds"] = round(time.perf_counter() - start, 3)
        finished.write(place, asked, told)
        about = finished.read(place, asked) or {}
    return {
        "learning_rate": training["recipe"]["learning_rate"],
        **{name: about[name] for name in ("watched", "score", "epoch", "epochs")},
    }


def _best(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Find the best of a system's trials; of equals the first, which is nearest to its own rate.

    Raises:
        TrainingError: none went to the end.
    """
    ended = [trial for trial in trials if trial["score"] is not None]
    if not ended:
        rates = ", ".join(f"{trial['learning_rate']:g}" for trial in trials)
        raise TrainingError(
            f"the loss of {trials[0]['system']} was no longer a number at each learning rate that "
            f"was tried ({rates}); give a lower one, or look for wild values in the inputs."
        )
    sign = -1.0 if "loss" in ended[0]["watched"] else 1.0
    return max(ended, key=lambda trial: sign * trial["score"])
