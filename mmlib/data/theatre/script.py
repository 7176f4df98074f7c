"""What can be asked of the theatre: one `Script` holds every knob.

A script is a frozen configuration; it draws nothing. All data made from it is synthetic.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from mmlib.data.theatre.emotions import EMOTIONS, IRONY_MAP

MODALITIES = ("text", "audio", "vision")

#: Emotions, or their groups, that a script can ask for as labels.
LABELINGS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "emotion": tuple((name, (name,)) for name in EMOTIONS),
    "sentiment": (
        ("negative", ("sad", "angry", "fearful", "disgust")),
        ("neutral", ("neutral", "surprised")),
        ("positive", ("calm", "happy")),
    ),
    "valence": (
        ("negative", ("sad", "angry", "fearful", "disgust")),
        ("positive", ("calm", "happy", "surprised")),
    ),
}

#: Smallest and largest value of every knob that is a number.
RANGES: dict[str, tuple[float, float]] = {
    "text_clarity": (0, 20),
    "audio_clarity": (0, 20),
    "vision_clarity": (0, 20),
    "irony": (0, 0.5),
    "tone_fidelity": (0.5, 1),
    "face_blur": (0, 2.5),
    "voice_blur": (0, 2),
    "word_noise": (0, 0.5),
    "pitch_offset": (0, 3),
    "habit": (0, 0.7),
    "jitter": (0, 0.3),
    "lip_sync": (0, 0.2),
    "lag": (0, 6),
    "moments": (1, 4),
    "text_missing": (0, 0.6),
    "audio_missing": (0, 0.6),
    "vision_missing": (0, 0.6),
    "missing_bias": (0, 1),
    "stick": (0, 0.8),
    "turns": (0, 50),
    "num_frames": (1, 64),
    "size": (16, 224),
    "samples": (4096, 49152),
    "sample_rate": (8000, 16000),
    "max_words": (8, 36),
    "correlation_time": (1, 60),
}

#: Knobs that take one of a few values.
CHOICES: dict[str, tuple[object, ...]] = {
    "labels": (*LABELINGS, "trace"),
    "marker": ("none", "light", "beat"),
    "split": ("actor", "random"),
    "random_lights": (False, True),
}

_WHOLE = ("lag", "moments", "turns", "num_frames", "size", "samples", "sample_rate", "max_words")


@dataclass(frozen=True, kw_only=True)
class Script:
    """Every knob of the theatre; `theatre.make` documents them one by one.

    Raises:
        ValueError: a value is out of its range, or two knobs contradict each other.
    """

    name: str = "masks"
    labels: str = "emotion"
    emotions: tuple[str, ...] = EMOTIONS
    prior: tuple[float, ...] | None = None
    modalities: tuple[str, ...] = MODALITIES
    split: str = "actor"
    text_clarity: float = 4.0
    audio_clarity: float = 3.5
    vision_clarity: float = 4.5
    irony: float = 0.0
    tone_fidelity: float = 1.0
    face_blur: float = 0.0
    voice_blur: float = 0.0
    word_noise: float = 0.0
    pitch_offset: float = 0.0
    habit: float = 0.0
    jitter: float = 0.1
    lip_sync: float = 0.0
    lag: int = 0
    marker: str = "none"
    moments: int = 1
    random_lights: bool = False
    text_missing: float = 0.0
    audio_missing: float = 0.0
    vision_missing: float = 0.0
    missing_bias: float = 0.0
    turns: int = 0
    stick: float = 0.0
    num_frames: int = 8
    size: int = 32
    samples: int | None = None
    sample_rate: int = 8000
    max_words: int = 16
    sentence_length: tuple[int, int] = (6, 14)
    correlation_time: float = 12.0
    voice_noise: tuple[float, float] = (0.9, 0.35)
    face_noise: tuple[float, float] = (0.3, 0.7)

    def __post_init__(self) -> None:
        """Refuse what cannot be staged, in one sentence that says what can."""
        for name, (low, high) in RANGES.items():
            _check_number(self, name, low, high)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, not {getattr(self, name)!r}.")
        for name, allowed in (("modalities", MODALITIES), ("emotions", EMOTIONS)):
            _check_names(self, name, allowed)
        for name in ("voice_noise", "face_noise", "sentence_length"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(value) != 2 or not min(value) > 0:
                raise ValueError(f"{name} must be two numbers above 0, not {value!r}.")
        _check_prior(self)
        _check_agreement(self)

    @property
    def num_samples(self) -> int:
        """Samples in one waveform; 1.024 s where the knob `samples` is left alone."""
        return self.samples if self.samples is not None else self.sample_rate * 128 // 125

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the labels, in order; None for traces of valence and arousal."""
        if self.labels == "trace":
            return None
        groups = LABELINGS[self.labels]
        return tuple(name for name, members in groups if set(members) & set(self.emotions))

    @property
    def emotion_prior(self) -> tuple[float, ...]:
        """How often each of `emotions` is felt; sums to one."""
        if self.prior is None:
            return (1.0 / len(self.emotions),) * len(self.emotions)
        total = sum(self.prior)
        return tuple(p / total for p in self.prior)

    def class_of(self, emotion: str) -> int:
        """The label, a place in `classes`, of a felt emotion."""
        assert self.classes is not None, "a trace has no classes"
        groups = dict(LABELINGS[self.labels])
        return next(i for i, name in enumerate(self.classes) if emotion in groups[name])

    def changed(self, **knobs: Any) -> "Script":
        """This script with some knobs set anew.

        Raises:
            ValueError: a knob does not exist, or its value cannot be.
        """
        known = [field.name for field in dataclasses.fields(self) if field.name != "name"]
        for knob in knobs:
            if knob not in known:
                raise ValueError(f"the theatre has no knob {knob!r}; it has {', '.join(known)}.")
        frozen = {knob: _frozen(value) for knob, value in knobs.items()}
        return dataclasses.replace(self, **frozen)


