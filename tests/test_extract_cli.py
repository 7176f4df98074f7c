"""`extract`: from recorded clips to a feature file, whatever is wrong with some of them."""

import csv
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from recordings import shades, tone, write_video, write_wav
from tiny_models import save_bert, save_clip, save_wav2vec

from mmlib.backbones import extracting
from mmlib.backbones.pretrained import AudioEncoder, TextEncoder, VisionEncoder
from mmlib.cli import main
from mmlib.data import load_features
from mmlib.data.clip_table import Clip
from mmlib.data.media import read_frames, read_sound
from mmlib.data.stored_stream import StoredStream

COLUMNS = ("id", "text", "label", "split", "group")
ROWS = [
    ("c0", "a good day", "glad", "train", "ann"),
    ("c1", "bad", "sad", "train", "ann"),
    ("c2", "a bad day", "calm", "train", "bob"),
    ("c3", "good days 好", "glad", "valid", "cat"),
    ("c4", "a day", "sad", "valid", "cat"),
    ("c5", "a a a a a a a a a a", "calm", "test", "dan"),
    ("c6", "bad day", "sad", "test", "dan"),
]
STEPS = {"text": 9, "audio": 40, "vision": 5}


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Seven clips and tiny models, made once; a test gets a copy."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "clips").mkdir()
    for number, (name, *_) in enumerate(ROWS):
        write_video(
            folder / "clips" / f"{name}.mp4",
            shades(4 + 3 * number),
            sound=tone(0.04 + 0.01 * number, 44_100, 200 + 50 * number),
        )
    save_bert(folder / "bert")
    save_wav2vec(folder / "wav2vec")
    save_clip(folder / "clip")
    return folder


