"""Windows of a dialogue: which turns stand where, and what a window of turns is worth."""

import numpy as np
import pytest
import torch

from mmlib.data import theatre
from mmlib.data.theatre.dialogues import context_posterior
from mmlib.data.theatre.displays import draw_cues
from mmlib.data.theatre.presets import PRESETS
from mmlib.data.theatre.windows import window_beliefs

TALK = PRESETS["conversations"]


def test_a_window_holds_the_neighbours_of_its_own_dialogue_in_order():
    dialogue, turn = np.array([4, 4, 4, 7, 7]), np.array([0, 1, 2, 0, 1])
    rows, there = theatre.window_rows(dialogue, turn, before=2, after=1)
    assert there.tolist() == [
        [False, False, True, True],
        [False, True, True, True],
        [True, True, True, False],
        [False, False, True, True],
        [False, True, True, False],
    ]
    assert [row[here].tolist() for row, here in zip(rows, there, strict=True)] == [
        [0, 1],
        [0, 1, 2],
        [0, 1, 2],
        [3, 4],
        [3, 4],
    ]


def test_shuffled_turns_find_their_neighbours_and_absent_ones_leave_a_gap():
    dialogue, turn = np.array([1, 0, 0, 1, 0]), np.array([3, 2, 0, 2, 5])
    rows, there = theatre.window_rows(dialogue, turn, before=1, after=2)
    assert there.tolist() == [
        [True, True, False, False],
        [False, True, False, False],
        [False, True, False, True],
        [False, True, True, False],
        [False, True, False, False],
    ]
    assert rows[0, :2].tolist() == [3, 0]
    assert rows[2, [1, 3]].tolist() == [2, 1]
    assert rows[3, 1:3].tolist() == [3, 0]


@pytest.mark.parametrize(("before", "after"), [(-1, 2), (3, -2)])
def test_a_window_of_less_than_nothing_is_refused(before, after):
    with pytest.raises(ValueError, match="from 0"):
        theatre.window_rows(np.zeros(2, int), np.arange(2), before=before, after=after)


def test_a_turn_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        theatre.window_rows(np.zeros(3, int), np.array([0, 1, 1]), before=1, after=1)


def test_each_step_is_the_mean_of_that_turns_real_steps():
    clips = theatre.make("conversations", n=30, seed=2)
    windows = theatre.dialogue_windows(clips, before=3, after=2)
    turns = clips.features(audio="units")
    assert windows.label_step == 3
    assert {name: tuple(x.shape) for name, x in windows.inputs.items()} == {
        "text": (30, 6, 32),
        "audio": (30, 6, 10),
        "vision": (30, 6, 16),
    }
    words = turns.inputs["text"][17][turns.masks["text"][17]].mean(0)
    torch.testing.assert_close(windows.inputs["text"][17, 3], words)
    torch.testing.assert_close(windows.inputs["text"][18, 2], words)
    torch.testing.assert_close(windows.inputs["text"][15, 5], words)
    torch.testing.assert_close(windows.inputs["vision"][9, 0], turns.inputs["vision"][6].mean(0))
    assert (windows.labels == clips.labels).all()
    assert (windows.group == clips.group).all()


def test_what_lies_beyond_a_dialogue_is_masked_and_zero():
    windows = theatre.dialogue_windows(theatre.make("conversations", n=25), before=4, after=3)
    for name, mask in windows.masks.items():
        assert mask[10].tolist() == [False] * 4 + [True] * 4, name
        assert mask[19].tolist() == [True] * 5 + [False] * 3, name
        assert mask[24].tolist() == [True] * 5 + [False] * 3, name
        assert not windows.inputs[name][~mask].any()
    assert all(mask[:, 4].all() for mask in windows.masks.values())


def test_a_modality_that_did_not_arrive_is_masked_in_every_window_that_holds_its_turn():
    clips = theatre.make("conversations", n=40, audio_missing=0.4, seed=1)
    windows = theatre.dialogue_windows(clips, before=1, after=1)
    there = clips.arrives["audio"]
    assert not there.all()
    assert (windows.masks["audio"][:, 1] == there).all()
    assert (windows.masks["audio"][1:10, 0] == there[0:9]).all()
    assert windows.masks["text"][:, 1].all()


def test_one_turn_alone_is_a_window_too():
    windows = theatre.dialogue_windows(
        theatre.make("conversations", n=12), before=0, after=0, modalities=("vision",)
    )
    assert windows.lengths == {"vision": 1}
    assert windows.label_step == 0


def test_a_split_keeps_its_windows_whole():
    clips = theatre.make("conversations", n=200, seed=4)
    whole = theatre.dialogue_windows(clips, before=2, after=2).subset("test")
    part = theatre.dialogue_windows(clips.subset("test"), before=2, after=2)
    assert (whole.ids == part.ids).all()
    torch.testing.assert_close(whole.inputs["audio"], part.inputs["audio"])


def test_clips_without_dialogues_have_no_windows():
    clips = theatre.make("masks", n=3)
    for ask in (theatre.dialogue_windows, theatre.window_posterior):
        with pytest.raises(ValueError, match="conversations"):
            ask(clips)


def test_the_belief_of_a_wide_window_is_that_of_the_whole_dialogue():
    cues = draw_cues(TALK, 90, seed=3)
    subset = ("text", "vision")
    np.testing.assert_allclose(window_beliefs(cues, subset, 9, 9), context_posterior(cues, subset))


def test_the_belief_of_a_single_turn_is_the_one_without_context():
    clips = theatre.make("conversations", n=70, seed=5)
    alone = theatre.window_posterior(clips, ("audio", "text"), before=0, after=0)
    torch.testing.assert_close(alone, theatre.posterior(clips, ("audio", "text")))


def test_the_belief_from_the_past_ignores_the_future():
    cues = draw_cues(TALK, 10, seed=6)
    whole = window_beliefs(cues, ("text",), 9, 0)
    shorter = draw_cues(TALK, 6, seed=6)
    np.testing.assert_allclose(whole[:6], window_beliefs(shorter, ("text",), 9, 0))


def test_a_window_of_some_modality_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="modalities must be"):
        theatre.window_posterior(theatre.make("conversations", n=10), ("smell",))


def test_more_context_raises_the_ceiling_and_the_future_has_a_share_of_it():
    sizes = ((0, 0), (5, 0), (5, 1), (5, 5))
    found = [theatre.ceilings(TALK, context=size, n=400)["text+audio+vision"] for size in sizes]
    assert found == sorted(found)
    assert found[1] > found[0] + 0.015
    assert found[3] > found[1] + 0.015
    exact = theatre.ceilings(TALK)["text+audio+vision"]
    alone = theatre.ceilings(TALK, context=(0, 0), n=400)
    assert abs(alone["text+audio+vision"] - exact) < 4 * alone.standard_errors["text+audio+vision"]


def test_the_ceiling_of_a_wide_window_is_that_of_the_context():
    wide = theatre.ceilings(TALK, context=(9, 9), n=60)
    whole = theatre.ceilings(TALK, context=True, n=60)
    assert wide == pytest.approx(whole)
    assert wide.standard_errors == pytest.approx(whole.standard_errors)
