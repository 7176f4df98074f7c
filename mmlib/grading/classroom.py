"""Grades a whole class: every submission in its turn, the table kept after each."""

from __future__ import annotations

import contextlib
import queue
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from mmlib.grading import confine, course, marks
from mmlib.grading.collecting import Submission, collect
from mmlib.grading.marks import Row
from mmlib.grading.running import Limits, Result, Template, mark


def grade(
    submissions: Path,
    table: Path,
    *,
    exercises: Path | None = None,
    lesson: str | None = None,
    limits: Limits | None = None,
    jobs: int = 1,
    resume: bool = False,
    progress: bool = True,
) -> list[Row]:
    """Grade every notebook of a folder and write the table of marks after each; return its rows.

    Args:
        submissions: a folder of notebooks, or of a folder for each student.
        table: the CSV file to write.
        exercises: the shipped exercise notebooks; those of this checkout by default.
        lesson: the number of the only lesson that counts, such as "05"; any by default.
        limits: what a submission may use.
        jobs: how many submissions run at the same time.
        resume: keep the rows of `table` whose files have not changed since.
        progress: whether to show a progress bar, where stderr is a terminal.

    Raises:
        ValueError: nothing to grade, nothing to hold it against, or impossible limits.
    """
    if not hasattr(sys, "getwindowsversion"):
        lessons = course.load(exercises)
    else:
        raise ValueError("grading needs Linux or macOS; on Windows run it in WSL or a container")
    if lesson is not None and lesson not in lessons:
        raise ValueError(f"--lesson is {lesson}, and there are {', '.join(lessons)}")
    if not table.parent.is_dir():
        raise ValueError(f"--csv: there is no folder {table.parent} to write into")
    found = collect(submissions, lessons, lesson)
    kept = _kept(table) if resume and table.exists() else {}
    rows = {
        each.name: kept[each.name, each.digest]
        for each in found
        if (each.name, each.digest) in kept
    }
    waiting = [each for each in found if each.name not in rows]
    marks.write(table, list(rows.values()))  # a table that cannot be written fails now
    for gap in confine.missing() if any(each.assembled for each in waiting) else []:
        print(f"mmlib grade: {gap}; see exercises/README.md for a container", file=sys.stderr)
    numbers = course.all_checks(list(lessons.values()))
    with tempfile.TemporaryDirectory(prefix="mmlib-grade-") as scratch:
        results = _results(waiting, numbers, Path(scratch), limits or Limits(), jobs)
        before = _files(submissions)
        for submission, result in _shown(results, len(waiting), progress):
            row = rows[submission.name] = marks.row_of(submission, result)
            if (now := _files(submissions)) != before:
                touched = sorted({name for name, _ in before.items() ^ now.items()})
                note = (
                    f"while it ran, submissions were changed on the disk: {', '.join(touched[:3])}"
                )
                row["reason"] = marks.one_line("; ".join(filter(None, (row["reason"], note))))
                before = now
            marks.write(table, list(rows.values()))
    return sorted(rows.values(), key=lambda row: row["submission"])


def _files(root: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of what was handed in: nothing that runs may change it."""
    found = {}
    for path in root.rglob("*.ipynb") if root.is_dir() else [root]:
        with contextlib.suppress(OSError):
            about = path.lstat()
            found[path.relative_to(root.parent).as_posix()] = (about.st_size, about.st_mtime_ns)
    return found


def _kept(table: Path) -> dict[tuple[str, str], Row]:
    return {(row["submission"], row["digest"]): row for row in marks.read(table) if row["digest"]}


def _results(
    waiting: list[Submission], numbers: list[str], scratch: Path, limits: Limits, jobs: int
) -> Iterator[tuple[Submission, Result | None]]:
    """Marks as they come; each of `jobs` threads has a template of its own."""
    todo: queue.SimpleQueue[Submission] = queue.SimpleQueue()
    for each in waiting:
        if each.assembled is not None:
            todo.put(each)
        else:
            yield each, None
    done: queue.SimpleQueue[tuple[Submission, Result | None | BaseException]] = queue.SimpleQueue()
    count = todo.qsize()
    templates = [Template(numbers, scratch) for _ in range(min(jobs, count))]

    def work(template: Template) -> None:
        try:
            while True:
                submission = todo.get_nowait()
                try:
                    assert submission.assembled is not None
                    done.put(
                        (submission, mark(submission.assembled, submission.data, template, limits))
                    )
                except Exception as error:  # noqa: BLE001 - handed on to the thread that waits
                    done.put((submission, error))
        except queue.Empty:
            template.close()

    threads = [threading.Thread(target=work, args=(each,), daemon=True) for each in templates]
    for thread in threads:
        thread.start()
    try:
        for _ in range(count):
            submission, result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield submission, result
    finally:
        while not todo.empty():
            todo.get_nowait()
        for template in templates:
            template.close()


def _shown(
    results: Iterator[tuple[Submission, Result | None]], count: int, progress: bool
) -> Iterator[tuple[Submission, Result | None]]:
    from tqdm import tqdm

    tqdm.monitor_interval = 0
    with tqdm(total=count, unit="notebook", disable=None if progress else True) as bar:
        for submission, result in results:
            bar.set_postfix_str(marks.shortened(submission.name, 30))
            bar.update()
            yield submission, result
