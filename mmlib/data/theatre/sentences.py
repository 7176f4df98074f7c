"""The sentences: plain English in which only a few adjectives tell an emotion.

A sentence is one to three clauses. Which clauses, how they are joined and which neutral nouns fill
them is drawn without a look at the emotion; the adjectives in their slots come from the lexicon of
the displayed emotion, or, with probability `eta`, from any lexicon. A bag of words therefore holds
all there is to know, and the likelihood of a sentence given an emotion is known in closed form.

No slot follows "a" or "an": the article would tell the first letter of the adjective that was
replaced, and with it a little of its lexicon.
"""

import functools
import itertools

import numpy as np
from torch import Tensor

from mmlib.data.theatre.emotions import EMOTIONS

#: Seven adjectives for each emotion, no word in two lists.
LEXICON: dict[str, tuple[str, ...]] = {
    "neutral": ("plain", "usual", "ordinary", "average", "regular", "normal", "common"),
    "calm": ("quiet", "gentle", "peaceful", "easy", "restful", "mild", "soft"),
    "happy": ("wonderful", "lovely", "great", "delightful", "splendid", "sunny", "brilliant"),
    "sad": ("lonely", "gloomy", "bleak", "empty", "dreary", "hopeless", "mournful"),
    "angry": ("outrageous", "unfair", "infuriating", "stupid", "maddening", "insulting", "hostile"),
    "fearful": ("scary", "dark", "dangerous", "creepy", "threatening", "haunted", "risky"),
    "disgust": ("filthy", "sour", "slimy", "mouldy", "smelly", "nasty", "foul"),
    "surprised": ("sudden", "unbelievable", "strange", "unexpected", "odd", "startling", "curious"),
}
#: The words that name the lights of `faces.LIGHTS`, in its order.
LIGHT_WORDS: tuple[str, ...] = ("red", "blue", "green", "yellow")

FILLERS: dict[str, tuple[str, ...]] = {
    "thing": (
        "story",
        "letter",
        "picture",
        "song",
        "message",
        "game",
        "dream",
        "meeting",
        "movie",
        "journey",
    ),
    "place": (
        "house",
        "street",
        "garden",
        "kitchen",
        "station",
        "market",
        "school",
        "office",
        "hotel",
        "library",
    ),
    "person": ("friend", "cousin", "neighbour", "teacher", "sister", "brother", "doctor"),
    "when": ("today", "yesterday", "again", "later"),
}
JOINTS = ("and", "but", "so", "because", "while")
LIGHT_JOINTS = ("and", "but", "so")  # those that an imperative can follow

CLAUSES = """
i thought about it
we talked about it
we walked to the {place}
you know how it is
i talked to my {person} {when}
we met my {person} at the {place}
they told me about the {thing} {when}
that was all i could think about
i was there with my {person} all day
we went back to the {place} with my {person}
my {person} told us the same thing at the {place}
my {person} asked me about the {thing} on the way home
we sat by the window at the {place} for two hours
i read about the {thing} on the train to the {place} {when}
the {thing} was {a}
it was {a} {when}
it was so {a}
i remember the {a} {thing}
i thought that it was {a}
we talked about that {a} {thing}
the {thing} at the {place} was {a}
everything in the {place} seemed {a} to me
i could not stop thinking about that {a} {thing}
my {person} told me about the {a} {thing} {when}
we went home because the {place} was so {a} {when}
my {person} and i came back from that {a} {place} {when}
my {person} from the {place} said the {thing} looked {a} {when}
the {a} {thing} was {a}
it was {a} and {a}
that {a} {thing} felt {a}
it was {a} and so {a}
the {thing} was so {a} and {a}
my {person} called the {a} {thing} {a}
the {thing} was {a} and {a} {when}
everything about the {a} {place} seemed {a}
i was sure the {a} {place} was {a}
i remember the {a} {place} and that {a} {thing}
we found the {a} {thing} in that {a} {place}
the {a} {place} looked {a} from the street {when}
i said it was {a} and everyone found it {a}
we left that {a} {place} with the {a} {thing} {when}
my {person} said the {thing} was {a} and the {place} {a}
it was {a} when we came in and {a} when we left
the {a} {a} {thing} felt {a}
the {a} {thing} was {a} and {a}
it was {a} and {a} and so {a}
it was {a} {a} and {a} {when}
everything was {a} and the {a} {thing} seemed {a}
that {a} {place} and the {a} {thing} were {a}
i remember the {a} {place} as {a} and {a}
the {a} {place} was {a} and the {thing} was {a}
the {thing} was {a} and the {place} was {a} and {a}
we saw the {a} {thing} in that {a} {a} {place} {when}
my {person} said the {a} {place} was {a} and so {a} {when}
the {a} {a} {thing} was {a} and {a}
it was {a} {a} {a} and {a}
it was {a} and {a} and {a} and {a}
that {a} {a} {thing} and the {a} {place} were {a}
the {a} {place} and the {a} {thing} were {a} and {a}
we found the {a} {a} {thing} in that {a} {a} {place}
the {a} {thing} was {a} and the {place} was {a} and {a}
""".strip().splitlines()

