"""What the tests of the course share: the builder on the path, a toy lesson, a built toy course."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from builder import editions, lessons
from lab import FLAGS, chromium

TOY = Path(__file__).parent / "fixtures" / "98_toy.py"


@pytest.fixture(scope="session")
def toy_text() -> str:
    """The source of the toy lesson, for tests that spoil it."""
    return TOY.read_text(encoding="utf-8")


@pytest.fixture
def course(tmp_path: Path, toy_text: str) -> Path:
    """An empty course: the toy lesson's source and the project's settings, nothing built."""
    sources = tmp_path / "notebooks" / "src"
    sources.mkdir(parents=True)
    (sources / TOY.name).write_text(toy_text, encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def toy_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy course, built once; tests copy what they spoil."""
    root = tmp_path_factory.mktemp("toy")
    (root / "notebooks" / "src").mkdir(parents=True)
    shutil.copy(TOY, root / "notebooks" / "src")
    shutil.copy(ROOT / "pyproject.toml", root)
    for file in lessons.build(root / "notebooks" / "src" / TOY.name, root, slack=10):
        editions.write(root / file.path, file.text)
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, the one that the system has; skips where it or Playwright is absent."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = chromium()
    if found is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def nbval() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run nbval as the course does, on given notebooks."""

    def run(*paths: Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        options = "-q -p no:cacheprovider -p no:xdist --color=no --nbval-lax --nbval-current-env"
        command = [sys.executable, "-m", "pytest", *options.split()]
        command += ["--nbval-cell-timeout", str(seconds), *map(str, paths)]
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=paths[0].parent,
            env=os.environ,
            timeout=600,
        )

    return run
