"""Experts: one modality each, from its raw form to classes, and the features that a fusion takes.

An expert is called, trained and evaluated like any system. Beside that, its method
`features(**inputs, masks=...)` gives what stands before its last layer, `(B, T, D)`, and the mask.
"""

from __future__ import annotations

from typing import Any

from mmlib.systems.experts.gpt import GPTExpert, GPTExpertConfig

#: By name: a configuration class and its model, which is made as `model(config=config)`.
EXPERTS: dict[str, tuple[Any, Any]] = {
    "gpt": (GPTExpertConfig, GPTExpert),
}

__all__ = ["EXPERTS", "GPTExpert", "GPTExpertConfig"]
