"""The container: same seed, same clips; parts that do not depend on one another; what models get."""

import hashlib

import numpy as np
import pytest
import torch

from mmlib.data import theatre
from mmlib.data.theatre.emotions import EMOTIONS, FACE, FACE_UNITS, VOICE
from mmlib.data.theatre.presets import PRESETS

RENDERED = (
    "tokens",
    "frames",
    "waveform",
    "energy",
    "log_mel",
    "mfcc",
    "face_units",
    "voice_units",
)


def digest(*arrays: torch.Tensor) -> str:
    """A short name for whole numbers, the same on every machine."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array.numpy().astype("<i8")).tobytes())
    return total.hexdigest()[:16]


@pytest.mark.parametrize("preset", ["masks", "spotlight", "beat", "jmt", "conversations"])
def test_the_same_seed_gives_the_same_bytes(preset):
    first, second = (theatre.make(preset, n=3, seed=4) for _ in range(2))
    other = theatre.make(preset, n=3, seed=5)
    assert torch.equal(first.labels, second.labels)
    for name in RENDERED:
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert not torch.equal(first.frames, other.frames)
    assert not torch.equal(first.waveform, other.waveform)


def test_numbers_are_the_same_on_every_machine():
    masks = theatre.make("masks", n=2_000, seed=0)
    assert masks.labels[:12].tolist() == [2, 3, 4, 2, 2, 5, 7, 1, 2, 0, 2, 7]
    assert masks.actor[:6].tolist() == [20, 20, 6, 19, 3, 18]
    assert digest(masks.labels, *masks.displays.values(), masks.actor) == "ce5387efdd2ffcae"
    spotlight = theatre.make("spotlight", n=2_000, seed=1)
    assert digest(spotlight.expressions, spotlight.light, spotlight.lights) == "c84c8881490554ff"
    talk = theatre.make("conversations", n=2_000, seed=2)
    assert digest(talk.labels, talk.actor, talk.turn) == "356a500a192f8672"
    blurred = theatre.make("masks", n=2, seed=3, face_blur=1.0, voice_blur=1.0, lip_sync=0.0)
    np.testing.assert_allclose(blurred.voice_units[1, :3], [6.17844, 8.793182, 5.345655], atol=1e-5)
    np.testing.assert_allclose(
        blurred.face_units[1, 7, 8:11], [0.066147, 0.349766, 0.254792], atol=1e-5
    )


def test_words_are_the_same_on_every_machine():
    assert digest(theatre.make("spotlight", n=2_000, seed=1).tokens) == "26e2917383b8296f"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_staged_and_described(preset):
    clips = theatre.make(preset, n=23, seed=1)
    script = clips.script
    assert len(clips) == len(clips.sentences) == len(clips.ids) == 23
    assert clips.frames.shape == (23, script.num_frames, 3, script.size, script.size)
    assert clips.frames.dtype == torch.uint8
    for name in RENDERED:
        value = getattr(clips, name)
        assert len(value) == 23
        assert value.dtype == torch.uint8 or bool(torch.isfinite(value).all()), name
    features = clips.features()
    assert features.modalities == script.modalities
    assert features.class_names == clips.class_names
    assert set(features.split) <= {"train", "valid", "test"}
    assert "synthetic" in repr(clips)


def test_shapes_of_features():
    clips = theatre.make("masks", n=7, num_frames=5)
    features = clips.features()
    assert features.inputs["text"].shape == (7, 16, 32)
    assert features.inputs["audio"].shape == (7, 128, 40)
    assert features.inputs["vision"].shape == (7, 5, 16)
    assert clips.features(audio="mfcc", modalities=["audio"]).inputs["audio"].shape == (7, 128, 13)
    assert clips.features(audio="units").inputs["audio"].shape == (7, 1, 10)
    watched = clips.features(vision="frames", modalities=["vision"])
    assert watched.inputs["vision"].shape == (7, 5, 3, 32, 32)
    assert watched.inputs["vision"].dtype == torch.uint8
    pictures = watched.batch(range(7)).inputs["vision"]
    assert 0 <= pictures.min() < 0.1 and 0.9 < pictures.max() <= 1


@pytest.mark.parametrize("preset", ["masks", "beat", "ca_mmaaet"])
def test_features_are_of_about_unit_size(preset):
    features = theatre.make(preset, n=40).features(modalities=["text", "audio", "vision"])
    for name, value in features.inputs.items():
        real = value[features.masks[name]]
        assert 0.5 < real.std() < 2.0, name
        assert abs(real.mean()) < 1.0, name


def test_word_vectors_know_nothing_of_meaning_and_never_change():
    table = theatre.word_vectors()
    assert table.shape == (len(theatre.VOCABULARY), 32)
    assert not table[0].any()
    light = theatre.VOCABULARY.index("light")
    np.testing.assert_allclose(table[light, :2], [1.437009, 0.0769], atol=1e-5)
    within = [[theatre.VOCABULARY.index(w) for w in theatre.LEXICON[name]] for name in EMOTIONS]
    alike = torch.nn.functional.cosine_similarity(table[1:, None], table[None, 1:], dim=-1)
    alike.fill_diagonal_(0)
    of_emotion = alike[within[0]][:, within[0]].mean()
    assert abs(of_emotion - alike.mean()) < 0.1


def test_a_missing_modality_is_masked_and_zero():
    clips = theatre.make("missing", n=60)
    features = clips.features()
    for name in features.modalities:
        gone = ~clips.arrives[name]
        assert 5 < gone.sum() < 35
        assert not features.masks[name][gone].any()
        assert not features.inputs[name][gone].any()
        assert features.masks[name][~gone].any(1).all()


def test_the_mask_of_text_covers_its_words():
    clips = theatre.make("masks", n=50)
    lengths = clips.token_mask.sum(1)
    assert [len(sentence.split()) for sentence in clips.sentences] == lengths.tolist()
    assert 6 <= lengths.min() < lengths.max() <= 14


def test_a_split_by_actor_shares_no_actor_and_a_random_one_does():
    clips = theatre.make("masks", n=1_500)
    actors = {
        name: set(clips.actor[clips.split == name].tolist()) for name in np.unique(clips.split)
    }
    assert actors["train"] == set(range(15))
    assert actors["valid"] == {15, 16, 17}
    assert actors["test"] == set(range(18, 24))
    assert set(clips.group[clips.split == "test"]) == {f"actor-{a}" for a in range(18, 24)}
    mixed = theatre.make("masks", n=1_500, split="random")
    assert torch.equal(mixed.labels, clips.labels)
    assert set(mixed.actor[mixed.split == "test"].tolist()) == set(range(24))
    assert abs((mixed.split == "train").mean() - 15 / 24) < 0.04


def test_a_part_of_the_clips_is_the_same_as_in_the_whole():
    whole = theatre.make("spotlight", n=30)
    rendered = whole.frames, whole.waveform, whole.tokens
    early = whole.subset([5, 2, 29])
    late = theatre.make("spotlight", n=30).subset([5, 2, 29])
    assert early.ids.tolist() == [f"spotlight-0-000{i}" for i in ("05", "02", "29")]
    for part in (early, late):
        assert torch.equal(part.frames, rendered[0][[5, 2, 29]])
        torch.testing.assert_close(part.waveform, rendered[1][[5, 2, 29]], atol=1e-5, rtol=0)
        assert torch.equal(part.tokens, rendered[2][[5, 2, 29]])
        assert torch.equal(part.labels, whole.labels[[5, 2, 29]])
    assert torch.equal(late[1:].light, whole.light[[2, 29]])


def test_clips_are_chosen_by_number_slice_mask_and_split():
    clips = theatre.make("masks", n=40)
    assert clips[3].ids.tolist() == clips.ids[3:4].tolist()
    assert clips[-1].ids[0] == clips.ids[39]
    assert len(clips[4:11]) == 7
    assert torch.equal(
        clips[clips.labels == 2].labels, torch.full((int((clips.labels == 2).sum()),), 2)
    )
    assert set(clips.subset("test").split) == {"test"}
    assert len(clips.subset("train")[2:5]) == 3
    with pytest.raises(IndexError):
        clips[40]
    with pytest.raises(ValueError, match="not 'dev'"):
        clips.subset("dev")


@pytest.mark.parametrize(
    ("knobs", "same"),
    [
        ({"size": 48}, {"tokens", "waveform", "face_units"}),
        ({"audio_clarity": 1.0}, {"tokens", "labels"}),
        ({"text_clarity": 1.0}, {"waveform", "face_units"}),
        ({"face_blur": 1.0}, {"tokens", "waveform", "voice_units"}),
        ({"num_frames": 16}, {"tokens", "waveform"}),
        ({"word_noise": 0.4}, {"waveform", "frames"}),
        ({"sample_rate": 16000}, {"tokens", "voice_units"}),
        ({"lip_sync": 0.12}, {"tokens", "waveform"}),
    ],
)
def test_a_knob_leaves_what_other_parts_render_alone(knobs, same):
    before, after = (
        theatre.make("masks", n=20, seed=2),
        theatre.make("masks", n=20, seed=2, **knobs),
    )
    for name in ("labels", "tokens", "waveform", "voice_units", "face_units", "frames"):
        first, second = getattr(before, name), getattr(after, name)
        if name in same | {"labels"}:
            assert torch.equal(first, second), name
    assert any(
        getattr(before, name).shape != getattr(after, name).shape
        or not torch.equal(getattr(before, name), getattr(after, name))
        for name in ("tokens", "waveform", "face_units", "frames")
    )


@pytest.mark.parametrize("lag", [0, 3, 6])
def test_the_lag_shows_in_mouth_and_energy(lag):
    clips = theatre.make("masks", n=300, num_frames=32, lip_sync=0.12, lag=lag)
    mouth = clips.face_units[..., FACE_UNITS.index("mouth_open")]
    energy = torch.nn.functional.adaptive_avg_pool1d(clips.energy[:, None], 32)[:, 0]
    scores = []
    for shift in range(8):
        heard, seen = energy[:, : 24 - shift + 1], mouth[:, shift:25]
        heard = heard - heard.mean(1, keepdim=True)
        scores.append(float((heard * (seen - seen.mean(1, keepdim=True))).mean()))
    assert int(np.argmax(scores)) == lag


def test_a_beat_is_heard_at_its_time():
    clips = theatre.make("beat", n=60)
    quiet = theatre.make("beat", n=60, marker="none", moments=1)
    louder = clips.energy - quiet.energy
    heard = louder.argmax(1) / louder.shape[1]
    assert (heard - clips.beat).abs().median() < 0.03
    assert torch.equal(clips.moment_frames.sum(1), torch.full((60,), 3))


def test_the_spotlight_lights_the_planted_moment_with_the_named_light():
    clips = theatre.make("spotlight", n=80)
    planted = clips.moment_frames
    assert torch.equal(clips.lights[planted], clips.light.repeat_interleave(3))
    assert (clips.lights[~planted].view(80, 9) != clips.light[:, None]).all()
    assert torch.equal(clips.expressions[planted], clips.labels.repeat_interleave(3))
    named = [next(w for w in s.split() if w in theatre.LIGHTS) for s in clips.sentences]
    assert named == [theatre.LIGHTS[i] for i in clips.light]
    one_hot = clips.features().inputs["vision"][..., 16:]
    assert torch.equal(one_hot.argmax(-1), clips.lights)


def test_portraits_stand_under_random_lights():
    clips = theatre.make("portraits", n=400)
    assert clips.lights.shape == (400, 1)
    assert torch.bincount(clips.lights[:, 0], minlength=4).min() > 70
    assert torch.equal(clips.labels, clips.displays["vision"])
    assert clips.moment is None and clips.light is None and clips.beat is None


def test_units_without_noise_are_the_table_s():
    clips = theatre.make("masks", n=30, jitter=0.0, lip_sync=0.0, num_frames=16)
    shown = clips.displays["audio"].numpy()
    torch.testing.assert_close(clips.voice_units, torch.from_numpy(VOICE[shown]))
    last = clips.face_units[:, -1]
    awake = last[:, FACE_UNITS.index("eye_open")] != 0.3
    expected = torch.from_numpy(FACE[clips.displays["vision"].numpy()])
    torch.testing.assert_close(last[awake], expected[awake])
    assert awake.sum() > 20


def test_frames_can_be_drawn_at_another_size():
    clips = theatre.make("portraits", n=6, size=32)
    large = clips.draw(size=96)
    assert large.shape == (6, 1, 3, 96, 96)
    small = torch.nn.functional.avg_pool2d(large[:, 0].float(), 3)
    assert (small - clips.frames[:, 0].float()).abs().mean() < 8


def test_features_that_do_not_exist_are_refused():
    clips = theatre.make("masks", n=4)
    with pytest.raises(ValueError, match="modalities must be some of"):
        clips.features(modalities=["video"])
    with pytest.raises(ValueError, match="audio must be 'log_mel'"):
        clips.features(audio="wav2vec")
    with pytest.raises(ValueError, match="vision must be 'units'"):
        clips.features(vision="pixels")
    with pytest.raises(ValueError, match="traces have no text"):
        theatre.make("jmt", n=2).features(modalities=["text"])
