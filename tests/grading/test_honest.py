"""Honest submissions of every shape: what was solved counts, exactly that, whatever the file looks like."""

import copy
import csv
from pathlib import Path

import pytest
from handins import (
    FILES,
    RIGHT,
    WRONG,
    answer_places,
    as_version_3,
    check_places,
    code,
    put,
    shipped,
    solved,
    without_ids,
)

from mmlib.grading.classroom import grade
from mmlib.grading.marks import Row
from mmlib.grading.running import Limits

LESSONS = sorted(FILES)
SOLVED_IN_PART = ("00", "02", "03")  # one submission for each exercise
LIMITS = Limits(seconds=120, check_seconds=60)


def older() -> dict:
    """An older version: no ids, other texts, cells moved, one lesson cell missing."""
    notebook = without_ids(solved("02", "02.1", "02.3"))
    cells = notebook["cells"]
    for cell in cells:
        if cell["cell_type"] == "markdown":
            cell["source"] = f"{text(cell)}\n\nAn older sentence."
    places = answer_places(notebook)
    for number, old in (("02.1", "def masked"), ("02.3", "def in_heads")):
        assert text(cells[places[number]]).startswith(old)
        cells[places[number]]["source"] = "# my answer\n" + text(cells[places[number]])
    last = cells.pop()
    cells.insert(4, last)
    return notebook


def text(cell: dict) -> str:
    return "".join(cell["source"])


def with_helpers() -> dict:
    """Answers that lean on imports, helpers and lesson cells, with magics and broken experiments."""
    notebook = solved(
        "00",
        e00_1="%matplotlib inline\ndef disagree(words, voice, face):\n"
        "    return either(words != voice, voice != face)\ndisagree(1, 2)",
        e00_2="def accuracy(logits, labels):\n"
        "    winners = np.argmax(logits.numpy(), axis=LAST)\n"
        "    return torch.from_numpy(winners == labels.numpy()).float().mean()",
    )
    place = answer_places(notebook)["00.1"]
    notebook["cells"].insert(place, code("!pip list\nimport operator\neither = operator.or_"))
    notebook["cells"].insert(place, code("1 / 0"))
    notebook["cells"].insert(place, code("%%bash\nrm -rf /"))
    notebook["cells"].insert(place, code("LAST = -1\nundefined_name"))
    return notebook


def below_the_check() -> dict:
    """The answer stands below its check, where a run from top to bottom does not have it yet."""
    notebook = solved("00", "00.2")
    notebook["cells"].insert(check_places(notebook)[0] + 1, code(RIGHT))
    return notebook


def in_a_cell_of_its_own() -> dict:
    """The stub is left as it was, and the answer written into a new cell below it."""
    notebook = shipped("00")
    notebook["cells"].insert(answer_places(notebook)["00.1"] + 1, code(RIGHT))
    return notebook


def answer_deleted() -> dict:
    notebook = solved("00", "00.1", "00.2")
    del notebook["cells"][answer_places(notebook)["00.1"]]
    return notebook


def set_up_edited() -> dict:
    """An import was added to the set-up cell, and one that the checks need taken out."""
    notebook = solved(
        "00", "00.2", e00_1="def disagree(w, v, f):\n    return stdlib.or_(w != v, v != f)"
    )
    place = next(i for i, c in enumerate(notebook["cells"]) if "mmlib.checks import" in text(c))
    notebook["cells"][place]["source"] = "import operator as stdlib"
    return notebook


