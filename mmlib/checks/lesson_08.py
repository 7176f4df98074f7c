"""Checks of lesson 08: a channel gate, quarters put back, what a convolution costs, the shuffle."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.layers import ChannelAttention, LocalFeatureExtractor
from mmlib.layers import channel_shuffle as library_shuffle

Layer = Callable[[Tensor], Tensor]
Cost = tuple[int, int]


def channel_gate(x: Tensor, narrow: Layer, widen: Layer) -> tuple[Tensor, Tensor]:
    """Weigh each channel of a map by what the whole map holds of it."""
    seen = x.mean(dim=(2, 3))  # (N, C)
    gate = widen(narrow(seen).relu()).sigmoid()[:, :, None, None]
    return gate * x, gate


@exercise("08.1", title="the channel gate", reference=channel_gate, forbidden=(ChannelAttention,))
def check_channel_gate(answer: Any) -> None:
    """Try a case by hand, wide and high maps, layers with offsets, a map that is turned, gradients."""
    expect.is_callable(answer, name="channel_gate")
    _gate_by_hand(answer)
    fresh = expect.Fresh(81)
    for device in expect.devices():
        for shape, width in (((3, 11, 7, 5), 2), ((5, 6, 2, 13), 3), ((2, 7, 4, 4), 5)):
            _try_gate(answer, fresh, device, shape, width)


def _gate_by_hand(answer: Any) -> None:
    same: Layer = nn.Identity()
    x = torch.tensor([[[[2.0, 4.0]], [[-3.0, -1.0]]]])  # (1, 2, 1, 2): means 3 and -2
    tried = "two channels, (2, 4) and (-3, -1), layers that change nothing: scores 3 and 0"
    out, gate = expect.pair(answer(x, same, same), "the gated map and the gate", tried=tried)
    expect.shape(gate, (1, 2, 1, 1), name="the gate", tried=tried, hint=3)
    wanted = torch.tensor([3.0, 0.0]).sigmoid().reshape(1, 2, 1, 1)
    expect.close(gate, wanted, name="the gate", tried=tried, hint=2)
    expect.shape(out, (1, 2, 1, 2), name="the gated map", tried=tried, hint=3)
    expect.close(out, wanted * x, name="the gated map", tried=tried, hint=3)


def _try_gate(
    answer: Any,
    fresh: expect.Fresh,
    device: torch.device,
    shape: tuple[int, int, int, int],
    width: int,
) -> None:
    down, up = fresh.normal(shape[1], width).to(device), fresh.normal(width, shape[1]).to(device)
    offset, lift = fresh.normal(width).to(device), fresh.normal(shape[1]).to(device)
    x = 1 + 2 * fresh.normal(*shape).to(device)
    x.requires_grad_()

    def narrow(seen: Tensor) -> Tensor:
        expect.shape(seen, shape[:2], name="what `narrow` is given", tried=tried, hint=1)
        return seen @ down + offset

    def widen(few: Tensor) -> Tensor:
        wide = (shape[0], width)
        expect.shape(few, wide, name="what `widen` is given", tried=tried, hint=2)
        return few @ up + lift

    tried = f"a map {shape}, layers {shape[1]} to {width} and back"
    with expect.inputs_left_alone(hint=3, x=x):
        out, gate = expect.pair(answer(x, narrow, widen), "the gated map and the gate", tried=tried)
    expect.shape(gate, (*shape[:2], 1, 1), name="the gate", tried=tried, hint=3)
    expect.shape(out, shape, name="the gated map", tried=tried, hint=3)
    expect.like(out, x, name="the gated map", tried=tried)
    expect.finite(out, name="the gated map", tried=tried)
    wanted, right = channel_gate(x, narrow, widen)
    expect.close(gate, right, name="the gate", tried=tried, hint=2)
    expect.close(out, wanted, name="the gated map", tried=tried, hint=3)
    expect.gradient_reaches(gate, x, name="the map through its gate", tried=tried, hint=1)
    turned = answer(x.flip(3).flip(2), narrow, widen)[1]
    expect.close(turned, right, name="the gate of the same map upside down", tried=tried, hint=1)


def quarter_by_quarter(x: Tensor, looks: Sequence[Layer]) -> Tensor:
    """Cut maps into four, look at each quarter by itself, put the results back in place."""
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(f"a map of {height} x {width} cannot be cut into four equal quarters")
    h, w = height // 2, width // 2
    upper_left, lower_left = looks[0](x[..., :h, :w]), looks[1](x[..., h:, :w])
    upper_right, lower_right = looks[2](x[..., :h, w:]), looks[3](x[..., h:, w:])
    upper = torch.cat([upper_left, upper_right], dim=-1)
    lower = torch.cat([lower_left, lower_right], dim=-1)
    return torch.cat([upper, lower], dim=-2)


@exercise(
    "08.2",
    title="quarters, put back in place",
    reference=quarter_by_quarter,
    forbidden=(LocalFeatureExtractor,),
)
def check_quarter_by_quarter(answer: Any) -> None:
    """Try numbered quarters, maps of several shapes, looks that halve and widen, odd sizes."""
    expect.is_callable(answer, name="quarter_by_quarter")
    _numbered_quarters(answer)
    fresh = expect.Fresh(82)
    for device in expect.devices():
        for shape, out_channels, stride in (
            ((2, 3, 8, 8), 3, 1),
            ((3, 2, 12, 20), 6, 2),
            ((5, 2, 56, 56), 4, 2),
            ((2, 7, 20, 4), 7, 2),
        ):
            _try_quarters(answer, fresh, device, shape, out_channels, stride)
    for shape in ((2, 3, 7, 8), (2, 3, 8, 5)):
        _refuses(answer, fresh.normal(*shape), shape)


def _numbered_quarters(answer: Any) -> None:
    x = torch.arange(1.0, 25.0).reshape(1, 1, 4, 6)
    tried = "the map 1 to 24 in four rows of six, looks that add 100, 200, 300 and 400"
    looks = [lambda part, k=k: part + 100 * k for k in (1, 2, 3, 4)]
    out = answer(x, looks)
    expect.shape(out, (1, 1, 4, 6), tried=tried, hint=3)
    added = torch.full((4, 6), 100.0)
    added[2:, :3], added[:2, 3:], added[2:, 3:] = 200.0, 300.0, 400.0
    for name, rows, columns in (
        ("upper left", slice(0, 2), slice(0, 3)),
        ("lower left", slice(2, 4), slice(0, 3)),
        ("upper right", slice(0, 2), slice(3, 6)),
        ("lower right", slice(2, 4), slice(3, 6)),
    ):
        came, wanted = out[0, 0, rows, columns], (x[0, 0] + added)[rows, columns]
        expect.close(came, wanted, name=f"the {name} quarter", tried=tried, hint=2)


def _try_quarters(
    answer: Any,
    fresh: expect.Fresh,
    device: torch.device,
    shape: tuple[int, int, int, int],
    out_channels: int,
    stride: int,
) -> None:
    weights = [fresh.normal(out_channels, shape[1], 3, 3).to(device) for _ in range(4)]
    looks = [
        lambda part, weight=weight: F.conv2d(part, weight, stride=stride, padding=1)
        for weight in weights
    ]
    x = fresh.normal(*shape).to(device)
    tried = f"a map {shape}, 3x3 convolutions to {out_channels} channels with stride {stride}"
    with expect.inputs_left_alone(hint=2, x=x):
        out = answer(x, looks)
    wanted = quarter_by_quarter(x, looks)
    expect.shape(out, tuple(wanted.shape), tried=tried, hint=3)
    expect.like(out, x, tried=tried)
    expect.finite(out, tried=tried)
    expect.close(out, wanted, tried=tried, hint=2, atol=1e-4)


def _refuses(answer: Any, x: Tensor, shape: tuple[int, ...]) -> None:
    tried = f"a map {shape}, which no cut halves"
    try:
        came = answer(x, [lambda part: part] * 4)
    except ValueError:
        return
    got = f"shape {tuple(came.shape)}" if isinstance(came, Tensor) else f"{came!r}"
    expect.that(False, "a ValueError", got=got, tried=tried, hint=1)


def separable_cost(
    in_channels: int, out_channels: int, kernel_size: int, size: tuple[int, int], stride: int = 1
) -> tuple[Cost, Cost]:
    """Count (parameters, multiply-adds): a plain convolution, and a depthwise one with a 1x1."""
    places = -(-size[0] // stride) * -(-size[1] // stride)
    window = kernel_size**2
    plain = window * in_channels * out_channels
    separable = window * in_channels + in_channels * out_channels
    return (plain, plain * places), (separable, separable * places)


@exercise("08.3", title="what a convolution costs", reference=separable_cost)
def check_separable_cost(answer: Any) -> None:
    """Count by running layers: even and odd sizes, strides, windows, one channel and many."""
    expect.is_callable(answer, name="separable_cost")
    for k, (given, size, stride) in enumerate(
        (
            ((2, 3, 3), (4, 6), 1),
            ((29, 116, 3), (56, 56), 2),
            ((5, 2, 1), (7, 3), 1),
            ((7, 11, 5), (9, 15), 2),
            ((3, 13, 7), (10, 4), 3),
            ((1, 1, 3), (5, 5), 1),
        )
    ):
        words = "no stride given" if k == 0 else f"stride {stride}"
        tried = f"{given[0]} to {given[1]} channels, {given[2]}x{given[2]}, a map {size}, {words}"
        came = answer(*given, size) if k == 0 else answer(*given, size, stride)
        pairs = expect.pair(came, "two pairs: plain, separable", tried=tried)
        wanted = _counted(*given, size, stride)
        for name, mine, right in zip(("plain", "separable"), pairs, wanted, strict=True):
            two = expect.pair(mine, f"(parameters, multiply-adds) of the {name} one", tried=tried)
            for what, count, truth in zip(("parameters", "multiply-adds"), two, right, strict=True):
                said = f"the {name} one's {what}"
                expect.kind(count, (int, float), name=said, tried=tried, hint=1)
                hint = 3 if what == "multiply-adds" else 1 if name == "plain" else 2
                whole = f"{said} = {truth:,}"
                expect.that(count == truth, whole, got=f"{count:,}", tried=tried, hint=hint)
                expect.kind(count, int, name=said, tried=tried, hint=3)


def _counted(
    in_channels: int, out_channels: int, kernel_size: int, size: tuple[int, int], stride: int
) -> tuple[Cost, Cost]:
    """Run the layers on the `meta` device, and count weights and outputs."""

    def layer(inside: int, outside: int, window: int, step: int, groups: int) -> nn.Conv2d:
        return nn.Conv2d(
            inside, outside, window, step, padding=window // 2, groups=groups, bias=False
        )

    with torch.device("meta"):
        plain = [layer(in_channels, out_channels, kernel_size, stride, 1)]
        separable = [
            layer(in_channels, in_channels, kernel_size, stride, in_channels),
            layer(in_channels, out_channels, 1, 1, 1),
        ]
        counts = []
        for layers in (plain, separable):
            x, parameters, products = torch.zeros(1, in_channels, *size), 0, 0
            for each in layers:
                x = each(x)
                parameters += each.weight.numel()
                products += x.numel() * each.weight[0].numel()  # a filter's weights, each output
            counts.append((parameters, products))
    return counts[0], counts[1]


def shuffle_channels(x: Tensor, groups: int) -> Tensor:
    """Deal the channels out anew: one of each group in turn."""
    n, channels, height, width = x.shape
    dealt = x.reshape(n, groups, channels // groups, height, width).transpose(1, 2)
    return dealt.reshape(n, channels, height, width)


@exercise(
    "08.4",
    title="the channel shuffle",
    reference=shuffle_channels,
    forbidden=(
        library_shuffle,
        torch.channel_shuffle,
        torch.native_channel_shuffle,
        F.channel_shuffle,
        F.native_channel_shuffle,
        nn.ChannelShuffle,
    ),
)
def check_shuffle_channels(answer: Any) -> None:
    """Try six channels by hand, two and more groups, a group of one, places that must not move."""
    expect.is_callable(answer, name="shuffle_channels")
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    for groups, wanted in ((2, [0, 3, 1, 4, 2, 5]), (3, [0, 2, 4, 1, 3, 5])):
        tried = f"channels 0 1 2 3 4 5 in {groups} groups, which become {wanted}"
        out = answer(x, groups)
        expect.shape(out, (1, 6, 1, 1), tried=tried, hint=3)
        expect.close(out.flatten(), torch.tensor(wanted, dtype=x.dtype), tried=tried, hint=1)
    fresh = expect.Fresh(84)
    for device in expect.devices():
        for shape, groups in (
            ((2, 12, 3, 5), 3), ((3, 10, 2, 7), 2), ((5, 20, 4, 3), 4), ((2, 7, 3, 2), 7),
            ((2, 11, 5, 3), 1),
        ):  # fmt: skip
            x = fresh.normal(*shape).to(device)
            tried = f"a map {shape} in {groups} groups"
            with expect.inputs_left_alone(hint=3, x=x):
                out = answer(x, groups)
            expect.shape(out, shape, tried=tried, hint=3)
            expect.like(out, x, tried=tried)
            expect.close(out, shuffle_channels(x, groups), tried=tried, hint=2)
