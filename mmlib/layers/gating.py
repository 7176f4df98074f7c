"""Attention that weighs channels and places of a map, (N, C, H, W), after BAM (Park et al., 2018).

The names of the parameters are those of EfficientFace (Zhao et al., 2021), whose files load so.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from mmlib.layers import lean
from mmlib.layers.maps import check_map, check_reduction


class ChannelAttention(nn.Module):
    """Score each channel of a map by what the whole map holds of it.

    A mean over all places, a narrow layer with batch norm and ReLU, and a layer back to a score a
    channel. The score is raw: `Modulator` joins it with the places' and applies the sigmoid.

    Args:
        channels: channels of the map.
        reduction: how many times narrower the layer between is (never narrower than one).

    Shape:
        - (N, C, H, W) -> (N, C, 1, 1), for any H and W

    Source:
        AVT-CA, Algorithm 2; BAM, section 3.1.

    Choices:
        A-04: fully connected layers that follow each other, as in BAM, and a mean over the whole
        map, whatever its shape. A-25: in training one map alone has no statistics.

    Raises:
        ValueError: a single map in training mode, no maps of so many channels, or a reduction below
            one.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        """Build the two layers; see the class."""
        super().__init__()
        check_reduction(reduction)
        self.channels = channels
        narrow = max(1, channels // reduction)
        self.gate_c = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                gate_c_fc_0=nn.Linear(channels, narrow),
                gate_c_bn_1=nn.BatchNorm1d(narrow),
                gate_c_relu_1=nn.ReLU(inplace=True),
                gate_c_fc_final=nn.Linear(narrow, channels),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw score of each channel; see the class."""
        check_map(x, self.channels, "Channel attention")
        if self.training and x.shape[0] < 2:
            raise ValueError(
                f"Channel attention got {x.shape[0]} map(s) in training mode, where its batch norm "
                "compares maps with each other; give it two or more, or call .eval() first."
            )
        return self.gate_c(x.mean((2, 3)))[:, :, None, None]


class SpatialAttention(nn.Module):
    """Score each place of a map by what stands around it.

    A 1x1 convolution to few channels, two 3x3 convolutions whose taps lie ``dilation`` apart, each
    with batch norm and ReLU, and a 1x1 convolution to one score a place. The score is raw.

    Args:
        channels: channels of the map.
        reduction: how many times fewer the channels between are (never fewer than one).
        dilation: steps between the taps of a 3x3 window, so that it spans 2 x dilation + 1 places.

    Shape:
        - (N, C, H, W) -> (N, 1, H, W), for any H and W

    Source:
        AVT-CA, Algorithm 3; BAM, section 3.2.

    Choices:
        A-05: each convolution reads the one before it.

    Raises:
        ValueError: no maps of so many channels, or a reduction below one.
    """

    def __init__(self, channels: int, *, reduction: int = 16, dilation: int = 4) -> None:
        """Build the four convolutions; see the class."""
        super().__init__()
        check_reduction(reduction)
        self.channels = channels
        narrow = max(1, channels // reduction)
        layers: OrderedDict[str, nn.Module] = OrderedDict()

        def add(tail: str, name: str, convolution: nn.Module) -> None:
            layers[f"gate_s_conv_{name}"] = convolution
            layers[f"gate_s_bn_{tail}"] = nn.BatchNorm2d(narrow)
            layers[f"gate_s_relu_{tail}"] = nn.ReLU(inplace=True)

        add("reduce0", "reduce0", nn.Conv2d(channels, narrow, 1))
        for i in range(2):
            wide = nn.Conv2d(narrow, narrow, 3, padding=dilation, dilation=dilation)
            add(f"di_{i}", f"di_{i}", wide)
        layers["gate_s_conv_final"] = nn.Conv2d(narrow, 1, 1)
        self.gate_s = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw score of each place; see the class."""
        check_map(x, self.channels, "Spatial attention")
        return lean.run(self.gate_s, x)


class Modulator(nn.Module):
    """Let channels and places through by how much they matter, both at once.

    Args:
        channels: channels of the map.
        reduction: how many times narrower both attentions are inside.
        combine: ``"product"``: sigmoid(channel * place) * x. ``"bam"``: x * (1 + sigmoid(channel +
            place)), which never lets less through than came.

    Shape:
        - (N, C, H, W) -> (N, C, H, W); with ``return_gate`` also the gate, (N, C, H, W), in (0, 1)

    Source:
        AVT-CA, the paragraph after Algorithm 4; BAM, equations 1 and 2; EfficientFace.

    Choices:
        A-06: the text's "dot product" is the product of the two scores, place by place, under a
        sigmoid. A-07: it reads the second stage's output, not the stem's.

    Raises:
        ValueError: an unknown ``combine``, a single map in training mode, or no maps of so many
            channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        combine: Literal["product", "bam"] = "product",
    ) -> None:
        """Build both attentions; see the class."""
        super().__init__()
        if combine not in ("product", "bam"):
            raise ValueError(f"combine={combine!r} is unknown; expected 'product' or 'bam'.")
        self.combine = combine
        self.channel_att = ChannelAttention(channels, reduction=reduction)
        self.spatial_att = SpatialAttention(channels, reduction=reduction)

    def forward(self, x: Tensor, *, return_gate: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Return the gated map, and the gate on request; see the class."""
        channel, place = self.channel_att(x), self.spatial_att(x)  # (N, C, 1, 1), (N, 1, H, W)
        # Joined with the channels innermost, as the trunk's maps lie in memory: the layout of the
        # product of these two would else be the other one, and so that of all that follows.
        channel, place = channel.movedim(1, -1), place.movedim(1, -1)
        score = channel * place if self.combine == "product" else channel + place
        gate = score.sigmoid().movedim(-1, 1)
        out = x * gate if self.combine == "product" else x * (1 + gate)
        return (out, gate) if return_gate else out
