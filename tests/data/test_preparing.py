"""From clips to features: the same seconds of both streams, nothing lost, nothing done twice."""

import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch
from recordings import number_of, shades, tone, write_video, write_wav

from mmlib.data import FeatureError, load_features
from mmlib.data import preparing as preparing_module
from mmlib.data.clip_table import Clip
from mmlib.data.media import MediaError
from mmlib.data.preparing import Recipe, prepare, sound_features
from mmlib.data.sound import log_mel, mfcc

SMALL = Recipe(size=12)
NAMES = ("happy", "sad")


def clip(path, number: int = 0) -> Clip:
    return Clip(path.stem, path, None, NAMES[number % 2], "train", f"actor{number}")


def whole(path, seconds: float = 4.0, hertz: float = 500.0):
    """Write a clip with sound and picture."""
    frames = shades(round(seconds * 10), (16, 24))
    return write_video(path, frames, rate=10, sound=tone(seconds, 44_100, hertz))


def made(paths, recipe=SMALL, **settings):
    cache = settings.pop("cache", paths[0].parent / "cache")
    clips = [clip(path, number) for number, path in enumerate(paths)]
    return prepare(clips, recipe, class_names=NAMES, cache=cache, progress=False, **settings)


def test_a_clip_gives_156_steps_of_cepstra_and_15_pictures(tmp_path):
    result = made([whole(tmp_path / "a.mp4"), whole(tmp_path / "b.mp4", hertz=1500)])
    features = result.features
    assert features.inputs["audio"].shape == (2, 156, 10)
    assert features.inputs["audio"].dtype == torch.float32
    assert features.inputs["vision"].shape == (2, 15, 3, 12, 12)
    assert features.inputs["vision"].dtype == torch.uint8
    assert all(mask.all() for mask in features.masks.values())
    assert features.ids.tolist() == ["a", "b"] and features.group.tolist() == ["actor0", "actor1"]
    assert features.labels.tolist() == [0, 1] and features.class_names == NAMES
    assert (result.failures, result.left_out, result.shorter) == ([], [], {})
    assert result.computed == 2


def test_sound_and_picture_are_of_the_same_seconds(tmp_path):
    # Ten seconds; at 5.5 the shade and the tone change. The window is from 3.2 to 6.8.
    greys = shades(31, (16, 24))
    frames = [greys[3 if n < 55 else 30] for n in range(100)]
    sound = np.concatenate([tone(5.5, 44_100, 400), tone(4.5, 44_100, 3000)])
    path = write_video(tmp_path / "a.mp4", frames, rate=10, sound=sound)
    features = made([path], Recipe(size=12, audio="log_mel")).features
    seen = [number_of(picture.numpy()) > 16 for picture in features.inputs["vision"][0]]
    heard = (features.inputs["audio"][0].argmax(1) > 60).tolist()
    assert seen == sorted(seen) and seen.index(True) / 15 == pytest.approx(2.3 / 3.6, abs=1 / 15)
    assert heard.index(True) / 156 == pytest.approx(2.3 / 3.6, abs=3 / 156)
    assert all(heard[heard.index(True) :])


def test_a_shorter_clip_is_masked_after_its_end_and_named(tmp_path):
    result = made([whole(tmp_path / "long.mp4"), whole(tmp_path / "short.mp4", seconds=1.8)])
    audio, vision = (result.features.masks[stream].sum(1) for stream in ("audio", "vision"))
    assert audio[0] == 156 and vision[0] == 15
    assert audio[1] == pytest.approx(78, abs=2) and vision[1] == pytest.approx(7.5, abs=0.5)
    for mask in result.features.masks.values():
        steps = int(mask[1].sum())
        assert mask[1, :steps].all() and not mask[1, steps:].any()
    assert list(result.shorter) == ["short"]
    assert result.shorter["short"] == pytest.approx(1.8, abs=0.05)
    levels = [number_of(picture.numpy()) for picture in result.features.inputs["vision"][1]]
    # A moment each 0.24 seconds, as in a long clip: pictures 1, 3, 6, ... of ten a second.
    assert levels[: int(vision[1])] == [1, 3, 6, 8, 10, 13, 15][: int(vision[1])]


