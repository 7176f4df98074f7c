"""Presets and knobs: all there, all documented, and everything else refused in one clear sentence."""

import dataclasses
import inspect
import math

import numpy as np
import pytest

from mmlib.data import theatre
from mmlib.data.theatre.presets import PRESETS, find_script
from mmlib.data.theatre.script import CHOICES, RANGES, Script

NAMES = [
    "masks",
    "flagship",
    "irony",
    "irony_clear",
    "irony_square",
    "spotlight",
    "beat",
    "missing",
    "habit",
    "portraits",
    "voices",
    "ca_mmaaet",
    "avt_ca",
    "jmt",
    "conversations",
]


def test_every_preset_is_there_under_its_own_name():
    assert list(PRESETS) == NAMES
    assert all(PRESETS[name].name == name for name in NAMES)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Script) if f.name != "name"])
def test_every_knob_is_documented_in_make(name):
    assert name in inspect.getdoc(theatre.make)


def test_every_preset_is_documented_in_make():
    assert all(name in inspect.getdoc(theatre.make) for name in NAMES)


@pytest.mark.parametrize("knob", RANGES)
def test_a_number_out_of_range_is_refused_with_the_range(knob):
    low, high = RANGES[knob]
    for value in (low - 1, high + 1, math.nan, "3", True, None):
        if knob == "samples" and value is None:
            continue
        with pytest.raises(ValueError, match=rf"{knob} must be a (whole )?number from {low} to"):
            theatre.make("masks", n=3, **{knob: value})


@pytest.mark.parametrize("knob", CHOICES)
def test_a_word_that_does_not_exist_is_refused_with_the_words(knob):
    with pytest.raises(ValueError, match=f"{knob} must be one of .*{CHOICES[knob][-1]}"):
        theatre.make("masks", n=3, **{knob: "nonsense"})


@pytest.mark.parametrize(
    ("preset", "knobs", "message"),
    [
        ("mask", {}, "no preset 'mask'; it has .*masks"),
        ("masks", {"blur": 1}, "no knob 'blur'; it has .*face_blur"),
        ("masks", {"name": "mine"}, "no knob 'name'"),
        ("masks", {"lag": 1.5}, "lag must be a whole number"),
        ("masks", {"modalities": "text"}, "modalities must be a tuple"),
        (
            "masks",
            {"modalities": ("text", "video")},
            "modalities must be a tuple of different names",
        ),
        ("masks", {"emotions": ()}, "emotions must be a tuple"),
        ("masks", {"prior": (0.5, 0.5)}, "one probability to each of the 8 emotions"),
        ("masks", {"prior": (0.5,) * 8}, "sum to 1"),
        ("masks", {"sentence_length": (9, 5)}, "shortest <= longest"),
        ("masks", {"sentence_length": 7}, "sentence_length must be two numbers"),
        ("masks", {"sample_rate": 11025}, "8000 or 16000"),
        ("masks", {"samples": 8191}, "multiple of 64 at 8000 Hz"),
        ("masks", {"random_lights": "red"}, "random_lights must be one of \\(False, True\\)"),
        ("masks", {"labels": "valence"}, "without 'neutral'"),
        ("masks", {"moments": 2}, "set marker to 'light' or 'beat'"),
        ("masks", {"marker": "light"}, "sentence_length to \\(6, 16\\)"),
        ("spotlight", {"num_frames": 10}, "10 frames cannot hold 4 moments"),
        ("beat", {"lip_sync": 0.1}, "the mouth would give the moment away"),
        ("masks", {"num_frames": 3, "lag": 3}, "lag must be smaller than num_frames"),
        ("conversations", {"irony": 0.2}, "needs both emotions of each pair"),
        ("conversations", {"habit": 0.2}, "habit and turns cannot be combined"),
        ("jmt", {"face_noise": (0.0, 1.0)}, "face_noise must be two numbers above 0"),
    ],
)
def test_what_cannot_be_staged_is_refused_in_one_sentence(preset, knobs, message):
    with pytest.raises(ValueError, match=message) as refusal:
        theatre.make(preset, n=3, **knobs)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 2.0}, {"seed": -1}, {"seed": None}, {"n": True}])
def test_numbers_of_clips_and_seeds_must_be_whole(wrong):
    with pytest.raises(ValueError, match="must be a whole number from"):
        theatre.make("masks", **{"n": 3, **wrong})


def test_numpy_numbers_lists_and_arrays_are_taken():
    clips = theatre.make("masks", n=np.int64(3), seed=np.int64(1), modalities=["audio", "text"])
    assert clips.script.modalities == ("audio", "text")
    script = find_script("masks", prior=np.full(8, 1 / 8))
    assert script.prior == (1 / 8,) * 8
    assert hash(script) != hash(PRESETS["masks"])


def test_a_script_can_be_made_from_another_and_stays_as_it_was():
    script = PRESETS["masks"].changed(irony=0.25)
    assert script.irony == 0.25
    assert PRESETS["masks"].irony == 0.0
    assert theatre.make(script, n=4, tone_fidelity=0.75).script == find_script(
        "masks", irony=0.25, tone_fidelity=0.75
    )


def test_classes_are_the_groups_that_the_emotions_belong_to():
    assert PRESETS["masks"].classes == theatre.EMOTIONS
    assert PRESETS["ca_mmaaet"].classes == ("negative", "neutral", "positive")
    assert PRESETS["irony_square"].classes == ("negative", "positive")
    assert len(PRESETS["conversations"].classes) == 7
    assert PRESETS["jmt"].classes is None
    assert PRESETS["ca_mmaaet"].class_of("surprised") == 1
    assert PRESETS["irony_square"].class_of("surprised") == 1


def test_sound_lasts_one_second_at_both_rates():
    assert PRESETS["masks"].num_samples == 8192
    assert find_script("masks", sample_rate=16000).num_samples == 16384
    assert find_script("masks", sample_rate=16000, samples=49152).num_samples == 49152
