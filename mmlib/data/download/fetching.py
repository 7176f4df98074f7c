"""From the list of a data set's files to verified recordings in a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mmlib.data.download.notes import Notes
from mmlib.data.download.sources import SOURCES, RemoteFile, Source
from mmlib.data.download.transfer import DownloadError, ResumingDownloader, UnreachableError
from mmlib.data.download.unpacking import damaged, unpack
from mmlib.data.extras import load_extra

_AT_ONCE = 4  # with small files, most of the time is waiting for the server
_HOPELESS = 5  # failures before a single success, after which no further file is asked for


@dataclass
class Downloaded:
    """What became of the files: their names, and for a failure its sentence."""

    fetched: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    first_use: list[str] = field(default_factory=list)  # those without a published checksum
    failures: dict[str, str] = field(default_factory=dict)


def download(
    dataset: str,
    folder: str | Path,
    *,
    parts: Sequence[str] | None = None,
    actors: Iterable[int] | None = None,
    mirror: str | None = None,
    keep_archives: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = lambda sentence: None,
    pause: float = 1.0,
) -> Downloaded:
    """Fetch a data set into a folder; the caller has agreed to its licence.

    What is there is verified and not fetched again: recordings by size and checksum, archives that
    lie in the folder (from a browser, say) by checksum. One bad file loses no other.

    Args:
        dataset: one of `SOURCES`.
        folder: where the recordings go; made where there is none.
        parts: some of the data set's parts; left out: its default.
        actors: left out: all.
        mirror: a server with the same paths as the publisher's.
        keep_archives: keep zips after they are unpacked.
        progress: show bars.
        say: called with each sentence worth reading before it goes on.
        pause: seconds before the second try of a broken transfer.

    Raises:
        DownloadError: an impossible wish, no list of files, too little room, or no server.
        NotInstalled: the extra `data` is missing.
    """
    source = SOURCES.get(dataset)
    if source is None:
        raise DownloadError(f"there is no data set '{dataset}'; there are {', '.join(SOURCES)}.")
    chosen = _choice(source, parts, actors)
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise DownloadError(
            f"the mirror is {mirror}, expected an address with http:// or https://."
        )
    pooch = load_extra("pooch", extra="data", purpose="downloading")
    requests = load_extra("requests", extra="data", purpose="downloading")
    pooch.get_logger().setLevel("ERROR")
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    notes = Notes(root, source)
    with requests.Session() as session:
        say(f"Asking {mirror or source.home} for the list of files and their checksums.")
        known = notes.published()
        files = source.list_files(
            *chosen, mirror=mirror, session=session, known=known, progress=progress
        )
        if not files:
            raise DownloadError(f"{dataset} has no files of these parts and actors.")
        run = _Run(root, notes, session, pooch, keep_archives, progress, pause)
        return run.all(files, say)


def _choice(
    source: Source, parts: Sequence[str] | None, actors: Iterable[int] | None
) -> tuple[list[str], list[int]]:
    """Take the wanted parts and actors, each once and in order."""
    wanted = list(dict.fromkeys([source.default] if parts is None else parts))
    strange = [part for part in wanted if part not in source.parts]
    if strange or not wanted:
        nothing = f"nothing of {source.name} is named"
        what = f"{source.name} has no part '{', '.join(strange)}'" if strange else nothing
        raise DownloadError(f"{what}; its parts are {', '.join(source.parts)}.")
    if not source.actors and actors is not None:
        raise DownloadError(f"{source.name} is not divided by actors; leave them out.")
    numbers = list(source.actors) if actors is None else sorted(set(actors))
    unknown = [number for number in numbers if number not in source.actors]
    if unknown or (source.actors and not numbers):
        nothing = f"nothing of {source.name} is named"
        what = f"{source.name} has no actor {unknown[0]}" if unknown else nothing
        raise DownloadError(
            f"{what}; its actors are {source.actors.start} to {source.actors.stop - 1}."
        )
    return wanted, numbers


class _Run:
    """One download into one folder."""

    def __init__(
        self,
        root: Path,
        notes: Notes,
        session: Any,
        pooch: Any,
        keep: bool,
        progress: bool,
        pause: float,
    ) -> None:
        self.root, self.staging, self.notes = root, root / ".download", notes
        self.session, self.pooch, self.keep = session, pooch, keep
        self.progress, self.pause = progress, pause
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.result = Downloaded()

    def all(self, files: list[RemoteFile], say: Callable[[str], None]) -> Downloaded:
        """Verify what is there, fetch what is not, unpack what is an archive."""
        files = [self._with_first_use(file) for file in files]
        self.notes.save()
        missing = []
        with self._bar("checking", len(files), unit="file", unit_scale=False) as bar:
            for file in files:
                if self._is_there(file):
                    self.result.there.append(file.name)
                else:
                    missing.append(file)
                bar.update()
        self._refuse_full_disk(missing)
        sizes = [file.size for file in missing]
        if missing:
            known = f", {_bytes(sum(size or 0 for size in sizes))}" if all(sizes) else ""
            say(
                f"Fetching {len(missing)} files{known}; {len(self.result.there)} are there already."
            )
        unsure = [file.name for file in missing if file.checksum is None]
        if unsure:
            say(
                f"For {len(unsure)} files, such as {unsure[0]}, no checksum is published; that of "
                "this first download is noted, and only later ones can be held against it."
            )
        self.staging.mkdir(exist_ok=True)
        try:
            self._fetch_all(missing)
        finally:
            self.notes.save()
            self._tidy()
        return self.result

    def _fetch_all(self, files: list[RemoteFile]) -> None:
        """Fetch the files, several small ones at once; stop where there is no hope."""
        at_once = 1 if any(file.is_archive for file in files) else _AT_ONCE
        total = sum(file.size or 0 for file in files) or None
        with self._bar("fetching", total) as bar, ThreadPoolExecutor(at_once) as pool:
            tasks = {pool.submit(self._fetch, file, bar): file for file in files}
            try:
                for task in as_completed(tasks):
                    name = tasks[task].name
                    try:
                        task.result()
                        self.result.fetched.append(name)
                    except UnreachableError:
                        raise
                    except DownloadError as error:
                        self.result.failures[name] = str(error)
                    if len(self.result.failures) >= _HOPELESS and not self.result.fetched:
                        raise DownloadError(
                            f"the first {_HOPELESS} files all failed, so no more were asked for; the "
                            f"last: {self.result.failures[name]}"
                        )
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, file: RemoteFile, bar: tqdm) -> None:
        """Fetch one file, verify it, and put it, or what is in it, where it belongs."""
        if self.stop.is_set():
            raise KeyboardInterrupt
        place = self.root / file.name
        whole = self.staging / file.name.replace("/", "_")
        if file.is_archive and self._is_right(place, file):
            whole = place  # somebody has put it here; it stays
        elif not self._is_right(whole, file):
            self._transfer(file, whole, bar)
        if file.checksum is None:
            file = self._note_first(file, whole)
        if not file.is_archive:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(whole, place)
            return
        bar.set_postfix_str(f"unpacking {file.name}")
        try:
            members = unpack(whole, self.root)
        except DownloadError:
            if whole != place:
                whole.unlink()
            self.notes.forget_first_use(file.name)
            raise
        finally:
            bar.set_postfix_str("")
        self.notes.note(file, members=members)
        self.notes.save()
        if whole != place and self.keep:
            os.replace(whole, place)
        elif whole != place:
            whole.unlink()

    def _transfer(self, file: RemoteFile, whole: Path, bar: tqdm) -> None:
        """Have pooch fetch and verify a file; once more from its start where a resumed one is wrong."""
        part = whole.with_name(f"{whole.name}.part")
        if file.checksum is None:  # nothing could tell whether old and new bytes fit together
            part.unlink(missing_ok=True)
        if _of_git(file):  # else pooch would take what lies there, which is not right
            whole.unlink(missing_ok=True)
        last = 0

        def show(position: int) -> None:
            nonlocal last
            with self.lock:
                bar.update(position - last)
            last = position

        while True:
            loader = ResumingDownloader(
                part,
                session=self.session,
                size=file.size,
                progress=show,
                stop=self.stop,
                pause=self.pause,
            )
            try:
                self.pooch.retrieve(
                    file.url,
                    known_hash=None if _of_git(file) else file.checksum,
                    fname=whole.name,
                    path=self.staging,
                    downloader=loader,
                )
                if _of_git(file) and not self._is_right(whole, file):
                    whole.unlink()
                    raise ValueError
                return
            except DownloadError:
                raise
            except ValueError:
                show(0)
                if not loader.resumed:
                    raise DownloadError(
                        f"what came as {file.name} does not have the checksum it must have "
                        f"({file.checksum}), so it was not kept."
                    ) from None

    def _is_there(self, file: RemoteFile) -> bool:
        """Say whether a file, or everything that was unpacked from it, is here and whole."""
        if not file.is_archive:
            return self._is_right(self.root / file.name, file)
        members = self.notes.members(file)
        return members is not None and not damaged(self.root, members)

    def _is_right(self, path: Path, file: RemoteFile) -> bool:
        """Say whether a file is here with the size and the checksum that it must have."""
        if file.checksum is None or not path.is_file():
            return False
        if file.size is not None and path.stat().st_size != file.size:
            return False
        kind, _, digest = file.checksum.partition(":")
        if _of_git(file):
            content = path.read_bytes()
            return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == digest
        return self.pooch.file_hash(str(path), alg=kind) == digest

    def _with_first_use(self, file: RemoteFile) -> RemoteFile:
        """Note a published checksum; where there is none, take that of the first download."""
        if file.checksum is not None:
            self.notes.note(file, published=True)
            return file
        self.result.first_use.append(file.name)
        checksum, size = self.notes.first_use(file.name)
        return replace(file, checksum=checksum, size=file.size or size)

    def _note_first(self, file: RemoteFile, whole: Path) -> RemoteFile:
        digest = self.pooch.file_hash(str(whole), alg="sha256")
        file = replace(file, checksum=f"sha256:{digest}", size=whole.stat().st_size)
        self.notes.note(file, published=False)
        return file

    def _refuse_full_disk(self, files: list[RemoteFile]) -> None:
        """Refuse a download that cannot end well; sizes that nobody publishes count as nothing."""
        waiting = sum(path.stat().st_size for path in self.staging.glob("*") if path.is_file())
        contents = sum(file.size or 0 for file in files)
        archives = [file.size or 0 for file in files if file.is_archive]
        # Recordings hardly shrink in a zip: its contents need its size again.
        beside = sum(archives) if self.keep else max(archives, default=0)
        free = shutil.disk_usage(self.root).free
        if contents + beside > free + waiting:
            raise DownloadError(
                f"this needs {_bytes(contents + beside)} in {self.root}, but {_bytes(free)} are free "
                "there; make room, or choose fewer --parts or --actors."
            )

    def _tidy(self) -> None:
        """Leave nothing behind but transfers that can go on."""
        for path in self.staging.glob("tmp*"):
            path.unlink(missing_ok=True)  # pooch's, empty, where it was killed
        for path in self.staging.glob("*.part"):
            if not path.stat().st_size:
                path.unlink()
        if not any(self.staging.iterdir()):
            self.staging.rmdir()

    def _bar(self, what: str, total: int | None, **how: Any) -> tqdm:
        settings: dict[str, Any] = {"unit": "B", "unit_scale": True} | how
        return tqdm(total=total, desc=what, disable=not self.progress, **settings)


def _of_git(file: RemoteFile) -> bool:
    """Say whether a file is known by git's own checksum, which pooch does not compute."""
    return (file.checksum or "").startswith("git:")


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