@pytest.fixture
def extract(studio, tmp_path, capfd):
    """Run the command on a copy of the studio; gives exit code and what was said."""
    shutil.copytree(studio, tmp_path, dirs_exist_ok=True)
    write_table(tmp_path)

    def run(*more, out="features.npz", **changes):
        given = {
            "clips": tmp_path / "clips",
            "table": tmp_path / "table.csv",
            "out": tmp_path / out,
            "class-names": "sad,calm,glad",
            "text-model": tmp_path / "bert",
            "audio-model": tmp_path / "wav2vec",
            "vision-model": tmp_path / "clip",
            "text-steps": STEPS["text"],
            "audio-steps": STEPS["audio"],
            "frames": STEPS["vision"],
            "batch-size": 3,
            "device": "cpu",
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        words = [
            str(word)
            for name, value in given.items()
            if value is not None
            for word in (f"--{name}", value)
        ]
        capfd.readouterr()
        code = main(["extract", *words, "--quiet", *more])
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def write_table(folder, rows=ROWS, columns=COLUMNS, encoding="utf-8"):
    with open(folder / "table.csv", "w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([columns, *(row[: len(columns)] for row in rows)])


@pytest.fixture
def counted(monkeypatch):
    """Count the clips that each encoder runs."""
    counts = dict.fromkeys(STEPS, 0)
    for make in (TextEncoder, AudioEncoder, VisionEncoder):

        def run(self, prepared, real=make.run):
            counts[self.stream] += len(prepared)
            return real(self, prepared)

        monkeypatch.setattr(make, "run", run)
    return counts


def test_clips_become_a_feature_file(extract, tmp_path):
    code, said = extract()
    assert code == 0, said
    features = load_features(tmp_path / "features.npz")
    assert list(features.ids) == [row[0] for row in ROWS]
    assert list(features.split) == [row[3] for row in ROWS]
    assert list(features.group) == [row[4] for row in ROWS]
    assert features.class_names == ("sad", "calm", "glad")
    assert [features.class_names[label] for label in features.labels] == [row[2] for row in ROWS]
    assert features.lengths == STEPS and features.widths == {"text": 24, "audio": 7, "vision": 11}
    assert "7 samples" in said and "sad 3, calm 2, glad 2" in said
    assert "1 of 7 clips have more than 9 text steps and were cut; --text-steps keeps more" in said


def test_a_folder_holds_the_same_and_stays_on_disk(extract, tmp_path):
    write_table(tmp_path, [("gone", "", "sad", "train", "ann"), *ROWS])  # it has no recording
    assert extract("--streams", "audio,vision")[0] == 0
    code, said = extract("--streams", "audio,vision", out="features")
    assert code == 0 and f"The feature folder is {tmp_path / 'features'}, " in said
    assert "left out: gone" in said
    file, folder = load_features(tmp_path / "features.npz"), load_features(tmp_path / "features")
    assert folder.ids.tolist() == file.ids.tolist() == [row[0] for row in ROWS]
    assert torch.equal(folder.labels, file.labels)
    for stream, value in folder.inputs.items():
        assert isinstance(value, StoredStream)
        assert torch.equal(value[:], file.inputs[stream])
        assert torch.equal(folder.masks[stream], file.masks[stream])
    code, said = extract("--streams", "audio,vision", out="clips")
    assert code == 2 and "holds something else than features" in said


def test_each_clip_has_the_features_of_its_own_sound_words_and_frames(extract, tmp_path):
    assert extract()[0] == 0
    features = load_features(tmp_path / "features.npz")
    encoders = {
        "text": TextEncoder(str(tmp_path / "bert"), steps=STEPS["text"]),
        "audio": AudioEncoder(str(tmp_path / "wav2vec"), steps=STEPS["audio"]),
        "vision": VisionEncoder(str(tmp_path / "clip")),
    }
    for row, (name, text, *_) in enumerate(ROWS):
        clip = tmp_path / "clips" / f"{name}.mp4"
        items = {"text": text, "audio": read_sound(clip), "vision": read_frames(clip, 5)}
        for stream, item in items.items():
            expected = encoders[stream].encode([item]).features[0]
            steps = len(expected)
            torch.testing.assert_close(features.inputs[stream][row, :steps], expected)
            assert features.masks[stream][row].tolist() == [
                step < steps for step in range(STEPS[stream])
            ]
    assert features.masks["vision"].sum(1).tolist() == [4, 5, 5, 5, 5, 5, 5]


def test_the_file_trains_ca_mmaaet_and_becomes_the_four_pickles(extract, tmp_path):
    assert extract()[0] == 0
    file, run = str(tmp_path / "features.npz"), str(tmp_path / "run")
    words = ["--data", file, "--out", run, "--epochs", "1", "--device", "cpu", "--quiet"]
    assert main(["train", "--system", "ca_mmaaet", *words]) == 0
    assert (tmp_path / "run" / "history.csv").is_file()
    pickles, again = str(tmp_path / "pickles"), str(tmp_path / "again.npz")
    assert main(["convert", "--data", file, "--out", pickles]) == 0
    assert (
        main(["convert", "--data", pickles, "--out", again, "--class-names", "sad,calm,glad"]) == 0
    )
    before, after = load_features(file), load_features(again)
    assert after.labels.tolist() == before.labels.tolist()
    every = range(len(ROWS))
    for stream, value in before.batch(every).inputs.items():
        assert torch.equal(after.batch(every).inputs[stream], value)


def test_a_killed_extraction_goes_on_where_it_stopped(extract, tmp_path, counted, monkeypatch):
    assert extract(out="whole.npz")[0] == 0
    assert counted == {"text": 7, "audio": 7, "vision": 7}
    counted.update(dict.fromkeys(counted, 0))

    real, calls = AudioEncoder.run, []

    def killed(self, prepared):
        calls.append(len(prepared))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, prepared)

    with monkeypatch.context() as patched:
        patched.setattr(AudioEncoder, "run", killed)
        code, said = extract()
    assert code == 130 and "continue with: python -m mmlib extract --clips" in said
    assert "--resume" not in said and not (tmp_path / "features.npz").exists()
    assert counted == {"text": 7, "audio": 3, "vision": 0}

    assert extract()[0] == 0
    assert counted == {"text": 7, "audio": 7, "vision": 7}
    assert (tmp_path / "features.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert extract()[0] == 0
    assert counted == {"text": 7, "audio": 7, "vision": 7}


def kept_of(tmp_path, stream, name):
    """The cache file of a clip."""
    for path in (tmp_path / "features.npz.cache" / stream).iterdir():
        if str(np.load(path)["id"]) == name:
            return path
    raise AssertionError(f"nothing is kept of {name}")


def test_only_what_changed_is_computed_again(extract, tmp_path, counted):
    def again(**changes):
        counted.update(dict.fromkeys(counted, 0))
        code, said = extract(**changes)
        assert code == 0, said
        return dict(counted)

    again()
    rows = [*ROWS[:2], ("c2", "good", *ROWS[2][2:]), *ROWS[3:]]
    write_table(tmp_path, rows)
    assert again() == {"text": 1, "audio": 0, "vision": 0}
    write_video(tmp_path / "clips" / "c4.mp4", shades(9), sound=tone(0.2, 44_100))
    assert again() == {"text": 0, "audio": 1, "vision": 1}
    path = kept_of(tmp_path, "audio", "c1")
    path.write_bytes(path.read_bytes()[:-40])
    assert again() == {"text": 0, "audio": 1, "vision": 0}
    kept_of(tmp_path, "vision", "c6").write_bytes(b"")
    assert again() == {"text": 0, "audio": 0, "vision": 1}
    assert again(frames=3) == {"text": 0, "audio": 0, "vision": 7}
    assert again(frames=3, text_steps=11) == {"text": 7, "audio": 0, "vision": 0}
    shutil.rmtree(tmp_path / "wav2vec")
    save_wav2vec(tmp_path / "wav2vec", seed=1)
    assert again(frames=3, text_steps=11) == {"text": 0, "audio": 7, "vision": 0}
    write_table(tmp_path, [*rows, ("c7", "a", "sad", "test", "eve")])
    shutil.copy(tmp_path / "clips" / "c0.mp4", tmp_path / "clips" / "c7.mp4")
    assert again(frames=3, text_steps=11) == {"text": 1, "audio": 1, "vision": 1}


def test_a_clip_put_right_is_taken_up(extract, tmp_path, counted):
    clip = tmp_path / "clips" / "c3.mp4"
    whole = clip.read_bytes()
    clip.write_bytes(whole[:200])
    code, said = extract()
    assert code == 0 and counted == {"text": 7, "audio": 6, "vision": 6}
    clip.write_bytes(whole)
    told = [line for line in said.splitlines() if "masked as absent" in line]
    assert told == [
        "mmlib extract: 2 streams could not be had and are masked as absent; no clip is left out."
    ]
    code, said = extract()
    assert code == 0 and "c3" not in said and counted == {"text": 7, "audio": 7, "vision": 7}
    assert bool(load_features(tmp_path / "features.npz").masks["audio"][3].any())


def test_bad_clips_are_named_and_lose_no_other(extract, tmp_path):
    assert extract(out="good.npz")[0] == 0
    clips = tmp_path / "clips"
    (clips / "c0.mp4").write_bytes(b"no recording at all" * 50)  # only its words are left
    write_video(clips / "c1.mp4", shades(5))  # no sound
    (clips / "c2.mp4").unlink()
    write_wav(clips / "c2.wav", tone(0.05, 16_000))  # no picture
    write_wav(clips / "c4.wav", np.zeros(3))  # too short for a single step
    (clips / "c4.mp4").unlink()
    (clips / "c5.mp4").unlink()  # and no words: nothing is left of it
    rows = [*ROWS[:5], ("c5", " ", *ROWS[5][2:]), ROWS[6]]
    write_table(tmp_path, rows)
    code, said = extract()
    assert code == 0, said
    told = [line for line in said.splitlines() if ": no " in line]
    parts = {tuple(line.split(": ")[1:3]) for line in told}
    assert parts == {
        *(("c0", "no audio"), ("c0", "no vision"), ("c1", "no audio"), ("c2", "no vision")),
        *(("c4", "no audio"), ("c4", "no vision")),
        *(("c5", "no text"), ("c5", "no audio"), ("c5", "no vision")),
    }
    assert "c2.wav has no picture" in said and "c5 does not exist" in said
    assert "9 streams could not be had and are masked as absent; left out: c5" in said
    features, good = load_features(tmp_path / "features.npz"), load_features(tmp_path / "good.npz")
    assert list(features.ids) == ["c0", "c1", "c2", "c3", "c4", "c6"]
    left = [row for row in ROWS if row[0] != "c5"]
    assert [features.class_names[label] for label in features.labels] == [row[2] for row in left]
    assert list(features.split) == [row[3] for row in left]
    assert list(features.group) == [row[4] for row in left]
    absent = {
        stream: [name for name, there in zip(features.ids, mask.any(1), strict=True) if not there]
        for stream, mask in features.masks.items()
    }
    assert absent == {"text": [], "audio": ["c0", "c1", "c4"], "vision": ["c0", "c2", "c4"]}
    for new, old in ((3, 3), (5, 6)):  # c3 and c6 are what they were
        for stream in STEPS:
            torch.testing.assert_close(features.inputs[stream][new], good.inputs[stream][old])


def test_an_encoder_that_gives_more_steps_than_fit_is_cut_and_told(studio, tmp_path):
    clips = [Clip(name, None, text, label, *rest) for name, text, label, *rest in ROWS]
    encoder = TextEncoder(str(studio / "bert"), steps=None)
    names = ["sad", "calm", "glad"]
    made = extracting.extract(
        clips, [encoder], class_names=names, cache=tmp_path, lengths={"text": 4}, progress=False
    )
    whole = encoder.encode([clip.text for clip in clips])
    torch.testing.assert_close(made.features.inputs["text"], whole.features[:, :4])
    assert torch.equal(made.features.masks["text"], whole.mask[:, :4])
    assert made.longer == {"text": int((whole.mask.sum(1) > 4).sum())}
    assert made.computed == {"text": len(ROWS)} and not made.failures and not made.left_out


def test_a_stream_that_no_clip_has_is_refused(extract, tmp_path):
    for row in ROWS:
        (tmp_path / "clips" / f"{row[0]}.mp4").unlink()
        write_wav(tmp_path / "clips" / f"{row[0]}.wav", tone(0.05, 16_000))
    code, said = extract()
    assert code == 2 and "of 7 clips none has a usable vision; leave this stream out" in said
    code, said = extract("--streams", "audio,text")
    assert code == 0 and load_features(tmp_path / "features.npz").modalities == ("text", "audio")


def test_text_alone_needs_neither_clips_nor_a_decoder(extract, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    code, said = extract("--streams", "text", clips=None)
    assert code == 0 and load_features(tmp_path / "features.npz").modalities == ("text",), said
    code, said = extract("--streams", "text,audio")
    assert code == 2 and "install it with the extra 'media'" in said


def test_missing_optional_columns_are_said(extract, tmp_path):
    write_table(tmp_path, columns=COLUMNS[:3], encoding="utf-8-sig")
    code, said = extract("--streams", "text")
    assert code == 0 and "no column 'split', so all samples are train" in said
    assert "no column 'group', so each clip is a group of its own" in said
    features = load_features(tmp_path / "features.npz")
    assert set(features.split) == {"train"} and list(features.group) == list(features.ids)


def test_the_published_text_model_follows_the_script_of_the_texts(extract, tmp_path):
    _, said = extract("--streams", "text", text_model=None)
    assert "'google-bert/bert-base-uncased' is not a folder here" in said
    write_table(tmp_path, [(name, "今天很好", *rest) for name, _, *rest in ROWS])
    _, said = extract("--streams", "text", text_model=None)
    assert "'google-bert/bert-base-chinese' is not a folder here" in said


def test_a_model_of_another_language_is_noticed(extract, tmp_path):
    rows = [(name, "今天很好", *rest) for name, _, *rest in ROWS]
    write_table(tmp_path, rows)
    code, said = extract("--streams", "text")
    assert code == 0 and "does not know 50% of the tokens; is it a model of the texts'" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"class_names": None}, "give --class-names, the labels in the order of their numbers;"),
        (
            {"class_names": "sad,glad"},
            "the label of 'c2' is 'calm' but the class names are sad, gl",
        ),
        ({"streams": "text,smell"}, "--streams names 'smell', expected one or more of text,audio"),
        ({"clips": None}, "give the folder of clips with --clips, or choose --streams text"),
        ({"out": "features.csv"}, "expected a feature file such as features.npz"),
        ({"batch_size": 0}, "the batch size is 0"),
        ({"text_model": "nobody/nothing"}, "cannot be fetched from the Hugging Face hub"),
        (
            {"vision_model": "./nothing"},
            "./nothing is not a folder, expected one with a CLIP model",
        ),
        ({"frames": 0}, "--frames is 0, expected at least 1"),
        ({"audio_steps": 0}, "--audio-steps is 0, expected at least 1"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_before_anything_is_computed(
    extract, counted, more, says
):
    code, said = extract(**more)
    assert code == 2 and says in said and said.count("\n") == 1
    assert counted == {"text": 0, "audio": 0, "vision": 0}


def test_a_table_without_texts_asks_for_other_streams(extract, tmp_path):
    write_table(tmp_path, [(name, label) for name, _, label, *_ in ROWS], columns=("id", "label"))
    code, said = extract()
    assert code == 2 and "has no column 'text'" in said and "--streams audio,vision" in said


def test_without_the_encoders_package_one_sentence_names_the_extra(extract, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, said = extract()
    assert code == 2 and "install it with the extra 'pretrained'" in said and said.count("\n") == 1


def test_progress_is_shown_for_each_stream(extract, capfd, tmp_path):
    words = ["--table", tmp_path / "table.csv", "--out", tmp_path / "f.npz", "--streams", "text"]
    more = ["--class-names", "sad,calm,glad", "--text-model", tmp_path / "bert"]
    assert main(["extract", *map(str, [*words, *more])]) == 0
    assert "text: 100%" in capfd.readouterr().err


def test_no_part_of_a_file_is_left_behind(extract, tmp_path):
    assert extract()[0] == 0
    assert not [path for path in tmp_path.rglob("*.part")]
    assert len(list((tmp_path / "features.npz.cache").rglob("*.npz"))) == 3 * len(ROWS)
    assert os.path.getsize(tmp_path / "features.npz") > 0
