"""Run by test_resume.py: a training that is killed at given moments, and then resumed.

A process of its own imports everything once and forks a child for each attempt, so that a kill is a
real SIGKILL and an attempt costs no import.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import nn

from mmlib.data import FeatureSet
from mmlib.losses import Phase, default_loss
from mmlib.systems import CAMMAAET, CAMMAAETConfig
from mmlib.training import checkpoints, fit, seed_everything

EPOCHS, SAMPLES = 4, 29


class Output(NamedTuple):
    """Logits and a reconstruction."""

    logits: torch.Tensor
    reconstruction: torch.Tensor


def adversarial() -> nn.Module:
    """A tiny CA-MMAAET: dropout, three phases, and draws of the prior in training and validation."""
    sizes = {"text_dim": 4, "audio_dim": 3, "vision_dim": 2, "vision_steps": 6, "num_classes": 5}
    widths = {"hidden_dim": 8, "latent_dim": 5, "num_heads": 2, "ffn_dim": 7, "decoder_dim": 9}
    model = CAMMAAET(config=CAMMAAETConfig(**sizes, **widths))
    calls = iter(range(1, 10**6))
    model.register_forward_pre_hook(lambda *_: moment("call", next(calls)))
    return model


class TwoPhases(nn.Module):
    """A small model with dropout, batch statistics and two optimisers."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0.4))
        self.decide, self.rebuild = nn.Linear(7, 5), nn.Linear(7, 3)
        self.calls = 0

    def forward(self, masks=None, audio=None):
        if self.training:
            self.calls += 1
            moment("call", self.calls)
        hidden = self.inside(audio.mean(1))
        return Output(self.decide(hidden), self.rebuild(hidden))

    def phases(self):
        def rebuilt(output, batch):
            return ((output.reconstruction - batch.inputs["audio"].mean(1)) ** 2).mean()

        first = [*self.inside.parameters(), *self.decide.parameters()]
        return [
            Phase("class", first, default_loss),
            Phase("rebuild", self.rebuild.parameters(), rebuilt),
        ]


def data(kind: str = "two phases") -> tuple[FeatureSet, FeatureSet]:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(SAMPLES) % 5
    audio = torch.randn(SAMPLES, 2, 3, generator=draw) + labels[:, None, None]
    names = tuple("abcde")
    shapes = {} if kind == "two phases" else {"text": (9, 4), "audio": (12, 3), "vision": (6, 2)}
    inputs = {n: torch.randn(SAMPLES, *shape, generator=draw) for n, shape in shapes.items()}
    whole = FeatureSet(inputs or {"audio": audio}, {}, labels, names)
    return whole.subset(slice(0, 24)), whole.subset(slice(24, None))


planned: tuple[str, int] | None = None


def moment(kind: str, count: int) -> None:
    """Die, really, if this is the planned moment."""
    if planned == (kind, count):
        os.kill(os.getpid(), signal.SIGKILL)


def dangerous() -> None:
    """Make writes and renames die where planned."""
    counts = {"write": 0, "rename": 0}
    save, rename = safetensors.torch.save_file, os.replace

    def save_file(tensors, path, metadata=None):
        save(tensors, path, metadata=metadata)
        counts["write"] += 1
        if planned == ("write", counts["write"]):
            os.truncate(path, os.path.getsize(path) // 2)
            moment("write", counts["write"])

    def replace(source, target):
        counts["rename"] += 1
        moment("before rename", counts["rename"])
        rename(source, target)
        moment("after rename", counts["rename"])

    safetensors.torch.save_file = save_file
    checkpoints.os.replace = replace


def train_to_the_end(out: Path, kind: str) -> None:
    seed_everything(3)
    train, valid = data(kind)
    settings = {"epochs": EPOCHS, "batch_size": 5, "seed": 3, "learning_rate": 0.01}
    model = TwoPhases() if kind == "two phases" else adversarial()
    fit(model, train, valid, **settings, accumulate=2, out=out, resume=True, progress=False)


def attempt(out: Path, kind: str, plan: tuple[str, int] | None, after: float | None = None) -> bool:
    """Train in a child; say whether it reached the end. `after` seconds kill it from outside."""
    global planned
    child = os.fork()
    if child == 0:
        try:
            planned = plan
            dangerous()
            train_to_the_end(out, kind)
            os._exit(0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)  # a child must never return into its parent's loop
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main() -> None:
    """Read the attempts as JSON, make them, and print how each ended."""
    import accelerate  # noqa: F401

    torch.set_num_threads(1)
    # What the first optimiser imports is most of an attempt; imported here, no child has to.
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    for name, plan, after in json.loads(sys.argv[2]):
        ended = attempt(Path(sys.argv[1]) / name, sys.argv[3], plan and tuple(plan), after)
        print(json.dumps([name, ended]), flush=True)


if __name__ == "__main__":
    main()
