"""Feature folders: what is read when, what is refused, and that nothing is lost on the way."""

import copy
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from mmlib.cli import main
from mmlib.data import (
    FeatureError,
    FeatureSet,
    FeatureWriter,
    Standardised,
    find_leaks,
    load_features,
    save_folder,
    unpack_features,
)
from mmlib.data.stored_stream import StoredStream, in_blocks


def features(**changes) -> FeatureSet:
    """Make 11 samples of three kinds of streams, with masks, groups and NaN where nothing is real."""
    draw = torch.Generator().manual_seed(0)
    mask = torch.rand(11, 5, generator=draw) < 0.7
    audio = torch.randn(11, 5, 3, generator=draw).masked_fill(~mask[..., None], float("nan"))
    pictures = torch.randint(256, (11, 2, 3, 4, 6), generator=draw, dtype=torch.uint8)
    parts = {
        "inputs": {
            "text": torch.randint(1000, (11, 7, 2), generator=draw, dtype=torch.int32),
            "audio": audio.half(),
            "vision": pictures,
        },
        "masks": {"audio": mask},
        "labels": torch.arange(11) % 3,
        "class_names": ("a", "b", "c"),
        "split": np.array(["train"] * 6 + ["valid"] * 3 + ["test"] * 2),
        "group": np.array([f"speaker {row // 2}" for row in range(11)]),
        "ids": np.array([f"clip {row}" for row in range(11)]),
        "label_step": 1,
    }
    return FeatureSet(**{**parts, **changes})


@pytest.fixture
def folder(tmp_path):
    save_folder(features(), tmp_path / "folder")
    return tmp_path / "folder"


def same(one: FeatureSet, other: FeatureSet) -> None:
    """See that two sets are equal in all that they hold."""
    assert one.modalities == other.modalities and one.class_names == other.class_names
    for name in one.modalities:
        a, b = one.inputs[name][:], other.inputs[name][:]
        assert a.dtype == b.dtype and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
        assert torch.equal(one.masks[name], other.masks[name])
    assert torch.equal(one.labels, other.labels) and one.label_step == other.label_step
    for key in ("split", "group", "ids"):
        assert getattr(one, key).tolist() == getattr(other, key).tolist()


def test_a_folder_gives_back_what_was_saved(folder):
    opened = load_features(folder)
    assert all(isinstance(stream, StoredStream) for stream in opened.inputs.values())
    same(opened, features())
    assert opened.fingerprint() == features().fingerprint() and opened.name == "folder"


@pytest.mark.parametrize("which", ["valid", slice(1, 9, 3), [8, 2, 2, 5], np.arange(11) > 6])
def test_a_choice_of_samples_is_that_of_the_set_in_memory(folder, which):
    chosen, expected = load_features(folder).subset(which), features().subset(which)
    same(chosen, expected)
    again = [len(expected) - 1, 0]
    same(chosen.subset(again), expected.subset(again))
    assert chosen.fingerprint() == expected.fingerprint()


def test_a_batch_is_that_of_the_set_in_memory(folder):
    for rows in ([3], [10, 0, 4], torch.tensor([7, 7]), np.array([1, 2, 3])):
        one, other = load_features(folder).batch(rows), features().batch(rows)
        for name in other.inputs:
            assert one.inputs[name].dtype == other.inputs[name].dtype
            assert torch.equal(one.inputs[name], other.inputs[name])
        assert torch.equal(one.labels, other.labels)


def test_choosing_and_opening_read_nothing_and_a_batch_only_its_samples(folder, monkeypatch):
    read = []
    take = StoredStream.__getitem__

    def counted(self, index):
        value = take(self, index)
        read.append(len(value))
        return value

    monkeypatch.setattr(StoredStream, "__getitem__", counted)
    opened = load_features(folder)
    chosen = opened.select(["audio", "text"]).subset("train").subset([4, 1, 0])
    chosen = chosen.with_split(["valid", "train", "train"])
    find_leaks(opened, content=False)
    assert read == []
    chosen.batch([2, 0])
    assert read == [2, 2]  # two samples of each of two streams


