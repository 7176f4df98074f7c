"""The voices: ten numbers and an actor become somebody speaking a nonsense sentence.

A source (pulses of the vocal folds, or noise) is shaped by a filter (the resonances of the mouth).
A sentence is a row of syllables, each a consonant and a vowel; pitch, loudness and pauses follow
the voice units. The words themselves mean nothing: what is said is the sentences' business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmlib.data.theatre.cast import Cast
from mmlib.data.theatre.cast import cast as draw_cast
from mmlib.data.theatre.emotions import VOICE_UNITS

#: The range that can be synthesised, one row per voice unit: least, most.
VOICE_LIMITS: np.ndarray = np.array(
    [
        [-10.0, 14.0],  # pitch, semitones
        [0.0, 12.0],  # range, semitones
        [-12.0, 12.0],  # slope, semitones over the clip
        [-18.0, 12.0],  # energy, dB
        [1.5, 8.0],  # rate, syllables a second
        [-18.0, 0.0],  # tilt, dB an octave
        [0.0, 1.0],  # jitter
        [0.0, 0.8],  # breath
        [0.0, 3.0],  # tremor, semitones
        [0.0, 0.6],  # pause
    ],
    dtype=np.float32,
)
#: Seconds from one control frame to the next.
FRAME = 0.008
#: Clips are made this many at a time: their spectra then stay in a processor's cache.
CHUNK = 32
#: The root mean square of a steady vowel at 0 dB.
LEVEL = 0.075

# Resonances in Hz of an average male speaker, after the measurements of Peterson and Barney (1952):
# a, i, u, e, o, the vowel of "bird", the vowel of "bad", the vowel of "but".
VOWELS = torch.tensor(
    [
        [730, 1090, 2440],
        [270, 2290, 3010],
        [300, 870, 2240],
        [530, 1840, 2480],
        [570, 840, 2410],
        [490, 1350, 1690],
        [660, 1720, 2410],
        [640, 1190, 2390],
    ],
    dtype=torch.float32,
)
# Where the resonances start from, by where the mouth closes: lips, teeth, palate.
PLACES = torch.tensor([[260, 900, 2200], [280, 1700, 2600], [270, 2050, 2350]], dtype=torch.float32)
# Centre in Hz of the hiss at the same places.
HISS = torch.tensor([1800.0, 4300.0, 2700.0])
# Resonances above the third are much the same in all vowels.
UPPER = torch.tensor([3500.0, 4500.0])
BANDWIDTHS = (80.0, 100.0, 150.0, 220.0, 280.0)
GAINS = (1.0, -0.70, 0.45, -0.28, 0.18)  # alternating signs keep dips out of the valleys between
NO_CONSONANT, STOP, HISSED, HUMMED = range(4)
CONSONANTS = (0.08, 0.30, 0.27, 0.35)  # how often each of them opens a syllable


@dataclass
class Draws:
    """What chance decides in each clip, drawn clip by clip before anything is computed.

    *Shape*: per syllable (N, S), per control frame (N, F), per sample (N, L), per clip (N, 1).
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

    def __getitem__(self, rows: slice) -> "Draws":
        """The draws of some of the clips."""
        return Draws(**{name: value[rows] for name, value in vars(self).items()})


@dataclass
class Score:
    """What the mouth does in each control frame.

    *Shape*: (N, F) each: `pitch` in Hz, `voiced` and `hissed` amplitudes, `hiss` in [0, 1] (how far
    the mouth is set to hiss), `syllable` index, `onset` (0 at the consonant, 1 in the vowel).
    """

    pitch: Tensor
    voiced: Tensor
    hissed: Tensor
    hiss: Tensor
    syllable: Tensor
    closing: Tensor
    opening: Tensor


