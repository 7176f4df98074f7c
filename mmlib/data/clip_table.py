"""The table that says what each clip of a folder is: its words, its label, its split and its group."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmlib.data.feature_set import SPLITS, FeatureError, listed

#: What counts as a recording where the table gives a clip's name without its ending.
ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".mpg", ".mpeg", ".wmv"),
    *(".wav", ".mp3", ".ogg", ".opus", ".flac", ".m4a", ".aac"),
)


def is_hidden(path: Path) -> bool:
    """Say whether a file, or a folder around it, is hidden or was left by a Mac's archiver.

    Args:
        path: from the data set's folder on; what stands before it does not count.
    """
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


class Clip(NamedTuple):
    """A row of the table; `path` is None where there is no folder of clips."""

    name: str
    path: Path | None
    text: str | None
    label: str
    split: str
    group: str


class ClipTable(NamedTuple):
    """The clips in the table's order, and which optional columns were not there."""

    clips: list[Clip]
    absent: tuple[str, ...]


def read_clip_table(path: str | Path, folder: str | Path | None = None) -> ClipTable:
    """Read a csv file of clips, in UTF-8 (with or without a byte order mark), with a header.

    Columns, in any order; others are ignored:

    - `id`: the clip's name. Without a column `file`, also where it is: `first` or `day1/first` is
      the recording `first.mp4` (or another ending) in the folder of clips.
    - `file`: the recording, in the folder of clips. May stand in place of `id`.
    - `label`: the class, as a word.
    - `text` (optional): what is said.
    - `split` (optional): train, valid or test; without it all are train.
    - `group` (optional): the speaker, video or dialogue; without it each clip is its own.

    Args:
        path: the table.
        folder: the folder of clips; not needed where only the texts are.

    Raises:
        FeatureError: the table cannot be read, or a row of it cannot be understood. A recording
            that is not there is no error here: it is found missing when it is read.
    """
    path = Path(path)
    header, rows = _rows(path)
    missing = [name for name in ("id or file", "label") if not set(name.split(" or ")) & {*header}]
    if missing:
        raise FeatureError(
            f"{path} has no column {listed(missing)}; its header is {listed(header) or 'empty'}."
        )
    name, file = ("id" if "id" in header else "file"), ("file" if "file" in header else "id")
    where = None if folder is None else _Folder(Path(folder))
    clips: dict[str, Clip] = {}
    for number, row in rows:
        for column in (name, file, "label", *(["split"] if "split" in header else [])):
            if not row[column]:
                raise FeatureError(f"{path}, line {number}: the column '{column}' is empty.")
        key, split = row[name], row.get("split", "train")
        if key in clips:
            raise FeatureError(f"{path}, line {number}: '{key}' stands in a line before, too.")
        if split not in SPLITS:
            raise FeatureError(
                f"{path}, line {number}: the split is '{split}', expected one of {listed(SPLITS)}."
            )
        place = None if where is None else where.find(row[file])
        clips[key] = Clip(key, place, row.get("text"), row["label"], split, row.get("group") or key)
    if not clips:
        raise FeatureError(f"{path} has a header but no rows.")
    absent = tuple(column for column in ("text", "split", "group") if column not in header)
    return ClipTable(list(clips.values()), absent)


def class_numbers(clips: Sequence[Clip], names: Sequence[str]) -> list[int]:
    """Turn the clips' labels into numbers, in the order of the given names and in no other (C-02).

    Raises:
        FeatureError: a label is not among the names, or a name is there twice.
    """
    words = sorted({clip.label for clip in clips})
    if not names or len(set(names)) < len(names):
        raise FeatureError(
            f"the class names are {listed(names) or 'not given'}, expected each once; the labels "
            f"are {listed(words)}, name them in the order that you want."
        )
    for clip in clips:
        if clip.label not in names:
            raise FeatureError(
                f"the label of '{clip.name}' is '{clip.label}' but the class names are "
                f"{listed(names)}; all labels are {listed(words)}."
            )
    return [list(names).index(clip.label) for clip in clips]


class _Folder:
    """Finds recordings by their name, with or without the ending."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FeatureError(f"{folder} is not a folder, expected one with the clips.")
        self.folder = folder
        self.without_ending: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in ENDINGS:
                name = path.relative_to(folder).as_posix()[: -len(path.suffix)]
                self.without_ending.setdefault(name, []).append(path)

    def find(self, name: str) -> Path:
        """The place of a recording; where there is none, the place where it should be."""
        found = self.without_ending.get(name, [])
        if len(found) > 1 and not (self.folder / name).is_file():
            raise FeatureError(
                f"the clip '{name}' may be {listed([path.name for path in found])}; say which in a "
                "column 'file'."
            )
        return self.folder / name if (self.folder / name).is_file() or not found else found[0]


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read header and rows, and refuse a row that has not the header's number of cells."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [cell.strip().lower() for cell in next(reader, [])]
            lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except UnicodeDecodeError:
        raise FeatureError(f"{path} is not UTF-8; save it again as 'CSV UTF-8'.") from None
    except csv.Error as error:
        raise FeatureError(f"{path} cannot be read as a csv file ({error}).") from None
    except OSError as error:
        raise FeatureError(f"{path} cannot be read ({error.strerror or error}).") from None
    if len(set(header)) < len(header):
        raise FeatureError(f"{path} names a column twice: {listed(header)}.")
    for number, cells in lines:
        if len(cells) != len(header):
            raise FeatureError(
                f"{path}, line {number}: {len(cells)} cells but the header has {len(header)}; put a "
                'text that has commas in it into quotes, "like, this".'
            )
    return header, [
        (number, dict(zip(header, map(str.strip, cells), strict=True))) for number, cells in lines
    ]
