"""Aff-Wild2 as its files are written: labels of frames, gaps, splits, and how videos are cut."""

import pytest
import torch
from affwild2_files import ramp, write_annotation, write_pictures

from mmlib.data import FeatureError
from mmlib.data.affwild2 import (
    Annotation,
    SequenceGeometry,
    clip_labels,
    find_videos,
    into_sequences,
    numbered_pictures,
    read_annotation,
    recording_of,
)


@pytest.fixture
def root(tmp_path):
    """Four annotated people in three recordings; one has no folder of faces."""
    write_annotation(tmp_path, "Train_Set", "12-24-1920x1080", ramp(30))
    write_annotation(tmp_path, "Train_Set", "46-30-484x360_left", ramp(11))
    write_annotation(tmp_path, "Train_Set", "46-30-484x360_right", ramp(11))
    write_annotation(tmp_path, "Validation_Set", "video7", ramp(7))
    # Another challenge's labels lie beside them, under the same names.
    other = tmp_path / "annotations" / "EXPR_Classification_Challenge" / "Train_Set"
    other.mkdir(parents=True)
    (other / "12-24-1920x1080.txt").write_text("Neutral,Anger,Other\n0\n1\n")
    for name in ("12-24-1920x1080", "46-30-484x360_left", "46-30-484x360_right"):
        write_pictures(tmp_path, name, 3)
    (tmp_path / "batch1").mkdir()
    for file in ("12-24-1920x1080.mp4", "46-30-484x360.avi", "video7.mp4"):
        (tmp_path / "batch1" / file).touch()
    return tmp_path


def test_a_line_after_the_header_is_a_frame(tmp_path):
    path = write_annotation(tmp_path, "Train_Set", "a", [(0.25, -0.1), (-1, 1), (0, 0)])
    found = read_annotation(path)
    assert found.labels.tolist() == [[0.25, pytest.approx(-0.1)], [-1, 1], [0, 0]]
    assert found.labels.dtype == torch.float32 and found.valid.tolist() == [True, True, True]


def test_minus_five_in_either_number_says_that_there_is_no_label(tmp_path):
    pairs = [(-5, -5), (0.5, -5), (-5, 0.5), (0.5, 0.5), (-0.5, -1)]
    found = read_annotation(write_annotation(tmp_path, "Train_Set", "a", pairs))
    assert found.valid.tolist() == [False, False, False, True, True]
    assert found.labels[:3].eq(0).all() and found.labels[3].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_ends_of_any_system_and_a_byte_order_mark_are_read(tmp_path, ending):
    path = tmp_path / "a.txt"
    path.write_bytes(("\ufeff" + ending.join(["valence,arousal", "0.5,0.25", ""])).encode())
    assert read_annotation(path).labels.tolist() == [[0.5, 0.25]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("valence,arousal\n0.5,0.5\n0.31", "line 3: '0.31'"),  # cut off in the middle
        ("valence,arousal\n0.5,0.5\n0.31,", "line 3: '0.31,'"),
        ("valence,arousal\n0.5;0.5\n", "line 2: '0.5;0.5'"),
        ("valence,arousal\n\n0.5,0.5\n", "line 2: ''"),  # a line that is missing shifts all others
        ("valence,arousal\n0.5,0.5,0.5\n", "line 2"),
        ("valence,arousal\n0.5,1.5\n", "from -1 to 1"),
        ("valence,arousal\nnan,0.5\n", "line 2: 'nan,0.5'"),
        ("valence,arousal\n", "the labels of no frame"),
        ("Neutral,Anger\n0\n", "begins with 'Neutral,Anger'"),
        ("", "begins with ''"),
    ],
)
def test_a_damaged_annotation_is_refused_with_its_line(tmp_path, text, said):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(FeatureError, match=said) as refusal:
        read_annotation(path)
    assert "a.txt" in str(refusal.value)


def test_a_missing_annotation_is_refused(tmp_path):
    with pytest.raises(FeatureError, match="cannot be read"):
        read_annotation(tmp_path / "a.txt")


def test_a_clip_has_the_mean_of_its_valid_frames():
    geometry = SequenceGeometry(clips=2, frames=2, dilation=2)  # a clip spans four frames
    labels = torch.arange(20.0).reshape(10, 2)
    valid = torch.ones(10, dtype=torch.bool)
    valid[[1, 4, 5, 6, 7]] = False
    found = clip_labels(Annotation(labels, valid), geometry)
    assert found.valid.tolist() == [True, False, True]
    assert found.labels[0].tolist() == pytest.approx([(0 + 4 + 6) / 3, (1 + 5 + 7) / 3])
    assert found.labels[2].tolist() == [17.0, 18.0]  # the last clip has two frames only


def test_pictures_lie_a_dilation_apart_and_clips_a_span():
    found = SequenceGeometry(clips=8, frames=3, dilation=4).pictures(25)
    assert found.tolist() == [[0, 4, 8], [12, 16, 20], [24, 28, 32]]
    paper = SequenceGeometry(dilation=1)
    assert paper.pictures(64).flatten().tolist() == list(range(64))
    assert SequenceGeometry(clips=16).span * 16 == 512  # the released code's sub-sequence


