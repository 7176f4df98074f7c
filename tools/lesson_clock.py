"""A pytest plugin for nbval: starts the longest lessons first, and writes down what each one took.

`python -m pytest -p tools.lesson_clock --lesson-clock FILE ...` leaves in FILE the seconds of every
notebook, `{"notebooks/02_attention.ipynb": 9.1, ...}`, from which tools/run_course.py takes its
budgets. So the gate need not run the lessons once more only to time them.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

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


def seconds_expected(readme: str) -> dict[str, int]:
    """What each lesson took when the README's table was written; a new lesson is not in it."""
    return {stem: int(seconds) for stem, seconds in ROW.findall(readme)}


class Clock:
    """Sums the seconds of a notebook's cells, the start of its kernel included."""

    def __init__(self, path: Path) -> None:
        """Remember where the sums go."""
        self.path = path
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a cell's set-up, run or end to its notebook."""
        self.seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the sums down."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rounded = {name: round(took, 1) for name, took in sorted(self.seconds.items())}
        self.path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
