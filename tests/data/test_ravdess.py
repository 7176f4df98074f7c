"""RAVDESS by its names: what is taken, what is counted once, and who is in which part."""

from collections import Counter

import pytest

from mmlib.data import FeatureError, ravdess
from mmlib.data.ravdess import find_clips, official_counts, official_names, parse_name


@pytest.fixture
def folder(tmp_path):
    """Make empty recordings of these names, as archives unpack."""

    def make(*names: str):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def test_a_name_tells_seven_things():
    name = parse_name("02-01-06-01-02-01-12")
    assert name == ravdess.Name(2, 1, 6, 1, 2, 1, 12)
    assert name.label == "fearful" and name.text == "Dogs are sitting by the door."
    assert str(name) == "02-01-06-01-02-01-12"


@pytest.mark.parametrize(
    "stem",
    [
        *("", "clip", "01-01-06-01-02-01", "01-01-06-01-02-01-12-01", "1-1-6-1-2-1-12"),
        *("04-01-06-01-02-01-12", "01-03-06-01-02-01-12", "01-01-09-01-02-01-12"),
        *("01-01-06-00-02-01-12", "01-01-06-01-03-01-12", "01-01-06-01-02-01-25"),
        "01-01-01-02-02-01-12",  # neutral, strongly
        "01-02-07-01-02-01-12",  # disgust, sung
        "01-02-03-01-02-01-18",  # actor 18, singing
    ],
)
def test_what_is_no_name_of_the_data_set_is_none(stem):
    assert parse_name(stem) is None


def test_the_complete_set_follows_from_the_rules():
    speech, song = list(official_names("speech")), list(official_names("song"))
    assert len(set(speech)) == len(speech) == 1440 and len(song) == 1012
    assert 3 * (len(speech) + len(song)) == 7356  # the files that the data set's page counts
    assert all(parse_name(str(name)) == name for name in [*speech, *song])
    counts = official_counts()
    assert counts["neutral"] == 96 and {counts[e] for e in counts if e != "neutral"} == {192}
    assert ravdess.class_names() == ravdess.EMOTIONS
    assert ravdess.class_names("song") == ravdess.EMOTIONS[:6]
    assert Counter(name.actor for name in speech) == dict.fromkeys(range(1, 25), 60)


def test_the_papers_table_is_not_the_data_set():
    paper = dict.fromkeys(ravdess.EMOTIONS, 920)  # AVT-CA, table 1
    assert set(paper) == set(official_counts()) and sum(paper.values()) == 7360
    assert len(set(paper.values())) == 1 < len(set(official_counts().values()))


def test_a_take_in_three_forms_is_one_clip(folder):
    take = "01-06-01-02-01-12"
    root = folder(
        f"Video/Actor_12/01-{take}.mp4", f"Video/Actor_12/02-{take}.mp4", f"Audio/03-{take}.wav"
    )
    found = find_clips(root)
    assert [clip.name for clip in found.clips] == [f"01-{take}"]
    clip = found.clips[0]
    assert clip.path == root / "Video" / "Actor_12" / f"01-{take}.mp4"
    assert (clip.label, clip.group, clip.split) == ("fearful", "actor12", "train")
    assert clip.text == "Dogs are sitting by the door."
    assert found.streams == ("audio", "vision") and not found.strange and not found.left_out


def test_a_copy_of_a_recording_counts_once(folder):
    name = "03-01-06-01-02-01-12.wav"  # an archive that is passed around holds each twice
    found = find_clips(folder(f"Actor_12/{name}", f"all/Actor_12/{name}"))
    assert len(found.clips) == 1


def test_the_complete_set_gives_each_take_once(folder):
    files = [
        f"Actor_{name.actor:02d}/{name}.{'wav' if modality == 3 else 'mp4'}"
        for modality in (1, 2, 3)
        for channel in ("speech", "song")
        for name in official_names(channel, modality)
        if name.actor in (1, 6, 9)
    ]
    root = folder(*files)
    found = find_clips(root)
    assert len(found.clips) == 3 * 60 and {clip.name[:5] for clip in found.clips} == {"01-01"}
    assert {clip.group: clip.split for clip in found.clips} == {
        "actor01": "test",
        "actor06": "valid",
        "actor09": "train",
    }
    assert len(find_clips(root, channel="song").clips) == 3 * 44


