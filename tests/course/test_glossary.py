"""The glossary: every term is explained in the lesson that it names."""

import re

import pytest
from builder.lessons import sources
from builder.read import read_lesson
from guide import ROOT

ROWS = re.findall(
    r"^\| (.+?) \| (.+) \| (\d\d) \|$",
    (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
TEXTS = {
    lesson.number: "\n".join(c.source for c in lesson.cells if c.kind == "markdown").lower()
    for lesson in map(read_lesson, sources(ROOT))
}


def words(term: str) -> list[str]:
    """What must stand in the lesson: a remark in brackets behind it need not."""
    return [re.sub(r" \(.*\)", "", part).strip().lower() for part in term.split(",")]


@pytest.mark.parametrize(("term", "line", "number"), ROWS, ids=[row[0] for row in ROWS])
def test_a_term_stands_in_the_lesson_that_explains_it(term, line, number):
    assert len(line) > 10
    for word in words(term):
        assert re.search(rf"(?<!\w){re.escape(word)}", TEXTS[number]), f"not in lesson {number}"


def test_the_glossary_is_in_order_and_names_no_term_twice():
    terms = [re.sub(r"[^a-z0-9 ]", "", row[0].lower().replace("-", " ")) for row in ROWS]
    assert len(terms) > 60
    assert terms == sorted(set(terms))
