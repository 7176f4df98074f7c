"""What each system does where a stream is absent: declared here, for all of them in one place.

Every system takes a mask that is all False for a sample as "this stream is absent". What it makes of
that differs, and a table of robustness should say so beside its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

from torch import nn

from mmlib.systems.avt_ca import AVTCA
from mmlib.systems.baselines import Concat, Early, Gated, Late, Majority, TensorFusion
from mmlib.systems.ca_mmaaet import CAMMAAET
from mmlib.systems.embracenet import CrossModalEmbraceNet
from mmlib.systems.jmt import JMT

Means = Literal["availability", "mask", "zeros", "refuses"]
MEANS: tuple[Means, ...] = get_args(Means)


class Absence(NamedTuple):
    """How a system does without a stream.

    Attributes:
        means: "availability": what the absent stream had goes to those that are there; "mask": its
            steps are not looked at, and its place stays empty; "zeros": the system knows no absence
            and is given the stream's mean at its real steps, which is zero once standardised;
            "refuses": it answers only where all streams are there.
        words: what happens, in a few words for a reader.
    """

    means: Means
    words: str


def _embracing(model: Any) -> Absence:
    """Tell EmbraceNet from the crossmodal transformer alone, which is the same class."""
    if model.config.fusion == "embrace":
        return Absence("availability", "each feature is drawn from one that is there")
    return Absence("mask", "its enriched state is zero")


#: By class, since one class makes several of the registry's names.
_DECLARED: dict[type[nn.Module], Absence | Callable[[Any], Absence]] = {
    Majority: Absence("mask", "looks at no stream"),
    Early: Absence("mask", "zeros beside a flag that says so"),
    Concat: Absence("mask", "its summary is zero"),
    TensorFusion: Absence("mask", "its products fall back to those of the others"),
    Late: Absence("availability", "the mean of the decisions of those that are there"),
    Gated: Absence("availability", "gates share one among those that are there"),
    CAMMAAET: Absence("mask", "its summary is zero; the paper names no way to do without"),
    AVTCA: Absence("mask", "its states are zero; the paper names no way to do without"),
    JMT: Absence("mask", "its states are zero; the paper names no way to do without"),
    CrossModalEmbraceNet: _embracing,
}


def absence_of(model: Any) -> Absence:
    """Say how a model does without a stream.

    A model from elsewhere may declare it as an attribute `absence`; of one that says nothing it is
    taken that it heeds its masks, as every model that `fit` trains is asked to.

    Raises:
        ValueError: the model declares something that is not an `Absence`.
    """
    bare = getattr(model, "model", model)  # behind a standardisation
    own = getattr(bare, "absence", None)
    if own is None:
        known = (_DECLARED[kind] for kind in type(bare).__mro__ if kind in _DECLARED)
        found = next(known, Absence("mask", "not declared; its mask is all False"))
        return found if isinstance(found, Absence) else found(bare)
    if not isinstance(own, Absence) or own.means not in MEANS:
        raise ValueError(
            f"{type(bare).__name__} declares absence={own!r}, expected an Absence(means, words) "
            f"with means one of {', '.join(MEANS)}."
        )
    return own