def bad_clips(folder):
    """Write one clip of each kind of trouble; name -> stream -> what is said."""
    good = whole(folder / "good.mp4").read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "corrupt.mp4").write_bytes(good[:-900])
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    write_video(folder / "mute.mp4", shades(40, (16, 24)), rate=10)
    write_wav(folder / "unseen.wav", tone(4.0, 16_000))
    write_video(folder / "silent.mp4", shades(40, (16, 24)), rate=10, sound=np.zeros(4 * 44_100))
    dark = [np.zeros((16, 24, 3), dtype=np.uint8)] * 40
    write_video(folder / "faceless.mp4", dark, rate=10, sound=tone(4.0, 44_100, 300))
    both = ("audio", "vision")
    return {
        "empty": dict.fromkeys(both, "empty.mp4 is an empty file"),
        "corrupt": dict.fromkeys(both, "corrupt.mp4 is damaged or no recording"),
        "noise": dict.fromkeys(both, "noise.mp4 is damaged or no recording"),
        "gone": dict.fromkeys(both, "gone.mp4 does not exist"),
        "mute": {"audio": "mute.mp4 has no sound, only picture"},
        "unseen": {"vision": "unseen.wav has no picture, only sound"},
        "silent": {"audio": "its sound is silent throughout"},
        "faceless": {"vision": "no face in any of its 15 frames"},
    }


def blind_in_the_dark(frame):
    """Take the middle for a face, where there is any light."""
    return None if frame.max() < 10 else (4, 4, 8, 8)


def test_a_bad_clip_is_named_with_its_reason_and_loses_no_other(tmp_path):
    expected = bad_clips(tmp_path)
    paths = [tmp_path / "good.mp4", tmp_path / "gone.mp4"]
    paths += sorted(path for path in tmp_path.iterdir() if path.is_file() and path not in paths)
    result = made(paths, Recipe(size=12, detect=blind_in_the_dark))
    told = {(one.clip, one.stream): one.reason for one in result.failures}
    assert set(told) == {(name, stream) for name in expected for stream in expected[name]}
    for (name, stream), reason in told.items():
        assert expected[name][stream] in reason and "\n" not in reason
    assert set(result.left_out) == {"empty", "corrupt", "noise", "gone"}
    features = result.features
    assert set(features.ids) == {"good", "mute", "unseen", "silent", "faceless"}
    there = {
        str(name): [bool(features.masks[stream][row].any()) for stream in ("audio", "vision")]
        for row, name in enumerate(features.ids)
    }
    assert there == {
        "good": [True, True],
        "mute": [False, True],
        "unseen": [True, False],
        "silent": [False, True],
        "faceless": [True, False],
    }
    labels = {clip(path, n).name: n % 2 for n, path in enumerate(paths)}
    assert features.labels.tolist() == [labels[str(name)] for name in features.ids]


def dazzled(frame):
    """Fail where it is dark, as no detector should."""
    if frame.max() < 10:
        raise ZeroDivisionError("no light\nat all")
    return 4, 4, 8, 8


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_that_nobody_foresaw_is_the_clips_own_too(tmp_path, workers):
    dark = [np.zeros((16, 24, 3), dtype=np.uint8)] * 40
    odd = write_video(tmp_path / "a.mp4", dark, rate=10, sound=tone(4.0, 44_100))
    recipe = Recipe(size=12, detect=dazzled)
    result = made(
        [odd, whole(tmp_path / "b.mp4"), whole(tmp_path / "c.mp4")], recipe, workers=workers
    )
    assert result.failures == [("a", "vision", "ZeroDivisionError: no light")]
    assert result.features.masks["vision"].any(1).tolist() == [False, True, True]
    assert result.features.masks["audio"].all()


def test_where_nothing_can_be_had_the_first_reason_is_said(tmp_path):
    with pytest.raises(
        FeatureError, match=r"nothing .* any of 2 clips; first 'a', audio: .*not exist"
    ):
        made([tmp_path / "a.mp4", tmp_path / "b.mp4"])


def test_a_stream_that_no_clip_has_is_no_stream(tmp_path):
    result = made([write_wav(tmp_path / "a.wav", tone(4.0, 16_000))])
    assert result.features.modalities == ("audio",)
    assert [failure.stream for failure in result.failures] == ["vision"]


def test_the_file_is_as_large_as_was_said_and_is_read_back(tmp_path):
    result = made([whole(tmp_path / f"{n}.mp4") for n in range(3)], Recipe(size=20))
    result.features.save(tmp_path / "features.npz")
    said = Recipe(size=20).bytes_for(3)
    assert abs((tmp_path / "features.npz").stat().st_size - said) < 4000
    again = load_features(tmp_path / "features.npz")
    assert torch.equal(again.inputs["vision"], result.features.inputs["vision"])
    assert Recipe().bytes_for(1440) == pytest.approx(3.26e9, rel=0.01)


def test_what_the_disk_has_no_room_for_is_refused_before_any_work(tmp_path, monkeypatch):
    paths = [whole(tmp_path / f"{n}.mp4") for n in range(3)]
    needed, usage = Recipe(size=20).bytes_for(3), namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed - 1))
    with pytest.raises(FeatureError, match=r"needs up to 0.1 MB .*make room, or take fewer clips"):
        made(paths, Recipe(size=20))
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed))
    assert made(paths, Recipe(size=20)).computed == 3
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 0))
    assert made(paths, Recipe(size=20)).computed == 0, "what is cached needs no more room"


