"""Tensor fusion: every product of the streams' features, of all orders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmlib.systems.baselines.config import BaselineConfig, Classified, Predicted
from mmlib.systems.baselines.streams import Streams, spread


def outer_with_one(vectors: Sequence[Tensor]) -> Tensor:
    """Multiply every entry of each vector with every entry of the others, a one appended to each.

    The ones keep the lower orders: the product holds each vector itself, each pair's products, and
    so on up to all of them. A vector of zeros leaves what the others give without it.

    Shape:
        vectors: `(..., D_1)`, `(..., D_2)`, ...; returns `(..., (D_1 + 1) * (D_2 + 1) * ...)`, the
        last vector's entries next to each other.

    Source:
        Zadeh et al. 2017, arXiv:1707.07250, the tensor fusion layer.
    """
    product = torch.ones_like(vectors[0][..., :1])
    for vector in vectors:
        longer = torch.cat([vector, torch.ones_like(vector[..., :1])], dim=-1)
        product = (product[..., :, None] * longer[..., None, :]).flatten(-2)
    return product


class TensorFusion(Streams):
    """Tensor fusion: a small network decides from all products of the streams' features.

    Each summary is first projected to `tensor_dim` features, since the product's width is
    ``(tensor_dim + 1) ** M``. An absent stream is ``(0, ..., 0, 1)``, so that the product falls back
    to the others'; in training whole streams are dropped now and then. Where all are absent, only
    the constant is left, and the output is one that depends on nothing, brought near the prior.

    Shape:
        text, audio, vision: `(B, T, D)`, those of the config; masks: name -> `(B, T)` bool.
        returns: logits `(B, C)`, or prediction `(B, K)` or `(B, T, K)`.

    Source:
        Zadeh et al. 2017, arXiv:1707.07250, the tensor fusion layer; the projection is this
        course's.

    Raises:
        ValueError: no stream came, an unknown one, or one of another width.
    """

    def __init__(self, *, config: BaselineConfig) -> None:
        """Build the encoders, the projections and the network."""
        super().__init__(config=config)
        self.project = nn.ModuleDict(
            {name: nn.Linear(self.fused_dim, config.tensor_dim) for name in config.streams}
        )
        self.decide = self.head((config.tensor_dim + 1) ** len(config.streams))

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Classified | Predicted:
        """Encode, multiply, decide."""
        joined, present = self.encode(inputs, masks)
        apart = zip(self.project.values(), joined.unbind(-2), strict=True)
        small = torch.stack([project(one).tanh() for project, one in apart], dim=-2)
        small = small * spread(self.kept(present), small)
        product = outer_with_one(small.unbind(-2))
        return self.wrap(self.decide(product), self.alone(joined, present))
