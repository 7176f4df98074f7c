"""CMU-MOSEI's files: which rows belong to a segment, what a label becomes, and what is refused."""

import json
import warnings

import h5py
import numpy as np
import pytest
import torch
from computational_sequences import LABELS, ticks, write_csd

from mmlib.cli import main
from mmlib.data import FeatureError, find_leaks, load_features
from mmlib.data.aligning import align_parts, align_rows
from mmlib.data.csd import Csd
from mmlib.data.folds import read_folds
from mmlib.data.mosei import EMOTIONS, load_mosei

NAN, INF = np.nan, np.inf
STEPS = {"text": 5, "audio": 4, "vision": 3}
# sentiment, then happy, sad, anger, surprise, disgust, fear
LABELLED = {
    "v-one": (
        [[1.0, 3.0], [4.0, 8.0], [9.0, 10.0]],
        [[1.5, 2, 0, 0, 1, 0, 0], [-3, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]],
    ),
    "v_two": ([[0.0, 2.0]], [[-0.5, 0, 0, 0.5, 0, 2.5, 0]]),
    "vthree": ([[0.5, 2.5], [2.5, 2.5]], [[2, 0, 0, 0, 0, 0, 3], [1, 1, 1, 1, 1, 1, 1]]),
}
FOLDS = {"train": ["v-one"], "valid": ["v_two"], "test": ["vthree", "never seen"]}


@pytest.fixture
def root(tmp_path):
    """Three videos: words with a gap between them, dense sound, and no picture of one video."""
    words = {
        "v-one": (
            [[1.0, 1.4], [1.6, 2.2], [2.9, 3.3], [4.1, 4.2], [9.2, 9.4]],
            np.arange(5 * 7).reshape(5, 7),
        ),
        "v_two": ticks(0.0, 2.0, 0.25, 7, 1),
        "vthree": ticks(0.0, 3.0, 0.5, 7, 2),
    }
    write_csd(tmp_path / "languages" / "words.csd", "glove_vectors", words)
    sound = {video: ticks(0.0, 10.0, 0.01, 5, seed) for seed, video in enumerate(LABELLED)}
    write_csd(tmp_path / "acoustics" / "sound.csd", "COVAREP", sound)
    pictures = {video: ticks(0.0, 10.0, 1 / 30, 3, seed) for seed, video in enumerate(LABELLED)}
    del pictures["v_two"]
    write_csd(tmp_path / "visuals" / "faces.csd", "FACET 4.2", pictures)
    write_csd(tmp_path / "labels" / "labels.csd", LABELS, LABELLED)
    (tmp_path / "folds.json").write_text(json.dumps(FOLDS))
    return tmp_path


def load(root, **more):
    settings = {"steps": STEPS, "folds": root / "folds.json", "progress": False} | more
    return load_mosei(root, **settings)


def test_segments_become_samples_grouped_by_video_and_split_by_the_folds_given(root):
    features, _ = load(root)
    assert list(features.ids) == ["v-one[0]", "v-one[1]", "v_two[0]", "vthree[0]"]
    assert list(features.group) == ["v-one", "v-one", "v_two", "vthree"]
    assert list(features.split) == ["train", "train", "valid", "test"]
    assert features.class_names == EMOTIONS
    assert [EMOTIONS[label] for label in features.labels] == ["happy", "sad", "disgust", "fear"]
    assert features.lengths == STEPS and features.widths == {"text": 7, "audio": 5, "vision": 3}
    assert not find_leaks(features, content=False)


def test_the_feature_file_can_be_read_back(root):
    features, _ = load(root)
    features.save(root / "mosei.npz")
    again = load_features(root / "mosei.npz")
    for name, value in features.batch(range(4)).inputs.items():
        assert torch.equal(again.batch(range(4)).inputs[name], value)
    assert list(again.ids) == list(features.ids)


