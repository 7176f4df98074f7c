"""The command line: one file a command; options in, one sentence out where they cannot be met.

A command is a module with `add(commands)`, which declares its options, and `run(options)`, which
does the work and may return an exit code (nothing counts as 0).
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from mmlib.cli import (
    benchmark,
    compare,
    contract,
    convert,
    crossvalidate,
    download,
    evaluate,
    extract,
    grade,
    join,
    prepare,
    robustness,
    split,
    train,
)
from mmlib.cli.freed_memory import keep_freed_memory
from mmlib.cli.shared import say

REFUSED, INTERRUPTED = 2, 130
COMMANDS = (
    train,
    evaluate,
    compare,
    robustness,
    crossvalidate,
    contract,
    split,
    download,
    prepare,
    extract,
    join,
    convert,
    benchmark,
    grade,
)

#: Commands that take many training steps, in memory that is best kept from one to the next.
_STEPPING = ("train", "compare", "crossvalidate", "benchmark")


class _Parser(argparse.ArgumentParser):
    """A parser that refuses with one sentence instead of its whole usage."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more."""
        self.exit(REFUSED, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, its own, 2 (refused) or 130 (interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(words)
    if arguments is None and options.command in _STEPPING:  # else the process is somebody else's
        keep_freed_memory()
    try:
        _refuse_several(options.command)
        return options.run(options) or 0
    except (ValueError, OSError) as error:
        # What this package refuses is a ValueError whose message is written to be read.
        say(f"mmlib {options.command}: {str(error).splitlines()[0]}")
        return REFUSED
    except KeyboardInterrupt:
        again = shlex.join(["python", "-m", "mmlib", *words])
        by_themselves = ("extract", "download", "prepare", "compare", "crossvalidate")
        resumes = "--resume" in words or options.command in by_themselves
        more = again if resumes else f"{again} --resume"
        known = ("train", "grade", *by_themselves)
        hint = f"; continue with: {more}" if options.command in known else ""
        say(f"mmlib {options.command}: interrupted{hint}")
        return INTERRUPTED


def _refuse_several(command: str) -> None:
    """Refuse torchrun's processes where each would do, and write, the same."""
    several = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and command != "train":
        raise ValueError("only train shares its work among processes; start this without torchrun.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mmlib", description="Train and evaluate systems of the course.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
