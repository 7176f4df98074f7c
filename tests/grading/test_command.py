"""The command line of grading: refusals in one sentence, and a table that fits the screen."""

from pathlib import Path

import pytest
from handins import ROOT, put, shipped, solved

from mmlib.cli import main


def run(*words: object) -> int:
    try:
        return main(["grade", *map(str, words)])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.fixture
def handed_in(tmp_path: Path) -> Path:
    put(tmp_path / "class", "alice_00.ipynb", solved("00", "00.1"))
    put(tmp_path / "class", f"{'b' * 70}_00.ipynb", b"{")
    put(tmp_path / "class", "caf\u00e9\x1b[31m.ipynb", b"")
    put(tmp_path / "class", "work.zip", b"PK")
    (tmp_path / "class" / "nobody").mkdir()
    return tmp_path / "class"


def test_the_command_grades_a_folder_and_shows_the_table(
    handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(handed_in, "--csv", tmp_path / "m.csv") == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.split()[:4] == ["alice", "1", "0", "1/2"] for line in lines)
    assert "\x1b" not in shown.out + shown.err
    assert "unpack it" in shown.out and "no notebook in the folder" in shown.out
    assert "5 submissions" in shown.err
    assert "notebook/s" not in shown.err, "no progress bar where nobody watches"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "no folder of submissions at nowhere"),
        (["{class}", "--time", "0"], "--time is 0, and must be 1 or more"),
        (["{class}", "--check-time", "nan"], "--check-time is nan"),
        (["{class}", "--memory", "-4"], "--memory is -4"),
        (["{class}", "--jobs", "0"], "--jobs is 0"),
        (["{class}", "--lesson", "99"], "--lesson is 99, and there are 00"),
        (["{class}", "--exercises", "{class}"], "no exercise notebooks at"),
        (["{empty}"], "no notebooks (.ipynb) below"),
    ],
)
def test_what_cannot_be_done_ends_with_one_sentence(
    handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.format(**{"class": handed_in, "empty": tmp_path / "empty"}) for word in words]
    assert run(*words, "--csv", tmp_path / "m.csv") == 2
    said = capsys.readouterr().err
    assert says in said and len(said.splitlines()) == 1


def test_a_table_that_cannot_be_written_is_said_before_anything_runs(
    handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(handed_in, "--csv", tmp_path / "none" / "m.csv") == 2
    assert "no folder" in capsys.readouterr().err
    assert run(handed_in, "--csv", tmp_path) == 2


def test_resume_refuses_a_file_that_is_no_table_of_marks(
    handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    assert run(handed_in, "--csv", tmp_path / "m.csv", "--resume") == 2
    assert "not a table of marks" in capsys.readouterr().err
    assert (tmp_path / "m.csv").read_text() == "a,b\n1,2\n"


def test_only_the_lesson_that_was_set_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "class", "alice.ipynb", shipped("02"))
    assert run(tmp_path / "class", "--csv", tmp_path / "m.csv", "--lesson", "00") == 0
    assert "lesson 02, where lesson 00 was set" in capsys.readouterr().out


def test_an_installed_library_without_its_course_says_where_to_point(
    handed_in: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mmlib.grading import course

    monkeypatch.setattr(
        course, "__file__", str(tmp_path / "lib" / "mmlib" / "grading" / "course.py")
    )
    assert run(handed_in, "--csv", tmp_path / "m.csv") == 2
    assert "give --exercises" in capsys.readouterr().err


def test_the_readme_of_the_exercises_warns_and_shows_a_container() -> None:
    text = (ROOT / "exercises" / "README.md").read_text(encoding="utf-8")
    assert "runs other people's code" in text
    for word in ("--network none", "--read-only", "podman", "python -m mmlib grade"):
        assert word in text