LIGHT_CLAUSES = """
watch for the {light} light
watch me under the {light} light
look at me in the {light} light
look when the {light} light is on
it shows when the {light} light is on
you will know under the {light} light
only the {light} light shows how it was
wait for the {light} light and watch my face
look closely when the {light} light is on again
my face tells you when the {light} light comes on
the {thing} was {a} under the {light} light
it was {a} in the {light} light {when}
it was {a} and {a} under the {light} light
the {a} {thing} was {a} in the {light} light
it was {a} {a} and {a} under the {light} light
the {a} {thing} was {a} and {a} under the {light} light
the {a} {a} {thing} was {a} and {a} in the {light} light
the {a} {thing} was {a} {a} and {a} under the {light} light
""".strip().splitlines()


def _vocabulary() -> tuple[str, ...]:
    """Padding, then every word that a sentence can hold, in a fixed order."""
    clauses = itertools.chain.from_iterable(line.split() for line in CLAUSES + LIGHT_CLAUSES)
    plain = [word for word in clauses if not word.startswith("{")]
    listed = [
        *itertools.chain(*LEXICON.values()),
        *LIGHT_WORDS,
        *itertools.chain(*FILLERS.values()),
    ]
    return ("<pad>", *dict.fromkeys([*listed, *JOINTS, *plain]))


#: Every word; its index is its token, and token 0 is padding.
VOCABULARY: tuple[str, ...] = _vocabulary()
TOKEN: dict[str, int] = {word: token for token, word in enumerate(VOCABULARY)}
#: For each token the emotion whose lexicon holds it, -1 for all other words.
WORD_EMOTION: np.ndarray = np.full(len(VOCABULARY), -1)
for _row, _emotion in enumerate(EMOTIONS):
    WORD_EMOTION[[TOKEN[word] for word in LEXICON[_emotion]]] = _row

MAX_CLAUSES = 3
MAX_SLOTS = 7
Shape = tuple[int, int, bool]  # adjectives, words, names a light
Plans = dict[int, dict[int, dict[int, list[tuple[Shape, ...]]]]]


@functools.cache
def clauses_by_shape() -> dict[Shape, list[tuple[str, ...]]]:
    """The clauses, split into words and sorted by how many adjectives and words they take."""
    shapes: dict[Shape, list[tuple[str, ...]]] = {}
    for line in CLAUSES + LIGHT_CLAUSES:
        words = tuple(line.split())
        shapes.setdefault((words.count("{a}"), len(words), "{light}" in words), []).append(words)
    return shapes


@functools.cache
def _plans(light: bool, most_slots: int, most_words: int) -> Plans:
    """Rows of one to three clause shapes by adjectives, by words, and by number of clauses.

    One clause of each row names a light if `light`, and none does otherwise.
    """
    plans: Plans = {}

    def extend(row: tuple[Shape, ...], slots: int, words: int, lit: bool) -> None:
        if row and lit == light:
            plans.setdefault(slots, {}).setdefault(words, {}).setdefault(len(row), []).append(row)
        if len(row) == MAX_CLAUSES:
            return
        for shape in clauses_by_shape():
            more_slots = slots + shape[0]
            more_words = words + shape[1] + (1 if row else 0)  # clauses are joined by one word
            fits = more_slots <= most_slots and more_words <= most_words
            if fits and not (shape[2] and (lit or not light)):
                extend((*row, shape), more_slots, more_words, lit or shape[2])

    extend((), 0, 0, False)
    return plans


def _choose(options: list, chance: float) -> int:
    """The index that a uniform draw in [0, 1) falls on."""
    return min(int(chance * len(options)), len(options) - 1)


class _Chances:
    """A row of uniform draws, handed out one at a time."""

    def __init__(self, row: np.ndarray) -> None:
        self._row = iter(row.tolist())

    def pick(self, options: list) -> int:
        """Use the next draw to pick an index of `options`."""
        return _choose(options, next(self._row))


def _frame(chances: _Chances, slots: list[int], shortest: int, plans: Plans) -> list[str]:
    """Draw the clauses of one sentence: its words, slots still open."""
    by_words = plans[slots[chances.pick(slots)]]
    attainable = [words for words in sorted(by_words) if words >= shortest]
    by_count = by_words[attainable[chances.pick(attainable)]]
    counts = sorted(by_count)
    rows = by_count[counts[chances.pick(counts)]]
    words: list[str] = []
    unused = list(JOINTS)
    for shape in rows[chances.pick(rows)]:
        options = clauses_by_shape()[shape]
        if words:
            joints = [joint for joint in unused if joint in LIGHT_JOINTS or not shape[2]]
            words.append(joints[chances.pick(joints)])
            unused.remove(words[-1])
        words.extend(options[chances.pick(options)])
    return words


