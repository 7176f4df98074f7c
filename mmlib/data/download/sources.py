"""Where public data sets are, what one may do with them, and which files and checksums they have."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from mmlib.data.download.transfer import DownloadError, UnreachableError, reason_of
from mmlib.data.extras import load_extra

_AT_ONCE = 8
_TRIES = 4


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set, with checksum and size where they are published.

    A checksum is "md5:...", "sha256:...", or "git:...": what git calls the content by, which is the
    SHA-1 of its size and itself.
    """

    name: str
    url: str
    checksum: str | None = None
    size: int | None = None

    @property
    def is_archive(self) -> bool:
        """Say whether it is unpacked after it came."""
        return self.name.endswith(".zip")


Known = Mapping[str, RemoteFile]
Lister = Callable[[Sequence[str], Sequence[int], str | None, Any, Known, bool], list[RemoteFile]]


@dataclass(frozen=True)
class Source:
    """A public data set: its terms, its parts, and how to list its files."""

    name: str
    title: str
    home: str
    licence: str
    licence_url: str
    terms: str
    citation: str
    parts: dict[str, str]  # name -> what it is
    default: str
    actors: range  # empty where nothing is divided by actors
    lister: Lister
    otherwise: str  # where else to look when the publisher fails

    @property
    def notice(self) -> str:
        """What one has to know before anything is fetched."""
        return (
            f"{self.title}\n  home     {self.home}\n  licence  {self.licence} ({self.licence_url})\n"
            f"  terms    {self.terms}\n  cite     {self.citation}"
        )

    def list_files(
        self,
        parts: Sequence[str],
        actors: Iterable[int],
        *,
        mirror: str | None,
        session: Any,
        known: Known,
        progress: bool = False,
    ) -> list[RemoteFile]:
        """List the files of some parts and actors; names and checksums come from the publisher.

        Args:
            parts: some of `self.parts`.
            actors: some of `self.actors`.
            mirror: a server with the same paths as the publisher's, asked in their place.
            session: a `requests.Session`.
            known: files whose published checksum an earlier run has read, by name.
            progress: show a bar where the list is long in coming.

        Raises:
            DownloadError: the list cannot be had, or is no list.
        """
        base = mirror.rstrip("/") if mirror else None
        return self.lister(parts, list(actors), base, session, known, progress)


# The record's page shows this value for this file, and many have found it after downloading. It holds
# where the record cannot be asked; where the record says otherwise, the download is refused.
_NOTED = {
    "Audio_Speech_Actors_01-24.zip": ("md5:bc696df654c87fed845eb13823edef8a", 208_468_073),
}
_RECORD = "1188976"


def _ravdess(
    parts: Sequence[str],
    actors: Sequence[int],
    base: str | None,
    session: Any,
    known: Known,
    progress: bool,
) -> list[RemoteFile]:
    """List archives by name, with the md5 and size that Zenodo's record of the data set has."""
    base = base or "https://zenodo.org"
    names = []
    for part in parts:
        stream, kind = (word.capitalize() for word in part.split("-"))
        if stream == "Audio":
            names.append(f"Audio_{kind}_Actors_01-24.zip")
        else:  # actor 18 did not sing
            names += [
                f"Video_{kind}_Actor_{actor:02d}.zip"
                for actor in actors
                if not (kind == "Song" and actor == 18)
            ]
    published = _zenodo(f"{base}/api/records/{_RECORD}", session)
    files = []
    for name in names:
        checksum, size = published.get(name, (None, None))
        noted, length = _NOTED.get(name, (None, None))
        if noted and checksum and noted != checksum:
            raise DownloadError(
                f"{base} publishes {checksum} for {name}, but {noted} is known from the record's "
                "page; one of them is wrong, so nothing was fetched."
            )
        url = f"{base}/records/{_RECORD}/files/{name}?download=1"
        files.append(RemoteFile(name, url, checksum or noted, size or length))
    return files


