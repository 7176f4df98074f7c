"""Concatenation: the streams' summaries side by side."""

from __future__ import annotations

from torch import Tensor

from mmlib.systems.baselines.config import BaselineConfig, Classified, Predicted
from mmlib.systems.baselines.streams import Streams, spread


class Concat(Streams):
    """Concatenation: join the streams' summaries and let a small network decide.

    A stream that is absent counts as zeros; in training whole streams are dropped now and then, so
    that this is nothing new and no stream is leant on alone. Where all are absent, the output is one
    that depends on nothing, and that training with dropped streams brings near the prior.

    Shape:
        text, audio, vision: `(B, T, D)`, those of the config; masks: name -> `(B, T)` bool.
        returns: logits `(B, C)`, or prediction `(B, K)` or `(B, T, K)`.

    Raises:
        ValueError: no stream came, an unknown one, or one of another width.
    """

    def __init__(self, *, config: BaselineConfig) -> None:
        """Build the encoders and the network."""
        super().__init__(config=config)
        self.decide = self.head(len(config.streams) * self.fused_dim)

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Classified | Predicted:
        """Encode, join, decide."""
        joined, present = self.encode(inputs, masks)
        heard = joined * spread(self.kept(present), joined)
        return self.wrap(self.decide(heard.flatten(-2)), self.alone(joined, present))