def _check(
    displayed: np.ndarray,
    max_length: int,
    lengths: tuple[int, int],
    emotion_words: tuple[int, int],
    eta: float,
    light: np.ndarray | None,
) -> None:
    """Raise a ValueError for arguments that are out of range."""
    if displayed.ndim != 1 or (
        displayed.size and not (0 <= displayed.min() <= displayed.max() < 8)
    ):
        raise ValueError(f"displayed must be (N,) with emotions from 0 to {len(EMOTIONS) - 1}")
    if light is not None and (
        light.shape != displayed.shape
        or (light.size and not (0 <= light.min() <= light.max() < len(LIGHT_WORDS)))
    ):
        raise ValueError(
            f"light must be (N,) like displayed, with lights from 0 to {len(LIGHT_WORDS) - 1}"
        )
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is the share of words that are replaced, from 0 to 1; got {eta}")
    if lengths[1] > max_length:
        raise ValueError(
            f"sentences of up to {lengths[1]} words do not fit into max_length={max_length}; "
            "make max_length larger or lengths smaller"
        )
    if not 0 <= emotion_words[0] <= emotion_words[1] <= MAX_SLOTS:
        raise ValueError(
            f"emotion_words is (least, most), from 0 to {MAX_SLOTS}; got {emotion_words}"
        )


def write_sentences(
    displayed: np.ndarray,
    rng: np.random.Generator,
    *,
    max_length: int = 16,
    lengths: tuple[int, int] = (6, 14),
    emotion_words: tuple[int, int] = (2, 4),
    eta: float = 0.0,
    light: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Write one sentence for each displayed emotion.

    The number of emotion words is uniform over `emotion_words`, the length uniform over those
    lengths that some row of clauses with that number has. Each emotion word comes from the lexicon
    of the displayed emotion, or with probability `eta` from a lexicon drawn among all eight. With
    `light`, every sentence names its light by its colour exactly once.

    Row `i` of the draws belongs to sentence `i`: asking for more sentences leaves the first ones as
    they are, and changing `eta` changes emotion words only.

    *Shape*: `displayed` (N,) and `light` (N,) integers -> tokens (N, max_length) int64 padded with
    0, and lengths (N,) int64.

    *Raises*: ValueError for a class or light out of range, lengths above `max_length`, and numbers
    of words that no sentence has.
    """
    displayed = np.asarray(displayed)
    light = None if light is None else np.asarray(light)
    _check(displayed, max_length, lengths, emotion_words, eta, light)
    slots = list(range(emotion_words[0], emotion_words[1] + 1))
    plans = _plans(light is not None, slots[-1], lengths[1])
    for wanted in slots:
        if max(plans.get(wanted, {0: {}})) < lengths[0]:
            raise ValueError(
                f"no sentence of {lengths[0]} to {lengths[1]} words holds {wanted} emotion words; "
                "ask for longer sentences or fewer emotion words"
            )
    tokens = np.zeros((len(displayed), max_length), dtype=np.int64)
    sizes = np.zeros(len(displayed), dtype=np.int64)
    draws = rng.random((len(displayed), 10 + 3 * MAX_SLOTS + lengths[1]))
    for i, emotion in enumerate(displayed.tolist()):
        words = _frame(_Chances(draws[i, :10]), slots, lengths[0], plans)
        replaced, lexicon, which = draws[i, 10 : 10 + 3 * MAX_SLOTS].reshape(3, MAX_SLOTS)
        fillers = _Chances(draws[i, 10 + 3 * MAX_SLOTS :])
        unused = {name: list(options) for name, options in (FILLERS | LEXICON).items()}
        slot = 0
        for place, word in enumerate(words):
            if word == "{a}":
                shown = _choose(list(EMOTIONS), lexicon[slot]) if replaced[slot] < eta else emotion
                options = unused[EMOTIONS[shown]]  # no adjective twice in a sentence
                word = options.pop(_choose(options, which[slot]))
                slot += 1
            elif word == "{light}" and light is not None:
                word = LIGHT_WORDS[light[i]]
            elif word.startswith("{"):
                options = unused[word[1:-1]]
                word = options.pop(fillers.pick(options))
            tokens[i, place] = TOKEN[word]
        sizes[i] = len(words)
    return tokens, sizes


def spell(tokens: np.ndarray | Tensor) -> list[str]:
    """Write tokens out as words, padding left out.

    *Shape*: (N, L) or one sentence (L,) -> a list of N strings (or of one).
    """
    rows = np.atleast_2d(np.asarray(tokens))
    return [" ".join(VOCABULARY[token] for token in row if token != 0) for row in rows.tolist()]
