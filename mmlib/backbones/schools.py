"""A small network that learns to read faces one portrait at a time, and is then frozen.

What a lesson on fusion has to teach is how streams meet, not how pixels become features. So a face
school is trained once, in seconds, on single portraits; every model of the lesson then gets the
same features of each frame.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmlib.layers import masked_mean


class SchoolReport(NamedTuple):
    """What the school says of a portrait.

    Shape:
        logits (B, num_expressions * num_lights), of the labels that `FaceSchool.code` makes;
        expressions (B, num_expressions); lights (B, num_lights)
    """

    logits: Tensor
    expressions: Tensor
    lights: Tensor


class FaceSchool(nn.Module):
    """Three strided convolutions read a face; two linear heads name its expression and its light.

    A pair's logit is the sum of its two names' logits, so cross-entropy on pairs is the sum of the
    cross-entropies of the names. The features have zero mean and unit variance in every frame.

    Shape:
        vision (B, T, 3, S, S) in [0, 1] or uint8; masks name -> (B, T) bool, True where a frame is
        real; returns a `SchoolReport` on the mean of the frames' features
    """

    def __init__(
        self, *, num_expressions: int = 8, num_lights: int = 5, feature_dim: int = 48
    ) -> None:
        """Build the convolutions and the two heads."""
        super().__init__()
        self.num_lights = num_lights
        layers: list[nn.Module] = []
        for inside, outside in ((3, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.ReLU()]
        self.look = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.describe = nn.Sequential(
            nn.Linear(32 * 16, feature_dim), nn.LayerNorm(feature_dim, elementwise_affine=False)
        )
        self.name_expression = nn.Linear(feature_dim, num_expressions)
        self.name_light = nn.Linear(feature_dim, num_lights)

    def features(self, vision: Tensor) -> Tensor:
        """The features of every frame, (B, T, 3, S, S) -> (B, T, feature_dim)."""
        whole = not vision.is_floating_point()
        pixels = vision.to(self.name_light.weight.dtype) / 255 if whole else vision
        flat = (2 * pixels - 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.describe(self.look(flat)).unflatten(0, vision.shape[:2])

    def forward(self, *, vision: Tensor, masks: dict[str, Tensor] | None = None) -> SchoolReport:
        """Name expression and light; see the class."""
        seen = masked_mean(self.features(vision), None if masks is None else masks["vision"])
        expressions, lights = self.name_expression(seen), self.name_light(seen)
        pairs = expressions[:, :, None] + lights[:, None, :]  # (B, E, L)
        return SchoolReport(pairs.flatten(1), expressions, lights)

    def code(self, expression: Tensor, light: Tensor) -> Tensor:
        """The label of a pair: which of the `logits` it is, (N,) int64."""
        return expression * self.num_lights + light
