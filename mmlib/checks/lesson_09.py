"""Checks of lesson 09: intermediate fusion, the final stage in two readings, what a pool listens to."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.layers import MultiHeadAttention, pool
from mmlib.layers.transformer import feed_forward


class Parts(NamedTuple):
    """What one two-stream block is made of; its attention belongs to the stream that it updates."""

    norm_query: nn.Module
    norm_context: nn.Module
    attention: nn.Module
    norm_attended: nn.Module
    mlp: nn.Module


def intermediate_fusion(
    audio: Tensor, vision: Tensor, masks: dict[str, Tensor], parts: dict[str, Parts]
) -> tuple[Tensor, Tensor]:
    """Let each stream ask the other, and add what it was told to what it was."""
    streams = {"audio": audio, "vision": vision}
    updated = {}
    for own, other in (("audio", "vision"), ("vision", "audio")):
        part = parts[own]
        told = part.attention(
            part.norm_query(streams[own]),
            part.norm_context(streams[other]),
            padding_mask=masks[other],
        )
        updated[own] = streams[own] + told + part.mlp(part.norm_attended(told))
    return updated["audio"], updated["vision"]


@exercise("09.1", title="intermediate fusion", reference=intermediate_fusion)
def check_intermediate_fusion(answer: Any) -> None:
    """Try unequal and equal lengths, padding that shouts, and who hears of whom first."""
    expect.is_callable(answer, name="intermediate_fusion")
    fresh = expect.Fresh(91)
    for device in expect.devices():
        for lengths, widths in (((11, 3), (6, 4)), ((2, 7), (4, 10)), ((5, 5), (6, 6))):
            _try_fusion(answer, fresh, device, lengths, widths)


def _try_fusion(
    answer: Any,
    fresh: expect.Fresh,
    device: torch.device,
    lengths: tuple[int, int],
    widths: tuple[int, int],
) -> None:
    """Compare with the reference, then change what must not matter, and what must."""
    parts = {
        "audio": _block(*widths, fresh, device),
        "vision": _block(*widths[::-1], fresh, device),
    }
    audio, vision = (
        fresh.normal(7, steps, width).to(device)
        for steps, width in zip(lengths, widths, strict=True)
    )
    masks = {
        "audio": fresh.padding_mask(7, lengths[0]).to(device),
        "vision": fresh.padding_mask(7, lengths[1]).to(device),
    }
    tried = f"audio {tuple(audio.shape)}, vision {tuple(vision.shape)}, some steps not real"
    with expect.inputs_left_alone(hint=3, audio=audio, vision=vision):
        came = expect.pair(
            answer(audio, vision, dict(masks), dict(parts)), "audio and vision", tried=tried
        )
    wanted = intermediate_fusion(audio, vision, masks, parts)
    names = ("the audio that comes back", "the vision that comes back")
    for name, mine, right, was in zip(names, came, wanted, (audio, vision), strict=True):
        expect.shape(mine, tuple(right.shape), name=name, tried=tried, hint=1)
        expect.like(mine, was, name=name, tried=tried, hint=1)
        expect.finite(mine, name=name, tried=tried, hint=2)
    loud = {"audio": audio, "vision": vision}
    loud = {n: x.masked_fill(~masks[n][..., None], 60.0) for n, x in loud.items()}
    shouted = answer(loud["audio"], loud["vision"], dict(masks), dict(parts))
    told = f"{tried}; then 60 in every step that is not real"
    for name, before, after, real in zip(names, came, shouted, masks.values(), strict=True):
        expect.close(
            after[real], before[real], name=f"{name}, real steps,", tried=told, hint=2, atol=1e-4
        )
    for name, mine, right in zip(names, came, wanted, strict=True):
        expect.close(mine, right, name=name, tried=tried, hint=3, atol=1e-4)


def _block(query: int, context: int, fresh: expect.Fresh, device: torch.device) -> Parts:
    """Build the parts of one block, with norms that do something to what is normed already."""
    made = Parts(
        nn.LayerNorm(query),
        nn.LayerNorm(context),
        MultiHeadAttention(query_dim=query, context_dim=context, num_heads=2, bias="output"),
        nn.LayerNorm(query),
        feed_forward(query, 2 * query, "gelu"),
    )
    for norm in (made.norm_query, made.norm_context, made.norm_attended):
        assert isinstance(norm, nn.LayerNorm)
        norm.weight.data.copy_(1 + 0.5 * fresh.normal(*norm.weight.shape))
        norm.bias.data.copy_(0.5 * fresh.normal(*norm.bias.shape))
    return Parts(*(part.to(device).eval() for part in made))


def final_stage(
    audio: Tensor, vision: Tensor, late: dict[str, nn.Module], head: nn.Module, reading: str
) -> Tensor:
    """Attend, pool, join and decide, as the text says or as the released code does."""
    if reading == "text":
        heard = late["audio"](audio, vision).amax(1) + late["vision"](vision, audio).amax(1)
        return head(heard).softmax(-1)
    pooled = [late["shared"](stream).mean(1) for stream in (audio, vision)]
    logits: Tensor = head(torch.cat(pooled, dim=-1))
    return logits


@exercise("09.2", title="the final stage, as text and as code", reference=final_stage)
def check_final_stage(answer: Any) -> None:
    """Try both readings with unequal lengths; probabilities from one, logits from the other."""
    expect.is_callable(answer, name="final_stage")
    fresh = expect.Fresh(92)
    for device in expect.devices():
        for steps, width, classes in (((11, 3), 6, 5), ((2, 7), 10, 8), ((5, 5), 4, 3)):
            audio, vision = (fresh.normal(7, time, width).to(device) for time in steps)
            names = ("audio", "vision", "shared")
            late = {name: _attention(width, device) for name in names}
            for reading in ("text", "code"):
                wide = width if reading == "text" else 2 * width
                head = nn.Linear(wide, classes).to(device)
                head.weight.data.copy_(fresh.normal(classes, wide))
                given = {n: late[n] for n in (names[:2] if reading == "text" else names[2:])}
                tried = f"reading={reading!r}, audio of {steps[0]} steps, vision of {steps[1]}"
                with expect.inputs_left_alone(hint=1, audio=audio, vision=vision):
                    came = answer(audio, vision, given, head, reading)
                expect.shape(came, (7, classes), tried=tried, hint=1)
                expect.like(came, audio, tried=tried)
                expect.finite(came, tried=tried, hint=1)
                wanted = final_stage(audio, vision, given, head, reading)
                if reading == "text":
                    expect.sums_to_one(came, name="the probabilities", tried=tried, hint=2)
                expect.close(came, wanted, tried=tried, hint=3, atol=1e-4)


def _attention(width: int, device: torch.device) -> nn.Module:
    return MultiHeadAttention(query_dim=width, num_heads=2).to(device).eval()


def pool_with_credit(x: Tensor, mask: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Pool the real steps by "max" or "mean", and say which share of the gradient each step gets."""
    real = mask.to(x.dtype)
    if how == "mean":
        credit = real / real.sum(1, keepdim=True).clamp(min=1)
    else:
        first = x.masked_fill(~mask[..., None], -torch.inf).argmax(1)  # (B, D)
        votes = torch.nn.functional.one_hot(first, x.shape[1]).to(x.dtype)  # (B, D, T)
        credit = votes.mean(1) * mask.any(1, keepdim=True)
    return pool(x, mask, "max" if how == "max" else "mean"), credit


