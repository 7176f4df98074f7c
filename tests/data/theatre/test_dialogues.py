"""Dialogues: the chain, the actors, and what the context of a turn is worth."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mmlib.data import theatre
from mmlib.data.theatre.dialogues import context_posterior, forward_backward, transitions
from mmlib.data.theatre.displays import draw_cues
from mmlib.data.theatre.posteriors import class_posterior
from mmlib.data.theatre.presets import PRESETS

TALK = PRESETS["conversations"]

#: From a prototype with 800 dialogues: accuracy of a turn alone and in its context.
MEASURED = {
    "text": (0.593, 0.637),
    "audio": (0.484, 0.511),
    "vision": (0.541, 0.562),
    "text+audio": (0.649, 0.700),
    "text+vision": (0.652, 0.686),
    "audio+vision": (0.588, 0.639),
    "text+audio+vision": (0.700, 0.750),
}


def test_a_turn_repeats_the_last_emotion_as_often_as_it_should():
    cues = draw_cues(TALK, 40_000, seed=1)
    felt = cues.felt.reshape(-1, 10)
    step = transitions(TALK)
    np.testing.assert_allclose(step.sum(1), 1)
    counts = np.zeros((7, 7))
    np.add.at(counts, (felt[:, :-1].ravel(), felt[:, 1:].ravel()), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), step, atol=0.035)
    np.testing.assert_allclose(np.bincount(felt[:, 0]) / 4_000, TALK.emotion_prior, atol=0.03)


def test_two_actors_of_one_part_of_the_split_take_turns():
    clips = theatre.make("conversations", n=1_000, seed=3)
    actor = clips.actor.numpy().reshape(-1, 10)
    assert (actor[:, 0::2] == actor[:, :1]).all()
    assert (actor[:, 1::2] == actor[:, 1:2]).all()
    assert (actor[:, 0] != actor[:, 1]).all()
    parts = [set(clips.actor[clips.split == name].tolist()) for name in ("train", "valid", "test")]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(parts, 2))


@pytest.mark.parametrize("split", ["actor", "random"])
def test_a_dialogue_is_a_group_and_stays_in_one_part_of_the_split(split):
    clips = theatre.make("conversations", n=205, split=split)
    assert clips.turn[:11].tolist() == [*range(10), 0]
    assert clips.dialogue[-1] == 20
    assert clips.group[10] == clips.group[19] == "dialogue-00001"
    for group in np.unique(clips.group):
        assert len(set(clips.split[clips.group == group])) == 1
    assert len(set(clips.split)) == 3


def test_forward_backward_equals_the_sum_over_all_paths():
    rng = np.random.default_rng(0)
    likelihood, prior = rng.random((2, 4, 3)), np.array([0.5, 0.3, 0.2])
    step = rng.dirichlet(np.ones(3), size=3)
    belief = np.zeros_like(likelihood)
    for path in itertools.product(range(3), repeat=4):
        chance = prior[path[0]] * np.prod([step[a, b] for a, b in itertools.pairwise(path)])
        weight = chance * likelihood[:, range(4), path].prod(1)
        for turn, emotion in enumerate(path):
            belief[:, turn, emotion] += weight
    belief /= belief.sum(2, keepdims=True)
    np.testing.assert_allclose(forward_backward(likelihood, prior, step), belief)


def test_without_repeats_the_context_is_worth_nothing():
    cues = draw_cues(TALK.changed(stick=0.0), 500, seed=0)
    alone = class_posterior(cues, ("text", "vision"))
    np.testing.assert_allclose(context_posterior(cues, ("text", "vision")), alone)


def test_accuracy_of_turns_alone_is_exact_and_near_the_sampled_one():
    found = theatre.ceilings(TALK)
    assert set(found.standard_errors.values()) == {0.0}
    for name, (turn, _) in MEASURED.items():
        assert abs(found[name] - turn) < 3 * 0.0075, name


def test_accuracy_in_context_within_three_standard_errors():
    found = theatre.ceilings(TALK, context=True)
    alone = theatre.ceilings(TALK)
    for name, (_, context) in MEASURED.items():
        error = found.standard_errors[name]
        assert 0 < error < 0.01
        # Theirs counts hits, ours averages beliefs, which varies less; 800 dialogues each.
        assert abs(found[name] - context) < 3 * 2**0.5 * 0.0075, name
        assert found[name] > alone[name] + 0.01


def test_f1_of_the_most_probable_class_in_the_range_that_was_measured():
    cues = draw_cues(TALK, 8_000, seed=5)
    everything = ("text", "audio", "vision")
    alone = class_posterior(cues, everything).argmax(1)
    context = context_posterior(cues, everything).argmax(1)
    for guess, weighted, macro in ((alone, 0.679, 0.543), (context, 0.738, 0.631)):
        assert f1_score(cues.felt, guess, average="weighted") == pytest.approx(weighted, abs=0.025)
        assert f1_score(cues.felt, guess, average="macro") == pytest.approx(macro, abs=0.04)


def test_accuracy_lies_under_imbalance():
    labels = theatre.make("conversations", n=5_000).labels.numpy()
    neutral = np.zeros_like(labels)
    assert (labels == neutral).mean() == pytest.approx(0.472, abs=0.03)
    assert f1_score(labels, neutral, average="macro", zero_division=0) < 0.1
