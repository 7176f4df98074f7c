"""Read what a metric is given: tensors, arrays or lists of numbers, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Values = Tensor | np.ndarray | Sequence


def as_numbers(values: Any, name: str) -> Tensor:
    """Read values as a tensor on the CPU, cut off from its graph.

    Raises:
        ValueError: names in the place of numbers, rows of different lengths, or nothing.
    """
    try:
        return torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        text = repr(values)
        shown = text if len(text) <= 40 else f"{text[:40]} ..."
        raise ValueError(
            f"the {name} is {shown}, expected a tensor, an array or a list of numbers, rows of one "
            "length; turn class names into numbers first, such as [names.index(x) for x in column]."
        ) from None
