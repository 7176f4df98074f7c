"""Three baselines that a fusion has to beat: the majority, concatenation, and late fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmlib.data.batch import Batch
from mmlib.losses import default_loss
from mmlib.systems.streams import BaselineConfig, Classified, Predicted, Streams

__all__ = ["BaselineConfig", "Classified", "Concat", "Late", "Majority", "Predicted"]


class Majority(nn.Module):
    """Say the same of every sample: the class frequencies, or the mean targets, of the train split.

    Shape:
        called with any streams `(B, T, D)`; returns logits `(B, C)` or a prediction `(B, K)`.
    """

    def __init__(self, *, config: BaselineConfig) -> None:
        """Start from the config's prior."""
        super().__init__()
        self.config = config
        prior = config.prior or (0.0,) * config.num_outputs
        self.bias = nn.Parameter(torch.tensor(prior, dtype=torch.float32))

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Classified | Predicted:
        """Repeat the prior."""
        given = [x for x in inputs.values() if x is not None]
        if not given:
            raise ValueError("at least one stream must come, to count the samples.")
        steps = () if self.config.output_steps is None else (self.config.output_steps,)
        outputs = self.bias.expand(len(given[0]), *steps, -1)
        return (Predicted if self.config.task == "regression" else Classified)(outputs)


class Concat(Streams):
    """Early fusion: join the streams' summaries and let a small network decide.

    A stream that is absent counts as zeros; in training whole streams are dropped now and then, so
    that this is nothing new and no stream is leant on alone.

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
        if self.training and self.config.modality_dropout > 0 and len(self.config.streams) > 1:
            keep = torch.rand_like(present, dtype=joined.dtype) >= self.config.modality_dropout
            joined = joined * keep.reshape(len(keep), *[1] * (joined.ndim - 3), -1, 1)
        return self.wrap(self.decide(joined.flatten(-2)))


class Late(Streams):
    """Late fusion: each stream decides alone, and the mean of the logits decides for all.

    A stream that is absent has no say; where all are absent, all outputs are zero. Each stream is
    trained on its own decision.

    Shape:
        text, audio, vision: `(B, T, D)`, those of the config; masks: name -> `(B, T)` bool.
        returns: logits `(B, C)` and those of each stream `(B, M, C)`, or predictions alike.

    Raises:
        ValueError: no stream came, an unknown one, or one of another width.
    """

    def __init__(self, *, config: BaselineConfig) -> None:
        """Build an encoder and a network for each stream."""
        super().__init__(config=config)
        self.deciders = nn.ModuleDict({name: self.head(self.fused_dim) for name in config.streams})

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Classified | Predicted:
        """Let each stream decide, and average those that are there."""
        joined, present = self.encode(inputs, masks)
        apart = zip(self.deciders.values(), joined.unbind(-2), strict=True)
        single = torch.stack([decide(summary) for decide, summary in apart], dim=-2)
        say = present.reshape(len(present), *[1] * (single.ndim - 3), -1, 1).to(single.dtype)
        single = single * say
        return self.wrap(single.sum(-2) / say.sum(-2).clamp(min=1), single)

    def loss(self, output: Classified | Predicted, batch: Batch) -> Tensor:
        """Average the streams' own losses; an absent stream's constant logits teach nothing."""
        assert output[1] is not None
        each = [default_loss((single,), batch) for single in output[1].unbind(-2)]
        return torch.stack(each).mean()
