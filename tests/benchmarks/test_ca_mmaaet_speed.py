"""What a training step of CA-MMAAET costs at the paper's shapes, beside the `concat` baseline.

Run `pytest tests/benchmarks/test_ca_mmaaet_speed.py -s` to read the table.
"""

import statistics

import pytest
import torch
from timing import seconds
from torch import nn

from mmlib.data import Batch, FeatureSet
from mmlib.losses import Phase, default_loss
from mmlib.systems import build, find
from mmlib.training.phases import Still

BATCH = 16
SHAPES = {"text": (36, 768), "audio": (128, 512), "vision": (10, 512)}
MODELS = ("mmaae", "mmaaet", "ca_mmaae", "ca_mmaaet")


def dataset() -> FeatureSet:
    draw = torch.Generator().manual_seed(0)
    inputs = {n: torch.randn(BATCH, *shape, generator=draw) for n, shape in SHAPES.items()}
    return FeatureSet(inputs, {}, torch.arange(BATCH) % 3, ("negative", "neutral", "positive"))


class Step:
    """One batch's training step: every phase forward, backward and update, as the loop takes it."""

    def __init__(self, name: str, batch: Batch, data: FeatureSet, device: torch.device) -> None:
        torch.manual_seed(0)
        config = find(name).config.for_dataset(data, scale="paper")
        self.model = build(name, config).to(device).train()
        self.batch = batch
        phases = getattr(
            self.model, "phases", lambda: [Phase("", self.model.parameters(), default_loss)]
        )()
        self.phases = [phase._replace(parameters=list(phase.parameters)) for phase in phases]
        self.still = [Still(self.model, phase) for phase in self.phases]
        self.optimizers = [torch.optim.AdamW(phase.parameters, lr=1e-4) for phase in self.phases]

    def __call__(self) -> None:
        for phase, still, optimizer in zip(self.phases, self.still, self.optimizers, strict=True):
            self.model.zero_grad(set_to_none=True)
            with still.held():
                output = self.model(**self.batch.inputs, masks=self.batch.masks)
                phase.losses(output, self.batch)[0].backward()
            nn.utils.clip_grad_norm_(phase.parameters, 1.0)
            optimizer.step()


@pytest.mark.slow
def test_a_training_step_of_the_four_models_beside_concat(device):
    """All are timed in turns; the whole model stays within a small multiple of the baseline."""
    data = dataset()
    batch = data.batch(range(BATCH)).to(device)
    steps = {name: Step(name, batch, data, device) for name in ("concat", *MODELS)}
    for step in steps.values():
        step()
    rounds = [{name: seconds(step, device) for name, step in steps.items()} for _ in range(9)]
    ratio = {n: statistics.median(row[n] / row["concat"] for row in rounds) for n in steps}
    base = statistics.median(row["concat"] for row in rounds)
    print(f"\na training step at the paper's shapes, batch {BATCH}, {device}")
    print(f"{'concat':>10} {base * 1000:8.1f} ms")
    for name in MODELS:
        print(f"{name:>10} {ratio[name]:8.2f} x concat")
    assert ratio["mmaae"] < ratio["ca_mmaaet"] < 3.0, ratio


def test_what_a_phase_leaves_alone_costs_no_backward_pass():
    """The discriminator's phase holds the encoder still, so its graph is the discriminator's only."""
    data = dataset()
    batch = data.batch(range(BATCH))
    step = Step("ca_mmaaet", batch, data, torch.device("cpu"))
    place = [phase.name for phase in step.phases].index("discriminate")
    with step.still[place].held():
        output = step.model(**batch.inputs, masks=batch.masks)
    assert output.latent.grad_fn is None and output.validity.grad_fn is not None