def draw(seeds: np.ndarray, duration: float, samples: int) -> Draws:
    """Draw each clip's chances from its own generator, so that clips do not depend on each other."""
    syllables = math.ceil(float(VOICE_LIMITS[VOICE_UNITS.index("rate"), 1]) * duration) + 2
    frames = round(duration / FRAME) + 1
    uniform = np.empty((len(seeds), 2 + 5 * syllables), dtype=np.float32)
    shake = np.empty((len(seeds), frames), dtype=np.float32)
    noise = np.empty((len(seeds), samples), dtype=np.float32)
    for i, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        rng.random(out=uniform[i], dtype=np.float32)
        rng.standard_normal(out=shake[i], dtype=np.float32)
        rng.standard_normal(out=noise[i], dtype=np.float32)
    start, warp = torch.from_numpy(uniform[:, :2].copy()).split(1, dim=1)
    vowel, consonant, place, accent, end = torch.from_numpy(uniform[:, 2:].copy()).chunk(5, dim=1)
    kinds = torch.tensor(CONSONANTS).cumsum(0)
    return Draws(
        start=start,
        warp=2 * warp - 1,
        vowel=(vowel * len(VOWELS)).long(),
        consonant=torch.bucketize(consonant.contiguous(), kinds[:-1]),
        place=(place * len(PLACES)).long(),
        accent=2 * accent - 1,
        word_end=(end < 0.4).float(),
        shake=torch.from_numpy(shake),
        noise=torch.from_numpy(noise),
    )


