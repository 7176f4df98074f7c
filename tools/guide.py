"""Keeps the instructor's guide in docs/instructors/ true to the lessons and their checks.

Each lesson has a page NN.md. Its routes, its questions and answers are written by hand; the list of
common wrong answers is written by this tool, from the mistakes that the tests plant into each
exercise (tests/course/test_checks_NN.py), so that it names what the checks really catch.

python tools/guide.py          say what is wrong
python tools/guide.py --write  refresh the lists, then say what is still wrong
"""

import argparse
import importlib
import re
import sys
from pathlib import Path
from typing import Any

from builder import editions, lessons
from builder.cells import BuildError, Lesson
from builder.read import read_lesson

ROOT = Path(__file__).resolve().parent.parent
PAGES = Path("docs") / "instructors"
BEGIN, END = "<!-- mistakes:begin -->", "<!-- mistakes:end -->"
ROUTES = {"In 50 minutes": 50, "In 90 minutes": 90}
#: What a route may hold that is no section of the lesson.
BESIDE = ("Discussion", "Set-up")
_ROW = re.compile(r"^\| (\d+) \| (.+?) \|")


def mistakes(lesson: Lesson) -> str:
    """List the planted mistakes of each exercise: the slip, and what to tell a learner.

    Raises:
        BuildError: an exercise has none.
    """
    found = {each.number: each.misconceptions for each in _answers(lesson.number)}
    lines = []
    for exercise in lesson.exercises:
        if exercise.number not in found:
            raise BuildError(f"no test plants mistakes into exercise {exercise.number}")
        lines += ["", f"**{exercise.number} {exercise.title}**", ""]
        lines += [f"- *{wrong.name}.* {wrong.says}" for wrong in found[exercise.number]]
    return "\n".join(lines).strip()


def with_mistakes(page: str, listed: str, name: str) -> str:
    """Put the list between the page's markers.

    Raises:
        BuildError: a marker is missing.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise BuildError(f"{name} has no place for the mistakes: {BEGIN} and {END}")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{listed}\n{END}{rest.split(END)[1]}"


def complaints(lesson: Lesson, page: str) -> list[str]:
    """Say what a page has wrong: its routes' minutes and sections, a question without an answer."""
    headings = {
        match.group(1).strip()
        for cell in lesson.cells
        for match in re.finditer(r"^#{2,3} (.+)$", cell.source, re.MULTILINE)
    }
    wrong = []
    for title, minutes in ROUTES.items():
        rows = _rows(page, title)
        total = sum(number for number, _ in rows)
        if total != minutes:
            wrong.append(f"'{title}' adds up to {total} minutes")
        wrong += [
            f"'{title}' names {part!r}, which the lesson has not"
            for _, part in rows
            if part not in headings and part not in BESIDE
        ]
    questions = len(re.findall(r"^\*\*Q\.\*\* ", page, re.MULTILINE))
    answers = len(re.findall(r"^\*\*A\.\*\* ", page, re.MULTILINE))
    if questions < 3 or questions != answers:
        wrong.append(f"{questions} questions and {answers} answers, expected 3 or more of each")
    return wrong


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Refresh or check the pages; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="refresh the lists of mistakes")
    asked = parser.parse_args(arguments)
    wrong = []
    for lesson in map(read_lesson, lessons.sources(root)):
        path = root / PAGES / f"{lesson.number}.md"
        name = path.relative_to(root).as_posix()
        try:
            if not path.exists():
                raise BuildError(f"{name} is not there")
            page = path.read_text(encoding="utf-8")
            fresh = with_mistakes(page, mistakes(lesson), name)
            if asked.write and fresh != page:
                editions.write(path, fresh)
            elif fresh != page:
                wrong.append(f"{name}: other mistakes than in the tests; tools/guide.py --write")
            wrong += [f"{name}: {complaint}" for complaint in complaints(lesson, fresh)]
        except BuildError as error:
            wrong.append(str(error))
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


def _answers(number: str) -> list[Any]:
    """Find the tried answers in the tests of a lesson's checks, in the order in which they stand."""
    folder = str(ROOT / "tests" / "course")
    if folder not in sys.path:
        sys.path.append(folder)
    kind = importlib.import_module("checking").Answers
    names = vars(importlib.import_module(f"test_checks_{number}")).values()
    groups = [value if isinstance(value, (list, tuple)) else [value] for value in names]
    return [each for group in groups for each in group if isinstance(each, kind)]


def _rows(page: str, title: str) -> list[tuple[int, str]]:
    """Read a route's table: minutes, and which section."""
    after = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
    matches = map(_ROW.match, after.splitlines())
    return [(int(match.group(1)), match.group(2).strip()) for match in matches if match]


if __name__ == "__main__":
    sys.exit(main())
