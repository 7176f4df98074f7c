"""Unpack a zip that nobody vouches for: nothing is written outside the folder it is meant for."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mmlib.data.download.transfer import DownloadError

Members = dict[str, list[int]]  # name -> [size, CRC-32]

# Recordings hardly shrink; an archive that grows a hundredfold is no archive of recordings.
_FREE_BYTES = 256 * 2**20
_MOST_EXPANSION = 100
_NOT_DATA = ("__MACOSX", ".DS_Store", "Thumbs.db")


def unpack(
    archive: Path, folder: Path, *, progress: Callable[[int], None] = lambda size: None
) -> Members:
    """Unpack an archive into a folder, each file written whole or not at all.

    The whole directory of the archive is judged before the first file is written.

    Returns:
        Size and CRC-32 of each file, by its name below `folder`; `damaged` takes it.

    Raises:
        DownloadError: it is no zip, is damaged, leads out of the folder, or would grow too far.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.is_dir() and _is_data(info)]
            for info in members:
                _refuse(archive, folder, info)
            total = sum(info.file_size for info in members)
            if total > max(_FREE_BYTES, _MOST_EXPANSION * archive.stat().st_size):
                raise DownloadError(
                    f"{archive.name} would unpack to {total:,} bytes from "
                    f"{archive.stat().st_size:,}, which no recordings do; nothing was unpacked."
                )
            for info in members:
                _write(opened, info, folder / info.filename)
                progress(info.file_size)
            return {info.filename: [info.file_size, info.CRC] for info in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DownloadError(f"{archive.name} is no whole zip ({error}).") from None


def damaged(folder: Path, members: Members) -> list[str]:
    """Name the files of an archive that are missing or not what was unpacked."""
    return [name for name, known in members.items() if not _is_whole(folder / name, *known)]


def _is_whole(path: Path, size: int, crc: int) -> bool:
    if not path.is_file() or path.stat().st_size != size:
        return False
    found = 0
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            found = zlib.crc32(piece, found)
    return found == crc


def _is_data(info: zipfile.ZipInfo) -> bool:
    return not any(part in _NOT_DATA for part in PurePosixPath(info.filename).parts)


def _refuse(archive: Path, folder: Path, info: zipfile.ZipInfo) -> None:
    """Refuse a member that would be written elsewhere, or is no plain file."""
    name = info.filename
    path = PurePosixPath(name)
    # A drive letter or a backslash leads out on Windows only, and stands in no honest name.
    leads_out = path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0")
    if leads_out or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise DownloadError(
            f"{archive.name} holds '{name}', which leads out of {folder}; nothing was unpacked."
        )
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DownloadError(f"{archive.name} holds the link '{name}'; nothing was unpacked.")


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        with opened.open(info) as source, open(part, "wb") as target:
            shutil.copyfileobj(source, target, 2**20)  # zipfile compares the CRC at the end
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
