"""Builds whole lessons: source in, three files' texts out."""

import copy
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from builder import editions, execute, lint
from builder.cells import BuildError, Lesson, first_line
from builder.read import read_lesson

BUDGET = 60
LONG_BUDGET = 120
LONG_LESSONS = {"07", "09", "11", "13", "14"}


@dataclass(frozen=True)
class Built:
    """One notebook file as it should be stored, and how long its cells took to run."""

    path: Path
    text: str
    seconds: float


def sources(root: Path, numbers: list[str] | None = None) -> list[Path]:
    """The lessons' source files in order; all of them, or those of the given numbers.

    Raises:
        BuildError: no lesson has one of the numbers.
    """
    found = sorted((root / "notebooks" / "src").glob("[0-9][0-9]_*.py"))
    if not numbers:
        return found
    chosen = [path for path in found if path.stem[:2] in numbers]
    if missing := sorted(set(numbers) - {path.stem[:2] for path in chosen}):
        there = ", ".join(path.stem[:2] for path in found) or "none"
        raise BuildError(f"no lesson {', '.join(missing)} in notebooks/src; there are {there}")
    return chosen


def budget(number: str) -> int:
    """Seconds that one edition of the lesson may take on two CPU cores."""
    return LONG_BUDGET if number in LONG_LESSONS else BUDGET


def build(source: Path, root: Path, *, slack: float = 1.0) -> list[Built]:
    """Build the three editions of one lesson: lay out, run, tidy, lint.

    Args:
        source: the lesson's percent-format source.
        root: the repository; notebooks run in its editions' folders.
        slack: multiplies the time budgets, for a busy machine.

    Raises:
        BuildError: the source or an output breaks a rule of the course.
    """
    lesson = read_lesson(source)
    url = editions.repository(root)
    return [_build(lesson, edition, root, url, slack) for edition in editions.EDITIONS]


def _build(lesson: Lesson, edition: str, root: Path, url: str, slack: float) -> Built:
    notebook = editions.lay_out(lesson, edition, url=url)
    path = Path(edition) / f"{lesson.stem}.ipynb"
    executed = edition != editions.EXERCISES
    seconds = 0.0
    try:
        if executed:
            folder = root / edition
            folder.mkdir(exist_ok=True)
            cell_seconds = execute.CELL_SECONDS * slack
            seconds = execute.run(notebook, folder, cell_seconds=cell_seconds)
        if found := lint.complaints(notebook, executed=executed):
            raise BuildError("\n  ".join(found))
        if seconds > (limit := budget(lesson.number) * slack):
            raise BuildError(
                f"takes {seconds:.0f} s, over its budget of {limit:.0f} s (a busy machine: --slack 3)"
            )
    except BuildError as error:
        raise BuildError(f"{path}: {error}") from None
    return Built(path, editions.as_text(notebook), seconds)


def reword(source: Path, root: Path) -> list[Built]:
    """Build one lesson whose text alone has changed: nothing runs, the stored outputs stay.

    Raises:
        BuildError: the code has changed too, or the result breaks a rule of the course.
    """
    lesson = read_lesson(source)
    url = editions.repository(root)
    return [_reword(lesson, edition, root, url) for edition in editions.EDITIONS]


def _reword(lesson: Lesson, edition: str, root: Path, url: str) -> Built:
    path = Path(edition) / f"{lesson.stem}.ipynb"
    fresh = editions.lay_out(lesson, edition, url=url)
    if not (root / path).exists():
        raise BuildError(f"{path}: it is not there yet, build it without --prose")
    stored = nbformat.read(root / path, as_version=4)
    before, after = (
        [cell for cell in nb.cells if cell.cell_type == "code"] for nb in (stored, fresh)
    )
    if [_code(cell) for cell in before] != [_code(cell) for cell in after]:
        raise BuildError(f"{path}: its code has changed too, build it without --prose")
    for old, new in zip(before, after, strict=True):
        new.outputs, new.execution_count = old.outputs, old.execution_count
    if found := lint.complaints(fresh, executed=edition != editions.EXERCISES):
        raise BuildError(f"{path}: " + "\n  ".join(found))
    return Built(path, editions.as_text(fresh), 0.0)


def _code(cell: NotebookNode) -> tuple[str, str, dict[str, object]]:
    return cell.id, cell.source, cell.metadata


@dataclass(frozen=True)
class Difference:
    """What a rebuild would change in a stored notebook."""

    path: Path
    cells: list[str]
    machine: list[str]


def compare(path: Path, stored: str | None, fresh: str) -> Difference:
    """Tell what must be the same everywhere from what may hang on the machine.

    `cells` are differences in cells, ids, metadata, and compared outputs: the notebook was not
    rebuilt. `machine` are differences in pictures and in outputs that no test compares; floats
    and fonts may draw these otherwise on another type of CPU.
    """
    if stored is None:
        return Difference(path, ["it is not there"], [])
    if stored == fresh:
        return Difference(path, [], [])
    old, new = (nbformat.reads(text, as_version=4) for text in (stored, fresh))
    if bare(old) != bare(new):
        return Difference(path, _changed_cells(old, new), [])
    compared: list[str] = []
    machine: list[str] = []
    for index, (before, after) in enumerate(zip(old.cells, new.cells, strict=True)):
        if before == after:
            continue
        place = f"cell {index}: {first_line(after.source)}"
        is_compared = "nbval-check-output" in after.metadata.get("tags", ())
        (compared if is_compared else machine).append(place)
    if not compared + machine:
        compared.append("the bytes of the file (its layout)")
    return Difference(path, compared, machine)


def bare(notebook: NotebookNode) -> str:
    """The notebook without outputs and execution counts: what its source alone decides."""
    stripped = copy.deepcopy(notebook)
    for cell in stripped.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return str(nbformat.writes(stripped, version=4))


def _changed_cells(old: NotebookNode, new: NotebookNode) -> list[str]:
    before, after = ({cell.id: cell for cell in nb.cells} for nb in (old, new))
    lines = [f"stored only: {first_line(before[i].source)}" for i in before if i not in after]
    lines += [
        f"in the source only: {first_line(after[i].source)}" for i in after if i not in before
    ]
    return lines or ["the order, the metadata or the text of the cells"]


def stale(source: Path, root: Path) -> list[Difference]:
    """Compare the stored notebooks with the source, without running anything."""
    lesson = read_lesson(source)
    url = editions.repository(root)
    differences = []
    for edition in editions.EDITIONS:
        path = Path(edition) / f"{lesson.stem}.ipynb"
        fresh = editions.lay_out(lesson, edition, url=url)
        if not (root / path).exists():
            differences.append(Difference(path, ["it is not there"], []))
            continue
        stored = nbformat.read(root / path, as_version=4)
        if bare(stored) != bare(fresh):
            differences.append(Difference(path, _changed_cells(stored, fresh), []))
    return differences
