"""What is noted beside a data set: where each file came from, and by what it was verified."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from mmlib.data.download.sources import RemoteFile, Source
from mmlib.data.download.transfer import DownloadError
from mmlib.data.download.unpacking import Members
from mmlib.data.whole_file import whole_file

NAME = "downloads.json"


class Notes:
    """The file `downloads.json` of a folder: licence and citation, and a note for each file.

    Raises:
        DownloadError: it is damaged, or belongs to another data set.
    """

    def __init__(self, folder: Path, source: Source) -> None:
        """Read what earlier runs have noted in this folder."""
        self.path, self.lock = folder / NAME, threading.Lock()
        noted = self._read()
        if noted.get("dataset", source.name) != source.name:
            raise DownloadError(
                f"{folder} holds {noted['dataset']}; give another folder for {source.name}."
            )
        terms = {"title": source.title, "home": source.home, "licence": source.licence}
        self.header = {"dataset": source.name, **terms, "citation": source.citation}
        self.files: dict[str, dict[str, Any]] = noted.get("files", {})

    def published(self) -> dict[str, RemoteFile]:
        """Give the files whose published checksum an earlier run has read."""
        return {
            name: RemoteFile(name, note["url"], note["checksum"], note["size"])
            for name, note in self.files.items()
            if note.get("published") and note["size"] is not None
        }

    def first_use(self, name: str) -> tuple[str | None, int | None]:
        """Give checksum and size that a file had when it first came."""
        note = self.files.get(name, {})
        return note.get("checksum"), note.get("size")

    def forget_first_use(self, name: str) -> None:
        """Forget a first download that turned out to be of no use: the next may be another."""
        with self.lock:
            if not self.files.get(name, {}).get("published", True):
                del self.files[name]

    def members(self, file: RemoteFile) -> Members | None:
        """Give what was unpacked from this very archive; None where nothing was."""
        note = self.files.get(file.name, {})
        same = file.checksum is not None and note.get("checksum") == file.checksum
        return note.get("members") if same else None

    def note(self, file: RemoteFile, **more: Any) -> None:
        """Note a file; what was known of another content of that name is forgotten."""
        with self.lock:
            note = self.files.setdefault(file.name, {})
            if note.get("checksum") != file.checksum:
                note.clear()
            note |= {"url": file.url, "checksum": file.checksum, "size": file.size} | more

    def save(self) -> None:
        """Write the file; what stood there is replaced only when the new one is whole."""
        with self.lock, whole_file(self.path) as part:
            text = json.dumps({**self.header, "files": self.files}, indent=1, sort_keys=True)
            part.write_text(text, "utf-8")

    def _read(self) -> dict[str, Any]:
        try:
            noted = json.loads(self.path.read_text("utf-8")) if self.path.is_file() else {}
            for note in noted.get("files", {}).values():
                whole = all(len(known) == 2 for known in note.get("members", {}).values())
                if not whole or not {"url", "checksum", "size"} <= note.keys():
                    raise ValueError
            return noted
        except (AttributeError, TypeError, ValueError):
            raise DownloadError(
                f"{self.path} is damaged; delete it, and what is here is verified or fetched anew."
            ) from None
