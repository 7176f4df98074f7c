"""AVT-CA's picture of a face, frame by frame: EfficientFace without its last layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mmlib.backbones.public import load_strictly, read_weights
from mmlib.layers.gating import Modulator
from mmlib.layers.masks import zeros_from
from mmlib.layers.vision import ConvBlock, InvertedResidual, LocalFeatureExtractor


class VisualTrunk(nn.Module):
    """Turn each frame into a vector: a stem, attention with local features, and shuffle units.

    The stem halves a frame twice. Its map goes two ways, through the second stage and the gate of
    channels and places, and through the extractor of the four quarters; their sum goes through two
    more stages and a 1x1 convolution, and is averaged over all places. All frames of all samples
    go through at once; at evaluation no frame knows of another.

    Args:
        repeats: units in stages 2, 3 and 4; (1, 1, 1) is a trunk for lessons.
        channels: widths of the stem, the three stages, and the vector.

    Shape:
        - frames: (N, 3, H, W), RGB in [0, 1] -> (N, channels[-1])
        - frames: (B, T, 3, H, W) -> (B, T, channels[-1]); mask: (B, T) bool, True where a frame is
          real, or None. A frame that is not gives zeros and touches no statistic; to count those
          that are, a GPU and its host wait for each other once a call.
        - H and W leave 0, 5, 6 or 7 when divided by 8, and are at least 13; 224 in the paper.

    Source:
        AVT-CA, Algorithms 1 to 5 and the text around them; the parts and their arrangement are
        EfficientFace's, the attentions BAM's, the units ShuffleNetV2's.

    Choices:
        A-07: the gate reads stage 2. A-08: any size whose map can be cut into four. A-10: 4, 8 and
        4 units. A-11: mean over places, frames of a sample in order. A-26: random at the start;
        `load_public` for what was trained on faces. A-37: the sources are named.

    Raises:
        ValueError: frames of a shape or type that cannot work; a single frame in training mode.
    """

    def __init__(
        self,
        *,
        repeats: Sequence[int] = (4, 8, 4),
        channels: Sequence[int] = (29, 116, 232, 464, 1024),
    ) -> None:
        """Build the trunk; see the class."""
        super().__init__()
        if len(repeats) != 3 or min(repeats) < 1 or len(channels) != 5:
            raise ValueError(
                f"repeats={tuple(repeats)}, channels={tuple(channels)}: expected how many units "
                "stages 2, 3 and 4 have, one or more, and the five widths."
            )
        self.out_dim = channels[4]
        self.conv1 = ConvBlock(in_channels=3, out_channels=channels[0])
        self.stage2 = _stage(repeats[0], channels[0], channels[1])
        self.modulator = Modulator(channels[1])
        self.local = LocalFeatureExtractor(in_channels=channels[0], out_channels=channels[1])
        self.stage3 = _stage(repeats[1], channels[1], channels[2])
        self.stage4 = _stage(repeats[2], channels[2], channels[3])
        self.conv5 = ConvBlock(
            in_channels=channels[3], out_channels=channels[4], kernel_size=1, stride=1, pool_size=1
        )

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a vector for each frame; see the class."""
        _check(frames, mask)
        if frames.dim() == 4:
            return self._pictures(frames)
        if mask is None:
            return self._pictures(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        places = mask.flatten().nonzero()[:, 0]  # how many there are only the host can be told
        if not len(places):
            return zeros_from(self, frames, *mask.shape, self.out_dim)
        real = self._pictures(frames.flatten(0, 1).index_select(0, places))
        out = real.new_zeros((mask.numel(), self.out_dim)).index_copy(0, places, real)
        return out.unflatten(0, mask.shape)

    def _pictures(self, x: Tensor) -> Tensor:
        # Channels innermost: on a CPU the convolutions, depthwise ones above all, run faster so.
        stem = self.conv1(x.contiguous(memory_format=torch.channels_last))  # (N, 29, H / 4, W / 4)
        x = self.modulator(self.stage2(stem)) + self.local(stem)  # (N, 116, H / 8, W / 8)
        x = self.conv5(self.stage4(self.stage3(x)))  # (N, 1024, H / 32, W / 32)
        return x.mean((2, 3))

    def load_public(self, path: str | Path) -> VisualTrunk:
        """Load an EfficientFace file, all of it but the last layer, or nothing.

        The file holds the weights by themselves or under ``state_dict``; a leading ``module.`` of a
        name is dropped, and so is the last layer, ``fc``. Every other name must be one of
        the trunk's and the other way round; only the counters of batch norm may be missing, which
        old files do not have. Nothing but tensors is unpickled.

        Returns:
            The trunk itself.

        Raises:
            PretrainedError: no such file, one that holds more than tensors, or other weights.
        """
        load_strictly(self, read_weights(path), head=False, source=path)
        return self


def _stage(units: int, in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        InvertedResidual(in_channels=in_channels, out_channels=out_channels, stride=2),
        *(
            InvertedResidual(in_channels=out_channels, out_channels=out_channels, stride=1)
            for _ in range(units - 1)
        ),
    )


def _check(frames: Tensor, mask: Tensor | None) -> None:
    """Refuse, in one sentence, frames that cannot work."""
    shape = tuple(frames.shape)
    if frames.dim() not in (4, 5) or shape[-3] != 3:
        hint = " The channels come last here: permute them." if shape[-1:] == (3,) else ""
        raise ValueError(
            f"Frames of shape {shape}; expected (N, 3, H, W) or (B, T, 3, H, W).{hint}"
        )
    if not frames.is_floating_point():
        raise ValueError(
            f"Frames of {frames.dtype}; expected float values in [0, 1]: divide by 255."
        )
    for name, size in (("height", shape[-2]), ("width", shape[-1])):
        # The stem makes ceil(size / 4) of it, which must be even to be cut into quarters.
        if size < 13 or size % 8 not in (0, 5, 6, 7):
            down, up = max(16, size - size % 8), max(16, size + 8 - size % 8)
            near = f"{down} or {up}" if down != up else f"{up}"
            raise ValueError(
                f"Frames of {name} {size} (shape {shape}) leave a map that cannot be cut into "
                "four quarters. A height or width works from 13 on, if dividing it by 8 leaves 0, "
                f"5, 6 or 7: resize to {near}, for example (the paper's is 224)."
            )
    fits = mask is None or (mask.shape == shape[:2] and mask.dtype == torch.bool)
    if mask is not None and not (frames.dim() == 5 and fits):
        raise ValueError(
            f"A mask of {tuple(mask.shape)}, {mask.dtype}, for frames of {shape}; expected (B, T), "
            "torch.bool, True where a frame is real."
        )
