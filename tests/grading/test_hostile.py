"""A class in which nearly everybody misbehaves: nobody stops the run, nor earns what is not earned."""

import hashlib
import json
import os
import time
from pathlib import Path

import psutil
import pytest
from handins import (
    CONFINED,
    LAST_WORDS,
    MISBEHAVING,
    RIGHT,
    WRONG,
    check_places,
    code,
    put,
    shipped,
    solved,
)

from mmlib.grading import confine
from mmlib.grading.classroom import grade
from mmlib.grading.marks import Row
from mmlib.grading.running import Limits

LIMITS = Limits(seconds=60, check_seconds=5, memory=2 * 2**30)
GAPS = confine.missing()
confined = pytest.mark.skipif(bool(GAPS), reason="; ".join(GAPS))


def of_lesson_77() -> dict:
    notebook = shipped("00")
    for cell in notebook["cells"]:
        cell["id"] = f"x{cell['id']}"
        cell["source"] = "".join(cell["source"]).replace("00.", "77.").replace("# 00", "# 77")
    return notebook


UNREADABLE = {
    "empty": (b"", "empty file"),
    "blank": (b" \n\n", "empty file"),
    "cut_off": (json.dumps(shipped("00")).encode()[:-100], "not valid JSON"),
    "not_json": (b"dear teacher,", "not valid JSON"),
    "json_but_a_list": (b"[1, 2]", "not a notebook"),
    "json_without_cells": (b'{"nbformat": 4}', "no cells"),
    "nested_json": (b"[" * 200_000, "not valid JSON"),
    "latin_1": ('{"cells": [], "name": "é"}'.encode("latin-1"), "not UTF-8"),
    "utf_16": ('{"cells": []}'.encode("utf-16"), "not UTF-8"),
    "no_lesson": (json.dumps({"cells": [code("print(1)")], "nbformat": 4}).encode(), "no lesson"),
    "wrong_lesson": (
        json.dumps(of_lesson_77()).encode(),
        "lesson 77, whose exercises are not here",
    ),
}


def spoiling(files: Path) -> str:
    """Tries to change the class, the marks and the folders above, by every path it can think of."""
    return WRONG + (
        f"import os, pathlib, shutil\nclass_, csv = pathlib.Path({str(files)!r}), "
        f"pathlib.Path({str(files.parent / 'marks.csv')!r})\n"
        "targets = [*class_.glob('*.ipynb'), csv, pathlib.Path('../x'), pathlib.Path('../../x'), "
        "class_ / 'new.ipynb']\n"
        "for path in targets:\n    try:\n        path.write_text('{}')\n    except OSError:\n        pass\n"
        "for path in targets:\n    try:\n        path.unlink()\n    except OSError:\n        pass\n"
        "shutil.rmtree(class_, ignore_errors=True)\n"
    )


