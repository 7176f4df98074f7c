"""Ceilings: the numbers that were enumerated once, the laws they obey, what late fusion can reach."""

import numpy as np
import pytest
import torch

from mmlib.data import theatre
from mmlib.data.theatre.ceilings import priors
from mmlib.data.theatre.displays import draw_cues
from mmlib.data.theatre.posteriors import class_posterior
from mmlib.data.theatre.presets import PRESETS, find_script
from mmlib.data.theatre.tables import SUBSETS, by_class, channel_table, combine

NAMES = ("text", "audio", "vision", "text+audio", "text+vision", "audio+vision")
ALL = "text+audio+vision"

#: Enumerated with a prototype of another design: t, a, v, ta, tv, av, tav.
ENUMERATED = {
    "masks": (0.491, 0.565, 0.646, 0.777, 0.692, 0.820, 0.864),
    "flagship": (0.420, 0.511, 0.525, 0.765, 0.666, 0.733, 0.845),
    "irony": (0.425, 0.453, 0.448, 0.805, 0.687, 0.653, 0.853),
    "irony_clear": (0.571, 0.326, 0.327, 0.923, 0.821, 0.475, 0.926),
    "irony_square": (0.5, 0.5, 0.5, 1.0, 0.5, 0.5, 1.0),
    "ca_mmaaet": (0.662, 0.566, 0.660, 0.723, 0.716, 0.676, 0.764),
}


@pytest.mark.parametrize("preset", ENUMERATED)
def test_exact_ceilings_to_three_digits(preset):
    found = theatre.ceilings(preset)
    assert tuple(found) == (*NAMES, ALL)
    np.testing.assert_allclose(list(found.values()), ENUMERATED[preset], atol=0.00061)
    assert set(found.standard_errors.values()) == {0.0}


@pytest.mark.parametrize(
    ("clarities", "expected"),
    [
        ((1.5, 1.2, 1.0), (0.694, 0.557, 0.691, 0.705, 0.755, 0.702, 0.765)),
        ((1.0, 1.0, 0.7), (0.637, 0.551, 0.642, 0.648, 0.695, 0.652, 0.702)),
    ],
)
def test_ceilings_of_three_sentiments(clarities, expected):
    text, audio, vision = clarities
    found = theatre.ceilings(
        PRESETS["ca_mmaaet"].changed(
            text_clarity=text, audio_clarity=audio, vision_clarity=vision, irony=0.0
        )
    )
    np.testing.assert_allclose(list(found.values()), expected, atol=0.00061)


def test_only_both_marker_and_face_tell_the_planted_expression():
    spotlight = theatre.ceilings("spotlight")
    assert [
        spotlight[k] for k in ("text", "vision", "text+vision", "audio+vision")
    ] == pytest.approx([1 / 8, 1 / 4, 1, 1 / 4])
    late = theatre.ceilings("beat")
    assert [late[k] for k in ("audio", "vision", "audio+vision")] == pytest.approx(
        [1 / 8, 3 / 8, 1]
    )
    assert theatre.ceilings(PRESETS["beat"].changed(lag=0))["vision"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("habit", "known"),
    [
        (0.3, (0.575, 0.601, 0.673, 0.879)),
        (0.5, (0.670, 0.688, 0.735, 0.902)),
        (0.7, (0.787, 0.793, 0.820, 0.932)),
    ],
)
def test_a_habit_helps_who_knows_the_actor_only(habit, known):
    script = PRESETS["habit"].changed(habit=habit)
    keys = ("text", "audio", "vision", ALL)
    random_split = theatre.ceilings(script.changed(split="random"))
    np.testing.assert_allclose([random_split[k] for k in keys], known, atol=0.00061)
    new_actors = theatre.ceilings(script)
    masks = theatre.ceilings("masks")
    assert [new_actors[k] for k in keys] == pytest.approx([masks[k] for k in keys])


@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "jmt"])
def test_tables_sum_to_one_and_ceilings_grow_with_subsets(preset):
    script = PRESETS[preset]
    prior = priors(script, known_actor=False)[0]
    for subset in SUBSETS:
        tables = [channel_table(script, name, moment_known=False) for name in subset]
        assert combine(script, tables, prior).sum() == pytest.approx(1.0)
    found = theatre.ceilings(script)
    majority = by_class(script, prior[:, None]).max()
    for small in SUBSETS:
        assert majority - 1e-9 <= found["+".join(small)] <= 1 + 1e-9
        for large in SUBSETS:
            if set(small) < set(large):
                assert found["+".join(small)] <= found["+".join(large)] + 1e-9


