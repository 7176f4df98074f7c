"""`prepare --dataset affwild2` and `extract` with JMT's backbones: from files to a trained JMT."""

import csv
import json

import pytest
import torch
from affwild2_files import ramp, write_annotation, write_pictures, write_recording
from recordings import shades, tone, write_video

from mmlib.backbones import r2plus1d_18, resnet18
from mmlib.cli import main
from mmlib.data import load_features

SMALL = ["--clip-frames", 2, "--dilation", 2, "--sequence-clips", 3, "--picture-size", 16]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Six short videos, four to train on; the last has no folder of faces."""
    root = tmp_path_factory.mktemp("affwild2")
    for number in range(6):
        name, frames = f"video{number}", 13 + 2 * number
        split = "Train_Set" if number < 4 else "Validation_Set"
        write_annotation(root, split, name, ramp(frames, start=-0.1 * number))
        write_recording(root, name, frames)
        if number < 5:
            write_pictures(root, name, frames + number % 2, missing={5} if number == 2 else ())
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files such as the public ones."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    torch.save(r2plus1d_18().state_dict(), folder / "vision.pth")
    torch.save(resnet18().state_dict(), folder / "audio.pth")
    return ["--vision-weights", folder / "vision.pth", "--audio-weights", folder / "audio.pth"]


@pytest.fixture
def prepare(root, capfd):
    def run(out, *more, small=True):
        words = ["prepare", "--dataset", "affwild2", "--root", root, "--out", out, "--quiet"]
        code = main([str(word) for word in [*words, *(SMALL if small else ()), *more]])
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def test_a_feature_file_for_jmt_is_made_and_made_again_from_the_cache(prepare, weights, tmp_path):
    code, said = prepare(tmp_path / "a.npz", *weights, "--device", "cpu")
    assert code == 0, said
    features = load_features(tmp_path / "a.npz")
    # Clips span four frames, sub-sequences twelve: one and a bit of each video.
    assert len(features) == 12 and features.lengths == {"audio": 3, "vision": 3}
    assert features.widths == {"audio": 512, "vision": 512}
    assert features.labels.shape == (12, 3, 2)
    assert (features.split == "train").sum() == 8 and (features.split == "valid").sum() == 4
    assert "missing pictures, which are black (1): video2 1" in said
    assert "after the last label, which are not used (2): video1 1, video3 1" in said
    assert "video5: no vision: there is no folder of its faces" in said
    assert "crossvalidate --data" in said
    code, said = prepare(tmp_path / "a.npz", *weights)
    assert code == 0 and "6 of 6 videos taken from the cache" in said
    again = load_features(tmp_path / "a.npz")
    assert torch.equal(again.inputs["vision"], features.inputs["vision"])


@pytest.mark.slow
def test_the_file_cross_validates_jmt(prepare, weights, tmp_path, capfd):
    assert prepare(tmp_path / "a.npz", *weights)[0] == 0
    words = ["crossvalidate", "--data", tmp_path / "a.npz", "--systems", "jmt", "--folds", 2]
    words += ["--targets", "valence,arousal", "--epochs", 1, "--out", tmp_path / "table", "--quiet"]
    assert main([str(word) for word in words]) == 0
    shown = capfd.readouterr().out
    assert "official" in shown and "mean of folds" in shown
    assert "judged on valid" in (tmp_path / "table" / "report.md").read_text()
    done = json.loads((tmp_path / "table/runs/fold-1/jmt_0/done.json").read_text())
    assert done["system"] == "jmt"


def test_random_networks_are_for_trying_out_and_say_so(prepare, tmp_path):
    assert prepare(tmp_path / "a.npz")[0] == 2
    code, said = prepare(tmp_path / "a.npz", "--random-weights", "--exclude", "video5,video4")
    assert code == 0 and "random networks" in said and "excluded by name (2)" in said
    assert load_features(tmp_path / "a.npz").group[-1] == "video3"


def test_lists_of_videos_decide_the_splits(prepare, tmp_path):
    for split, names in {"train": "video4\nvideo1\n", "test": "video0\nunseen\n"}.items():
        (tmp_path / f"{split}.txt").write_text(names)
    lists = f"train={tmp_path / 'train.txt'},test={tmp_path / 'test.txt'}"
    code, said = prepare(tmp_path / "a.npz", "--random-weights", "--lists", lists)
    assert code == 0
    assert "in none of the lists (3): video2, video3, video5" in said
    assert "without an annotation (1): unseen" in said
    features = load_features(tmp_path / "a.npz")
    parts = dict(zip(features.group.tolist(), features.split.tolist(), strict=True))
    assert parts == {"video1": "train", "video4": "train", "video0": "test"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--vision-weights FILE and --audio-weights FILE"),
        (["--vision-weights", "nowhere.pth"], "--audio-weights FILE"),
        (["--vision-weights", "no.pth", "--audio-weights", "no.pth"], "no.pth cannot be read"),
        (["--random-weights", "--lists", "train.txt"], "expected train=FILE,valid=FILE"),
        (["--random-weights", "--exclude", "video9"], "no video 'video9'"),
        (["--random-weights", "--sequence-clips", 0], "clips is 0"),
        (["--random-weights", "--batch-size", 0], "0 clips are to be encoded at once"),
        (["--random-weights", "--annotations", "nowhere"], "no annotation of valence and arousal"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(prepare, tmp_path, more, said):
    small = "--sequence-clips" not in more
    code, told = prepare(tmp_path / "a.npz", *more, small=small)
    assert code == 2 and said in told and told.count("\n") == 1
    assert not (tmp_path / "a.npz").exists()


# `extract`: any folder of recordings


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Three recordings of 8, 17 and 30 frames, and a table of them."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "clips").mkdir()
    with open(folder / "table.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "label", "split", "group"])
        for name, frames in {"a": 8, "b": 17, "c": 30}.items():
            sound = tone(frames / 30, 44_100, 300.0)
            write_video(folder / "clips" / f"{name}.mp4", shades(frames), sound=sound)
            table.writerow([name, "glad", "train", name])
    return folder


@pytest.fixture
def extract(studio, tmp_path, capfd):
    def run(*more):
        words = ["extract", "--clips", studio / "clips", "--table", studio / "table.csv"]
        words += ["--out", tmp_path / "features.npz", "--class-names", "glad,sad", "--quiet"]
        words += ["--streams", "audio,vision", "--audio-model", "resnet18"]
        words += ["--vision-model", "r2plus1d", "--piece-frames", 2, "--dilation", 2]
        words += ["--picture-size", 16, "--pieces", 4, "--device", "cpu", *more]
        code = main([str(word) for word in words])
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def test_a_folder_of_recordings_becomes_aligned_pieces(extract, weights, tmp_path):
    code, said = extract(*weights)
    assert code == 0, said
    features = load_features(tmp_path / "features.npz")
    assert features.lengths == {"audio": 4, "vision": 4}
    assert features.widths == {"audio": 512, "vision": 512}
    for stream in ("audio", "vision"):
        assert features.masks[stream].sum(1).tolist() == [2, 4, 4]
    assert "1 of 3 clips have more than 4 audio steps and were cut; --pieces keeps more" in said
    assert "random" not in said
    before = {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz") if "cache" in str(path)
    }
    assert len(before) == 6 and extract(*weights)[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--audio-model resnet18 has no weights"),
        (["--streams", "vision"], "--vision-model r2plus1d has no weights"),
        (["--vision-model", "nobody", "--vision-weights", "x.pth"], "name that, too"),
        (["--pieces", 0], "--pieces is 0"),
        (["--random-weights", "--piece-frames", 0], "frames is 0"),
    ],
)
def test_what_cannot_be_extracted_is_refused_in_one_sentence(extract, more, said, tmp_path):
    if "--vision-model" in more:
        more = [*more, "--random-weights"]
    code, told = extract(*more)
    assert code == 2 and said in told and told.count("\n") == 1


def test_random_pieces_say_what_they_are(extract):
    code, said = extract("--random-weights")
    assert code == 0 and "nothing to learn from" in said
