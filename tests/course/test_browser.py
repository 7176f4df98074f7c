"""Lessons as a learner meets them: JupyterLab in headless Chromium, all cells run, a slider moved.

The notebooks are copied, so that nothing in the tree changes. Nothing is installed or fetched: the
tests skip where Playwright or Chromium is absent.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-for-this-test-only"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SECONDS_TO_RUN = 240

# Every cell in the page whether it is on the screen or not, and no question about news.
SETTINGS: dict[str, dict[str, Any]] = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the notebooks in a folder of its own."""
    folder = tmp_path_factory.mktemp("browser") / "course"
    for name in ("notebooks", "exercises"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("src"))
    return folder


@pytest.fixture(scope="module")
def server(course: Path) -> Iterator[str]:
    """The address of a JupyterLab of our own, on a free port of this machine."""
    settings = course.parent / "settings"
    for name, values in SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTER_CONFIG_DIR": str(course.parent / "config"),
        "JUPYTER_RUNTIME_DIR": str(course.parent / "runtime"),
        "IPYTHONDIR": str(course.parent / "ipython"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",  # threads of several tests would wait for each other
    }
    environment.pop("MMLIB_STATIC", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
    command += [f"--ServerApp.root_dir={course}", "--LabApp.expose_app_in_browser=True"]
    command += ["--LabApp.extension_manager=readonly"]  # the other one asks the internet
    log = (course.parent / "server.log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api/status?token={TOKEN}", process, log.name)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: str) -> None:
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not start:\n{Path(log).read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, the one that the system has."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield chromium
        chromium.close()


class Lesson:
    """One notebook, open in a page; remembers what the page's console complained about."""

    def __init__(self, browser: Any, server: str, path: str) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": 1280, "height": 1000})
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(f"{server}/doc/tree/{path}?token={TOKEN}")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        self.page.wait_for_function(
            "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
            "?.connectionStatus === 'connected'",
            timeout=60_000,
        )

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def run_all(self) -> None:
        """Run all cells and wait until none is waiting any more."""
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            """() => {
                const cells = window.jupyterapp.shell.currentWidget.content.widgets;
                const code = cells.filter(cell => cell.model.type === 'code');
                return code.length && code.every(cell => Number.isInteger(cell.model.executionCount));
            }""",
            timeout=1000 * SECONDS_TO_RUN,
        )

    def errors(self) -> list[str]:
        """The texts of all error outputs."""
        found = self.page.query_selector_all("[data-mime-type='application/vnd.jupyter.error']")
        return [output.inner_text() for output in found]

    def pictures_without_alt(self) -> list[str]:
        """The beginnings of all pictures in outputs that lack an alt text."""
        pictures = self.page.query_selector_all(".jp-OutputArea-output img")
        assert pictures, "no picture on the page"
        return [
            (picture.get_attribute("src") or "")[:60]
            for picture in pictures
            if not (picture.get_attribute("alt") or "").strip()
        ]

    def move(self, slider: str, key: str = "ArrowRight") -> tuple[Any, Any]:
        """Press a key on the slider with this label; the picture's source and alt before and after."""
        box = self.page.locator(".jp-OutputArea-output", has=self.page.locator(".widget-vbox"))
        box = box.filter(has=self.page.get_by_text(slider, exact=True)).first
        box.scroll_into_view_if_needed()
        picture = box.locator(".widget-html img")
        before = picture.get_attribute("src"), picture.get_attribute("alt")
        row = box.locator(".widget-slider").filter(has=self.page.get_by_text(slider, exact=True))
        row.locator(".noUi-handle").first.focus()
        self.page.keyboard.press(key)
        for _ in range(100):
            after = picture.get_attribute("src"), picture.get_attribute("alt")
            if after[0] != before[0]:
                break
            self.page.wait_for_timeout(100)
        return before, after


@pytest.mark.parametrize(
    ("path", "slider"),
    [("notebooks/00_start_here.ipynb", "emotion"), ("notebooks/03_cross_attention.ipynb", "lag")],
)
def test_a_lesson_runs_in_jupyterlab_and_its_slider_moves_the_picture(
    browser: Any, server: str, course: Path, path: str, slider: str
) -> None:
    if not (course / path).exists():
        pytest.skip(f"{path} is not built")
    lesson = Lesson(browser, server, path)
    lesson.run_all()
    assert lesson.errors() == []
    assert lesson.pictures_without_alt() == []
    before, after = lesson.move(slider)
    assert after[0] != before[0], "the picture did not change"
    assert after[1] != before[1], "the alt text did not follow the picture"
    assert lesson.complaints == []
    lesson.page.close()


def test_hints_are_closed_until_a_learner_opens_one(browser: Any, server: str) -> None:
    lesson = Lesson(browser, server, "exercises/00_start_here.ipynb")
    hints = lesson.page.locator(".jp-MarkdownCell details")
    hints.first.wait_for(state="attached")
    assert hints.count() == 6
    body = hints.first.locator("p").first
    assert not body.is_visible()
    hints.first.locator("summary").click()
    body.wait_for(state="visible")
    assert lesson.complaints == []
    lesson.page.close()
