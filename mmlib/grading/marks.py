"""The marks as a table: one row a submission, as CSV for a spreadsheet and as text for the screen."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmlib.grading.collecting import Submission
from mmlib.grading.running import Result
from mmlib.grading.words import NOT_ATTEMPTED

FIRST = ["submission", "student", "lesson"]
LAST = ["total", "out of", "seconds", "reason", "notes", "digest"]
WIDTH = 100
Row = dict[str, str]


def row_of(submission: Submission, result: Result | None) -> Row:
    """The row of a submission; without a result it could not run, and gets 0 where it has a lesson."""
    row = {"submission": submission.name, "student": submission.student, "lesson": ""}
    reasons, notes, out_of, total = [], list(submission.notes), 0, 0
    if submission.refused:
        reasons.append(submission.refused)
    elif submission.lesson is not None and result is not None:
        row["lesson"] = submission.lesson.number
        for exercise in submission.lesson.exercises:
            mark = result.marks[exercise.number]
            row[exercise.number] = str(mark)
            total += mark
            out_of += 1
        reasons += [f"{number}: {why}" for number, why in sorted(result.reasons.items())]
        idle = [number for number, why in sorted(result.wrong.items()) if why == NOT_ATTEMPTED]
        notes += [f"not attempted: {' '.join(idle)}"] if idle else []
        notes += [
            f"{number} wrong: {shortened(why, 120)}"
            for number, why in sorted(result.wrong.items())
            if why != NOT_ATTEMPTED
        ]
    row |= {"total": str(total), "out of": str(out_of) if out_of else ""}
    row["seconds"] = f"{result.seconds:.1f}" if result else ""
    row["reason"], row["notes"] = "; ".join(reasons), "; ".join(notes)
    # Without a digest `--resume` does not keep it: what the grader could not judge is judged again.
    row["digest"] = "" if result is not None and result.grader_failed else submission.digest
    return {key: one_line(value) for key, value in row.items()}


def one_line(text: str) -> str:
    """A text for one cell of a table: printable, in one line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def shortened(text: str, most: int) -> str:
    """The text, cut with an ellipsis where it is too long."""
    text = one_line(text)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def columns(rows: Iterable[Row]) -> list[str]:
    """The CSV's columns: the checks of all lessons that were met stand in the middle."""
    checks = {key for row in rows for key in row if key[:2].isdigit() and key[2:3] == "."}
    ordered = sorted(checks, key=lambda number: (number[:2], int(number[3:])))
    return [*FIRST, *ordered, *LAST]


def as_csv(rows: Sequence[Row]) -> str:
    """The table as CSV. A text that a spreadsheet would take for a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns(rows), restval="", lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: row["submission"]):
        writer.writerow({key: _harmless(value) for key, value in row.items()})
    return out.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip()[:1] in {"=", "+", "-", "@", "'"} else text


def read(path: Path) -> list[Row]:
    """Rows of an earlier run.

    Raises:
        ValueError: the file is not one that this command wrote.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{k: v for k, v in row.items() if k and v} for row in reader]
            known = set(FIRST + LAST) <= set(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error):
        known, rows = False, []
    if not known:
        raise ValueError(
            f"{path} is not a table of marks; --resume needs the one of an earlier run"
        )
    for row in rows:
        for key in (*FIRST, *LAST):
            row.setdefault(key, "")
            row[key] = row[key].removeprefix("'")
    return rows


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the CSV whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(as_csv(rows), encoding="utf-8", newline="")
    os.replace(draft, path)


def as_text(rows: Sequence[Row]) -> str:
    """The table for the screen, one part a lesson, at most 100 columns wide."""
    lessons = sorted({row["lesson"] for row in rows if row["lesson"]})
    parts = [
        _lesson(lesson, [row for row in rows if row["lesson"] == lesson]) for lesson in lessons
    ]
    if refused := [row for row in rows if not row["lesson"]]:
        lines = [f"{'Not graded':<32} reason"]
        lines += [
            f"{shortened(row['submission'], 31):<32} {shortened(row['reason'], WIDTH - 33)}"
            for row in sorted(refused, key=lambda row: row["submission"])
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _lesson(lesson: str, rows: list[Row]) -> str:
    checks = [
        name for name in columns(rows) if name.startswith(f"{lesson}.") and name[3:].isdigit()
    ]
    head = " ".join(f"{check[2:]:>3}" for check in checks)
    room = WIDTH - 25 - len(head) - 9
    lines = [f"{f'Lesson {lesson}':<24} {head}   total  reason or note".rstrip()]
    for row in sorted(rows, key=lambda row: (row["student"], row["submission"])):
        marks = " ".join(f"{row.get(check, ''):>3}" for check in checks)
        said = row["reason"] or row["notes"]
        total = f"{row['total']}/{row['out of']}"
        lines.append(
            f"{shortened(row['student'], 23):<24} {marks}  {total:>5}   {shortened(said, room)}".rstrip()
        )
    solved = " ".join(f"{sum(row.get(check) == '1' for row in rows):>3}" for check in checks)
    return "\n".join([*lines, f"{'solved by':<24} {solved}  of {len(rows)}"])
