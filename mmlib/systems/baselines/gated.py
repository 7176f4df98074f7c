"""Gated fusion: for each feature of the sum, the streams themselves say whom to hear."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmlib.systems.baselines.config import BaselineConfig, Classified, Predicted
from mmlib.systems.baselines.streams import Streams, spread


class GatedUnit(nn.Module):
    """Mix M vectors by gates that are computed from all of them.

    ``h_i = tanh(W_i x_i)``, ``z = softmax over i of V_i [x_1; ...; x_M]``, ``h = sum_i z_i * h_i``,
    each feature with gates of its own.

    Shape:
        x: `(..., M, F)`; present: `(..., M)` bool, what is absent does not matter in `x`.
        returns: the mixture `(..., E)` and the gates `(..., M, E)`: over M they sum to one, an
        absent vector's are zero, and all are where all are absent.

    Source:
        Arevalo et al. 2017, arXiv:1702.01992, the gated multimodal unit. For two
        vectors its bimodal form ``z * h_1 + (1 - z) * h_2`` is this one, since the softmax of two
        scores is the sigmoid of their difference. For more, its gates are sigmoids that know
        nothing of each other; here they share one, so that the streams that are there make up for
        one that is not.
    """

    def __init__(self, *, in_dim: int, out_dim: int, streams: int) -> None:
        """Build the transformations and the gates."""
        super().__init__()
        self.out_dim = out_dim
        self.values = nn.ModuleList(nn.Linear(in_dim, out_dim) for _ in range(streams))
        self.gate = nn.Linear(streams * in_dim, streams * out_dim)

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Mix; see the class."""
        present = present[..., None]
        x = x.masked_fill(~present, 0.0)
        apart = zip(self.values, x.unbind(-2), strict=True)
        heard = torch.stack([value(one) for value, one in apart], dim=-2).tanh()  # (..., M, E)
        scores = self.gate(x.flatten(-2)).unflatten(-1, (-1, self.out_dim))
        lowest = torch.finfo(scores.dtype).min
        gates = scores.masked_fill(~present, lowest).softmax(-2) * present
        return (gates * heard).sum(-2), gates


class Gated(Streams):
    """Gated fusion: mix the streams' summaries by learned gates, and let a small network decide.

    An absent stream's gates are zero; in training whole streams are dropped now and then. Where all
    are absent, the output is one that depends on nothing, and that training with dropped streams
    brings near the prior. With one stream alone the gates are all one.

    Shape:
        text, audio, vision: `(B, T, D)`, those of the config; masks: name -> `(B, T)` bool.
        returns: logits `(B, C)` and gates `(B, M, E)`, or prediction `(B, K)` or `(B, T, K)` with
        gates `(B, M, E)` or `(B, T, M, E)`.

    Source:
        Arevalo et al. 2017, arXiv:1702.01992; see `GatedUnit`.

    Raises:
        ValueError: no stream came, an unknown one, or one of another width.
    """

    def __init__(self, *, config: BaselineConfig) -> None:
        """Build the encoders, the gated unit and the network."""
        super().__init__(config=config)
        width, count = config.embed_dim, len(config.streams)
        self.mix = GatedUnit(in_dim=self.fused_dim, out_dim=width, streams=count)
        self.decide = self.head(width)

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Classified | Predicted:
        """Encode, mix, decide."""
        joined, present = self.encode(inputs, masks)
        heard = spread(self.kept(present), joined).squeeze(-1)
        mixed, gates = self.mix(joined, heard)
        return self.wrap(self.decide(mixed), self.alone(joined, present), gates)
