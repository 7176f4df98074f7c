"""R(2+1)D-18: video convolutions taken apart into a spatial and a temporal one."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from torch import Tensor, nn

from mmlib.backbones.public import load_strictly, read_weights
from mmlib.backbones.residual import WIDTHS, four_layers, scaled

#: Of the red, green and blue of Kinetics-400, for values in [0, 1].
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


def inner_width(in_channels: int, out_channels: int) -> int:
    """Choose the channels between the two convolutions, so that both have a 3x3x3 one's weights.

    27 in * out weights, divided by the 9 in + 3 out that each inner channel costs, rounded down.
    """
    return 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)


class FactorisedConv(nn.Sequential):
    """A 1x3x3 convolution over places, then a 3x1x1 one over time, norm and ReLU between.

    Shape:
        - x: (B, in_channels, T, H, W) -> (B, out_channels, T / stride, H / stride, W / stride)

    Source:
        Tran et al. (2018), section 3.5.
    """

    def __init__(
        self, *, in_channels: int, out_channels: int, inner_channels: int, stride: int = 1
    ) -> None:
        """Build both convolutions; each takes its own part of the stride."""
        super().__init__(
            nn.Conv3d(
                in_channels,
                inner_channels,
                (1, 3, 3),
                stride=(1, stride, stride),
                padding=(0, 1, 1),
                bias=False,
            ),
            nn.BatchNorm3d(inner_channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(
                inner_channels,
                out_channels,
                (3, 1, 1),
                stride=(stride, 1, 1),
                padding=(1, 0, 0),
                bias=False,
            ),
        )


class Block(nn.Module):
    """Two factorised convolutions with a way around them.

    The inner width is that of the block's own in and out, in both of its convolutions.

    Shape:
        - x: (B, in_channels, T, H, W) -> (B, out_channels, T / stride, H / stride, W / stride)

    Source:
        Tran et al. (2018), section 3.5; He et al. (2016), figure 2, for the way around.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int) -> None:
        """Build both convolutions, and a projection where the shape changes."""
        super().__init__()
        inner = inner_width(in_channels, out_channels)
        self.conv1 = nn.Sequential(
            FactorisedConv(
                in_channels=in_channels,
                out_channels=out_channels,
                inner_channels=inner,
                stride=stride,
            ),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(
            FactorisedConv(
                in_channels=out_channels, out_channels=out_channels, inner_channels=inner
            ),
            nn.BatchNorm3d(out_channels),
        )
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm3d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve twice and add what came in."""
        around = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv2(self.conv1(x)) + around)


class R2Plus1D(nn.Module):
    """R(2+1)D with 18 layers, with the names of the public Kinetics-400 checkpoint.

    It takes frames as its weights were trained: RGB in [0, 1], then `normalise`. Clips are resized
    to 128 x 171 and cut to 112 x 112 there; other sizes and lengths work.

    Args:
        num_classes: of the last layer.

    Shape:
        - called: clips (B, T, 3, H, W) -> logits (B, num_classes)
        - `features`: (..., T, 3, H, W) -> (..., 512), the mean over time and places before the last
          layer; several clips of a recording may stand in a further axis
        - `feature_map`: (B, T, 3, H, W) -> (B, 512, T / 8, H / 16, W / 16), rounded up

    Source:
        Tran et al. (2018), section 3.5; JMT, section 3, visual backbone.

    Choices:
        J-16: any size. J-27: the pooled features, not a frozen random layer over the flat map.

    Raises:
        ValueError: clips of another shape, or whole numbers instead of values in [0, 1].
    """

    feature_dim = WIDTHS[-1]

    def __init__(self, *, num_classes: int = 400) -> None:
        """Build stem, four layers of two blocks each, and the last layer."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 45, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(45),
            nn.ReLU(inplace=True),
            nn.Conv3d(45, WIDTHS[0], (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(WIDTHS[0]),
            nn.ReLU(inplace=True),
        )
        self.layer1, self.layer2, self.layer3, self.layer4 = four_layers(Block)
        self.fc = nn.Linear(self.feature_dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clips: Tensor) -> Tensor:
        """Tell the classes' logits."""
        return self.fc(self.features(clips))

    def features(self, clips: Tensor) -> Tensor:
        """Make one vector of each clip; see the class."""
        _check(clips)
        pooled = self._map(clips.reshape(-1, *clips.shape[-4:])).mean((2, 3, 4))
        return pooled.reshape(*clips.shape[:-4], -1)

    def feature_map(self, clips: Tensor) -> Tensor:
        """Make the map that `features` averages; see the class."""
        _check(clips)
        return self._map(clips)

    def _map(self, clips: Tensor) -> Tensor:
        x = self.stem(clips.transpose(1, 2))  # (B, 64, T, H / 2, W / 2)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    @staticmethod
    def normalise(frames: Tensor) -> Tensor:
        """Bring frames (..., 3, H, W) in [0, 1] to the mean and deviation of the public weights."""
        return scaled(frames, MEAN, STD)

    def load_public(self, path: str | Path, *, head: bool = True) -> Self:
        """Load a public file, all of it or nothing; with `head=False` all but the last layer.

        Raises:
            PretrainedError: no such file, one that holds more than tensors, or other weights.
        """
        load_strictly(self, read_weights(path), head=head, source=path)
        return self


def r2plus1d_18(num_classes: int = 400) -> R2Plus1D:
    """Build R(2+1)D-18, with random weights; `load_public` brings the trained ones."""
    return R2Plus1D(num_classes=num_classes)


def _check(clips: Tensor) -> None:
    """Refuse, in one sentence, clips that cannot work."""
    shape = tuple(clips.shape)
    if clips.dim() < 5 or shape[-3] != 3:
        swapped = clips.dim() == 5 and shape[1] == 3
        hint = " Time and channels are the other way round: transpose(1, 2)." if swapped else ""
        raise ValueError(f"clips of shape {shape}, expected (batch, time, 3, height, width).{hint}")
    if not clips.is_floating_point():
        raise ValueError(
            f"clips of {clips.dtype}, expected float values: divide by 255, then R2Plus1D.normalise."
        )
