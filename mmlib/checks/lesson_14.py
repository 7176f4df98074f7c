"""Checks of lesson 14: a fair choice of settings, a fusion of the learner's own, what may be claimed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mmlib.checks import expect
from mmlib.checks.contract import CONTRACT, hold, try_out
from mmlib.checks.framework import exercise
from mmlib.systems import SYSTEMS

Array = np.ndarray


def fair_choice(
    valid: Mapping[str, Array], right: Mapping[str, Array], budget: int
) -> dict[str, tuple[int, Array]]:
    """Choose a setting for each system by its validation actors; tell how it does on the test."""
    found = {}
    for name, scores in valid.items():
        setting = int(scores[:budget].mean(1).argmax())
        found[name] = setting, right[name][setting].mean(0)
    return found


@exercise("14.1", title="a fair choice", reference=fair_choice)
def check_fair_choice(answer: Any) -> None:
    """Try scores by hand, other numbers of settings, seeds and samples, and every budget."""
    expect.is_callable(answer, name="fair_choice")
    _by_hand(answer)
    rng = np.random.default_rng(20_141)
    for settings, seeds, samples in ((5, 3, 7), (2, 5, 11), (4, 1, 3), (3, 4, 13)):
        valid, right = {}, {}
        for name in ("jmt", "concat", "avt_ca")[: 2 + settings % 2]:
            # Of different lengths: some were tried with more settings than the budget allows.
            count = settings + int(rng.integers(0, 3))
            valid[name] = rng.random((count, seeds))
            right[name] = rng.random((count, seeds, samples)) < rng.random((count, 1, 1))
        for budget in range(1, settings + 1):
            _expect_choice(answer, valid, right, budget)


def _by_hand(answer: Any) -> None:
    """One system whose best single run, whose best on the test and whose best mean are three settings."""
    valid = {"concat": np.array([[0.9, 0.1], [0.6, 0.6], [0.5, 0.5], [0.95, 0.95]])}
    right = {"concat": np.zeros((4, 2, 4), dtype=bool)}
    right["concat"][2] = True
    right["concat"][1] = [[True, True, False, False], [True, False, False, False]]
    _expect_choice(answer, valid, right, 3)


def _expect_choice(
    answer: Any, valid: dict[str, Array], right: dict[str, Array], budget: int
) -> None:
    shapes = ", ".join(f"{name} {right[name].shape}" for name in valid)
    tried = f"right: {shapes}; a budget of {budget}"
    if len(valid) == 1:
        tried += f"; valid: {next(iter(valid.values())).tolist()}"
    kept = {name: (valid[name].copy(), right[name].copy()) for name in valid}
    came = answer(dict(valid), dict(right), budget)
    same = all(
        np.array_equal(valid[n], v) and np.array_equal(right[n], r) for n, (v, r) in kept.items()
    )
    expect.that(same, "the arrays as they were", got="changed ones", tried=tried, hint=1)
    expect.kind(came, dict, tried=tried, hint=1)
    names = ", ".join(valid)
    expect.that(set(came) == set(valid), names, got=", ".join(map(str, came)), tried=tried, hint=1)
    for name, (setting, share) in fair_choice(valid, right, budget).items():
        mine, told = expect.pair(came[name], f"for {name} the setting and the answers", tried=tried)
        expect.kind(mine, (int, np.integer), name=f"the setting of {name}", tried=tried, hint=1)
        expect.that(
            int(mine) == setting,
            f"setting {setting} for {name}: its mean validation score over the seeds is the highest "
            f"of the first {budget}",
            got=f"setting {mine}",
            tried=tried,
            hint=2,
        )
        told = torch.as_tensor(np.asarray(told, dtype=float))
        wanted = torch.from_numpy(share)
        expect.shape(told, tuple(wanted.shape), name=f"the answers of {name}", tried=tried, hint=3)
        expect.close(told, wanted, name=f"the answers of {name}", tried=tried, hint=3)


class Fused(NamedTuple):
    """What a fusion gives: its first field is what the loss and the metrics read."""

    logits: Tensor


class MyFusion(nn.Module):
    """Summaries of the streams, weighted by gates that share one among those that are there."""

    def __init__(self, widths: dict[str, int], num_classes: int, dim: int = 32) -> None:
        """Build an encoder and a gate for each stream, and one head."""
        super().__init__()
        self.encoders = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, dim), nn.ReLU())
                for name, width in widths.items()
            }
        )
        self.gates = nn.ModuleDict({name: nn.Linear(dim, 1) for name in widths})
        self.head = nn.Linear(dim, num_classes)

    def forward(self, masks: dict[str, Tensor] | None = None, **streams: Tensor) -> Fused:
        """Average real steps, weigh the streams, decide."""
        missing = [name for name in self.encoders if name not in streams]
        if missing:
            raise ValueError(
                f"no {' and no '.join(missing)}; give each stream, absent by its mask."
            )
        summaries, scores, there = [], [], []
        for name, encode in self.encoders.items():
            x = streams[name]
            real = torch.ones_like(x[..., 0], dtype=torch.bool) if masks is None else masks[name]
            x = torch.where(real[..., None], x, 0.0)
            count = real.sum(1, keepdim=True)
            summary = (encode(x) * real[..., None]).sum(1) / count.clamp(min=1)
            summaries.append(summary)
            scores.append(self.gates[name](summary))
            there.append(count > 0)
        score = torch.stack(scores, 1).float()  # (B, M, 1)
        score = score.masked_fill(~torch.stack(there, 1), -1e4)
        weights = score.softmax(1)
        return Fused(self.head((weights * torch.stack(summaries, 1)).sum(1)))


@exercise(
    "14.2",
    title="your own fusion",
    reference=MyFusion,
    forbidden=tuple(kind.model for kind in SYSTEMS.values() if isinstance(kind.model, type)),
)
def check_my_fusion(answer: Any) -> None:
    """Hold the class against every clause of the contract: three streams and two; then let it learn."""
    expect.that(
        isinstance(answer, type) and issubclass(answer, nn.Module),
        "MyFusion is a class derived from nn.Module",
        got=f"{answer!r}"[:60],
        hint=1,
    )
    two = {"voice": (5, 3), "pulse": (11, 2)}
    for candidate in (try_out(answer), try_out(answer, two, classes=2, seed=1)):
        for name in CONTRACT:
            for device in expect.devices():
                hold(name, candidate, str(device))
    _learns(answer)


def _learns(answer: Any) -> None:
    """Sixty steps on forty samples, of which each stream alone tells a half."""
    fresh = expect.Fresh(142)
    labels = torch.arange(40) % 4
    sign = torch.stack([labels % 2, labels // 2], 1).float() * 2 - 1
    streams = {
        name: 0.3 * fresh.normal(40, 5, 3) + sign[:, place, None, None]
        for place, name in enumerate(("voice", "pulse"))
    }
    model = answer({"voice": 3, "pulse": 3}, 4).train()
    steps = torch.optim.AdamW(model.parameters(), lr=1e-2)
    masks = {name: torch.ones(40, 5, dtype=torch.bool) for name in streams}
    for _ in range(150):
        steps.zero_grad()
        loss = nn.functional.cross_entropy(model(**streams, masks=masks)[0].float(), labels)
        loss.backward()
        steps.step()
    with torch.no_grad():
        said = model.eval()(**streams, masks=masks)[0].argmax(1)
    share = (said == labels).double().mean().item()
    expect.that(
        share >= 0.8,
        "four of five right after 150 steps on samples of which each stream tells one half",
        got=f"{share:.2f}",
        tried="forty samples, two streams, AdamW with a learning rate of 0.01",
        hint=3,
    )


def claims(
    right: Mapping[str, Array], groups: Array, tried: Mapping[str, int], rival: str
) -> dict[str, tuple[float, float]]:
    """Tell of each system that was tuned like the rival what it gains, and how soon chance gives as much."""
    actors, place = np.unique(groups, return_inverse=True)
    signs = np.array(list(product((1, -1), repeat=len(actors))))
    found = {}
    for name in right:
        if name != rival and tried[name] == tried[rival]:
            gain = right[name].mean(0) - right[rival].mean(0)
            total = np.bincount(place.reshape(-1), weights=gain)
            as_large = np.abs(signs @ total) >= abs(total.sum()) - 1e-9
            found[name] = float(gain.mean()), float(as_large.mean())
    least = 0.0
    for rank, name in enumerate(sorted(found, key=lambda name: found[name][1])):
        gain, p = found[name]
        least = max(least, min(1.0, p * (len(found) - rank)))
        found[name] = gain, least
    return found


@exercise("14.3", title="what may be claimed", reference=claims)
def check_claims(answer: Any) -> None:
    """Try one rival alone, several, unequal budgets, actors of unequal numbers of clips, seeds."""
    expect.is_callable(answer, name="claims")
    _alone(answer)
    rng = np.random.default_rng(20_143)
    names = ("concat", "jmt", "late", "avt_ca", "gated")
    for actors, samples, count in ((5, 23, 3), (7, 61, 5), (9, 83, 4), (6, 37, 5)):
        # Some speak more than others, and each in several places.
        groups = np.concatenate([np.arange(actors), rng.integers(0, actors, samples - actors) ** 2])
        groups = np.array([f"actor {number % actors}" for number in rng.permutation(groups)])
        hard = rng.random(samples)
        right, tried = {}, {}
        for place, name in enumerate(names[:count]):
            seeds = int(rng.integers(1, 5))
            level = 0.35 + 0.22 * (place % 3) + 0.05 * place
            right[name] = (rng.random((seeds, samples)) + hard) / 2 < level
            tried[name] = 3
        _expect_claims(answer, right, groups, tried, names[0], hint=3)
        _expect_claims(answer, right, groups, tried, names[1], hint=3)
        uneven = tried | {names[1]: 5}
        _expect_claims(answer, right, groups, uneven, names[0], hint=1)
        _expect_claims(answer, right, groups, uneven, names[1], hint=1)
        _expect_claims(answer, right, groups, tried | {names[1]: 1}, names[0], hint=1)


def _alone(answer: Any) -> None:
    """One system and its rival: nothing to correct for, so that the test itself can be looked at."""
    groups = np.repeat(np.array([3, 1, 7, 4]), [1, 2, 3, 4])
    right = {"concat": np.zeros((2, 10), dtype=bool), "mine": np.zeros((2, 10), dtype=bool)}
    right["mine"][:, [0, 1, 3, 4]] = True
    right["mine"][0, 6] = True
    right["concat"][:, 7] = True
    tried = {"concat": 2, "mine": 2}
    _expect_claims(answer, right, groups, tried, "concat", hint=2)
    _expect_claims(answer, {n: r[:1] for n, r in right.items()}, groups, tried, "mine", hint=2)
    same = {"concat": right["concat"], "mine": right["concat"][:1]}
    _expect_claims(answer, same, groups, tried, "concat", hint=2)
    twice = right | {"again": right["concat"], "once more": right["concat"][1:]}
    _expect_claims(answer, twice, groups, dict.fromkeys(twice, 2), "concat", hint=3)


def _expect_claims(
    answer: Any,
    right: dict[str, Array],
    groups: Array,
    tried: dict[str, int],
    rival: str,
    *,
    hint: int,
) -> None:
    shapes = ", ".join(f"{name} {each.shape}" for name, each in right.items())
    settings = ", ".join(f"{name} {number}" for name, number in tried.items())
    words = f"right: {shapes}; {len(np.unique(groups))} actors; settings tried: {settings}; rival {rival}"
    kept = {name: each.copy() for name, each in right.items()}
    came = answer(dict(right), groups.copy(), dict(tried), rival)
    same = all(np.array_equal(kept[name], each) for name, each in right.items())
    expect.that(same, "the arrays as they were", got="changed ones", tried=words, hint=1)
    expect.kind(came, dict, tried=words, hint=1)
    wanted = claims(right, groups, tried, rival)
    entries = ", ".join(wanted) or "none: nobody was tuned like the rival"
    got = ", ".join(map(str, came)) or "none"
    expect.that(set(came) == set(wanted), f"entries: {entries}", got=got, tried=words, hint=1)
    for name, (gain, chance) in wanted.items():
        mine, p = expect.pair(came[name], f"for {name} the gain and p", tried=words)
        expect.close(mine, gain, name=f"the gain of {name}", tried=words, hint=2)
        expect.close(p, chance, name=f"p of {name}", tried=words, hint=hint)
