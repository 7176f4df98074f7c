"""Lessons as a learner meets them: JupyterLab in headless Chromium, all cells run, every control moved.

All pages share one JupyterLab and one Chromium, and each is a test of its own. The tests skip where
Playwright or Chromium is absent.

What runs is the edition with answers, where it has all of the lesson's controls: it leaves out the
longer demonstrations. `MMLIB_BROWSER=notebooks` runs the guided lessons instead.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from controls import CONTROLS, LESSONS, ROOT, explorers
from lab import Page, copy_course, jupyterlab

pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab of our own."""
    with jupyterlab(copy_course(tmp_path_factory.mktemp("browser") / "course")) as address:
        yield address


def edition(stem: str) -> str:
    """Choose what runs in the page; see above."""
    wanted = os.environ.get("MMLIB_BROWSER", "solutions")
    shown = explorers(ROOT / wanted / f"{stem}.ipynb")
    return wanted if shown == [list(row) for row in CONTROLS[stem]] else "notebooks"


@pytest.mark.parametrize("stem", LESSONS)
def test_a_lesson_runs_and_every_control_moves_its_picture(
    browser: Any, server: str, stem: str
) -> None:
    with Page(browser, server, f"{edition(stem)}/{stem}.ipynb") as page:
        page.run_all()
        assert page.errors() == []
        assert page.cells_not_run() == []
        assert page.pictures_without_alt() == []
        assert page.outputs_wider_than_the_page() == []
        assert page.labels() == [list(row) for row in CONTROLS[stem]]
        for explorer, row in enumerate(CONTROLS[stem]):
            page.enter(explorer)
            for label, keys in row.items():
                before, after = page.move(explorer, label, keys)
                assert after.picture != before.picture, f"{label}: the picture did not change"
                assert after.alt != before.alt, f"{label}: the alt text did not follow the picture"
                assert after.alt.strip(), f"{label}: the new picture has no alt text"
        assert page.complaints == []


@pytest.mark.parametrize("stem", LESSONS)
def test_hints_are_closed_until_a_learner_opens_one(browser: Any, server: str, stem: str) -> None:
    with Page(browser, server, f"exercises/{stem}.ipynb") as page:
        hints = page.page.locator(".jp-MarkdownCell details")
        hints.first.wait_for(state="attached")
        exercises = page.page.get_by_role("heading", name="Exercise ", level=3).count()
        assert hints.count() == 3 * exercises > 0
        shut = page.page.locator(".jp-MarkdownCell details:not([open])").count()
        assert shut == hints.count()
        body = hints.first.locator("p").first
        assert not body.is_visible()
        hints.first.locator("summary").focus()
        page.page.keyboard.press("Enter")
        body.wait_for(state="visible")
        assert page.complaints == []
