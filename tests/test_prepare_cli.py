"""`prepare`, as a person or a script calls it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from recordings import shades, tone, write_video, write_wav

import mmlib.data.faces
from mmlib.cli import main
from mmlib.data import load_features

ROOT = Path(__file__).resolve().parent.parent


def run(*words) -> int:
    """Call the command line as a shell would, with the exit code of a parser's refusal too."""
    try:
        return main([str(word) for word in words])
    except SystemExit as ended:
        return ended.code


def prepare(root, out, *more, dataset="ravdess") -> int:
    words = ["--dataset", dataset, "--root", root, "--out", out, "--quiet", "--size", 12]
    return run("prepare", *words, "--workers", 1, *more)


def take(root: Path, name: str, seconds: float = 3.7, **settings) -> Path:
    """Write a small clip with sound and picture under a name in a folder of its actor."""
    path = root / f"Actor_{name[18:20]}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    settings.setdefault("sound", tone(seconds, 44_100))
    return write_video(path, shades(round(seconds * 10), (16, 24)), rate=10, **settings)


NAMES = [f"01-01-0{emotion}-01-01-0{n}-{actor}" for actor in ("01", "05", "09")
         for emotion, n in ((3, 1), (4, 1), (5, 2))]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Write nine takes of three actors, one of them in three forms."""
    folder = tmp_path_factory.mktemp("ravdess")
    for name in NAMES:
        take(folder, f"{name}.mp4")
    take(folder, f"02{NAMES[0][2:]}.mp4", sound=None)
    write_wav(folder / f"03{NAMES[0][2:]}.wav", tone(3.7, 48_000), 48_000)
    return folder


def test_a_folder_becomes_a_feature_file_that_trains(root, tmp_path, capsys):
    out = tmp_path / "ravdess.npz"
    assert prepare(root, out, "--no-faces") == 0
    told = capsys.readouterr()
    assert (
        "9 samples (train 3, valid 3, test 3): audio (156, 10), vision (15, 3, 12, 12)" in told.out
    )
    assert "neutral 0, calm 0, happy 3, sad 3, angry 3" in told.out and told.err == ""
    features = load_features(out)
    assert features.ids.tolist() == sorted(NAMES), "each take once"
    assert {str(g): str(s) for g, s in zip(features.group, features.split, strict=True)} == {
        "actor01": "test",
        "actor05": "valid",
        "actor09": "train",
    }
    words = ["--system", "late", "--data", out, "--streams", "audio", "--epochs", 1, "--quiet"]
    assert run("train", *words, "--out", tmp_path / "run") == 0


def test_actors_may_be_named_in_numbers_and_ranges(root, tmp_path):
    out = tmp_path / "out.npz"
    more = ["--no-faces", "--streams", "audio", "--valid-actors", "1-4,6", "--test-actors", ""]
    assert prepare(root, out, *more) == 0
    features = load_features(out)
    assert features.modalities == ("audio",)
    assert {str(g): str(s) for g, s in zip(features.group, features.split, strict=True)} == {
        "actor01": "valid",
        "actor05": "train",
        "actor09": "train",
    }


def test_a_face_detector_is_used_where_there_is_one(root, tmp_path, monkeypatch):
    asked = []

    class Detector:
        identity = "always the same corner"

        def __init__(self, model):
            asked.append(model)

        def __call__(self, frame):
            asked.append(frame.shape)
            return 0, 0, 8, 8

    monkeypatch.setattr(mmlib.data.faces, "FaceDetector", Detector)
    assert prepare(root, tmp_path / "out.npz", "--face-model", "faces.onnx") == 0
    assert asked[0] == "faces.onnx" and asked[1:] == [(16, 24, 3)] * (9 * 15)


def test_without_a_detector_the_way_out_is_said(root, tmp_path, monkeypatch, capsys):
    cv2 = pytest.importorskip("cv2")
    monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
    mmlib.data.faces._load.cache_clear()
    assert prepare(root, tmp_path / "out.npz") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "--no-faces" in told and "--face-model" in told
    assert not (tmp_path / "out.npz").exists()


def test_every_trouble_is_named_at_the_end_and_loses_no_other_clip(tmp_path, monkeypatch, capsys):
    def detector(model):
        return lambda frame: None if frame.max() < 10 else (4, 4, 8, 8)

    monkeypatch.setattr(mmlib.data.faces, "FaceDetector", detector)
    root, trouble = tmp_path / "ravdess", {}
    for emotion, kind in enumerate(
        ("good", "corrupt", "empty", "faceless", "mute", "short"), start=1
    ):
        trouble[kind] = f"01-01-{emotion:02d}-01-01-01-09"
        name = f"{trouble[kind]}.mp4"
        path = take(root, name, **({"seconds": 2.0} if kind == "short" else {}),
                    **({"sound": None} if kind == "mute" else {}))  # fmt: skip
        if kind == "corrupt":
            path.write_bytes(path.read_bytes()[:-900])
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "faceless":
            dark = [np.zeros((16, 24, 3), dtype=np.uint8)] * 37
            write_video(path, dark, rate=10, sound=tone(3.7, 44_100))
    (root / "notes.mp4").write_bytes(b"not of the data set")
    out = tmp_path / "out.npz"
    assert prepare(root, out) == 0
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("mmlib prepare: ") for line in lines), "no traceback"

    def said(name, *words):
        return [line for line in lines if name in line and all(word in line for word in words)]

    assert said(trouble["corrupt"], "no audio", "damaged or no recording")
    assert said(trouble["corrupt"], "no vision", "damaged or no recording")
    assert said(trouble["empty"], "no audio", "empty file")
    assert said(trouble["faceless"], "no vision", "no face in any of its 15 frames")
    assert said(trouble["mute"], "no audio", "has no sound")
    assert said(trouble["short"] + " (2.0 s)", "shorter than 3.6 seconds")
    assert said("notes.mp4", "names are not the data set's (1)")
    assert not said(trouble["good"])
    report = (tmp_path / "out.report.csv").read_text().splitlines()
    assert report[0] == "clip,what" and len(report) == 1 + 6 + 1 + 1
    assert f"{trouble['short']}," in "\n".join(report), "the name alone, to look it up by"
    for name in (*trouble.values(), "notes.mp4"):
        assert any(name in row for row in report) == (name != trouble["good"])
    last = lines[-1]
    assert last.endswith(f"left out: {trouble['corrupt']}, {trouble['empty']}.")
    kept = {trouble[kind] for kind in ("good", "faceless", "mute", "short")}
    assert set(load_features(out).ids) == kept


def test_sound_alone_and_cremads_own_forms(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    write_wav(tmp_path / "a" / "03-01-03-01-01-01-09.wav", tone(3.7, 48_000), 48_000)
    assert prepare(tmp_path / "a", tmp_path / "a.npz") == 0, "no detector is needed"
    assert load_features(tmp_path / "a.npz").modalities == ("audio",)
    folder = tmp_path / "b" / "VideoFlash"
    folder.mkdir(parents=True)
    frames, sound = shades(40, (16, 24)), tone(4.0, 44_100)
    write_video(folder / "1040_ITH_SAD_X.flv", frames, rate=10, sound=sound)
    write_video(folder / "1002_DFA_ANG_XX.mp4", frames, rate=10, sound=sound)
    assert prepare(tmp_path / "b", tmp_path / "b.npz", "--no-faces", dataset="cremad") == 0
    features = load_features(tmp_path / "b.npz")
    assert features.ids.tolist() == ["1002_DFA_ANG_XX", "1040_ITH_SAD_X"]
    assert features.class_names == ("angry", "disgust", "fearful", "happy", "neutral", "sad")
    assert features.labels.tolist() == [0, 5] and features.split.tolist() == ["test", "train"]
    assert "(15, 3, 12, 12)" in capsys.readouterr().out


def test_many_clips_are_named_in_the_report(tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    names = [f"03-01-03-01-01-01-{actor:02d}" for actor in range(1, 25)]
    for name in names:
        write_wav(tmp_path / "clips" / f"{name}.wav", tone(0.5, 16_000))
    assert prepare(tmp_path / "clips", tmp_path / "out.npz", "--seconds", 1) == 0
    line = capsys.readouterr().err
    assert line.startswith("mmlib prepare: clips shorter than 1 seconds, masked")
    assert f"(24): {names[0]} (0.5 s), " in line and f"{names[19]} (0.5 s), ... (all in " in line
    report = (tmp_path / "out.report.csv").read_text()
    assert all(name in report for name in names)


def test_an_interrupt_says_how_to_go_on(root, tmp_path, monkeypatch, capsys):
    def interrupted(*words, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmlib.data.preparing.prepare", interrupted)
    assert prepare(root, tmp_path / "out.npz", "--no-faces") == 130
    told = capsys.readouterr().err
    assert "interrupted; continue with: python -m mmlib prepare --dataset ravdess" in told
    assert "--resume" not in told


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--out", "features.csv"], "--out is features.csv, expected a feature file"),
        (["--root", "nowhere"], "nowhere is not a folder"),
        (["--seconds", "0"], "seconds is 0"),
        (["--workers", "0"], "workers is 0"),
        (["--streams", "audio,smell"], "--streams is 'audio,smell'"),
        (
            ["--valid-actors", "five"],
            "--valid-actors is five, expected numbers and ranges such as 1-4,9",
        ),
        (["--valid-actors", "8-5"], "--valid-actors is 8-5, expected numbers"),
        (["--valid-actors", "5-"], "--valid-actors is 5-, expected numbers"),
        (["--valid-actors", "1-3"], "actor 1 is named for valid and for test"),
        (["--channel", "song"], "name such as 01-02-"),
        (["--dataset", "cremad", "--channel", "song"], "--channel is RAVDESS's"),
        (
            ["--folds", "x.json"],
            "--folds goes with --dataset mosei, not with ravdess; leave it out",
        ),
        (["--tokenizer", "words"], "--tokenizer goes with --dataset meld, not with ravdess"),
        (
            ["--dataset", "mosei"],
            "--size goes with --dataset ravdess or --dataset cremad or --dataset meld, not with",
        ),
        (["--dataset", "meld", "--seconds", "2"], "--seconds goes with --dataset ravdess or"),
        (["--dataset", "cremad"], "name such as 1001_DFA_ANG_XX.flv"),
        (["--dataset", "iemocap"], "invalid choice: 'iemocap'"),
        (["--face-model", "none.onnx", "--faces"], "none.onnx does not exist"),
    ],
)
def test_what_cannot_be_met_is_one_sentence(root, tmp_path, capsys, more, says):
    faces = [] if "--faces" in more else ["--no-faces"]
    assert prepare(root, tmp_path / "out.npz", *faces, *more) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1 and "Traceback" not in told


def test_a_folder_in_the_place_of_the_file_is_refused_before_any_work(root, tmp_path, capsys):
    out = tmp_path / "out.npz"
    out.mkdir()
    assert prepare(root, out, "--no-faces") == 2
    assert "out.npz, which is a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [out] and not list(out.iterdir())


def test_the_help_says_how_large_the_result_will_be(capsys):
    assert run("prepare", "--help") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "3.3 GB at --size 224 and 0.8 GB at --size 112" in told


@pytest.mark.slow
def test_a_preparation_that_was_killed_goes_on(tmp_path, capsys):
    root = tmp_path / "ravdess"
    first = take(root, "01-01-03-01-01-01-01.mp4")
    for actor in range(2, 25):
        for number in (1, 2):
            os.link(first, root / f"01-01-03-01-01-0{number}-{actor:02d}.mp4")
    out = tmp_path / "out.npz"
    words = ["--dataset", "ravdess", "--root", str(root), "--out", str(out), "--no-faces"]
    words += ["--size", "400", "--quiet"]
    command = [sys.executable, "-m", "mmlib", "prepare", *words, "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        cache, end = out.with_name("out.npz.cache") / "vision", time.monotonic() + 120
        while len(list(cache.glob("*.npz"))) < 3:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    end = time.monotonic() + 60
    while _members(process.pid):  # the workers notice, and end too
        assert time.monotonic() < end
        time.sleep(0.05)
    done = len(list(cache.glob("*.npz")))
    assert not out.exists() and 3 <= done < 47
    assert run("prepare", *words, "--workers", "1") == 0
    told = capsys.readouterr().err
    number = int(told.split("mmlib prepare: ")[1].split(" of 47 clips taken from the cache")[0])
    assert 3 <= number <= done
    features = load_features(out)
    assert len(features) == 47 and all(mask.all() for mask in features.masks.values())
    assert bool((features.inputs["vision"] == features.inputs["vision"][:1]).all())


def _members(session: int) -> list[int]:
    """List the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.data
def test_real_clips_are_prepared(shared_data, tmp_path):
    root = shared_data / "cremad"
    if not root.is_dir():
        pytest.skip(f"no recordings in {root}")
    words = ["--no-faces", "--seconds", "1.8"]
    assert prepare(root, tmp_path / "out.npz", *words, dataset="cremad") == 0
    features = load_features(tmp_path / "out.npz")
    assert features.inputs["vision"].shape == (3, 15, 3, 12, 12)
    assert features.lengths["audio"] == 78 and all(m.all() for m in features.masks.values())
    assert len({picture.numpy().tobytes() for picture in features.inputs["vision"][0]}) == 15