MADE = {
    "helpers": (with_helpers, {"00.1": "1", "00.2": "1"}),
    "below": (below_the_check, {"00.1": "0", "00.2": "1"}),
    "own_cell": (in_a_cell_of_its_own, {"00.1": "1", "00.2": "0"}),
    "deleted": (answer_deleted, {"00.1": "0", "00.2": "1"}),
    "set_up_edited": (set_up_edited, {"00.1": "1", "00.2": "1"}),
    "older": (older, {"02.1": "1", "02.2": "0", "02.3": "1", "02.4": "0"}),
    "version_3": (
        lambda: as_version_3(solved("02", "02.2")),
        {"02.1": "0", "02.2": "1", "02.3": "0", "02.4": "0"},
    ),
    "uses_an_earlier_exercise": (
        lambda: solved(
            "02",
            e02_4="def attention(query, key, value, mask):\n"
            "    some = mask.any(-1, keepdim=True)\n"
            "    scores = query @ key.mT / query.shape[-1] ** 0.5\n"
            "    weights = masked_softmax(scores, mask | ~some) * some\n"
            "    return weights @ value, weights",
        ),
        {"02.1": "0", "02.2": "0", "02.3": "0", "02.4": "1"},
    ),
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Row], Path, Path]:
    """Grade one class of honest submissions with two at a time."""
    files = tmp_path_factory.mktemp("honest") / "class"
    for lesson in LESSONS:
        numbers = answer_places(shipped(lesson))
        put(files, f"full_{lesson}.ipynb", shipped(lesson, "solutions"))
        put(files, f"none_{lesson}.ipynb", shipped(lesson))
        for number in numbers if lesson in SOLVED_IN_PART else ():
            put(files, f"only_{number}.ipynb", solved(lesson, number))
    for name, (make, _) in MADE.items():
        put(files, f"{name}.ipynb", make())
    put(files, "Ada Byron_4711_assignsubmission_file_/mine.ipynb", solved("00", "00.1"))
    put(files, "Ada Byron_4711_assignsubmission_file_/.ipynb_checkpoints/mine.ipynb", b"")
    put(files, "=cmd|' /C calc'!A0_00.ipynb", solved("00", "00.2", e00_1=WRONG))
    put(files, "guided_02.ipynb", shipped("02", "notebooks"))
    put(files, "named_03.ipynb", solved("00", "00.2"))
    table = files.parent / "marks.csv"
    rows = grade(files, table, limits=LIMITS, jobs=2, progress=False)
    return {row["submission"].removesuffix(".ipynb"): row for row in rows}, table, files


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_solutions_get_full_marks_and_the_shipped_exercises_none(graded, lesson: str) -> None:
    rows = graded[0]
    count = str(len(check_places(shipped(lesson))))
    assert (rows[f"full_{lesson}"]["total"], rows[f"full_{lesson}"]["out of"]) == (count, count)
    assert (rows[f"none_{lesson}"]["total"], rows[f"none_{lesson}"]["out of"]) == ("0", count)
    assert rows[f"none_{lesson}"]["reason"] == ""


@pytest.mark.parametrize("lesson", SOLVED_IN_PART)
def test_one_solved_exercise_earns_exactly_that(graded, lesson: str) -> None:
    numbers = list(answer_places(shipped(lesson)))
    for number in numbers:
        row = graded[0][f"only_{number}"]
        assert {n: row[n] for n in numbers} == {n: str(int(n == number)) for n in numbers}


@pytest.mark.parametrize("name", MADE)
def test_a_submission_is_read_as_its_author_meant_it(graded, name: str) -> None:
    row, expected = graded[0][name], MADE[name][1]
    assert {number: row[number] for number in expected} == expected, row


def test_what_was_odd_is_noted(graded) -> None:
    rows = graded[0]
    assert "another version" in rows["older"]["notes"]
    assert "notebook format 3.0" in rows["version_3"]["notes"]
    assert "no cell answers it" in rows["deleted"]["reason"]
    assert "defines disagree below the check" in rows["below"]["notes"]
    assert "reading copy of lesson 02" in rows["guided_02"]["reason"]
    assert "its name says lesson 03" in rows["named_03"]["notes"]
    assert "the same file as only_00.2.ipynb" in rows["named_03"]["notes"]
    assert "00.1 wrong: expected True for clip 1" in rows["=cmd|' /C calc'!A0_00"]["notes"]


