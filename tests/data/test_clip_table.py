"""The table of clips: what it may look like, and what is said where it cannot be used."""

import pytest

from mmlib.data import FeatureError
from mmlib.data.clip_table import Clip, class_numbers, read_clip_table


@pytest.fixture
def write(tmp_path):
    """Write a table, and the named (empty) recordings beside it."""

    def make(text, *clips, encoding="utf-8"):
        for clip in clips:
            place = tmp_path / "clips" / clip
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        (tmp_path / "clips").mkdir(exist_ok=True)
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path, tmp_path / "clips"

    return make


def test_all_columns_are_read_in_any_order(write):
    path, folder = write(
        "Label,group,split,notes,text,id\n"
        'glad,ann,train,x,"well, well",one\n'
        "sad,bob,test,,今天很好,two\n",
        "one.mp4",
        "two.WAV",
    )
    clips, absent = read_clip_table(path, folder)
    assert clips == [
        Clip("one", folder / "one.mp4", "well, well", "glad", "train", "ann"),
        Clip("two", folder / "two.WAV", "今天很好", "sad", "test", "bob"),
    ]
    assert absent == ()


def test_a_byte_order_mark_and_foreign_line_ends_are_tolerated(write):
    path, _ = write("id,label\r\none,glad\r\n\r\n", encoding="utf-8-sig")
    assert [clip.name for clip in read_clip_table(path).clips] == ["one"]


def test_what_is_optional_may_be_left_out(write):
    path, folder = write("id,label\none,glad\n", "one.ogg")
    clips, absent = read_clip_table(path, folder)
    assert clips == [Clip("one", folder / "one.ogg", None, "glad", "train", "one")]
    assert absent == ("text", "split", "group")


def test_recordings_are_found_by_name_in_subfolders_or_by_file(write):
    path, folder = write(
        "id,label\nday1/one,glad\nday2/one,sad\nv1.2,sad\n",
        "day1/one.mp4",
        "day2/one.flv",
        "v1.2.wav",
    )
    places = [clip.path for clip in read_clip_table(path, folder).clips]
    assert places == [folder / "day1/one.mp4", folder / "day2/one.flv", folder / "v1.2.wav"]
    path, folder = write("file,label\none.wav,glad\n", "one.mp4", "one.wav")
    (clip,) = read_clip_table(path, folder).clips
    assert clip.name == "one.wav" and clip.path == folder / "one.wav"
    path, folder = write("id,file,label\nfirst,one.wav,glad\n")
    (clip,) = read_clip_table(path, folder).clips
    assert clip.name == "first" and clip.path == folder / "one.wav"


def test_what_is_no_recording_does_not_count(write):
    path, folder = write("id,label\none,glad\n", "one.mp4", "one.srt", "one.csv")
    assert read_clip_table(path, folder).clips[0].path == folder / "one.mp4"


def test_a_recording_that_is_not_there_is_found_missing_later(write):
    path, folder = write("id,label\none,glad\n")
    assert read_clip_table(path, folder).clips[0].path == folder / "one"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column id or file, label; its header is empty"),
        ("name,label\none,glad\n", "no column id or file; its header is name, label"),
        ("id,text\none,hello\n", "no column label"),
        ("id,label\n", "a header but no rows"),
        ("id,label,label\none,glad,sad\n", "names a column twice"),
        ("id,label\none,glad\none,sad\n", "line 3: 'one' stands in a line before"),
        ("id,label\none,\n", "line 2: the column 'label' is empty"),
        ("id,label\n,glad\n", "line 2: the column 'id' is empty"),
        ("id,label,split\none,glad,dev\n", "line 2: the split is 'dev', expected one of train"),
        ("id,label,split\none,glad,\n", "line 2: the column 'split' is empty"),
        (
            "id,label,text\none,glad,well, well\n",
            "line 2: 4 cells but the header has 3; put a text",
        ),
        ("id,label,text\none,glad\n", "line 2: 2 cells but the header has 3"),
        ('id,label\none,"glad\n', "cannot be read as a csv file"),
        ("id,label\ntwo,glad\n", "'two' may be two.mp4, two.wav; say which in a column 'file'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_sentence(write, text, says):
    path, folder = write(text, "one.mp4", "two.mp4", "two.wav")
    with pytest.raises(FeatureError, match=says) as refused:
        read_clip_table(path, folder)
    assert "\n" not in str(refused.value)


def test_another_encoding_a_missing_table_and_a_missing_folder_are_said(write, tmp_path):
    path, folder = write("id,label\none,glücklich\n", encoding="latin-1")
    with pytest.raises(FeatureError, match="is not UTF-8; save it again"):
        read_clip_table(path, folder)
    with pytest.raises(FeatureError, match="cannot be read"):
        read_clip_table(tmp_path / "none.csv", folder)
    path, _ = write("id,label\none,glad\n")
    with pytest.raises(FeatureError, match="is not a folder, expected one with the clips"):
        read_clip_table(path, tmp_path / "nowhere")


def test_labels_become_numbers_in_the_given_order_and_no_other(write):
    path, _ = write("id,label\n1,neutral\n2,negative\n3,positive\n4,neutral\n")
    clips = read_clip_table(path).clips
    assert class_numbers(clips, ["negative", "neutral", "positive"]) == [1, 0, 2, 1]
    assert class_numbers(clips, ["negative", "positive", "neutral"]) == [2, 0, 1, 2]
    with pytest.raises(FeatureError, match="the label of '3' is 'positive' but the class names"):
        class_numbers(clips, ["negative", "neutral"])
    with pytest.raises(
        FeatureError, match="not given.* the labels are negative, neutral, positive"
    ):
        class_numbers(clips, [])
    with pytest.raises(FeatureError, match="each once"):
        class_numbers(clips, ["negative", "neutral", "positive", "neutral"])