def test_words_stay_a_step_each_if_they_overlap_the_segment(root):
    features, _ = load(root)
    rows = np.arange(5 * 7, dtype=np.float32).reshape(5, 7)
    assert np.array_equal(features.inputs["text"][0, :3].numpy(), rows[:3])  # the third reaches in
    assert features.masks["text"][0].tolist() == [True] * 3 + [False] * 2
    assert np.array_equal(features.inputs["text"][1, :1].numpy(), rows[3:4])
    assert features.masks["text"][1].sum() == 1
    assert features.masks["text"].sum(1).tolist() == [3, 1, 5, 4]  # 8 words of v_two: the first 5


def test_dense_rows_become_the_means_of_equal_parts(root):
    features, _ = load(root)
    _, sound = ticks(0.0, 10.0, 0.01, 5, 0)
    for step in range(4):  # the second segment: 4 to 8 seconds in four parts of one second
        expected = sound[400 + 100 * step : 500 + 100 * step].mean(0)
        assert np.allclose(features.inputs["audio"][1, step], expected, atol=1e-4)


def test_a_row_counts_for_as_long_as_it_lies_in_a_part():
    intervals = np.array([[0.0, 1.0], [1.0, 4.0], [4.0, 9.0]])
    rows = np.array([[1.0, 10.0], [5.0, 20.0], [7.0, 40.0]], np.float32)
    steps = align_parts((0.5, 4.5), intervals, rows, 2)  # 0.5 to 2.5, and 2.5 to 4.5
    expected = [
        [(0.5 * 1 + 1.5 * 5) / 2, (0.5 * 10 + 1.5 * 20) / 2],
        [(1.5 * 5 + 0.5 * 7) / 2, (1.5 * 20 + 0.5 * 40) / 2],
    ]
    assert np.allclose(steps, expected)


def test_the_parts_and_rows_of_one_interval_do_not_depend_on_others():
    intervals, rows = ticks(0.0, 20.0, 0.3, 2)
    near = (intervals[:, 1] > 4) & (intervals[:, 0] < 7)
    for align in (align_rows, align_parts):
        whole = align((4.0, 7.0), intervals, rows, 6)
        assert np.array_equal(whole, align((4.0, 7.0), intervals[near], rows[near], 6))


def test_touching_is_not_overlapping():
    intervals = np.array([[0.0, 1.0], [1.0, 2.0 + 5e-6], [2.0 + 5e-6, 2.5], [3.0, 3.0]])
    rows = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    assert align_rows((1.0, 2.0), intervals, rows, 9).tolist() == [[2.0]]
    assert align_rows((2.0, 4.0), intervals, rows, 9).tolist() == [[3.0]]  # no length, no row
    assert len(align_rows((2.6, 2.9), intervals, rows, 9)) == 0


def test_a_part_in_a_gap_is_not_real():
    intervals = np.array([[0.0, 1.0], [3.0, 4.0]])
    steps = align_parts((0.0, 4.0), intervals, np.array([[1.0], [2.0]], np.float32), 4)
    assert np.array_equal(steps, [[1.0], [NAN], [NAN], [2.0]], equal_nan=True)


def test_a_video_missing_in_one_stream_is_masked_there_and_named(root):
    features, notes = load(root)
    assert features.masks["vision"].any(1).tolist() == [True, True, False, True]
    assert "vision: 1 of 4 segments have no rows, 1 whole videos among them (v_two)." in notes
    assert bool((features.inputs["vision"][2] == 0).all())


def test_a_segment_without_a_row_anywhere_is_left_out(root):
    labels = dict(LABELLED) | {"silent": ([[0.0, 1.0]], [[1, 1, 0, 0, 0, 0, 0]])}
    write_csd(root / "labels" / "labels.csd", LABELS, labels)
    (root / "folds.json").write_text(json.dumps(FOLDS | {"valid": ["v_two", "silent"]}))
    features, notes = load(root)
    assert list(features.group) == ["v-one", "v-one", "v_two", "vthree"]
    assert "1 segments have no row in any stream and were left out." in notes
    assert [EMOTIONS[label] for label in features.labels] == ["happy", "sad", "disgust", "fear"]


def test_a_segment_without_length_is_left_out_and_named(root):
    _, notes = load(root)
    assert any(
        "vthree[1]" in note and note.startswith("1 segments have no length") for note in notes
    )


