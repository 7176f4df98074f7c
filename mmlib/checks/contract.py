"""What every fusion keeps to, as a matrix of clauses that any module can be held against.

The course's systems are held to it in their tests, and your own module by the same functions, wherever
it is written:

    from mmlib.checks.contract import assert_contract, contract_report

    contract_report(MyFusion)      # a clause a row: kept, or what broke it
    assert_contract(MyFusion)      # in a test: raises at the first clause that is broken

A module is called as `model(**streams, masks=masks)` and gives a tuple whose first entry is
`(B, classes)`. It is made as `MyFusion(widths, num_classes)`, `widths` by stream; what is made otherwise
comes as a `Candidate`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmlib.checks.clauses import CONTRACT, Candidate
from mmlib.checks.framework import CheckFailed
from mmlib.data.batch import Batch

#: Streams of the usual try-out: name -> (steps, width), all different.
SHAPES = {"text": (7, 11), "audio": (13, 2), "vision": (3, 5)}
SAMPLES, CLASSES = 5, 3


def try_out(
    fusion: Callable[[dict[str, int], int], nn.Module],
    shapes: Mapping[str, tuple[int, int]] = SHAPES,
    *,
    classes: int = CLASSES,
    seed: int = 0,
) -> Candidate:
    """Make a candidate of a class that is built as `fusion(widths, num_classes)`.

    Args:
        fusion: the class.
        shapes: each stream's steps and width.
        classes: how many there are to tell apart.
        seed: of the samples.
    """
    draw = torch.Generator().manual_seed(seed)
    inputs, masks = {}, {}
    for name, (steps, width) in shapes.items():
        inputs[name] = torch.randn(SAMPLES, steps, width, generator=draw)
        masks[name] = torch.rand(SAMPLES, steps, generator=draw) < 0.6
        masks[name][:, 1] = True
        masks[name][:, -1] = False
    batch = Batch(inputs, masks, torch.arange(SAMPLES) % classes)
    widths = {name: width for name, (_, width) in shapes.items()}
    return Candidate(lambda: fusion(dict(widths), classes), batch, classes)


def assert_contract(fusion: Any, *, device: str = "cpu") -> None:
    """Hold a module against every clause, with three streams and with two.

    Args:
        fusion: a class that is built as `fusion(widths, num_classes)`, or a `Candidate`.
        device: where to.

    Raises:
        CheckFailed: the first clause that is broken, and by what.
    """
    for candidate in _candidates(fusion):
        for name in CONTRACT:
            hold(name, candidate, device)


def hold(name: str, candidate: Candidate, device: str = "cpu") -> None:
    """Hold a candidate against one clause; an error of its own breaks the clause, too.

    Raises:
        CheckFailed: the clause is broken, and by what.
    """
    keeps = CONTRACT[name]
    try:
        keeps(candidate, device)
    except (CheckFailed, NotImplementedError):  # the latter is an exercise that nobody has begun
        raise
    except Exception as error:
        law = (keeps.__doc__ or "").splitlines()[0]
        got = f"{type(error).__name__}: {error}{_own_line(error)}"
        raise CheckFailed(law, got=got, tried=f"the clause “{name}”", hint=1) from error


def _own_line(error: Exception) -> str:
    """Tell the deepest line that stands neither in this package nor in an installed one."""
    here = str(Path(__file__).parents[1])
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(here) and "site-packages" not in frame.filename:
            return f"\nin {frame.name}, line {frame.lineno}: {frame.line}"
    return ""


def contract_report(fusion: Any, *, device: str = "cpu") -> dict[str, str]:
    """Hold a module against every clause, and tell of each "kept" or what broke it.

    Args:
        fusion: as of `assert_contract`.
        device: where to.
    """
    found = {}
    for name, keeps in CONTRACT.items():
        found[name] = "kept"
        for candidate in _candidates(fusion):
            try:
                keeps(candidate, device)
            except CheckFailed as broken:
                tried = broken.tried.partition("; streams")[0]
                found[name] = f"expected {broken.expected}; got {broken.got} ({tried})"
            except Exception as error:  # noqa: BLE001 - whatever a learner's module raises
                found[name] = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
            if found[name] != "kept":
                break
    return found


def _candidates(fusion: Any) -> tuple[Candidate, ...]:
    if isinstance(fusion, Candidate):
        return (fusion,)
    two = {"voice": (5, 3), "pulse": (11, 2)}
    return try_out(fusion), try_out(fusion, two, classes=2, seed=1)