def ramp(x: Tensor) -> Tensor:
    """Climb smoothly from 0 (x <= 0) to 1 (x >= 1)."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def perform(
    units: dict[str, Tensor],
    draws: Draws,
    base: Tensor,
    duration: float,
    tone: Tensor | None,
    beat: Tensor | None,
) -> Score:
    """Turn voice units into what the mouth does: syllables, melody, loudness.

    *Shape*: each unit and `base` (the actor's own pitch in Hz) (N, 1), `tone` and `beat` (N, 1) ->
    a `Score` of (N, F) tracks.
    """
    frames = draws.shake.shape[1]
    time = torch.linspace(0, duration, frames, device=base.device)
    rate, pause = units["rate"], units["pause"]

    # Where we are: a syllable index, and a place within it from 0 to 1. Durations vary by the warp;
    # the last syllable takes what time is left, half to one and a half times the usual.
    start = 0.02 + 0.05 * draws.start
    span = duration - start - 0.04
    count = rate * span
    whole = count.round().clamp(min=1)
    waves = (0.4 * whole).round().clamp(min=1)
    elapsed = (time - start) / span
    stretch = 0.35 * draws.warp * torch.sin(2 * math.pi * waves * elapsed) / (2 * math.pi * waves)
    position = count * (elapsed.clamp(0, 1) + stretch * (elapsed > 0) * (elapsed < 1))
    syllable = torch.minimum(position.floor(), whole - 1).clamp(min=0).long()
    last = syllable == whole.long() - 1
    within = (position - syllable) / torch.where(last, count - whole + 1, torch.ones_like(position))
    within = torch.where(elapsed < 0, torch.zeros_like(within), within).clamp(0, 1)

    def now(table: Tensor) -> Tensor:
        return table.gather(1, syllable)

    def before(table: Tensor) -> Tensor:
        return table.gather(1, (syllable - 1).clamp(min=0))

    # A syllable: consonant, vowel, and silence; most of the silence stands at the end of words.
    word_end = torch.where(last, torch.ones_like(within), now(draws.word_end))
    silent = (pause * (1 / 3 + 5 / 3 * word_end)).clamp(max=0.65)
    sounding = within / (1 - silent)
    share = (0.075 * rate).clamp(0.20, 0.38)
    closing, opening = ramp(sounding / (0.5 * share)), ramp((sounding - 0.5 * share) / share)
    kind = now(draws.consonant)
    vowel_place = (sounding - share) / (1 - share)
    rest = 0.25 * (1 - word_end)
    vowel = ramp(vowel_place / 0.25) * (rest + (1 - rest) * ramp((1 - vowel_place) / 0.45))
    in_consonant = ((sounding < share) & (within > 0)).float()
    hum = torch.where(kind == HUMMED, 0.32, torch.where(kind == NO_CONSONANT, 0.2, 0.0))
    voiced = torch.maximum(
        vowel, in_consonant * hum * ramp(sounding / (0.3 * share) + before(draws.word_end) * 0)
    )
    bump = ramp(sounding / (0.5 * share)) * ramp((1.25 * share - sounding) / (0.4 * share))
    burst = ramp((sounding - 0.55 * share) / (0.2 * share)) * ramp(
        (1.3 * share - sounding) / (0.4 * share)
    )
    hissed = torch.where(kind == HISSED, 0.30 * bump, torch.where(kind == STOP, 0.45 * burst, 0.0))
    hiss = torch.where(
        (kind == HISSED) | (kind == STOP), 1 - ramp((sounding - share) / (0.3 * share)), 0.0
    )
    stress = torch.exp2(0.25 * now(draws.accent))
    loudness = torch.exp2(units["energy"] / 6.02) * stress

    # The melody, in semitones above the actor's own pitch: an accent on each syllable round a line.
    accent = torch.lerp(before(draws.accent), now(draws.accent), opening)
    arch = torch.sin(math.pi * sounding.clamp(0, 1)) - 2 / math.pi
    u = time / duration
    melody = units["pitch"] + units["slope"] * (u - 0.5)
    melody = melody + units["range"] * (0.45 * arch * (0.6 + 0.4 * accent) + 0.3 * accent)
    melody = melody + units["tremor"] * torch.sin(2 * math.pi * (6.5 * time + draws.start))
    voiced, hissed = voiced * loudness, hissed * loudness
    if tone is not None:
        melody = melody + 5 * tone * torch.sin(2 * math.pi * 1.25 * u + 0.3)
    if beat is not None:
        stressed = torch.exp(-(((u - beat) / 0.035) ** 2)).nan_to_num(0.0)
        melody = melody + 7 * stressed
        voiced = voiced * (1 - stressed) + 2.8 * stressed * torch.exp2(units["energy"] / 6.02)
        hiss = hiss * (1 - stressed)
    pitch = base * torch.exp2(melody / 12) * (1 + 0.12 * units["jitter"] * draws.shake)
    return Score(pitch.clamp(55, 800), voiced, hissed, hiss, syllable, closing, opening)


def per_sample(track: Tensor, samples: int) -> Tensor:
    """Interpolate control tracks (N, F) linearly to (N, samples)."""
    return torch.nn.functional.interpolate(
        track[:, None], size=samples, mode="linear", align_corners=True
    )[:, 0]


def excite(score: Score, breath: Tensor, noise: Tensor, sample_rate: int) -> Tensor:
    """The sound at the vocal folds and in the narrow places: pulses, breath and hiss.

    The pulses are the sum of all cosines of the pitch below half the sample rate, in closed form:
    sin((H + 1/2) p) / (2 sin(p / 2)) - 1/2. The highest one is faded by the fraction of H, so that a
    moving pitch adds and drops harmonics without a click.

    *Shape*: `score` of (N, F), `breath` (N, 1), `noise` (N, L) -> (N, L).
    """
    samples = noise.shape[1]
    pitch = per_sample(score.pitch, samples)
    cycle = torch.cumsum(pitch / sample_rate, dim=1)
    phase = 2 * math.pi * (cycle - cycle.floor())
    reach = 0.48 * sample_rate / pitch
    whole = reach.floor()
    half = torch.sin(phase / 2)
    safe = torch.where(half.abs() < 1e-4, torch.full_like(half, 1e-4), half)
    pulses = torch.where(
        half.abs() < 1e-4, whole, torch.sin((whole + 0.5) * phase) / (2 * safe) - 0.5
    )
    pulses = pulses + (reach - whole) * torch.cos((whole + 1) * phase)
    pulses = pulses * torch.rsqrt(reach / 2)
    folds = pulses * (1 - 0.5 * breath) + breath * noise
    return per_sample(score.voiced, samples) * folds + per_sample(score.hissed, samples) * noise


def mouth(score: Score, draws: Draws, tilt: Tensor, tract: Tensor, frequency: Tensor) -> Tensor:
    """The filter of the mouth in each control frame: resonances that glide from sound to sound.

    Each resonance is 1 / (1 + i (f - F) / bandwidth), a ringing that dies out; every frame's filter is
    scaled to pass noise at unit power, so that vowels are equally loud.

    *Shape*: `score` of (N, F), `tilt` and `tract` (N, 1), `frequency` (K,) -> (N, K, F) complex.
    """
    vowels = VOWELS.to(tilt.device)[draws.vowel]  # (N, S, 3)
    places = PLACES.to(tilt.device)[draws.place]

    def at(table: Tensor, syllable: Tensor) -> Tensor:
        return table.gather(1, syllable[..., None].expand(-1, -1, 3))

    earlier = at(vowels, (score.syllable - 1).clamp(min=0))
    target = at(vowels, score.syllable)
    closed = torch.lerp(earlier, at(places, score.syllable), score.closing[..., None])
    centre = torch.lerp(closed, target, score.opening[..., None]) * tract[..., None]  # (N, F, 3)
    upper = (UPPER.to(tilt.device) * tract)[:, None].expand(-1, centre.shape[1], -1)
    centre = torch.cat([centre, upper], dim=-1)[:, None]  # (N, 1, F, 5)
    resonances = 5 if float(frequency[-1]) > 4500 else 4
    f = frequency[None, :, None]
    real: Tensor | float = 0.0
    imaginary: Tensor | float = 0.0
    for j in range(resonances):
        away = (f - centre[..., j]) / BANDWIDTHS[j]
        share = GAINS[j] / (1 + away * away)
        real = real + share
        imaginary = imaginary - share * away
    slope = torch.exp2((tilt + 6) / 6.02 * torch.log2((frequency + 100) / 500))  # (N, K)
    hiss_at = HISS.to(tilt.device)[draws.place].gather(1, score.syllable)[:, None]
    hissing = 0.02 + torch.exp(-(((f - hiss_at) / 900) ** 2))
    vocal = torch.complex(real, imaginary) * slope[..., None]
    power = (vocal.real.square() + vocal.imag.square()).mean(dim=1, keepdim=True)
    hissing = hissing * torch.rsqrt(hissing.square().mean(dim=1, keepdim=True))
    hiss = score.hiss[:, None]
    return vocal * ((1 - hiss) * torch.rsqrt(power + 1e-9)) + hissing * hiss


def soft_limit(waveform: Tensor, knee: float = 0.7) -> Tensor:
    """Leave samples below `knee` alone and bend louder ones so that none reaches 1."""
    over = (waveform.abs() - knee).clamp(min=0)
    bent = knee + (1 - knee) * torch.tanh(over / (1 - knee))
    return torch.where(over > 0, torch.sign(waveform) * bent, waveform)


def clip_seeds(generator_seed: int | Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    """One seed per clip, (N, 2): (seed, clip) for a single seed, (seed, 0) for a seed of its own."""
    given = np.asarray(generator_seed)
    if given.ndim == 0:
        return np.stack([np.full(n, int(given)), np.arange(n)], axis=1)
    if given.shape != (n,):
        raise ValueError(
            f"generator_seed is one integer or one per clip; got shape {given.shape} for {n} clips"
        )
    return np.stack([given.astype(np.int64), np.zeros(n, dtype=np.int64)], axis=1)


def synthesise(
    units: Tensor,
    actor: Tensor,
    *,
    generator_seed: int | Sequence[int] | np.ndarray,
    sample_rate: int = 8000,
    samples: int = 8192,
    tone: Tensor | None = None,
    beat: Tensor | None = None,
    cast: Cast | None = None,
) -> tuple[Tensor, Tensor]:
    """Let actors speak: each clip a sentence of nonsense syllables in the voice of its units.

    Clip `i` draws from a generator of its own, seeded by (`generator_seed`, i), so it sounds the
    same however many clips are made with it. The same seed and duration at 8 and at 16 kHz give the
    same syllables and the same melody.

    *Shape*: `units` (N, 10) in the order of `VOICE_UNITS`, clamped to `VOICE_LIMITS`; `actor` (N,)
    int64; `tone` (N,), 0 plain to 1 ironic, a slow swoop of five semitones; `beat` (N,), the place
    in [0, 1] of a stressed moment, NaN for none -> waveform (N, samples) float32 with
    |w| < 1, and the amplitude of the voice (N, frames) at one frame per 8 ms.

    *Raises*: ValueError for wrong shapes, units that are not finite, an unknown actor, a sample
    rate other than 8,000 or 16,000 and less than a quarter of a second.
    """
    check_arguments(units, actor, sample_rate, samples)
    n_fft, hop = round(0.032 * sample_rate), round(FRAME * sample_rate)
    duration = samples / sample_rate
    limits = torch.from_numpy(VOICE_LIMITS).to(units.device)
    limited = units.float().clamp(limits[:, 0], limits[:, 1])
    columns = dict(zip(VOICE_UNITS, limited.split(1, dim=1), strict=True))
    who = (draw_cast() if cast is None else cast).pick(actor)
    seeds = clip_seeds(generator_seed, len(units))
    window = torch.hann_window(n_fft, device=units.device)
    frequency = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, device=units.device)
    waveforms, energies = [], []
    for first in range(0, len(units), CHUNK):
        rows = slice(first, first + CHUNK)
        part = {name: value[rows] for name, value in columns.items()}
        draws = draw(seeds[rows], duration, samples)
        draws = Draws(**{name: value.to(units.device) for name, value in vars(draws).items()})
        score = perform(
            part,
            draws,
            who.pitch[rows, None],
            duration,
            None if tone is None else tone[rows, None].to(limited),
            None if beat is None else beat[rows, None].to(limited),
        )
        source = excite(score, part["breath"], draws.noise, sample_rate)
        spectrum = torch.stft(source, n_fft, hop, window=window, return_complex=True)
        frames = min(spectrum.shape[2], score.pitch.shape[1])
        shape = mouth(score, draws, part["tilt"], who.tract[rows, None], frequency)
        spectrum = spectrum[..., :frames] * shape[..., :frames]
        spoken = torch.istft(spectrum, n_fft, hop, window=window, length=samples)
        waveforms.append(soft_limit(LEVEL * spoken))
        energies.append(score.voiced)
    if not waveforms:
        frames = round(duration / FRAME) + 1
        return units.new_zeros(0, samples).float(), units.new_zeros(0, frames).float()
    waveform = torch.cat(waveforms)
    assert bool(torch.isfinite(waveform).all()), "the synthesiser made a sample that is not finite"
    return waveform, torch.cat(energies)


def check_arguments(units: Tensor, actor: Tensor, sample_rate: int, samples: int) -> None:
    """Raise a ValueError that says what is wrong with the arguments of `synthesise`."""
    if units.dim() != 2 or units.shape[1] != len(VOICE_UNITS):
        raise ValueError(
            f"units must be (clips, {len(VOICE_UNITS)}), one column per name of VOICE_UNITS; "
            f"got {tuple(units.shape)}"
        )
    if actor.shape != units.shape[:1]:
        raise ValueError(
            f"actor must hold one index per clip: {len(units)} clips, got {tuple(actor.shape)}"
        )
    if not bool(torch.isfinite(units).all()):
        where = (~torch.isfinite(units)).nonzero()[0].tolist()
        raise ValueError(
            f"voice units must be finite, found NaN or infinity at (clip, unit) {where}"
        )
    if sample_rate not in (8000, 16000):
        raise ValueError(f"voices are made at 8000 or 16000 samples a second, got {sample_rate}")
    if samples < sample_rate // 4:
        raise ValueError(
            f"a sentence needs at least a quarter of a second, {sample_rate // 4} samples at "
            f"{sample_rate} a second; got {samples}"
        )
