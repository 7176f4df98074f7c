"""InceptionResnetV1: a face to a point on a sphere, where the same person's faces lie close together."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlib.backbones.public import load_strictly, read_weights

#: The layer over the people of a training set, which an emotion has no use for.
HEAD = "logits."
EPS = 1e-3  # of all its norms, as the public weights were trained
SMALLEST = 75  # of a face: five halvings then leave one place


class Conv(nn.Module):
    """A convolution without offset, a norm, and a ReLU.

    Shape:
        - x: (N, in_channels, H, W) -> (N, out_channels, H', W')

    Source:
        Szegedy et al. (2017), of whose figures it is one box; the norm is Ioffe and Szegedy (2015).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        """Build the three."""
        super().__init__()
        self.out_channels = out_channels
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=EPS)
        self.relu = nn.ReLU(inplace=True)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, rectify."""
        return self.relu(_normed(self.conv(x), self.bn))


def _normed(x: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    """Normalise; where one face's one place has no spread, what was learnt before serves."""
    if norm.training and x.numel() == x.shape[1]:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=EPS)
    return norm(x)


class Block(nn.Module):
    """Branches side by side, joined along channels, projected, scaled down, and added to the input.

    Args:
        branches: each on the input's channels.
        channels: of the input.
        scale: of what is added.
        rectified: whether a ReLU follows the sum.

    Shape:
        - x: (N, channels, H, W) -> the same

    Source:
        Szegedy et al. (2017), figures 10, 11 and 13.
    """

    def __init__(
        self, branches: list[nn.Module], *, channels: int, scale: float, rectified: bool = True
    ) -> None:
        """Name the branches as the public weights do."""
        super().__init__()
        self.scale, self.rectified, self.count = scale, rectified, len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)
        self.conv2d = nn.Conv2d(sum(map(width_of, branches)), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Look in every way, and add a little of it."""
        joined = torch.cat([self.get_submodule(f"branch{i}")(x) for i in range(self.count)], dim=1)
        x = torch.add(x, self.conv2d(joined), alpha=self.scale)
        return x.relu_() if self.rectified else x


class Reduction(nn.Module):
    """Branches that halve the map, joined along channels; the last is a maximum over places.

    Shape:
        - x: (N, channels, H, W) -> (N, sum of the branches' and channels, (H - 1) // 2, (W - 1) // 2)

    Source:
        Szegedy et al. (2017), figures 7 and 12.
    """

    def __init__(self, branches: list[nn.Module], *, channels: int) -> None:
        """Name the branches as the public weights do."""
        super().__init__()
        self.out_channels = sum(map(width_of, branches)) + channels
        self.count = len(branches) + 1
        for number, branch in enumerate([*branches, nn.MaxPool2d(3, stride=2)]):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        """Look in every way, and join."""
        return torch.cat([self.get_submodule(f"branch{i}")(x) for i in range(self.count)], dim=1)


def width_of(branch: nn.Module) -> int:
    """Tell how many channels a branch gives: those of its last convolution."""
    last = branch[-1] if isinstance(branch, nn.Sequential) else branch
    assert isinstance(last, Conv)
    return last.out_channels


class InceptionResnetV1(nn.Module):
    """FaceNet's network with the names of the public VGGFace2 and CASIA-WebFace checkpoints.

    Args:
        num_classes: people that `classify` tells apart: 8631 of VGGFace2, 10575 of CASIA-WebFace;
            None: there is no such layer.
        width: share of the channels of every layer; the public weights need 1, a network for tests
            and lessons may be narrower.
        dropout: before the embedding, in training.

    Shape:
        - called: faces (N, 3, H, W), RGB in [0, 1] then `normalise` -> (N, 512) of length one, in
          training, too; 160 x 160 is what the weights were trained on, 75 x 75 the least
        - `features`: (..., 3, H, W) -> (..., 512), the same for faces with further axes
        - `classify`: (N, 3, H, W) -> logits (N, num_classes), from the vector before it is scaled

    Source:
        Szegedy et al. (2017); Schroff et al. (2015) for the embedding; crossmodal + EmbraceNet,
        section 4.1.3.

    Choices:
        E-35: the embedding has length one, dropout is 0.6, pictures are standardised as (x - 127.5) /
        128 for x from 0 to 255.

    Raises:
        ValueError: faces of another shape or too small, or whole numbers.
    """

    def __init__(
        self, num_classes: int | None = None, *, width: float = 1.0, dropout: float = 0.6
    ) -> None:
        """Build stem, three stages of blocks, and what makes a vector of the map."""
        super().__init__()

        def wide(channels: int) -> int:
            return max(1, round(channels * width))

        self.feature_dim = wide(512)
        stem = [wide(c) for c in (32, 64, 80, 192, 256)]
        self.conv2d_1a = Conv(3, stem[0], 3, stride=2)
        self.conv2d_2a = Conv(stem[0], stem[0], 3)
        self.conv2d_2b = Conv(stem[0], stem[1], 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = Conv(stem[1], stem[2])
        self.conv2d_4a = Conv(stem[2], stem[3], 3)
        self.conv2d_4b = Conv(stem[3], stem[4], 3, stride=2)
        self.repeat_1 = nn.Sequential(*(_block35(stem[4], wide(32)) for _ in range(5)))
        self.mixed_6a = _reduction6(stem[4], wide(192), wide(256), wide(384))
        middle = self.mixed_6a.out_channels
        self.repeat_2 = nn.Sequential(
            *(_block_crossed(middle, wide(128), long=7, scale=0.10) for _ in range(10))
        )
        self.mixed_7a = _reduction7(middle, wide(256), wide(384))
        top = self.mixed_7a.out_channels
        self.repeat_3 = nn.Sequential(
            *(_block_crossed(top, wide(192), long=3, scale=0.20) for _ in range(5))
        )
        self.block8 = _block_crossed(top, wide(192), long=3, scale=1.0, rectified=False)
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(top, self.feature_dim, bias=False)
        self.last_bn = nn.BatchNorm1d(self.feature_dim, eps=EPS)
        self.logits = None if num_classes is None else nn.Linear(self.feature_dim, num_classes)

    def forward(self, faces: Tensor) -> Tensor:
        """Make a vector of length one of each face; see the class."""
        _check(faces, exactly=4)
        return F.normalize(self._vector(faces), dim=1)

    def features(self, faces: Tensor) -> Tensor:
        """Make a vector of length one of each face; several faces may stand in further axes."""
        _check(faces)
        vectors = F.normalize(self._vector(faces.reshape(-1, *faces.shape[-3:])), dim=1)
        return vectors.reshape(*faces.shape[:-3], -1)

    def classify(self, faces: Tensor) -> Tensor:
        """Tell the people's logits; see the class.

        Raises:
            ValueError: the network was built without classes.
        """
        _check(faces, exactly=4)
        if self.logits is None:
            raise ValueError(
                "this network has no layer of classes; build InceptionResnetV1(num_classes=...)."
            )
        return self.logits(self._vector(faces))

    def _vector(self, x: Tensor) -> Tensor:
        # Channels innermost: on a CPU the convolutions run faster so.
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))  # (N, 64, H/4, W/4)
        x = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(x)))  # (N, 256, H / 8, W / 8)
        x = self.mixed_6a(self.repeat_1(x))  # (N, 896, H / 16, W / 16)
        x = self.mixed_7a(self.repeat_2(x))  # (N, 1792, H / 32, W / 32)
        x = self.block8(self.repeat_3(x)).mean((2, 3))
        return _normed(self.last_linear(self.dropout(x)), self.last_bn)

    @staticmethod
    def normalise(faces: Tensor) -> Tensor:
        """Bring faces (..., 3, H, W) in [0, 1] to what the public weights know, about -1 to 1."""
        return (faces * 255 - 127.5) / 128

    def load_public(self, path: str | Path, *, head: bool = True) -> Self:
        """Load a public file, all of it or nothing; with `head=False` all but the layer of people.

        A network without that layer leaves exactly its two entries out, and nothing else.

        Raises:
            PretrainedError: no such file, one that holds more than tensors, or other weights.
        """
        weights = read_weights(path)
        if self.logits is None:
            own = ("logits.weight", "logits.bias")
            weights = {name: value for name, value in weights.items() if name not in own}
        load_strictly(self, weights, head=head, source=path, last=HEAD)
        return self


def _block35(channels: int, inner: int) -> Block:
    """Look at 1, 3 x 3 and 5 x 5 places."""
    return Block(
        [
            Conv(channels, inner),
            nn.Sequential(Conv(channels, inner), Conv(inner, inner, 3, padding=1)),
            nn.Sequential(
                Conv(channels, inner),
                Conv(inner, inner, 3, padding=1),
                Conv(inner, inner, 3, padding=1),
            ),
        ],
        channels=channels,
        scale=0.17,
    )


def _block_crossed(
    channels: int, inner: int, *, long: int, scale: float, rectified: bool = True
) -> Block:
    """Look at 1 place, and at `long` x `long` places: first along a row, then down a column."""
    side = long // 2
    return Block(
        [
            Conv(channels, inner),
            nn.Sequential(
                Conv(channels, inner),
                Conv(inner, inner, (1, long), padding=(0, side)),
                Conv(inner, inner, (long, 1), padding=(side, 0)),
            ),
        ],
        channels=channels,
        scale=scale,
        rectified=rectified,
    )


def _reduction6(channels: int, inner: int, outer: int, direct: int) -> Reduction:
    return Reduction(
        [
            Conv(channels, direct, 3, stride=2),
            nn.Sequential(
                Conv(channels, inner),
                Conv(inner, inner, 3, padding=1),
                Conv(inner, outer, 3, stride=2),
            ),
        ],
        channels=channels,
    )


def _reduction7(channels: int, inner: int, direct: int) -> Reduction:
    return Reduction(
        [
            nn.Sequential(Conv(channels, inner), Conv(inner, direct, 3, stride=2)),
            nn.Sequential(Conv(channels, inner), Conv(inner, inner, 3, stride=2)),
            nn.Sequential(
                Conv(channels, inner),
                Conv(inner, inner, 3, padding=1),
                Conv(inner, inner, 3, stride=2),
            ),
        ],
        channels=channels,
    )


def _check(faces: Tensor, exactly: int | None = None) -> None:
    """Refuse, in one sentence, faces that cannot work."""
    shape = tuple(faces.shape)
    if faces.dim() < 4 or shape[-3] != 3 or exactly not in (None, faces.dim()):
        hint = " The channels come last here: permute them." if shape[-1:] == (3,) else ""
        hint = hint or " Use `features` for faces with further axes." * (faces.dim() > 4)
        raise ValueError(f"faces of shape {shape}, expected (batch, 3, height, width).{hint}")
    if not faces.is_floating_point():
        raise ValueError(
            f"faces of {faces.dtype}, expected float values: divide by 255, then "
            "InceptionResnetV1.normalise."
        )
    if min(shape[-2:]) < SMALLEST:
        raise ValueError(
            f"faces of {shape[-2]} x {shape[-1]}, expected {SMALLEST} x {SMALLEST} or more: the map "
            "is halved five times; resize them (to 160 x 160, as the weights were trained)."
        )