#: vision, audio (known and new actor), audio+vision (known and new), by Monte Carlo of 6,000 clips.
BLURRED = {
    (0.3, 0.3, 0.0): (0.652, 0.559, 0.559, 0.817, 0.817),
    (1.0, 1.0, 0.0): (0.625, 0.491, 0.491, 0.782, 0.782),
    (1.5, 1.2, 3.0): (0.550, 0.460, 0.448, 0.702, 0.699),
    (2.5, 2.0, 3.0): (0.413, 0.341, 0.329, 0.528, 0.519),
}


@pytest.mark.parametrize("blur", BLURRED)
def test_sampled_ceilings_within_three_standard_errors(blur):
    face, voice, pitch = blur
    script = PRESETS["masks"].changed(face_blur=face, voice_blur=voice, pitch_offset=pitch)
    new, known = theatre.ceilings(script), theatre.ceilings(script, known_actor=True)
    found = [
        new["vision"],
        known["audio"],
        new["audio"],
        known["audio+vision"],
        new["audio+vision"],
    ]
    assert 0 < new.standard_errors["vision"] < 0.003
    # Both sides were sampled; an accuracy over 6,000 clips has a standard error below .0065.
    np.testing.assert_allclose(found, BLURRED[blur], atol=3 * 0.0065)


@pytest.mark.parametrize(
    "knobs",
    [
        {"face_blur": 1.2, "voice_blur": 0.9, "word_noise": 0.2},
        {"pitch_offset": 2.0, "voice_blur": 1.0, "habit": 0.4},
        {"vision_missing": 0.3, "missing_bias": 1.0, "face_blur": 0.7},
        {"irony": 0.4, "tone_fidelity": 0.9, "word_noise": 0.3},
    ],
)
def test_the_ideal_observer_is_right_as_often_as_it_believes(knobs):
    cues = draw_cues(PRESETS["masks"].changed(**knobs), 6_000, seed=11)
    for subset in SUBSETS:
        belief = class_posterior(cues, subset, known_actor=True)
        right = belief.argmax(1) == cues.felt
        error = (right.std() ** 2 / len(cues)) ** 0.5
        assert abs(right.mean() - belief.max(1).mean()) < 3.5 * error


def test_sampled_ceilings_tend_to_the_tables_as_noise_vanishes():
    script = PRESETS["flagship"].changed(
        face_blur=0.01, voice_blur=0.01, word_noise=1e-9, text_missing=0.2
    )
    sampled = theatre.ceilings(script, n=4_000, seed=1)
    exact = theatre.ceilings(script.changed(face_blur=0.0, voice_blur=0.0, word_noise=0.0))
    for name, value in exact.items():
        assert abs(sampled[name] - value) < 4 * sampled.standard_errors[name] + 1e-9


@pytest.mark.parametrize("preset", ["flagship", "spotlight", "beat", "missing"])
def test_posterior_from_parameters_equals_posterior_from_displays_as_blur_vanishes(preset):
    shown = theatre.make(preset, n=200, seed=6)
    noise = {"face_blur": 1e-3, "voice_blur": 1e-3, "word_noise": 1e-12}
    measured = theatre.make(preset, n=200, seed=6, **noise)
    for subset in SUBSETS:
        torch.testing.assert_close(
            theatre.posterior(measured, subset), theatre.posterior(shown, subset), atol=1e-6, rtol=0
        )


def test_graded_noise_on_a_marked_face_agrees_with_its_table():
    script = PRESETS["spotlight"].changed(text_missing=0.4, vision_clarity=3.0)
    exact = theatre.ceilings(script)
    sampled = theatre.ceilings(script.changed(face_blur=0.01), n=3_000)
    assert (
        abs(sampled["text+vision"] - exact["text+vision"])
        < 4 * sampled.standard_errors["text+vision"]
    )
    assert exact["vision"] < exact["text+vision"] < theatre.ceilings("spotlight")["text+vision"]


