"""What a lesson's source is made of: cells with tags, solution regions, exercises."""

import re
from dataclasses import dataclass
from pathlib import Path

HINTS = ("hint-1", "hint-2", "hint-3")
NOTES = ("solution-note", "instructor")
BLOCK_TAGS = {"exercise", "check", *HINTS, *NOTES}
TAGS = BLOCK_TAGS | {"guided", "claim", "nbval-check-output"}
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = "raise NotImplementedError"
REGION = re.compile(rf"(?ms)^([ \t]*){BEGIN}[ \t]*\n.*?^[ \t]*{END}[ \t]*(?:\n|\Z)")


class BuildError(ValueError):
    """A source or an output that the course does not take; the message says what to do."""


def blame(index: int, source: str, text: str) -> BuildError:
    """A refusal that says which cell it is about."""
    return BuildError(f"cell {index} ({first_line(source)}): {text}")


def first_line(source: str) -> str:
    """The beginning of a cell, by which a person finds it."""
    return source.strip().split("\n")[0][:60] or "empty"


@dataclass(frozen=True)
class Cell:
    """One cell of a source."""

    index: int
    kind: str
    source: str
    tags: tuple[str, ...] = ()

    def __contains__(self, tag: str) -> bool:
        """Whether the cell has the tag."""
        return tag in self.tags

    @property
    def in_exercise(self) -> bool:
        """Whether the cell belongs to an exercise, and so not to the guided edition."""
        return bool(BLOCK_TAGS & set(self.tags))

    def stubbed(self) -> str:
        """The source with each solution replaced by `raise NotImplementedError`."""
        return REGION.sub(lambda region: f"{region[1]}{STUB}\n", self.source).rstrip()

    def solved(self) -> str:
        """The source with the solution's markers taken out."""
        kept = [line for line in self.source.splitlines() if line.strip() not in (BEGIN, END)]
        return "\n".join(kept).rstrip()

    def refusal(self, text: str) -> BuildError:
        """A refusal that says which cell it is about."""
        return blame(self.index, self.source, text)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson: its heading, its rating, the answer's name and its cells."""

    number: str
    title: str
    difficulty: str
    importance: str
    minutes: int
    answer: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Lesson:
    """One lesson's source, read and found to keep the rules."""

    path: Path
    number: str
    title: str
    minutes: int
    cells: tuple[Cell, ...]
    exercises: tuple[Exercise, ...]

    @property
    def stem(self) -> str:
        """The file name without its ending: `02_attention`."""
        return self.path.stem