def _zenodo(url: str, session: Any) -> dict[str, tuple[str | None, int | None]]:
    """Read checksum and size of each file from a record; nothing where there is no such record."""
    text = _fetch(url, session, missing="{}")
    try:
        entries = json.loads(text).get("files", [])
        found = {}
        for entry in entries:
            name = entry.get("key") or entry["filename"]  # as of 2018 to 2023, and since
            checksum, size = entry.get("checksum"), entry.get("size") or entry.get("filesize")
            if isinstance(checksum, str) and re.fullmatch("[0-9a-f]{32}", checksum):
                checksum = f"md5:{checksum}"
            good = isinstance(checksum, str) and re.fullmatch("md5:[0-9a-f]{32}", checksum)
            found[name] = (checksum if good else None, int(size) if size else None)
        return found
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DownloadError(f"{url} is no record of Zenodo's, so there are no checksums.") from None


_REPOSITORY = "CheyneyComputerScience/CREMA-D"
_FOLDERS = {"video": ("VideoFlash", ".flv"), "audio": ("AudioWAV", ".wav")}


def _cremad(
    parts: Sequence[str],
    actors: Sequence[int],
    base: str | None,
    session: Any,
    known: Known,
    progress: bool,
) -> list[RemoteFile]:
    """List recordings by the repository's tree; Git LFS keeps the SHA-256 and size of each.

    What git itself has of a recording is a pointer: three lines, with the checksum and the size of
    the content, which lies elsewhere.
    """
    api, raw, media = (
        (base, base, base)
        if base
        else (
            "https://api.github.com",
            "https://raw.githubusercontent.com",
            "https://media.githubusercontent.com",
        )
    )
    paths = sorted(entry["path"] for entry in _tree(api, _REPOSITORY, session))
    wanted = set(actors)
    names = []
    for part in parts:
        folder, ending = _FOLDERS[part]
        form = re.compile(rf"{folder}/(\d{{4}})_[A-Z]{{3}}_[A-Z]{{3}}_[A-Z]+{re.escape(ending)}")
        matches = [(form.fullmatch(path), path) for path in paths]
        names += [path for match, path in matches if match and int(match[1]) in wanted]

    def pointer(name: str) -> RemoteFile:
        if name in known:
            return known[name]
        text = _fetch(f"{raw}/{_REPOSITORY}/master/{name}", session)
        oid = re.search(r"^oid (sha256:[0-9a-f]{64})$", text, re.MULTILINE)
        size = re.search(r"^size (\d+)$", text, re.MULTILINE)
        if not oid or not size:
            raise DownloadError(f"{name} has no Git LFS pointer in {_REPOSITORY}.")
        url = f"{media}/media/{_REPOSITORY}/master/{name}"
        return RemoteFile(name, url, oid[1], int(size[1]))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            pointers = pool.map(pointer, names)
            bar = tqdm(pointers, "checksums", len(names), unit="file", disable=not progress)
            return list(bar)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_MELD = "declare-lab/MELD"


def _meld(
    parts: Sequence[str],
    actors: Sequence[int],
    base: str | None,
    session: Any,
    known: Known,
    progress: bool,
) -> list[RemoteFile]:
    """List the csv files, with the checksum by which git itself knows each, and its size."""
    api, raw = (
        (base, base) if base else ("https://api.github.com", "https://raw.githubusercontent.com")
    )
    listed = {entry["path"]: entry for entry in _tree(api, _MELD, session)}
    files = []
    for split in ("train", "dev", "test"):
        name = f"{split}_sent_emo.csv"
        entry = listed.get(f"data/MELD/{name}", {})
        sha, size = str(entry.get("sha")), entry.get("size")
        if not re.fullmatch("[0-9a-f]{40}", sha) or not isinstance(size, int):
            raise DownloadError(f"{_MELD} has no data/MELD/{name} any more.")
        files.append(RemoteFile(name, f"{raw}/{_MELD}/master/data/MELD/{name}", f"git:{sha}", size))
    return files


def _tree(api: str, repository: str, session: Any) -> list[dict[str, Any]]:
    """List the files of a repository on GitHub."""
    tree = f"{api}/repos/{repository}/git/trees/master?recursive=1"
    try:
        listing = json.loads(_fetch(tree, session))
        entries = [{**entry, "path": str(entry["path"])} for entry in listing["tree"]]
        if listing.get("truncated"):
            raise DownloadError(f"{tree} is cut short, so files would be missing.")
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError):
        raise DownloadError(f"{tree} is no listing of a repository.") from None
    return entries


