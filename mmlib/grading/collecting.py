"""Finds the notebooks that were handed in, and whose they are."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmlib.grading.assembling import Assembled, assemble
from mmlib.grading.course import Lesson, digest_of, recognise
from mmlib.grading.notebooks import Unreadable, parse, read_bytes

SKIPPED = {".ipynb_checkpoints", "__MACOSX", "__pycache__"}
ARCHIVES = {".zip", ".gz", ".tgz", ".7z", ".rar", ".tar", ".xz"}
MOODLE = re.compile(r"^(.+?)_\d+_assignsubmission_\w+$")
LESSON_IN_NAME = re.compile(r"[\s_-]+(\d\d)(?:[_-][a-z_]+)?$|^(\d\d)[\s_-]+(?=\S)")


@dataclass
class Submission:
    """One notebook that was handed in, read but not run.

    Attributes:
        name: its path below the submissions' folder.
        student: the name of the folder that it is in, or of the file.
        data: the file's bytes as they were when grading began.
        lesson: the lesson that it is, where it is one.
        assembled: what is to be run, where it can be.
        refused: why it cannot be, otherwise.
        notes: what else the instructor should know.
    """

    name: str
    student: str
    data: bytes = b""
    lesson: Lesson | None = None
    assembled: Assembled | None = None
    refused: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A fingerprint of the file, by which one finds it again; empty where it was not read."""
        return digest_of(self.data) if self.data else ""


def collect(root: Path, lessons: dict[str, Lesson], only: str | None = None) -> list[Submission]:
    """Read every submission below a folder (or the one notebook that `root` is), in a fixed order.

    Args:
        root: a folder of notebooks, or of a folder for each student.
        lessons: the shipped lessons by number.
        only: the number of the lesson that was set; another one is refused.

    Raises:
        ValueError: no such folder, or nothing was handed in there.
    """
    if not root.exists():
        raise ValueError(f"no folder of submissions at {root}")
    base = root if root.is_dir() else root.parent
    paths = sorted(_files(root)) if root.is_dir() else [root]
    found = [_read(path, base, lessons, only) for path in paths]
    found += [each for each in _without_notebook(base, paths) if root.is_dir()]
    if not found:
        raise ValueError(f"no notebooks (.ipynb) below {root}")
    _make_unique(found)
    _note_twins(found)
    return sorted(found, key=lambda each: each.name)


def _files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):  # which does not follow links
        below[:] = [name for name in below if name not in SKIPPED and not name.startswith(".")]
        for name in names:
            suffix = Path(name).suffix.lower()
            if not name.startswith(".") and (suffix == ".ipynb" or suffix in ARCHIVES):
                yield Path(folder, name)


def _read(path: Path, base: Path, lessons: dict[str, Lesson], only: str | None) -> Submission:
    name = readable_name(path.relative_to(base).as_posix())
    done = Submission(name, student_of(name))
    try:
        if path.suffix.lower() in ARCHIVES:
            raise Unreadable("an archive: unpack it into a folder of its own first")
        done.data = read_bytes(path)
        notebook = parse(done.data)
        done.lesson = recognise(notebook, lessons)
        if only and done.lesson.number != only:
            raise Unreadable(f"lesson {done.lesson.number}, where lesson {only} was set")
        done.assembled = assemble(notebook, done.lesson)
    except Unreadable as error:
        done.refused = str(error)
        return done
    said = LESSON_IN_NAME.search(path.stem)
    number = (said[1] or said[2]) if said else done.lesson.number
    if number != done.lesson.number and number in lessons:
        done.notes.append(f"its name says lesson {number}")
    done.notes += done.assembled.notes
    return done


def _without_notebook(base: Path, paths: list[Path]) -> Iterator[Submission]:
    """A row for each folder at the top that holds files, but nothing to grade."""
    used = {path.relative_to(base).parts[0] for path in paths}
    for folder in sorted(base.iterdir()):
        if folder.name in used or folder.name.startswith(".") or folder.name in SKIPPED:
            continue
        if folder.is_dir() and not folder.is_symlink():
            name = readable_name(folder.name)
            yield Submission(
                f"{name}/", student_of(f"{name}/"), refused="no notebook in the folder"
            )


def readable_name(name: str) -> str:
    """A file's name without what would move the cursor or cannot be written as UTF-8."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else "?" for char in text)


def student_of(name: str) -> str:
    """Whose submission a path is: its first folder's name, else the file's without the lesson."""
    parts = name.split("/")
    if len(parts) > 1:
        moodle = MOODLE.match(parts[0])
        return moodle[1] if moodle else parts[0]
    stem = parts[0].rsplit(".", 1)[0]
    return LESSON_IN_NAME.sub("", stem) or stem


def _make_unique(found: list[Submission]) -> None:
    """Number the names that only differ in what cannot be shown."""
    seen: Counter[str] = Counter()
    for each in found:
        seen[each.name] += 1
        if seen[each.name] > 1:
            each.name += f" ({seen[each.name]})"


def _note_twins(found: list[Submission]) -> None:
    """Note files that are the same byte for byte, and students with two notebooks of a lesson."""
    same: dict[str, list[Submission]] = defaultdict(list)
    for each in found:
        # What was handed in as it was handed out is nobody's copy.
        if each.lesson and each.assembled and each.digest != each.lesson.digest:
            same[each.digest].append(each)
    for twins in same.values():
        for each in twins:
            if others := [other.name for other in twins if other is not each]:
                each.notes.append(f"the same file as {', '.join(others[:3])}")
    count = Counter((each.student, each.lesson.number) for each in found if each.lesson)
    for each in found:
        if each.lesson and (many := count[each.student, each.lesson.number]) > 1:
            each.notes.append(f"one of {many} of this student for lesson {each.lesson.number}")