def test_a_batch_cannot_change_the_file(folder):
    before = (folder / "audio.npy").read_bytes()
    opened = load_features(folder)
    opened.inputs["audio"][2:5].zero_()
    opened.batch([0, 1]).inputs["audio"].add_(1)
    assert (folder / "audio.npy").read_bytes() == before


def test_what_goes_over_all_samples_is_as_in_memory(folder):
    opened, whole = load_features(folder), features()
    one = Standardised(model=torch.nn.Linear(1, 1), widths=opened.widths).learn(opened)
    other = Standardised(model=torch.nn.Linear(1, 1), widths=whole.widths).learn(whole)
    assert torch.equal(one.get_buffer("mean_audio"), other.get_buffer("mean_audio"))
    assert torch.equal(one.get_buffer("deviation_audio"), other.get_buffer("deviation_audio"))
    assert bool(one.get_buffer("mean_audio").any())
    again = [*range(11), 2]  # the third sample once more, in another split
    split = [*whole.split, "test"]
    leaks = find_leaks(opened.subset(again).with_split(split))
    assert leaks.samples == ((("clip 2", "train"), ("clip 2", "test")),)
    assert leaks.groups == find_leaks(whole.subset(again).with_split(split)).groups


@pytest.mark.parametrize("size", [1, 40, 10**9])
def test_blocks_are_all_samples_in_order_whatever_their_size(folder, size):
    stream = load_features(folder).subset([9, 1, 4, 0]).inputs["text"]
    blocks = list(in_blocks(stream, size))
    assert torch.equal(torch.cat([value for _, value in blocks]), stream[:])
    assert len(blocks) == (1 if size == 10**9 else 4)  # a sample is 56 bytes


def test_a_stream_travels_by_its_name_and_not_by_its_content(tmp_path):
    audio = torch.randn(500, 4, 3)
    whole = FeatureSet({"audio": audio}, {}, torch.zeros(500, dtype=torch.long), ("a",))
    save_folder(whole, tmp_path / "many")
    stream = load_features(tmp_path / "many").subset([400, 3]).inputs["audio"]
    packed = pickle.dumps(stream)
    assert len(packed) < 2000 and torch.equal(pickle.loads(packed)[:], audio[[400, 3]])
    assert torch.equal(copy.deepcopy(stream)[:], audio[[400, 3]])


def test_a_stored_stream_says_what_it_cannot_do(folder):
    stream = load_features(folder).inputs["audio"]
    with pytest.raises(TypeError, match="read the samples first"):
        stream[0, 1]
    assert stream.nbytes == 11 * 5 * 3 * 2 and stream[-1].shape == (5, 3) and len(stream) == 11
    assert stream.is_floating_point() and stream.dtype == torch.float16


def test_a_writer_takes_samples_one_by_one(tmp_path):
    whole = features()
    with FeatureWriter(tmp_path / "one", class_names=("a", "b", "c"), label_step=1) as writer:
        for row in range(11):
            writer.add(
                {name: value[row] for name, value in whole.inputs.items()},
                int(whole.labels[row]),
                masks={"audio": whole.masks["audio"][row]},
                split=str(whole.split[row]), group=str(whole.group[row]), id=str(whole.ids[row]),
            )  # fmt: skip
        assert not (tmp_path / "one").exists()
    same(load_features(tmp_path / "one"), whole)


def test_a_writer_names_and_groups_samples_apart(tmp_path):
    with FeatureWriter(tmp_path / "numbers") as writer:
        for value in (0.5, 1.5):
            writer.add({"audio": torch.ones(2, 3)}, [value, -value])
    opened = load_features(tmp_path / "numbers")
    assert opened.ids.tolist() == opened.group.tolist() == ["0", "1"]
    assert opened.labels.tolist() == [[0.5, -0.5], [1.5, -1.5]] and opened.class_names is None


