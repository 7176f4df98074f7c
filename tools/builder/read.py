"""Reads a lesson's source, and refuses one that breaks the course's rules.

A source is jupytext's percent format. Tags say where a cell goes:

- no tag: all three editions; `guided`: notebooks/ only;
- `exercise`, `check`, `hint-1`, `hint-2`, `hint-3`: exercises/ and solutions/;
- `solution-note`, `instructor`: solutions/ only;
- `claim` (a cell that asserts what the prose says) and `nbval-check-output` (the stored output is
  compared) change nothing about where a cell goes.

The first cell is markdown: the title `# 02 Attention`, and somewhere in it `60 minutes`. An
exercise is a run of exercise cells. It opens with a markdown cell tagged `exercise`:

    ### Exercise 02.1: stable masked softmax
    Difficulty ★★☆ · Importance ★★★ · 10 minutes
"""

import re
from collections.abc import Iterator
from pathlib import Path

import jupytext

from builder.cells import BEGIN, END, HINTS, NOTES, BuildError, Cell, Exercise, Lesson
from builder.rules import refuse_cell, refuse_unsolved_use

TITLE = re.compile(r"(?m)\A# (\d\d) (.+)$")
MINUTES = re.compile(r"(\d+) minutes")
OPENING = re.compile(r"(?m)\A#+ Exercise (\d\d\.\d+): (.+)$")
RATING = re.compile(r"Difficulty (★[★☆]{2}) · Importance (★[★☆]{2}) · (\d+) minutes")
CHECK = re.compile(r'\Acheck\("(\d\d\.\d+)", (\w+)\)\Z')


def read_lesson(path: Path) -> Lesson:
    """Read the source of one lesson.

    Raises:
        BuildError: the source breaks a rule; the message names the file, the cell and the remedy.
    """
    try:
        return _read(path)
    except BuildError as error:
        raise BuildError(f"{path.name}: {error}") from None


def _read(path: Path) -> Lesson:
    name = re.fullmatch(r"(\d\d)_[a-z0-9_]+", path.stem)
    if name is None:
        raise BuildError("a lesson's file is named like 02_attention.py")
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    cells = tuple(
        Cell(i, cell.cell_type, cell.source.rstrip(), tuple(cell.metadata.get("tags", ())))
        for i, cell in enumerate(notebook.cells)
        if cell.source.strip()
    )
    for cell in cells:
        refuse_cell(cell)
    title, minutes = _opening(cells, name[1])
    exercises = tuple(_exercises(cells, name[1]))
    refuse_unsolved_use(cells)
    return Lesson(path, name[1], title, minutes, cells, exercises)


def _opening(cells: tuple[Cell, ...], number: str) -> tuple[str, int]:
    title = TITLE.match(cells[0].source) if cells and cells[0].kind == "markdown" else None
    if title is None or title[1] != number or cells[0].tags:
        raise BuildError(f"the first cell is untagged markdown with the title: # {number} Title")
    minutes = MINUTES.search(cells[0].source)
    if minutes is None:
        raise cells[0].refusal("the first cell says how long the lesson takes: 60 minutes")
    return title[2].strip(), int(minutes[1])


def _exercises(cells: tuple[Cell, ...], lesson: str) -> Iterator[Exercise]:
    seen: set[str] = set()
    for block in _blocks(cells):
        exercise = _exercise(block)
        if not exercise.number.startswith(f"{lesson}.") or exercise.number in seen:
            raise block[0].refusal(f"{exercise.number} is not a new number of lesson {lesson}")
        seen.add(exercise.number)
        yield exercise


def _blocks(cells: tuple[Cell, ...]) -> Iterator[list[Cell]]:
    block: list[Cell] = []
    for cell in cells:
        opens = "exercise" in cell and cell.kind == "markdown" and OPENING.match(cell.source)
        if block and (opens or not cell.in_exercise):
            yield block
            block = []
        is_note = not block and any(note in cell for note in NOTES)
        if cell.in_exercise and not is_note:
            if not opens and not block:
                raise cell.refusal(
                    "an exercise opens with a markdown cell tagged `exercise`: "
                    "### Exercise 02.1: what it asks"
                )
            block.append(cell)
    if block:
        yield block


def _exercise(block: list[Cell]) -> Exercise:
    opening = block[0]
    heading, rating = OPENING.match(opening.source), RATING.search(opening.source)
    assert heading is not None, "_blocks opens a block with a heading"
    if rating is None:
        raise opening.refusal(
            "an exercise says its difficulty, importance and minutes: "
            "Difficulty ★★☆ · Importance ★★★ · 10 minutes"
        )
    for hint in HINTS:
        if sum(hint in cell for cell in block) != 1:
            raise opening.refusal(f"an exercise has three hints; one cell is tagged {hint}")
    checks = [CHECK.match(cell.source) for cell in block if "check" in cell]
    check = checks[0] if len(checks) == 1 else None
    if check is None or check[1] != heading[1]:
        line = f'check("{heading[1]}", name)'
        raise opening.refusal(f"an exercise has one cell tagged check, of one line: {line}")
    if not any(BEGIN in cell.source for cell in block):
        raise opening.refusal(f"an exercise has a solution between {BEGIN!r} and {END!r}")
    return Exercise(
        number=heading[1],
        title=heading[2].strip(),
        difficulty=rating[1],
        importance=rating[2],
        minutes=int(rating[3]),
        answer=check[2],
        cells=tuple(block),
    )
