"""A pytest plugin for nbval: starts the longest lessons first, and writes down what each one took.

`python -m pytest -p tools.lesson_clock --lesson-clock FILE ...` leaves in FILE the seconds of every
notebook, `{"notebooks/02_attention.ipynb": 9.1, ...}`, from which tools/run_course.py takes its
budgets. So the gate need not run the lessons once more only to time them.

The seconds are those that the notebook's kernel computed, with the processes that it started: what
else the machine does at the time is no part of them. Where no kernel can be asked, as in a file of
ordinary tests, they are the clock's.
"""

import json
import re
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

# What a report of a cell says of its kernel: seconds since that started.
COMPUTED = "kernel_seconds"

# A row of the README's table of lessons: the link's file, and the seconds at the end.
ROW = re.compile(r"\(notebooks/(\w+)\.ipynb\) \|.*\| (\d+) s \|$", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where the seconds go."""
    parser.addoption("--lesson-clock", metavar="FILE", type=Path, help="write notebooks' seconds")


def pytest_configure(config: pytest.Config) -> None:
    """Start the clock, in the process that hears of every cell, whichever worker ran it."""
    path = config.getoption("--lesson-clock")
    if path is not None and not hasattr(config, "workerinput"):
        path.unlink(missing_ok=True)  # what an earlier run took says nothing about this one
        config.pluginmanager.register(Clock(path))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest lessons first, so that no worker starts one when the other has finished."""
    readme = config.rootpath / "README.md"
    expected = seconds_expected(readme.read_text(encoding="utf-8") if readme.exists() else "")
    items.sort(key=lambda item: -expected.get(item.path.stem, max(expected.values(), default=0)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note beside each cell how long its kernel has computed, in the worker that has the kernel."""
    report = yield
    seconds = _computed(item)
    if seconds is not None:
        report.user_properties.append((COMPUTED, seconds))
    return report


def _computed(item: pytest.Item) -> float | None:
    """Seconds that a cell's kernel and its children computed; None where there is no kernel."""
    kernel = getattr(item.parent, "kernel", None)  # nbval's, of a notebook
    process = getattr(getattr(kernel, "km", None), "provisioner", None)
    pid = getattr(process, "pid", None)
    if pid is None:
        return None
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:  # it has ended
        return None
    children = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return times.user + times.system + children


def seconds_expected(readme: str) -> dict[str, int]:
    """What each lesson took when the README's table was written; a new lesson is not in it."""
    return {stem: int(seconds) for stem, seconds in ROW.findall(readme)}


class Clock:
    """Keeps the seconds of every notebook, the start of its kernel included."""

    def __init__(self, path: Path) -> None:
        """Remember where the seconds go."""
        self.path = path
        self.passed: defaultdict[str, float] = defaultdict(float)
        self.computed: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a cell's set-up, run or end to its notebook, or take what its kernel says."""
        name = report.nodeid.partition("::")[0]
        self.passed[name] += report.duration
        for said, seconds in report.user_properties:
            if said == COMPUTED:
                self.computed[name] = max(self.computed.get(name, 0.0), float(str(seconds)))

    def pytest_sessionfinish(self) -> None:
        """Write the seconds down."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        seconds = {**self.passed, **self.computed}
        rounded = {name: round(took, 1) for name, took in sorted(seconds.items())}
        self.path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
