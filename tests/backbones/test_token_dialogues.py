"""Dialogues as tokens: who speaks, what was said before, and a distractor that gives nothing away."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conversations import TELLING, WORDS, conversations, dialogue

from mmlib.backbones.dialogues import (
    DialogueError,
    SpecialTokens,
    WordTokenizer,
    encode_dialogues,
    special_tokens,
)

KNOWN = WordTokenizer([*TELLING, *WORDS])  # 21 words and one number for all others
BOS, EOS, ONE, TWO, PAD = range(22, 27)
TALK = [("Ann", "oh my god"), ("Bob", "what"), ("Ann", "never"), ("Cat", "no no")]
ELSEWHERE = [("Dan", "here"), ("Eve", "we go now"), ("Dan", "you")]


def number(*words: str) -> list[int]:
    return [n for word in words for n in KNOWN.encode(word)]


def encoded(**options):
    both = dialogue(TALK) + dialogue(ELSEWHERE, number=1)
    return both, encode_dialogues(both, KNOWN, **options)


def row(made, index: int, candidate: int = 0) -> tuple[list[int], list[int]]:
    """Read the real steps of one candidate: tokens and segments."""
    real = made.masks[index, :, candidate]
    values = made.tokens[index, real, 2 * candidate : 2 * candidate + 2]
    return values[:, 0].tolist(), values[:, 1].tolist()


def test_a_row_is_the_history_and_the_sentence_each_behind_its_speaker():
    _, made = encoded()
    said, segments = row(made, 2)  # Ann's "never": her own turn before, and Bob's
    assert said == [
        *(BOS, ONE, *number("oh my god"), TWO, *number("what"), ONE, *number("never"), EOS)
    ]
    assert segments == [ONE] * 5 + [TWO] * 2 + [ONE] * 3
    said, segments = row(made, 3)  # to Cat, who speaks now, all others are the other one
    assert said[:2] == [BOS, TWO] and said[-4:] == [ONE, *number("no no"), EOS]
    assert segments == [TWO] * 9 + [ONE] * 4
    assert made.tokens.dtype == np.int32 and made.special == SpecialTokens(BOS, EOS, ONE, TWO, PAD)


def test_the_first_utterance_has_no_history():
    _, made = encoded()
    assert row(made, 0) == ([BOS, ONE, *number("oh my god"), EOS], [ONE] * 6)


def test_each_candidate_has_a_mask_of_its_own_and_padding_behind_it():
    _, made = encoded()
    for candidate in (0, 1):
        token = made.tokens[..., 2 * candidate]
        assert np.array_equal(made.masks[..., candidate], token != PAD)
        ends = made.masks[..., candidate].sum(1) - 1
        assert (token[np.arange(len(token)), ends] == EOS).all()
        for index, end in enumerate(ends):
            assert made.masks[index, : end + 1, candidate].all()
            assert (made.tokens[index, end + 1 :, 2 * candidate : 2 * candidate + 2] == PAD).all()
    assert np.array_equal(made.mask, made.masks[..., 0] | made.masks[..., 1])
    assert made.mask.any(0).all(), "no step that nobody has"


@pytest.mark.parametrize(("history", "kept"), [(0, 0), (1, 1), (2, 2), (5, 3)])
def test_no_more_history_than_is_asked_for(history, kept):
    _, made = encoded(history=history)
    said = row(made, 3)[0]
    assert sum(n in (ONE, TWO) for n in said) == kept + 1
    assert not made.cut.any(), "what is not asked for is not cut"


def test_the_reply_is_known_only_where_it_is_asked_for():
    both, made = encoded()
    other = [replace(one, reply=one.reply and one.reply._replace(sentence="help")) for one in both]
    assert np.array_equal(encode_dialogues(other, KNOWN).tokens, made.tokens)
    _, made = encoded(use_reply=True)
    said, segments = row(made, 1)  # Bob's "what", and Ann's reply, who is another
    assert said == [
        *(BOS, TWO, *number("oh my god"), ONE, *number("what"), TWO, *number("never"), EOS)
    ]
    assert segments == [TWO] * 5 + [ONE] * 2 + [TWO] * 3
    assert row(made, 3)[0][-4:] == [ONE, *number("no no"), EOS], "nobody replies to the last"


def test_with_a_reply_the_distractor_stands_in_the_replys_place():
    both, made = encoded(use_reply=True)
    true, other = row(made, 1)[0], row(made, 1, 1)[0]
    assert other[:-1] == [*true[:8], *number(*both[made.drawn[1]].sentence.split())]
    assert true[7:] == [TWO, *number("never"), EOS]


def test_the_distractor_stands_in_the_sentences_place_under_the_same_speaker():
    both, made = encoded()
    for index, one in enumerate(both):
        (true, segments), (other, others) = row(made, index), row(made, index, 1)
        context = len(true) - 1 - len(number(*one.sentence.split()))
        assert other[:context] == true[:context] and others[:context] == segments[:context]
        assert other[context:-1] == number(*both[made.drawn[index]].sentence.split())
        assert others[context:] == [ONE] * (len(other) - context)


def test_a_distractor_is_of_another_dialogue_of_the_same_split():
    talks = conversations((6, 3, 4))
    seen = {index: set() for index in range(len(talks))}
    for seed in range(60):
        for index, drawn in enumerate(encode_dialogues(talks, KNOWN, seed=seed).drawn):
            seen[index].add(int(drawn))
    for index, drawn in seen.items():
        one = talks[index]
        possible = {
            other
            for other, two in enumerate(talks)
            if two.split == one.split
            and two.dialogue != one.dialogue
            and two.sentence != one.sentence
        }
        assert drawn <= possible
        assert len(drawn) > 0.8 * len(possible), "all others of the split can be drawn"


def test_the_same_sentence_is_no_distractor():
    talks = dialogue([("Ann", "yes")] * 9) + dialogue(
        [("Bob", "yes")] * 8 + [("Bob", "no")], number=1
    )
    made = encode_dialogues(talks, KNOWN)
    assert all(talks[made.drawn[index]].sentence == "no" for index in range(9))


def test_the_draw_follows_the_seed_and_leaves_the_true_row_alone():
    talks = conversations()
    first, again = encode_dialogues(talks, KNOWN), encode_dialogues(talks, KNOWN)
    assert np.array_equal(first.tokens, again.tokens)
    other = encode_dialogues(talks, KNOWN, seed=1, max_length=17)
    first = encode_dialogues(talks, KNOWN, max_length=17)
    assert not np.array_equal(first.drawn, other.drawn)
    for index in range(len(talks)):
        assert row(first, index) == row(other, index)


def test_too_long_a_row_loses_the_oldest_utterances_whole():
    _, made = encoded(max_length=9)
    said, segments = row(made, 3)  # room for 7: Cat's 3, Ann's 2, Bob's 2, not Ann's first 4
    assert said == [*(BOS, TWO, *number("what"), TWO, *number("never"), ONE, *number("no no"), EOS)]
    assert segments == [TWO] * 5 + [ONE] * 4
    assert made.cut.tolist() == [False, False, True, True, False, False, True]
    assert made.tokens.shape[1] <= 9


def test_history_has_no_gap_where_a_long_utterance_found_no_room():
    talk = [("Ann", "oh"), ("Bob", "no " * 20), ("Ann", "yes"), ("Bob", "what")]
    talks = dialogue(talk) + dialogue(ELSEWHERE, number=1)
    made = encode_dialogues(talks, KNOWN, max_length=11)
    kept = [*(TWO, *number("yes")), *(ONE, *number("what"))]  # and not the short "oh" before
    assert row(made, 3)[0] == [BOS, *kept, EOS] and made.cut[3]


def test_too_long_a_sentence_keeps_its_beginning_and_its_end_token():
    talk = [("Ann", "no " * 50), ("Bob", "oh " * 60)]
    made = encode_dialogues(dialogue(talk) + dialogue(ELSEWHERE, number=1), KNOWN, max_length=11)
    assert row(made, 0)[0] == [BOS, ONE, *number("no") * 8, EOS] and made.cut[0]
    made = encode_dialogues(
        dialogue(talk) + dialogue(ELSEWHERE, number=1), KNOWN, max_length=11, use_reply=True
    )
    assert row(made, 0)[0] == [BOS, ONE, *number("no") * 3, TWO, *number("oh") * 3, EOS]


def test_too_long_a_distractor_is_cut_itself():
    talks = dialogue(TALK) + dialogue([("Dan", "no " * 40), ("Eve", "yes " * 40)], number=1)
    made = encode_dialogues(talks, KNOWN, max_length=16)
    assert made.masks.sum(1).max() == 16 and not made.cut[:3].any()
    for index in range(4):
        assert row(made, index, 1)[0][-1] == EOS


@pytest.mark.parametrize(
    ("talks", "options", "says"),
    [
        ([], {}, "there are no utterances"),
        (dialogue(TALK), {}, "all utterances of train are of one dialogue"),
        (
            dialogue(TALK) + dialogue(ELSEWHERE, number=0, split="valid"),
            {},
            "all utterances of train are of one dialogue",
        ),
        (conversations(), {"history": -1}, "history is -1"),
        (conversations(), {"max_length": 3}, "max_length is 3, expected 4 or more"),
        (conversations(), {"max_length": 5, "use_reply": True}, "max_length is 5, expected 6"),
    ],
)
def test_what_cannot_be_encoded_is_refused(talks, options, says):
    with pytest.raises(DialogueError, match=says):
        encode_dialogues(talks, KNOWN, **options)


def test_the_rows_tell_for_which_vocabulary_they_are():
    made = encode_dialogues(conversations(), KNOWN)
    text, mask = torch.from_numpy(made.tokens), torch.from_numpy(made.mask)
    assert special_tokens(text, mask) == made.special and made.special.entries == len(KNOWN) == 22
    mask[3] = False  # a sample without text tells nothing
    text[3] = 0
    assert special_tokens(text, mask) == made.special


def spoil(where, value):
    """Write a number into the second sample."""

    def spoilt(text, mask):
        text[(1, *where)] = value

    return spoilt


@pytest.mark.parametrize(
    "spoilt",
    [
        spoil((0, 0), 21),  # another opening
        spoil((0, 2), 21),
        spoil((1, 0), 27),  # a token that nobody numbered
        spoil((1, 0), -1),
        spoil((1, 1), 5),  # a word as a segment
        spoil((1, 3), PAD),
        spoil((1, 0), EOS),  # two ends
        spoil((slice(None), 2), BOS),  # no end
    ],
)
def test_other_whole_numbers_are_no_dialogues(spoilt):
    made = encode_dialogues(conversations(), KNOWN)
    text, mask = torch.from_numpy(made.tokens), torch.from_numpy(made.mask)
    spoilt(text, mask)
    with pytest.raises(DialogueError, match="whole numbers that are no dialogues"):
        special_tokens(text, mask)


def test_floats_and_other_widths_are_no_tokens():
    mask = torch.ones(2, 3, dtype=torch.bool)
    for text in (torch.zeros(2, 3, 4), torch.zeros(2, 3, 5, dtype=torch.int32)):
        with pytest.raises(DialogueError, match=r"expected whole numbers \(samples, steps, 4\)"):
            special_tokens(text, mask)
    with pytest.raises(DialogueError, match="no sample has a real step"):
        special_tokens(torch.zeros(2, 3, 4, dtype=torch.int32), ~mask)


def test_words_are_numbered_by_how_often_they_occur():
    known = WordTokenizer.learn(["No, no!", "It’s no dog.", "no dog, it’s"], least=2, most=4)
    assert len(known) == 5
    assert known.encode("no , dog it’s cat") == [1, 2, 3, 4, 0]
    assert WordTokenizer.learn(["b a", "a b c"], least=2).encode("a b c") == [1, 2, 0]


@pytest.mark.data
def test_the_released_sentences_fit_the_usual_length(shared_data):
    from mmlib.data.meld import read_sentences

    utterances = read_sentences(shared_data / "meld_text").utterances
    train = [one.sentence for one in utterances if one.split == "train"]
    known = WordTokenizer.learn(train)
    made = encode_dialogues(utterances, known)
    assert made.tokens.shape[0] == len(utterances) and made.tokens.shape[1] <= 128
    assert made.cut.mean() < 0.01
    for index, drawn in enumerate(made.drawn.tolist()):
        assert utterances[drawn].group != utterances[index].group
        assert utterances[drawn].split == utterances[index].split
    assert (
        special_tokens(torch.from_numpy(made.tokens), torch.from_numpy(made.mask)) == made.special
    )
