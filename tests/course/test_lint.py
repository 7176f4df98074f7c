"""The lint: each silent pass of nbval is planted, and shown to pass nbval and to be caught here.

The same lint then reads every stored notebook.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import run_tests
from builder import editions, lessons, lint
from builder.cells import Lesson
from builder.read import read_lesson
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
COURSE = [read_lesson(path) for path in lessons.sources(ROOT)]
COMPARED = ["nbval-check-output"]
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def cell(
    source: str, *outputs: NotebookNode, tags: list[str] | None = None, count: int | None = 1
) -> NotebookNode:
    metadata: dict[str, Any] = {"tags": tags} if tags else {}
    return new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def printed(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


def picture(alt: str | None = None, png: str = PIXEL) -> NotebookNode:
    metadata = {"image/png": {"alt": alt}} if alt is not None else {}
    return new_output("display_data", {"image/png": png, "text/plain": "a dot"}, metadata=metadata)


DRAW = "from IPython.display import display\n"
DRAW += f'display({{"image/png": "{PIXEL}", "text/plain": "a dot"}}, raw=True)'
OTHER_PIXEL = PIXEL.replace("mNk+M9QDwADhgGAWjR9awAA", "mNgYGBgAAAABQABXvMqOgAA")

# What a run passes although the stored output is wrong, and what the lint says to it.
SILENT_PASSES = {
    "outputs_stripped": (
        cell("print(2 + 2)", tags=COMPARED, count=None),
        "stored without having been run",
    ),
    "nothing_raised": (
        cell("x = 1", tags=["raises-exception"]),
        "raises-exception passes where nothing is raised",
    ),
    "tag_in_upper_case": (
        cell("print(2 + 2)", printed("5\n"), tags=["NBVAL-CHECK-OUTPUT"]),
        "upper case",
    ),
    "marker_with_text": (
        cell("# NBVAL_CHECK_OUTPUT: the sum\nprint(2 + 2)", printed("5\n")),
        "marker comment",
    ),
    "another_picture": (
        cell(DRAW, picture("a dot", OTHER_PIXEL), tags=COMPARED),
        "nbval compares no picture",
    ),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    for name, (bad, _) in SILENT_PASSES.items():
        nbformat.write(new_notebook(cells=[bad]), folder / f"{name}.ipynb")
    return folder


def test_nbval_lets_every_planted_notebook_through(
    planted: Path, nbval: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = nbval(*sorted(planted.glob("*.ipynb")))
    assert f"{len(SILENT_PASSES)} passed" in result.stdout, result.stdout


@pytest.mark.parametrize("name", SILENT_PASSES)
def test_the_lint_catches_what_nbval_lets_through(planted: Path, name: str) -> None:
    notebook = nbformat.read(planted / f"{name}.ipynb", as_version=4)
    found = lint.complaints(notebook, executed=True)
    assert any(SILENT_PASSES[name][1] in line for line in found), found


WIDGET = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
HTML = new_output("display_data", {"text/html": '<img src="data:image/png;base64,AA">'})
TABLE = new_output("execute_result", {"text/html": "<table></table>", "text/plain": "a 1"})
FULL = new_output("display_data", {"text/plain": "x" * 300_001})
BAD_CELLS = {
    "an error": (cell("f()", ERROR), "a stored error"),
    "a figure without alt text": (cell("plot()", picture()), "without alt text"),
    "a figure with an empty alt text": (cell("plot()", picture(" ")), "without alt text"),
    "HTML without alt text": (cell("show()", HTML), "no alt text"),
    "a stored widget": (cell("slider()", WIDGET), "static twin"),
    "a memory address": (cell("f", printed("<function f at 0x7f3a5c0d1e10>")), "memory address"),
    "a timing": (cell("fit()", printed("10 steps, 3.1it/s")), "a timing"),
    "a wall time": (cell("%time f()", printed("Wall time: 3 ms")), "a timing"),
    "a progress bar": (cell("fit()", printed("10%\r20%")), "progress bar"),
    "a large output": (cell("f()", FULL), "more than 300,000"),
    "nothing to compare": (cell("x = 1", tags=COMPARED), "no text is stored"),
    "an unrounded number": (cell("print(x)", printed("0.7310585"), tags=COMPARED), "mmlib.checks.show"),
    "a compared table": (cell("table", TABLE, tags=COMPARED), "HTML differs"),
    "an unknown tag": (cell("x = 1", tags=["nbval-skip"]), "unknown tag"),
    "an image in markdown": (new_markdown_cell("![](a.png)"), "no alt text"),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "said"), BAD_CELLS.values(), ids=BAD_CELLS)
def test_the_lint_refuses_a_bad_cell(bad: NotebookNode, said: str) -> None:
    found = lint.complaints(new_notebook(cells=[bad]), executed=True)
    assert any(said in line and line.startswith("cell 0") for line in found), found


def test_the_lint_refuses_outputs_in_exercises_ids_that_repeat_and_widget_state() -> None:
    notebook = new_notebook(cells=[cell("1", printed("1"))])
    assert "stored without outputs" in lint.complaints(notebook, executed=False)[0]
    twins = new_notebook(cells=[cell("1"), cell("2")])
    twins.cells[1].id = twins.cells[0].id
    assert "not unique" in lint.complaints(twins, executed=True)[0]
    alive = new_notebook(cells=[], metadata={"widgets": {}})
    assert "widget state" in lint.complaints(alive, executed=True)[0]


def test_the_lint_is_content_with_a_good_notebook() -> None:
    good = [
        new_markdown_cell('![a dot](a.png) <img alt="a dot" src="a.png">'),
        cell("plot()", picture("a dot")),
        cell("show(x)", printed("0.73\n"), tags=COMPARED),
        cell("print(x.shape)", printed("(2, 3)\n"), tags=COMPARED),
        cell("assert x == 3", tags=["claim"]),
    ]
    assert lint.complaints(new_notebook(cells=good), executed=True) == []


# The stored notebooks


@pytest.mark.parametrize("edition", editions.EDITIONS)
@pytest.mark.parametrize("lesson", COURSE, ids=lambda lesson: lesson.stem)
def test_a_stored_notebook_is_clean(lesson: Lesson, edition: str) -> None:
    notebook = nbformat.read(ROOT / edition / f"{lesson.stem}.ipynb", as_version=4)
    found = lint.complaints(notebook, executed=edition != editions.EXERCISES)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("lesson", COURSE, ids=lambda lesson: lesson.stem)
def test_every_lesson_has_an_output_that_is_compared(lesson: Lesson) -> None:
    """Where no cell is tagged, nbval compares nothing and its run proves little."""
    guided = [c for c in lesson.cells if not c.in_exercise and "nbval-check-output" in c]
    assert guided, "tag a cell of the lesson nbval-check-output"


def widgets_of(lesson: Lesson) -> set[str]:
    """What a lesson puts on the page with sliders: `widgets.name(...)` or `explore(name, ...)`."""
    code = "\n".join(cell.source for cell in lesson.cells if cell.kind == "code")
    named = set(re.findall(r"\bwidgets\.(\w+)\(", code)) - {"explore", "snapshot"}
    return named | set(re.findall(r"\bexplore\(\s*(\w+)", code))


@pytest.mark.parametrize("lesson", COURSE, ids=lambda lesson: lesson.stem)
def test_every_widget_has_a_test_since_nbval_never_moves_a_slider(lesson: Lesson) -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    untested = {name for name in widgets_of(lesson) if not re.search(rf"\b{name}\b", tests)}
    assert not untested, f"no test mentions {untested}"


def test_nbval_always_runs_with_a_cell_timeout() -> None:
    """A dead kernel holds a cell up to the time-out, which is 2,000 seconds unless it is set."""
    command = run_tests.PARTS["nbval"]
    assert float(command[command.index("--nbval-cell-timeout") + 1]) <= 60
    others = [p for p in (ROOT / "tests" / "course").glob("*.py") if p != Path(__file__)]
    for path in others:
        for call in re.findall(r"--nbval-lax\b.*?(?=\n\n)", path.read_text(), re.DOTALL):
            assert "--nbval-cell-timeout" in call, path.name
