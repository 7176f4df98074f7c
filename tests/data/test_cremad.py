"""CREMA-D by its names."""

from collections import Counter

import pytest

from mmlib.data import FeatureError, cremad
from mmlib.data.cremad import find_clips, parse_name

# what AVT-CA, table 3, gives as the samples of each emotion; and what was released, from the
# data set's own list of files, in which a few of the takes are missing.
PAPER = dict.fromkeys(cremad.class_names(), 1240)
RELEASED = dict.fromkeys(cremad.class_names(), 1271) | {"neutral": 1087}


@pytest.fixture
def folder(tmp_path):
    """Make empty recordings of these names."""

    def make(*names: str):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def test_a_name_tells_four_things():
    name = parse_name("1091_IEO_FEA_MD")
    assert name == cremad.Name(1091, "IEO", "FEA", "MD")
    assert name.label == "fearful" and name.text == "It's eleven o'clock."
    assert cremad.INTENSITIES[name.intensity] == "medium"
    assert parse_name("1040_ITH_SAD_X") == cremad.Name(1040, "ITH", "SAD", "XX")


@pytest.mark.parametrize(
    "stem",
    [
        *("", "1001_DFA_ANG", "1001_DFA_ANG_XX_2", "1001_XYZ_ANG_XX", "1001_DFA_JOY_XX"),
        *("1001_DFA_ANG_UP", "1092_DFA_ANG_XX", "1000_DFA_ANG_XX", "1001_dfa_ang_xx"),
    ],
)
def test_what_is_no_name_of_the_data_set_is_none(stem):
    assert parse_name(stem) is None


def test_there_are_91_actors_12_sentences_6_emotions():
    assert len(cremad.ACTORS) == 91 and len(cremad.SENTENCES) == 12
    assert cremad.class_names() == ("angry", "disgust", "fearful", "happy", "neutral", "sad")


def test_neutral_is_the_smaller_class_in_the_design_and_in_the_release_but_not_in_the_paper():
    actors, sentences = len(cremad.ACTORS), len(cremad.SENTENCES)
    for emotion in cremad.class_names():
        # Once a sentence; the first one at three intensities, except neutrally.
        designed = actors * (sentences if emotion == "neutral" else sentences + 2)
        assert 0 < designed - RELEASED[emotion] <= 5, "a few takes are missing"
    assert sum(RELEASED.values()) == 7442 and sum(PAPER.values()) == 7440
    assert len(set(PAPER.values())) == 1 < len(set(RELEASED.values()))


def test_a_take_in_three_forms_is_one_clip(folder):
    name = "1050_DFA_ANG_XX"
    root = folder(f"VideoFlash/{name}.flv", f"AudioWAV/{name}.wav", f"AudioMP3/{name}.mp3")
    found = find_clips(root)
    assert [(clip.name, clip.path.suffix) for clip in found.clips] == [(name, ".flv")]
    clip = found.clips[0]
    assert (clip.label, clip.group, clip.split) == ("angry", "1050", "train")
    assert found.streams == ("audio", "vision") and not found.left_out


def test_sound_alone_is_taken_where_there_is_no_picture(folder):
    names = ["1003_IEO_HAP_LO", "1003_IEO_HAP_HI"]
    root = folder(*(f"AudioMP3/{name}.mp3" for name in names), f"AudioWAV/{names[1]}.wav")
    found = find_clips(root)
    assert {clip.path.name for clip in found.clips} == {
        "1003_IEO_HAP_LO.mp3",
        "1003_IEO_HAP_HI.wav",
    }
    assert found.streams == ("audio",)


def test_a_take_without_picture_is_named_where_others_have_one(folder):
    found = find_clips(folder("1001_DFA_SAD_XX.flv", "1002_DFA_SAD_XX.wav", "readme.mp4"))
    assert [clip.name for clip in found.clips] == ["1001_DFA_SAD_XX"]
    assert found.left_out == ["1002_DFA_SAD_XX"] and found.strange == ["readme.mp4"]


def test_the_split_is_by_actor_and_may_be_named(folder):
    actors = (1001, 1015, 1016, 1030, 1031, 1091)
    root = folder(*(f"{actor}_WSI_NEU_XX.flv" for actor in actors))
    splits = [clip.split for clip in find_clips(root).clips]
    assert splits == ["test", "test", "valid", "valid", "train", "train"]
    other = find_clips(root, valid_actors=[1091], test_actors=[])
    assert [clip.split for clip in other.clips] == ["train"] * 5 + ["valid"]
    assert Counter(
        "valid" if a in cremad.VALID_ACTORS else "test" if a in cremad.TEST_ACTORS else "train"
        for a in cremad.ACTORS
    ) == {"train": 61, "valid": 15, "test": 15}
    with pytest.raises(FeatureError, match="no actor 12; the actors are 1001 to 1091"):
        find_clips(root, valid_actors=[12])


@pytest.mark.data
def test_the_real_names_are_understood(shared_data):
    root = shared_data / "cremad"
    if not root.is_dir():
        pytest.skip(f"no recordings in {root}")
    found = find_clips(root)
    assert [clip.label for clip in found.clips] == ["angry", "happy", "sad"]
    assert found.left_out == ["1002_DFA_ANG_XX", "1002_DFA_HAP_XX", "1002_DFA_SAD_XX"]
