"""Checks of lesson 10: concordance and its gradient, a spectrogram's geometry, a factorised convolution."""

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from mmlib.backbones import r2plus1d
from mmlib.checks import expect
from mmlib.checks.framework import exercise

EPS = 1e-8


def concordance_and_gradient(
    prediction: Tensor, target: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute 1 - CCC over the elements kept by the mask, and its gradient for the prediction."""
    count = mask.sum().clamp(min=1)
    x, y = torch.where(mask, prediction, 0.0), torch.where(mask, target, 0.0)
    mean_x, mean_y = x.sum() / count, y.sum() / count
    dx, dy = torch.where(mask, x - mean_x, 0.0), torch.where(mask, y - mean_y, 0.0)
    apart = (mean_x - mean_y) ** 2
    spread = ((dx**2).sum() + (dy**2).sum()) / count + apart + EPS
    ccc = 2 * (dx * dy).sum() / count / spread
    pull = torch.where(mask, dy - ccc * (x - mean_y), 0.0)
    return 1 - ccc, -2 * pull / (count * spread)


@exercise(
    "10.1", title="concordance, its loss and its gradient", reference=concordance_and_gradient
)
def check_concordance_and_gradient(answer: Any) -> None:
    """Try shifts and scales by hand, masks over rubbish, constants, one element, none."""
    expect.is_callable(answer, name="concordance_and_gradient")
    fresh = expect.Fresh(101)
    _by_hand(answer)
    for device in expect.devices():
        for shape in ((23,), (5, 7), (3, 8, 2)):
            target = fresh.normal(*shape).to(device)
            noise = fresh.normal(*shape).to(device)
            for scale, shift, words in (
                (1.0, 0.0, "noise"),
                (0.4, 0.0, "noise, and too small a scale"),
                (1.3, 0.8, "noise, and a shift of 0.8"),
            ):
                guess = scale * (target + 0.7 * noise) + shift
                every = torch.ones_like(target, dtype=torch.bool)
                _try(answer, guess, target, every, f"{tuple(shape)} numbers with {words}", 1, 2)
    guess, target = fresh.normal(4, 9), fresh.normal(4, 9) + 0.5
    mask = fresh.uniform(4, 9) < 0.7
    for rubbish in (-5.0, 60.0, float("nan")):
        labels = target.masked_fill(~mask, rubbish)
        said = f"(4, 9) numbers, {int(mask.sum())} kept; the label of the others is {rubbish:g}"
        _try(answer, guess, labels, mask, said, 3, 3)
    loud = guess.masked_fill(~mask, float("nan"))
    _try(answer, loud, target, mask, "(4, 9) numbers; where not kept, the guess is NaN", 3, 3)
    every = torch.ones(6, dtype=torch.bool)
    flat, wave = torch.full((6,), 0.25), torch.tensor([0.5, -0.5, 1.0, 0.0, -1.0, 0.0])
    _try(answer, flat, wave, every, "a constant guess, 0.25: loss 1, and a way out of it", 3, 3)
    _try(answer, wave, flat, every, "a constant target, 0.25: loss 1", 3, 3)
    _try(answer, flat, flat, every, "guess and target both 0.25: loss 1, gradient 0", 3, 3)
    one = torch.tensor([False, False, True, False, False, False])
    _try(answer, wave, flat, one, "a single element kept: loss 1, gradient 0", 3, 3)
    _try(answer, wave, flat, ~every, "nothing kept: loss 1, gradient 0", 3, 3)


def _by_hand(answer: Any) -> None:
    target = torch.tensor([-1.0, 0.0, 1.0, 0.0])
    every = torch.ones(4, dtype=torch.bool)
    for guess, loss, words in (
        (target, 0.0, "the guess is the target"),
        (-target, 2.0, "the guess is minus the target"),
        (target + 1, 0.5, "the guess is the target + 1, so CCC = 1 / (0.5 + 0.5 + 1)"),
        (2 * target, 0.2, "the guess is twice the target, so CCC = 2 / (2 + 0.5)"),
    ):
        tried = f"target -1, 0, 1, 0; {words}"
        came = answer(guess.clone(), target.clone(), every.clone())
        came_loss, _ = expect.pair(came, "the loss and its gradient", tried=tried)
        expect.close(came_loss, loss, name="the loss", tried=tried, hint=1)


def _try(
    answer: Any, guess: Tensor, target: Tensor, mask: Tensor, tried: str, first: int, second: int
) -> None:
    """Compare loss and gradient with the reference; `first` and `second` are their hints."""
    with expect.inputs_left_alone(hint=3, prediction=guess, target=target):
        loss, gradient = expect.pair(
            answer(guess, target, mask), "the loss and its gradient", tried=tried
        )
    wanted_loss, wanted = concordance_and_gradient(guess, target, mask)
    expect.shape(loss, (), name="the loss", tried=tried, hint=first)
    expect.shape(gradient, tuple(guess.shape), name="the gradient", tried=tried, hint=second)
    expect.like(gradient, guess, name="the gradient", tried=tried)
    expect.finite(loss, name="the loss", tried=tried, hint=first)
    expect.finite(gradient, name="the gradient", tried=tried, hint=second)
    expect.close(loss, wanted_loss, name="the loss", tried=tried, hint=first)
    expect.zero(gradient, ~mask, name="the gradient where nothing is kept", tried=tried, hint=3)
    expect.close(gradient, wanted, name="the gradient", tried=tried, hint=second)


def clip_geometry(
    frames: int, dilation: int, frame_rate: float, sample_rate: int, window_ms: int, hop_ms: int
) -> tuple[int, int, int, int, int]:
    """Count samples, window, hop, transform length and columns of a clip's spectrogram."""
    samples = round(Fraction(frames * dilation * sample_rate) / Fraction(str(frame_rate)))
    window = round(Fraction(window_ms * sample_rate, 1000))
    hop = round(Fraction(hop_ms * sample_rate, 1000))
    n_fft = 1
    while n_fft < window:
        n_fft *= 2
    return samples, window, hop, n_fft, samples // hop + 1


@exercise("10.2", title="the geometry of a spectrogram", reference=clip_geometry)
def check_clip_geometry(answer: Any) -> None:
    """Try the paper's clip, other rates, windows that are a power of two, and odd frame rates."""
    expect.is_callable(answer, name="clip_geometry")
    parts = (("samples", 1), ("window", 1), ("hop", 1), ("n_fft", 3), ("columns", 2))
    for clip in (
        (8, 4, 30, 44_100, 20, 10),
        (8, 1, 30, 44_100, 20, 10),
        (16, 2, 25, 16_000, 32, 16),  # a window of 512: a power of two already
        (8, 4, 29.97, 44_100, 20, 10),
        (12, 3, 24, 22_050, 20, 13),
        (7, 1, 30, 8_000, 20, 10),  # 1,866.67 samples
        (7, 5, 30, 48_000, 25, 15),
        (10, 3, 23.976, 8_000, 16, 8),
        (33, 1, 30, 44_100, 30, 10),
        (3, 2, 15, 11_025, 40, 8),
        (20, 1, 10, 16_000, 64, 20),  # the samples are a whole number of hops
    ):
        names = ("frames", "dilation", "frame_rate", "sample_rate", "window_ms", "hop_ms")
        tried = ", ".join(f"{name}={value}" for name, value in zip(names, clip, strict=True))
        came = answer(*clip)
        expect.kind(came, (tuple, list), tried=tried, hint=1)
        expect.that(
            len(came) == 5,
            "five numbers: samples, window, hop, n_fft, columns",
            got=f"{len(came)}",
            tried=tried,
            hint=1,
        )
        for (name, hint), mine, right in zip(parts, came, clip_geometry(*clip), strict=True):
            expect.kind(mine, int, name=name, tried=tried, hint=1)
            expect.that(mine == right, f"{name} = {right}", got=f"{mine}", tried=tried, hint=hint)


class FactorisedConv(nn.Module):
    """A convolution over places, norm and ReLU, a convolution over time; as heavy as t x d x d."""

    def __init__(
        self, in_channels: int, out_channels: int, t: int = 3, d: int = 3, stride: int = 1
    ) -> None:
        """Choose the width between the two, and build both."""
        super().__init__()
        middle = t * d * d * in_channels * out_channels // (d * d * in_channels + t * out_channels)
        self.over_places = nn.Conv3d(
            in_channels,
            middle,
            (1, d, d),
            stride=(1, stride, stride),
            padding=(0, d // 2, d // 2),
            bias=False,
        )
        self.norm = nn.BatchNorm3d(middle)
        self.over_time = nn.Conv3d(
            middle,
            out_channels,
            (t, 1, 1),
            stride=(stride, 1, 1),
            padding=(t // 2, 0, 0),
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve over places, then over time."""
        return self.over_time(torch.relu(self.norm(self.over_places(x))))


@exercise(
    "10.3",
    title="a convolution in (2+1) dimensions",
    reference=FactorisedConv,
    forbidden=(r2plus1d.FactorisedConv,),
)
def check_factorised_conv(answer: Any) -> None:
    """Try widths, kernels and strides that all differ; count weights; compare outputs."""
    expect.that(
        isinstance(answer, type) and issubclass(answer, nn.Module),
        "FactorisedConv is a class derived from nn.Module",
        got=f"{answer!r}"[:60],
        hint=1,
    )
    fresh = expect.Fresh(103)
    for device in expect.devices():
        for inside, outside, t, d, stride, size in (
            (5, 7, 3, 3, 1, (6, 9, 11)),
            (3, 11, 3, 5, 1, (4, 7, 8)),
            (13, 6, 5, 3, 2, (9, 10, 7)),
            (4, 10, 3, 3, 2, (8, 5, 12)),
        ):
            _try_conv(answer, fresh, device, (inside, outside, t, d, stride), size)


def _try_conv(
    answer: Any,
    fresh: expect.Fresh,
    device: torch.device,
    made_of: tuple[int, int, int, int, int],
    size: tuple[int, int, int],
) -> None:
    inside, outside, t, d, stride = made_of
    layer = answer(inside, outside, t=t, d=d, stride=stride).to(device)
    wanted = FactorisedConv(inside, outside, t=t, d=d, stride=stride).to(device)
    tried = f"FactorisedConv({inside}, {outside}, t={t}, d={d}, stride={stride})"
    mine = sorted(p.numel() for p in layer.parameters())
    right = sorted(p.numel() for p in wanted.parameters())
    middle, full = wanted.norm.num_features, t * d * d * inside * outside
    expect.that(
        sum(mine) == sum(right),
        f"{sum(right)} parameters: the two kernels ({middle} channels between them, no bias; the "
        f"{t}x{d}x{d} kernel has {full} weights) and the norm's 2 x {middle}",
        got=f"{sum(mine)}",
        tried=tried,
        hint=1,
    )
    expect.that(
        mine == right,
        f"one kernel over places, one over time, and a norm: {right} parameters",
        got=f"{mine}",
        tried=tried,
        hint=2,
    )
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(0.5 * fresh.normal(*weight.shape).to(device))
        _copy(layer, wanted)
        x = fresh.normal(2, inside, *size).to(device)
        tried = f"{tried} on clips {tuple(x.shape)}"
        with expect.inputs_left_alone(hint=2, x=x):
            out = layer.train()(x)
        right_out = wanted.train()(x)
    expect.shape(out, tuple(right_out.shape), tried=tried, hint=3)
    expect.like(out, x, tried=tried)
    expect.close(out, right_out, tried=tried, hint=2, atol=1e-3)


def _copy(source: nn.Module, target: nn.Module) -> None:
    """Hand over parameters by their sizes; among equals (the norm's) the order decides."""
    waiting = list(source.parameters())
    for place in target.parameters():
        found = next(k for k, p in enumerate(waiting) if p.numel() == place.numel())
        place.copy_(waiting.pop(found).reshape(place.shape))
