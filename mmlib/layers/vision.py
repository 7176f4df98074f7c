"""Convolution blocks, local features and shuffle units for maps of pictures, (N, C, H, W).

The parts are older than the paper that joins them: the unit with the channel shuffle is
ShuffleNetV2's (Ma et al., 2018), the local extractor with the whole arrangement EfficientFace's
(Zhao et al., 2021), whose parameter names are kept, so that its public files load.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmlib.layers import lean
from mmlib.layers.maps import check_map


class ConvBlock(nn.Sequential):
    """Convolve, normalise, rectify and max-pool: halves a frame twice at the defaults.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the convolution's window; odd, padded so that stride 1 keeps the size.
        stride: step of the convolution.
        norm: ``"batch"``, or None, which gives the convolution an offset instead.
        activation: ``"relu"`` or None.
        pool_size: side of the max pooling's window; odd, 1 means none.
        pool_stride: step of the pooling.

    Shape:
        - (N, in_channels, H, W) -> (N, out_channels, H', W'); each stride s makes ceil(H / s).

    Source:
        AVT-CA, Algorithm 1 for frames; EfficientFace's stem.

    Choices:
        A-01: two-dimensional on frames. A-02: normalised and rectified; ``norm=None,
        activation=None`` is what the algorithm says word for word.

    Raises:
        ValueError: an even window, or an unknown name.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 2,
        norm: Literal["batch"] | None = "batch",
        activation: Literal["relu"] | None = "relu",
        pool_size: int = 3,
        pool_stride: int = 2,
    ) -> None:
        """Build the block; see the class."""
        for name, size in (("kernel_size", kernel_size), ("pool_size", pool_size)):
            if size % 2 == 0:
                raise ValueError(f"{name}={size}: expected an odd window, which has a middle.")
        if norm not in ("batch", None):
            raise ValueError(f"norm={norm!r} is unknown; expected 'batch' or None.")
        if activation not in ("relu", None):
            raise ValueError(f"activation={activation!r} is unknown; expected 'relu' or None.")
        layers: list[nn.Module] = [
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding=kernel_size // 2,
                bias=norm is None,
            )
        ]
        if norm is not None:
            layers.append(nn.BatchNorm2d(out_channels))
        if activation is not None:
            layers.append(nn.ReLU(inplace=True))
        if pool_size > 1:
            layers.append(nn.MaxPool2d(pool_size, pool_stride, padding=pool_size // 2))
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; see the class."""
        return lean.run(self, x)


class LocalFeatureExtractor(nn.Module):
    """Look at each quarter of a map with filters of its own, and put the quarters back in place.

    In each quarter every channel is filtered by itself: a 3x3 convolution of stride 2 that makes
    ``out_channels / in_channels`` channels of each, then a 3x3 convolution of stride 1, both with
    batch norm and ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of ``in_channels``.

    Shape:
        - (N, in_channels, H, W) -> (N, out_channels, H / 2, W / 2), H and W even, at least 4

    Source:
        AVT-CA, Algorithm 4; EfficientFace's local feature extractor.

    Choices:
        A-08: the cut is at half the map, whatever its size; where half is odd, at the next even
        place, since only then do the halved quarters fill the halved map. The quarters are joined
        in space, the second filters being those of the lower left. A-09: depthwise filters.

    Raises:
        ValueError: a map of odd or too small size or of other channels, or channels that do not
            divide.
    """

    def __init__(self, *, in_channels: int = 29, out_channels: int = 116) -> None:
        """Build the filters of the four quarters; see the class."""
        super().__init__()
        if out_channels % in_channels:
            raise ValueError(
                f"out_channels={out_channels} is no multiple of in_channels={in_channels}, but "
                "each input channel becomes equally many of the output's."
            )
        self.in_channels = in_channels
        for k in (1, 2, 3, 4):
            first = nn.Conv2d(
                in_channels, out_channels, 3, 2, padding=1, groups=in_channels, bias=False
            )
            second = nn.Conv2d(
                out_channels, out_channels, 3, 1, padding=1, groups=out_channels, bias=False
            )
            self.add_module(f"conv{k}_1", first)
            self.add_module(f"bn{k}_1", nn.BatchNorm2d(out_channels))
            self.add_module(f"conv{k}_2", second)
            self.add_module(f"bn{k}_2", nn.BatchNorm2d(out_channels))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of local features; see the class."""
        check_map(x, self.in_channels, "The local extractor")
        height, width = x.shape[-2:]
        if height % 2 or width % 2 or min(height, width) < 4:
            raise ValueError(
                f"The local extractor got a map of {height} x {width}; it cuts the map into four "
                "and halves each part, so height and width must be even, 4 or more."
            )
        h, w = (2 * ((side + 3) // 4) for side in (height, width))
        upper, lower = x.split((h, height - h), 2)
        (one, three), (two, four) = (half.split((w, width - w), 3) for half in (upper, lower))
        rows = (
            torch.cat((self._look(1, one), self._look(3, three)), 3),
            torch.cat((self._look(2, two), self._look(4, four)), 3),
        )
        return torch.cat(rows, 2)

    def _look(self, k: int, part: Tensor) -> Tensor:
        names = (f"conv{k}_1", f"bn{k}_1", "relu", f"conv{k}_2", f"bn{k}_2", "relu")
        return lean.run((self.get_submodule(name) for name in names), part)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels out anew: one of each group in turn, so that groups meet in the next layer.

    Shape:
        - (N, C, H, W) -> (N, C, H, W); of six channels in two groups, 0 1 2 3 4 5, come 0 3 1 4 2 5

    Source:
        ShuffleNet, section 3.1.

    Raises:
        ValueError: ``groups`` does not divide the channels.
    """
    channels = x.shape[1]
    if groups < 1 or channels % groups:
        raise ValueError(
            f"{channels} channels cannot be dealt out in {groups} equal groups; take a number that "
            f"divides {channels}."
        )
    return torch.channel_shuffle(x, groups)


class InvertedResidual(nn.Module):
    """ShuffleNetV2's unit: work on half of the channels, keep the other, and mix the two.

    With stride 1 the first half of the channels passes as it is and the second goes through a 1x1,
    a depthwise 3x3 and a 1x1 convolution. With stride 2 all channels go both ways, the first way
    with a depthwise 3x3 and a 1x1. Then both halves are joined and shuffled.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, even; with stride 1 as many as of the input.
        stride: 1 keeps the map's size, 2 halves it.

    Shape:
        - (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))

    Source:
        AVT-CA, Algorithm 5, which names no split, shuffle or stride; ShuffleNetV2, figure 3 (c, d).

    Choices:
        A-10: the whole unit, as in ShuffleNetV2.

    Raises:
        ValueError: another stride, an odd number of channels, a stride of 1 that changes it, or a
            map of other channels.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int) -> None:
        """Build both branches; see the class."""
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride={stride}: expected 1 (same size) or 2 (half).")
        if out_channels % 2 or (stride == 1 and in_channels != out_channels):
            raise ValueError(
                f"in_channels={in_channels}, out_channels={out_channels}, stride={stride}: the "
                "output's channels must be even and, with stride 1, as many as the input's."
            )
        half = out_channels // 2
        self.in_channels, self.stride = in_channels, stride
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(
                *_depthwise(in_channels, stride), *_pointwise(in_channels, half)
            )
        self.branch2 = nn.Sequential(
            *_pointwise(in_channels if stride == 2 else half, half),
            *_depthwise(half, stride),
            *_pointwise(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output; see the class."""
        check_map(x, self.in_channels, "The unit")
        kept = worked = x
        if self.stride == 1:
            kept, worked = x.chunk(2, 1)
            worked = worked.clone()  # in one piece, or every convolution that reads it makes a copy
        kept, worked = lean.run(self.branch1, kept), lean.run(self.branch2, worked)
        return channel_shuffle(torch.cat((kept, worked), 1), 2)


def _depthwise(channels: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return convolution, nn.BatchNorm2d(channels)


def _pointwise(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