def test_one_emotion_is_the_strongest_and_what_that_costs_is_told(root):
    features, notes = load(root)
    assert "v-one[2]" not in features.ids
    told = next(note for note in notes if "arg-max" in note)
    assert "1 of 5 segments have none and were left out" in told
    assert "3 have several of which one was kept, and in 1 of these the strongest is tied" in told


def test_several_emotions_are_kept_where_they_are_the_target(root):
    features, _ = load(root, target="emotions")
    assert features.class_names is None and features.labels.shape == (5, 6)
    assert features.labels[0].tolist() == [2, 0, 0, 1, 0, 0]
    assert features.labels[2].tolist() == [0] * 6  # v-one[2] stays
    present, notes = load(root, target="emotions", threshold=0)
    assert present.labels[3].tolist() == [0, 0, 1, 0, 1, 0]
    told = next(note for note in notes if note.startswith("Above 0:"))
    assert "happy 1, sad 1, anger 2" in told
    assert "3 of 5 segments have several emotions and 1 none" in told
    higher, _ = load(root, target="emotions", threshold=0.5)
    assert higher.labels[3].tolist() == [0, 0, 0, 0, 1, 0]  # above, not at least


def test_sentiment_is_a_number(root):
    features, _ = load(root, target="sentiment")
    assert features.labels[:, 0].tolist() == [1.5, -3, 0, -0.5, 2] and features.num_outputs == 1


def test_what_is_not_finite_takes_no_part_in_a_mean_and_is_counted(root):
    intervals, sound = ticks(0.0, 10.0, 0.01, 5, 0)
    sound[100:105, 2] = -INF  # in the first quarter of the first segment
    others = {video: ticks(0.0, 10.0, 0.01, 5, 7) for video in ("v_two", "vthree")}
    write_csd(root / "acoustics" / "sound.csd", "COVAREP", {"v-one": (intervals, sound)} | others)
    features, notes = load(root)
    expected = sound[105:150, 2].mean()
    assert np.allclose(features.inputs["audio"][0, 0, 2], expected, atol=1e-4)
    assert "audio: 5 of the 15,000 values in sound.csd are not finite." in notes
    assert not any("became" in note for note in notes)


def test_a_value_that_is_finite_nowhere_becomes_the_mean_of_the_training_split(root):
    value = np.ones((8, 5), np.float32) * [[1], [2], [3], [4], [5], [6], [7], [8]]
    sound = {
        "v-one": ([[1.0, 3.0], [4.0, 8.0]], [[1, 2, 3, 4, NAN], [3, 6, 3, 4, NAN]]),
        "v_two": (ticks(0.0, 2.0, 0.25, 5)[0], value),
        "vthree": ([[0.5, 2.5]], [[INF, NAN, 9, 9, 9]]),
    }
    write_csd(root / "acoustics" / "sound.csd", "COVAREP", sound)
    features, notes = load(root, steps=STEPS | {"audio": 1})
    test = features.inputs["audio"][3, 0].tolist()
    assert test[:2] == [2, 4]  # of v-one alone, which is all of train
    assert test[2:] == [9, 9, 9]
    assert features.inputs["audio"][:2, 0, 4].tolist() == [0, 0]
    assert any("audio: 4 values of real steps were not finite" in note for note in notes)
    assert any("1 features are finite nowhere in it and became 0" in note for note in notes)


def test_the_mean_that_mends_is_over_real_steps_alone(root):
    sound = {
        "v-one": ([[1.0, 2.0], [4.0, 8.0]], [[1, 1, 1, 1, 1], [4, 1, 1, 1, 1]]),
        "v_two": ([[0.0, 2.0]], [[9, 1, 1, 1, 1]]),
        "vthree": ([[0.5, 2.5]], [[NAN, 1, 1, 1, 1]]),
    }
    write_csd(root / "acoustics" / "sound.csd", "COVAREP", sound)
    features, _ = load(root, steps=STEPS | {"audio": 2})
    assert features.masks["audio"][0].tolist() == [True, False]  # nothing from 2 to 3 seconds
    assert features.inputs["audio"][3, :, 0].tolist() == [3, 3]  # of 1, 4 and 4