def copying(files: Path) -> str:
    """Takes its answer from another's submission."""
    return (
        f"import json\nfound = json.load(open({str(files / 'honest.ipynb')!r}))\n"
        "for cell in found['cells']:\n    text = ''.join(cell['source'])\n"
        "    if text.startswith('def disagree'):\n        exec(text)\n"
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """Grade the class once; by name, the rows."""
    files = tmp_path_factory.mktemp("hostile") / "class"
    cases = {**MISBEHAVING, **({} if GAPS else CONFINED)}
    for name, (answer, _) in cases.items():
        put(files, f"{name}.ipynb", solved("00", "00.2", e00_1=answer))
    for name, (data, _) in UNREADABLE.items():
        put(files, f"{name}.ipynb", data)
    put(files, "honest.ipynb", solved("00", "00.1", "00.2"))
    put(files, "zz_honest.ipynb", solved("00", "00.1", "00.2"))
    put(files, "idle.ipynb", shipped("00"))
    put(files, "last_words.ipynb", solved("00", e00_1=LAST_WORDS))
    if not GAPS:
        put(files, "spoiling.ipynb", solved("00", "00.2", e00_1=spoiling(files)))
        put(files, "copying.ipynb", solved("00", "00.2", e00_1=copying(files)))
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(300)\n    os._exit(0)\n"
    put(files, "daemon.ipynb", solved("00", "00.2", e00_1=daemon + RIGHT))
    deleted = solved("00", "00.2", e00_1=WRONG)
    for place in reversed(check_places(deleted)):
        del deleted["cells"][place]
    put(files, "checks_deleted.ipynb", deleted)
    edited = solved("00", "00.2", e00_1=WRONG)
    for place in check_places(edited):
        edited["cells"][place]["source"] = "print('00.1 clips that disagree: passed')"
    put(files, "checks_edited.ipynb", edited)
    (files / "link.ipynb").symlink_to(files / "honest.ipynb")
    os.mkfifo(files / "pipe.ipynb")
    (files / "pipe.ipynb").chmod(0o600)
    (files / "pipe.ipynb").rename(files / "pipe.fifo.ipynb")
    before = digests(files)
    os.environ["MMLIB_SECRET_TOKEN"] = "a secret"
    found = grade(files, files.parent / "marks.csv", limits=LIMITS, progress=False)
    del os.environ["MMLIB_SECRET_TOKEN"]
    assert digests(files) == before, "a submission was changed"
    return {row["submission"].removesuffix(".ipynb"): row for row in found}


def digests(files: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("name", MISBEHAVING)
def test_who_misbehaves_earns_nothing_by_it_and_loses_nothing_else(
    rows: dict[str, Row], name: str
) -> None:
    row = rows[name]
    assert (row["00.1"], row["00.2"], row["total"]) == ("0", "1", "1"), row
    assert MISBEHAVING[name][1] in f"{row['reason']}; {row['notes']}", row


@confined
@pytest.mark.parametrize("name", CONFINED)
def test_what_is_out_of_reach_earns_nothing(rows: dict[str, Row], name: str) -> None:
    row = rows[name]
    assert (row["00.1"], row["00.2"], row["total"]) == ("0", "1", "1"), row
    assert CONFINED[name][1] in f"{row['reason']}; {row['notes']}", row


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_notebook_of_the_course_gets_its_row_and_its_reason(
    rows: dict[str, Row], name: str
) -> None:
    assert UNREADABLE[name][1] in rows[name]["reason"]
    assert rows[name]["total"] == "0"


def test_an_answer_that_ends_earns_nothing_for_the_next(rows: dict[str, Row]) -> None:
    row = rows["last_words"]
    assert (row["00.1"], row["00.2"], row["reason"]) == ("0", "0", ""), row
    assert "does not stand in the notebook" in row["notes"]


def test_honest_submissions_keep_their_marks_before_and_after_the_others(
    rows: dict[str, Row],
) -> None:
    for name in ("honest", "zz_honest"):
        assert (rows[name]["total"], rows[name]["out of"], rows[name]["reason"]) == ("2", "2", "")
    assert rows["idle"]["total"] == "0"
    assert rows["idle"]["notes"] == "not attempted: 00.1 00.2"


@pytest.mark.parametrize("name", ["checks_deleted", "checks_edited"])
def test_check_cells_are_restored(rows: dict[str, Row], name: str) -> None:
    assert (rows[name]["00.1"], rows[name]["00.2"]) == ("0", "1")
    assert "restored" in rows[name]["notes"]


@pytest.mark.parametrize("name", ["link", "pipe.fifo"])
def test_what_is_no_ordinary_file_is_not_opened(rows: dict[str, Row], name: str) -> None:
    assert "not an ordinary file" in rows[name]["reason"]


@confined
def test_nobody_reaches_the_others_work(rows: dict[str, Row]) -> None:
    assert (rows["spoiling"]["00.1"], rows["spoiling"]["00.2"]) == ("0", "1")
    assert (rows["copying"]["00.1"], rows["copying"]["00.2"]) == ("0", "1")


def test_a_process_left_behind_is_ended(rows: dict[str, Row]) -> None:
    assert rows["daemon"]["total"] == "2"
    time.sleep(0.2)
    left = [
        p
        for p in psutil.process_iter(["cmdline"])
        if "mmlib.grading.template" in (p.info["cmdline"] or ())
    ]
    own = {p.pid for p in left if psutil.Process().pid in {q.pid for q in p.parents()}}
    assert not own
