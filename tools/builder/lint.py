"""What nbval lets through in a stored notebook, and what else a stored notebook may not hold.

nbval stays green where a cell was stored without having been run, where outputs were stripped,
where a tag is in upper case, where a marker comment has text behind it, where `raises-exception`
meets no exception, and where two pictures differ. Here each of these is a complaint.
"""

import json
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from builder.cells import TAGS, first_line
from builder.execute import WIDGET
from builder.rules import NBVAL_COMMENT, undescribed_images

OUTPUT_BYTES = 300_000
NOTEBOOK_BYTES = 2_000_000
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
CLOCK = re.compile(r"Wall time|CPU times|\d(?:it/s|s/it)\b|\d\d:\d\d<|per loop")
DECIMAL = re.compile(r"\d\.\d")
ROUNDED = re.compile(r"\b(show|check)\(")
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")


def complaints(notebook: NotebookNode, *, executed: bool) -> list[str]:
    """Everything that is wrong with a stored notebook, one sentence each.

    Args:
        notebook: as read from its file.
        executed: whether this edition is stored with outputs (not so the exercises).
    """
    found = [
        f"cell {index} ({first_line(cell.source)}): {text}"
        for index, cell in enumerate(notebook.cells)
        for text in _cell(cell, executed)
    ]
    if "widgets" in notebook.metadata:
        found.append("widget state is stored in the metadata: it changes from run to run")
    ids = [cell.get("id") for cell in notebook.cells]
    if len(set(ids)) < len(ids) or None in ids:
        found.append("cell ids are missing or not unique")
    if (size := len(json.dumps(notebook))) > NOTEBOOK_BYTES:
        found.append(f"the notebook takes {size:,} bytes, more than {NOTEBOOK_BYTES:,}")
    return found


def _cell(cell: NotebookNode, executed: bool) -> Iterator[str]:
    yield from _tags(cell)
    if cell.cell_type != "code":
        yield from undescribed_images(cell.source)
        return
    if not executed:
        if cell.outputs or cell.execution_count is not None:
            yield "an exercise notebook is stored without outputs"
        return
    if cell.execution_count is None:
        yield "stored without having been run, so that nbval compares nothing"
    for output in cell.outputs:
        yield from _output(output)
    if "nbval-check-output" in cell.metadata.get("tags", ()):
        yield from _compared(cell)


def _tags(cell: NotebookNode) -> Iterator[str]:
    for tag in cell.metadata.get("tags", ()):
        if tag == "raises-exception":
            yield (
                "raises-exception passes where nothing is raised; catch the exception and print "
                "its message in a compared cell"
            )
        elif tag != tag.lower():
            yield f"tag {tag!r} has upper case, which nbval ignores"
        elif tag not in TAGS:
            yield f"unknown tag {tag!r}"
    if cell.cell_type == "code" and (marker := NBVAL_COMMENT.search(cell.source)):
        yield f"{marker[0].strip()!r}: nbval ignores a marker comment with text behind it; use tags"


def _output(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"a stored error ({output.ename}); catch it and print its message"
        return
    if (size := len(json.dumps(output))) > OUTPUT_BYTES:
        yield f"an output takes {size:,} bytes, more than {OUTPUT_BYTES:,}"
    data = output.get("data", {})
    if WIDGET in data:
        yield "a stored widget does not live without its kernel; store its static twin"
    for kind in PICTURES:
        described = output.get("metadata", {}).get(kind, {})
        if kind in data and not str(described.get("alt", "")).strip():
            yield "a figure without alt text: show it by mmlib.plots.show_figure(figure, alt=...)"
    text = output.get("text", "") + data.get("text/plain", "")
    yield from undescribed_images(data.get("text/html", ""))
    if address := ADDRESS.search(text):
        yield f"the output holds a memory address ({address[0]}), another one in each run"
    if clock := CLOCK.search(text):
        yield f"the output holds a timing ({clock[0]!r}), another one in each run"
    if "\r" in text:
        yield "the output holds a progress bar; it belongs on stderr, which is not stored"


def _compared(cell: NotebookNode) -> Iterator[str]:
    text = "".join(
        out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in cell.outputs
    )
    if not text.strip():
        yield "its output is to be compared, but no text is stored"
    kinds = {kind for out in cell.outputs for kind in out.get("data", {})}
    if kinds & set(PICTURES):
        yield "its output is to be compared, but nbval compares no picture; print a number of it"
    if "text/html" in kinds:
        yield "its output is to be compared, and HTML differs from machine to machine; use show"
    if DECIMAL.search(text) and not ROUNDED.search(cell.source):
        yield "a compared decimal number goes through mmlib.checks.show, which rounds it safely"
