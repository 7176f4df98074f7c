"""Where a command cannot write, it says so before it reads, measures or trains anything."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from mmlib.cli import main
from mmlib.cli.places import features_to_write, file_to_write, folder_to_write

#: What is to be read does not exist: a command that looked at it first would speak of that.
FOLDERS = {
    "train": ("train", "--system", "concat", "--data", "missing.npz", "--out"),
    "compare": ("compare", "--data", "missing.npz", "--out"),
    "crossvalidate": ("crossvalidate", "--data", "missing.npz", "--out"),
    "robustness": ("robustness", "--runs", "missing", "--out"),
    "benchmark": ("benchmark", "--out"),
    "convert": ("convert", "--data", "missing.npz", "--to", "folder", "--out"),
    "prepare": ("prepare", "--dataset", "meld", "--root", "missing", "--out"),
    "download": ("download", "--dataset", "ravdess", "--out"),
}
FILES = {
    "evaluate": ("evaluate", "--run", "missing", "--data", "missing.npz", "--json"),
    "benchmark": ("benchmark", "--json"),
    "extract": ("extract", "--table", "missing.csv", "--streams", "text", "--out"),
    "extract of an expert": ("extract", "--run", "missing", "--data", "missing.npz", "--out"),
    "join": ("join", "missing.npz", "gone.npz", "--out"),
    "split": ("split", "--data", "missing.npz", "--out"),
    "convert": ("convert", "--data", "missing", "--out"),
    "prepare": ("prepare", "--dataset", "mosei", "--root", "missing", "--out"),
    "prepare a table": ("prepare", "--dataset", "meld", "--root", "missing", "--out"),
}


def refusal(words, place: Path, capsys) -> str:
    assert main([*words, str(place)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize("words", FOLDERS.values(), ids=FOLDERS)
def test_a_file_in_the_folders_place_is_refused_first(words, tmp_path, capsys):
    there = tmp_path / "there"
    there.write_text("mine", encoding="utf-8")
    assert "--out is" in (said := refusal(words, there, capsys)) and str(there) in said
    assert "Not a directory" in refusal(words, there / "inner" / "deeper", capsys)
    assert there.read_text(encoding="utf-8") == "mine" and os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("words", FILES.values(), ids=FILES)
def test_a_folder_in_the_files_place_is_refused_first(words, tmp_path, capsys):
    suffix = ".csv" if words is FILES["prepare a table"] else ".npz"
    there = tmp_path / f"there{suffix}"
    there.mkdir()
    assert "which is a folder; expected" in refusal(words, there, capsys)
    (tmp_path / "file").touch()
    said = refusal(words, tmp_path / "file" / f"inner{suffix}", capsys)
    assert f"nothing can be written into {tmp_path / 'file'} (Not a directory)" in said
    assert sorted(os.listdir(tmp_path)) == ["file", there.name] and not os.listdir(there)


def test_what_can_be_written_is_left_untouched(tmp_path):
    new = tmp_path / "a" / "b"
    assert folder_to_write("--out", new) == new
    assert file_to_write("--out", new / "c.npz", suffix=".npz") == new / "c.npz"
    assert folder_to_write("--out", tmp_path) == tmp_path and not os.listdir(tmp_path)
    (tmp_path / "old.npz").write_bytes(b"old")
    assert file_to_write("--out", tmp_path / "old.npz").read_bytes() == b"old"
    with pytest.raises(ValueError, match=r"expected a feature file such as features\.npz"):
        file_to_write("--out", tmp_path / "old.txt", suffix=".npz")


def test_a_feature_folder_is_tried_beside_its_place_where_it_will_grow(tmp_path, monkeypatch):
    tried, real = [], tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: tried.append(dir) or real(dir=dir))
    there, linked = tmp_path / "there", tmp_path / "linked"
    there.mkdir()
    (tmp_path / "far" / "away").mkdir(parents=True)
    linked.symlink_to(tmp_path / "far" / "away")
    for place in (there, tmp_path / "new", linked, tmp_path / "no" / "new"):
        assert features_to_write("--out", place) == place
    assert tried == [tmp_path, tmp_path, tmp_path / "far", tmp_path]


def test_a_feature_folder_with_something_beside_its_arrays_is_refused_at_once(tmp_path):
    for name in ("audio.npy", ".DS_Store", "Thumbs.db"):  # the last two a look at the folder leaves
        (tmp_path / name).touch()
    assert features_to_write("--out", tmp_path) == tmp_path
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"something else than features \(notes\.txt\)"):
        features_to_write("--out", tmp_path)


def test_a_drive_that_is_not_there_is_refused_in_the_end(monkeypatch):
    looks = iter(range(20))
    monkeypatch.setattr(Path, "exists", lambda self: next(looks) < 0)

    def missing(dir: Path) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", missing)
    with pytest.raises(ValueError, match=r"--out is .*away, but nothing can be written into /"):
        folder_to_write("--out", Path("/far") / "away")


@pytest.mark.skipif(sys.platform != "linux", reason="no folder that nobody may write into")
def test_a_folder_that_nobody_may_write_into_is_refused():
    for there in ("/proc", "/proc/new", "/proc/new/deeper"):  # for root, too
        with pytest.raises(ValueError, match="--out is .* nothing can be written into /proc "):
            folder_to_write("--out", there)
    with pytest.raises(ValueError, match="--json is /proc/a.json"):
        file_to_write("--json", "/proc/a.json")
