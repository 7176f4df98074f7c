"""Late fusion: decide for each stream, then average."""

from __future__ import annotations

from torch import Tensor

from mmlib.data.batch import Batch
from mmlib.systems.baselines.config import Classified, Predicted
from mmlib.systems.baselines.streams import Streams, spread, stream_losses


class Late(Streams):
    """Late fusion: each stream decides alone, and the mean of the logits decides for all.

    A stream that is absent has no say; where all are absent, all outputs are zero. Each stream is
    trained on its own decision, never on the mean: nothing that is only in two streams together
    can be learnt.

    Shape:
        text, audio, vision: `(B, T, D)`, those of the config; masks: name -> `(B, T)` bool.
        returns: logits `(B, C)` and those of each stream `(B, M, C)`, or predictions alike.

    Raises:
        ValueError: no stream came, an unknown one, or one of another width.
    """

    @property
    def apart(self) -> bool:
        """Say that each stream decides alone, always."""
        return True

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Classified | Predicted:
        """Let each stream decide, and average those that are there."""
        joined, present = self.encode(inputs, masks)
        assert self.deciders is not None
        single = self.deciders(joined, present)
        voices = spread(present, single).sum(-2).clamp(min=1)
        return self.wrap(single.sum(-2) / voices, single)

    def loss(self, output: Classified | Predicted, batch: Batch) -> Tensor:
        """Average the streams' own losses."""
        assert output[1] is not None
        return stream_losses(output[1], batch)
