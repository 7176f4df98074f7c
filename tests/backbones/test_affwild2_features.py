"""From Aff-Wild2's files to sub-sequences of features, whatever is missing from them."""

import pytest
import torch
from affwild2_files import ramp, write_annotation, write_pictures, write_recording
from PIL import Image

from mmlib.backbones import affwild2
from mmlib.backbones.affwild2 import extract_videos
from mmlib.backbones.clip_encoders import ClipSound, ClipVision
from mmlib.backbones.r2plus1d import R2Plus1D
from mmlib.data import FeatureError, load_features
from mmlib.data.affwild2 import SequenceGeometry, find_videos
from mmlib.data.media import read_sound
from mmlib.data.spectrogram import SpectrogramGeometry, clip_spectrograms

# Clips span six frames, three pictures each; a sub-sequence is two clips.
GEOMETRY = SequenceGeometry(clips=2, frames=3, dilation=2)
CLIP = SpectrogramGeometry(frames=3, dilation=2)


@pytest.fixture(scope="module")
def encoders():
    vision = ClipVision(random=True, geometry=CLIP, size=16)
    return {"vision": vision, "audio": ClipSound(random=True, geometry=CLIP)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Three people; frames 1 to 12 of the first have faces but for two and one whole clip."""
    root = tmp_path_factory.mktemp("affwild2")
    pairs = ramp(15)
    pairs[3:5] = [(-5, -5)] * 2  # part of the first clip
    write_annotation(root, "Train_Set", "video1_left", pairs)
    write_pictures(root, "video1_left", 17, missing={3, *range(7, 13)})
    write_annotation(root, "Train_Set", "video1_right", [(-5, -5)] * 6 + ramp(3))
    write_recording(root, "video1", 15)
    write_annotation(root, "Validation_Set", "video2", ramp(4, start=0.2))
    write_pictures(root, "video2", 4)
    return root


def extract(root, encoders, cache, **more):
    return extract_videos(
        find_videos(root).videos,
        **encoders,
        geometry=GEOMETRY,
        cache=cache,
        progress=False,
        **more,
    )


@pytest.fixture(scope="module")
def made(home, encoders, tmp_path_factory):
    return extract(home, encoders, tmp_path_factory.mktemp("cache"))


def test_every_clip_has_its_features_and_its_labels(made):
    features = made.features
    assert features.ids.tolist() == [
        "video1_left/000001",
        "video1_left/000013",
        "video1_right/000001",
        "video2/000001",
    ]
    assert features.group.tolist() == ["video1", "video1", "video1", "video2"]
    assert features.split.tolist() == ["train", "train", "train", "valid"]
    assert features.inputs["vision"].shape == features.inputs["audio"].shape == (4, 2, 512)
    assert features.labels.shape == (4, 2, 2) and features.task == "regression"
    first = [-0.5, -0.49, -0.48, -0.45]  # the fourth and fifth frame have no label
    assert features.labels[0, 0].tolist() == pytest.approx([sum(first) / 4, -sum(first) / 4])


def test_masks_say_what_can_be_seen_heard_and_judged(made):
    vision, audio = (made.features.masks[name].tolist() for name in ("vision", "audio"))
    # The second clip has not one picture; the last clip of 15 frames is filled up to a sub-sequence.
    assert vision[:2] == [[True, False], [True, False]]
    assert audio[:2] == [[True, True], [True, False]]
    # The right person has no folder of faces, and no label in the first clip.
    assert vision[2] == [False, False] and audio[2] == [False, True]
    # The second video has no recording, and is shorter than a clip.
    assert vision[3] == [True, False] and audio[3] == [False, False]


def test_a_batch_says_which_labels_count(made):
    batch = made.features.batch([0, 1, 2, 3])
    assert batch.label_mask.tolist() == [[True, True], [True, False], [False, True], [True, False]]
    assert not bool((batch.labels == -5).any())


def test_what_is_missing_is_told(made):
    told = {(failure.clip, failure.stream) for failure in made.failures}
    assert told == {("video1_right", "vision"), ("video2", "audio")}
    # Frame 3 of the first clip and those of the second; what is beyond the last label is no gap.
    assert made.black == {"video1_left": 1 + 3}
    assert made.beyond == {"video1_left": 2}
    assert (made.left_out, made.unlabelled, made.computed) == ([], 0, 3)


def test_pictures_are_those_of_the_dilated_frames_and_missing_ones_are_black(made, home, encoders):
    def picture(number):
        with Image.open(home / "cropped_aligned" / "video1_left" / f"{number:05d}.jpg") as file:
            grey = file.getpixel((0, 0))[0]
        return torch.full((3, 16, 16), grey / 255)

    black = torch.zeros(3, 16, 16)
    for (row, step), frames in {
        (0, 0): [picture(1), black, picture(5)],
        (1, 0): [picture(13), picture(15), black],  # there is a picture 17, but no frame 17
    }.items():
        clip = torch.stack(frames)[None]
        # The model inside, called as a learner would.
        wanted = encoders["vision"]._model.features(R2Plus1D.normalise(clip))[0]
        got = made.features.inputs["vision"][row, step]
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


def test_sound_is_that_of_the_clips_instants(made, home, encoders):
    path = home / "batch1" / "video1.mp4"
    sound = read_sound(path, sample_rate=44_100, window=(0.0, 0.6))
    second = sound[round(0.2 * 44_100) :][: CLIP.samples]
    wanted = encoders["audio"]._model.features(clip_spectrograms(second[None], CLIP))[0]
    torch.testing.assert_close(made.features.inputs["audio"][0, 1], wanted, rtol=1e-3, atol=1e-3)


def test_a_recording_at_another_rate_has_other_clips(home, encoders, tmp_path):
    write_annotation(tmp_path, "Train_Set", "video3", ramp(12))
    path = write_recording(tmp_path, "video3", 12, rate=24)
    found = extract(tmp_path, encoders, tmp_path / "cache").features
    cut = SpectrogramGeometry(frames=3, dilation=2, frame_rate=24)
    sound = read_sound(path, sample_rate=44_100, window=(0.0, 0.5))[cut.samples :][: cut.samples]
    wanted = encoders["audio"]._model.features(clip_spectrograms(sound[None], cut))[0]
    torch.testing.assert_close(found.inputs["audio"][0, 1], wanted, rtol=1e-3, atol=1e-3)
    assert found.modalities == ("audio",)


def test_a_second_call_computes_nothing_and_says_the_same(home, encoders, tmp_path, monkeypatch):
    first = extract(home, encoders, tmp_path)
    monkeypatch.setattr(affwild2, "_look", lambda *_: pytest.fail("computed again"))
    again = extract(home, encoders, tmp_path)
    assert again.computed == 0 and first.computed == 3
    for name in ("audio", "vision"):
        assert torch.equal(again.features.inputs[name], first.features.inputs[name])
    assert (again.black, again.failures) == (first.black, first.failures)


def test_a_stopped_extraction_goes_on_with_the_video_that_was_not_done(
    home, encoders, tmp_path, monkeypatch, made
):
    whole, done = affwild2._look, []

    def stopped(*args):
        if done:
            raise KeyboardInterrupt
        done.append(args)
        return whole(*args)

    monkeypatch.setattr(affwild2, "_look", stopped)
    with pytest.raises(KeyboardInterrupt):
        extract(home, encoders, tmp_path)
    monkeypatch.setattr(affwild2, "_look", whole)
    after = extract(home, encoders, tmp_path)
    assert after.computed == 1  # the second video; the others' features were there
    assert torch.equal(after.features.inputs["vision"], made.features.inputs["vision"])


def test_new_pictures_and_other_cuts_are_computed_anew(home, encoders, tmp_path):
    write_annotation(tmp_path, "Train_Set", "video3", ramp(12))
    folder = write_pictures(tmp_path, "video3", 12, missing={3})
    one = {"vision": encoders["vision"], "audio": None}
    first = extract(tmp_path, one, tmp_path / "cache")
    (folder / "00002.jpg").rename(folder / "00003.jpg")
    second = extract(tmp_path, one, tmp_path / "cache")
    assert second.computed == 1 and not second.black
    difference = (first.features.inputs["vision"] - second.features.inputs["vision"]).abs()
    assert bool((difference[0, 0] > 0).any()) and not bool(difference[0, 1].any())
    # Longer sub-sequences are cut from the same features.
    longer = extract_videos(
        find_videos(tmp_path).videos,
        **one,
        geometry=SequenceGeometry(clips=5, frames=3, dilation=2),
        cache=tmp_path / "cache",
        progress=False,
    )
    assert longer.computed == 0 and longer.features.labels.shape == (1, 5, 2)


def test_a_garbled_annotation_or_picture_loses_no_other_video(encoders, tmp_path):
    for name in ("a", "b", "c"):
        write_annotation(tmp_path, "Train_Set", name, ramp(6))
        write_pictures(tmp_path, name, 6)
    path = tmp_path / "annotations/VA_Estimation_Challenge/Train_Set/a.txt"
    path.write_text(path.read_text().rpartition(",")[0])  # the download broke off
    (tmp_path / "cropped_aligned" / "b" / "00003.jpg").write_bytes(b"\xff\xd8\xff no picture")
    found = extract(tmp_path, {"vision": encoders["vision"], "audio": None}, tmp_path / "cache")
    assert found.features.ids.tolist() == ["c/000001"]
    reasons = {(failure.clip, failure.stream): failure.reason for failure in found.failures}
    assert (
        "line 7" in reasons["a", "labels"] and "00003.jpg is no picture" in reasons["b", "vision"]
    )
    assert found.left_out == ["a", "b"]


def test_sub_sequences_without_any_label_are_left_out(encoders, tmp_path):
    write_annotation(tmp_path, "Train_Set", "a", [(-5, -5)] * 12 + ramp(3))
    write_pictures(tmp_path, "a", 15)
    found = extract(tmp_path, {"vision": encoders["vision"], "audio": None}, tmp_path / "cache")
    assert found.features.ids.tolist() == ["a/000013"] and found.unlabelled == 1


def test_the_feature_file_reads_back(made, tmp_path):
    made.features.save(tmp_path / "features.npz")
    again = load_features(tmp_path / "features.npz")
    assert torch.equal(again.labels, made.features.labels)
    assert torch.equal(again.masks["vision"], made.features.masks["vision"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"geometry": SequenceGeometry(frames=4)}, "cut into 4 dilated by 4"),
        ({"vision": None, "audio": None}, "no encoder"),
    ],
)
def test_what_does_not_fit_is_refused(home, encoders, tmp_path, change, said):
    given = {**encoders, "geometry": GEOMETRY, "cache": tmp_path, "progress": False} | change
    with pytest.raises(FeatureError, match=said):
        extract_videos(find_videos(home).videos, **given)


def test_where_nothing_could_be_had_the_first_reason_is_told(encoders, tmp_path):
    write_annotation(tmp_path, "Train_Set", "a", ramp(6))
    with pytest.raises(FeatureError, match="nothing could be had of any of 1 videos"):
        extract(tmp_path, encoders, tmp_path / "cache")
