"""The shipped exercise notebooks, and which of them a submission is."""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmlib.grading.notebooks import Cell, Notebook, Unreadable, parse, read_bytes

HEADING = re.compile(r"(?m)^#{2,4}\s*Exercise\s+((\d\d)\.\d+)")
CALL = re.compile(r"""(?m)^check\(\s*["']((\d\d)\.\d+)["']""")
TITLE = re.compile(r"(?m)^#\s+(\d\d)\s+\S")


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson: where its cells stand in the shipped notebook, and its check.

    Attributes:
        number: "02.1".
        answer: the name in the learner's notebook that the check takes.
        code: places of its code cells.
        check: place of its check cell.
    """

    number: str
    answer: str
    code: tuple[int, ...]
    check: int


@dataclass(frozen=True)
class Lesson:
    """One shipped exercise notebook."""

    number: str
    stem: str
    cells: tuple[Cell, ...]
    exercises: tuple[Exercise, ...]
    digest: str


def load(folder: Path | None) -> dict[str, Lesson]:
    """Read the shipped exercises of a folder; by default the one beside the library's checkout.

    Raises:
        ValueError: there are none; the message says where to point.
    """
    chosen = folder or Path(__file__).resolve().parents[2] / "exercises"
    paths = sorted(chosen.glob("[0-9][0-9]_*.ipynb")) if chosen.is_dir() else []
    if not paths:
        say = "--exercises" if folder else "the course's folder is not beside this library"
        raise ValueError(
            f"no exercise notebooks at {chosen}: {say}; give --exercises with the course's "
            "exercises/ folder, whose cells the submissions are held against"
        )
    lessons = [_lesson(path) for path in paths]
    return {lesson.number: lesson for lesson in lessons if lesson.exercises}


def _lesson(path: Path) -> Lesson:
    try:
        data = read_bytes(path)
        cells = parse(data).cells
    except Unreadable as error:
        raise ValueError(f"{path} should be a shipped exercise notebook, but is {error}") from None
    exercises = []
    code: list[int] = []
    for place, cell in enumerate(cells):
        if "exercise" in cell.tags and HEADING.search(cell.source):
            code = []
        elif "exercise" in cell.tags and cell.kind == "code":
            code.append(place)
        elif "check" in cell.tags:
            number, answer = _read_check(cell.source, path)
            exercises.append(Exercise(number, answer, tuple(code), place))
            code = []
    return Lesson(path.stem[:2], path.stem, cells, tuple(exercises), digest_of(data))


def _read_check(source: str, path: Path) -> tuple[str, str]:
    match ast.parse(source).body:
        case [
            ast.Expr(
                ast.Call(ast.Name("check"), [ast.Constant(str() as number), ast.Name(answer)], [])
            )
        ]:
            return number, answer
    raise ValueError(f'{path}: a check cell is one line, check("02.1", name), not: {source[:80]}')


def recognise(notebook: Notebook, lessons: dict[str, Lesson]) -> Lesson:
    """Say which lesson a submission is: by its cells' ids, else its exercises, else its title.

    Raises:
        Unreadable: none that is shipped, or the guided lesson instead of its exercises.
    """
    ids = {cell.id for cell in notebook.cells if cell.id}
    texts = [cell.source for cell in notebook.cells]
    votes: Counter[str] = Counter()
    for number, lesson in lessons.items():
        votes[number] += len(ids & {cell.id for cell in lesson.cells})
    numbers = [
        match[2] for text in texts for line in (HEADING, CALL) for match in line.finditer(text)
    ]
    votes.update({number: 3 * count for number, count in Counter(numbers).items()})
    titles = [match[1] for text in texts[:5] if (match := TITLE.search(text))]
    votes.update({number: 2 for number in titles})
    best = min(votes, key=lambda number: (-votes[number], number)) if votes else ""
    if not votes[best]:
        raise Unreadable("no lesson of this course: no exercise, check or title of one")
    if best not in lessons:
        raise Unreadable(
            f"lesson {best}, whose exercises are not here (here: {', '.join(lessons)})"
        )
    if best not in numbers and not _has_answers(notebook, lessons[best]):
        raise Unreadable(f"the reading copy of lesson {best}, or a part of it: it has no exercises")
    return lessons[best]


def _has_answers(notebook: Notebook, lesson: Lesson) -> bool:
    shown = {c.source.strip() for c in lesson.cells if "exercise" not in c.tags}
    return any(
        defines(cell.source, exercise.answer)
        for cell in notebook.cells
        if cell.kind == "code" and cell.source.strip() not in shown
        for exercise in lesson.exercises
    )


def defines(source: str, name: str) -> bool:
    """Whether a cell's text defines the name at its margin, told without parsing it."""
    word = re.escape(name)
    return bool(
        re.search(
            rf"(?m)^(?:(?:async\s+)?def|class)\s+{word}\b|^{word}\s*(?::[^=\n]*)?=(?!=)", source
        )
    )


def digest_of(data: bytes) -> str:
    """A fingerprint of a file, by which one finds it again."""
    return hashlib.sha256(data).hexdigest()[:12]


def all_checks(lessons: Sequence[Lesson]) -> list[str]:
    """The numbers of all checks of the lessons, in order."""
    return [exercise.number for lesson in lessons for exercise in lesson.exercises]
