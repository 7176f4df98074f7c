"""The four pickles: what is read, and that nothing else is, or runs."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mmlib.cli import main
from mmlib.data import FeatureError, FeatureSet, load_features
from mmlib.data.pickles import FILES, LABELS, load_pickles, save_pickles
from mmlib.data.unpickle import plain, read_pickle

NAMES = ("negative", "neutral", "positive")
SIZES = {"train": 5, "valid": 2, "test": 3}
SHAPES = {"text": (6, 7), "audio": (11, 4), "vision": (3, 5)}


def content() -> dict[str, dict]:
    """Make what the four files hold, by file name, as lists of arrays and of labels."""
    draw = np.random.default_rng(0)
    files: dict[str, dict] = {
        FILES[stream]: {
            split: [draw.normal(size=shape).astype(np.float32) for _ in range(count)]
            for split, count in SIZES.items()
        }
        for stream, shape in SHAPES.items()
    }
    files[LABELS] = {split: [n % 3 for n in range(count)] for split, count in SIZES.items()}
    return files


def written(folder: Path, files: dict | None = None, protocol: int = 4) -> Path:
    for name, value in (files or content()).items():
        (folder / name).write_bytes(pickle.dumps(value, protocol=protocol))
    return folder


def renamed(data: bytes, core: str) -> bytes:
    """Rewrite a small pickle as another NumPy would have written it, where its modules were."""
    framed = data[2:3] == b"\x95"
    body = data[11:] if framed else data[2:]
    for other in ("numpy._core", "numpy.core"):
        for module in ("multiarray", "numeric"):
            old, new = f"{other}.{module}".encode(), f"{core}.{module}".encode()
            body = body.replace(b"c" + old + b"\n", b"c" + new + b"\n")
            body = body.replace(bytes([0x8C, len(old)]) + old, bytes([0x8C, len(new)]) + new)
    return data[:2] + (b"\x95" + struct.pack("<Q", len(body)) if framed else b"") + body


def test_the_four_files_become_one_feature_set(tmp_path):
    files = content()
    features = load_pickles(written(tmp_path, files), class_names=NAMES)
    assert features.split.tolist() == ["train"] * 5 + ["valid"] * 2 + ["test"] * 3
    assert features.lengths == {"text": 6, "audio": 11, "vision": 3}
    assert features.widths == {"text": 7, "audio": 4, "vision": 5}
    assert features.labels.tolist() == [0, 1, 2, 0, 1, 0, 1, 0, 1, 2]
    for stream, file in FILES.items():
        expected = np.stack([x for split in SIZES for x in files[file][split]])
        assert np.array_equal(features.inputs[stream].numpy(), expected)
    assert all(bool(mask.all()) for mask in features.masks.values())


def test_class_names_are_given_and_the_numbers_keep_their_place(tmp_path):
    written(tmp_path)
    for names in (NAMES, ("negative", "positive", "neutral")):
        assert load_pickles(tmp_path, class_names=names).class_names == names
    with pytest.raises(TypeError):
        load_pickles(tmp_path)


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols_2_to_5_of_both_numpys_are_read(tmp_path, protocol, core):
    value = {
        "c": np.arange(6, dtype=np.float64).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "bytes over 127": np.array([200, 255], dtype=np.uint8),
        "strided": np.arange(20, dtype=np.float32)[::3],
        "scalar": np.int64(7),
        "number": [1, 2.5, True, None, "text", (1, 2, 3)],
    }
    data = renamed(pickle.dumps(value, protocol=protocol), core)
    assert core.encode() + b"." in data, "the trial has the module that it is about"
    (tmp_path / "a.pkl").write_bytes(data)
    found = read_pickle(tmp_path / "a.pkl")
    assert found["number"] == value["number"]
    for name in ("c", "fortran", "big", "bytes over 127", "strided"):
        array = plain(found[name])
        assert array.dtype == value[name].dtype and np.array_equal(array, value[name]), name
    assert int(found["scalar"]) == 7


def test_whole_arrays_in_place_of_lists_and_numpy_numbers_as_labels_are_read(tmp_path):
    files = content()
    whole = {
        name: {split: np.stack(each) for split, each in value.items()}
        for name, value in files.items()
    }
    numbers = {split: [np.int32(x) for x in each] for split, each in files[LABELS].items()}
    expected = load_pickles(written(tmp_path, files), class_names=NAMES).fingerprint()
    for labels in (whole[LABELS], numbers, {s: x[:, None] for s, x in whole[LABELS].items()}):
        other = written(tmp_path, {**whole, LABELS: labels}, protocol=5)
        assert load_pickles(other, class_names=NAMES).fingerprint() == expected


def test_there_and_back_gives_the_same_features(tmp_path):
    first = load_pickles(written(tmp_path), class_names=NAMES)
    save_pickles(first, tmp_path / "again")
    second = load_pickles(tmp_path / "again", class_names=NAMES)
    assert second.fingerprint() == first.fingerprint()
    plainly = pickle.loads((tmp_path / "again" / FILES["vision"]).read_bytes())
    assert list(plainly) == ["train", "valid", "test"] and plainly["test"][2].shape == (3, 5)


# What a hostile file would do if it ran: leave a mark.
MARK = "it-ran"


class Call:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function, *arguments, state=None) -> None:
        self.parts = (function, arguments, *([] if state is None else [state]))

    def __reduce__(self):
        return self.parts


class Plain:
    """An instance of a class."""


def chain() -> bytes:
    """Reach os.system by getattr over builtins, as protocol 4 would write it."""
    return pickle.dumps(Call(getattr, Call(__import__, "os"), "mkdir"), protocol=4)


def claim(count: int) -> bytes:
    """Claim an array of so many numbers, with eight bytes behind it."""
    data = pickle.dumps({"train": np.arange(1.0)}, protocol=3)
    assert data.count(b"K\x01\x85") == 1
    return data.replace(b"K\x01\x85", b"J" + struct.pack("<i", count) + b"\x85")


HOSTILE = {
    "os.system by reduce": (pickle.dumps(Call(os.system, f"touch {MARK}")), "posix.system|nt.system"),
    "mkdir by reduce": (pickle.dumps(Call(os.mkdir, MARK), 2), "wants to import"),
    "builtins getattr chain": (chain(), "import '(__builtin__|builtins).getattr'"),
    "eval": (pickle.dumps(Call(eval, "1"), 2), "import '__builtin__.eval'"),
    "an instance of a class": (pickle.dumps(Plain(), 4), "other kind .opcode NEWOBJ|wants to import"),
    "an instance by INST": (b"\x80\x02(ios\nsystem\n.", "opcode INST"),
    "an object by OBJ": (b"\x80\x02(cos\nsystem\nX\x02\x00\x00\x00lso.", "import 'os.system'"),
    "a persistent id": (b"\x80\x02Pfile\n.", "opcode PERSID"),
    "an extension code": (b"\x80\x02\x82\x01.", "opcode EXT1"),
    "an out-of-band buffer": (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
    "a hidden name": (b"\x80\x04\x8c\x02osK\x01\x93.", "hides the name"),
    "numpy's own load": (b"\x80\x02cnumpy\nload\n.", "import 'numpy.load'"),
    "a dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.", "wants to import"),
    "a call of numpy.ndarray": (
        b"\x80\x02cnumpy\nndarray\nJ\x00\xca\x9a\x3b\x85R.", "calls numpy.ndarray"),
    "a changed function": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x04\x00\x00\x00nameK\x01sb.",
        "tries to change"),
    "an object array": (pickle.dumps({"train": np.array([{}, 1], dtype=object)}, 4), "Python objects"),
    "a structured array": (pickle.dumps(np.zeros(2, dtype="f4,i2"), 4), "dtype|structured"),
    "strings": (pickle.dumps({"train": np.array(["a"])}, 4), "expected numbers"),
    "a billion elements": (claim(10**9), "1,000,000,000 numbers .* brings 8 bytes"),
    "minus one element": (claim(-1), "impossible shape"),
    "a memo of four billion": (b"\x80\x02Nr\xff\xff\xff\xff.", "claims a memory of 4,294,967,295"),
    "a string of an exabyte": (b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"a.", "whole pickle"),
    "bytes of an exabyte": (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"a.", "whole pickle"),
    "a frame of an exabyte": (b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.", "whole pickle"),
    "truncated": (pickle.dumps({"train": np.zeros((5, 4))}, 4)[:-30], "not a whole pickle"),
    "without its end": (pickle.dumps([1, 2], 4)[:-1], "not a whole pickle"),
    "empty": (b"", "not a whole pickle"),
    "no pickle": (b"PK\x03\x04 something", "whole pickle|other kind|does not begin"),
    "protocol 0": (pickle.dumps([1], 0), "does not begin as a pickle of protocol 2 to 5"),
    "protocol 99": (b"\x80\x63N.", "not a whole pickle"),
    "an empty stack": (b"\x80\x020.", "not a whole pickle"),
    "a lone array": (pickle.dumps(np.zeros(3), 4), "lone array"),
    "an array without state": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85X\x01\x00\x00\x00b\x87R.",
        "lone array"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_broken_pickles_are_refused_in_one_sentence(tmp_path, name, monkeypatch):
    data, message = HOSTILE[name]
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FeatureError, match=message) as refusal:
        read_pickle(path)
    text = str(refusal.value)
    assert text.startswith(str(path)) and "\n" not in text and text.endswith(".")
    assert text.replace(str(path), "").count(". ") == 0, "one sentence"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"
    assert os.listdir() == ["a.pkl"], "it left a mark"


def test_the_reader_refuses_by_itself_what_the_scan_would_miss(monkeypatch, tmp_path):
    """Two walls: with the scan away, a foreign name still is not imported."""
    from mmlib.data import unpickle

    monkeypatch.setattr(unpickle, "_scan", lambda stream: None)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    for name in ("os.system by reduce", "mkdir by reduce", "builtins getattr chain", "eval",
                 "an instance by INST", "an object by OBJ", "numpy's own load"):  # fmt: skip
        path.write_bytes(HOSTILE[name][0])
        with pytest.raises(FeatureError, match="wants to import"):
            read_pickle(path)
    assert os.listdir() == ["a.pkl"]


def test_a_loop_of_links_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "a.pkl").symlink_to(tmp_path / "b.pkl")
    (tmp_path / "b.pkl").symlink_to(tmp_path / "a.pkl")
    with pytest.raises(FeatureError, match=r"a.pkl cannot be read \(.*symbolic links"):
        read_pickle(tmp_path / "a.pkl")
    with pytest.raises(FeatureError, match=r"c.pkl cannot be read \(No such file"):
        read_pickle(tmp_path / "c.pkl")
    with pytest.raises(FeatureError, match="is not a file"):
        read_pickle(tmp_path)


def changed(**files) -> dict:
    return {**content(), **{(FILES | {"labels": LABELS})[k]: v for k, v in files.items()}}


def split_of(name: str) -> dict:
    return content()[(FILES | {"labels": LABELS})[name]]


WRONG = {
    "mismatched counts": (
        {"vision": {**split_of("vision"), "valid": split_of("vision")["train"]}},
        "visual_clip.pkl has 5 samples in 'valid' but labels.pkl has 2"),
    "other shape in one sample": (
        {"audio": {**split_of("audio"), "train": [np.zeros((11, 4))] * 2 + [np.zeros((9, 4))] * 3}},
        r"shape \(9, 4\) at sample 2 of 'train' but \(11, 4\)"),
    "other shape in one split": (
        {"audio": {**split_of("audio"), "test": [np.zeros((11, 5)) + n for n in range(3)]}},
        "shapes .*11, 4.*11, 5"),
    "vectors": ({"text": {k: np.zeros((n, 7)) for k, n in SIZES.items()}}, r"has \(7,\) as sample 0"),
    "numbers": ({"text": {k: [1.5] * n for k, n in SIZES.items()}}, "has float as sample 0"),
    "no list": ({"text": dict.fromkeys(SIZES, 3)}, "holds a int under 'train'"),
    "an empty split": ({"text": {**split_of("text"), "valid": []}}, "at least one"),
    "not finite": (
        {"text": {**split_of("text"), "valid": np.full((2, 6, 7), np.nan)}}, "NaN .* sample 0 of"),
    "one array many times": (
        {"text": {**split_of("text"), "train": [np.zeros((6, 7))] * 5000}}, "many times over"),
    "label out of range": (
        {"labels": {**split_of("labels"), "test": [0, 3, 1]}}, "label 3 but there are 3 class_names"),
    "negative label": ({"labels": {**split_of("labels"), "valid": [0, -1]}}, "label -1"),
    "labels that are no whole numbers": (
        {"labels": {**split_of("labels"), "valid": [0.0, 1.0]}}, "else than whole numbers|float64"),
    "labels one-hot": (
        {"labels": {k: np.eye(3, dtype=int)[[0] * n] for k, n in SIZES.items()}}, "one number a sample"),
    "other splits": ({"labels": {"train": [1]}}, "has the splits train, valid, test but labels.pkl"),
    "unknown split": ({"labels": {"dev": [1]}}, "has the keys dev, expected only"),
    "a list": ({"labels": [1, 2]}, "holds a list, expected a dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_files_that_do_not_fit_together_are_named(tmp_path, name):
    files, message = WRONG[name]
    with pytest.raises(FeatureError, match=message) as refusal:
        load_pickles(written(tmp_path, changed(**files)), class_names=NAMES)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named(tmp_path):
    written(tmp_path)
    (tmp_path / FILES["audio"]).unlink()
    with pytest.raises(FeatureError, match=r"acoustic_wav2vec.pkl cannot be read \(No such file"):
        load_pickles(tmp_path, class_names=NAMES)


def test_pickles_are_not_written_of_what_they_cannot_hold(tmp_path):
    data = FeatureSet({"audio": torch.zeros(2, 3, 4)}, {}, torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(FeatureError, match="no text and no vision"):
        save_pickles(data, tmp_path)


def test_convert_goes_to_a_feature_file_and_back(tmp_path, capsys):
    (tmp_path / "pickles").mkdir()
    written(tmp_path / "pickles", protocol=2)
    out = tmp_path / "features.npz"
    words = ["convert", "--data", str(tmp_path / "pickles"), "--out", str(out)]
    assert main(words) == 2
    assert "--class-names negative,neutral,positive" in capsys.readouterr().err
    assert main([*words, "--class-names", "negative,positive,neutral"]) == 0
    assert "0 to 2 mean negative, positive, neutral" in capsys.readouterr().out
    features = load_features(out)
    assert features.class_names == ("negative", "positive", "neutral") and len(features) == 10
    assert main(["convert", "--data", str(out), "--out", str(tmp_path / "back")]) == 0
    again = load_pickles(tmp_path / "back", class_names=features.class_names)
    assert again.fingerprint() == features.fingerprint()
    assert main(["convert", "--data", str(tmp_path), "--out", str(out), "--class-names", "a"]) == 2
    assert "labels.pkl cannot be read" in capsys.readouterr().err