@pytest.mark.parametrize(
    ("second", "label", "says"),
    [
        ({"audio": torch.ones(4, 3)}, 0, "the shapes"),
        ({"audio": torch.ones(2, 3).half()}, 0, "float16"),
        ({"vision": torch.ones(2, 3)}, 0, "vision"),
        ({"audio": torch.full((2, 3), float("inf"))}, 0, r"infinite value at sample 0 \(id 1\)"),
        ({"audio": torch.ones(2, 3)}, 5, "label 5"),
    ],
)
def test_a_sample_that_does_not_fit_leaves_no_folder(tmp_path, second, label, says):
    begun = FeatureWriter(tmp_path / "out", class_names=["a", "b"])
    with pytest.raises(FeatureError, match=says), begun as writer:
        writer.add({"audio": torch.ones(2, 3)}, 1)
        writer.add(second, label)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_without_samples_says_so(tmp_path):
    with pytest.raises(FeatureError, match="no sample came"), FeatureWriter(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_leaves_what_stood_there(folder):
    begun = FeatureWriter(folder, class_names=["a", "b", "c"], label_step=1)
    with pytest.raises(KeyboardInterrupt), begun as writer:
        writer.extend(features().subset([0]))
        raise KeyboardInterrupt
    assert len(load_features(folder)) == 11
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_a_feature_folder_is_replaced_and_anything_else_is_refused(folder, tmp_path):
    (tmp_path / ".folder.part").mkdir()  # what a killed attempt left
    (tmp_path / ".folder.part" / "strange.npy").write_bytes(b"half")
    save_folder(features().subset([0, 5]), folder)
    same(load_features(folder), features().subset([0, 5]))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    (folder / "thesis.txt").write_text("all my work")
    with pytest.raises(FeatureError, match=r"thesis.txt, which are no features"):
        save_folder(features(), folder)
    assert (folder / "thesis.txt").exists()
    with pytest.raises(FeatureError, match="is a file"):
        save_folder(features(), folder / "thesis.txt")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_folder_stays_and_leads_to_what_is_written(tmp_path, there):
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    if there:
        (disk / "large").mkdir()
    link.symlink_to(disk / "large")
    for count in (5, 2):
        save_folder(features().subset(range(count)), link)
        assert link.is_symlink() and len(load_features(disk / "large")) == count
    assert [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []
    assert [path.name for path in disk.iterdir()] == ["large"]


def test_nan_is_refused_when_its_sample_is_read(folder):
    path = folder / "audio.npy"
    array = np.load(path)
    real = features().masks["audio"][6].int().argmax()
    array[6, real, 2] = np.nan
    np.save(path, array)
    opened = load_features(folder)
    opened.batch([0, 1, 5])
    says = rf"'audio' has NaN at sample 6 \(id clip 6\), step {real}, feature 2"
    with pytest.raises(FeatureError, match=says):
        opened.batch([2, 6])
    with pytest.raises(FeatureError, match=r"sample 0 \(id clip 6\)"):
        opened.subset("valid").batch([0])
    with pytest.raises(FeatureError, match="id clip 6"):
        Standardised(model=torch.nn.Linear(1, 1), widths=opened.widths).learn(opened)


def damage(folder, what: str) -> None:
    """Spoil a folder in one way."""
    path = folder / "audio.npy"
    if what == "cut off":
        os.truncate(path, path.stat().st_size - 1)
    elif what == "longer":
        path.write_bytes(path.read_bytes() + b"more")
    elif what == "header only":
        os.truncate(path, 64)
    elif what == "objects":
        np.save(path, np.array([{"a": 1}] * 11, dtype=object), allow_pickle=True)
    elif what == "object labels":
        np.save(folder / "labels.npy", np.array([print] * 11, dtype=object), allow_pickle=True)
    elif what == "columns":
        np.save(path, np.asfortranarray(np.load(path)))
    elif what == "a folder":
        path.unlink()
        path.mkdir()
    elif what == "a dangling link":
        path.unlink()
        path.symlink_to(folder / "gone.npy")
    elif what == "words":
        path.write_text("features")
    elif what == "no labels":
        (folder / "labels.npy").unlink()
    elif what == "fewer":
        np.save(path, np.load(path)[:9])
    elif what == "two axes":
        np.save(path, np.load(path)[:, :, 0])
    elif what == "mask":
        np.save(folder / "audio_mask.npy", np.ones((11, 4), dtype=bool))
    elif what == "strings":
        np.save(path, np.full((11, 5, 3), "x"))
    elif what == "nothing":
        np.save(path, np.ones((0, 5, 3), dtype=np.float32))


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("cut off", "'audio' says it has shape"),
        ("longer", "the file is damaged"),
        ("header only", "is not a numpy array"),
        ("objects", "holds Python objects"),
        ("object labels", "'labels' holds Python objects"),
        ("columns", "column by column"),
        ("a folder", "is not a file"),
        ("a dangling link", "is not a file"),
        ("words", "is not a numpy array"),
        ("no labels", "the key 'labels' is missing"),
        ("fewer", "has 9 samples but 'labels' has 11"),
        ("two axes", r"expected \(samples, steps, features\)"),
        ("mask", "'audio_mask' is"),
        ("strings", "expected float16 or float32"),
        ("nothing", "has 0 samples"),
    ],
)
def test_a_bad_folder_is_refused_with_one_sentence(folder, what, says, capsys):
    damage(folder, what)
    with pytest.raises(FeatureError, match=says) as refused:
        load_features(folder)
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)
    assert main(["split", "--data", str(folder), "--check"]) == 2
    assert str(folder) in capsys.readouterr().err


