"""ResNet-18, also for pictures with one channel, such as spectrograms; and a GRU over time."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from torch import Tensor, nn

from mmlib.backbones.public import load_strictly, read_weights
from mmlib.backbones.residual import WIDTHS, four_layers, scaled
from mmlib.layers import check_mask

#: Of the red, green and blue of ImageNet, for values in [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two 3x3 convolutions with a way around them.

    Shape:
        - x: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride)

    Source:
        He et al. (2016), figure 2.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int) -> None:
        """Build both convolutions, and a projection where the shape changes."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve twice and add what came in."""
        around = x if self.downsample is None else self.downsample(x)
        inside = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inside)) + around)


class ResNet18(nn.Module):
    """ResNet with 18 layers, with the names of the public ImageNet checkpoint.

    Args:
        num_classes: of the last layer.
        in_channels: 3 for pictures (RGB in [0, 1], then `normalise`), 1 for spectrograms, which are
            taken as they come.

    Shape:
        - called: (N, in_channels, H, W) -> logits (N, num_classes)
        - `features`: (..., in_channels, H, W) -> (..., 512), the mean over places before the last
          layer; the spectrograms of a recording's clips may stand in a further axis
        - `feature_map`: (N, in_channels, H, W) -> (N, 512, H / 32, W / 32), rounded up

    Source:
        He et al. (2016), table 1; JMT, section 3, audio backbone.

    Choices:
        J-18: no GRU inside; `TemporalGRU` takes the features of a recording's clips.

    Raises:
        ValueError: pictures of another shape, or whole numbers.
    """

    feature_dim = WIDTHS[-1]

    def __init__(self, *, num_classes: int = 1000, in_channels: int = 3) -> None:
        """Build stem, four layers of two blocks each, and the last layer."""
        super().__init__()
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = four_layers(Block)
        self.fc = nn.Linear(self.feature_dim, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Tell the classes' logits."""
        return self.fc(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Make one vector of each picture; see the class."""
        self._check(x)
        pooled = self._map(x.reshape(-1, *x.shape[-3:])).mean((2, 3))
        return pooled.reshape(*x.shape[:-3], -1)

    def feature_map(self, x: Tensor) -> Tensor:
        """Make the map that `features` averages; see the class."""
        self._check(x)
        return self._map(x)

    def _map(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))  # (N, 64, H / 4, W / 4)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    @staticmethod
    def normalise(pictures: Tensor) -> Tensor:
        """Bring pictures (..., 3, H, W) in [0, 1] to the mean and deviation of the public weights."""
        return scaled(pictures, MEAN, STD)

    def load_public(self, path: str | Path, *, head: bool = True) -> Self:
        """Load a public file, all of it or nothing; with `head=False` all but the last layer.

        With one input channel the three of a public file are averaged (`average_channels`).

        Raises:
            PretrainedError: no such file, one that holds more than tensors, or other weights.
        """
        weights = read_weights(path)
        first = weights.get("conv1.weight")
        if self.in_channels == 1 and first is not None and first.dim() == 4 and len(first[0]) == 3:
            weights = average_channels(weights)
        load_strictly(self, weights, head=head, source=path)
        return self

    def _check(self, x: Tensor) -> None:
        shape = tuple(x.shape)
        if x.dim() < 4 or shape[-3] != self.in_channels:
            raise ValueError(
                f"pictures of shape {shape}, expected (batch, {self.in_channels}, height, width)."
            )
        if not x.is_floating_point():
            raise ValueError(f"pictures of {x.dtype}, expected float values: divide by 255 first.")


def average_channels(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Average the first convolution over its input channels, and leave the rest as it is.

    The result says of x what the three-channel network says of the three channels x/3, x/3, x/3.

    Shape:
        conv1.weight (64, 3, 7, 7) -> (64, 1, 7, 7)

    Source:
        JMT, section 4.2: the first convolution is adapted to spectrograms of one channel.
    """
    return {**weights, "conv1.weight": weights["conv1.weight"].mean(1, keepdim=True)}


def resnet18(num_classes: int = 1000, in_channels: int = 3) -> ResNet18:
    """Build ResNet-18, with random weights; `load_public` brings the trained ones.

    Args:
        num_classes: of the last layer.
        in_channels: of the pictures.
    """
    return ResNet18(num_classes=num_classes, in_channels=in_channels)


class TemporalGRU(nn.Module):
    """Let each clip's features know what came before: a GRU over the real steps.

    Args:
        in_dim: features of a step; hidden_dim: of a state.

    Shape:
        - x: (B, T, in_dim); mask: (B, T) bool, True where a step is real, or None
        - returns: (B, T, hidden_dim), zero where a step is not real; the state passes it by

    Source:
        JMT, section 3: "ResNet 18 with GRU" for the audio.

    Choices:
        J-18: an option beside the backbone, since the paper names it once and its public code has
        none.

    Raises:
        ValueError: a sequence or mask of another shape.
    """

    def __init__(self, *, in_dim: int = 512, hidden_dim: int = 512) -> None:
        """Build one layer, from left to right."""
        super().__init__()
        self.gru = nn.GRU(in_dim, hidden_dim, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read from left to right; see the class."""
        if x.dim() != 3 or x.shape[2] != self.gru.input_size:
            raise ValueError(
                f"x has shape {tuple(x.shape)}, expected (batch, steps, {self.gru.input_size})."
            )
        if mask is None:
            return self.gru(x)[0]
        check_mask(x, mask)
        # Real steps first, in their order: what stands behind them cannot reach them.
        order = mask.byte().argsort(dim=1, descending=True, stable=True)[..., None]
        states = self.gru(x.take_along_dim(order, 1))[0]
        states = states.take_along_dim(order.argsort(1), 1)
        return states.masked_fill(~mask[..., None], 0.0)
