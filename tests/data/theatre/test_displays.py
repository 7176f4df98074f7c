"""What is displayed follows its tables, and every knob leaves the other parts alone."""

import numpy as np
import pytest
from scipy.stats import chi2

from mmlib.data.theatre.displays import (
    Cues,
    confusion,
    draw_cues,
    irony_map,
    missing_rates,
    stream,
)
from mmlib.data.theatre.emotions import COORDINATES, EMOTIONS, IRONY_MAP
from mmlib.data.theatre.presets import PRESETS
from mmlib.data.theatre.script import MODALITIES

MASKS = PRESETS["masks"]


def surprise(counts: np.ndarray, table: np.ndarray) -> float:
    """The p-value of a chi-square test of rows of counts against rows of probabilities."""
    expected = counts.sum(1, keepdims=True) * table
    common = expected > 5
    statistic = (((counts - expected) ** 2)[common] / expected[common]).sum()
    return float(chi2.sf(statistic, common.sum() - len(table)))


def counted(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    counts = np.zeros(shape)
    np.add.at(counts, (rows, columns), 1)
    return counts


def differing(first: Cues, second: Cues) -> set[str]:
    """The parts in which two sets of cues differ."""
    names = ("felt", "irony", "tone", "actor", "split", "expressions", "moment", "light_order")
    found = {n for n in names if not np.array_equal(getattr(first, n), getattr(second, n))}
    for modality in MODALITIES:
        for kind in ("displays", "arrives"):
            pair = [getattr(cues, kind)[modality] for cues in (first, second)]
            if not np.array_equal(*pair):
                found.add(f"{modality} {kind}")
    return found


def test_irony_swaps_pairs_and_flips_their_valence():
    assert np.array_equal(IRONY_MAP[IRONY_MAP], np.arange(8))
    moved = np.flatnonzero(IRONY_MAP != np.arange(8))
    assert [EMOTIONS[i] for i in np.flatnonzero(IRONY_MAP == np.arange(8))] == [
        "neutral",
        "fearful",
    ]
    valence = COORDINATES[:, 0]
    assert (valence[moved] * valence[IRONY_MAP[moved]] < 0).all()


def test_a_confusion_table_by_hand():
    table = confusion("vision", 4.5, ("neutral", "happy"))
    squared = 2.4 * 0.85**2 + 0.5 * 0.45**2 + 0.35 * 0.4**2
    other = np.exp(-4.5 / 2 * squared)
    np.testing.assert_allclose(table, np.array([[1, other], [other, 1]]) / (1 + other))


def test_clarity_zero_tells_nothing_and_infinite_clarity_never_errs():
    np.testing.assert_allclose(confusion("text", 0.0), np.full((8, 8), 1 / 8))
    assert np.array_equal(confusion("text", np.inf), np.eye(8))
    rising = [np.trace(confusion("audio", c)) for c in (0.5, 2.0, 3.5, 11.0)]
    assert rising == sorted(rising)


@pytest.mark.parametrize("modality", MODALITIES)
def test_displays_follow_their_confusion_table(modality):
    script = PRESETS["flagship"]
    cues = draw_cues(script, 20_000, seed=3)
    meant = cues.felt
    if modality == "text":
        meant = np.where(cues.irony, IRONY_MAP[cues.felt], cues.felt)
    table = confusion(modality, getattr(script, f"{modality}_clarity"))
    counts = counted(meant, cues.displays[modality], (8, 8))
    assert surprise(counts, table) > 1e-3
    assert surprise(counts, np.roll(table, 1, axis=1)) < 1e-9


def test_labels_irony_tone_and_actors_follow_their_probabilities():
    cues = draw_cues(PRESETS["flagship"], 20_000, seed=5)
    ones = np.zeros(len(cues), int)
    assert surprise(counted(ones, cues.felt, (1, 8)), np.full((1, 8), 1 / 8)) > 1e-3
    assert surprise(counted(ones, cues.actor, (1, 24)), np.full((1, 24), 1 / 24)) > 1e-3
    assert abs(cues.irony.mean() - 0.4) < 0.012
    assert abs((cues.tone == cues.irony).mean() - 0.95) < 0.006


def test_a_prior_is_followed():
    script = PRESETS["conversations"].changed(stick=0.0)
    cues = draw_cues(script, 20_000, seed=2)
    counts = counted(np.zeros(len(cues), int), cues.felt, (1, 7))
    assert surprise(counts, np.array([script.emotion_prior])) > 1e-3


def test_a_habit_is_felt_more_often_by_its_actor_only():
    cues = draw_cues(PRESETS["habit"], 24_000, seed=1)
    own = cues.felt == cues.habits[cues.actor]
    assert abs(own.mean() - (0.5 + 0.5 / 8)) < 0.015
    by_actor = [own[cues.actor == actor].mean() for actor in range(24)]
    assert min(by_actor) > 0.48
    assert sorted(np.bincount(cues.habits)) == [3] * 8


def test_displays_go_missing_at_random_or_by_arousal():
    fair = draw_cues(MASKS.changed(audio_missing=0.3), 20_000, seed=4)
    rates = [fair.arrives["audio"][fair.displays["audio"] == k].mean() for k in range(8)]
    np.testing.assert_allclose(rates, 0.7, atol=0.04)
    script = MASKS.changed(audio_missing=0.3, missing_bias=1.0)
    biased = draw_cues(script, 20_000, seed=4)
    there = [biased.arrives["audio"][biased.displays["audio"] == k].mean() for k in range(8)]
    np.testing.assert_allclose(there, 1 - missing_rates(script, "audio"), atol=0.04)
    calm, angry = EMOTIONS.index("calm"), EMOTIONS.index("angry")
    assert there[calm] - there[angry] > 0.3
    assert biased.arrives["text"].all()


def test_the_planted_expression_is_shown_at_its_moment_and_nowhere_else():
    cues = draw_cues(PRESETS["spotlight"], 1_000, seed=0)
    rows = np.arange(len(cues))
    assert np.array_equal(cues.expressions[rows, cues.moment], cues.felt)
    assert (
        np.sort(cues.expressions, axis=1)[:, 1:] > np.sort(cues.expressions, axis=1)[:, :-1]
    ).all()
    assert np.array_equal(np.unique(np.sort(cues.light_order, axis=1)), np.arange(4))
    moments = counted(np.zeros(len(cues), int), cues.moment, (1, 4))
    assert surprise(moments, np.full((1, 4), 1 / 4)) > 1e-3
    others = counted(cues.felt, cues.expressions[rows, (cues.moment + 1) % 4], (8, 8))
    assert surprise(others, (1 - np.eye(8)) / 7) > 1e-3


@pytest.mark.parametrize("lag", [0, 4])
def test_the_face_follows_the_beat_by_the_lag(lag):
    cues = draw_cues(PRESETS["beat"].changed(lag=lag), 700, seed=0)
    frame = np.floor(cues.beat * 12).astype(int)
    assert frame.min() == 0
    assert frame.max() == 11 - lag
    assert cues.moment_frames[np.arange(700), frame + lag].all()
    assert (cues.moment_frames.sum(1) == 3).all()
    assert np.array_equal(cues.moment, (frame + lag) // 3)


@pytest.mark.parametrize(
    ("preset", "knob", "value", "may_change"),
    [
        ("masks", "text_clarity", 9.0, {"text displays"}),
        ("masks", "vision_clarity", 1.0, {"vision displays", "expressions"}),
        ("flagship", "tone_fidelity", 0.6, {"tone"}),
        ("flagship", "irony", 0.1, {"irony", "tone", "text displays"}),
        ("masks", "audio_missing", 0.5, {"audio arrives"}),
        ("masks", "split", "random", {"split"}),
        ("masks", "num_frames", 16, set()),
        ("masks", "face_blur", 1.0, set()),
        ("beat", "lag", 0, {"moment", "expressions"}),
    ],
)
def test_a_knob_changes_its_own_part_only(preset, knob, value, may_change):
    script = PRESETS[preset]
    before = draw_cues(script, 300, seed=7)
    after = draw_cues(script.changed(**{knob: value}), 300, seed=7)
    assert differing(before, after) == may_change


def test_more_clips_leave_the_first_ones_as_they_were():
    few, many = draw_cues(MASKS, 50, seed=9), draw_cues(MASKS, 90, seed=9)
    for modality in MODALITIES:
        assert np.array_equal(few.displays[modality], many.displays[modality][:50])
    assert np.array_equal(few.actor, many.actor[:50])


def test_parts_and_seeds_have_streams_of_their_own():
    first = stream(0, "irony").random(5)
    assert np.array_equal(first, stream(0, "irony").random(5))
    assert not np.array_equal(first, stream(0, "tone").random(5))
    assert not np.array_equal(first, stream(1, "irony").random(5))


def test_an_emotion_without_its_counterpart_keeps_its_words():
    assert irony_map(("happy", "disgust", "neutral")).tolist() == [1, 0, 2]
    assert irony_map(("happy", "angry")).tolist() == [0, 1]