def test_a_word_with_an_infinite_value_is_mended_too(root):
    words = dict.fromkeys(LABELLED, ([[0.0, 10.0]], [[1.0] * 7]))
    words["vthree"] = ([[0.0, 10.0]], [[INF] + [5.0] * 6])
    write_csd(root / "languages" / "words.csd", "glove_vectors", words)
    features, _ = load(root)
    assert features.inputs["text"][3, 0].tolist() == [1.0] + [5.0] * 6


def test_a_step_without_any_finite_value_is_not_real(root):
    sound = {video: ([[0.0, 10.0]], [[NAN] * 5]) for video in LABELLED}
    sound["v_two"] = ([[0.0, 10.0]], [[1] * 5])
    write_csd(root / "acoustics" / "sound.csd", "COVAREP", sound)
    features, _ = load(root)
    assert features.masks["audio"].any(1).tolist() == [False, False, True, False]
    assert bool(torch.isfinite(features.inputs["audio"]).all())


def test_values_beyond_single_precision_count_as_infinite(root):
    with h5py.File(root / "acoustics" / "sound.csd", "r+") as file:
        piece = file["COVAREP/data/v_two"]
        rows = piece["features"][()].astype(np.float64)
        rows[3, 1] = 1e200
        del piece["features"]
        piece["features"] = rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features, notes = load(root)
    assert "audio: 1 of the 15,000 values in sound.csd are not finite." in notes
    assert bool(torch.isfinite(features.inputs["audio"]).all())


def test_without_folds_a_video_stands_in_one_split(root):
    labels = {f"v{i:02d}": LABELLED["v-one"] for i in range(20)}
    write_csd(root / "labels" / "labels.csd", LABELS, labels)
    sound = {video: ticks(0.0, 10.0, 0.5, 5, 1) for video in labels}
    write_csd(root / "acoustics" / "sound.csd", "COVAREP", sound)
    features, notes = load(root, folds=None, seed=3)
    assert {"train", "valid", "test"} == set(features.split)
    assert not find_leaks(features, content=False)
    assert any("the split is by video, with seed 3" in note for note in notes)
    others = [load(root, folds=None, seed=seed)[0].split for seed in (3, 4)]
    assert list(others[0]) == list(features.split) != list(others[1])


