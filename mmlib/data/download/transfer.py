"""A transfer that goes on where it stopped: the downloader that pooch is given."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmlib.data.extras import load_extra

TRIES = 5
_CHUNK = 2**14  # where a transfer breaks off, a piece that is not whole is lost
_TIMEOUT = (15.0, 60.0)  # seconds until connected, and between two pieces


class DownloadError(ValueError):
    """A file that cannot be had; the message is one sentence. Others may still be had."""


class UnreachableError(DownloadError):
    """A server that does not answer, so that no other file can be had from it either."""


class _TryAgain(Exception):
    """What came is of no use, but the next try may be."""


class ResumingDownloader:
    """Fetch an address into a `.part` file, from its end on where there is one, then hand it over.

    Pooch calls this with the address and the place of its temporary file, and verifies the checksum
    afterwards. A transfer that breaks off is taken up again by an HTTP Range request, in the same
    run or in a later one; a server that ignores Range sends the whole again, and is let. Only tries
    that bring nothing new count, so that a slow line with many breaks arrives in the end.

    Args:
        part: where the unfinished file waits.
        size: how many bytes the file has, where that is known.
        session: a `requests.Session`.
        progress: called with the number of bytes that are here, whenever it changes.
        stop: an event that breaks the transfer off.
        pause: seconds before the second try; twice as many before each further one.

    Raises:
        DownloadError: the server refuses, or has a file of another size.
        UnreachableError: no answer, however often asked.
        KeyboardInterrupt: `stop` was set.
    """

    def __init__(
        self,
        part: Path,
        *,
        session: Any,
        size: int | None = None,
        progress: Callable[[int], None] = lambda position: None,
        stop: threading.Event | None = None,
        pause: float = 1.0,
    ) -> None:
        """Prepare a transfer; nothing is asked for yet."""
        self.part, self.session, self.size = part, session, size
        self.progress, self.stop, self.pause = progress, stop or threading.Event(), pause
        self.resumed = False  # whether bytes of an earlier transfer are in the file

    def __call__(
        self, url: str, output_file: Any, pooch: Any = None, check_only: bool = False
    ) -> None:
        """Fetch `url` into `output_file`; the arguments are those that pooch passes."""
        requests = load_extra("requests", extra="data", purpose="downloading")
        failed, furthest = 0, self._here()
        while True:
            try:
                self._attempt(url)
                break
            except (requests.ConnectionError, requests.Timeout, _TryAgain) as error:
                reason = reason_of(error)
            except requests.exceptions.ChunkedEncodingError:
                reason = "the transfer broke off"
            except requests.RequestException as error:
                raise DownloadError(f"{url} cannot be fetched ({reason_of(error)}).") from None
            failed = 0 if self._here() > furthest else failed + 1
            furthest = max(furthest, self._here())
            if failed >= TRIES:
                raise UnreachableError(
                    f"{url} cannot be reached ({reason}; {TRIES} tries); is there a network? The same "
                    "command goes on where this one stopped."
                )
            if self.stop.wait(min(self.pause * 2**failed, 30.0)):
                raise KeyboardInterrupt
        os.replace(self.part, output_file)

    def _attempt(self, url: str) -> None:
        """Ask once for what is missing, and write down what comes."""
        start = self._here()
        if self.size is not None and start > self.size:
            self._drop()
            start = 0
        if start and start == self.size:
            self.resumed = True
            self.progress(start)
            return
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with self.session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            total = self._judge(url, answer, start)
            if answer.status_code == 416:  # all of it is here already
                return
            if answer.status_code != 206:
                start = 0
            self.resumed |= start > 0
            with open(self.part, "ab" if start else "wb") as file:
                position = start
                self.progress(position)
                for piece in answer.iter_content(_CHUNK):
                    file.write(piece)
                    position += len(piece)
                    self.progress(position)
                    if self.stop.is_set():
                        raise KeyboardInterrupt
        if total is not None and position < total:
            raise _TryAgain(f"{position:,} of {total:,} bytes came")
        if total is not None and position > total:
            self._drop()
            raise _TryAgain(f"{position:,} bytes came where {total:,} were announced")

    def _judge(self, url: str, answer: Any, start: int) -> int | None:
        """Refuse an answer that is of no use; give the size of the whole file, where it is said."""
        code = answer.status_code
        ranged = re.fullmatch(
            r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", "")
        )
        total = int(ranged[2]) if ranged and ranged[2] != "*" else None
        if code == 416 and total == start:
            self.resumed = True
            return total
        if code == 416 or (code == 206 and (ranged is None or ranged[1] != str(start))):
            self._drop()
            raise _TryAgain("the server and the unfinished file do not fit together")
        if code in (408, 425, 429) or code >= 500:
            wait = answer.headers.get("Retry-After", "")
            if wait.isdigit():
                self.stop.wait(min(int(wait), 60))
            raise _TryAgain(f"the server answers {code} {answer.reason}")
        if code not in (200, 206):
            raise DownloadError(f"{url} cannot be had: the server answers {code} {answer.reason}.")
        length = answer.headers.get("Content-Length", "")
        if code == 200:
            total = int(length) if length.isdigit() else None
        if total is not None and self.size is not None and total != self.size:
            raise DownloadError(
                f"{url} has {total:,} bytes, but {self.size:,} are published; it is another file."
            )
        return self.size if total is None else total

    def _here(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.resumed = False


def reason_of(error: BaseException) -> str:
    """Say in a few words what went wrong, without the layers of libraries around it."""
    text = str(error)
    inner = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    if inner:
        return inner[1].strip()
    return text.splitlines()[0][:100] if text else type(error).__name__