@exercise("09.3", title="max or mean, and who is listened to", reference=pool_with_credit)
def check_pool_with_credit(answer: Any) -> None:
    """Try a case by hand, negative values, unequal lengths, a row with nothing real, gradients."""
    expect.is_callable(answer, name="pool_with_credit")
    x = torch.tensor([[[3.0, -1.0], [5.0, -4.0], [9.0, 7.0]]])
    mask = torch.tensor([[True, True, False]])
    for how, pooled, credit in (
        ("max", [[5.0, -1.0]], [[0.5, 0.5, 0.0]]),
        ("mean", [[4.0, -2.5]], [[0.5, 0.5, 0.0]]),
    ):
        tried = f"how={how!r}, steps (3, -1), (5, -4) and (9, 7), the last one not real"
        _expect_pooled(answer, x, mask, how, torch.tensor(pooled), torch.tensor(credit), tried)
    fresh = expect.Fresh(93)
    for device in expect.devices():
        for steps, width, shift in ((5, 7, 0.0), (11, 3, -6.0), (3, 13, 4.0), (7, 2, -2.0)):
            x = (fresh.normal(5, steps, width) + shift).to(device)
            mask = fresh.padding_mask(5, steps).to(device)
            mask[1] = False
            x[3, -1] = 30.0 if not mask[3, -1] else x[3, -1]
            for how in ("max", "mean"):
                tried = f"how={how!r}, x {tuple(x.shape)} round {shift}, row 1 with nothing real"
                wanted = pool_with_credit(x, mask, how)
                _expect_pooled(answer, x, mask, how, *wanted, tried)


def _expect_pooled(
    answer: Any, x: Tensor, mask: Tensor, how: str, pooled: Tensor, credit: Tensor, tried: str
) -> None:
    """Require both results, the credit's sum, and that the credit is what the gradient says."""
    source = x.clone().requires_grad_(True)
    with expect.inputs_left_alone(hint=1, x=x, mask=mask):
        came = expect.pair(answer(source, mask.clone(), how), "pooled and credit", tried=tried)
    names = ("pooled", "credit")
    for name, mine, right in zip(names, came, (pooled, credit), strict=True):
        expect.shape(mine, tuple(right.shape), name=name, tried=tried, hint=1)
        expect.like(mine, x, name=name, tried=tried, hint=1)
        expect.finite(mine, name=name, tried=tried, hint=2)
    expect.close(came[0], pooled, name="pooled", tried=tried, hint=2)
    there = mask.any(1)
    expect.sums_to_one(came[1], where=there, name="a row's credit", tried=tried, hint=3)
    expect.zero(came[1], ~mask, name="the credit of a step that is not real", tried=tried, hint=3)
    (gradient,) = torch.autograd.grad(came[0].sum(), source)
    told = gradient.sum(-1) / x.shape[-1]
    expect.close(
        told[there], credit[there], name="the gradient's share of a step", tried=tried, hint=3
    )
    expect.close(came[1], credit, name="credit", tried=tried, hint=3)
