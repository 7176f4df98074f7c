"""The pictures of lesson 01 that show what a stream and a padded batch are."""

import numpy as np
import pytest
import torch

from mmlib.data import theatre
from mmlib.plots.signals import padded_words, streams

SENTENCES = ["one two three", "four", "five six"]
MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)


def test_each_word_stands_at_its_step_and_padding_is_hatched() -> None:
    ax = padded_words(SENTENCES, MASK)
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places["three"] == (2.5, 0.5) and places["four"] == (0.5, 1.5)
    assert len(places) == 6
    hatched = {patch.get_xy() for patch in ax.patches if patch.get_hatch()}
    assert hatched == {(1, 1), (2, 1), (2, 2)}  # steps that no sentence has are left out


def test_words_skip_a_gap_in_the_mask() -> None:
    ax = padded_words(["a b"], torch.tensor([[True, False, True]]))
    assert [text.get_position()[0] for text in ax.texts] == [0.5, 2.5]


def test_sentences_that_do_not_fit_the_mask_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3, 2\] words but the mask has \[3, 1\]"):
        padded_words(["one two three", "four five"], MASK[:2])


def test_the_streams_of_a_clip_are_drawn_with_time_to_the_right() -> None:
    clips = theatre.make("masks", n=3, seed=1)
    features = clips.features()
    matrices = [ax.images[0].get_array() for ax in streams(clips, 2).axes if ax.images]
    words = int(features.masks["text"][2].sum())
    drawn = [np.asarray(matrix) for matrix in matrices if matrix is not None and matrix.ndim == 2]
    assert {matrix.shape for matrix in drawn} == {(40, 128), (16, 8), (32, words)}
    units = next(matrix for matrix in drawn if matrix.shape[0] == 16)
    assert np.allclose(units, features.inputs["vision"][2].T)
