"""Puts a submission together with the shipped notebook: whose cell stands where, and what to run.

Set-up, lesson and check cells are the shipped ones. Exercise cells are the learner's. Other cells
that a learner wrote keep their place between them; `slicing` decides which of those are needed.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from mmlib.grading.course import CALL, HEADING, Exercise, Lesson, defines
from mmlib.grading.notebooks import Notebook

LESSON, EXTRA, ANSWER = "lesson", "extra", "answer"


@dataclass
class Piece:
    """A code cell of the notebook that is run, with where it stands and whose it is."""

    place: float
    label: str
    source: str
    owner: str
    number: str = ""


@dataclass
class Assembled:
    """What is run for one submission.

    Attributes:
        pieces: code cells in order of their place.
        checks: (number, the answer's name, place of the check), in order.
        missing: by exercise, why there is no answer to try.
        notes: what the instructor should know about how the notebook was read.
    """

    pieces: list[Piece] = field(default_factory=list)
    checks: list[tuple[str, str, float]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def without(self, offenders: set[str]) -> dict[str, Any]:
        """The job for a worker, with the cells and the checks of some exercises left out."""
        tried = offenders | set(self.missing)
        return {
            "pieces": [asdict(p) for p in self.pieces if not p.number or p.number not in offenders],
            "checks": [check for check in self.checks if check[0] not in tried],
        }


def assemble(notebook: Notebook, lesson: Lesson) -> Assembled:
    """Match a submission's cells to the lesson's and lay out what is run."""
    done = Assembled()
    done.checks = [(each.number, each.answer, each.check) for each in lesson.exercises]
    places = _match(notebook, lesson)
    answers = {each.number: _answers(notebook, each, places) for each in lesson.exercises}
    for place, cell in enumerate(lesson.cells):
        if cell.kind == "code" and not {"exercise", "check"} & set(cell.tags):
            done.pieces.append(Piece(place, f"cell {place}", cell.source, LESSON))
    for exercise in lesson.exercises:
        _place_answers(done, notebook, exercise, answers[exercise.number])
    standing = {
        index: float(min(each.code, default=each.check - 1))
        for each in lesson.exercises
        for index in answers[each.number]
    }
    _place_extras(done, notebook, lesson, places, standing)
    done.pieces.sort(key=lambda piece: piece.place)
    done.notes += _too_late(notebook, lesson, places, answers)
    done.notes += _remarks(notebook, lesson, places)
    return done


def _match(notebook: Notebook, lesson: Lesson) -> dict[int, int]:
    """Places in the lesson of the submission's cells, by id and kind, else by text."""
    ids = {(cell.id, cell.kind): place for place, cell in enumerate(lesson.cells)}
    texts: dict[tuple[str, str], int] = {}
    for place, cell in enumerate(lesson.cells):
        texts.setdefault((cell.source.strip(), cell.kind), place)
    found: dict[int, int] = {}
    taken: set[int] = set()
    where: int | None
    for by_id in (True, False):
        for index, cell in enumerate(notebook.cells):
            key = (cell.id, cell.kind) if by_id else (cell.source.strip(), cell.kind)
            where = (ids if by_id else texts).get(key)
            if index not in found and where is not None and where not in taken:
                found[index] = where
                taken.add(where)
    return found


def _answers(notebook: Notebook, exercise: Exercise, places: dict[int, int]) -> list[int]:
    """Indices of the submission's cells that answer an exercise."""
    own = [index for index, place in places.items() if place in exercise.code]
    if own:
        return sorted(own)
    free = [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.kind == "code" and index not in places
    ]
    start, end = _bounds(notebook, exercise, places)
    named = [index for index in free if defines(notebook.cells[index].source, exercise.answer)]
    if before := [index for index in named if index < end]:
        return before
    if start is not None:  # an older version may have called its answer otherwise
        return [
            index
            for index in free
            if start < index < end and not CALL.search(notebook.cells[index].source)
        ]
    return []


def _too_late(
    notebook: Notebook, lesson: Lesson, places: dict[int, int], answers: dict[str, list[int]]
) -> list[str]:
    """Notes on answers below their checks, where the exercise's own cell was left as shipped."""
    notes = []
    for exercise in lesson.exercises:
        own = [notebook.cells[index].source.strip() for index in answers[exercise.number]]
        shipped = [lesson.cells[place].source.strip() for place in exercise.code]
        if any(source and source not in shipped for source in own):
            continue
        end = _bounds(notebook, exercise, places)[1]
        late = [
            index
            for index, cell in enumerate(notebook.cells)
            if index > end
            and index not in places
            and cell.kind == "code"
            and defines(cell.source, exercise.answer)
        ]
        if late:
            notes.append(
                f"{exercise.number}: cell {late[0]} defines {exercise.answer} below the check, "
                "which sees only what stands above it"
            )
    return notes


def _bounds(
    notebook: Notebook, exercise: Exercise, places: dict[int, int]
) -> tuple[int | None, int]:
    """Where an exercise begins (its heading) and ends (its check, else the next heading)."""
    start, end = None, len(notebook.cells)
    for index, cell in enumerate(notebook.cells):
        heading = HEADING.search(cell.source) if cell.kind != "code" else None
        if heading and heading[1] == exercise.number:
            start = index
        elif heading and start is not None:
            return start, index
        call = CALL.search(cell.source) if cell.kind == "code" else None
        if places.get(index) == exercise.check or (call and call[1] == exercise.number):
            return start, index
    return start, end


def _place_answers(
    done: Assembled, notebook: Notebook, exercise: Exercise, indices: list[int]
) -> None:
    number = exercise.number
    if not indices:
        done.missing[number] = (
            f"no cell answers it (its cell was deleted, or {exercise.answer} renamed)"
        )
        return
    sources = [notebook.cells[index].source for index in indices]
    if not any(source.strip() for source in sources):
        done.missing[number] = "its cell is empty"
        return
    place = exercise.code[0] if exercise.code else exercise.check - 0.5
    for step, index in enumerate(indices):
        label = f"cell {index}"
        done.pieces.append(
            Piece(place + step / 1e4, label, notebook.cells[index].source, ANSWER, number)
        )


def _place_extras(
    done: Assembled,
    notebook: Notebook,
    lesson: Lesson,
    places: dict[int, int],
    standing: dict[int, float],
) -> None:
    """Cells of the learner's own, and shipped ones that were rewritten, after the cell above them."""
    anchor = -1.0
    restored = []
    for index, cell in enumerate(notebook.cells):
        place = places.get(index)
        step = float(place) if place is not None else anchor + 1e-6
        anchor = standing.get(index, step)
        if cell.kind != "code" or index in standing or not cell.source.strip():
            continue
        if place is not None and cell.source.strip() == lesson.cells[place].source.strip():
            continue
        if place is not None and "check" in lesson.cells[place].tags:
            restored.append("a check cell was edited: restored")
            continue
        if re.fullmatch(r"\s*check\(.*\)\s*", cell.source, re.DOTALL):
            continue  # a check of another version
        # Just before the shipped cell of the same place, which has the last word on its names.
        at = anchor - 1e-3 if place is not None else anchor
        done.pieces.append(Piece(at, f"cell {index}", cell.source, EXTRA))
    there = set(places.values())
    if any(exercise.check not in there for exercise in lesson.exercises):
        restored.append("a check cell was deleted: restored")
    done.notes += sorted(set(restored))


def _remarks(notebook: Notebook, lesson: Lesson, places: dict[int, int]) -> list[str]:
    remarks = []
    if len(places) < 0.8 * len(lesson.cells):
        remarks.append(
            f"another version: {len(places)} of the {len(lesson.cells)} shipped cells are in it"
        )
    order = [places[index] for index in sorted(places)]
    if order != sorted(order):
        remarks.append("its cells were moved")
    if not notebook.version.startswith("4."):
        remarks.append(f"notebook format {notebook.version}")
    if any("solution-note" in cell.tags for cell in notebook.cells):
        remarks.append("holds the remarks of solutions/")
    return remarks
