"""Where a command writes: refused before any work where nothing can be written, told afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path


def folder_to_write(option: str, folder: str | Path) -> Path:
    """Give a folder that need not be there yet; refuse, before any work, what could not become one."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise ValueError(
            f"{option} is {path}, which is a file; expected a folder, new or there already."
        )
    _try_writing(option, path, path)
    return path


def file_to_write(option: str, file: str | Path, *, suffix: str = "") -> Path:
    """Give a file that need not be there yet; refuse, before any work, what could not become one."""
    path = Path(file)
    if suffix and path.suffix != suffix:
        raise ValueError(f"{option} is {path}, expected a feature file such as features{suffix}.")
    if path.is_dir():
        raise ValueError(
            f"{option} is {path}, which is a folder; expected the name of a file to write."
        )
    _try_writing(option, path, path.parent)
    return path


def features_to_write(option: str, place: str | Path) -> Path:
    """Give a feature file (`.npz`) or, without an ending, a feature folder to be written.

    Refused, before any work, is what could not become one, and a folder that holds something else.
    """
    from mmlib.data.feature_folder import others_in, part_of

    path = Path(place)
    if path.suffix:
        return file_to_write(option, path, suffix=".npz")
    others = others_in(path) if path.is_dir() else []
    if path.is_file() or others:
        named = f" ({others[0]})" if others else ""
        raise ValueError(
            f"{option} is {path}, which holds something else than features{named}; expected a new "
            "folder, or a feature file such as features.npz."
        )
    _try_writing(option, path, part_of(path).parent)  # it grows beside its place
    return path


def told_place(place: Path) -> str:
    """Say where features were written, and how much they take."""
    files = list(place.iterdir()) if place.is_dir() else [place]
    size = sum(file.stat().st_size for file in files) / 1e6
    kind = "folder" if place.is_dir() else "file"
    return f"The feature {kind} is {place}, {size:,.1f} MB."


def _try_writing(option: str, path: Path, folder: Path) -> None:
    """Write a file without a name where `folder` is or would be made; it is gone at once."""
    while not folder.exists() and folder != folder.parent:  # a drive may be missing as a whole
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{option} is {path}, but nothing can be written into {folder} "
            f"({error.strerror or error}); choose another place."
        ) from None


def refuse_overwriting(out: Path, sources: Sequence[str]) -> None:
    """Refuse to write over what is read: raw data may have taken days to make."""
    for source in sources:
        if out.exists() and Path(source).exists() and out.samefile(source):
            raise ValueError(f"--out is {source} itself, which would be lost; choose another name.")
