"""The majority: what a model that looks at nothing would say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from mmlib.data.feature_set import FeatureSet
from mmlib.systems.baselines.config import BaselineConfig, Classified, Predicted


@dataclass(frozen=True)
class MajorityConfig(BaselineConfig):
    """A config with one epoch: the prior is known before any training, and a second adds nothing.

    Attributes:
        epochs: one; all others are those of `BaselineConfig`.
    """

    epochs: int = 1

    @classmethod
    def for_dataset(cls, dataset: FeatureSet, scale: str = "small") -> Self:
        """Take the prior from the data."""
        return replace(super().for_dataset(dataset, scale), epochs=1)


class Majority(nn.Module):
    """Say the same of every sample: the class frequencies, or the mean targets, of the train split.

    Shape:
        called with any streams `(B, T, D)`; returns logits `(B, C)`, or a prediction `(B, K)` or, where
        each step has labels, `(B, T, K)`.

    Raises:
        ValueError: no stream came, so nothing says how many samples there are.
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
