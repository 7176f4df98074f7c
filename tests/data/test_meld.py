"""MELD: its csv files with all that has become of them, and its clips with their faults."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from recordings import number_of, shades, tone, write_video, write_wav

from mmlib.data import FeatureError, gathering, load_features, meld
from mmlib.data.feature_cache import Kept
from mmlib.data.media import MediaError
from mmlib.data.meld import EMOTIONS, Turn, read_csv, read_sentences
from mmlib.data.meld_clips import FAULTS, MeldRecipe, find_clips
from mmlib.data.preparing import prepare

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,"
    "EndTime"
)


def row(dialogue, number, *, sentence="Well.", speaker="Ann", emotion="joy", sentiment="positive",
        start="0:01:02,500", end="0:01:04,000"):  # fmt: skip
    """Write a row as the release has them."""
    return (
        f'7,"{sentence}",{speaker},{emotion},{sentiment},{dialogue},{number},8,21,"{start}","{end}"'
    )


def table(*rows, header=HEADER):
    return "\n".join([header, *rows]) + "\n"


@pytest.fixture
def write(tmp_path):
    """Write a csv file, as text or as bytes."""

    def _write(text, name="train_sent_emo.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def test_a_row_tells_who_says_what_and_how(write):
    text = table(row(3, 5, sentence="Or! Or, we go.", speaker="Ross", end="00:01:04,049"))
    (one,) = read_csv(write(text), "valid")
    assert (one.dialogue, one.number, one.speaker) == (3, 5, "Ross")
    assert one.sentence == "Or! Or, we go." and one.emotion == "joy" and one.label == 1
    assert one.sentiment == "positive" and one.split == "valid"
    assert one.start == pytest.approx(62.5) and one.seconds == pytest.approx(1.549)
    assert (one.id, one.group) == ("valid_dia3_utt5", "valid_dia3")
    assert one.history == () and one.reply is None and one.clip is None
    clip = one.as_clip()
    assert (clip.name, clip.label, clip.group) == ("valid_dia3_utt5", "joy", "valid_dia3")
    assert (clip.text, clip.split, clip.path) == ("Or! Or, we go.", "valid", None)


def test_the_classes_have_the_order_of_the_counts():
    assert EMOTIONS == ("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust")
    assert {split: sum(counts) for split, counts in meld.RELEASED_COUNTS.items()} == {
        "train": 9989,
        "valid": 1109,
        "test": 2610,
    }


def spoken(count, dialogue=0, **more):
    return [row(dialogue, n, sentence=f"Number {n}.", speaker="AB"[n % 2], **more) for n in range(count)]  # fmt: skip


def test_history_is_the_last_five_of_the_same_dialogue_and_the_reply_the_next(write):
    utterances = read_csv(write(table(*spoken(8), *spoken(2, dialogue=4))), "train")
    assert [len(one.history) for one in utterances] == [0, 1, 2, 3, 4, 5, 5, 5, 0, 1]
    seventh = utterances[6]
    assert (
        seventh.history[0] == Turn("B", "Number 1.") and seventh.history[-1].sentence == "Number 5."
    )
    assert seventh.reply == Turn("B", "Number 7.")
    assert utterances[7].reply is None, "the next dialogue does not answer"
    assert utterances[8].history == () and utterances[9].reply is None


def test_the_length_of_the_history_may_be_chosen(write):
    path = write(table(*spoken(4)))
    assert [len(one.history) for one in read_csv(path, "train", history=2)] == [0, 1, 2, 2]
    assert all(one.history == () for one in read_csv(path, "train", history=0))
    with pytest.raises(FeatureError, match="history is -1"):
        read_csv(path, "train", history=-1)


def test_rows_in_any_order_are_put_in_the_order_of_speech(write):
    rows = [*spoken(3, dialogue=9), *spoken(12, dialogue=2)]
    straight = read_csv(write(table(*rows)), "train")
    mixed = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert read_csv(write(table(*mixed)), "train") == straight
    assert [one.number for one in straight] == [*range(12), *range(3)], "10 comes after 9"
    assert straight[11].history[-1].sentence == "Number 10."


def test_an_utterance_that_was_left_out_leaves_no_hole_in_the_history(write):
    utterances = read_csv(write(table(row(0, 0, sentence="A"), row(0, 3, sentence="D"))), "train")
    assert utterances[1].history == (Turn("Ann", "A"),) and utterances[0].reply == Turn("Ann", "D")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1 of Windows"])
def test_windows_apostrophes_and_dashes_come_out_as_such(write, encoding):
    said = "It\u2019s over \u2014 \u201cwhy\u2026\u201d caf\u00e9"
    text = table(row(0, 0, sentence=said))
    if encoding == "latin-1 of Windows":  # read as Latin-1 by someone, and saved as UTF-8
        data = text.encode("cp1252").decode("latin-1").encode("utf-8")
        assert b"\xc2\x92" in data
    else:
        data = text.encode(encoding)
    (one,) = read_csv(write(data), "train")
    assert one.sentence == said


def test_a_single_byte_of_windows_spoils_no_other_sentence(write):
    rows = [row(0, 0, sentence="It\u2019s"), row(0, 1, sentence="That\x92s")]
    data = table(*rows).encode().replace(b"\xc2\x92", b"\x92")
    said = [one.sentence for one in read_csv(write(data), "train")]
    assert said == ["It\u2019s", "That\u2019s"]


def test_line_ends_of_windows_empty_lines_and_breaks_in_quotes_are_no_matter(write):
    lines = [
        row(0, 0, sentence="One\x0bline\u2028still"),
        "",
        ",,,,,,,,,,",
        row(0, 1, sentence="a\nb"),
    ]
    utterances = read_csv(write(table(*lines).replace("\n", "\r\n")), "train")
    assert [one.sentence for one in utterances] == ["One\x0bline\u2028still", "a\r\nb"]


def test_columns_in_another_order_or_case_and_others_beside_them_are_no_matter(write):
    header = "ENDTIME,starttime,Utterance_ID,Dialogue_ID,Sentiment,Emotion,Speaker,Utterance,New"
    text = f'{header}\n"1:00:09,5","0:00:07",4,2, Negative , FEAR ,Joey, Oh! ,x\n'
    (one,) = read_csv(write(text), "test")
    assert (one.emotion, one.sentiment, one.sentence) == ("fear", "negative", "Oh!")
    assert (one.start, one.end, one.id) == (7.0, 3609.5, "test_dia2_utt4")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column Utterance, Speaker.* header is empty"),
        (table(), "has a header but no utterances"),
        (table(row(0, 0), header=HEADER.replace("Emotion", "Feeling")), "no column Emotion; its"),
        (table(row(0, 0), header=HEADER.replace("Season", "Emotion")), "column Emotion twice"),
        (
            table(row(0, 0), row(1, 0, emotion="bored")),
            "line 3: the Emotion is 'bored', expected n",
        ),
        (table(row(0, 0, sentiment="mixed")), "line 2: the Sentiment is 'mixed'"),
        (table(row(0, 0, emotion="")), "the Emotion is ''"),
        (
            table(row(5, 1), row(5, 2), row(5, 1)),
            "line 4: dialogue 5, utterance 1 stands in a line",
        ),
        (table(row("x", 0)), "Dialogue_ID is 'x', expected a whole number"),
        (table(row(1, -1)), "Utterance_ID is '-1'"),
        (table(row(1, "1.0")), "Utterance_ID is '1.0'"),
        (table(row(0, 0), "2,Oh,Ann,joy"), "line 3: 4 cells but the header has 11; .* cut off"),
        (table(row(0, 0), row(0, 1)[:-3]).rstrip("\n"), "line 3: .*no whole row"),
        (table(row(0, 0) + ",more"), "line 2: 12 cells"),
        (b"\xff\xfe\x81\x8d\x00", "neither UTF-8 nor Windows-1252"),
    ],
)
def test_a_csv_file_that_cannot_be_used_is_refused_in_one_sentence(write, text, says):
    with pytest.raises(FeatureError, match=says) as refusal:
        read_csv(write(text), "train")
    told = str(refusal.value)
    assert "train_sent_emo.csv" in told and "\n" not in told and len(told) < 500


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FeatureError, match="cannot be read"):
        read_csv(tmp_path / "train_sent_emo.csv", "train")


def test_time_stamps_that_cannot_be_right_are_named_and_stop_nothing(write, tmp_path):
    rows = [
        row(0, 0),
        row(0, 1, start="soon"),
        row(0, 2, end="0:01:01,000"),  # before its start
        row(0, 3, end=""),
    ]
    write(table(*rows))
    said = read_sentences(tmp_path)
    assert said.timeless == ["train_dia0_utt1", "train_dia0_utt2", "train_dia0_utt3"]
    assert math.isnan(said.utterances[1].start) and len(said.utterances) == 4


def test_every_cut_through_a_file_is_refused_or_gives_whole_rows(write):
    text = table(row(0, 0, sentence="It\u2019s, well."), row(0, 1), row(1, 0)).encode()
    whole = read_csv(write(text), "train")
    for kept in range(len(text)):
        try:
            some = read_csv(write(text[:kept]), "train")
        except FeatureError as refusal:
            assert "\n" not in str(refusal)
            continue
        ids = [one.id for one in whole[: len(some)]]
        assert [one.id for one in some] == ids and len(some) == text[: kept + 1].count(b"\n") - 1


def test_the_files_of_all_splits_are_found_and_what_is_missing_is_said(write, tmp_path):
    write(table(*spoken(3)), "data/MELD/train_sent_emo.csv")
    write(table(*spoken(2)), "data/MELD/dev_sent_emo.csv")
    write(table(*spoken(9)), "data/MELD/._train_sent_emo.csv")
    write(table(*spoken(9)), "__MACOSX/train_sent_emo.csv")
    write(table(*spoken(9)), ".trash/train_sent_emo.csv")
    write(table(*spoken(3)), "copy/of/it/train_sent_emo.csv")
    said = read_sentences(tmp_path)
    assert Counter(one.split for one in said.utterances) == {"train": 3, "valid": 2}
    assert said.files["valid"].name == "dev_sent_emo.csv"
    assert said.incomplete() == (
        "these are not all the utterances that were released: train has 3 of 9,989; valid has 2 of "
        "1,109; test has no test_sent_emo.csv."
    )
    assert len({one.id for one in said.utterances}) == 5, "dialogue 0 is there twice"
    write(table(*spoken(4)), "other/train_sent_emo.csv")
    with pytest.raises(FeatureError, match="differ; leave only the one"):
        read_sentences(tmp_path)


def test_a_folder_without_any_is_refused(tmp_path):
    with pytest.raises(FeatureError, match="none of train_sent_emo.csv, dev_sent_emo.csv"):
        read_sentences(tmp_path)
    with pytest.raises(FeatureError, match="is not a folder"):
        read_sentences(tmp_path / "nowhere")


@pytest.mark.data
def test_the_real_files_give_the_released_counts(shared_data):
    root = shared_data / "meld_text"
    if not root.is_dir():
        pytest.skip(f"no csv files in {root}")
    said = read_sentences(root)
    counts = Counter((one.split, one.emotion) for one in said.utterances)
    assert set(said.files) == {"train", "valid"}
    for split in said.files:
        found = tuple(counts[split, emotion] for emotion in EMOTIONS)
        assert found == meld.RELEASED_COUNTS[split]
    assert said.incomplete().endswith(": test has no test_sent_emo.csv.")
    assert said.timeless == [] and len({one.id for one in said.utterances}) == 11_098
    train = [one for one in said.utterances if one.split == "train"]
    # E-16: two in five last longer than the 47,200 samples. E-32: not 3.95 or 3.59 seconds.
    assert np.mean([one.seconds > 2.95 for one in train]) == pytest.approx(0.395, abs=0.001)
    assert np.mean([one.seconds for one in train]) == pytest.approx(3.138, abs=0.001)
    assert max(one.seconds for one in said.utterances) == pytest.approx(41.04)
    assert all(one.speaker and one.sentence for one in said.utterances)
    assert not any("\x80" <= letter < "\xa0" for one in said.utterances for letter in one.sentence)
    assert max(len(one.history) for one in said.utterances) == 5
    ends = {one.group: one for one in said.utterances}
    assert all((one.reply is None) == (ends[one.group] is one) for one in said.utterances)


def whole(path, seconds=1.0, hertz=500.0, rate=10, sound=True):
    """Write a clip with sound and picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voice = tone(seconds, 16_000, hertz) if sound else None
    frames = shades(round(seconds * rate), (16, 24))
    return write_video(path, frames, rate=rate, sound=voice, sound_rate=16_000)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Write a small release with each of the known faults, and return its folder."""
    root = tmp_path_factory.mktemp("meld")
    for split, count in {"train": 4, "valid": 2, "test": 2}.items():
        rows = spoken(count) + spoken(count, dialogue=1, emotion="anger", sentiment="negative")
        (root / meld.FILES[split]).write_text(table(*rows))
    good = whole(root / "train_splits/dia0_utt0.mp4").read_bytes()

    def copy(name, data=good):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    for number in (1, 3):
        copy(f"train_splits/dia0_utt{number}.mp4")
    copy("train_splits/dia0_utt2.mp4", good[: len(good) // 2])  # as dia125_utt3 of the release
    copy("train_splits/dia1_utt0.mp4", b"")
    copy("train_splits/deeper/dia1_utt1.MP4")
    copy("train_splits/Dia1_Utt2.mp4")
    whole(root / "train_splits/dia1_utt3.mp4", seconds=6.5, rate=5)
    copy("dev_splits_complete/dia0_utt0.mp4")
    copy("dev_splits_complete/dia1_utt0.mp4")
    copy("dev_splits_complete/dia1_utt1.mp4")  # dia0_utt1 is missing, as dia110_utt7
    copy("dev_splits_complete/dia66_utt9.mp4")
    copy("dev_splits_complete/copy/dia1_utt1.mp4")
    for name in ("dia0_utt0", "dia0_utt1", "dia1_utt0", "dia1_utt1", "final_videos_testdia1_utt1"):
        copy(f"output_repeated_splits_test/{name}.mp4")
    copy("output_repeated_splits_test/._dia0_utt0.mp4", b"\0\5\x16\7")
    copy("somewhere/dia0_utt1.mp4")
    return root


def test_clips_are_found_by_the_official_names_and_each_fault_is_counted_and_named(release):
    said = read_sentences(release)
    found = find_clips(release, said.utterances, longest=5)
    assert found.faults == {
        "missing": ["valid_dia0_utt1"],
        "corrupt": ["train_dia0_utt2", "train_dia1_utt0"],
        "over-long": ["train_dia1_utt3"],
        "extra": [
            "dev_splits_complete/dia66_utt9.mp4",
            "output_repeated_splits_test/final_videos_testdia1_utt1.mp4",
        ],
        "double": ["dev_splits_complete/copy/dia1_utt1.mp4"],
        "unplaced": ["somewhere/dia0_utt1.mp4"],
        "hidden": ["output_repeated_splits_test/._dia0_utt0.mp4"],
    }
    assert list(found.faults) == list(FAULTS), "each kind occurs here"
    assert found.lasts == {"train_dia1_utt3": pytest.approx(6.5, abs=0.1)}
    clips = {one.id: one.clip for one in found.utterances}
    assert [name for name, clip in clips.items() if clip is None] == [
        *("train_dia0_utt2", "train_dia1_utt0", "valid_dia0_utt1")
    ]
    assert clips["train_dia0_utt1"] == release / "train_splits/dia0_utt1.mp4"
    assert clips["train_dia1_utt1"] == release / "train_splits/deeper/dia1_utt1.MP4"
    assert clips["valid_dia1_utt1"] == release / "dev_splits_complete/dia1_utt1.mp4"
    assert clips["test_dia0_utt1"] == release / "output_repeated_splits_test/dia0_utt1.mp4"
    assert [one.id for one in found.utterances] == [one.id for one in said.utterances]
    assert found.utterances[1].history == said.utterances[1].history


def test_faults_that_are_not_to_be_tolerated_are_refused_by_kind(release):
    found = find_clips(release, read_sentences(release).utterances, longest=5)
    found.refuse([])
    with pytest.raises(
        FeatureError, match=r"missing 1 \(valid_dia0_utt1\); extra 2 \(dev_splits_complete/dia66"
    ):
        found.refuse(["extra", "missing"])
    with pytest.raises(FeatureError, match="no kind of fault 'ugly', expected missing, corrupt"):
        found.refuse(["ugly"])
    long = find_clips(release, read_sentences(release).utterances)
    assert "over-long" not in long.faults
    long.refuse(["over-long"])


@pytest.mark.parametrize(
    "folder", ["train_splits", "TRAIN", "train-wav/a/b", "test_of_mine/train", "dev/x/training_1"]
)
def test_the_innermost_folder_that_names_a_split_decides(write, tmp_path, folder):
    write(table(row(0, 0)))
    write(table(row(0, 0)), "dev_sent_emo.csv")
    whole(tmp_path / folder / "dia0_utt0.mp4", seconds=0.3)
    found = find_clips(tmp_path, read_sentences(tmp_path).utterances)
    assert [one.id for one in found.utterances if one.clip] == ["train_dia0_utt0"]
    assert found.faults == {"missing": ["valid_dia0_utt0"]}


@pytest.mark.parametrize("folder", ["", "clips", "constraint_devices"])
def test_where_there_is_one_split_no_folder_need_name_it(write, tmp_path, folder):
    write(table(row(0, 0)), "test_sent_emo.csv")
    whole(tmp_path / folder / "dia0_utt0.mp4", seconds=0.3)
    said = read_sentences(tmp_path)
    assert find_clips(tmp_path, said.utterances).utterances[0].clip is not None
    write(table(row(0, 0)))
    with pytest.raises(FeatureError, match="no clip of any of the 2 utterances"):
        find_clips(tmp_path, read_sentences(tmp_path).utterances)


def test_clips_of_a_split_without_a_csv_file_are_no_faults(release, tmp_path):
    said = read_sentences(release)
    train = [one for one in said.utterances if one.split == "train"]
    found = find_clips(release, train)
    assert found.faults == {
        "corrupt": ["train_dia0_utt2", "train_dia1_utt0"],
        "double": ["somewhere/dia0_utt1.mp4"],  # with one split, its folder need not name it
    }


def test_a_clip_with_a_picture_is_preferred_to_its_sound(write, tmp_path):
    write(table(row(0, 0)))
    (tmp_path / "train_wav").mkdir()
    write_wav(tmp_path / "train_wav/dia0_utt0.wav", tone(0.4, 16_000))
    only = find_clips(tmp_path, read_sentences(tmp_path).utterances)
    assert only.utterances[0].clip.suffix == ".wav"
    whole(tmp_path / "train_splits/dia0_utt0.mp4", seconds=0.3)
    found = find_clips(tmp_path, read_sentences(tmp_path).utterances)
    assert found.utterances[0].clip.suffix == ".mp4" and found.faults == {}


def test_sound_comes_in_blocks_of_one_hop_with_the_last_one_filled_up(tmp_path):
    sound = np.linspace(-0.9, 0.9, 16_000 + 50)
    kept = MeldRecipe().take(write_wav(tmp_path / "a.wav", sound), "audio")
    assert isinstance(kept, Kept) and kept.features.shape == (81, 200) and kept.steps == 81
    assert kept.features.dtype == torch.float16
    flat = kept.features.flatten()
    torch.testing.assert_close(flat[:16_050].double(), torch.tensor(sound), atol=6e-4, rtol=1e-3)
    assert not flat[16_050:].any()


def test_sound_that_is_longer_is_cut_after_47_200_samples_and_that_is_told(tmp_path):
    recipe = MeldRecipe()
    assert recipe.seconds == pytest.approx(2.95) and recipe.lengths == {"audio": 236, "vision": 50}
    sound = np.concatenate([tone(2.95, 16_000), np.full(1000, 0.9)])
    kept = recipe.take(write_wav(tmp_path / "a.wav", sound), "audio")
    assert kept.features.shape == (236, 200) and kept.steps == 241
    assert kept.features.float().abs().max() < 0.51, "what comes after is not in it"
    just = recipe.take(write_wav(tmp_path / "b.wav", tone(2.95, 16_000)), "audio")
    assert just.features.shape == (236, 200) and just.steps == 236


def test_stereo_at_another_rate_becomes_16_khz_mono(tmp_path):
    left = tone(1.0, 48_000, 200.0)
    path = write_wav(tmp_path / "a.wav", np.stack([left, 0 * left], 1), 48_000)
    kept = MeldRecipe().take(path, "audio")
    assert kept.steps == pytest.approx(80, abs=1)
    assert kept.features.float().abs().max() == pytest.approx(0.25, abs=0.02), "the channels' mean"


def test_pictures_are_spread_over_the_clip_and_no_more_than_there_are(tmp_path):
    path = write_video(tmp_path / "a.mp4", shades(40, (16, 24)), rate=10)
    recipe = MeldRecipe(frames=8, size=12)
    kept = recipe.take(path, "vision")
    assert kept.features.shape == (8, 3, 12, 12) and kept.features.dtype == torch.uint8
    seen = [number_of(picture.numpy()) for picture in kept.features]
    assert seen == [2, 7, 12, 17, 22, 27, 32, 37]
    few = MeldRecipe(frames=50, size=12).take(path, "vision")
    assert len(few.features) == 40 == few.steps


def test_of_an_over_long_clip_only_the_first_seconds_are_looked_at(tmp_path):
    path = write_video(tmp_path / "a.mp4", shades(40, (16, 24)), rate=10)
    kept = MeldRecipe(frames=8, size=12, longest=2).take(path, "vision")
    assert [number_of(picture.numpy()) for picture in kept.features] == [1, 3, 6, 8, 11, 13, 16, 18]


def left_corner(frame):
    """Take the darkest corner for a face, where there is light at all."""
    return None if frame.max() < 10 else (0, 0, 8, 8)


def test_faces_are_cut_out_where_there_is_a_detector(tmp_path):
    frame = np.full((16, 24, 3), 200, dtype=np.uint8)
    frame[:12, :12] = 60
    path = write_video(tmp_path / "a.mp4", [frame] * 5, rate=10)
    recipe = MeldRecipe(frames=3, size=8, detect=left_corner, margin=0.0)
    assert recipe.take(path, "vision").features.float().mean() == pytest.approx(60, abs=6)
    assert MeldRecipe(frames=3, size=8).take(path, "vision").features.float().mean() > 90
    dark = write_video(tmp_path / "b.mp4", [0 * frame] * 5, rate=10)
    with pytest.raises(MediaError, match="no face in any of its 3 frames"):
        recipe.take(dark, "vision")


def test_silence_is_no_sound(tmp_path):
    with pytest.raises(MediaError, match="silent throughout"):
        MeldRecipe().take(write_wav(tmp_path / "a.wav", np.zeros(9000)), "audio")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"frames": 0}, "frames is 0"),
        ({"size": -1}, "size is -1"),
        ({"longest": float("nan")}, "longest is nan"),
        ({"samples": 47_100 + 50}, "samples is 47150, expected whole blocks of 200"),
    ],
)
def test_an_impossible_recipe_is_refused(settings, says):
    with pytest.raises(FeatureError, match=says):
        MeldRecipe(**settings)


def test_what_decides_the_features_decides_the_cache():
    plain = MeldRecipe()
    assert plain.identity("audio") != plain.identity("vision")
    for change in ({"samples": 400}, {"hop": 100}, {"sample_rate": 8000}):
        assert MeldRecipe(**change).identity("audio") != plain.identity("audio")
        assert MeldRecipe(**change).identity("vision") == plain.identity("vision")
    for change in (
        {"frames": 3},
        {"size": 9},
        {"margin": 0.5},
        {"longest": 9},
        {"detect": left_corner},
    ):
        assert MeldRecipe(**change).identity("vision") != plain.identity("vision")
        assert MeldRecipe(**change).identity("audio") == plain.identity("audio")


def test_the_size_of_all_of_meld_is_as_the_help_says():
    assert MeldRecipe().bytes_for(13_708, ["audio"]) == pytest.approx(1.3e9, rel=0.01)
    assert MeldRecipe().bytes_for(13_708, ["vision"]) == pytest.approx(53e9, rel=0.01)


@pytest.fixture(scope="module")
def prepared(release, tmp_path_factory):
    """Prepare the release in memory and in a folder; text stands beside the clips."""
    found = find_clips(release, read_sentences(release).utterances, longest=5)
    count, cache = len(found.utterances), tmp_path_factory.mktemp("out")
    tokens = torch.arange(count * 12, dtype=torch.int32).reshape(count, 3, 4)
    real = torch.ones(count, 3, dtype=torch.bool)
    real[2] = False  # the corrupt clip has no text either
    clips, recipe = [one.as_clip() for one in found.utterances], MeldRecipe(frames=5, size=8)

    def make(folder):
        return prepare(
            clips, recipe, class_names=EMOTIONS, cache=cache / "cache", folder=folder,
            given={"text": (tokens, real)}, progress=False,
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "_AT_ONCE", 1)  # so that some blocks have nothing of a stream
        return make(None), make(cache / "folder"), cache / "folder"


def test_a_stream_that_cannot_be_had_is_masked_beside_one_that_can(prepared):
    made, _, _ = prepared
    features = made.features
    assert len(features) == 15 and made.left_out == ["train_dia0_utt2"]
    assert features.modalities == ("text", "audio", "vision")
    lacking = {"train_dia1_utt0", "valid_dia0_utt1"}
    for stream in ("audio", "vision"):
        there = dict(
            zip(features.ids.tolist(), features.masks[stream].any(1).tolist(), strict=True)
        )
        assert {name for name, real in there.items() if not real} == lacking
    assert features.masks["text"].all() and features.inputs["text"].dtype == torch.int32
    row = features.ids.tolist().index("train_dia0_utt3")
    assert features.inputs["text"][row, 0, 0] == 3 * 12, "the rows are still those of the clips"
    assert features.inputs["audio"].shape == (15, 236, 200)
    assert features.inputs["vision"].shape == (15, 5, 3, 8, 8)
    assert {failure.clip for failure in made.failures} == lacking | {"train_dia0_utt2"}
    assert features.masks["audio"][0].sum() == pytest.approx(82, abs=3), "a second has 80 blocks"
    assert made.cut == {"audio": ["train_dia1_utt3"], "vision": []}


def test_groups_labels_and_splits_are_those_of_the_dialogues(prepared):
    features = prepared[0].features
    for name, group, split, label in zip(
        features.ids, features.group, features.split, features.labels, strict=True
    ):
        assert name.startswith(f"{group}_utt") and group.startswith(f"{split}_dia")
        assert EMOTIONS[label] == ("joy" if group.endswith("dia0") else "anger")
    assert set(features.split) == {"train", "valid", "test"}
    groups = {str(g): str(s) for g, s in zip(features.group, features.split, strict=True)}
    assert len(groups) == 6, "dialogue 0 of train is not dialogue 0 of test"


def test_a_folder_holds_what_memory_would(prepared):
    made, stored, folder = prepared
    assert stored.computed == 3, "only what could not be had is tried again"
    again = load_features(folder)
    assert again.fingerprint() == made.features.fingerprint()
    assert stored.features.fingerprint() == made.features.fingerprint()
    assert stored.cut == made.cut and not isinstance(again.inputs["vision"], torch.Tensor)
    batch = again.batch([4, 3])
    assert batch.inputs["text"].dtype == torch.int64
    assert torch.equal(batch.inputs["audio"], made.features.batch([4, 3]).inputs["audio"])
