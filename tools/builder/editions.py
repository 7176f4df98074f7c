"""Lays out the three editions of a lesson, before anything is run."""

import hashlib
import os
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from builder.cells import HINTS, NOTES, BuildError, Cell, Exercise, Lesson
from builder.rules import refuse_skipped_levels

GUIDED, EXERCISES, SOLUTIONS = EDITIONS = ("notebooks", "exercises", "solutions")
ABOUT = {
    GUIDED: "You are reading the lesson. Practise in [the exercises](../exercises/{stem}.ipynb), "
    "compare with [the solutions](../solutions/{stem}.ipynb).",
    EXERCISES: "These are the exercises of [the lesson](../notebooks/{stem}.ipynb). Write your "
    "answer where it says `raise NotImplementedError`, then run the check below it. Stuck? Each "
    "exercise has three hints, and [the solutions](../solutions/{stem}.ipynb) come last.",
    SOLUTIONS: "These are the answers to [the exercises](../exercises/{stem}.ipynb) of "
    "[the lesson](../notebooks/{stem}.ipynb). Other right answers exist, and the checks take them.",
}
LEFT_OUT = "*[The lesson](../notebooks/{stem}.ipynb) has a longer demonstration here.*"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
FIRST_CELL = """\
import importlib.util, os, pathlib, subprocess, sys
absent = lambda *names: [name for name in names if importlib.util.find_spec(name) is None]
if absent("mmlib"):  # on Colab, say: fetch the course, and leave the installed torch alone
    url = os.environ.get("MMLIB_REPOSITORY", "{url}")
    above = [folder for folder in pathlib.Path.cwd().parents if (folder / "mmlib").is_dir()]
    home = (above or [pathlib.Path.home() / "{name}"])[0]
    if not home.is_dir(): subprocess.run(["git", "clone", "-q", "--depth=1", url, home], check=True)
    sys.path.insert(0, str(home)); pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    for name in absent("einops", "accelerate"): subprocess.run([*pip, name], check=True)
import mmlib, torch; gpu = torch.cuda.is_available()
print("course", mmlib.__version__, "| torch", torch.__version__, "|", "GPU" if gpu else "CPU")
if "google.colab" in sys.modules and not gpu: print("For a GPU: Runtime > Change runtime type")"""


def repository(root: Path) -> str:
    """The address that Colab clones, named in one place: [project.urls] of pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Repository"])


def first_cell(url: str) -> str:
    """The generated first code cell, the same in every notebook."""
    name = url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
    return FIRST_CELL.format(url=url, name=name)


def lay_out(lesson: Lesson, edition: str, *, url: str) -> NotebookNode:
    """The notebook of one edition, without outputs.

    Raises:
        BuildError: a heading of this edition skips a level.
    """
    title, *rest = _chosen(lesson, edition)
    about = _new(lesson, "markdown", ABOUT[edition].format(stem=lesson.stem))
    # Folded: a page opens with its text, not with its set-up.
    folded: dict[str, object] = {"jupyter": {"source_hidden": True}}
    first = _new(lesson, "code", first_cell(url), metadata=folded)
    cells = _with_unique_ids([title, about, first, *rest])
    notebook = new_notebook(cells=cells, metadata=METADATA, nbformat_minor=5)
    try:
        refuse_skipped_levels(c.source for c in notebook.cells if c.cell_type == "markdown")
    except BuildError as error:
        raise BuildError(f"{lesson.path.name}, in {edition}/: {error}") from None
    return notebook


def _chosen(lesson: Lesson, edition: str) -> Iterator[NotebookNode]:
    openings = {exercise.cells[0]: exercise for exercise in lesson.exercises}
    leaving_out = False
    for cell in lesson.cells:
        if edition != GUIDED and "guided" in cell:
            if not leaving_out:
                yield _new(lesson, "markdown", LEFT_OUT.format(stem=lesson.stem))
            leaving_out = True
            continue
        leaving_out = False
        if edition == GUIDED and cell in openings:
            yield _new(lesson, "markdown", _pointer(lesson, openings[cell]))
        if (source := _shown(cell, edition)) is not None:
            yield _cell(lesson, cell, source)


def _shown(cell: Cell, edition: str) -> str | None:
    """The cell's text in this edition; None where it is left out."""
    if edition == GUIDED:
        return None if cell.in_exercise else cell.source
    if edition == EXERCISES and set(NOTES) & set(cell.tags):
        return None
    for hint in HINTS:
        if hint in cell:
            summary = f"<summary>Hint {hint[-1]}</summary>"
            return f"<details>{summary}\n\n{cell.source}\n\n</details>"
    if cell.kind == "markdown":
        return cell.source
    return cell.stubbed() if edition == EXERCISES else cell.solved()


def _cell(lesson: Lesson, cell: Cell, source: str) -> NotebookNode:
    # The line that a passing check prints is always compared.
    tags = list(dict.fromkeys([*cell.tags, *(["nbval-check-output"] if "check" in cell else [])]))
    metadata: dict[str, object] = {"tags": tags} if tags else {}
    if "check" in cell:
        metadata |= {"deletable": False, "editable": False}
    # The id comes from the source's text: a cell has the same one with its answer and without.
    return _new(lesson, cell.kind, source, identity=cell.source, metadata=metadata)


def _new(
    lesson: Lesson,
    kind: str,
    source: str,
    *,
    identity: str | None = None,
    metadata: dict[str, object] | None = None,
) -> NotebookNode:
    text = f"{lesson.stem}\n{kind}\n{identity or source}"
    make = new_code_cell if kind == "code" else new_markdown_cell
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    return make(source, id=name, metadata=metadata or {})


def _pointer(lesson: Lesson, exercise: Exercise) -> str:
    return (
        f"**Practise:** exercise {exercise.number}, *{exercise.title}* "
        f"(difficulty {exercise.difficulty}, {exercise.minutes} minutes), "
        f"in [exercises/{lesson.stem}.ipynb](../exercises/{lesson.stem}.ipynb)"
    )


def _with_unique_ids(cells: list[NotebookNode]) -> list[NotebookNode]:
    seen: Counter[str] = Counter()
    for cell in cells:
        seen[cell.id] += 1
        if seen[cell.id] > 1:
            cell.id = f"{cell.id}-{seen[cell.id]}"
    return cells


def as_text(notebook: NotebookNode) -> str:
    """The notebook's file, byte for byte the same for the same notebook."""
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
