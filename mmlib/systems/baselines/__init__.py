"""The baselines that a fusion has to beat, each a few lines on the same encoders.

They take any subset of the modalities, with masks, streams that are absent for some samples, classes
or numbers, labels for a whole sequence, for one step of it, or for every step.
"""

from mmlib.systems.baselines.align import align
from mmlib.systems.baselines.concat import Concat
from mmlib.systems.baselines.config import BaselineConfig, Classified, Predicted
from mmlib.systems.baselines.early import Early
from mmlib.systems.baselines.gated import Gated, GatedUnit
from mmlib.systems.baselines.late import Late
from mmlib.systems.baselines.majority import Majority, MajorityConfig
from mmlib.systems.baselines.tensor import TensorFusion, outer_with_one

__all__ = [
    "BaselineConfig",
    "Classified",
    "Concat",
    "Early",
    "Gated",
    "GatedUnit",
    "Late",
    "Majority",
    "MajorityConfig",
    "Predicted",
    "TensorFusion",
    "align",
    "outer_with_one",
]
