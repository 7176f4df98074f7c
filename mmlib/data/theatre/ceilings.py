"""The best accuracy that any model can reach, for every subset of the modalities.

Where displays are clear this is a sum over the tables of `tables`, exact to the last digit. Where
noise is graded (`face_blur`, `voice_blur`, `word_noise`) it is the mean of the exact posterior's
largest entry over random clips, and has a standard error.
"""

import functools

import numpy as np

from mmlib.data.theatre import motion
from mmlib.data.theatre.dialogues import context_accuracy
from mmlib.data.theatre.displays import NUM_ACTORS, draw_cues, stream
from mmlib.data.theatre.meaning import Meaning
from mmlib.data.theatre.posteriors import class_posterior
from mmlib.data.theatre.presets import find_script
from mmlib.data.theatre.script import Script
from mmlib.data.theatre.tables import (
    MARKER_CHANNEL,
    SUBSETS,
    by_class,
    channel_table,
    combine,
    with_lips,
)
from mmlib.data.theatre.traces import trace_concordances
from mmlib.data.theatre.windows import window_accuracy


class Ceilings(dict[str, float]):
    """Ceilings by subset, ``"text"`` to ``"text+audio+vision"``.

    Attributes:
        standard_errors: by subset; 0 where the ceiling is exact.
    """

    def __init__(self, values: dict[str, float], errors: dict[str, float] | None = None) -> None:
        """Hold values and their standard errors, none for exact values."""
        super().__init__(values)
        self.standard_errors = errors or dict.fromkeys(values, 0.0)


def script_of(what: str | Script | Meaning) -> Script:
    """The script of a preset's name, a script, or clips."""
    return what.script if isinstance(what, Meaning) else find_script(what)


def is_exact(script: Script) -> bool:
    """Whether the ceilings of a script are sums over tables."""
    return not (script.face_blur or script.voice_blur or script.word_noise)


def priors(script: Script, *, known_actor: bool) -> list[np.ndarray]:
    """How often each emotion is felt: one prior for all actors, or one for each habit."""
    prior = np.array(script.emotion_prior)
    if not script.habit:
        return [prior]
    count = len(prior)
    habits = np.arange(NUM_ACTORS) % count
    each = [(1 - script.habit) * prior + script.habit * np.eye(count)[k] for k in habits]
    return each if known_actor else [np.mean(each, axis=0)]


def _table_ceiling(script: Script, subset: tuple[str, ...], prior: np.ndarray) -> float:
    script, subset = with_lips(script, subset)

    def best(tables: list[np.ndarray]) -> float:
        return float(by_class(script, combine(script, tables, prior)).max(0).sum())

    marker = MARKER_CHANNEL.get(script.marker)
    if marker not in subset:
        return best([channel_table(script, name, moment_known=False) for name in subset])
    known = [channel_table(script, name) for name in subset]
    if not getattr(script, f"{marker}_missing"):
        return best(known)
    # What says which moment counts may itself be missing: sum over both cases.
    lost = [channel_table(script, name, moment_known=False) for name in subset]
    place = subset.index(marker)
    known[place], lost[place] = known[place][..., :-1], lost[place][..., -1:]
    return best(known) + best(lost)


@functools.lru_cache(maxsize=128)
def _exact(script: Script, known_actor: bool) -> Ceilings:
    every = priors(script, known_actor=known_actor)
    return Ceilings(
        {
            "+".join(subset): float(np.mean([_table_ceiling(script, subset, p) for p in every]))
            for subset in SUBSETS
        }
    )


@functools.lru_cache(maxsize=128)
def _sampled(script: Script, n: int, seed: int, known_actor: bool) -> Ceilings:
    cues = draw_cues(script, n, seed)
    # A new actor for every clip: with the cast of 24 the clips of one actor would be alike.
    offsets = stream(seed, "new actors").standard_normal(n)
    offsets *= script.pitch_offset * motion.VOICE_SPREAD[0]
    values, errors = {}, {}
    for subset in SUBSETS:
        posterior = class_posterior(cues, subset, known_actor=known_actor, offsets=offsets)
        best = posterior.max(1)
        values["+".join(subset)] = float(best.mean())
        errors["+".join(subset)] = float(best.std(ddof=1) / n**0.5)
    return Ceilings(values, errors)


@functools.lru_cache(maxsize=32)
def _traced(script: Script, n: int, seed: int) -> Ceilings:
    both = trace_concordances(script, n=n, seed=seed)
    values, errors = {}, {}
    for case in ("audio", "vision", "audio+vision"):
        pairs = [both[dimension][case] for dimension in ("valence", "arousal")]
        values[case] = float(np.mean([value for value, _ in pairs]))
        errors[case] = float(np.hypot(pairs[0][1], pairs[1][1]) / 2)
    return Ceilings(values, errors)


def ceilings(
    preset: str | Script | Meaning,
    *,
    n: int | None = None,
    seed: int = 0,
    known_actor: bool | None = None,
    context: bool | tuple[int, int] = False,
) -> Ceilings:
    """The best accuracy that any model can reach, for every subset of the modalities.

    For traces it is the concordance of the exact posterior mean, averaged over valence and arousal
    (`trace_concordances` has them apart): what the best guess in squared error scores, which a
    rescaled one may beat by up to .02.

    Where `lip_sync` is above 0 the lips tell what the voice shows, so that a subset with vision is
    bounded by what it reaches with audio added; that bound holds, and need not be reached.

    Args:
        preset: a name, a script, or clips.
        n: how many clips, traces or dialogues to sample where a ceiling is not a sum over tables;
            None for 6,000 clips, 400 traces, 800 dialogues.
        seed: of that sample.
        known_actor: whether the model has met the actors (it can then use their habits and pitch);
            None for yes with a random split and no with a split by actor.
        context: whether the model sees the whole dialogue, not only the turn; or how many turns
            before and after it, such as (5, 0) for a model that cannot know the future.

    Returns:
        ``"text"`` to ``"text+audio+vision"`` (``"audio"``, ``"vision"`` and both for traces), with
        the standard errors in `.standard_errors`.

    Raises:
        ValueError: no such preset; context without dialogues.
    """
    script = script_of(preset)
    known = script.split == "random" if known_actor is None else known_actor
    if context and not script.turns:
        raise ValueError(
            f"only dialogues have a context; {script.name!r} has turns=0, try 'conversations'."
        )
    if script.classes is None:
        return _traced(script, n or 400, seed)
    if context:
        seen = (context,) if isinstance(context, tuple) else ()
        accuracy = window_accuracy if seen else context_accuracy
        found = {"+".join(s): accuracy(script, s, *seen, n=n or 800, seed=seed) for s in SUBSETS}
        values = {name: value for name, (value, _) in found.items()}
        return Ceilings(values, {name: error for name, (_, error) in found.items()})
    if is_exact(script):
        return _exact(script, known)
    return _sampled(script, n or 6000, seed, known)