def test_videos_of_no_fold_are_left_out_and_named(root):
    (root / "folds.json").write_text(json.dumps({"train": ["v-one"], "test": ["vthree"]}))
    features, notes = load(root)
    assert set(features.group) == {"v-one", "vthree"}
    assert any(
        "1 segments of 1 videos are in no fold" in note and "v_two" in note for note in notes
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("folds.json", json.dumps(FOLDS)),
        ("folds.csv", "video,split\nv-one,train\nv_two,valid\nvthree,test\nnever seen,test\n"),
        (
            "a sheet's.csv",
            "\ufeffvideo,split\nv-one,train\nv_two, valid\nvthree,test\nnever seen,test",
        ),
        (
            "folds.py",
            "standard_train_fold=['v-one']; standard_valid_fold=['v_two']; "
            + "standard_test_fold=['vthree', 'never seen']; raise SystemExit(1)",
        ),
    ],
)
def test_folds_are_read_from_tables_json_and_the_sdks_own_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    known = {video: split for split, videos in FOLDS.items() for video in videos}
    assert read_folds(tmp_path / name) == known


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("folds.json", '{"train": ["a"], "test": ["a"]}', "puts 'a' into train and into test"),
        ("folds.json", '{"training": ["a"]}', "puts 'a' into 'training', expected train, valid"),
        ("folds.json", "[1]", "is no list of folds"),
        ("folds.json", '{"train": [1]}', "is no list of folds"),
        ("folds.csv", "id,part\na,train\n", "is no list of folds"),
        ("folds.py", "standard_train_fold = open('x')", "is no list of folds"),
        ("folds.py", "other = ['a']", "names no video"),
        ("folds.csv", "", "names no video"),
    ],
)
def test_folds_that_are_none_are_one_sentence(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(FeatureError, match=says):
        read_folds(tmp_path / name)


def test_pieces_of_a_video_are_put_together_in_the_order_of_time(root):
    before, _ = load(root)
    intervals, rows = ticks(0.0, 2.0, 0.25, 7, 1)
    pieces = {"v_two[1]": (intervals[:3], rows[:3]), "v_two[0]": (intervals[3:], rows[3:])}
    write_csd(root / "languages" / "words.csd", "glove_vectors", pieces)
    after, _ = load(root)
    assert torch.equal(before.inputs["text"][2], after.inputs["text"][2])


def test_another_sequence_can_be_a_stream(root):
    pictures = {video: ticks(0.0, 10.0, 0.1, 11, 5) for video in LABELLED}
    write_csd(root / "visuals" / "open.csd", "OpenFace_2", pictures)
    assert load(root)[0].widths["vision"] == 3
    assert load(root, sequences={"vision": "openface 2"})[0].widths["vision"] == 11
    with pytest.raises(
        FeatureError, match="has no sequence FAU for vision; it has All Labels, COV"
    ):
        load(root, sequences={"vision": "FAU"})
    with pytest.raises(FeatureError, match="there is no stream 'smell'"):
        load(root, sequences={"smell": "FAU"})


def test_a_stream_that_is_not_there_is_left_out(root):
    (root / "languages" / "words.csd").unlink()
    assert load(root)[0].modalities == ("audio", "vision")
    (root / "acoustics" / "sound.csd").unlink()
    (root / "visuals" / "faces.csd").unlink()
    with pytest.raises(FeatureError, match="has none of glove_vectors, COVAREP, FACET"):
        load(root)


def test_a_missing_label_file_and_two_of_a_kind_are_one_sentence(root):
    write_csd(root / "other.csd", "COVAREP", {"v": ticks(0, 1, 0.5, 5)})
    with pytest.raises(FeatureError, match="are both 'COVAREP'; keep one of them"):
        load(root)
    (root / "other.csd").unlink()
    (root / "labels" / "labels.csd").unlink()
    with pytest.raises(FeatureError, match="has no sequence All Labels for labels; it has COVAREP"):
        load(root)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"steps": {"audio": 0}}, "expected at least 1 of text, audio and vision"),
        ({"steps": {"smell": 3}}, "expected at least 1 of text, audio and vision"),
        ({"threshold": 0.5}, "a threshold is for the target 'emotions', not for 'emotion'"),
        ({"target": "mood"}, "there is no target 'mood', only emotion, emotions and sentiment"),
    ],
)
def test_impossible_wishes_are_one_sentence(root, wish, says):
    with pytest.raises(FeatureError, match=says):
        load(root, **wish)


def test_a_folder_without_sequences_is_one_sentence(tmp_path):
    with pytest.raises(FeatureError, match="there is no .csd file in"):
        load_mosei(tmp_path)
    with pytest.raises(FeatureError, match="is no folder"):
        load_mosei(tmp_path / "nothing")


def change(path, edit):
    with h5py.File(path, "r+") as file:
        edit(file)


def _replace(file, key, value, **how):
    del file[key]
    file.create_dataset(key, data=value, **how)


V = "COVAREP/data/v_two"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda f: f.create_group("second"), "expected one group, the name of a comp"),
        (lambda f: f.move("COVAREP/data", "COVAREP/dates"), "there is no 'data' in /COVAREP"),
        (lambda f: f.pop(f"{V}/intervals"), "there is no 'intervals' in /COVAREP/data/v_two"),
        (lambda f: _replace(f, f"{V}/intervals", np.zeros((3, 2))), "has intervals \\(3, 2\\) and"),
        (lambda f: _replace(f, f"{V}/intervals", np.zeros(1000)), "has intervals \\(1000,\\) and"),
        (
            lambda f: _replace(f, f"{V}/features", np.full((1000, 5), b"word")),
            "holds .*, expected numbers",
        ),
        (lambda f: _replace(f, V, [1.0]), "there is no 'features' in"),
        (
            lambda f: _replace(f, f"{V}/features", np.zeros((1000, 6))),
            "expected one number for all",
        ),
        (
            lambda f: (f.pop(V), f.__setitem__(V, h5py.ExternalLink("other.h5", "/x"))),
            "'v_two' is a link, which is not followed",
        ),
        (
            lambda f: (f.pop(f"{V}/features"), f.__setitem__(f"{V}/features", h5py.SoftLink("/x"))),
            "'features' is a link",
        ),
        (
            lambda f: (
                f.pop(f"{V}/features"),
                f[V].create_dataset("features", (10**9, 5), "f4", chunks=(1000, 5)),
            ),
            "claims 20,000,000,000 bytes in a file of",
        ),
        (
            lambda f: (
                f.pop(f"{V}/features"),
                f[V].create_dataset("features", (9, 5), "f4", external=[("x.bin", 0, 180)]),
            ),
            "the data of 'v_two' lie in another file",
        ),
    ],
)
def test_hostile_files_are_one_sentence(root, edit, says):
    change(root / "acoustics" / "sound.csd", edit)
    with pytest.raises(FeatureError, match=says) as caught:
        load(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100, 3_000, -1_000])