@pytest.mark.parametrize(
    ("modality", "ending", "streams"), [(3, "wav", ("audio",)), (2, "mp4", ("vision",))]
)
def test_a_folder_of_one_kind_gives_that_kind(folder, modality, ending, streams):
    names = [f"0{modality}-01-0{emotion}-01-01-01-09" for emotion in (1, 2, 5)]
    found = find_clips(folder(*(f"{name}.{ending}" for name in names)))
    assert [clip.name for clip in found.clips] == names and found.streams == streams


def test_what_is_not_used_is_named(folder):
    root = folder(
        "01-01-03-01-01-01-09.mp4",
        "03-01-04-01-01-01-09.wav",  # a take without sound and picture in one
        "03-01-03-01-01-01-09.wav",
        "holiday.mp4",
        "._01-01-05-01-01-01-09.mp4",  # what macOS leaves
        "__MACOSX/01-01-05-01-01-01-09.mp4",
        "notes.txt",
    )
    found = find_clips(root)
    assert [clip.name for clip in found.clips] == ["01-01-03-01-01-01-09"]
    assert found.strange == ["holiday.mp4"] and found.left_out == ["03-01-04-01-01-01-09"]


def test_the_usual_split_is_by_actor_16_4_4():
    valid, test = set(ravdess.VALID_ACTORS), set(ravdess.TEST_ACTORS)
    assert (valid, test) == ({5, 6, 7, 8}, {1, 2, 3, 4})
    assert len(set(ravdess.ACTORS) - valid - test) == 16
    for part in (valid, test):
        assert sum(actor % 2 for actor in part) == 2, "as many women as men"


def test_another_split_may_be_named(folder):
    root = folder(*(f"01-01-03-01-01-01-{actor:02d}.mp4" for actor in (1, 2, 5)))
    found = find_clips(root, valid_actors=[1], test_actors=[5])
    assert {clip.group: clip.split for clip in found.clips} == {
        "actor01": "valid",
        "actor02": "train",
        "actor05": "test",
    }


@pytest.mark.parametrize(
    ("valid", "test", "says"),
    [
        ([1, 2], [2, 3], "actor 2 is named for valid and for test"),
        ([25], [1], "no actor 25; the actors are 1 to 24"),
        (range(1, 13), range(13, 25), "none is left to train on"),
    ],
)
def test_an_impossible_split_is_refused(folder, valid, test, says):
    with pytest.raises(FeatureError, match=says):
        find_clips(folder("01-01-03-01-01-01-09.mp4"), valid_actors=valid, test_actors=test)


def test_a_folder_without_recordings_of_it_is_refused(folder, tmp_path):
    with pytest.raises(FeatureError, match="is not a folder"):
        find_clips(tmp_path / "nowhere")
    with pytest.raises(FeatureError, match="no recording .* unpack"):
        find_clips(tmp_path)
    root = folder("holiday.mp4")
    with pytest.raises(FeatureError, match=r"a name such as 01-01-06-.*; found holiday.mp4"):
        find_clips(root)
    with pytest.raises(FeatureError, match="channel is 'shout'"):
        find_clips(root, channel="shout")


@pytest.mark.data
def test_the_real_names_are_understood(shared_data):
    root = shared_data / "ravdess" / "clips"
    if not root.is_dir():
        pytest.skip(f"no recordings in {root}")
    found = find_clips(root)
    assert len(found.clips) == 180 and found.streams == ("audio",) and not found.strange
    assert {clip.group: clip.split for clip in found.clips} == {
        "actor01": "test",
        "actor02": "test",
        "actor18": "train",
    }
    shares = {emotion: 180 * count / 1440 for emotion, count in official_counts().items()}
    assert Counter(clip.label for clip in found.clips) == shares
