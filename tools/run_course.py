"""Runs every lesson without a browser, and leaves in build/ what can be shown or handed out.

build/notebooks/ gets the executed notebooks, build/ an HTML page of each and an index, and
build/timings.json the measured seconds, from which tools/timings.py writes the README's table.
The exit code is 1 if a lesson fails or runs over its budget.

With `--clock FILE` nothing is run: the pages are those of the stored notebooks, and the seconds are
those that tools/lesson_clock.py took while nbval ran them, with the answers and without. The gate
does this, where nbval has run every lesson and compared what it put out.
"""

import argparse
import json
import sys
from pathlib import Path

import nbformat
from builder import editions, execute, lessons, pages
from builder.cells import BuildError, Lesson
from builder.read import read_lesson

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the lessons; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="lessons' numbers; all if none")
    parser.add_argument("--slack", type=float, default=1.0, help="multiplies the time budgets")
    parser.add_argument(
        "--clock", metavar="FILE", type=Path, help="run nothing, take nbval's times"
    )
    asked = parser.parse_args(arguments)
    try:
        course = [read_lesson(path) for path in lessons.sources(root, asked.numbers)]
    except BuildError as error:
        parser.error(str(error))
    timings = root / "build" / "timings.json"
    seconds = json.loads(timings.read_text()) if timings.exists() else {}
    failed = 0
    notebooks: dict[str, Path] = {}
    for place, lesson in enumerate(course, 1):
        print(f"[{place}/{len(course)}] {lesson.stem} ...", end=" ", flush=True)
        try:
            if asked.clock is None:
                notebook = root / "build" / "notebooks" / f"{lesson.stem}.ipynb"
                took = _run(root, asked.slack, notebook)
            else:
                notebook = root / editions.GUIDED / f"{lesson.stem}.ipynb"
                took = _run_by_nbval(lesson, asked.clock)
            notebooks[lesson.stem] = notebook
            seconds[lesson.number] = round(took, 1)
        except (BuildError, OSError) as error:
            print(f"FAILED\n{error}")
            failed += 1
            continue
        limit = lessons.budget(lesson.number) * asked.slack
        over = seconds[lesson.number] > limit
        failed += over
        print(f"{seconds[lesson.number]:.1f} s" + f", OVER its budget of {limit:.0f} s" * over)
    if asked.clock is None:  # the README's table is of lessons that ran alone
        editions.write(timings, json.dumps(dict(sorted(seconds.items())), indent=1) + "\n")
    try:
        whole = [read_lesson(path) for path in lessons.sources(root)]
        there = {stem: path for stem, path in notebooks.items() if path.exists()}
        pages.write_site(root, whole, there, seconds)
        print("pages: build/index.html")
    except BuildError as error:
        print(f"no pages: {error}")
        failed += 1
    return 1 if failed else 0


def _run(root: Path, slack: float, into: Path) -> float:
    """Run the guided lesson, and write it with its outputs."""
    notebook = nbformat.read(root / editions.GUIDED / into.name, as_version=4)
    folder = root / editions.GUIDED
    seconds = execute.run(notebook, folder, cell_seconds=execute.CELL_SECONDS * slack)
    editions.write(into, editions.as_text(notebook))
    return seconds


def _run_by_nbval(lesson: Lesson, clock: Path) -> float:
    """The longer of the times of the lesson's two executed editions.

    Raises:
        BuildError: nbval has not run one of them.
    """
    seconds = json.loads(clock.read_text(encoding="utf-8"))
    names = [f"{edition}/{lesson.stem}.ipynb" for edition in (editions.GUIDED, editions.SOLUTIONS)]
    if missing := [name for name in names if name not in seconds]:
        raise BuildError(f"nbval has not run {' and '.join(missing)}: {clock} has no time of it")
    return max(seconds[name] for name in names)


if __name__ == "__main__":
    sys.exit(main())
