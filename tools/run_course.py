"""Runs every lesson without a browser, and leaves in build/ what can be shown or handed out.

build/notebooks/ gets the executed notebooks, build/ an HTML page of each and an index, and
build/timings.json the measured seconds, from which tools/timings.py writes the README's table.
The exit code is 1 if a lesson fails or runs over its budget.

With `--clock FILE` nothing is run: the pages are those of the stored notebooks, and the seconds are
those that tools/lesson_clock.py took while nbval ran them, with the answers and without. The gate
does this, where nbval has run every lesson and compared what it put out.
"""

import argparse
import copy
import html
import json
import sys
from pathlib import Path

import nbconvert
import nbformat
from builder import editions, execute, lessons
from builder.cells import BuildError, Lesson
from builder.formulas import with_mathml
from builder.read import read_lesson
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
INDEX = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>The lessons</title>
<style>body {{ font-family: sans-serif; max-width: 40em; margin: 2em auto }} td {{ padding: .3em 1em }}</style></head>
<body><h1>The lessons</h1>
<table>
<tr><th>lesson</th><th>minutes</th><th>measured seconds</th></tr>
{rows}
</table></body></html>
"""


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the lessons; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", nargs="*", metavar="NN", help="lessons' numbers; all if none")
    parser.add_argument("--slack", type=float, default=1.0, help="multiplies the time budgets")
    parser.add_argument(
        "--clock", metavar="FILE", type=Path, help="run nothing, take nbval's times"
    )
    asked = parser.parse_args(arguments)
    try:
        course = [read_lesson(path) for path in lessons.sources(root, asked.numbers)]
    except BuildError as error:
        parser.error(str(error))
    timings = root / "build" / "timings.json"
    seconds = json.loads(timings.read_text()) if timings.exists() else {}
    failed = 0
    for place, lesson in enumerate(course, 1):
        print(f"[{place}/{len(course)}] {lesson.stem} ...", end=" ", flush=True)
        try:
            if asked.clock is None:
                took = _run(lesson, root, asked.slack)
            else:
                took = _run_by_nbval(lesson, root, asked.clock)
            seconds[lesson.number] = round(took, 1)
        except (BuildError, OSError) as error:
            print(f"FAILED\n{error}")
            failed += 1
            continue
        limit = lessons.budget(lesson.number) * asked.slack
        over = seconds[lesson.number] > limit
        failed += over
        print(f"{seconds[lesson.number]:.1f} s" + f", OVER its budget of {limit:.0f} s" * over)
    if asked.clock is None:  # the README's table is of lessons that ran alone
        editions.write(timings, json.dumps(dict(sorted(seconds.items())), indent=1) + "\n")
    _write_index(root, seconds)
    print(f"pages: {(root / 'build' / 'index.html').relative_to(root)}")
    return 1 if failed else 0


def _run(lesson: Lesson, root: Path, slack: float) -> float:
    name = f"{lesson.stem}.ipynb"
    notebook = nbformat.read(root / editions.GUIDED / name, as_version=4)
    folder = root / editions.GUIDED
    seconds = execute.run(notebook, folder, cell_seconds=execute.CELL_SECONDS * slack)
    editions.write(root / "build" / "notebooks" / name, editions.as_text(notebook))
    _write_page(lesson, notebook, root)
    return seconds


def _run_by_nbval(lesson: Lesson, root: Path, clock: Path) -> float:
    """The longer of the times of the lesson's two executed editions; its page is made of the stored one.

    Raises:
        BuildError: nbval has not run one of them.
    """
    seconds = json.loads(clock.read_text(encoding="utf-8"))
    names = [f"{edition}/{lesson.stem}.ipynb" for edition in (editions.GUIDED, editions.SOLUTIONS)]
    if missing := [name for name in names if name not in seconds]:
        raise BuildError(f"nbval has not run {' and '.join(missing)}: {clock} has no time of it")
    _write_page(lesson, nbformat.read(root / names[0], as_version=4), root)
    return max(seconds[name] for name in names)


def _write_page(lesson: Lesson, notebook: NotebookNode, root: Path) -> None:
    title = f"{lesson.number} {lesson.title}"
    editions.write(root / "build" / f"{lesson.stem}.html", page(notebook, title))


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
    return str(text)


def _describe(output: NotebookNode) -> None:
    """Turn a picture into an `<img>` with its alt text, which nbconvert would drop."""
    alt = output.get("metadata", {}).get("image/png", {}).get("alt")
    if alt:
        source = "data:image/png;base64," + output.data.pop("image/png").replace("\n", "")
        output.data["text/html"] = f'<img alt="{html.escape(alt)}" src="{source}">'


def _write_index(root: Path, seconds: dict[str, float]) -> None:
    rows = []
    for lesson in map(read_lesson, lessons.sources(root)):
        if lesson.number not in seconds:
            continue
        link = f'<a href="{lesson.stem}.html">{lesson.number} {html.escape(lesson.title)}</a>'
        cells = (link, str(lesson.minutes), f"{seconds[lesson.number]:.1f}")
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    editions.write(root / "build" / "index.html", INDEX.format(rows="\n".join(rows)))


if __name__ == "__main__":
    sys.exit(main())
