"""A JupyterLab of a test's own and a lesson open in it, as a learner meets it in headless Chromium.

Nothing is installed or fetched, and the notebooks in it are copies: nothing in the tree changes.
"""

import contextlib
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
from typing import Any, NamedTuple, Self

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
# An explorer's row of controls stands above its picture; each control has one element to press keys on.
EXPLORERS = ".jp-OutputArea-output .widget-vbox:has(> .widget-hbox + .widget-html)"
HANDLES = ".noUi-handle, select, input, .widget-toggle-button"
LABEL = """(control => Array.from(control.querySelectorAll('.widget-label, .widget-label-basic span'))
    .map(part => part.textContent.replaceAll('\u200b', '').trim()).find(text => text))"""
SECONDS_TO_START, SECONDS_TO_RUN, SECONDS_TO_DRAW = 120, 400, 30

# Every cell in the page whether it is on the screen or not, and no question about news.
SETTINGS: dict[str, dict[str, Any]] = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def chromium() -> str | None:
    """The Chromium that the system has, if it has one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def copy_course(folder: Path) -> Path:
    """Copy the editions that a learner opens, without their sources."""
    for name in ("notebooks", "exercises", "solutions"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("src"))
    return folder


@contextlib.contextmanager
def jupyterlab(course: Path) -> Iterator[str]:
    """Serve a course's folder on a free port of this machine; yields the address."""
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
    with (course.parent / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/api/status?token={TOKEN}", process, Path(log.name))
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


class Shown(NamedTuple):
    """What an explorer shows: the picture itself, as a data address, and its alt text."""

    picture: str
    alt: str

    @classmethod
    def of(cls, explorer: Any) -> "Shown":
        """Read both at one moment, so that one picture never comes with another's text."""
        return cls(*explorer.locator(".widget-html img").evaluate("img => [img.src, img.alt]"))


class Page:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the kernel, so that it does not compute beside the next lesson's, and close."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()

    def run_all(self) -> None:
        """Clear what is stored, run all cells and wait until the last has run or one has failed."""
        self.page.evaluate(
            """() => {
                const commands = window.jupyterapp.commands;
                commands.execute('notebook:clear-all-cell-outputs')
                    .then(() => commands.execute('notebook:run-all-cells'))
                    .then(() => { window.lessonHasRun = true; });
            }"""
        )
        self.page.wait_for_function("window.lessonHasRun", timeout=1000 * SECONDS_TO_RUN)

    def cells_not_run(self) -> list[str]:
        """The first lines of all code cells without an execution count."""
        return self.page.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets
                .filter(cell => cell.model.type === 'code')
                .filter(cell => !Number.isInteger(cell.model.executionCount))
                .map(cell => cell.model.sharedModel.source.split('\\n')[0])"""
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

    def outputs_wider_than_the_page(self) -> list[str]:
        """The beginnings of all outputs that a learner would have to scroll sideways."""
        return self.page.evaluate(
            """() => Array.from(document.querySelectorAll('.jp-OutputArea-output'))
                .filter(output => output.scrollWidth > output.clientWidth + 1)
                .map(output => output.innerText.slice(0, 60) || output.innerHTML.slice(0, 60))"""
        )

    def labels(self) -> list[list[str]]:
        """What stands beside the controls of each explorer on the page."""
        return self.page.evaluate(
            f"""explorers => {{
                const label = {LABEL};
                return Array.from(document.querySelectorAll(explorers))
                    .map(explorer => Array.from(explorer.firstElementChild.children).map(label));
            }}""",
            EXPLORERS,
        )

    def enter(self, explorer: int) -> None:
        """Put the keyboard's focus on the first control of an explorer."""
        box = self.page.locator(EXPLORERS).nth(explorer)
        box.scroll_into_view_if_needed()
        box.locator(HANDLES).first.focus()

    def move(self, explorer: int, label: str, keys: str) -> tuple[Shown, Shown]:
        """Go on by Tab to the control with this label and press keys; the pictures before and after."""
        box = self.page.locator(EXPLORERS).nth(explorer)
        before = Shown.of(box)
        for _ in range(12):  # past the other buttons, and the numbers beside sliders
            if self._focus() == label:
                break
            self.page.keyboard.press("Tab")
        assert self._focus() == label, f"Tab does not lead to {label!r}, but to {self._focus()!r}"
        for key in keys.split():
            self.page.keyboard.press(key)
        until = time.monotonic() + SECONDS_TO_DRAW
        after = Shown.of(box)
        while after.picture == before.picture and time.monotonic() < until:
            self.page.wait_for_timeout(50)
            after = Shown.of(box)
        return before, after

    def _focus(self) -> str:
        """The label of the control that has the focus; empty if none."""
        return self.page.evaluate(
            f"""handles => {{
                const label = {LABEL}, focus = document.activeElement;
                return focus.matches(handles) ? label(focus.closest('.widget-hbox > *')) : '';
            }}""",
            HANDLES,
        )
