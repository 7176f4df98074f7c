"""Turns the lessons and docs/ into HTML pages that open from disk, with an index of them.

A page needs no network and no server: pictures, alt texts and formulas are inside. Links between
notebooks become links between pages; what has no page is linked to in the repository around build/.
"""

import base64
import copy
import html
import mimetypes
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mistune
import nbconvert
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from builder import editions
from builder.cells import BuildError, Lesson
from builder.formulas import with_mathml

BUILD, DOCS = Path("build"), Path("docs")
# A title line, and the first of the lesson's objectives.
OBJECTIVE = re.compile(
    r"\*\*After this lesson you can\*\*\s+1\. (.+?)[;.,]?\s*(?:\n\s*2\.|\n\n|\Z)", re.DOTALL
)
LINK = re.compile(r'(<a\b[^>]*?\bhref=")([^"]+)(")')
PICTURE = re.compile(r'<img\b[^>]*?\bsrc="(?!data:)([^"]*)"')
ANCHOR = re.compile(r'\bid="([^"]+)"')
STYLE = """\
<style>
body.jp-Notebook { max-width: 62rem; margin: 0 auto }
nav.course { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .5rem 2rem;
  padding: 1rem; font: 1rem/1.5 system-ui, sans-serif }
main img, main svg { max-width: 100%; height: auto }
main table { display: block; max-width: 100%; overflow-x: auto }
main math[display="block"] { display: block math; overflow-x: auto; overflow-y: hidden }
main .highlight pre { overflow-x: auto }
@media (max-width: 45rem) { .jp-InputPrompt, .jp-OutputPrompt { display: none !important } }
</style>
"""
INDEX = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>The lessons</title>
<style>
body {{ font: 1.05rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 0 auto; padding: 1rem }}
ol, ul {{ list-style: none; padding: 0 }}
li {{ margin: 0 0 1.4rem }}
li p {{ margin: .1rem 0 }}
.lesson {{ font-size: 1.2rem; font-weight: 600 }}
.facts {{ color: #555; font-size: .95rem }}
a {{ overflow-wrap: anywhere }}
</style></head>
<body><main><h1>The lessons</h1>
<ol>
{rows}
</ol>
{beside}</main></body></html>
"""


def page(notebook: NotebookNode, title: str) -> str:
    """The notebook as one HTML file that needs no network: pictures, alt texts and formulas inside."""
    described = copy.deepcopy(notebook)
    for cell in described.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
        for output in cell.get("outputs", ()):
            _describe(output)
    exporter = nbconvert.HTMLExporter(mathjax_url="", require_js_url="")
    text, _ = exporter.from_notebook_node(described, {"metadata": {"name": title}})
    return str(text).replace('<script src=""></script>', "")


def _describe(output: NotebookNode) -> None:
    """Turn a picture into an `<img>` with its alt text, which nbconvert would drop."""
    alt = output.get("metadata", {}).get("image/png", {}).get("alt")
    if alt:
        source = "data:image/png;base64," + output.data.pop("image/png").replace("\n", "")
        output.data["text/html"] = f'<img alt="{html.escape(alt)}" src="{source}">'


def objective(lesson: Lesson) -> str:
    """The first thing that one can do after the lesson, as HTML.

    Raises:
        BuildError: the lesson's first cell names none.
    """
    found = OBJECTIVE.search(lesson.cells[0].source)
    if found is None:
        return ""
    text = with_mathml(" ".join(found[1].split()))
    line = str(mistune.html(text)).strip().removeprefix("<p>").removesuffix("</p>")
    return f"After it you can {line}."


def write_site(
    root: Path,
    course: Sequence[Lesson],
    notebooks: Mapping[str, Path],
    seconds: Mapping[str, float],
) -> None:
    """Write a page of each notebook, a page of each file in docs/, and the index.

    Args:
        root: the repository.
        course: all lessons in order; those neither in `notebooks` nor in build/ have no page yet.
        notebooks: by the lesson's stem, the executed notebook of which its page is made.
        seconds: by the lesson's number, how long it ran.

    Raises:
        BuildError: a page names a file that is not there.
    """
    stood = {path.stem for path in (root / BUILD).glob("*.html")}
    shown = [each for each in course if each.stem in notebooks or each.stem in stood]
    docs = sorted((root / DOCS).glob("*.md"))
    names = {f"{editions.GUIDED}/{each.stem}.ipynb": f"{each.stem}.html" for each in shown}
    names |= {f"{DOCS}/{path.name}": f"{path.stem}.html" for path in docs}
    for place, lesson in enumerate(shown):
        around = _around(shown, place)
        if lesson.stem in notebooks:
            notebook = nbformat.read(notebooks[lesson.stem], as_version=4)
            text = page(notebook, f"{lesson.number} {lesson.title}")
            text = _linked(text, root, Path(editions.GUIDED) / f"{lesson.stem}.ipynb", names)
            editions.write(root / BUILD / f"{lesson.stem}.html", _framed(text, around))
    for path in docs:
        source = path.read_text(encoding="utf-8")
        text = page(new_notebook(cells=[new_markdown_cell(source)]), _title(source))
        text = _linked(text, root, DOCS / path.name, names)
        editions.write(root / BUILD / f"{path.stem}.html", _framed(text, _around([], 0)))
    editions.write(root / BUILD / "index.html", _index(root, shown, docs, seconds))


def _index(
    root: Path, shown: Sequence[Lesson], docs: Sequence[Path], seconds: Mapping[str, float]
) -> str:
    rows = []
    for lesson in shown:
        facts = [f"{lesson.minutes} minutes", f"{len(lesson.exercises)} exercises"]
        if lesson.number in seconds:
            facts.append(f"runs in {seconds[lesson.number]:.1f} s")
        for edition in (editions.EXERCISES, editions.SOLUTIONS):
            if (root / edition / f"{lesson.stem}.ipynb").exists():
                facts.append(f'<a href="../{edition}/{lesson.stem}.ipynb">{edition}</a>')
        rows.append(
            f'<li><a class="lesson" href="{lesson.stem}.html">{_name(lesson)}</a>\n'
            f'<p>{objective(lesson)}</p>\n<p class="facts">{" · ".join(facts)}</p></li>'
        )
    beside = ""
    if docs:
        titles = [(path.stem, _title(path.read_text(encoding="utf-8"))) for path in docs]
        lines = [
            f'<li><a href="{stem}.html">{html.escape(title)}</a></li>' for stem, title in titles
        ]
        beside = "<h2>Beside the lessons</h2>\n<ul>\n" + "\n".join(lines) + "\n</ul>\n"
    return INDEX.format(rows="\n".join(rows), beside=beside)


def _name(lesson: Lesson) -> str:
    return html.escape(f"{lesson.number} {lesson.title}")


def _title(source: str) -> str:
    return source.partition("\n")[0].lstrip("# ").strip()


def _around(shown: Sequence[Lesson], place: int) -> str:
    """The links to the lesson before, to all of them and to the lesson after."""
    before = shown[place - 1 : place] if place else []
    after = shown[place + 1 : place + 2]
    links = [f'<a rel="prev" href="{each.stem}.html">← {_name(each)}</a>' for each in before]
    links.append('<a href="index.html">All lessons</a>')
    links += [f'<a rel="next" href="{each.stem}.html">{_name(each)} →</a>' for each in after]
    return '<nav class="course" aria-label="lessons">' + " ".join(links) + "</nav>\n"


def _framed(text: str, around: str) -> str:
    """The page with its links between lessons above and below."""
    text = text.replace("</head>", f"{STYLE}</head>", 1)
    text = re.sub(r"(<body\b[^>]*>)", lambda body: f"{body[1]}\n{around}", text, count=1)
    before, end, after = text.rpartition("</body>")
    return f"{before}{around}{end}{after}"


def _linked(text: str, root: Path, source: Path, names: Mapping[str, str]) -> str:
    """The page with its links turned to pages, or to files of the repository around build/.

    Raises:
        BuildError: a link or a picture leads nowhere.
    """
    anchors = {anchor.lower(): anchor for anchor in ANCHOR.findall(text)}

    def turned(link: re.Match[str]) -> str:
        target = html.unescape(link[2])
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            return link[0]
        if not parts.path:  # GitHub's anchors are in lower case, nbconvert's as the heading is
            if (anchor := anchors.get(unquote(parts.fragment).lower())) is None:
                raise BuildError(f"{source}: no heading for the link to {target}")
            return f"{link[1]}#{html.escape(anchor)}{link[3]}"
        file = os.path.normpath(source.parent / unquote(parts.path))
        if file not in names and not (root / file).exists():
            raise BuildError(f"{source}: the link to {target} leads nowhere")
        rest = f"#{parts.fragment}" if parts.fragment else ""
        return f"{link[1]}{html.escape(names.get(file, f'../{file}') + rest)}{link[3]}"

    return LINK.sub(turned, PICTURE.sub(lambda picture: _inside(picture, root, source), text))


def _inside(picture: re.Match[str], root: Path, source: Path) -> str:
    """The picture's tag with the picture in it, where it is a file of the repository.

    Raises:
        BuildError: the picture is elsewhere, or not there.
    """
    address = html.unescape(picture[1])
    file = root / os.path.normpath(source.parent / unquote(address))
    if urlsplit(address).scheme or not file.is_relative_to(root) or not file.is_file():
        raise BuildError(f"{source}: the picture {address!r} stands outside the page")
    kind = mimetypes.guess_type(file.name)[0]
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return picture[0].replace(picture[1], f"data:{kind};base64,{data}")
