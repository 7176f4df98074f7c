"""From csv files to a fusion by commands alone: prepare, train an expert, extract --run, join, train."""

import csv
import os
import shutil

import numpy as np
import pytest
import torch
from conversations import conversations
from tiny_models import save_gpt

from mmlib.cli import main
from mmlib.data import load_features, save_features
from mmlib.data.stored_stream import StoredStream
from mmlib.training import runs

FILES = {"train": "train", "valid": "dev", "test": "test"}
COLUMNS = (
    *("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)


def write_csv(folder, utterances) -> None:
    """Write utterances as the release has them."""
    for split, name in FILES.items():
        with open(folder / f"{name}_sent_emo.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for number, one in enumerate(one for one in utterances if one.split == split):
                words = (number, one.sentence, one.speaker, one.emotion, one.sentiment)
                rest = (one.dialogue, one.number, 1, 1, "00:00:01,000", "00:00:03,500")
                writer.writerow((*words, *rest))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared file and a trained run, made once; a test gets a copy."""
    folder = tmp_path_factory.mktemp("talks")
    write_csv(folder, conversations())
    words = ["--root", str(folder), "--tokenizer", "words", "--out", str(folder / "raw.npz")]
    assert main(["prepare", "--dataset", "meld", *words, "--quiet"]) == 0
    words = ["--data", str(folder / "raw.npz"), "--out", str(folder / "run"), "--device", "cpu"]
    assert main(["train", "--system", "gpt", *words, "--epochs", "2", "--quiet"]) == 0
    return folder


@pytest.fixture
def command(made, tmp_path, capfd):
    """Run a command among copies of the files; gives exit code and what was said."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)

    def run(*words):
        capfd.readouterr()
        known = [str(tmp_path / word[1:]) if str(word)[:1] == "@" else str(word) for word in words]
        code = main(known)
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def extract(command, *more, out="@text.npz"):
    given = ("--run", "@run", "--data", "@raw.npz", "--out", out, "--device", "cpu")
    return command("extract", *given, *more)


def add_streams(folder) -> None:
    """Write features of sound for most, and of faces for all, of the samples of the text."""
    text = load_features(folder / "text.npz")
    draw = np.random.default_rng(0)
    for stream, steps, width, rows in (
        ("audio", 6, 5, np.flatnonzero(np.arange(len(text)) % 5)),
        ("vision", 3, 7, np.arange(len(text))[::-1].copy()),
    ):
        values = torch.from_numpy(draw.normal(size=(len(rows), steps, width)).astype(np.float32))
        some = text.subset(rows)
        made = type(some)(
            {stream: values},
            {},
            some.labels,
            some.class_names,
            split=some.split,
            group=some.group,
            ids=some.ids,
        )
        save_features(made, folder / f"{stream}.npz")


def test_a_trained_expert_makes_a_feature_file(command, tmp_path):
    code, said = extract(command)
    assert code == 0, said
    raw, text = load_features(tmp_path / "raw.npz"), load_features(tmp_path / "text.npz")
    steps = text.lengths["text"]
    assert f"{len(raw)} samples: text ({steps}, 64), from gpt. The feature file is" in said
    assert "text: 100%" in said, "a bar is shown"
    assert text.inputs["text"].dtype == torch.float16 and text.widths == {"text": 64}
    for key in ("ids", "split", "group", "labels"):
        assert list(getattr(text, key)) == list(getattr(raw, key))
    assert text.class_names == raw.class_names
    model, _ = runs.load_run(tmp_path / "run")
    batch = raw.batch([3, 40])
    with torch.no_grad():
        features, mask = model.eval().features(**batch.inputs, masks=batch.masks)
    again = text.batch([3, 40])
    assert torch.equal(mask[:, :steps], again.masks["text"])
    torch.testing.assert_close(features[:, :steps], again.inputs["text"], atol=2e-3, rtol=2e-3)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_features_can_be_kept_whole_or_only_at_their_end(command, tmp_path):
    assert extract(command, "--quiet")[0] == 0
    code, said = extract(command, "--float32", "--steps", "4", "--quiet", out="@few.npz")
    assert code == 0 and "text (4, 64)" in said and "100%" not in said
    few, whole = load_features(tmp_path / "few.npz"), load_features(tmp_path / "text.npz")
    assert few.inputs["text"].dtype == torch.float32
    last = whole.masks["text"].sum(1) - 1
    rows = torch.arange(len(few))
    torch.testing.assert_close(
        few.inputs["text"][:, 3].half(), whole.inputs["text"][rows, last], atol=1e-3, rtol=1e-3
    )


def test_extracted_features_are_joined_and_fused(command, tmp_path):
    assert extract(command, "--quiet")[0] == 0
    add_streams(tmp_path)
    parts = ["@text.npz", "@audio.npz", "@vision.npz"]
    code, said = command("join", *parts, "--out", "@all.npz")
    assert code == 0, said
    count = len(load_features(tmp_path / "text.npz"))
    lacking = len(range(0, count, 5))
    assert (
        f"{count - lacking} with text and audio and vision, {lacking} with text and vision" in said
    )
    assert (
        f"audio.npz has no {lacking} of the {count} samples; its audio is masked as absent" in said
    )
    features = load_features(tmp_path / "all.npz")
    assert features.widths == {"text": 64, "audio": 5, "vision": 7}
    words = ["--data", "@all.npz", "--out", "@fused", "--epochs", "1", "--device", "cpu", "--quiet"]
    code, said = command("train", "--system", "embracenet", *words)
    assert code == 0, said
    words = ["--run", "@fused", "--data", "@all.npz", "--json", "@result.json", "--device", "cpu"]
    assert command("evaluate", *words)[0] == 0


def test_what_is_larger_than_memory_goes_from_folder_to_folder(command, tmp_path):
    assert extract(command, "--quiet")[0] == 0
    code, said = extract(command, "--quiet", out="@texts")
    assert code == 0 and f"The feature folder is {tmp_path / 'texts'}, " in said
    add_streams(tmp_path)
    assert command("join", "@text.npz", "@audio.npz", "--out", "@all.npz")[0] == 0
    code, said = command("join", "@texts", "@audio.npz", "--out", "@all")
    assert code == 0 and f"The feature folder is {tmp_path / 'all'}, " in said
    folder, file = load_features(tmp_path / "all"), load_features(tmp_path / "all.npz")
    assert all(isinstance(value, StoredStream) for value in folder.inputs.values())
    assert folder.ids.tolist() == file.ids.tolist() and torch.equal(folder.labels, file.labels)
    steps = file.lengths["text"]  # the folder also has those that no sample fills
    assert not bool(folder.masks["text"][:, steps:].any())
    assert torch.equal(folder.inputs["text"][:][:, :steps], file.inputs["text"])
    assert torch.equal(folder.inputs["audio"][:], file.inputs["audio"])
    assert torch.equal(folder.masks["audio"], file.masks["audio"])
    assert command("join", "@text.npz", "@audio.npz", "--out", "@run")[0] == 2  # holds a run


def test_files_whose_samples_have_no_names_are_joined_by_place_and_that_is_said(command, tmp_path):
    for stream in ("text", "audio"):
        arrays = {stream: np.ones((3, 2, 4), np.float32), "labels": np.array([0, 1, 1])}
        more = {"class_names": np.array(["a", "b"]), "split": np.array(["train"] * 3)}
        np.savez(tmp_path / f"{stream}.npz", **arrays, **more)
    code, said = command("join", "@text.npz", "@audio.npz", "--out", "@all.npz")
    assert code == 0 and "the samples of" in said
    assert said.count("have no names but their places, 0 to 2") == 2


def test_disagreeing_files_write_nothing(command, tmp_path):
    assert extract(command, "--quiet")[0] == 0
    add_streams(tmp_path)
    audio = load_features(tmp_path / "audio.npz")
    audio.labels[0] = (audio.labels[0] + 1) % 7
    save_features(audio, tmp_path / "audio.npz")
    code, said = command("join", "@text.npz", "@audio.npz", "--out", "@all.npz")
    assert code == 2 and "the label of sample 'train_dia0_utt1' is" in said
    assert said.count("\n") == 1 and not os.path.exists(tmp_path / "all.npz")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("extract", "--run", "@run", "--out", "@t.npz"), "give both --run and --data"),
        (("extract", "--data", "@raw.npz", "--out", "@t.npz"), "give both --run and --data"),
        (("extract", "--out", "@t.npz"), "give --table, a csv of clips, or --run and --data"),
        (
            ("extract", "--run", "@run", "--data", "@raw.npz", "--out", "@t.csv"),
            "expected a feature file such as features.npz",
        ),
        (
            (
                "extract",
                "--run",
                "@run",
                "--data",
                "@raw.npz",
                "--table",
                "@t.csv",
                "--out",
                "@t.npz",
            ),
            "leave out --table: with --run, an expert reads --data alone",
        ),
        (
            ("extract", "--run", "@run", "--data", "@raw.npz", "--out", "@t.npz")
            + ("--frames", "3", "--pieces", "2"),
            "leave out --frames, --pieces: with --run, an expert reads --data alone",
        ),
        (
            ("extract", "--table", "@t.csv", "--out", "@t.npz", "--steps", "3", "--float32"),
            "leave out --steps, --float32, which only an expert takes",
        ),
        (
            ("extract", "--run", "@nothing", "--data", "@raw.npz", "--out", "@t.npz"),
            "holds no run (there is no config.json)",
        ),
        (
            ("extract", "--run", "@run", "--data", "@raw.npz", "--out", "@t.npz", "--steps", "0"),
            "steps is 0, expected at least 1",
        ),
        (
            ("extract", "--run", "@run", "--data", "@raw.npz", "--out", "@run/../raw.npz"),
            "raw.npz itself, which would be lost; choose another name",
        ),
        (
            ("join", "@none.npz", "@raw.npz", "--out", "@raw.npz"),
            "raw.npz itself, which would be lost; choose another name",
        ),
        (("join", "@raw.npz", "--out", "@all.npz"), "there is 1 feature set to join"),
        (("join", "@raw.npz", "@raw.npz", "--out", "@all.npz"), "both raw and raw have 'text'"),
        (("join", "@raw.npz", "@none.npz", "--out", "@all.npz"), "none.npz does not exist"),
        (
            ("join", "@raw.npz", "@raw.npz", "--out", "@all.txt"),
            "expected a feature file such as features.npz",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence(command, words, says):
    code, said = command(*words)
    assert code == 2 and says in said and said.count("\n") == 1


def test_a_system_without_features_of_its_own_is_refused(command, tmp_path):
    assert extract(command, "--quiet")[0] == 0
    words = [
        "--data",
        "@text.npz",
        "--out",
        "@other",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--quiet",
    ]
    assert command("train", "--system", "majority", *words)[0] == 0
    given = ("--run", "@other", "--data", "@text.npz", "--out", "@more.npz")
    code, said = command("extract", *given, "--quiet")
    assert code == 2 and "the system has no features to extract; expected an expert" in said


def test_weights_of_another_tokenizer_are_refused_before_training(command, tmp_path):
    save_gpt(tmp_path / "gpt")
    words = ["--data", "@raw.npz", "--out", "@other", "--weights", "@gpt", "--quiet"]
    code, said = command("train", "--system", "gpt", *words)
    assert code == 2 and "entries, but" in said and "prepare it with that model's own" in said
    words = ["--dataset", "meld", "--root", "@.", "--tokenizer", "@gpt", "--max-length", "40"]
    assert command("prepare", *words, "--out", "@again.npz", "--quiet")[0] == 0
    words = ["--data", "@again.npz", "--out", "@other", "--weights", "@gpt", "--quiet"]
    code, said = command("train", "--system", "gpt", *words, "--epochs", "1", "--device", "cpu")
    assert code == 0, said
    _, about = runs.load_run(tmp_path / "other")
    assert about["config"]["embed_dim"] == 12 and about["config"]["entries"] == 37
