"""What a confined worker may read, where mmlib is a checkout and where it is installed."""

import os
import sys
from pathlib import Path

import pytest

from mmlib.grading import confine


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with mmlib among its libraries, and a second name for its folder."""
    prefix = tmp_path.resolve() / "environment"
    libraries = prefix / "lib" / "python3" / "site-packages"
    for name in ("mmlib/checks/lesson_02.py", "mmlib/layers/pooling.py", "torch/version.py"):
        (libraries / name).parent.mkdir(parents=True, exist_ok=True)
        (libraries / name).write_text("answer = 42\n")
    (prefix / "lib64").symlink_to(prefix / "lib")
    (prefix / "pyvenv.cfg").write_text("home = here\n")
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "path", [*sys.path, str(libraries)])
    return libraries / "mmlib"


def covered(path: Path, paths: list[str]) -> bool:
    return any(path.is_relative_to(Path(each).resolve()) for each in paths)


def test_the_answers_of_an_installed_package_are_not_among_what_is_read(installed: Path) -> None:
    read = confine.readable(installed)
    assert not covered(installed / "checks" / "lesson_02.py", read.files)
    assert covered(installed / "layers" / "pooling.py", read.files)
    assert covered(installed.parent / "torch" / "version.py", read.files)
    assert covered(Path(sys.prefix) / "pyvenv.cfg", read.files)
    assert sys.prefix in read.folders


def test_links_that_lead_nowhere_are_left_out(installed: Path) -> None:
    (installed.parent / "gone").symlink_to("nowhere")
    (installed / ".#pooling.py").symlink_to("somebody@somewhere.17")
    (installed.parent.parent / "round").symlink_to("round")
    read = confine.readable(installed)
    assert all(Path(path).exists() for path in (*read.files, *read.folders))
    assert covered(installed.parent / "torch" / "version.py", read.files)


def test_a_checkouts_answers_are_not_among_what_is_read() -> None:
    read, package = confine.readable(), Path(confine.__file__).resolve().parents[1]
    assert not covered(package / "checks" / "lesson_02.py", read.files)
    assert covered(package / "layers" / "pooling.py", read.files)
    assert covered(Path(os.__file__).resolve(), read.files)


@pytest.mark.skipif(not confine.landlock_version(), reason="no Landlock")
def test_a_confined_process_lists_the_libraries_and_reads_all_but_the_answers(
    installed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    read = confine.readable(installed)
    child = os.fork()
    if child == 0:  # nothing here may reach pytest: the exit code tells
        code = 1
        try:
            assert confine.landlock(read, str(folder))
            assert "torch" in os.listdir(installed.parent)
            (installed.parent / "torch" / "version.py").read_text()
            (installed / "layers" / "pooling.py").read_text()
            code = 2
            for name in (installed, Path(sys.prefix) / "lib64" / "python3/site-packages/mmlib"):
                try:
                    (name / "checks" / "lesson_02.py").read_text()
                    code = 3
                except PermissionError:
                    code = 0 if code == 2 or code == 0 else code
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