def test_sub_sequences_follow_each_other_and_the_last_is_filled_up():
    clips = torch.arange(1, 12)[:, None].expand(11, 3)
    found = into_sequences(clips, 4)
    assert found.shape == (3, 4, 3)
    assert found[..., 0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 0]]
    assert into_sequences(clips[:2], 4)[..., 2].tolist() == [[1, 2, 0, 0]]
    assert into_sequences(clips[:8], 4).shape[0] == 2


@pytest.mark.parametrize("wrong", [{"clips": 0}, {"frames": -1}, {"dilation": 0}])
def test_a_geometry_of_nothing_is_refused(wrong):
    with pytest.raises(FeatureError, match="at least 1"):
        SequenceGeometry(**wrong)


def test_the_folders_are_the_official_splits_and_other_challenges_are_left_alone(root):
    found = find_videos(root)
    assert [(video.name, video.split) for video in found.videos] == [
        ("12-24-1920x1080", "train"),
        ("46-30-484x360_left", "train"),
        ("46-30-484x360_right", "train"),
        ("video7", "valid"),
    ]
    assert len(read_annotation(found.videos[0].annotation).labels) == 30


def test_two_people_in_a_recording_share_its_sound_and_its_group(root):
    left, right = find_videos(root).videos[1:3]
    assert left.recording == right.recording == "46-30-484x360"
    assert left.sound == right.sound == root / "batch1" / "46-30-484x360.avi"
    assert left.pictures != right.pictures and left.pictures.name == left.name
    assert recording_of("leftover_right") == "leftover" and recording_of("a_left_b") == "a_left_b"


def test_a_video_without_faces_or_recording_is_still_found(root):
    assert find_videos(root).videos[3].pictures is None
    (root / "batch1" / "video7.mp4").unlink()
    assert find_videos(root).videos[3].sound is None


def test_a_recording_is_preferred_to_its_sound_alone(root):
    (root / "a_wavs").mkdir()
    (root / "zz").mkdir()
    for place in ("a_wavs", "zz"):
        (root / place / "video7.wav").touch()
    assert find_videos(root).videos[3].sound == root / "batch1" / "video7.mp4"


def test_lists_decide_where_they_are_given(root):
    for name, lines in {
        "train": ["46-30-484x360_left.txt", "", "  video7 "],
        "valid": ["12-24-1920x1080.mp4"],
        "test": ["5-60-1920x1080-1"],
    }.items():
        (root / f"{name}_list.txt").write_text("\n".join(lines) + "\n")
    lists = {name: root / f"{name}_list.txt" for name in ("train", "valid", "test")}
    found = find_videos(root, lists=lists)
    assert [(video.name, video.split) for video in found.videos] == [
        ("46-30-484x360_left", "train"),
        ("video7", "train"),
        ("12-24-1920x1080", "valid"),
    ]
    assert found.unlisted == ["46-30-484x360_right"]
    assert found.missing == ["5-60-1920x1080-1"]


def test_a_name_in_two_lists_is_refused(root):
    for split in ("train", "valid"):
        (root / f"{split}.txt").write_text("video7\n")
    with pytest.raises(FeatureError, match="'video7' is listed for train and for valid"):
        find_videos(root, lists={"train": root / "train.txt", "valid": root / "valid.txt"})


def test_exclusion_is_by_name_and_never_silent(root):
    found = find_videos(root, exclude=["46-30-484x360", "video7"])
    assert [video.name for video in found.videos] == ["12-24-1920x1080"]
    assert found.excluded == ["46-30-484x360_left", "46-30-484x360_right", "video7"]
    one = find_videos(root, exclude=["46-30-484x360_left"])
    assert one.excluded == ["46-30-484x360_left"] and len(one.videos) == 3
    assert find_videos(root).excluded == []
    with pytest.raises(FeatureError, match="no video 'video8'"):
        find_videos(root, exclude=["video8"])


def test_places_may_be_named(root, tmp_path):
    moved = root / "faces of mine"
    (root / "cropped_aligned").rename(moved)
    assert find_videos(root).videos[0].pictures is None
    found = find_videos(root, pictures=moved, annotations=root / "annotations")
    assert found.videos[0].pictures == moved / "12-24-1920x1080"
    with pytest.raises(
        FeatureError, match="nowhere is not a folder, expected that of the videos' f"
    ):
        find_videos(root, pictures=root / "nowhere")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: root / "nowhere", "is not a folder"),
        (lambda root: root / "batch1", "no annotation of valence and arousal"),
    ],
)
def test_a_folder_without_the_data_is_refused(root, spoil, said):
    with pytest.raises(FeatureError, match=said):
        find_videos(spoil(root))


def test_pictures_are_numbered_by_their_names(tmp_path):
    folder = write_pictures(tmp_path, "a", 6, missing={2, 5})
    (folder / "Thumbs.db").touch()
    (folder / "00006.jpg").rename(folder / "00012.png")
    assert sorted(numbered_pictures(folder)) == [1, 3, 4, 12]
