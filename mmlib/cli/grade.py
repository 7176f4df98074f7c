"""`grade`: mark a folder of handed-in exercise notebooks, and write the marks as a CSV file."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmlib.cli.shared import Commands, say

NOTE = "Grading runs other people's code: read exercises/README.md first."


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "grade", help="mark a folder of exercise notebooks", description=NOTE
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "submissions", help="a folder of notebooks, or of a folder for each student"
    )
    parser.add_argument("--csv", required=True, help="where the marks go")
    parser.add_argument("--exercises", help="the course's exercises/ folder, where it is elsewhere")
    parser.add_argument("--lesson", help="the lesson that was set, such as 05; others are refused")
    parser.add_argument("--time", type=float, default=300, help="seconds for a submission (300)")
    parser.add_argument("--check-time", type=float, default=60, help="seconds for an exercise (60)")
    parser.add_argument("--memory", type=float, default=4, help="GB for a submission (4)")
    parser.add_argument("--jobs", type=int, default=1, help="submissions at the same time (1)")
    parser.add_argument("--resume", action="store_true", help="keep the marks of unchanged files")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Grade, show the table, and say where it is."""
    from mmlib.grading import marks
    from mmlib.grading.classroom import grade
    from mmlib.grading.running import Limits

    for name, least in (("time", 1), ("check_time", 1), ("memory", 1), ("jobs", 1)):
        if not getattr(options, name) >= least:
            shown = f"--{name.replace('_', '-')}"
            raise ValueError(f"{shown} is {getattr(options, name):g}, and must be {least} or more")
    rows = grade(
        Path(options.submissions),
        Path(options.csv),
        exercises=Path(options.exercises) if options.exercises else None,
        lesson=options.lesson,
        limits=Limits(options.time, options.check_time, int(options.memory * 2**30)),
        jobs=options.jobs,
        resume=options.resume,
        progress=not options.quiet,
    )
    print(marks.as_text(rows))
    say(f"{len(rows)} submissions; the marks are in {options.csv}.")
    # Not by the words of the reason: a learner may have written them.
    if failed := [row["submission"] for row in rows if row["lesson"] and not row["digest"]]:
        say(
            f"mmlib grade: the grader itself failed on {', '.join(failed[:3])}"
            f"{', ...' * (len(failed) > 3)}; the 0s there are no marks. Grade again with --resume."
        )
