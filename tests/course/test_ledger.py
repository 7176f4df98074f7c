"""The ledger: whoever meets one of its numbers in a lesson or a docstring can look it up."""

import re

from guide import ROOT

NUMBER = re.compile(r"\b([CAJE])-(\d\d)\b")
ROW = re.compile(r"^\| ([CAJE]-\d\d) \| (.+) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "ledger.md").read_text(encoding="utf-8"))
READ = [
    *sorted((ROOT / "notebooks" / "src").glob("*.py")),
    *sorted((ROOT / "mmlib").rglob("*.py")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "ledger.md"),
    ROOT / "README.md",
]


def test_every_number_that_a_file_names_stands_in_the_ledger():
    known = {number for number, _, _ in ROWS}
    strays = {}
    for path in READ:
        named = {match.group(0) for match in NUMBER.finditer(path.read_text(encoding="utf-8"))}
        if named - known:
            strays[path.relative_to(ROOT).as_posix()] = sorted(named - known)
    assert strays == {}


def test_a_number_stands_once_in_its_papers_order_and_says_what_and_what_then():
    numbers = [number for number, _, _ in ROWS]
    assert len(numbers) > 100
    assert numbers == sorted(set(numbers), key=lambda number: ("CAJE".index(number[0]), number))
    assert all(len(gap) > 10 and len(choice) > 3 for _, gap, choice in ROWS)