def test_files_that_are_cut_off_are_one_sentence(root, keep):
    path = root / "acoustics" / "sound.csd"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FeatureError, match=r"sound.csd cannot be read as a .csd file: it is"):
        load(root)


def test_random_damage_is_one_sentence_or_harmless(root):
    path = root / "labels" / "labels.csd"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 12):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load(root)
        except FeatureError as error:
            assert "\n" not in str(error)


def test_labels_of_another_width_are_one_sentence(root):
    labels = {video: (where, np.asarray(what)[:, :6]) for video, (where, what) in LABELLED.items()}
    write_csd(root / "labels" / "labels.csd", LABELS, labels)
    with pytest.raises(FeatureError, match="has 6 labels a segment, expected 7: sentiment, happy"):
        load(root)


def test_without_the_package_one_sentence_names_the_extra(root, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueError, match="install it with the extra 'data'"):
        load(root)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(FeatureError, match="does not exist, expected a file such as COVAREP.csd"):
        Csd(tmp_path / "none.csd")


@pytest.fixture
def prepare(root, capfd):
    """Run `prepare --dataset mosei`; gives exit code, stdout and stderr."""

    def run(*more):
        words = ["--root", str(root), "--out", str(root / "mosei.npz"), "--quiet"]
        capfd.readouterr()
        code = main(["prepare", "--dataset", "mosei", *words, *more])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_writes_a_feature_file_and_says_what_was_lost(prepare, root):
    folds = ("--folds", str(root / "folds.json"))
    code, out, err = prepare(*folds, "--steps", "text=5,audio=4, vision=3")
    assert code == 0, err
    assert "4 samples (train 2, valid 1, test 1): text (5, 7), audio (4, 5), vision (3, 3)" in out
    assert "happy 1, sad 1, anger 0, surprise 0, disgust 1, fear 1" in out
    assert "mmlib prepare: One emotion a segment, by arg-max: 1 of 5" in err
    assert "mmlib prepare: vision: 1 of 4 segments have no rows" in err
    assert load_features(root / "mosei.npz").lengths == STEPS
    code, out, err = prepare(*folds, "--target", "emotions", "--threshold", "0")
    assert code == 0 and load_features(root / "mosei.npz").labels.shape == (5, 6)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--steps", "audio"), "--steps is audio, expected name=value,name=value"),
        (
            ("--steps", "audio=2,audio=3"),
            "audio=2,audio=3, expected name=value,name=value, each name",
        ),
        (("--steps", "audio=many"), "--steps names 'many', expected a whole number"),
        (("--steps", "audio=0"), "expected at least 1 of text, audio and vision"),
        (("--sequences", "vision=FAU"), "has no sequence FAU for vision"),
        (("--threshold", "0"), "a threshold is for the target 'emotions', not for 'emotion'"),
        (("--folds", "nothing.csv"), "nothing.csv cannot be read (No such file or directory)"),
    ],
)
def test_what_the_command_cannot_do_is_one_sentence(prepare, root, more, says):
    code, _, err = prepare(*more)
    assert code == 2 and says in err and err.count("\n") == 1
    assert not (root / "mosei.npz").exists()
