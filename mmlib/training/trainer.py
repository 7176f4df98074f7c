"""The parts of `mmlib.training.fit`: one epoch, its checkpoint, and the way back from it."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from mmlib.data.batch import Batch
from mmlib.data.feature_set import FeatureSet
from mmlib.losses import Loss, Phase, default_loss
from mmlib.training import checkpoints
from mmlib.training.balancing import weights_by_class
from mmlib.training.evaluating import run, score
from mmlib.training.machine import Diverged, TrainingError, make_accelerator
from mmlib.training.phases import Still, Tally
from mmlib.training.processes import (
    DrawAsOne,
    Share,
    epoch_batches,
    gather_rows,
    shares,
    warn_of_norms,
)

LAST, BEST, HISTORY = "last.safetensors", "best.safetensors", "history.csv"
_STEPS_BETWEEN_LOOKS = 50  # reading the loss makes the device wait, so the bar looks rarely
_PHASE = "phase "  # no column of the history begins so
#: Plain gradient descent has no momentum: where a paper says SGD and no more, this is it.
OPTIMIZERS: dict[str, Any] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


class Trainer:
    """A model on its device with its optimisers, ready for epochs."""

    def __init__(
        self,
        model: nn.Module,
        train_set: FeatureSet,
        valid_set: FeatureSet | None,
        settings: dict[str, Any],
        loss: Loss | None,
        device: str,
        precision: str,
    ) -> None:
        """Place the model and make one optimiser for each phase."""
        self.train_set, self.valid_set, self.settings = train_set, valid_set, settings
        several = hasattr(model, "phases")
        self.accelerator = make_accelerator(device, precision, several)
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        self.is_main = self.accelerator.is_main_process
        model.to(self.accelerator.device)
        if several:
            phases = model.phases()  # type: ignore[operator]
        else:
            chosen = loss or getattr(model, "loss", None) or default_loss
            phases = [Phase("", model.parameters(), chosen)]
        self.phases = [phase._replace(parameters=list(phase.parameters)) for phase in phases]
        self._still = [Still(model, phase) for phase in self.phases]
        made = [self._optimizer(phase) for phase in self.phases]
        self.model, *self.optimizers = self.accelerator.prepare(model, *made)
        self.steps_per_epoch = math.ceil(len(train_set) / settings["batch_size"])
        self._best: dict[str, Tensor] = {}
        weights = weights_by_class(settings["class_weights"], train_set)
        self._weights = weights if weights is None else weights.to(self.accelerator.device)
        # Steps in which it is still to be seen whether the losses heed the weights.
        self._looks = 0 if weights is None else max(p.first + p.every for p in self.phases)
        self._labels = train_set.labels.numpy() if settings["sampling"] else None
        self._warned = not self.is_main

    @property
    def plain(self) -> nn.Module:
        """The model without what makes it run in several processes."""
        return self.accelerator.unwrap_model(self.model)

    def epoch(self, index: int, bar: Any) -> dict[str, float]:
        """Train one epoch, validate, and return the row of the history."""
        began, count = time.perf_counter(), len(self.train_set)
        seed, device = self.settings["seed"], self.accelerator.device
        # The same state on every process and after every interruption.
        torch.manual_seed(seed * 1_000_003 + index)
        tally = Tally(device)
        self.model.train()
        size = self.settings["batch_size"]
        if not self._warned:
            warn_of_norms(self.plain, self.world, size)
            self._warned = True
        batches = epoch_batches(count, size, seed, index, labels=self._labels)
        for step, rows in enumerate(batches, start=index * len(batches)):
            rate = self._learning_rate(step)
            taken = [i for i, phase in enumerate(self.phases) if step % phase.every == phase.first]
            for i in taken:
                seen = self._step(i, rows, rate, tally, answers=i == taken[0])
            if self._looks == 1:
                raise TrainingError(
                    "the model's own loss takes no notice of class_weights; let it use "
                    "mmlib.losses.cross_entropy(logits, batch), or balance by sampling='balanced'."
                )
            self._looks -= self._looks > 0
            bar.update(1)
            if taken and not bar.disable and (step + 1) % _STEPS_BETWEEN_LOOKS == 0:
                bar.set_postfix(loss=f"{float(seen) * self.world:.3f}")
        means = tally.means(self.accelerator)
        row: dict[str, float] = {"epoch": index + 1, "train_loss": 0.0}
        for name, value in means.items():
            if name.startswith(_PHASE):
                row["train_loss"] += value
            else:
                row[name] = value
        if not math.isfinite(row["train_loss"]):
            raise Diverged(
                f"the loss became {row['train_loss']} in epoch {index + 1}; lower the learning "
                f"rate (it is {self.settings['learning_rate']:g}), clip the gradient, or look for "
                "wild values in the inputs. Checkpoints of earlier epochs are kept."
            )
        if self.valid_set is not None:
            row |= self._validate(self.valid_set)
        row |= {"learning_rate": rate, "seconds": time.perf_counter() - began}
        return row

    def keep(self, history: list[dict[str, float]], best: bool, folder: Path | None) -> None:
        """Keep the best weights, and all that the next epoch needs."""
        weights = self.plain.state_dict()
        if folder is None:
            if best:
                self._best = {name: value.detach().clone() for name, value in weights.items()}
            return
        if self.is_main:
            about = {"settings": self.settings, "history": history}
            if best:
                checkpoints.save_tensors(folder / BEST, weights, about)
            everything = {f"model.{name}": value for name, value in weights.items()}
            for index, optimizer in enumerate(self.optimizers):
                everything |= checkpoints.optimizer_tensors(f"optimizer{index}", optimizer)
            scaler = self.accelerator.scaler
            about["scaler"] = scaler.state_dict() if scaler is not None else {}
            checkpoints.save_tensors(folder / LAST, everything, about)
            _write_history(folder, history)
        self.accelerator.wait_for_everyone()

    def load(self, folder: Path) -> list[dict[str, float]]:
        """Put everything back to where `keep` left it, and return the history so far."""
        tensors, about = checkpoints.load_tensors(folder / LAST)
        for name, value in self.settings.items():
            if about["settings"].get(name) != value:
                raise TrainingError(
                    f"the run in {folder} was started with {name}={about['settings'].get(name)}, "
                    f"not {value}; resume it with the same settings, or choose another folder."
                )
        weights = {
            name.removeprefix("model."): value
            for name, value in tensors.items()
            if name.startswith("model.")
        }
        checkpoints.load_weights(self.plain, weights, folder / LAST)
        for index, optimizer in enumerate(self.optimizers):
            checkpoints.load_optimizer(f"optimizer{index}", optimizer, tensors)
        if self.accelerator.scaler is not None and about["scaler"]:
            self.accelerator.scaler.load_state_dict(about["scaler"])
        if self.is_main:  # a kill between two files leaves the table one epoch behind
            _write_history(folder, about["history"])
        return about["history"]

    def restore(self, folder: Path | None) -> None:
        """Give the model the weights of its best epoch."""
        if folder is not None:
            self._best, _ = checkpoints.load_tensors(folder / BEST)
        self.plain.load_state_dict(self._best)

    def release(self) -> None:
        """Give the model back as it was called before, without the wrapper of mixed precision."""
        self.model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

    def _step(self, index: int, rows: Any, rate: float, tally: Tally, *, answers: bool) -> Tensor:
        """Take one step of one phase; returns this process's part of the batch's mean loss."""
        phase, optimizer = self.phases[index], self.optimizers[index]
        self.model.zero_grad(set_to_none=True)
        seen = torch.zeros((), device=self.accelerator.device)
        parts = shares(rows, self.settings["accumulate"], self.rank, self.world)
        for number, share in enumerate(parts):
            batch = self._batch(share)
            alone = self.world == 1
            last = number == len(parts) - 1
            quiet: AbstractContextManager = (
                nullcontext() if alone or last else self.accelerator.no_sync(self.model)
            )
            with self._still[index].held(), quiet, nullcontext() if alone else DrawAsOne(share):
                with self.accelerator.autocast():
                    output = self.model(**batch.inputs, masks=batch.masks)
                    self._check_output(output, batch)
                    value, named, weight, pull = self._loss(phase, output, batch, share, len(rows))
                self.accelerator.backward(value * pull)
            if self._looks and batch.weights is not None and batch.weights.grad is not None:
                self._looks = 0  # the loss depends on the weights
            seen += value.detach() * weight
            for name, part in named.items():
                if name:
                    tally.add(f"loss_{name}", part * (weight * len(rows)), share.total)
            if answers and not batch.labels.is_floating_point():
                right = (output[0].detach().argmax(1) == batch.labels).sum()
                tally.add("train_accuracy", right * bool(share.counts[self.rank]), share.total)
        tally.add(f"{_PHASE}{index}", seen * len(rows), len(rows))
        if self.settings["clip_norm"] is not None:
            # Not the accelerator's own clipping, which undoes float16's scale for each optimiser: of
            # what two phases train, twice.
            self.accelerator.unscale_gradients(optimizer)
            nn.utils.clip_grad_norm_(phase.parameters, self.settings["clip_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate * phase.learning_rate
        optimizer.step()
        return seen

    def _batch(self, share: Share) -> Batch:
        """Gather a share's samples, with what each counts by its class."""
        batch = self.train_set.batch(share.samples).to(self.accelerator.device)
        if self._weights is None:
            return batch
        return batch._replace(weights=self._weights[batch.labels].requires_grad_(self._looks > 0))

    def _loss(
        self, phase: Phase, output: Any, batch: Batch, share: Share, whole: int
    ) -> tuple[Tensor, dict[str, Tensor], float, float]:
        """Compute a share's loss, its parts, its weight in the sum over processes, and its pull.

        Processes average their gradients, hence the factor `world`. A mean over samples is the
        weighted mean of the shares' means. A concordance is not: where the labels are numbers, every
        process sees all rows and has the whole value, but only its own rows carry a gradient, so
        the gradients add up.
        """
        if batch.labels.is_floating_point() and self.world > 1:
            rows = len(share.samples)

            def whole_batch(value: Any) -> Any:
                same = isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows
                return gather_rows(value, share.counts) if same else value

            joined = Batch(
                {name: whole_batch(x) for name, x in batch.inputs.items()},
                {name: whole_batch(mask) for name, mask in batch.masks.items()},
                whole_batch(batch.labels),
            )
            fields = map(whole_batch, output)
            named = output._make(fields) if hasattr(output, "_make") else tuple(fields)
            part = share.total / whole
            return *phase.losses(named, joined), part / self.world, part * self.world
        part = share.counts[self.rank] / whole
        return *phase.losses(output, batch), part, part * self.world

    def _check_output(self, output: Any, batch: Batch) -> None:
        """Refuse a model whose output does not fit the labels, before the loss does it less kindly."""
        shape = tuple(output[0].shape)
        if self.train_set.class_names is not None:
            expected: tuple[int, ...] = (batch.size, len(self.train_set.class_names))
        else:
            expected = tuple(batch.labels.shape)
        if shape != expected:
            raise TrainingError(
                f"the model's first output has shape {shape}, expected {expected} for these labels."
            )

    def _validate(self, valid_set: FeatureSet) -> dict[str, float]:
        """Evaluate on every process, so that all of them know when to stop."""
        model, tally = self.plain, Tally(self.accelerator.device)
        losses = getattr(model, "losses", None)
        torch.manual_seed(self.settings["seed"])  # the same draws in every epoch's losses
        outputs = []
        for batch, output in run(model, valid_set):
            outputs.append(output[0].detach().float())
            with torch.no_grad():
                parts = losses(output, batch) if losses is not None else {}
            for name, value in parts.items():
                tally.add(f"valid_loss_{name}", value * batch.size / self.world, batch.size)
        logits = torch.cat(outputs).cpu()
        loss = default_loss((logits,), Batch({}, valid_set.masks, valid_set.labels))
        report = score(logits, valid_set)
        numbers = {f"valid_{name}": v for name, v in report.items() if isinstance(v, float)}
        return {"valid_loss": float(loss), **tally.means(self.accelerator), **numbers}

    def _learning_rate(self, step: int) -> float:
        """Rise linearly, then fall as a cosine or stay."""
        total = self.settings["epochs"] * self.steps_per_epoch
        warmup = self.settings["warmup_steps"]
        warmup = min(50, total // 10) if warmup is None else warmup
        peak = self.settings["learning_rate"]
        if step < warmup:
            return peak * (step + 1) / warmup
        if self.settings["schedule"] == "constant":
            return peak
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        """Make an optimiser that decays matrices and kernels but no biases and gains."""
        decay = self.settings["weight_decay"]
        trained = [parameter for parameter in phase.parameters if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        fused = self.accelerator.device.type == "cuda"
        kind = OPTIMIZERS[self.settings["optimizer"]]
        return kind([g for g in groups if g["params"]], lr=1.0, fused=fused)


def _write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write the table of all epochs so far."""
    table = pd.DataFrame(history)
    checkpoints.replace_file(folder / HISTORY, lambda part: table.to_csv(part, index=False))


def best_epoch(history: list[dict[str, float]], monitor: str) -> int:
    """Find the epoch with the best number: the lowest of a loss, the highest of the rest.

    Of equals, the one with the lowest loss on the valid set is best, then the first.

    Raises:
        TrainingError: the history has no such column.
    """
    if monitor not in history[0]:
        raise TrainingError(f"monitor is {monitor!r}, expected one of {', '.join(history[0])}.")
    sign = -1.0 if "loss" in monitor else 1.0

    def merit(index: int) -> tuple[float, float, int]:
        row = history[index]
        return sign * row[monitor], -row.get("valid_loss", 0.0), -index

    return max(range(len(history)), key=merit)