def test_what_was_done_is_not_done_again(tmp_path, monkeypatch):
    paths = [whole(tmp_path / f"{n}.mp4", hertz=400 + 300 * n) for n in range(3)]
    first = made(paths)
    asked = []
    work = preparing_module._features
    monkeypatch.setattr(
        preparing_module,
        "_features",
        lambda clip, stream, recipe: (
            asked.append((clip.name, stream)) or work(clip, stream, recipe)
        ),
    )
    again = made(paths)
    assert asked == [] and again.computed == 0
    assert again.features.fingerprint() == first.features.fingerprint()
    made(paths, Recipe(size=12, audio="log_mel"))
    assert asked == [(str(n), "audio") for n in range(3)], "the pictures are as they were"
    made(paths)
    del asked[:]
    os.utime(paths[1], ns=(0, 0))  # written again: perhaps another recording of the same size
    made(paths)
    assert asked == [("1", "audio"), ("1", "vision")]


def test_a_damaged_file_of_the_cache_does_not_count(tmp_path):
    paths = [whole(tmp_path / "a.mp4")]
    first = made(paths)
    for file in (tmp_path / "cache" / "vision").iterdir():
        file.write_bytes(file.read_bytes()[:-50])
    again = made(paths)
    assert again.computed == 1 and again.features.fingerprint() == first.features.fingerprint()


class StopsAt:
    """Interrupt the work at some call, as a person does."""

    identity = "middle"

    def __init__(self, call):
        self.left = call

    def __call__(self, frame):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return 4, 4, 8, 8


def test_an_interrupted_preparation_goes_on_where_it_stopped(tmp_path):
    paths = [whole(tmp_path / f"{n}.mp4") for n in range(4)]
    with pytest.raises(KeyboardInterrupt):
        made(paths, Recipe(size=12, detect=StopsAt(2 * 15 + 7)))
    again = made(paths, Recipe(size=12, detect=StopsAt(0)))
    assert again.computed == 2, "two were whole, the third was not"
    fresh = made(paths, Recipe(size=12, detect=StopsAt(0)), cache=tmp_path / "other")
    assert again.features.fingerprint() == fresh.features.fingerprint()


def middle(frame):
    return 4, 4, 8, 8


def gives_up(frame):
    os._exit(1)


def test_several_processes_give_what_one_gives(tmp_path):
    paths = [whole(tmp_path / f"{n}.mp4", hertz=400 + 300 * n) for n in range(3)]
    paths.append(tmp_path / "gone.mp4")
    recipe = Recipe(size=12, detect=middle)
    one = made(paths, recipe, cache=tmp_path / "one")
    two = made(paths, recipe, cache=tmp_path / "two", workers=2)
    assert two.features.fingerprint() == one.features.fingerprint()
    assert two.failures == one.failures and two.left_out == ["gone"]


def test_a_worker_that_is_killed_is_one_sentence(tmp_path):
    paths = [whole(tmp_path / f"{n}.mp4") for n in range(2)]
    with pytest.raises(FeatureError, match=r"worker process was ended .* start again"):
        made(paths, Recipe(size=12, detect=gives_up), workers=2)


def test_cepstra_are_those_of_the_sound_with_a_step_for_each_hop_begun():
    sound = torch.randn(79_380, generator=torch.Generator().manual_seed(0))
    settings = {"sample_rate": 22_050, "n_fft": 2048, "hop": 512, "n_mels": 128}
    found = sound_features(sound, Recipe())
    assert found.shape == (156, 10) and 79_380 / 512 == pytest.approx(155.04, abs=0.01)
    straight = mfcc(sound[None], **settings, n_mfcc=10)[0]
    torch.testing.assert_close(found[:155], straight)
    assert sound_features(sound[: 512 * 40], Recipe()).shape[0] == 40
    bands = sound_features(sound, Recipe(audio="log_mel"))
    torch.testing.assert_close(bands[:155], log_mel(sound[None], **settings)[0])


def test_a_sound_too_short_for_a_window_is_refused():
    with pytest.raises(MediaError, match=r"lasts only 0\.045 seconds"):
        sound_features(torch.ones(1000), Recipe())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": 0.05}, "seconds is 0.05, expected more than 0.09"),
        ({"frames": 0}, "frames is 0"),
        ({"size": -3}, "size is -3"),
        ({"audio": "loud"}, "audio is 'loud', expected mfcc or log_mel"),
    ],
)
def test_an_impossible_recipe_is_refused(settings, says):
    with pytest.raises(FeatureError, match=says):
        Recipe(**settings)


def test_the_number_of_processes_is_refused_where_it_is_none(tmp_path):
    with pytest.raises(FeatureError, match="workers is 0"):
        made([tmp_path / "a.mp4"], workers=0)
