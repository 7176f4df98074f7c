"""Every lesson's exercises: unsolved they fail, solved each turns its own check green and no other.

Each solution is pasted into a fresh session in this process: what the lesson defines before the
exercise, the stubs of all the others, and the checks. That one notebook as shipped behaves so under
nbval is in test_nbval.py.
"""

import contextlib
import io
from pathlib import Path

import pytest
from builder import lessons
from builder.cells import Exercise, Lesson
from builder.read import read_lesson
from checking import answer_from, solution_of, stub_of

from mmlib.checks import CheckFailed, check, framework, use

ROOT = Path(__file__).resolve().parents[2]
COURSE = [read_lesson(path) for path in lessons.sources(ROOT)]
EXERCISES = [(lesson, exercise) for lesson in COURSE for exercise in lesson.exercises]
NUMBERS = [exercise.number for _, exercise in EXERCISES]


def green_checks(lesson: Lesson, solved: set[str]) -> set[str]:
    """The numbers of the checks that pass with the given exercises solved."""
    green = set()
    framework._passed.clear()
    for exercise in lesson.exercises:
        number = exercise.number
        source = solution_of(number) if number in solved else stub_of(number)
        answer = answer_from(number, source)
        with contextlib.suppress(CheckFailed), contextlib.redirect_stdout(io.StringIO()):
            check(number, answer)
            green.add(number)
    return green


@pytest.mark.parametrize("lesson", COURSE, ids=lambda lesson: lesson.stem)
def test_unsolved_no_check_passes(lesson: Lesson) -> None:
    assert green_checks(lesson, set()) == set()


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES, ids=NUMBERS)
def test_a_solution_turns_exactly_its_own_check_green(lesson: Lesson, exercise: Exercise) -> None:
    assert green_checks(lesson, {exercise.number}) == {exercise.number}


@pytest.mark.parametrize("number", NUMBERS)
def test_the_reference_stands_in_until_the_check_has_passed(number: str) -> None:
    framework._passed.clear()
    reference = use(number)
    assert reference is framework.find(number).reference
    assert callable(reference)


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES, ids=NUMBERS)
def test_the_checks_title_and_place_are_those_of_the_lesson(
    lesson: Lesson, exercise: Exercise
) -> None:
    found = framework.find(exercise.number)
    assert found.checking.__module__ == f"mmlib.checks.lesson_{lesson.number}"
    assert found.checking.__doc__
    assert found.title


@pytest.mark.parametrize("lesson", COURSE, ids=lambda lesson: lesson.stem)
def test_every_registered_check_has_its_exercise_and_its_trials(lesson: Lesson) -> None:
    framework.find(lesson.exercises[0].number)
    registered = {n for n in framework._exercises if n.startswith(f"{lesson.number}.")}
    assert registered == {exercise.number for exercise in lesson.exercises}
    trials = ROOT / "tests" / "course" / f"test_checks_{lesson.number}.py"
    text = trials.read_text(encoding="utf-8")
    untried = {number for number in registered if f'"{number}"' not in text}
    assert not untried, f"{trials.name} tries no answers to {untried}"