@pytest.mark.parametrize(
    ("preset", "product", "mean"),
    [
        ("masks", (0.864, 0.777), (0.793, 0.692)),
        ("flagship", (0.828, 0.673), (0.747, 0.612)),
        ("irony", (0.815, 0.669), (0.734, 0.609)),
        ("irony_clear", (0.871, 0.771), (0.857, 0.771)),
    ],
)
def test_late_rules_to_three_digits(preset, product, mean):
    late = theatre.late_ceilings(preset)
    for rule, expected in (("product", product), ("mean", mean)):
        found = [late[rule][ALL], late[rule]["text+audio"]]
        np.testing.assert_allclose(found, expected, atol=0.00061)


@pytest.mark.parametrize(
    ("preset", "subset", "expected"),
    [
        ("flagship", "text+audio", 0.704),
        ("flagship", ALL, 0.831),
        ("irony_clear", "text+audio", 0.784),
    ],
)
def test_summed_logits_tend_to_the_logistic_rule(preset, subset, expected):
    assert theatre.late_ceilings(preset)["additive"][subset] == pytest.approx(expected, abs=0.00061)


@pytest.mark.parametrize("preset", ["masks", "missing", "conversations"])
def test_without_irony_the_product_of_posteriors_is_the_joint_rule(preset):
    joint, late = theatre.ceilings(preset), theatre.late_ceilings(preset)
    for subset, value in late["product"].items():
        assert value == pytest.approx(joint[subset])


def test_on_the_irony_square_no_sum_of_scores_gets_more_than_three_quarters():
    late = theatre.late_ceilings("irony_square", search=True)
    assert late["product"]["text+audio"] == pytest.approx(0.5)
    assert late["mean"]["text+audio"] == pytest.approx(0.5)
    assert late["additive_search"]["text+audio"] == pytest.approx(0.75)


def test_a_searched_sum_beats_the_logistic_one_and_stays_below_the_joint_rule():
    late = theatre.late_ceilings("irony_clear", search=True)
    joint = theatre.ceilings("irony_clear")
    assert late["additive"]["text+audio"] + 0.05 < late["additive_search"]["text+audio"]
    for subset, value in late["additive_search"].items():
        assert value <= joint[subset] + 1e-9


def test_late_rules_where_noise_is_graded_agree_with_the_tables_as_it_vanishes():
    exact = theatre.late_ceilings("flagship")
    sampled = theatre.late_ceilings(PRESETS["flagship"].changed(face_blur=0.01))
    assert set(sampled) == {"product", "mean"}
    for rule in sampled:
        for subset, value in sampled[rule].items():
            assert abs(value - exact[rule][subset]) < 0.015


def test_a_known_pitch_is_taken_off_exactly():
    script = PRESETS["masks"].changed(voice_blur=1.0, pitch_offset=3.0)
    cues = draw_cues(script, 500, seed=2)
    level = draw_cues(script.changed(pitch_offset=0.0), 500, seed=2)
    known = class_posterior(cues, ("audio",), known_actor=True)
    np.testing.assert_allclose(known, class_posterior(level, ("audio",)), atol=1e-12)
    assert not np.allclose(known, class_posterior(cues, ("audio",)), atol=0.01)


def test_clips_scripts_and_names_give_the_same_ceilings():
    clips = theatre.make("masks", n=5, vision_clarity=2.0)
    assert theatre.ceilings(clips) == theatre.ceilings(find_script("masks", vision_clarity=2.0))
    assert theatre.ceilings(clips)["vision"] < theatre.ceilings("masks")["vision"]


def test_what_cannot_be_bounded_is_refused():
    with pytest.raises(ValueError, match="turns=0"):
        theatre.ceilings("masks", context=True)
    with pytest.raises(ValueError, match="no preset 'mask'"):
        theatre.ceilings("mask")
    with pytest.raises(ValueError, match="traces have no classes"):
        theatre.posterior(theatre.make("jmt", n=2))
    with pytest.raises(ValueError, match="modalities must be some of"):
        theatre.posterior(theatre.make("masks", n=2), ["face"])
    with pytest.raises(ValueError, match="a trace has none"):
        theatre.late_ceilings("jmt")