def test_students_are_named_by_their_folder_or_file(graded) -> None:
    rows = graded[0]
    (ada,) = [row for row in rows.values() if row["submission"].startswith("Ada")]
    assert (ada["student"], ada["lesson"], ada["total"]) == ("Ada Byron", "00", "1")
    assert rows["full_00"]["student"] == "full"


def test_the_table_has_a_column_for_each_check_and_no_formula(graded) -> None:
    rows, table, _ = graded
    with table.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0])[:5] == ["submission", "student", "lesson", "00.1", "00.2"]
    assert list(read[0])[-6:] == ["total", "out of", "seconds", "reason", "notes", "digest"]
    assert len(read) == len(rows)
    assert read[0]["submission"].startswith("'=cmd")
    assert not [cell for row in read for cell in row.values() if cell[:1] in set("=+-@")]
    full = next(row for row in read if row["submission"] == "full_02.ipynb")
    assert (full["02.1"], full["00.1"], full["total"]) == ("1", "", "4")


def test_a_rerun_gives_the_same_marks_and_resume_runs_what_changed(graded, tmp_path: Path) -> None:
    rows, _, files = graded
    some = tmp_path / "class"
    for name in ("full_00", "only_00.2", "guided_02"):
        put(some, f"{name}.ipynb", (files / f"{name}.ipynb").read_bytes())
    table = tmp_path / "marks.csv"

    def marks(found: list[Row]) -> list[dict[str, str]]:
        return [{key: row[key] for key in row if key not in ("seconds", "notes")} for row in found]

    first = grade(some, table, limits=LIMITS, progress=False)
    expected = marks([rows[name] for name in ("full_00", "guided_02", "only_00.2")])
    assert marks(first) == expected
    forged = table.read_text().replace("full_00.ipynb,full,00,1,1,2", "full_00.ipynb,full,00,1,0,1")
    table.write_text(forged)
    put(some, "only_00.2.ipynb", solved("00", "00.1", "00.2"))
    again = {
        row["submission"]: row["total"]
        for row in grade(some, table, limits=LIMITS, resume=True, progress=False)
    }
    assert again == {"full_00.ipynb": "1", "guided_02.ipynb": "0", "only_00.2.ipynb": "2"}


def test_without_landlock_and_namespaces_the_limits_still_hold(tmp_path: Path) -> None:
    files = tmp_path / "class"
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(300)\n"
    put(files, "loop.ipynb", solved("00", "00.2", e00_1="while True:\n    pass"))
    put(files, "daemon.ipynb", solved("00", "00.2", e00_1=daemon + RIGHT))
    put(
        files,
        "killer.ipynb",
        solved("00", "00.2", e00_1=WRONG + "import os\nos.kill(os.getppid(), 9)"),
    )
    put(files, "parent.ipynb", solved("00", "00.2", e00_1=WRONG + "open('../x', 'w')"))
    limits = Limits(seconds=60, check_seconds=5, confined=False)
    rows = {
        r["student"]: r for r in grade(files, tmp_path / "m.csv", limits=limits, progress=False)
    }
    assert {name: (row["00.1"], row["00.2"]) for name, row in rows.items()} == {
        "loop": ("0", "1"),
        "daemon": ("1", "1"),
        "killer": ("0", "1"),
        "parent": ("0", "1"),
    }


def test_an_exercise_folder_of_another_course_is_refused(tmp_path: Path) -> None:
    strange = copy.deepcopy(shipped("00"))
    for place in check_places(strange):
        strange["cells"][place]["source"] = 'check("00.9", disagree)'
    put(tmp_path / "exercises", "00_start_here.ipynb", strange)
    put(tmp_path / "class", "a.ipynb", shipped("00"))
    with pytest.raises(ValueError, match="do not fit this version of mmlib.*00.9"):
        grade(
            tmp_path / "class", tmp_path / "m.csv", exercises=tmp_path / "exercises", progress=False
        )
