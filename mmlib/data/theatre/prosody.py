"""What a speaker's mouth does from moment to moment: syllables, loudness, melody.

A sentence is a row of syllables. A syllable is a consonant, a vowel and perhaps a silence; two or
three of them make a word. `voices` turns the result, a `Score`, into sound.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Seconds from one control frame to the next.
FRAME = 0.008
#: Ways to open a syllable, and how often each occurs.
OPEN, STOP, HISSED, HUMMED = range(4)
CONSONANTS = (0.08, 0.30, 0.27, 0.35)
NUM_VOWELS, NUM_PLACES = 8, 3
WORD_ENDS = 0.4


@dataclass
class Draws:
    """What chance decides in each clip, drawn before anything is computed.

    *Shape*: `start`, `warp` (N, 1); `shake` per control frame (N, F); `noise` per sample (N, L); the
    others per syllable (N, S).
    """

    start: Tensor
    warp: Tensor
    vowel: Tensor
    consonant: Tensor
    place: Tensor
    accent: Tensor
    word_end: Tensor
    shake: Tensor
    noise: Tensor

    def to(self, device: torch.device) -> "Draws":
        """The draws on another device."""
        return Draws(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass
class Score:
    """What the mouth does in each control frame.

    *Shape*: (N, F) each. `syllable` counts from 0; `closing` runs from 0 to 1 as the mouth leaves the
    last vowel for the consonant, `opening` as it goes on to the vowel; `hiss` is 1 where the narrow
    place of the consonant shapes the sound and 0 where the whole mouth does; `voiced` and `hissed`
    are the amplitudes of the vocal folds and of that narrow place; `pitch` is in Hz.
    """

    syllable: Tensor
    closing: Tensor
    opening: Tensor
    hiss: Tensor
    voiced: Tensor
    hissed: Tensor
    pitch: Tensor


def draw(seeds: np.ndarray, syllables: int, duration: float, samples: int) -> Draws:
    """Draw each clip from a generator of its own, so that no clip depends on another.

    *Shape*: `seeds` (N, 2), at most `syllables` syllables -> `Draws` of N clips.
    """
    frames = round(duration / FRAME) + 1
    uniform = np.empty((len(seeds), 2 + 5 * syllables), dtype=np.float32)
    shake = np.empty((len(seeds), frames), dtype=np.float32)
    noise = np.empty((len(seeds), samples), dtype=np.float32)
    for i, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        rng.random(out=uniform[i], dtype=np.float32)
        rng.standard_normal(out=shake[i], dtype=np.float32)
        rng.standard_normal(out=noise[i], dtype=np.float32)
    chances = torch.from_numpy(uniform)
    vowel, consonant, place, accent, end = chances[:, 2:].chunk(5, dim=1)
    return Draws(
        start=chances[:, :1],
        warp=2 * chances[:, 1:2] - 1,
        vowel=(vowel * NUM_VOWELS).long().clamp(max=NUM_VOWELS - 1),
        consonant=torch.bucketize(consonant.contiguous(), torch.tensor(CONSONANTS).cumsum(0)[:-1]),
        place=(place * NUM_PLACES).long().clamp(max=NUM_PLACES - 1),
        accent=2 * accent - 1,
        word_end=(end < WORD_ENDS).float(),
        shake=torch.from_numpy(shake),
        noise=torch.from_numpy(noise),
    )


def ramp(x: Tensor) -> Tensor:
    """Climb smoothly from 0 (x <= 0) to 1 (x >= 1)."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def place_syllables(
    rate: Tensor, draws: Draws, time: Tensor, duration: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Say for each frame which syllable it is in, how far, and whether it is the last one.

    Durations swing by up to a third round the rate. The last syllable takes the time that is left,
    half to one and a half times the usual: as a rule speakers do slow down at the end.

    *Shape*: `rate` (N, 1), `time` (F,) -> three of (N, F): int64, in [0, 1], bool.
    """
    start = 0.02 + 0.05 * draws.start
    elapsed = (time - start) / (duration - start - 0.03)
    count = rate * (duration - start - 0.03)
    whole = count.round().clamp(min=1)
    waves = (0.4 * whole).round().clamp(min=1)
    swing = 0.35 * draws.warp * torch.sin(2 * math.pi * waves * elapsed) / (2 * math.pi * waves)
    spoken = (elapsed > 0) & (elapsed < 1)
    position = count * (elapsed.clamp(0, 1) + swing * spoken)
    syllable = torch.minimum(position.floor(), whole - 1).clamp(min=0)
    last = syllable == whole - 1
    within = (position - syllable) / torch.where(last, count - whole + 1, 1.0)
    return syllable.long(), within.clamp(0, 1), last


def perform(
    units: dict[str, Tensor],
    draws: Draws,
    base: Tensor,
    duration: float,
    tone: Tensor | None = None,
    beat: Tensor | None = None,
) -> Score:
    """Turn voice units into a score.

    *Shape*: each unit, the actor's own pitch `base` in Hz, `tone` and `beat` (N, 1) -> (N, F) tracks.
    """
    time = torch.linspace(0, duration, draws.shake.shape[1], device=base.device)
    syllable, within, last = place_syllables(units["rate"], draws, time, duration)

    def now(table: Tensor) -> Tensor:
        return table.gather(1, syllable)

    def before(table: Tensor) -> Tensor:
        return table.gather(1, (syllable - 1).clamp(min=0))

    # Most of the silence stands at the end of words; its mean share is the unit `pause`.
    word_end = torch.where(last, 1.0, now(draws.word_end))
    share_silent = torch.where(last, 1 / 3, 1 / 3 + 5 / 3 * word_end)
    sounding = within / (1 - (units["pause"] * share_silent).clamp(max=0.75))  # above 1: silence
    consonant = (0.075 * units["rate"]).clamp(0.20, 0.38)  # its share of the sounding part
    kind = now(draws.consonant)
    closing = ramp(sounding / (0.5 * consonant))
    opening = ramp((sounding - 0.5 * consonant) / consonant)

    # Within a word the voice sinks between vowels; at its end it stops.
    in_vowel = (sounding - consonant) / (1 - consonant)
    sink = 0.25 * (1 - word_end)
    vowel = ramp(in_vowel / 0.25) * (sink + (1 - sink) * ramp((1 - in_vowel) / 0.45))
    hummed = torch.where(kind == HUMMED, 0.32, torch.where(kind == OPEN, 0.2, 0.0))
    hummed = hummed * ramp(sounding / (0.3 * consonant)) * (sounding < consonant)
    swell = closing * ramp((1.25 * consonant - sounding) / (0.4 * consonant))
    burst = ramp((sounding / consonant - 0.55) / 0.2) * ramp((1.3 - sounding / consonant) / 0.4)
    hissed = torch.where(kind == HISSED, 0.22 * swell, torch.where(kind == STOP, 0.32 * burst, 0.0))
    narrow = (kind == HISSED) | (kind == STOP)
    hiss = torch.where(narrow, 1 - ramp((sounding / consonant - 1) / 0.3), 0.0)
    loudness = torch.exp2(units["energy"] / 6.02)
    stress = loudness * torch.exp2(0.25 * now(draws.accent))
    voiced, hissed = stress * torch.maximum(vowel, hummed), stress * hissed

    # The melody in semitones above the actor's own pitch: on each syllable an accent, round a line.
    accent = torch.lerp(before(draws.accent), now(draws.accent), opening)
    arch = torch.sin(math.pi * sounding.clamp(0, 1)) - 2 / math.pi
    melody = units["pitch"] + units["slope"] * (time / duration - 0.5)
    melody = melody + units["range"] * (0.45 * arch * (0.6 + 0.4 * accent) + 0.3 * accent)
    melody = melody + units["tremor"] * torch.sin(2 * math.pi * (6.5 * time + draws.start))
    if tone is not None:  # the drawl of irony: a slow swoop of five semitones
        melody = melody + 5 * tone * torch.sin(2 * math.pi * 1.25 * time / duration + 0.3)
    if beat is not None:  # one stressed moment: seven semitones up and 2.8 times as loud
        stressed = torch.exp(-(((time / duration - beat) / 0.035) ** 2)).nan_to_num(0.0)
        melody = melody + 7 * stressed
        voiced = torch.lerp(voiced, 2.8 * loudness.expand_as(voiced), stressed)
        hissed, hiss = hissed * (1 - stressed), hiss * (1 - stressed)
    pitch = base * torch.exp2(melody / 12) * (1 + 0.12 * units["jitter"] * draws.shake)
    return Score(syllable, closing, opening, hiss, voiced, hissed, pitch.clamp(55, 800))