def _fetch(url: str, session: Any, *, missing: str | None = None) -> str:
    """Fetch a small text, in several tries; `missing` stands for what is not there (404)."""
    requests = load_extra("requests", extra="data", purpose="downloading")
    reason = ""
    for failed in range(_TRIES):
        try:
            answer = session.get(url, timeout=(15.0, 60.0))
        except requests.RequestException as error:
            reason = reason_of(error)
            continue
        if answer.status_code == 404 and missing is not None:
            return missing
        if answer.status_code == 200:
            return answer.text
        reason = f"the server answers {answer.status_code} {answer.reason}"
        if answer.status_code < 500 and answer.status_code != 429:
            raise DownloadError(f"{url} cannot be had: {reason}.")
        wait = answer.headers.get("Retry-After", "")
        time.sleep(min(int(wait), 60) if wait.isdigit() else 2**failed)
    raise UnreachableError(
        f"{url} cannot be reached ({reason}; {_TRIES} tries); is there a network?"
    )


SOURCES = {
    "ravdess": Source(
        name="ravdess",
        title="RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song",
        home="https://zenodo.org/records/1188976",
        licence="CC BY-NC-SA 4.0",
        licence_url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
        terms="name the authors; not for commercial use (they sell a licence for that); pass on what "
        "you make from it under the same licence only.",
        citation="Livingstone and Russo (2018), PLoS ONE 13(5): e0196391, "
        "https://doi.org/10.1371/journal.pone.0196391; data https://doi.org/10.5281/zenodo.1188976.",
        parts={
            "video-speech": "spoken, with picture and sound, and without sound (an archive an actor)",
            "audio-speech": "spoken, sound alone (one archive)",
            "video-song": "sung, with picture and sound, and without sound (an archive an actor)",
            "audio-song": "sung, sound alone (one archive)",
        },
        default="video-speech",
        actors=range(1, 25),
        lister=_ravdess,
        otherwise="archives that you fetch from the record's page with a browser, and put into the "
        "folder, are verified and unpacked by the same command.",
    ),
    "cremad": Source(
        name="cremad",
        title="CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset",
        home=f"https://github.com/{_REPOSITORY}",
        licence="Open Database License 1.0, contents under the Database Contents License 1.0",
        licence_url="https://opendatacommons.org/licenses/odbl/1-0/",
        terms="name the source; pass on a database that you make from it under the same licence, and "
        "without technical locks.",
        citation="Cao, Cooper, Keutmann, Gur, Nenkova and Verma (2014), IEEE Transactions on "
        "Affective Computing 5(4): 377-390, https://doi.org/10.1109/TAFFC.2014.2336244.",
        parts={
            "video": "picture and sound (VideoFlash, flv)",
            "audio": "sound alone (AudioWAV, wav)",
        },
        default="video",
        actors=range(1001, 1092),
        lister=_cremad,
        otherwise="when GitHub's budget for large files is used up, the authors' mirror "
        "https://gitlab.com/cs-cooper-lab/crema-d-mirror has the recordings, too.",
    ),
    "meld": Source(
        name="meld",
        title="MELD, the Multimodal EmotionLines Dataset: the annotations",
        home=f"https://github.com/{_MELD}",
        licence="GPL-3.0 (the annotations)",
        licence_url="https://www.gnu.org/licenses/gpl-3.0.html",
        terms="the recordings are from a TV series; do not pass them on. They are not fetched by this "
        "command: they are one archive of some 10 GB, for which no checksum is published, "
        "http://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz; unpack it, and the archives "
        "in it, beside the csv files.",
        citation="Poria, Hazarika, Majumder, Naik, Cambria and Mihalcea (2019), ACL, 527 to 536.",
        parts={"sentences": "sentences, speakers, emotions and time stamps (three csv files)"},
        default="sentences",
        actors=range(0),
        lister=_meld,
        otherwise="the three files lie in data/MELD of the repository and may be fetched by hand.",
    ),
}

#: Data sets that no command can fetch, and how one gets them.
ELSEWHERE = {
    "mosei": "CMU-MOSEI is given out by its authors' toolkit, "
    "https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK",
    "affwild2": "Aff-Wild2 is given out by its authors on a signed request, "
    "https://sites.google.com/view/dimitrioskollias/databases/aff-wild2",
}
