"""Writes the README's table of lessons from their sources and the seconds that `make course` measured.

python tools/timings.py          print the table
python tools/timings.py --write  put it between the markers in README.md
"""

import argparse
import json
import re
import sys
from pathlib import Path

from builder import editions, lessons
from builder.cells import BuildError
from builder.read import read_lesson

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- lessons:begin -->", "<!-- lessons:end -->"
HEAD = "| lesson | minutes | exercises | runs in |\n|---|---|---|---|"


def table(root: Path) -> str:
    """The table: each lesson's link, its minutes, its number of exercises, its measured seconds.

    A lesson that was not measured here keeps the seconds that the README has.
    """
    path = root / "build" / "timings.json"
    readme = (root / "README.md").read_text(encoding="utf-8")
    known = re.findall(r"^\| \[(\d\d) .*\| (\d+) s \|$", readme, re.MULTILINE)
    seconds = {number: float(told) for number, told in known}
    if path.exists():
        seconds |= json.loads(path.read_text())
    rows = [HEAD]
    for source in lessons.sources(root):
        lesson = read_lesson(source)
        link = f"[{lesson.number} {lesson.title}](notebooks/{lesson.stem}.ipynb)"
        measured = f"{seconds[lesson.number]:.0f} s" if lesson.number in seconds else "not measured"
        rows.append(f"| {link} | {lesson.minutes} | {len(lesson.exercises)} | {measured} |")
    return "\n".join(rows)


def with_table(readme: str, rows: str) -> str:
    """The README's text with the table between its markers.

    Raises:
        BuildError: a marker is missing.
    """
    if BEGIN not in readme or END not in readme:
        raise BuildError(f"README.md has no place for the table: {BEGIN} and {END}")
    between = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
    return between.sub(lambda _: f"{BEGIN}\n{rows}\n{END}", readme)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Print or write the table; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="refresh the table in README.md")
    asked = parser.parse_args(arguments)
    try:
        rows = table(root)
        if not asked.write:
            print(rows)
            return 0
        readme = root / "README.md"
        editions.write(readme, with_table(readme.read_text(encoding="utf-8"), rows))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
