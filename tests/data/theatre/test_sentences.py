"""The sentences: English with slots, in which the adjectives alone carry the emotion."""

import itertools

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from mmlib.data.theatre.emotions import EMOTIONS
from mmlib.data.theatre.sentences import (
    CLAUSES,
    LEXICON,
    LIGHT_CLAUSES,
    LIGHT_WORDS,
    TOKEN,
    VOCABULARY,
    WORD_EMOTION,
    spell,
    write_sentences,
)

N = 4000


def write(displayed=None, *, seed=0, n=N, **knobs):
    """Sentences of emotions in turn, or of those given."""
    displayed = np.arange(n) % 8 if displayed is None else displayed
    tokens, lengths = write_sentences(displayed, np.random.default_rng(seed), **knobs)
    return displayed, tokens, lengths


def test_every_lexicon_has_seven_words_of_its_own():
    assert tuple(LEXICON) == EMOTIONS
    assert {len(words) for words in LEXICON.values()} == {7}
    words = list(itertools.chain(*LEXICON.values()))
    assert len(set(words)) == 56
    for clause in CLAUSES + LIGHT_CLAUSES:
        assert not set(clause.split()) & {*words, *LIGHT_WORDS}


def test_word_emotion_is_the_lexicon_looked_up_by_token():
    for row, emotion in enumerate(EMOTIONS):
        assert {VOCABULARY[token] for token in np.flatnonzero(WORD_EMOTION == row)} == set(
            LEXICON[emotion]
        )
    assert (WORD_EMOTION == -1).sum() == len(VOCABULARY) - 56
    assert WORD_EMOTION[0] == -1


def test_no_article_betrays_the_first_letter_of_an_adjective():
    for clause in CLAUSES:
        for before, after in itertools.pairwise(clause.split()):
            assert not (before in ("a", "an") and after == "{a}"), clause


def test_the_vocabulary_starts_with_padding_and_repeats_no_word():
    assert VOCABULARY[0] == "<pad>"
    assert len(set(VOCABULARY)) == len(VOCABULARY)


def test_spelling_out_and_looking_up_gives_the_tokens_back():
    _, tokens, lengths = write(n=200)
    for row, length, text in zip(tokens, lengths, spell(tokens), strict=True):
        words = text.split()
        assert len(words) == length
        assert [TOKEN[word] for word in words] == row[:length].tolist()
    assert spell(tokens[7]) == spell(tokens)[7:8]


@pytest.mark.parametrize(
    ("lengths", "max_length", "emotion_words"),
    [((6, 14), 16, (2, 4)), ((12, 36), 36, (2, 4)), ((8, 9), 9, (1, 3)), ((6, 14), 14, (0, 0))],
)
def test_lengths_and_numbers_of_emotion_words_are_those_asked_for(
    lengths, max_length, emotion_words
):
    _, tokens, sizes = write(
        lengths=lengths, max_length=max_length, emotion_words=emotion_words, n=1000
    )
    assert tokens.shape == (1000, max_length) and tokens.dtype == sizes.dtype == np.int64
    assert sizes.min() == lengths[0] and sizes.max() == lengths[1]
    is_word = np.arange(max_length) < sizes[:, None]
    assert np.array_equal(tokens > 0, is_word)
    count = (WORD_EMOTION[tokens] >= 0).sum(axis=1)
    wanted = np.arange(emotion_words[0], emotion_words[1] + 1)
    observed = np.bincount(count, minlength=wanted[-1] + 1)[wanted]
    assert observed.sum() == 1000
    assert len(wanted) == 1 or chisquare(observed).pvalue > 1e-3  # each number equally often


def test_without_noise_every_emotion_word_is_of_the_displayed_emotion():
    displayed, tokens, _ = write()
    shown = WORD_EMOTION[tokens]
    assert ((shown == displayed[:, None]) | (shown == -1)).all()


def test_with_noise_emotion_words_follow_the_likelihood():
    eta = 0.4
    displayed, tokens, _ = write(eta=eta, seed=3)
    shown = WORD_EMOTION[tokens]
    rows, places = np.nonzero(shown >= 0)
    for emotion in range(8):
        words = shown[rows, places][displayed[rows] == emotion]
        expected = np.full(8, eta / 8)
        expected[emotion] += 1 - eta
        assert chisquare(np.bincount(words, minlength=8), expected * len(words)).pvalue > 1e-4


def test_every_word_of_a_lexicon_is_used_equally_often():
    displayed, tokens, _ = write(seed=5)
    for row, emotion in enumerate(EMOTIONS):
        said = tokens[displayed == row]
        counts = [(said == TOKEN[word]).sum() for word in LEXICON[emotion]]
        assert chisquare(counts).pvalue > 1e-4


