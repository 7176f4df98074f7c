"""nbval as a gate: it goes red where it must. That it is green on the lessons is run_tests' part."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from builder import editions, lessons
from builder.cells import Lesson
from builder.read import read_lesson
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
COURSE = [read_lesson(path) for path in lessons.sources(ROOT)]
NAME = "98_toy.ipynb"

Nbval = Callable[..., subprocess.CompletedProcess[str]]


def red_cells(result: subprocess.CompletedProcess[str]) -> set[int]:
    """Numbers of the code cells that failed."""
    return {
        int(number) for number in re.findall(r"^FAILED .*::Cell (\d+)", result.stdout, re.MULTILINE)
    }


def check_cells(notebook: NotebookNode) -> list[int]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [i for i, cell in enumerate(code) if "check" in cell.metadata.get("tags", ())]


def test_the_toys_stored_editions_are_green(toy_course: Path, nbval: Nbval) -> None:
    result = nbval(toy_course / "notebooks" / NAME, toy_course / "solutions" / NAME)
    assert result.returncode == 0, result.stdout


def test_a_corrupted_output_turns_the_run_red(
    toy_course: Path, tmp_path: Path, nbval: Nbval
) -> None:
    """The canary: a gate that stays green here would be green everywhere."""
    notebook = nbformat.read(toy_course / "solutions" / NAME, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (place,) = [i for i, cell in enumerate(code) if cell.source.startswith("mean = use")]
    code[place].outputs[0].text = code[place].outputs[0].text.replace("2.50", "2.51")
    nbformat.write(notebook, tmp_path / NAME)
    result = nbval(tmp_path / NAME)
    assert result.returncode == 1
    assert red_cells(result) == {place}


def test_a_kernel_that_dies_ends_red_and_soon(tmp_path: Path, nbval: Nbval) -> None:
    cells = [new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")]
    nbformat.write(new_notebook(cells=[*cells, new_code_cell("1 + 1")]), tmp_path / NAME)
    start = time.perf_counter()
    result = nbval(tmp_path / NAME, seconds=3)
    assert result.returncode == 1
    assert time.perf_counter() - start < 90


def test_exercises_as_shipped_are_red_at_exactly_the_checks(toy_course: Path, nbval: Nbval) -> None:
    path = toy_course / "exercises" / NAME
    assert red_cells(nbval(path)) == set(check_cells(nbformat.read(path, as_version=4)))


def test_a_solution_pasted_in_turns_exactly_its_check_green(
    toy_course: Path, tmp_path: Path, nbval: Nbval
) -> None:
    notebook = nbformat.read(toy_course / "exercises" / NAME, as_version=4)
    solved = nbformat.read(toy_course / "solutions" / NAME, as_version=4)
    answer = next(cell for cell in solved.cells if cell.source.startswith("def mean"))
    stub = next(cell for cell in notebook.cells if cell.id == answer.id)
    stub.source = answer.source
    nbformat.write(notebook, tmp_path / NAME)
    _, second = check_cells(notebook)
    assert red_cells(nbval(tmp_path / NAME)) == {second}


@pytest.mark.slow
@pytest.mark.parametrize("lesson", COURSE, ids=lambda lesson: lesson.stem)
def test_a_lessons_exercises_as_shipped_are_red_at_exactly_the_checks(
    lesson: Lesson, nbval: Nbval
) -> None:
    path = ROOT / editions.EXERCISES / f"{lesson.stem}.ipynb"
    result = nbval(path)
    wanted = set(check_cells(nbformat.read(path, as_version=4)))
    assert wanted and red_cells(result) == wanted, result.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(not COURSE, reason="no lesson is there yet")
def test_a_lesson_runs_where_the_machine_has_no_network_at_all(toy_course: Path) -> None:
    """In a network namespace of its own; tests/course/test_offline.py has the portable guard."""
    tools = [shutil.which(name) for name in ("unshare", "ip")]
    if None in tools or subprocess.run(["unshare", "-rn", "true"], check=False).returncode:
        pytest.skip("unshare -rn is not permitted here")
    command = 'ip link set lo up && exec "$0" -m pytest -q -p no:cacheprovider -p no:xdist '
    command += '--nbval-lax --nbval-current-env --nbval-cell-timeout 60 "$1"'
    result = subprocess.run(
        ["unshare", "-rn", "sh", "-c", command, sys.executable, toy_course / "solutions" / NAME],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
