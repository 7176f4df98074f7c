"""The process that has everything imported and forks for every attempt: `python -m mmlib.grading.template`.

It reads jobs from its standard input, one JSON a line, and writes events to its standard output. It
runs no learner's code itself, so that what it hands to the next worker is as it was at the start.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import random
import sys
from pathlib import Path
from typing import Any, NoReturn

from mmlib.grading import confine, keeper, session
from mmlib.grading.words import grader_failed


def main() -> None:
    """Get ready, say so, and serve jobs until there are no more."""
    confine.end_with_parent()
    jobs = os.fdopen(os.dup(0), "rb")
    channel = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)

    def tell(message: dict[str, Any]) -> None:
        os.write(channel, json.dumps(message).encode() + b"\n")

    numbers = json.loads(jobs.readline())
    try:
        prepared = _prepare(numbers)
    except LookupError as error:
        why = f"the exercises do not fit this version of mmlib: {error.args[0]}"
        tell({"event": "refused", "why": why})
        return
    except Exception as error:  # noqa: BLE001 - else it would be lost with this process
        tell({"event": "refused", "why": grader_failed(error)})
        return
    tell({"event": "ready"})
    for line in jobs:
        job = json.loads(line)
        try:
            prepared.get_ready([number for number, *_ in job["checks"]])
            child = os.fork()
        except Exception as error:  # noqa: BLE001 - no learner's code has run yet
            tell({"event": "over", "why": grader_failed(error), "number": ""})
        else:
            if child == 0:
                try:
                    jobs.close()
                    keeper.keep(job, prepared, tell)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
        tell({"event": "idle"})


def _prepare(numbers: list[str]) -> session.Prepared:
    """Import what notebooks use and every lesson's checks, before anything is written down."""
    import torch

    torch.set_num_threads(1)
    builtins.input = _nobody_answers
    # A worker may not read the checks' files, so it must find them imported.
    for path in sorted((Path(__file__).resolve().parents[1] / "checks").glob("*.py")):
        importlib.import_module(f"mmlib.checks.{path.stem}".removesuffix(".__init__"))
    random.seed(0)
    # What judges cannot be reached by its name: imported again, it would be another.
    graders = {
        name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith("mmlib.grading")
    }
    vars(sys.modules["mmlib"]).pop("grading", None)
    return session.Prepared(numbers, graders)


def _nobody_answers(prompt: object = "") -> NoReturn:
    raise EOFError("nobody answers input() while a notebook is graded")


if __name__ == "__main__":
    main()