def test_the_rest_of_a_sentence_does_not_look_at_the_emotion():
    _, happy, happy_sizes = write(np.full(500, 2), eta=0.3)
    _, angry, angry_sizes = write(np.full(500, 4), eta=0.3)
    assert np.array_equal(happy_sizes, angry_sizes)
    carries = WORD_EMOTION[happy] >= 0
    assert np.array_equal(carries, WORD_EMOTION[angry] >= 0)
    assert np.array_equal(happy[~carries], angry[~carries])
    assert not np.array_equal(happy[carries], angry[carries])


def test_neither_length_nor_number_nor_any_plain_word_tells_the_emotion():
    displayed, tokens, sizes = write(seed=9)
    displayed = np.random.default_rng(1).permutation(displayed)
    displayed, tokens, sizes = write(displayed, seed=9)
    count = (WORD_EMOTION[tokens] >= 0).sum(axis=1)
    for statistic in (sizes, count):
        table = [
            [((statistic == v) & (displayed == e)).sum() for v in set(statistic)] for e in range(8)
        ]
        assert chi2_contingency(table).pvalue > 1e-3
    plain = [token for token in range(1, len(VOCABULARY)) if WORD_EMOTION[token] < 0]
    occurs = [(tokens == token).any(axis=1) for token in plain]
    pvalues = [
        chi2_contingency(
            [[(o & (displayed == e)).sum(), (~o & (displayed == e)).sum()] for e in range(8)]
        ).pvalue
        for o in occurs
        if o.sum() > 40
    ]
    assert len(pvalues) > 50 and min(pvalues) > 1e-3 / len(pvalues)


def test_no_adjective_and_no_noun_stands_twice_in_a_sentence():
    _, tokens, _ = write(n=1000, eta=0.5)
    names = {"story", "house", "friend", "school", "letter"}
    for text in spell(tokens):
        words = text.split()
        special = [word for word in words if WORD_EMOTION[TOKEN[word]] >= 0 or word in names]
        assert len(special) == len(set(special)), text


def test_more_sentences_leave_the_first_ones_alone():
    _, few, _ = write(n=5)
    _, many, _ = write(n=300)
    assert np.array_equal(few, many[:5])


def test_noise_replaces_words_and_leaves_the_others_where_they_are():
    _, clean, sizes = write(n=400)
    _, noisy, noisy_sizes = write(n=400, eta=0.25)
    assert np.array_equal(sizes, noisy_sizes)
    changed = clean != noisy
    assert 0 < changed.sum() < 0.4 * (WORD_EMOTION[clean] >= 0).sum()
    assert (WORD_EMOTION[clean[changed]] >= 0).all()


def test_sentences_vary():
    _, tokens, _ = write(n=1000)
    patterns = {tuple(np.where(WORD_EMOTION[row] >= 0, -1, row)) for row in tokens}
    assert len(patterns) > 600


@pytest.mark.parametrize("emotion_words", [(0, 0), (2, 4), (1, 3)])
def test_a_light_is_named_once_by_its_colour(emotion_words):
    light = np.arange(600) % 4
    _, tokens, sizes = write(n=600, light=light, emotion_words=emotion_words)
    assert sizes.min() >= 6 and sizes.max() <= 14
    colours = np.array([TOKEN[word] for word in LIGHT_WORDS])
    named = tokens[:, :, None] == colours  # (N, L, 4)
    assert (named.sum(axis=(1, 2)) == 1).all()
    assert np.array_equal(named.any(axis=1).argmax(axis=1), light)


def test_without_a_light_no_colour_is_named():
    _, tokens, _ = write(n=600)
    assert not np.isin(tokens, [TOKEN[word] for word in LIGHT_WORDS]).any()


def test_no_sentences_are_no_error():
    tokens, lengths = write_sentences(np.zeros(0, dtype=int), np.random.default_rng(0))
    assert tokens.shape == (0, 16) and lengths.shape == (0,)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"displayed": np.array([0, 8])}, "from 0 to 7"),
        ({"displayed": np.zeros((2, 2), dtype=int)}, r"\(N,\)"),
        ({"light": np.array([0, 4])}, "from 0 to 3"),
        ({"light": np.array([0])}, "like displayed"),
        ({"eta": 1.5}, "eta"),
        ({"lengths": (6, 20)}, "max_length=16"),
        (
            {"lengths": (5, 6), "emotion_words": (2, 7)},
            "holds 3 emotion words|holds 4 emotion words",
        ),
        ({"emotion_words": (3, 2)}, "least, most"),
        ({"emotion_words": (2, 9)}, "from 0 to 7"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(knobs, message):
    valid = {"displayed": np.array([0, 1]), "rng": np.random.default_rng(0)}
    with pytest.raises(ValueError, match=message):
        write_sentences(**(valid | knobs))
