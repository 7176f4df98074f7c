"""The browser tests' table leaves no lesson, no explorer and no control out."""

from pathlib import Path

import pytest
from controls import CONTROLS, LESSONS, ROOT, explorers, mentions
from nbformat import write
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def test_every_lesson_has_its_row() -> None:
    assert set(LESSONS) <= set(CONTROLS), "give the new lesson a row in tests/course/controls.py"


@pytest.mark.parametrize("stem", LESSONS)
def test_the_row_names_every_control_of_the_lesson(stem: str) -> None:
    rows = [list(row) for row in CONTROLS[stem]]
    assert rows == explorers(ROOT / "notebooks" / f"{stem}.ipynb")
    assert rows, "every lesson has something to move"


@pytest.mark.parametrize("stem", LESSONS)
def test_no_explorer_of_the_source_escapes_the_search(stem: str) -> None:
    """A second, cruder count finds no more than the finer one."""
    assert mentions(ROOT / "notebooks" / "src" / f"{stem}.py") == len(CONTROLS[stem])


def test_the_search_finds_explorers_however_they_are_called(tmp_path: Path) -> None:
    cells = [
        new_markdown_cell("We call `explore(draw, lag=(0, 2))`."),
        new_code_cell("import x\nshown = explore(draw, far_lag=(0, 2), sharp=True)\nshown"),
        new_code_cell("widgets.snapshot(draw, [{}])"),
        new_code_cell("widgets.explore(\n    draw,\n    head=[1, 2],\n)\nwidgets.play_an_actor()"),
    ]
    write(new_notebook(cells=cells), tmp_path / "97_toy.ipynb")
    actor = ["emotion", "actor", "clarity", "irony"]
    assert explorers(tmp_path / "97_toy.ipynb") == [["far lag", "sharp"], ["head"], actor]
