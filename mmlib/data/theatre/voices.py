"""The voices: ten numbers and an actor become somebody speaking a sentence of nonsense.

A source (the pulses of the vocal folds, breath, hiss) is shaped by a filter (the resonances of the
mouth), both following a score of syllables, loudness and melody from `prosody`. The syllables mean
nothing; what is said is the business of `sentences`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmlib.data.theatre.cast import Cast
from mmlib.data.theatre.cast import cast as draw_cast
from mmlib.data.theatre.emotions import VOICE_UNITS
from mmlib.data.theatre.prosody import FRAME, Draws, Score, draw, perform
from mmlib.data.threads import one_thread

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


def glide(score: Score, draws: Draws, tract: Tensor) -> Tensor:
    """The resonances in Hz as the mouth goes from the last vowel over a consonant to the next.

    *Shape*: `score` of (N, F), `tract` (N, 1) -> (N, F, 5).
    """

    def at(table: Tensor, syllable: Tensor) -> Tensor:  # (N, S, 3) -> (N, F, 3)
        return table.gather(1, syllable[..., None].expand(-1, -1, 3))

    vowels, places = VOWELS.to(tract.device)[draws.vowel], PLACES.to(tract.device)[draws.place]
    last_vowel = at(vowels, (score.syllable - 1).clamp(min=0))
    closed = torch.lerp(last_vowel, at(places, score.syllable), score.closing[..., None])
    lower = torch.lerp(closed, at(vowels, score.syllable), score.opening[..., None])
    upper = UPPER.to(tract.device).expand(*lower.shape[:2], 2)
    return torch.cat([lower, upper], dim=-1) * tract[..., None]


def mouth(score: Score, draws: Draws, tilt: Tensor, tract: Tensor, frequency: Tensor) -> Tensor:
    """The filter of the mouth in each control frame.

    A resonance is 1 / (1 + i (f - F) / bandwidth), a ringing that dies out. Each frame's filter is
    scaled to pass noise at unit power, so that all vowels are equally loud and loudness is the
    score's business. Where the score hisses, a band of noise takes its place.

    *Shape*: `score` of (N, F), `tilt` and `tract` (N, 1), `frequency` (K,) -> (N, K, F) complex.
    """
    f = frequency[None, :, None]
    centres = glide(score, draws, tract)[:, None]  # (N, 1, F, 5)
    real = f.new_zeros(len(tilt), len(frequency), centres.shape[2])
    imaginary = torch.zeros_like(real)
    for j in range(5 if float(frequency[-1]) > 4500 else 4):
        away = (f - centres[..., j]) / BANDWIDTHS[j]
        gain = GAINS[j] / (1 + away * away)
        real += gain
        imaginary.addcmul_(gain, away, value=-1)
    # Tilt is the fall of the whole voice in dB an octave; the resonances alone fall by about 3.
    # Below the lowest voices there is nothing, and nothing that should count as loudness.
    slope = torch.exp2((tilt + 3) / 6.02 * torch.log2((frequency + 100) / 500))
    slope = (slope * frequency.square() / (frequency.square() + 80**2))[..., None]  # (N, K, 1)
    real *= slope
    imaginary *= slope
    power = (real * real).addcmul_(imaginary, imaginary).mean(dim=1, keepdim=True)
    share = (1 - score.hiss[:, None]) * torch.rsqrt(power + 1e-9)
    # High frequencies come up to 3 ms later than low ones: rounder pulses, less of a buzz.
    angle = -math.pi * 0.003 * frequency * frequency / frequency[-1]
    late = torch.polar(torch.ones_like(angle), angle)[:, None]
    vocal = torch.complex(real.mul_(share), imaginary.mul_(share)).mul_(late)
    # The bands of hiss, (K, 3), times how far the mouth is set to each of the places, (N, 3, F).
    bands = 0.02 + torch.exp(-(((frequency[:, None] - HISS.to(tilt.device)) / 900) ** 2))
    bands = bands * torch.rsqrt(bands.square().mean(dim=0))
    place = torch.nn.functional.one_hot(draws.place.gather(1, score.syllable), len(HISS))
    return vocal.add_(bands @ (place * score.hiss[..., None]).transpose(1, 2))


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


@one_thread()
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
    check_arguments(units, actor, sample_rate, samples, tone, beat)
    n_fft, hop = round(0.032 * sample_rate), round(FRAME * sample_rate)
    duration = samples / sample_rate
    limits = torch.from_numpy(VOICE_LIMITS).to(units.device)
    limited = units.float().clamp(limits[:, 0], limits[:, 1])
    columns = dict(zip(VOICE_UNITS, limited.split(1, dim=1), strict=True))
    who = (draw_cast() if cast is None else cast).pick(actor)
    seeds = clip_seeds(generator_seed, len(units))
    window = torch.hann_window(n_fft, device=units.device)
    frequency = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, device=units.device)
    most = math.ceil(float(VOICE_LIMITS[VOICE_UNITS.index("rate"), 1]) * duration) + 2
    waveform = limited.new_empty(len(units), samples)
    energy = limited.new_empty(len(units), round(duration / FRAME) + 1)
    for first in range(0, len(units), CHUNK):
        rows = slice(first, first + CHUNK)
        part = {name: value[rows] for name, value in columns.items()}
        draws = draw(seeds[rows], most, duration, samples).to(units.device)
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
        shape = mouth(score, draws, part["tilt"], who.tract[rows, None], frequency)
        frames = min(spectrum.shape[2], shape.shape[2])
        spectrum = spectrum[..., :frames] * shape[..., :frames]
        spoken = torch.istft(spectrum, n_fft, hop, window=window, length=samples)
        waveform[rows] = soft_limit(LEVEL * spoken)
        energy[rows] = score.voiced
    if not bool(torch.isfinite(waveform).all()):
        raise RuntimeError("the synthesiser made a sample that is not finite; please report this")
    return waveform, energy


def check_arguments(
    units: Tensor,
    actor: Tensor,
    sample_rate: int,
    samples: int,
    tone: Tensor | None,
    beat: Tensor | None,
) -> None:
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
    for name, track in (("tone", tone), ("beat", beat)):
        if track is not None and track.shape != units.shape[:1]:
            raise ValueError(
                f"{name} must hold one number per clip: {len(units)} clips, got {tuple(track.shape)}"
            )
        if track is not None and bool(((track < 0) | (track > 1)).any()):
            raise ValueError(f"{name} must lie in [0, 1]; got values outside")
    if tone is not None and bool(tone.isnan().any()):
        raise ValueError("tone must be a number in every clip; use 0 where the voice is plain")
    if sample_rate not in (8000, 16000):
        raise ValueError(f"voices are made at 8000 or 16000 samples a second, got {sample_rate}")
    if samples < sample_rate // 4:
        raise ValueError(
            f"a sentence needs at least a quarter of a second, {sample_rate // 4} samples at "
            f"{sample_rate} a second; got {samples}"
        )
