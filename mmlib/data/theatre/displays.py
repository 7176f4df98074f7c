"""Who feels what, and what the words, the voice and the face then show: the draws behind a clip.

A felt emotion e is hidden. Each modality *displays* an emotion of its own, drawn from a confusion
table given e, and displays it clearly. Hence one can see and hear a clip disagree with itself, and
the best accuracy that any model can reach is a sum over small tables (`ceilings`).

Every part draws from a stream of random numbers of its own, so that turning one knob leaves the
draws of all other parts as they were.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np

from mmlib.data.theatre.emotions import COORDINATES, EMOTIONS, IRONY_MAP, PRECISIONS
from mmlib.data.theatre.script import MODALITIES, Script

NUM_ACTORS = 24
NUM_LIGHTS = 4
#: Actors 0-14 are there to learn from, 15-17 to choose by, 18-23 to be judged on.
SPLITS: dict[str, range] = {"train": range(15), "valid": range(15, 18), "test": range(18, 24)}


def stream(seed: int, part: str) -> np.random.Generator:
    """The random numbers of one part, say ``"irony"``: the same on every machine."""
    return np.random.default_rng([seed, zlib.crc32(part.encode())])


def confusion(modality: str, clarity: float, emotions: tuple[str, ...] = EMOTIONS) -> np.ndarray:
    """How often a channel displays j when its owner means i.

    ``C[i, j]`` falls with the distance of i and j in valence, arousal and dominance, as exp of minus
    half the clarity times the squared distance, weighted by what the channel shows; then each row is
    made to sum to one.

    Shape:
        (E, E) for E emotions; rows are meant, columns are displayed.
    """
    places = COORDINATES[[EMOTIONS.index(name) for name in emotions]]
    if np.isinf(clarity):
        return np.eye(len(places))
    squared = (places[:, None] - places[None, :]) ** 2 @ PRECISIONS[modality]
    table = np.exp(-0.5 * clarity * squared)
    return table / table.sum(1, keepdims=True)


def missing_rates(script: Script, modality: str) -> np.ndarray:
    """How often a display of each emotion never arrives.

    With ``missing_bias`` 0 all displays go missing equally often. Above 0 the aroused ones do so more
    often (whoever shouts or jumps leaves the microphone or the picture), and then a gap tells
    something about the emotion.

    Shape:
        (E,)
    """
    arousal = COORDINATES[[EMOTIONS.index(name) for name in script.emotions], 1]
    rate = getattr(script, f"{modality}_missing")
    return np.clip(rate * (1 + script.missing_bias * (arousal - arousal.mean())), 0.0, 1.0)


def irony_map(emotions: tuple[str, ...]) -> np.ndarray:
    """For each of ``emotions``, the place of the one that ironic words show instead; (E,)."""
    swapped = [EMOTIONS[IRONY_MAP[EMOTIONS.index(name)]] for name in emotions]
    return np.array([emotions.index(s) if s in emotions else i for i, s in enumerate(swapped)])


@dataclass(frozen=True)
class Cues:
    """Everything about N clips that carries meaning, before a pixel or a sample is made.

    Emotions are places in ``script.emotions``. ``moment`` and ``expressions`` have one entry where
    nothing is planted: one moment, one expression.

    Shape:
        felt, irony, tone, actor, dialogue, turn, moment, named_light: (N,); displays: modality ->
        (N,); arrives: modality -> (N,) bool; expressions, light_order: (N, J); beat: (N,) in [0, 1]
        or nan; moment_frames: (N, T) bool; habits: (actors,).
    """

    script: Script
    seed: int
    felt: np.ndarray
    irony: np.ndarray
    tone: np.ndarray
    actor: np.ndarray
    split: np.ndarray
    displays: dict[str, np.ndarray]
    arrives: dict[str, np.ndarray]
    expressions: np.ndarray
    moment: np.ndarray
    moment_frames: np.ndarray
    light_order: np.ndarray
    beat: np.ndarray
    dialogue: np.ndarray
    turn: np.ndarray
    habits: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.felt)


def _pick(cumulative: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Invert cumulative tables: (N, K) and (N,) in [0, 1) -> (N,) places below K."""
    picked = (uniform[:, None] >= cumulative).sum(1)
    return np.minimum(picked, cumulative.shape[1] - 1)


