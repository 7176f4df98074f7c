"""Reads a notebook that somebody handed in, whatever it is: as text, and without trusting any of it."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 64 * 2**20


class Unreadable(ValueError):
    """A file that is no notebook; the message is the reason that the instructor reads."""


@dataclass(frozen=True)
class Cell:
    """One cell: `code` or anything else, its text, and the id and tags it may have."""

    kind: str
    source: str
    id: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notebook:
    """The cells in their order, and the format that they were stored in."""

    cells: tuple[Cell, ...]
    version: str


def read_bytes(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        Unreadable: a link, a pipe, a file of no use or beyond all measure.
    """
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable("not an ordinary file (a link, a folder or a device)")
        if about.st_size > LARGEST:
            raise Unreadable(f"{about.st_size // 2**20} MB is too large: clear its outputs")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror or error}") from None


def parse(data: bytes) -> Notebook:
    """Read the bytes of a notebook of format 3 or 4.

    Raises:
        Unreadable: an empty file, not UTF-8, not JSON, or JSON but no notebook.
    """
    if not data.strip():
        raise Unreadable("an empty file")
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8 text, so no notebook") from None
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Unreadable(f"not valid JSON{where}: cut off, or not a notebook") from None
    if not isinstance(found, dict):
        raise Unreadable("JSON, but not a notebook")
    cells = found.get("cells")
    if cells is None and isinstance(sheets := found.get("worksheets"), list):
        cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in _list(sheet)]
    if not isinstance(cells, list):
        raise Unreadable("JSON, but not a notebook: it has no cells")
    version = f"{found.get('nbformat', '?')}.{found.get('nbformat_minor', '?')}"[:12]
    return Notebook(tuple(_cell(cell) for cell in cells if isinstance(cell, dict)), version)


def _list(sheet: dict[str, Any]) -> list[Any]:
    cells = sheet.get("cells")
    return cells if isinstance(cells, list) else []


def _cell(found: dict[str, Any]) -> Cell:
    text = found.get("source", found.get("input", ""))  # format 3 calls a code cell's text `input`
    if isinstance(text, list):
        text = "".join(line for line in text if isinstance(line, str))
    metadata = found.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    identity = found.get("id")
    return Cell(
        kind="code" if found.get("cell_type") == "code" else "text",
        # What cannot be encoded (a lone surrogate) cannot be compiled or written either.
        source=_clean(text) if isinstance(text, str) else "",
        id=identity if isinstance(identity, str) else "",
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
    )


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\0", "")
