"""The clock under which nbval runs the lessons: it hears of every cell, and starts the longest first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import run_course
import run_tests
from builder import lessons
from lesson_clock import seconds_expected

ROOT = Path(__file__).resolve().parents[2]
ROW = "| [98 Toy](notebooks/{}.ipynb) | 5 | 2 | {} s |\n"
SLOW = "import time\n\ndef test_one(): time.sleep({0})\n\ndef test_two(): time.sleep({0})\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of two tests each, and a README in which the later one is the longer one."""
    (tmp_path / "test_alpha.py").write_text(SLOW.format(0.01))
    (tmp_path / "test_omega.py").write_text(SLOW.format(0.3))
    (tmp_path / "README.md").write_text(ROW.format("test_alpha", 7) + ROW.format("test_omega", 30))
    return tmp_path


def clocked(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    command += ["-p", "tools.lesson_clock", "--lesson-clock", str(folder / "build" / "clock.json")]
    return subprocess.run(
        [*command, "--rootdir", str(folder), str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("workers", [[], ["-n", "2", "--dist=loadfile"]], ids=["alone", "two"])
def test_the_seconds_of_a_file_are_those_of_all_its_tests(folder: Path, workers: list[str]) -> None:
    assert clocked(folder, *workers).returncode == 0
    seconds = json.loads((folder / "build" / "clock.json").read_text())
    assert seconds.keys() == {"test_alpha.py", "test_omega.py"}
    assert seconds["test_omega.py"] >= 0.6
    assert seconds["test_alpha.py"] < seconds["test_omega.py"]


@pytest.mark.parametrize("workers", [[], ["-n", "2", "--dist=loadfile"]], ids=["alone", "two"])
def test_the_seconds_of_a_notebook_are_those_that_its_kernel_computed(
    tmp_path: Path, workers: list[str]
) -> None:
    busy = "import time\nwhile time.process_time() < {}: pass"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy.format(2)!r}])\n0"
    for name, cells in {
        "waits": ["import time\ntime.sleep(6)"],
        "works": [busy.format(3), child, "1"],
    }.items():
        written = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
        nbformat.write(written, tmp_path / f"{name}.ipynb")
    nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "60"]
    done = clocked(tmp_path, *workers, *nbval)
    assert done.returncode == 0, done.stdout
    seconds = json.loads((tmp_path / "build" / "clock.json").read_text())
    assert seconds["works.ipynb"] > 4.9, "the kernel's own and its child's"
    assert seconds["waits.ipynb"] < 4.9, "others may have the machine while it sleeps"


def test_the_longest_file_starts_first_and_a_new_one_before_it(folder: Path) -> None:
    (folder / "test_new.py").write_text(SLOW.format(0))
    said = clocked(folder, "--collect-only", "-q").stdout
    order = [line.partition("::")[0] for line in said.splitlines() if "::" in line]
    assert order == [f"test_{name}.py" for name in ("new", "omega", "alpha") for _ in range(2)]


def test_what_an_earlier_run_took_is_forgotten_when_the_next_one_starts(folder: Path) -> None:
    clock = folder / "build" / "clock.json"
    clock.parent.mkdir()
    clock.write_text('{"notebooks/98_toy.ipynb": 1.0}')
    clocked(folder, "-k", "nothing is called so")
    assert json.loads(clock.read_text()) == {}


def test_the_readmes_table_says_what_to_expect_of_every_lesson() -> None:
    expected = seconds_expected((ROOT / "README.md").read_text(encoding="utf-8"))
    assert list(expected) == [path.stem for path in lessons.sources(ROOT)]
    assert all(seconds > 0 for seconds in expected.values())


# What run_course makes of the clock


@pytest.fixture
def course_with_clock(toy_course: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The built toy course, of which only what is stored may be read, and a clock's file."""
    for name in ("notebooks", "exercises", "solutions", "pyproject.toml"):
        (tmp_path / name).symlink_to(toy_course / name)
    return tmp_path, tmp_path / "clock.json"


@pytest.mark.parametrize(
    ("guided", "solved", "code", "said"),
    [
        (31.04, 58.96, 0, "98_toy ... 59.0 s\n"),
        (60.26, 31.0, 1, "98_toy ... 60.3 s, OVER its budget of 60 s\n"),
        (31.0, 60.26, 1, "98_toy ... 60.3 s, OVER its budget of 60 s\n"),
        (31.0, None, 1, "nbval has not run solutions/98_toy.ipynb"),
        (None, 31.0, 1, "nbval has not run notebooks/98_toy.ipynb"),
    ],
)
def test_both_editions_are_held_to_the_budget_by_the_times_of_nbval(
    course_with_clock: tuple[Path, Path],
    guided: float | None,
    solved: float | None,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, clock = course_with_clock
    monkeypatch.setattr(run_course.execute, "run", lambda *_, **__: pytest.fail("a lesson was run"))
    times = {"notebooks/98_toy.ipynb": guided, "solutions/98_toy.ipynb": solved}
    clock.write_text(json.dumps({name: took for name, took in times.items() if took is not None}))
    assert run_course.main(["--clock", str(clock)], root) == code
    assert said in capsys.readouterr().out


def test_the_pages_are_those_of_the_stored_lessons(course_with_clock: tuple[Path, Path]) -> None:
    root, clock = course_with_clock
    clock.write_text('{"notebooks/98_toy.ipynb": 3.2, "solutions/98_toy.ipynb": 3.1}')
    assert run_course.main(["--clock", str(clock)], root) == 0
    page = (root / "build" / "98_toy.html").read_text(encoding="utf-8")
    assert 'alt="A curve that rises ever faster"' in page and "No description" not in page
    assert "runs in 3.2 s" in (root / "build" / "index.html").read_text(encoding="utf-8")
    assert not (root / "build" / "timings.json").exists(), "the README's table is of quiet runs"


def test_without_a_clocks_file_no_lesson_passes(
    course_with_clock: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root, clock = course_with_clock
    assert run_course.main(["--clock", str(clock)], root) == 1
    assert "FAILED" in capsys.readouterr().out


def test_the_gate_takes_its_budgets_from_the_run_of_nbval_before_them() -> None:
    names = list(run_tests.PARTS)
    assert names.index("nbval") < names.index("course")
    nbval, course = (run_tests.PARTS[name] for name in ("nbval", "course"))
    assert nbval[nbval.index("--lesson-clock") + 1] == course[course.index("--clock") + 1]
    assert {"notebooks", "solutions"} <= set(nbval)
    assert float(course[course.index("--slack") + 1]) <= 1.5
