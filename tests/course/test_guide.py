"""The instructor's guide agrees with the lessons and names what the checks catch."""

import guide
import pytest
from builder.cells import BuildError
from builder.lessons import sources
from builder.read import read_lesson
from guide import ROOT

LESSONS = [read_lesson(path) for path in sources(ROOT)]
NAMES = [lesson.stem for lesson in LESSONS]
PAGE = (ROOT / guide.PAGES / "02.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lesson", LESSONS, ids=NAMES)
def test_a_lessons_page_fits_the_lesson(lesson):
    name = f"{guide.PAGES}/{lesson.number}.md"
    page = (ROOT / name).read_text(encoding="utf-8")
    fresh = guide.with_mistakes(page, guide.mistakes(lesson), name)
    assert page == fresh, "python tools/guide.py --write"
    assert guide.complaints(lesson, page) == []


def lesson_02():
    return next(lesson for lesson in LESSONS if lesson.number == "02")


def test_the_list_names_every_exercise_and_what_its_tests_plant():
    listed = guide.mistakes(lesson_02())
    for exercise in lesson_02().exercises:
        assert f"**{exercise.number} {exercise.title}**" in listed
    assert "- *view without transpose.*" in listed


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("| 5 | Taking something home |", "| 6 | Taking something home |", "to 51 minutes"),
        ("| 5 | Taking something home |", "| 5 | Taking it home |", "which the lesson has not"),
        ("**Q.** Two keys", "Two keys", "2 questions and 3 answers"),
        ("## In 90 minutes", "## In two hours", "to 0 minutes"),
    ],
)
def test_a_page_that_does_not_fit_is_named(old, new, complaint):
    assert old in PAGE
    found = guide.complaints(lesson_02(), PAGE.replace(old, new, 1))
    assert any(complaint in each for each in found), found


def test_a_page_without_a_place_for_the_list_is_refused():
    with pytest.raises(BuildError, match="no place for the mistakes"):
        guide.with_mistakes(PAGE.replace(guide.END, ""), "a list", "02.md")


def test_only_the_list_is_rewritten():
    head, tail = PAGE.split(guide.BEGIN)[0], PAGE.split(guide.END)[1]
    written = guide.with_mistakes(PAGE, "a list", "02.md")
    assert written == f"{head}{guide.BEGIN}\na list\n{guide.END}{tail}"
