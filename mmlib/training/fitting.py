"""`fit`: check what is asked for, then train epoch by epoch, keeping what the next one needs."""

from __future__ import annotations

import math
import os
import random
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from mmlib.data.feature_set import FeatureSet
from mmlib.losses import Loss
from mmlib.training.balancing import ClassWeights
from mmlib.training.evaluating import own_device
from mmlib.training.trainer import LAST, OPTIMIZERS, Trainer, TrainingError, best_epoch


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def fit(
    model: nn.Module,
    train_set: FeatureSet,
    valid_set: FeatureSet | None = None,
    *,
    epochs: int,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-2,
    optimizer: str = "adamw",
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    accumulate: int = 1,
    clip_norm: float | None = 1.0,
    warmup_steps: int | None = None,
    schedule: str = "cosine",
    patience: int | None = None,
    monitor: str = "auto",
    class_weights: ClassWeights = None,
    sampling: Literal["balanced"] | None = None,
    loss: Loss | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a model and return the history, one row an epoch.

    The model is called as `model(**batch.inputs, masks=batch.masks)` and gives a tuple whose first
    entry is compared with the labels. Its loss is `loss`, or its own method `loss(output, batch)`,
    or `mmlib.losses.default_loss`; a model with `phases()` is trained in several steps a batch (see
    `mmlib.losses.Phase`). A loss is the mean over the samples it is given. When training ends, the
    model has the weights of the best epoch by `monitor` where there is a `valid_set`, else the last,
    and is where it was before: after a training on a GPU one goes on with tensors of the CPU.

    Args:
        model: any module called as above.
        train_set: what to learn from.
        valid_set: what to choose the best epoch by, never learnt from.
        epochs: passes over `train_set`, at most.
        batch_size: samples that one step of the optimiser sees, over all processes and parts.
        learning_rate: the highest value of the schedule.
        weight_decay: on matrices and kernels; biases and gains are left alone.
        optimizer: "adamw", "adam" (its weight decay is a part of the gradient), or "sgd", which is
            plain gradient descent.
        seed: of the order of the data and the noise. The initial weights are the caller's; call
            `seed_everything` before building the model.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".
        precision: "auto" (bf16 on a GPU that has it, fp16 on one that has not, else fp32), or one.
        accumulate: parts in which a batch is computed, one after the other, to spare memory.
        clip_norm: the largest norm of the gradient; None leaves it.
        warmup_steps: steps in which the learning rate rises; None takes a tenth, at most 50.
        schedule: "cosine" (falls to zero at the last step) or "constant".
        patience: stop after so many epochs without a better `monitor`; None never does.
        monitor: a column of the history; "auto" is `valid_accuracy`, where classes are balanced
            `valid_balanced_accuracy`, for numbers `valid_mean_ccc` (not the loss, which rises with
            confidence long before fewer answers are right).
        class_weights: what a sample of each class counts in the loss, in the order of the classes;
            "balanced": as much for each class in all, however rare. They are scaled so that the mean
            over the train set is 1, and reach the loss as `batch.weights`.
        sampling: "balanced" takes as many samples of each class in an epoch: of a frequent class a
            part, other ones in each epoch, of a rare one each several times.
        loss: `loss(output, batch)`, the mean over the batch's samples.
        out: a folder for best.safetensors, last.safetensors and history.csv; None keeps none.
        resume: continue what `out` holds, to the same weights as without an interruption.
        progress: show a bar with the loss and the monitored number.

    Raises:
        TrainingError: the data, the model and the settings do not fit together, `out` holds another
            run, or the loss is no longer a number.
    """
    # A list of numbers, as the checkpoint will hold it.
    weights = (
        class_weights if isinstance(class_weights, str | None) else [*map(float, class_weights)]
    )
    if monitor == "auto":
        balanced = weights == "balanced" or sampling == "balanced"
        monitor = "valid_balanced_accuracy" if balanced else "valid_accuracy"
        monitor = "valid_mean_ccc" if train_set.class_names is None else monitor
    settings = {
        "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate,
        "weight_decay": weight_decay, "optimizer": optimizer, "seed": seed, "accumulate": accumulate,
        "clip_norm": clip_norm, "warmup_steps": warmup_steps, "schedule": schedule,
        "patience": patience, "class_weights": weights, "sampling": sampling, "monitor": monitor,
        "samples": len(train_set),
    }  # fmt: skip
    _check(model, train_set, valid_set, settings)
    _check_balance(train_set, weights, sampling)
    folder = None if out is None else Path(out)
    if folder is not None and not resume and (folder / LAST).exists():
        raise TrainingError(
            f"{folder} already holds a run; continue it with resume=True (--resume), or choose "
            "another folder."
        )
    home = own_device(model)
    trainer = Trainer(model, train_set, valid_set, settings, loss, device, precision)
    history: list[dict[str, float]] = []
    if folder is not None and resume and (folder / LAST).exists():
        history = trainer.load(folder)
    bar = _bar(trainer, len(history), epochs, progress)
    try:
        while len(history) < epochs and not _is_stale(history, monitor, patience):
            row = trainer.epoch(len(history), bar)
            history.append(row)
            best = valid_set is not None and best_epoch(history, monitor) == len(history) - 1
            trainer.keep(history, best, folder)
            shown = dict.fromkeys(("train_loss", "valid_loss", monitor))
            bar.set_postfix({name: f"{row[name]:.3f}" for name in shown if name in row})
    finally:
        bar.close()
        trainer.release()
        model.to(home)
    if valid_set is not None:
        trainer.restore(folder)
    return pd.DataFrame(history)


def _is_stale(history: list[dict[str, float]], monitor: str, patience: int | None) -> bool:
    """Say whether the monitored number has not become better for `patience` epochs."""
    if patience is None or not history:
        return False
    return len(history) - 1 - best_epoch(history, monitor) >= patience


def _bar(trainer: Trainer, done: int, epochs: int, progress: bool) -> Any:
    """Make a progress bar over all steps, on the main process only."""
    if "LOCAL_RANK" in os.environ:  # a copy of a notebook's process cannot draw its widgets
        from tqdm import tqdm
    else:
        from tqdm.auto import tqdm

    steps = trainer.steps_per_epoch
    hidden = not progress or not trainer.is_main
    return tqdm(total=epochs * steps, initial=done * steps, disable=hidden, unit="step")


def _check(
    model: nn.Module, train_set: FeatureSet, valid_set: FeatureSet | None, settings: dict[str, Any]
) -> None:
    """Refuse settings and data that cannot be trained on."""
    for name in ("epochs", "batch_size", "accumulate"):
        if settings[name] < 1:
            raise TrainingError(f"{name} is {settings[name]}, expected at least 1.")
    if not (math.isfinite(settings["learning_rate"]) and settings["learning_rate"] > 0):
        raise TrainingError(f"learning_rate is {settings['learning_rate']}, expected more than 0.")
    if settings["clip_norm"] is not None and not settings["clip_norm"] > 0:
        raise TrainingError(
            f"clip_norm is {settings['clip_norm']}, expected more than 0, or None to leave the "
            "gradient as it is."
        )
    if settings["patience"] is not None and settings["patience"] < 1:
        raise TrainingError(
            f"patience is {settings['patience']}, expected at least 1 epoch, or None to train all."
        )
    if settings["schedule"] not in ("cosine", "constant"):
        raise TrainingError(f"schedule is {settings['schedule']!r}, expected cosine or constant.")
    if settings["optimizer"] not in OPTIMIZERS:
        raise TrainingError(
            f"optimizer is {settings['optimizer']!r}, expected one of {', '.join(OPTIMIZERS)}."
        )
    if len(train_set) == 0 or (valid_set is not None and len(valid_set) == 0):
        raise TrainingError("there are no samples to train or to validate on; check the split.")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError(
            "the model has no parameter that requires a gradient: nothing to train."
        )
    if settings["patience"] is not None and valid_set is None:
        raise TrainingError("patience needs a valid_set to tell whether an epoch was better.")
    if valid_set is None:
        return
    if valid_set.class_names != train_set.class_names:
        raise TrainingError(
            f"train_set has the classes {train_set.class_names} but valid_set "
            f"{valid_set.class_names}; take both from the same file."
        )
    if valid_set.widths != train_set.widths:
        raise TrainingError(
            f"train_set has the streams {train_set.widths} but valid_set {valid_set.widths}; take "
            "both from the same file."
        )


def _check_balance(train_set: FeatureSet, weights: ClassWeights, sampling: str | None) -> None:
    """Refuse what would not balance classes."""
    if weights is None and sampling is None:
        return
    names = train_set.class_names
    if names is None:
        raise TrainingError(
            f"class_weights and sampling speak of classes, but the labels of {train_set.name} are "
            "numbers; leave both out."
        )
    if sampling not in (None, "balanced"):
        raise TrainingError(f"sampling is {sampling!r}, expected 'balanced' or None.")
    if weights is None:
        return
    if weights == "balanced":
        if sampling is not None:
            raise TrainingError(
                "class_weights and sampling are both 'balanced', which would make rare classes "
                "count too much; choose one."
            )
        return
    if isinstance(weights, str):
        raise TrainingError(f"class_weights is {weights!r}, expected 'balanced' or numbers.")
    fit_for_use = all(math.isfinite(weight) and weight >= 0 for weight in weights)
    if len(weights) != len(names) or not fit_for_use:
        raise TrainingError(
            f"class_weights is {weights}, expected a number from 0 on for each of the {len(names)} "
            f"classes ({', '.join(names[:12])})."
        )
    if not sum(weights[label] for label in train_set.labels.unique().tolist()) > 0:
        raise TrainingError(
            "class_weights are 0 for every class of the train set: nothing to learn."
        )