def _draw_actors(script: Script, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Actors and the parts of the split they belong to.

    In a dialogue two actors of the same part of the split take turns.
    """
    uniform = stream(seed, "actor").random(n)
    actor = (uniform * NUM_ACTORS).astype(np.int64)
    if script.turns:
        dialogue = np.arange(n) // script.turns
        pool = np.zeros(NUM_ACTORS, np.int64)
        for number, actors in enumerate(SPLITS.values()):
            pool[actors.start : actors.stop] = number
        first = actor[dialogue * script.turns]
        order = stream(seed, "partner").random((dialogue[-1] + 1, NUM_ACTORS))[dialogue]
        order = np.where(pool[None, :] == pool[first][:, None], order, -1.0)
        order[np.arange(n), first] = -1.0
        second = order.argmax(1)
        actor = np.where(np.arange(n) % script.turns % 2 == 0, first, second)
    if script.split == "actor":
        split = np.empty(n, dtype="U5")
        for name, actors in SPLITS.items():
            split[(actor >= actors.start) & (actor < actors.stop)] = name
    else:
        shares = np.cumsum([len(actors) / NUM_ACTORS for actors in SPLITS.values()])
        unit = np.arange(n) // script.turns if script.turns else np.arange(n)
        part = _pick(np.broadcast_to(shares, (n, 3)), stream(seed, "split").random(n)[unit])
        split = np.array(list(SPLITS), dtype="U5")[part]
    return actor, split


def _draw_felt(
    script: Script, n: int, seed: int, actor: np.ndarray, habits: np.ndarray
) -> np.ndarray:
    """Felt emotions: independent, by the actor's habit, or as a chain along each dialogue."""
    uniform = stream(seed, "felt").random(n)
    prior = np.array(script.emotion_prior)
    table = np.tile(prior, (n, 1))
    if script.habit:
        table *= 1 - script.habit
        table[np.arange(n), habits[actor]] += script.habit
    felt = _pick(table.cumsum(1), uniform)
    if script.turns:
        repeats = stream(seed, "stick").random(n) < script.stick
        for i in range(n):
            if i % script.turns and repeats[i]:
                felt[i] = felt[i - 1]
    return felt


def _draw_moments(
    script: Script, seed: int, displayed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the expression that counts is planted, the beat that marks it, all expressions."""
    n, count = len(displayed), script.moments
    uniform = stream(seed, "moment").random(n)
    beat = np.full(n, np.nan)
    if script.marker == "beat":
        frame = (uniform * (script.num_frames - script.lag)).astype(np.int64)
        beat = (frame + 0.5) / script.num_frames
        moment = (frame + script.lag) // (script.num_frames // count)
    else:
        moment = (uniform * count).astype(np.int64)
    order = stream(seed, "distractors").random((n, len(script.emotions)))
    order[np.arange(n), displayed] = np.inf  # the planted expression is shown once only
    others = order.argsort(1, kind="stable")[:, : count - 1]
    expressions = np.empty((n, count), np.int64)
    planted = np.arange(count)[None, :] == moment[:, None]
    expressions[planted] = displayed
    expressions[~planted] = others.ravel()
    return moment, beat, expressions


def draw_cues(script: Script, n: int, seed: int) -> Cues:
    """Draw everything about n clips that carries meaning."""
    actor, split = _draw_actors(script, n, seed)
    count = len(script.emotions)
    habits = stream(seed, "habits").permutation(NUM_ACTORS) % count
    felt = _draw_felt(script, n, seed, actor, habits)
    irony = stream(seed, "irony").random(n) < script.irony
    tone = irony ^ (stream(seed, "tone").random(n) >= script.tone_fidelity)
    displays: dict[str, np.ndarray] = {}
    arrives: dict[str, np.ndarray] = {}
    for modality in MODALITIES:
        clarity = getattr(script, f"{modality}_clarity")
        meant = np.where(irony, irony_map(script.emotions)[felt], felt)
        meant = meant if modality == "text" else felt
        table = confusion(modality, clarity, script.emotions).cumsum(1)
        displays[modality] = _pick(table[meant], stream(seed, f"{modality} display").random(n))
        lost = missing_rates(script, modality)[displays[modality]]
        arrives[modality] = stream(seed, f"{modality} missing").random(n) >= lost
    moment, beat, expressions = _draw_moments(script, seed, displays["vision"])
    frames = np.arange(script.num_frames) * script.moments // script.num_frames
    lights = stream(seed, "lights").random((n, NUM_LIGHTS)).argsort(1, kind="stable")
    turns = script.turns or 1
    return Cues(
        script=script,
        seed=seed,
        felt=felt,
        irony=irony,
        tone=tone,
        actor=actor,
        split=split,
        displays=displays,
        arrives=arrives,
        expressions=expressions,
        moment=moment,
        moment_frames=frames[None, :] == moment[:, None],
        light_order=lights[:, : script.moments],
        beat=beat,
        dialogue=np.arange(n) // turns,
        turn=np.arange(n) % turns,
        habits=habits,
    )