def _frozen(value: Any) -> Any:
    """A knob's value as something that can be hashed: tuples for lists and arrays."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(value) if isinstance(value, list) else value


def _check_number(script: Script, name: str, low: float, high: float) -> None:
    value = getattr(script, name)
    if value is None and name == "samples":
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and name.endswith("clarity") and value == math.inf:
        return
    if not number or not low <= value <= high or (name in _WHOLE and value != int(value)):
        kind = "a whole number" if name in _WHOLE else "a number"
        also = ", or math.inf for a channel that never errs" if name.endswith("clarity") else ""
        raise ValueError(f"{name} must be {kind} from {low} to {high}{also}, not {value!r}.")


def _check_names(script: Script, name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(script, name)
    names = (value,) if isinstance(value, str) else tuple(value)
    unknown = [item for item in names if item not in allowed]
    if isinstance(value, str) or unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"{name} must be a tuple of different names out of {allowed}, not {value!r}."
        )


def _check_prior(script: Script) -> None:
    if script.prior is None:
        return
    count = len(script.emotions)
    good = len(script.prior) == count and all(p >= 0 for p in script.prior)
    if not good or abs(sum(script.prior) - 1) > 0.01:
        raise ValueError(
            f"prior must give one probability to each of the {count} emotions {script.emotions} "
            f"and sum to 1, not {script.prior!r}."
        )


def _check_agreement(script: Script) -> None:
    """Refuse knobs that each make sense and together do not."""
    low, high = script.sentence_length
    if not 6 <= low <= high <= script.max_words:
        raise ValueError(
            f"sentence_length must be (shortest, longest) with 6 <= shortest <= longest <= "
            f"max_words = {script.max_words}, not {script.sentence_length!r}."
        )
    if script.marker == "light" and high < 16:
        raise ValueError(
            "a sentence that names a light may need 16 words: set sentence_length to (6, 16), not "
            f"{script.sentence_length!r}."
        )
    if script.sample_rate not in (8000, 16000):
        raise ValueError(f"sample_rate must be 8000 or 16000, not {script.sample_rate}.")
    if script.num_samples % (script.sample_rate // 125):
        raise ValueError(
            f"samples must be a multiple of {script.sample_rate // 125} at {script.sample_rate} Hz,"
            f" so that every step of the log-mel is whole; {script.num_samples} is not."
        )
    if script.num_frames % script.moments:
        raise ValueError(
            f"num_frames must be a multiple of moments, so that all moments last equally long; "
            f"{script.num_frames} frames cannot hold {script.moments} moments."
        )
    if script.moments > 1 and script.marker == "none":
        raise ValueError(
            f"with moments = {script.moments} something must say which one counts: set marker to "
            "'light' or 'beat'."
        )
    if script.marker == "beat" and script.lip_sync > 0:
        raise ValueError(
            "lip_sync must be 0 where the marker is the beat: the mouth would give the moment away."
        )
    if script.lag >= script.num_frames > 1:
        raise ValueError(
            f"lag must be smaller than num_frames; {script.lag} of {script.num_frames} is not."
        )
    if script.irony > 0:
        meant = {EMOTIONS[IRONY_MAP[EMOTIONS.index(name)]] for name in script.emotions}
        if meant != set(script.emotions):
            raise ValueError(
                "irony needs both emotions of each pair that it swaps (happy and disgust, calm and "
                f"angry, surprised and sad); the emotions are {script.emotions}."
            )
    if script.labels == "valence" and "neutral" in script.emotions:
        raise ValueError(
            "labels='valence' needs emotions without 'neutral', which is neither positive nor "
            "negative."
        )
    if script.turns and script.habit:
        raise ValueError(
            "habit and turns cannot be combined: in a dialogue the last turn sets the next emotion."
        )
