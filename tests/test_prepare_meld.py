"""`prepare --dataset meld`, as a person or a script calls it."""

import csv

import numpy as np
import pytest
import torch
from recordings import shades, tone, write_video
from tiny_models import save_gpt

import mmlib.data.faces
from mmlib.backbones.dialogues import WordTokenizer, encode_dialogues, special_tokens
from mmlib.backbones.gpt import load_tokenizer
from mmlib.cli import main
from mmlib.data import load_features
from mmlib.data.clip_table import read_clip_table
from mmlib.data.meld import EMOTIONS, FILES, FOLDERS, read_sentences

HEADER = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID",
          "Season", "Episode", "StartTime", "EndTime"]  # fmt: skip
COUNTS = {"train": 3, "valid": 2, "test": 2}


def run(*words) -> int:
    """Call the command line as a shell would, with the exit code of a parser's refusal too."""
    try:
        return main([str(word) for word in words])
    except SystemExit as ended:
        return ended.code


def prepare(root, out, *more) -> int:
    words = ["--dataset", "meld", "--root", root, "--out", out, "--quiet", "--workers", 1]
    return run("prepare", *words, *more)


def write_sentences(root, counts=COUNTS):
    """Write a csv file for each split, of two dialogues."""
    for split, count in counts.items():
        with open(root / FILES[split], "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            for dialogue in (0, 1):
                for number in range(count):
                    words = f"the {number}. thing of {dialogue} that\u2019s {split}"
                    emotion = EMOTIONS[(3 * dialogue + number) % 7]
                    times = [f"0:01:0{number},000", f"0:01:0{number},900"]
                    writer.writerow([1, words, "AB"[number % 2], emotion, "neutral", dialogue,
                                     number, 8, 21, *times])  # fmt: skip


def write_clip(path, seconds=0.6, rate=10, **settings):
    """Write a small clip with sound and picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings.setdefault("sound", tone(seconds, 16_000, 500.0))
    frames = settings.pop("frames", shades(round(seconds * rate), (16, 24)))
    return write_video(path, frames, rate=rate, sound_rate=16_000, **settings)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Write a release: a missing clip, a corrupt one, a long one, an extra one, the rest good."""
    folder = tmp_path_factory.mktemp("meld")
    write_sentences(folder)
    good = write_clip(folder / "train_splits/dia0_utt0.mp4").read_bytes()
    for split, count in COUNTS.items():
        for name in (f"dia{d}_utt{n}.mp4" for d in (0, 1) for n in range(count)):
            path = folder / FOLDERS[split] / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(good)
    (folder / FOLDERS["valid"] / "dia1_utt1.mp4").unlink()
    (folder / FOLDERS["train"] / "dia1_utt2.mp4").write_bytes(good[: len(good) // 2])
    (folder / FOLDERS["test"] / "final_videos_testdia0_utt0.mp4").write_bytes(good)
    write_clip(folder / FOLDERS["train"] / "dia0_utt2.mp4", 3.5)
    return folder


def test_text_needs_no_clips_and_is_what_the_encoder_makes(tmp_path, capsys):
    write_sentences(tmp_path)
    out = tmp_path / "text.npz"
    assert prepare(tmp_path, out, "--tokenizer", "words") == 0
    told = capsys.readouterr()
    assert "14 samples (train 6, valid 4, test 4): text (" in told.out
    features = load_features(out)
    said = read_sentences(tmp_path).utterances
    words = WordTokenizer.learn([one.sentence for one in said if one.split == "train"])
    expected = encode_dialogues(said, words)
    assert np.array_equal(features.inputs["text"].numpy(), expected.tokens)
    assert np.array_equal(features.masks["text"].numpy(), expected.mask)
    assert features.inputs["text"].dtype == torch.int32 and features.modalities == ("text",)
    assert features.batch([0]).inputs["text"].dtype == torch.int64
    assert special_tokens(features.inputs["text"], features.masks["text"]) == expected.special
    assert features.ids.tolist() == [one.id for one in said]
    assert features.ids[:4].tolist() == [
        *(f"train_dia0_utt{n}" for n in range(3)),
        "train_dia1_utt0",
    ]
    assert features.class_names == EMOTIONS
    assert features.labels.tolist() == [one.label for one in said]
    assert len(set(features.group)) == 6
    lines = told.err.splitlines()
    assert len(lines) == 1 and "train has 6 of 9,989; valid has 4 of 1,109; test has 4" in lines[0]
    assert not (tmp_path / "text.report.csv").exists(), "there is nothing to report"


def test_a_published_tokenizer_the_reply_and_the_history_change_the_text(tmp_path, capsys):
    write_sentences(tmp_path)
    name = save_gpt(tmp_path / "gpt")
    said = read_sentences(tmp_path).utterances
    for words, settings in (
        ([], {}),
        (["--use-reply"], {"use_reply": True}),
        (["--history", "1", "--text-seed", "4"], {"history": 1, "seed": 4}),
        (["--max-length", "19"], {"max_length": 19}),
    ):
        out = tmp_path / "text.npz"
        assert prepare(tmp_path, out, "--tokenizer", name, *words) == 0
        expected = encode_dialogues(said, load_tokenizer(name), **settings)
        assert np.array_equal(load_features(out).inputs["text"].numpy(), expected.tokens)
        told = capsys.readouterr().err
        assert ("holds what is said next" in told) == ("--use-reply" in words)
        assert ("rows of text" in told) == bool(expected.cut.any())
    assert expected.cut.any(), "nineteen tokens are too few here"


def test_clips_become_waveforms_and_pictures_with_each_fault_told(root, tmp_path, capsys):
    out = tmp_path / "clips.npz"
    more = ["--streams", "audio,vision", "--no-faces", "--frames", "5", "--size", "8"]
    more += ["--longest", "3"]
    assert prepare(root, out, *more) == 0
    told = capsys.readouterr()
    features = load_features(out)
    assert features.modalities == ("audio", "vision") and len(features) == 12
    assert features.inputs["audio"].shape == (12, 236, 200)
    assert features.inputs["audio"].dtype == torch.float16
    assert features.inputs["vision"].shape == (12, 5, 3, 8, 8)
    assert features.inputs["vision"].dtype == torch.uint8
    assert "train 5, valid 3, test 4" in told.out
    lines = [line.removeprefix("mmlib prepare: ") for line in told.err.splitlines()]
    assert len(lines) == 7, lines
    extra = "output_repeated_splits_test/final_videos_testdia0_utt0.mp4"
    assert lines[1:5] == [
        "labelled utterances without a clip (1): valid_dia1_utt1",
        "clips that cannot be opened (1): train_dia1_utt2",
        "clips far longer than any utterance, so badly cut (1): train_dia0_utt2 (4 s)",
        f"clips of no labelled utterance, not used (1): {extra}",
    ]
    assert lines[5] == (
        "1 of 13 clips (8%) have more than 2.95 seconds of sound; the rest of it is cut off."
    )
    assert lines[6] == "2 of 14 utterances are left out, for nothing of them could be had."
    with open(tmp_path / "clips.report.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [name for name, _ in rows] == [
        *("clip", "valid_dia1_utt1", "train_dia1_utt2", "train_dia0_utt2"),
        extra,
    ]
    assert prepare(root, out, *more) == 0, "and from the cache"
    assert "12 of 14 clips taken from the cache" in capsys.readouterr().err
    words = ["--system", "late", "--data", out, "--streams", "vision", "--epochs", 1, "--quiet"]
    assert run("train", *words, "--out", tmp_path / "run") == 0


def test_all_streams_in_a_folder_are_what_they_are_in_a_file(root, tmp_path, capsys):
    more = ["--streams", "text,audio,vision", "--tokenizer", "words", "--no-faces", "--size", "8"]
    file, folder = tmp_path / "all.npz", tmp_path / "all"
    assert prepare(root, file, *more) == 0 and prepare(root, folder, *more) == 0
    assert f"The feature folder is {folder}" in capsys.readouterr().out
    one, other = load_features(file), load_features(folder)
    assert len(one) == 14, "those without a clip have their text"
    assert one.fingerprint() == other.fingerprint() and one.ids.tolist() == other.ids.tolist()
    assert one.modalities == ("text", "audio", "vision") and one.lengths["vision"] == 50
    lacking = ~one.masks["audio"].any(1)
    assert one.ids[lacking.numpy()].tolist() == ["train_dia1_utt2", "valid_dia1_utt1"]
    assert prepare(root, folder, "--tokenizer", "words") == 0, "a feature folder is replaced"
    assert load_features(folder).modalities == ("text",)


def test_faces_are_sought_and_a_clip_without_one_is_named(root, tmp_path, monkeypatch, capsys):
    seen = []

    class Detector:
        identity = "the corner of what is not bright"

        def __init__(self, model):
            seen.append(model)

        def __call__(self, frame):
            seen.append(frame.shape)
            return None if frame.mean() > 100 else (0, 0, 8, 8)

    monkeypatch.setattr(mmlib.data.faces, "FaceDetector", Detector)
    bright = [np.full((16, 24, 3), 220, dtype=np.uint8)] * 4
    copy = tmp_path / "meld"
    copy.mkdir()
    write_sentences(copy, {"train": 2})
    for name in ("dia0_utt0", "dia0_utt1", "dia1_utt0"):
        write_clip(copy / "train_splits" / f"{name}.mp4")
    write_clip(copy / "train_splits" / "dia1_utt1.mp4", frames=bright)
    out = tmp_path / "faces.npz"
    assert prepare(copy, out, "--streams", "vision", "--face-model", "m.onnx") == 0
    assert seen[0] == "m.onnx" and seen.count((16, 24, 3)) == 6 * 3 + 4
    told = capsys.readouterr().err
    assert "train_dia1_utt1: no vision: there is no face in any of its 4 frames." in told
    assert "left out: train_dia1_utt1" in told
    assert "train_dia1_utt1,no vision" in (tmp_path / "faces.report.csv").read_text()
    features = load_features(out)
    assert features.inputs["vision"].shape == (3, 50, 3, 160, 160)
    assert features.masks["vision"].sum(1).tolist() == [6, 6, 6]
    refusal = ["--streams", "vision", "--refuse", "failed"]
    other = tmp_path / "other.npz"
    assert prepare(copy, other, *refusal) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "first 'train_dia1_utt1', vision: there is no face" in told
    assert not other.exists()


def test_an_utterance_without_a_clip_is_no_stream_that_failed(root, tmp_path):
    assert prepare(root, tmp_path / "a.npz", "--streams", "audio", "--refuse", "failed") == 0


@pytest.mark.parametrize("kind", ["missing", "corrupt", "extra", "missing,extra"])
def test_a_fault_that_is_refused_stops_before_any_work(root, tmp_path, capsys, kind):
    out = tmp_path / "out.npz"
    assert prepare(root, out, "--streams", "audio", "--refuse", kind) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "not to be tolerated" in told
    assert all(f"{one} 1 (" in told for one in kind.split(",")) and list(tmp_path.iterdir()) == []


def test_a_table_for_extract_names_every_clip(root, tmp_path, capsys):
    out = tmp_path / "table.csv"
    assert prepare(root, out) == 0
    told = capsys.readouterr().err
    assert "clips that cannot be opened (1): train_dia1_utt2" in told
    assert f"extract --clips {root} --table {out} --class-names neutral,joy,sadness," in told
    table = read_clip_table(out, root)
    assert table.absent == () and len(table.clips) == 14
    said = read_sentences(root).utterances
    for clip, one in zip(table.clips, said, strict=True):
        assert (clip.name, clip.text, clip.label) == (one.id, one.sentence, one.emotion)
        assert (clip.split, clip.group) == (one.split, one.group)
        assert clip.path == root / FOLDERS[one.split] / f"dia{one.dialogue}_utt{one.number}.mp4"
    (tmp_path / "texts").mkdir()
    write_sentences(tmp_path / "texts")
    assert prepare(tmp_path / "texts", out) == 0, "the texts alone make a table, too"
    assert "there is no clip of any of the 14" in capsys.readouterr().err
    assert len(read_clip_table(out).clips) == 14


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--root", "nowhere"], "nowhere is not a folder"),
        (["--streams", "text,smell"], "--streams is 'text,smell', expected one or more of text"),
        (["--streams", "audio,audio"], "--streams is 'audio,audio'"),
        (["--refuse", "ugly"], "--refuse names 'ugly', expected some of missing, corrupt"),
        (["--streams", "vision", "--frames", "0"], "frames is 0"),
        (["--streams", "vision", "--size", "0"], "size is 0"),
        (["--streams", "audio", "--workers", "0"], "workers is 0"),
        (["--streams", "audio", "--longest", "0"], "longest is 0"),
        (["--tokenizer", "./nothing"], "./nothing"),
        (["--tokenizer", "words", "--history", "-2"], "history is -2"),
        (["--tokenizer", "words", "--max-length", "2"], "max_length is 2"),
        (["--out", "features.txt"], "--out is features.txt, expected a feature file"),
        (["--out", "a.folder"], "--out is a.folder, expected a feature file"),
    ],
)
def test_what_cannot_be_met_is_one_sentence(root, tmp_path, capsys, more, says):
    assert prepare(root, tmp_path / "out.npz", "--no-faces", *more) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1 and "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_words_need_a_train_split_and_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    write_sentences(tmp_path, {"test": 2})
    assert prepare(tmp_path, tmp_path / "a.npz", "--tokenizer", "words") == 2
    assert "there is no train_sent_emo.csv" in capsys.readouterr().err
    assert prepare(tmp_path, tmp_path, "--tokenizer", "words") == 2
    assert "holds something else than features" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["test_sent_emo.csv"]
    assert prepare(tmp_path, tmp_path / "a.npz", "--streams", "audio") == 2
    assert "no clip of any of the 4 utterances" in capsys.readouterr().err


@pytest.mark.data
def test_the_real_texts_are_prepared(shared_data, tmp_path, capsys):
    root = shared_data / "meld_text"
    if not root.is_dir():
        pytest.skip(f"no csv files in {root}")
    out = tmp_path / "text.npz"
    assert prepare(root, out, "--tokenizer", "words", "--max-length", "64") == 0
    told = capsys.readouterr()
    assert (
        "11098 samples (train 9989, valid 1109): text (64, 4); neutral 5180, joy 1906" in told.out
    )
    features = load_features(out)
    valid = features.subset("valid")
    counts = torch.bincount(valid.labels, minlength=7).tolist()
    assert counts == [470, 163, 111, 153, 150, 40, 22]
    assert len(set(features.group)) == 1038 + 114 and len(set(features.ids)) == 11_098
