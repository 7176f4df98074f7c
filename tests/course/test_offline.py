"""The lessons run without a network: the guard under which run_tests runs them does close it."""

import os
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import run_tests
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(run_tests.OFFLINE)},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import socket; socket.socket().connect(('192.0.2.1', 80))",
        "import socket; socket.socket().connect_ex(('192.0.2.1', 80))",
        "import socket; socket.getaddrinfo('example.org', 443)",
        "import urllib.request as u; u.urlopen('http://example.org', timeout=1)",
    ],
)
def test_nothing_outside_can_be_reached(code: str) -> None:
    result = run(code)
    assert result.returncode == 1
    assert "the network is off" in result.stderr


def test_the_machine_itself_can_be_reached() -> None:
    code = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(('localhost', server.getsockname()[1]), timeout=5)\n"
    )
    assert run(code).returncode == 0


def test_kernels_run_under_the_guard_and_lessons_that_download_fail(
    tmp_path: Path,
    nbval: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(run_tests.OFFLINE))
    cells = [
        new_code_cell("print('a kernel talks over the loopback')"),
        new_code_cell("import urllib.request as u\nu.urlopen('http://example.org', timeout=1)"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "download.ipynb")
    result = nbval(tmp_path / "download.ipynb")
    assert "1 failed, 1 passed" in result.stdout
    assert "the network is off" in result.stdout


def test_the_lessons_are_run_under_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nbval" in run_tests.OFFLINE_PARTS
    assert {"notebooks", "solutions"} <= set(run_tests.PARTS["nbval"])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    look = [sys.executable, "-c", "import os; open('seen', 'w').write(os.environ['PYTHONPATH'])"]
    assert run_tests.main({"nbval": look}, tmp_path) == 0
    assert (tmp_path / "seen").read_text() == str(run_tests.OFFLINE)


def test_the_sources_name_no_download() -> None:
    """An address in a lesson's code would be a download waiting to happen."""
    for path in (ROOT / "notebooks" / "src").glob("*.py"):
        code = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
        found = [
            word for line in code for word in line.split() if urllib.parse.urlsplit(word).netloc
        ]
        assert not found, f"{path.name}: {found}"
