"""Systems: the baselines and the papers' models, by name.

`build("concat", BaselineConfig.for_dataset(features))` makes one. A new system adds one line to
`SYSTEMS`; the command line and the tests that every system goes through find it there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from mmlib.systems.avt_ca import AVTCA, AVTCAConfig
from mmlib.systems.avt_ca import ablation as avt_ca_ablation
from mmlib.systems.baselines import (
    BaselineConfig,
    Concat,
    Early,
    Gated,
    Late,
    Majority,
    MajorityConfig,
    TensorFusion,
)
from mmlib.systems.ca_mmaaet import CAMMAAET, CAMMAAETConfig, ablation
from mmlib.systems.embracenet import (
    CrossModal,
    CrossModalEmbraceNet,
    CrossModalEmbraceNetConfig,
)
from mmlib.systems.experts import EXPERTS as _EXPERTS
from mmlib.systems.jmt import JMT, JMTConfig
from mmlib.systems.own import is_own, read_own


class System(NamedTuple):
    """What a name of the registry stands for.

    Attributes:
        config: the configuration's class.
        model: what makes the model, as `model(config=config)`.
    """

    config: Any
    model: Any


class UnknownSystem(ValueError):
    """A name that no system has."""


SYSTEMS: dict[str, System] = {
    "majority": System(MajorityConfig, Majority),
    "early": System(BaselineConfig, Early),
    "concat": System(BaselineConfig, Concat),
    "late": System(BaselineConfig, Late),
    "gated": System(BaselineConfig, Gated),
    "tensor": System(BaselineConfig, TensorFusion),
    "mmaae": System(CAMMAAETConfig, ablation(transformer=False, cross_attention=False)),
    "mmaaet": System(CAMMAAETConfig, ablation(transformer=True, cross_attention=False)),
    "ca_mmaae": System(CAMMAAETConfig, ablation(transformer=False, cross_attention=True)),
    "ca_mmaaet": System(CAMMAAETConfig, CAMMAAET),
    "jmt": System(JMTConfig, JMT),
    "crossmodal": System(CrossModalEmbraceNetConfig, CrossModal),
    "embracenet": System(CrossModalEmbraceNetConfig, CrossModalEmbraceNet),
    "avt_ca_it1": System(AVTCAConfig, avt_ca_ablation(part="IT", num_heads=1)),
    "avt_ca_it4": System(AVTCAConfig, avt_ca_ablation(part="IT", num_heads=4)),
    "avt_ca_ct1": System(AVTCAConfig, avt_ca_ablation(part="CT", num_heads=1)),
    "avt_ca_ct4": System(AVTCAConfig, avt_ca_ablation(part="CT", num_heads=4)),
    "avt_ca": System(AVTCAConfig, AVTCA),
}
#: Of one modality, from its raw form: a waveform, faces, tokens. They read no other features.
EXPERTS: dict[str, System] = {name: System(*expert) for name, expert in _EXPERTS.items()}

__all__ = [
    "AVTCA",
    "CAMMAAET",
    "EXPERTS",
    "JMT",
    "SYSTEMS",
    "AVTCAConfig",
    "BaselineConfig",
    "CAMMAAETConfig",
    "Concat",
    "CrossModalEmbraceNet",
    "CrossModalEmbraceNetConfig",
    "Early",
    "Gated",
    "JMTConfig",
    "Late",
    "Majority",
    "MajorityConfig",
    "System",
    "TensorFusion",
    "UnknownSystem",
    "build",
    "find",
]


def find(name: str) -> System:
    """Find a system by its name, or a class in a file by `my_fusion.py:MyFusion`.

    Raises:
        UnknownSystem: there is none of this name.
        ValueError: the file cannot be run, or has no such class.
    """
    known = SYSTEMS | EXPERTS
    if is_own(name):
        return System(*read_own(name))
    if name not in known:
        raise UnknownSystem(
            f"there is no system {name!r}; there are {', '.join(sorted(known))}, and "
            "my_fusion.py:MyFusion for a class in a file of yours."
        )
    return known[name]


def build(name: str, config: Any) -> nn.Module:
    """Build a system by its name.

    Raises:
        UnknownSystem: there is none of this name.
        TypeError: the config is another system's.
    """
    system = find(name)
    # A system's config may extend one that several share (the majority's does); that one will do.
    if not isinstance(config, system.config) and not issubclass(system.config, type(config)):
        raise TypeError(
            f"{name!r} takes a {system.config.__name__}, not a {type(config).__name__}."
        )
    return system.model(config=config)
