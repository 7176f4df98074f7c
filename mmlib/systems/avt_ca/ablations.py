"""The ablation of AVT-CA: one of the two fusions at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from mmlib.systems.avt_ca.config import AVTCAConfig
from mmlib.systems.avt_ca.model import AVTCA


def ablation(*, part: Literal["IT", "CT"], num_heads: int) -> Callable[..., AVTCA]:
    """Give the maker of a model with one of the two fusions, whatever a config says.

    ``"IT"`` keeps the intermediate fusion and has nothing after the second stage but the mean over
    time; ``"CT"`` keeps the attention at the end, and the mean over what it gives.

    Choices:
        A-24: the paper does not say what stands in for the part that is taken away.
    """

    def make(*, config: AVTCAConfig) -> AVTCA:
        chosen = replace(
            config,
            intermediate=part == "IT",
            second_attention=False,
            late=None if part == "IT" else config.late or "self",
            pool="mean",
            num_heads=num_heads,
        )
        return AVTCA(config=chosen)

    return make
