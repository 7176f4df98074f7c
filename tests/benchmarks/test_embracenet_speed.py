"""What EmbraceNet and the six crossmodal transformers cost beside the straightforward arrangement.

Run `pytest tests/benchmarks/test_embracenet_speed.py -s` to read the tables.
"""

import statistics

import pytest
import torch
from timing import seconds
from torch import Tensor, nn

from mmlib.layers import EmbraceNet
from mmlib.systems.embracenet import CrossModalPairs

INPUTS = {"audio": 512, "text": 512, "vision": 768}
WIDTH, HEADS, ROUNDS = 256, 4, 15
BATCHES = {2: 40, 16: 40, 256: 6}  # samples, steps in a timing
STEPS = {"text": 36, "audio": 128, "vision": 10}
# Measured on one busy core: forward 0.63 to 0.70 at batch 16 and 256, with backward 0.70 to 0.82.
LAYER_AT_MOST = {16: 0.9, 256: 0.9}
# Measured on one busy core: 1.0 at equal lengths, forward 1.2 and with backward 1.1 at these three.
# The products are the same, so there is nothing to win on a CPU, whose caches like small parts in
# turn; what is fewer is the calls, 15 products (at equal lengths 5) instead of 36.
BLOCKS_AT_MOST = 1.5


class StepByStep(nn.Module):
    """EmbraceNet as one writes it down: dock, stack, draw by `torch.multinomial`, mask, sum."""

    def __init__(self) -> None:
        super().__init__()
        self.docking = nn.ModuleList(nn.Linear(features, WIDTH) for features in INPUTS.values())

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        pairs = zip(self.docking, inputs.values(), strict=True)
        docked = torch.stack([torch.relu(dock(x)) for dock, x in pairs], dim=-1)  # (B, c, M)
        p = torch.ones(len(docked), docked.shape[-1], device=docked.device)
        p = p / p.sum(-1, keepdim=True)
        drawn = torch.multinomial(p, WIDTH, replacement=True)  # (B, c)
        chosen = nn.functional.one_hot(drawn, docked.shape[-1]).to(docked.dtype)
        return (docked * chosen).sum(-1)


class DecoderStyle(nn.Module):
    """One crossmodal transformer of torch's own modules: multi-head attention, norm, FFN, norm."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        x = self.norm1(target + self.attention(target, source, source, need_weights=False)[0])
        return self.norm2(x + self.ffn(x))


def ratios(
    ours, theirs, device: torch.device, repeat: int, rounds: int = ROUNDS
) -> tuple[float, float, float]:
    """Time both in turns; give the median ratio and both medians in milliseconds."""

    def many(step):
        return lambda: [step() for _ in range(repeat)]

    for step in (ours, theirs):
        step(), step()
    times = [(seconds(many(ours), device), seconds(many(theirs), device)) for _ in range(rounds)]
    mine, plain = (1e3 * statistics.median(column) / repeat for column in zip(*times, strict=True))
    return statistics.median(a / b for a, b in times), mine, plain


def without_gradient(call):
    def step() -> None:
        with torch.no_grad():
            call()

    return step


def with_gradient(model: nn.Module, call):
    def step() -> None:
        model.zero_grad(set_to_none=True)
        call().sum().backward()

    return step


@pytest.mark.slow
def test_embracenet_draws_faster_than_the_straightforward_arrangement(device):
    """Both dock alike; what differs is the draw and how what is drawn is taken."""
    torch.manual_seed(0)
    ours, plain = (
        EmbraceNet(input_dims=INPUTS, embracement_dim=WIDTH).to(device).train(),
        StepByStep().to(device).train(),
    )
    print(f"\nEmbraceNet {WIDTH} wide in training, {device}, ms (ratio to step by step)")
    print(f"{'batch':>5} {'forward':>16} {'and backward':>16} {'expected':>16}")
    found = {}
    for batch, repeat in BATCHES.items():
        x = {name: torch.randn(batch, width, device=device) for name, width in INPUTS.items()}
        forward = ratios(
            without_gradient(lambda x=x: ours(x)),
            without_gradient(lambda x=x: plain(x)),
            device,
            repeat,
        )
        both = ratios(
            with_gradient(ours, lambda x=x: ours(x)),
            with_gradient(plain, lambda x=x: plain(x)),
            device,
            repeat,
        )
        ours.eval()
        expected = ratios(
            without_gradient(lambda x=x: ours(x)),
            without_gradient(lambda x=x: plain(x)),
            device,
            repeat,
        )
        ours.train()
        shown = " ".join(f"{row[1]:9.3f} ({row[0]:.2f})" for row in (forward, both, expected))
        print(f"{batch:>5} {shown}")
        found[batch] = forward[0]
    for batch, most in LAYER_AT_MOST.items():
        assert found[batch] < most, found


@pytest.mark.slow
def test_six_crossmodal_transformers_at_once_cost_no_more_than_six_of_torchs_own(device):
    torch.manual_seed(0)
    pairs = CrossModalPairs(names=tuple(STEPS), embed_dim=WIDTH, num_heads=HEADS, dropout=0.0).to(
        device
    )
    singles = nn.ModuleList(DecoderStyle() for _ in range(6)).to(device)
    assert sum(p.numel() for p in pairs.parameters()) == sum(
        p.numel() for p in singles.parameters()
    )
    print(f"\nsix crossmodal transformers, {WIDTH} wide, batch 16, {device}, ms (ratio)")
    print(f"{'steps':>14} {'forward':>16} {'and backward':>16}")
    for steps in (STEPS, dict.fromkeys(STEPS, 11)):
        x = {name: torch.randn(16, t, WIDTH, device=device) for name, t in steps.items()}

        def at_once(x=x) -> Tensor:
            return torch.stack([out.sum() for out in pairs(x)[0].values()])

        def in_turn(x=x) -> Tensor:
            each = zip(singles, pairs.pairs, strict=True)
            return torch.stack([one(x[target], x[source]).sum() for one, (target, source) in each])

        forward = ratios(without_gradient(at_once), without_gradient(in_turn), device, 1, 7)
        both = ratios(with_gradient(pairs, at_once), with_gradient(singles, in_turn), device, 1, 7)
        shown = " ".join(f"{row[1]:9.1f} ({row[0]:.2f})" for row in (forward, both))
        print(f"{', '.join(map(str, steps.values())):>14} {shown}")
        assert max(forward[0], both[0]) < BLOCKS_AT_MOST
