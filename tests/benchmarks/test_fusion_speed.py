"""What each fusion costs beside plain concatenation, whose encoders most of them share.

Run `pytest tests/benchmarks/test_fusion_speed.py -s` to read the table.
"""

import statistics

import pytest
import torch
from timing import seconds

from mmlib.data import FeatureSet
from mmlib.losses import default_loss
from mmlib.systems import BaselineConfig, build

BATCH = 32
SHAPES = {"text": (36, 768), "audio": (128, 512), "vision": (10, 512)}
ROUNDS = 7
# Measured on one core: 0.8, 1.0, 1.0, 1.0. The margin is for machines where small operations cost more.
AT_MOST = {"early": 1.3, "late": 1.3, "gated": 1.3, "tensor": 1.3}


@pytest.mark.slow
def test_a_training_step_of_each_fusion_beside_one_of_concatenation(device):
    """All are timed in turns, so that whatever else the machine does hits all alike."""
    torch.manual_seed(0)
    inputs = {name: torch.randn(BATCH, *shape) for name, shape in SHAPES.items()}
    names = tuple("abcdefgh")
    data = FeatureSet(inputs, {}, torch.arange(BATCH) % len(names), names)
    config = BaselineConfig.for_dataset(data, scale="paper")
    batch = data.batch(range(BATCH)).to(device)

    def step_of(name: str):
        model = build(name, config).to(device).train()
        loss = getattr(model, "loss", default_loss)
        return lambda: loss(model(**batch.inputs, masks=batch.masks), batch).backward()

    steps = {name: step_of(name) for name in ("concat", *AT_MOST)}
    for step in steps.values():
        step()
    rounds = [{n: seconds(step, device) for n, step in steps.items()} for _ in range(ROUNDS)]
    usual = statistics.median(round_["concat"] for round_ in rounds)
    print(
        f"\nbatch {BATCH}, width {config.embed_dim}, {device}: concat {1e3 * usual:.0f} ms a step"
    )
    for name, most in AT_MOST.items():
        ratio = statistics.median(round_[name] / round_["concat"] for round_ in rounds)
        print(f"{name:>8} {ratio:.2f} x concat")
        assert ratio < most, name
