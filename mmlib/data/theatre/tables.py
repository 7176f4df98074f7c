"""The probability tables behind a script: how each modality answers to each felt emotion.

A modality's table is ``P(observation | irony, felt)``: the words depend on irony, the voice carries
its tone, the face may be a row of expressions of which one counts, and anything may go missing.
"""

import itertools

import numpy as np

from mmlib.data.theatre.displays import confusion, irony_map, missing_rates
from mmlib.data.theatre.script import MODALITIES, Script

#: All subsets of the modalities, small ones first.
SUBSETS: tuple[tuple[str, ...], ...] = tuple(
    subset for size in (1, 2, 3) for subset in itertools.combinations(MODALITIES, size)
)

#: The modality that says which moment counts.
MARKER_CHANNEL = {"light": "text", "beat": "audio"}


def with_lips(script: Script, subset: tuple[str, ...]) -> tuple[Script, tuple[str, ...]]:
    """What a subset can tell at most, where lips follow the voice.

    A trained eye reads from the lips how fast and how haltingly somebody speaks, and from that the
    emotion that the voice shows: who sees the face may know all that is heard, even where the sound
    itself is missing.
    """
    if not script.lip_sync or "vision" not in subset:
        return script, subset
    known = {*subset, "audio"}
    return script.changed(audio_missing=0.0), tuple(name for name in MODALITIES if name in known)


def kernel(script: Script, modality: str) -> np.ndarray:
    """P(display | irony, felt), (2, E, E)."""
    table = confusion(modality, getattr(script, f"{modality}_clarity"), script.emotions)
    ironic = table[irony_map(script.emotions)] if modality == "text" else table
    return np.stack([table, ironic])


def tone_given_irony(script: Script) -> np.ndarray:
    """P(tone | irony), (2, 2)."""
    true = script.tone_fidelity
    return np.array([[true, 1 - true], [1 - true, true]])


def sequences(script: Script) -> np.ndarray:
    """All rows of different expressions that the moments of a clip can show, (rows, J)."""
    places = range(len(script.emotions))
    return np.array(list(itertools.permutations(places, script.moments)))


def moment_prior(script: Script) -> np.ndarray:
    """How often each moment is the one that counts, (J,).

    A beat must leave the face time to follow, so that late moments count more often.
    """
    if script.marker != "beat":
        return np.full(script.moments, 1 / script.moments)
    frames = np.arange(script.lag, script.num_frames) * script.moments // script.num_frames
    return np.bincount(frames, minlength=script.moments) / len(frames)


def pick_weights(script: Script) -> np.ndarray:
    """P(a row of expressions, its counting moment shows c | c is displayed), (rows, E).

    The other moments show other expressions, every choice equally likely.
    """
    rows = sequences(script)
    weights = np.zeros((len(rows), len(script.emotions)))
    others = len(rows) / len(script.emotions)
    for moment, share in enumerate(moment_prior(script)):
        weights[np.arange(len(rows)), rows[:, moment]] += share / others
    return weights


def channel_table(script: Script, modality: str, *, moment_known: bool = True) -> np.ndarray:
    """P(observation | irony, felt) of one modality, (2, E, observations).

    Observations are: displays for the words; display and tone for the voice; for the face the
    display, or the whole row of expressions where nobody knows which one counts; and, last, nothing
    at all, where the modality can go missing.
    """
    shown = kernel(script, modality)
    lost = missing_rates(script, modality)
    table = shown * (1 - lost)
    if modality == "audio":
        tone = tone_given_irony(script)
        table = (table[..., None] * tone[:, None, None, :]).reshape(2, len(script.emotions), -1)
    if modality == "vision" and script.moments > 1 and not moment_known:
        table = table @ pick_weights(script).T
    if lost.any():
        table = np.concatenate([table, (shown @ lost)[..., None]], axis=2)
    return table


def combine(script: Script, tables: list[np.ndarray], prior: np.ndarray) -> np.ndarray:
    """P(felt, observations) of some modalities together, (E, observations 1, observations 2, ...)."""
    joint = np.zeros((len(prior), *(table.shape[2] for table in tables)))
    for irony, chance in enumerate((1 - script.irony, script.irony)):
        if chance == 0:
            continue
        part = chance * prior.reshape(-1, *[1] * len(tables))
        for axis, table in enumerate(tables):
            shape = [len(prior), *[1] * len(tables)]
            shape[axis + 1] = table.shape[2]
            part = part * table[irony].reshape(shape)
        joint += part
    return joint


def by_class(script: Script, joint: np.ndarray) -> np.ndarray:
    """Sum the felt emotions, the first axis, into the classes of the labels."""
    assert script.classes is not None
    summed = np.zeros((len(script.classes), *joint.shape[1:]))
    for place, emotion in enumerate(script.emotions):
        summed[script.class_of(emotion)] += joint[place]
    return summed