def test_a_folder_of_other_things_is_no_feature_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FeatureError, match="is a folder without features"):
        load_features(tmp_path)


def test_a_file_becomes_a_folder_and_a_file_again(tmp_path, capsys):
    first, folder, again = (str(tmp_path / name) for name in ("a.npz", "folder", "b.npz"))
    features().save(first)
    assert main(["convert", "--data", first, "--to", "folder", "--out", folder]) == 0
    assert "11 samples" in capsys.readouterr().out
    same(load_features(folder), features())
    assert main(["convert", "--data", folder, "--out", again]) == 0
    same(load_features(again), features())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    load_features(folder).subset([7, 1]).save(again)
    same(load_features(again), features().subset([7, 1]))


def test_an_unzipped_feature_file_is_a_feature_folder(tmp_path):
    features().save(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        archive.extractall(tmp_path / "unzipped")
    same(load_features(tmp_path / "unzipped"), features())


def test_unpacking_turns_columns_and_refuses_nan_by_the_name_of_the_file(tmp_path):
    arrays = {"labels": np.zeros(4), "split": np.array(["train"] * 4)}
    arrays["labels"] = arrays["labels"][:, None]
    audio = np.asfortranarray(np.arange(24.0).reshape(4, 2, 3))
    np.savez_compressed(tmp_path / "ok.npz", audio=audio, **arrays)
    opened = unpack_features(tmp_path / "ok.npz", tmp_path / "ok")
    assert opened.inputs["audio"][2].tolist() == audio[2].tolist()
    audio[3, 1, 0] = np.nan
    np.savez(tmp_path / "bad.npz", audio=audio, **arrays)
    with pytest.raises(FeatureError, match="NaN at sample 3") as refused:
        unpack_features(tmp_path / "bad.npz", tmp_path / "bad")
    assert ".part" not in str(refused.value)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "ok.npz").read_bytes()[:-40])
    with pytest.raises(FeatureError, match="not a whole npz"):
        unpack_features(tmp_path / "cut.npz", tmp_path / "cut")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.npz",
        "cut.npz",
        "ok",
        "ok.npz",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "a.npz", "--to", "folder", "--out", "b.npz"], "expected a folder"),
        (["--data", "a.npz", "--to", "npz", "--out", "b"], "expected a feature file"),
        (["--data", "a.npz", "--out", "a.npz"], "to another place"),
        (["--data", "gone.npz", "--to", "folder", "--out", "b"], "does not exist"),
        (["--data", "a.npz", "--to", "folder", "--out", "b", "--class-names", "x"], "pickles"),
    ],
)
def test_a_conversion_that_cannot_be_is_refused(tmp_path, monkeypatch, words, says, capsys):
    monkeypatch.chdir(tmp_path)
    features().save("a.npz")
    assert main(["convert", *words]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
