"""The pages of `make course`: they open from disk in a browser, and lead from one to the next."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from builder import pages
from builder.cells import BuildError
from builder.formulas import PIECES
from builder.lessons import sources
from builder.read import read_lesson
from lab import ROOT

COURSE = [read_lesson(path) for path in sources(ROOT)]
WALKED = [COURSE[4], COURSE[5], COURSE[-1]]  # two neighbours, and the last
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1280, "height": 900}

LINKS = """() => Array.from(document.querySelectorAll('a[href]')).map(a => a.href)"""
ANCHORS = """() => Array.from(document.querySelectorAll('a[href^="#"]'))
    .map(a => decodeURIComponent(a.getAttribute('href').slice(1)))
    .filter(id => !document.getElementById(id))"""
PICTURES = """() => Array.from(document.images)
    .filter(img => !img.naturalWidth || !img.alt.trim()).map(img => img.outerHTML.slice(0, 80))"""
CUT = """() => Array.from(document.querySelectorAll('main *'))
    .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1)
    .filter(e => ['hidden', 'clip'].includes(getComputedStyle(e).overflowX))
    .map(e => e.outerHTML.slice(0, 80))"""
WIDER = """() => Array.from(document.querySelectorAll('body *'))
    .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1)
    .map(e => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of all stored lessons and of docs/, within a copy of what they lead to."""
    root = tmp_path_factory.mktemp("site")
    for name in ("notebooks", "exercises", "solutions", "docs"):
        shutil.copytree(ROOT / name, root / name)
    stored = {each.stem: root / "notebooks" / f"{each.stem}.ipynb" for each in COURSE}
    pages.write_site(root, COURSE, stored, {COURSE[0].number: 8.83})
    return root / "build"


def opened(browser: Any, file: Path, viewport: dict[str, int] = DESK) -> tuple[Any, list[str]]:
    """A page opened from disk, and what it complained about or asked the network for."""
    page, heard = browser.new_page(viewport=viewport), []
    page.on("console", lambda said: heard.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("requestfailed", lambda request: heard.append(f"failed: {request.url[:100]}"))
    page.on("request", lambda request: _local(request.url) or heard.append(request.url))
    page.goto(file.as_uri(), wait_until="load")
    return page, heard


def _local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:"))


@pytest.mark.browser
@pytest.mark.slow
def test_every_page_opens_from_disk_whole_and_every_link_leads_somewhere(
    browser: Any, site: Path
) -> None:
    files = sorted(site.glob("*.html"))
    docs = [path.stem for path in (ROOT / "docs").glob("*.md")]
    expected = {"index", *docs, *(each.stem for each in COURSE)}
    assert {file.stem for file in files} == expected
    for file in files:
        page, heard = opened(browser, file)
        assert heard == [], file.name
        assert page.evaluate(PICTURES) == [], file.name
        assert page.evaluate(ANCHORS) == [], file.name
        for link in page.evaluate(LINKS):
            path = link.partition("#")[0].removeprefix("file://")
            assert not _local(link) or Path(path).exists(), f"{file.name}: {link}"
        page.close()


@pytest.mark.browser
@pytest.mark.slow
def test_every_formula_is_drawn_from_mathml(browser: Any, site: Path) -> None:
    for lesson in WALKED:
        text = "\n\n".join(
            cell.source for cell in lesson.cells if cell.kind == "markdown" and not cell.in_exercise
        )
        formulas = sum(not piece["code"] for piece in PIECES.finditer(text))
        page, _ = opened(browser, site / f"{lesson.stem}.html")
        drawn = page.evaluate(
            "() => Array.from(document.querySelectorAll('math'))"
            ".filter(math => math.getBoundingClientRect().width > 1).length"
        )
        assert drawn == formulas, lesson.stem
        page.close()


@pytest.mark.browser
@pytest.mark.slow
def test_on_a_phone_nothing_of_the_index_or_of_a_page_stands_beside_the_screen(
    browser: Any, site: Path
) -> None:
    page, _ = opened(browser, site / "index.html", PHONE)
    assert page.evaluate(WIDER) == []
    page.close()
    for lesson in WALKED:
        page, _ = opened(browser, site / f"{lesson.stem}.html", PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], lesson.stem
        assert page.evaluate(CUT) == [], f"{lesson.stem}: cannot be scrolled to"
        page.close()


@pytest.mark.browser
@pytest.mark.slow
def test_one_walks_from_the_index_through_the_lessons_and_back(browser: Any, site: Path) -> None:
    page, heard = opened(browser, site / "index.html")
    first, second, last = (f"{each.number} {each.title}" for each in WALKED)
    page.get_by_role("link", name=f"{COURSE[0].number} {COURSE[0].title}").click()
    assert page.locator("a[rel=prev]").count() == 0
    page.get_by_role("link", name="All lessons").last.click()
    page.get_by_role("link", name=first).click()
    assert page.title() == first
    page.locator("a[rel=next]").first.click()
    assert page.title() == second
    page.get_by_role("link", name="All lessons").last.click()
    page.get_by_role("link", name=last).click()
    assert page.title() == last and page.locator("a[rel=next]").count() == 0
    page.get_by_role("link", name="All lessons").last.click()
    page.get_by_role("link", name="Glossary").click()
    assert page.locator("table tr").count() > 60
    assert heard == []
    page.close()


@pytest.mark.parametrize("lesson", COURSE, ids=[each.stem for each in COURSE])
def test_the_index_can_say_what_a_lesson_is_for(lesson: Any) -> None:
    line = pages.objective(lesson)
    assert line.startswith("After it you can ") and line.endswith(".")
    assert len(line) > 40, f"the lesson's first objective is too short for the index: {line}"
    assert not {"$", "*", "\n"} & set(line), line


def test_the_index_names_minutes_exercises_and_the_seconds_that_were_measured(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    first, second, _ = text.split("<li>")[1:4]
    for row, lesson in zip((first, second), COURSE[:2], strict=True):
        assert f"{lesson.minutes} minutes · {len(lesson.exercises)} exercises" in row
    assert "runs in 8.8 s" in first and "runs in" not in second


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('<a href="03_no_lesson.ipynb">', "the link to 03_no_lesson.ipynb leads nowhere"),
        ('<a class="x" href="../docs/none.md#a">', "the link to ../docs/none.md#a leads nowhere"),
        ('<h2 id="Here"></h2><a href="#there">', "no heading for the link to #there"),
        ('<img alt="a face" src="images/face.png">', "'images/face.png' stands outside the page"),
        ('<img src="../../face.png">', "'../../face.png' stands outside the page"),
        ('<img src="https://example.org/face.png">', "/face.png' stands outside the page"),
    ],
)
def test_a_page_that_leads_nowhere_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BuildError, match="notebooks/98_toy.ipynb: ") as refused:
        pages._linked(text, tmp_path, Path("notebooks/98_toy.ipynb"), {})
    assert complaint in str(refused.value)


def test_a_picture_of_the_repository_is_put_into_its_page(tmp_path: Path) -> None:
    (tmp_path / "root" / "docs" / "results").mkdir(parents=True)
    (tmp_path / "face.png").write_bytes(b"elsewhere")
    (tmp_path / "root" / "docs" / "results" / "face.png").write_bytes(b"a picture")
    text = '<img alt="a face" src="results/face.png">'
    found = pages._linked(text, tmp_path / "root", Path("docs/page.md"), {})
    assert found == '<img alt="a face" src="data:image/png;base64,YSBwaWN0dXJl">'


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("97_other.ipynb", "97_other.html"),
        ("97_other.ipynb#A-part", "97_other.html#A-part"),
        ("../docs/words.md", "words.html"),
        ("../exercises/98_toy.ipynb", "../exercises/98_toy.ipynb"),
        ("#a-part", "#A-part"),
        ("https://example.org/98_toy.ipynb", "https://example.org/98_toy.ipynb"),
    ],
)
def test_a_link_between_notebooks_becomes_one_between_pages(
    tmp_path: Path, link: str, becomes: str
) -> None:
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "98_toy.ipynb").touch()
    names = {"notebooks/97_other.ipynb": "97_other.html", "docs/words.md": "words.html"}
    text = f'<h2 id="A-part">A part</h2><a class="x" href="{link}">there</a>'
    turned = pages._linked(text, tmp_path, Path("notebooks/98_toy.ipynb"), names)
    assert turned == text.replace(f'"{link}"', f'"{becomes}"')
