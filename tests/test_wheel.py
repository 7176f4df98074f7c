"""The library from its wheel, in an environment outside the repository that has no extras."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
# What only the extras of pyproject.toml bring, and the tools of those who work on the course.
EXTRAS = ("av", "cv2", "transformers", "h5py", "pooch", "librosa")
TOOLS = ("jupytext", "latex2mathml", "hypothesis", "xdist", "playwright", "ruff", "mypy")

pytestmark = pytest.mark.slow

EVERY_MODULE = """
import importlib, pkgutil, mmlib
for each in pkgutil.walk_packages(mmlib.__path__, "mmlib."):
    if not each.name.endswith("__main__"):
        importlib.import_module(each.name)
print(mmlib.__file__)
"""
A_COURSE_WITHOUT_ITS_FOLDER = """
import json, sys
from mmlib.checks import check, use
from mmlib.cli import main
assert main([*"train --system late --data theatre --n 60 --epochs 1 --out run".split()]) == 0
assert main([*"evaluate --run run --data theatre --n 60 --json result.json".split()]) == 0
masked_softmax = use("02.1")
def answer(scores, mask):
    scores = scores.masked_fill(~mask, float("-inf"))
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)
check("02.1", answer)
assert use("02.1") is answer
sys.exit(main(["grade", "class", "--csv", "marks.csv"]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the repository, built without a network."""
    pytest.importorskip("setuptools", reason="the wheel is built with setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("mmlib", "tools", "tests", "docs"):
        shutil.copytree(ROOT / name, folder / "course" / name, ignore=ignored)
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "course")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(folder / "course")]
    subprocess.run(command, check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A fresh environment with the wheel, torch and requirements.txt, and nothing of the repository.

    The other packages are those of this environment, seen through a path file; what the extras bring
    is shut.
    """
    folder = tmp_path_factory.mktemp("outside")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(packages), str(wheel)], check=True, timeout=300)
    (packages / "others.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    shut = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS + TOOLS!r}))\n"
    (packages / "sitecustomize.py").write_text(shut)
    home = folder / "home"
    home.mkdir()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MMLIB_"))}

    def run(*words: str, code: int = 0) -> str:
        out = subprocess.run(
            [str(folder / "env" / "bin" / "python"), *words],
            cwd=home,
            env=clean | {"HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert out.returncode == code, out.stdout + out.stderr
        return out.stdout + out.stderr

    return run


def test_the_wheel_holds_the_library_whole_and_nothing_else(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    library = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mmlib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    about = {name for name in inside if ".dist-info/" in name}
    assert inside - about == library
    assert any(name.endswith("LICENSE") for name in about)


def test_every_module_of_it_is_found_without_the_extras(outside: Callable[..., str]) -> None:
    said = outside("-c", EVERY_MODULE)
    assert str(ROOT) not in said and "site-packages" in said.splitlines()[-1]


def test_it_trains_checks_and_says_where_grading_needs_the_exercises(
    outside: Callable[..., str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(A_COURSE_WITHOUT_ITS_FOLDER)
    said = outside(str(script), code=2)
    assert "02.1" in said
    *_, refusal = said.strip().splitlines()
    assert "give --exercises with the course's exercises/ folder" in refusal


def test_its_command_line_says_what_it_can_do(outside: Callable[..., str]) -> None:
    said = outside("-m", "mmlib", "--help")
    assert all(word in said for word in ("train", "evaluate", "compare", "prepare", "grade"))
