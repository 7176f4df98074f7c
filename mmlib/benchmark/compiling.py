"""torch.compile beside the plain model: whether it can work here, and what it says of itself."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

#: As shares of the largest output. Compiled sums are taken in another order, nothing more.
_MAY_DIFFER = {"fp32": 1e-3, "bf16": 0.1}


def check_compiler() -> None:
    """Refuse to compile where the C++ compiler is missing that torch.compile calls.

    Raises:
        ValueError: there is no compiler, or Python's headers, which its code includes, are missing.
    """
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    name = os.environ.get("CXX") or usual
    if shutil.which(name.split()[0]) is None:
        raise ValueError(
            f"torch.compile needs a C++ compiler, and {name} was not found; install it (Debian and "
            f"Ubuntu: apt-get install g++), name another by the variable CXX, or leave out --compile."
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise ValueError(
            f"torch.compile needs Python's headers, and {headers / 'Python.h'} does not exist; "
            "install them (Debian and Ubuntu: apt-get install python3-dev), or leave out --compile."
        )


def compile_afresh(model: nn.Module) -> Callable[..., Any]:
    """Hand a model to torch.compile, which forgets what it compiled before.

    Of one class it keeps a few compiled versions only, and would then run the rest as they are.
    """
    torch.compiler.reset()
    return torch.compile(model)


def time_first(run: Callable[[], object], device: str) -> tuple[float, int]:
    """Run what has yet to be compiled: how many seconds that takes, and how many graphs it becomes.

    With one thread on a CPU the seconds are the processor's, of this process and of the compilers
    that it calls; else those of the clock on the wall. What an earlier run left in torch's cache
    is not compiled again.
    """
    from torch._dynamo.utils import counters  # seconds to import, for those who never compile

    alone = device == "cpu" and torch.get_num_threads() == 1
    counters.clear()
    start = _processor() if alone else time.perf_counter()
    run()
    spent = (_processor() if alone else time.perf_counter()) - start
    return spent, int(counters["stats"]["unique_graphs"])


def check_agreement(compiled: Any, plain: Any, precision: str) -> float:
    """Hold a compiled model's outputs against the plain one's: the largest difference.

    Shape:
        - compiled, plain: tuples of tensors, what is no tensor is left out -> a share of the largest
          number in its output

    Raises:
        ArithmeticError: they differ by more than the order of sums explains.
    """
    worst, most = 0.0, _MAY_DIFFER[precision]
    for mine, theirs in zip(compiled, plain, strict=True):
        if not isinstance(theirs, Tensor):
            continue
        largest = theirs.float().abs().max().clamp(min=1e-12)
        found = float((mine.float() - theirs.float()).abs().max() / largest)
        if not found <= most:  # nor is "not a number"
            raise ArithmeticError(
                f"compiled outputs differ from the plain model's by {found:.1e} of the largest, "
                f"expected at most {most:g}; torch.compile gets this model wrong here."
            )
        worst = max(worst, found)
    return worst


def _processor() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
