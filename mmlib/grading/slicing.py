"""Finds what an answer needs of a notebook, by name: the imports, helpers and values it refers to.

A lesson trains models between its exercises, which no check looks at. So a shipped cell is taken
apart into its statements, a learner's own cell is kept whole, and a piece runs if it gives a name
that the answer, or another piece that runs, refers to.
"""

from __future__ import annotations

import ast
import dis
import linecache
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

MAGIC = re.compile(r"^\s*(?:[%!?]|\w[\w.]*\?{1,2}\s*$)")
SKIPPED_CELL = re.compile(r"^\s*%%(?!time\b|timeit\b|capture\b)")


@dataclass
class Unit:
    """Something to run: compiled code, the names it gives and the names it refers to."""

    place: float
    label: str
    owner: str
    number: str
    code: CodeType | None
    gives: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    problem: str = ""


def units(pieces: Iterable[dict[str, Any]]) -> list[Unit]:
    """Compile pieces of a notebook; what does not compile says so in its `problem`."""
    return [unit for piece in pieces for unit in _units(**piece)]


def _units(place: float, label: str, source: str, owner: str, number: str) -> Iterator[Unit]:
    text = plain_python(source)
    filename = f"<{label}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, filename)
            whole = [[statement] for statement in tree.body] if owner == "lesson" else [tree.body]
            for step, body in enumerate(whole):
                code = compile(ast.Module(body, []), filename, "exec")
                gives, needs = _names(code)
                yield Unit(place + step / 1e6, label, owner, number, code, gives, needs)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        said = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        yield Unit(place, label, owner, number, None, problem=f"is not Python{line}: {said}")


def plain_python(source: str) -> str:
    """The cell without IPython's magics: each such line is left out, its number is kept."""
    if SKIPPED_CELL.match(source):
        return ""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        lines = source.splitlines()
        kept = [_indent(line) + "pass" if MAGIC.match(line) else line for line in lines]
        return "\n".join(kept) + "\n"
    return source + "\n"


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """Global names that code sets when it is run, and those that it or its functions read."""
    gives: set[str] = set()
    needs: set[str] = set()
    for depth, part in _nested(code):
        for step in dis.get_instructions(part):
            kind, _, where = step.opname.partition("_")
            if step.opname.startswith("LOAD") and ("GLOBAL" in where or "NAME" in where):
                needs.add(str(step.argval))
            elif kind == "STORE" and (where == "GLOBAL" or (where == "NAME" and depth == 0)):
                gives.add(str(step.argval))
            elif step.opname == "IMPORT_STAR" or "INTRINSIC" in step.opname and step.arg == 2:
                gives.add("*")
    return gives, needs


def _nested(code: CodeType, depth: int = 0) -> Iterator[tuple[int, CodeType]]:
    yield depth, code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant, depth + 1)


def needed(
    everything: list[Unit], number: str, answer: str, check: float, done: set[int]
) -> list[int]:
    """Indices of the units to run before a check, in order, without those already `done`.

    Args:
        everything: all units of the notebook.
        number: the exercise; its own cells always run.
        answer: the name that the check takes.
        check: the place of the check: what stands below it does not count.
        done: indices that have run.
    """
    above = [i for i, unit in enumerate(everything) if unit.place < check]
    chosen = {i for i in above if everything[i].number == number}
    own: set[str] = set().union(*(everything[i].gives for i in chosen))
    wanted = {answer}.union(*(everything[i].needs for i in chosen))
    while True:
        # What the answer's own cells define, no cell of the lesson has to.
        asked = {"lesson": (wanted | {"*"}) - own}
        found = {
            i
            for i in above
            if i not in chosen
            and everything[i].gives & asked.get(everything[i].owner, wanted | {"*"})
        }
        if not found:
            return sorted(chosen - done, key=lambda i: everything[i].place)
        chosen |= found
        wanted = wanted.union(*(everything[i].needs for i in found))


def codes_of(everything: Iterable[Unit]) -> set[CodeType]:
    """Every code object that was compiled from the notebook."""
    return {part for unit in everything if unit.code for _, part in _nested(unit.code)}
