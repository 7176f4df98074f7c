"""What a training step of JMT's fusion costs, beside the same network called one part at a time.

Run `pytest tests/benchmarks/test_jmt_speed.py -s` to read the table.
"""

import statistics
from dataclasses import replace

import pytest
import torch
from timing import seconds
from torch import Tensor, nn

from mmlib.losses import concordance_loss
from mmlib.systems import JMTConfig, build

WIDTH, ROUNDS = 512, 7
CASES = ((8, 2), (16, 2), (16, 16))  # clips, batch
# Measured on one busy core: 0.6 to 0.9 at batch 2, where calls and fresh memory count, and 0.95 to
# 1.05 at batch 16, where the products do, which are the same.
AT_MOST = 1.3


class OneByOne(nn.Module):
    """The same fusion of torch's own modules: three encoder layers, then six attentions in turn."""

    def __init__(self, modules: int = 6) -> None:
        super().__init__()
        self.to_joint = nn.Linear(2 * WIDTH, WIDTH)
        self.encoders = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 1, WIDTH, dropout=0.0, batch_first=True)
            for _ in range(3)
        )
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, 1, batch_first=True) for _ in range(modules)
        )
        self.fuse = nn.Linear(6 * WIDTH, 1024)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(1024, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 1))
            for _ in range(2)
        )

    def forward(self, audio: Tensor, vision: Tensor) -> Tensor:
        audio, vision = (nn.functional.normalize(x, dim=-1) for x in (audio, vision))
        joint = self.to_joint(torch.cat([audio, vision], dim=-1))
        sources = (audio, vision, joint)
        states = [encode(x) for encode, x in zip(self.encoders, sources, strict=True)]
        pairs = [(query, context) for query in range(3) for context in range(3) if query != context]
        found = []
        for number, (query, context) in enumerate(pairs):
            attend = self.attentions[number if len(self.attentions) == 6 else query]
            found.append(attend(states[query], states[context], states[context])[0])
        fused = self.fuse(torch.cat(found, dim=-1))
        return torch.cat([head(fused) for head in self.heads], dim=-1)


def test_both_networks_are_as_large():
    ours = build("jmt", JMTConfig.paper())
    assert sum(p.numel() for p in ours.parameters()) == 14_971_906
    assert sum(p.numel() for p in OneByOne().parameters()) == 14_971_906


def step_of(model: nn.Module, call, clips: int, batch: int, device: torch.device):
    """One step: forward, concordance, backward, plain gradient descent."""
    model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-4)
    audio, vision = (torch.randn(batch, clips, WIDTH, device=device) for _ in range(2))
    target = torch.rand(batch, clips, 2, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        concordance_loss(call(model, audio, vision), target, per_target=True).backward()
        optimizer.step()

    return step


@pytest.mark.slow
def test_a_fusion_step_costs_no_more_than_its_parts_called_in_turn(device):
    """All are timed in turns, so that whatever else the machine does hits all alike."""
    torch.manual_seed(0)
    paper = JMTConfig.paper()
    models = {
        "six, at once": (build("jmt", paper), lambda m, a, v: m(audio=a, vision=v).prediction),
        "six, in turn": (OneByOne(), lambda m, a, v: m(a, v)),
        "three, at once": (
            build("jmt", replace(paper, share="query")),
            lambda m, a, v: m(audio=a, vision=v).prediction,
        ),
        "three, in turn": (OneByOne(modules=3), lambda m, a, v: m(a, v)),
    }
    print(f"\na training step of the fusion, {WIDTH} wide, {device}, ms (ratio to 'in turn')")
    print(f"{'clips, batch':>14}" + "".join(f"{name:>18}" for name in models))
    for clips, batch in CASES:
        steps = {n: step_of(m, call, clips, batch, device) for n, (m, call) in models.items()}
        for step in steps.values():
            step(), step()
        rounds = [{n: seconds(step, device) for n, step in steps.items()} for _ in range(ROUNDS)]
        usual = {n: statistics.median(row[n] for row in rounds) for n in steps}
        ratio = {
            n: statistics.median(row[f"{n} at once"] / row[f"{n} in turn"] for row in rounds)
            for n in ("six,", "three,")
        }
        shown = "".join(
            f"{1e3 * usual[n]:11.1f} ({ratio.get(n.removesuffix(' at once'), 1.0):.2f})"
            for n in steps
        )
        print(f"{clips:>10}, {batch:>2}{shown}")
        assert max(ratio.values()) < AT_MOST, ratio
