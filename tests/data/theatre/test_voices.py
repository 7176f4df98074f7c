"""The voices: what is measured in the sound is what the voice units asked for."""

import librosa
import numpy as np
import pytest
import torch
from scipy.signal import find_peaks

from mmlib.data.theatre import voices
from mmlib.data.theatre.cast import cast
from mmlib.data.theatre.emotions import EMOTIONS, VOICE, VOICE_UNITS
from mmlib.data.theatre.voices import VOICE_LIMITS, synthesise

RATE = 16000


def say(emotion, *, actor=0, clips=1, seed=0, sample_rate=RATE, seconds=3.0, **given):
    """A few clips of one emotion by one actor, some units set by hand: waveform, energy."""
    units = torch.tensor(VOICE[EMOTIONS.index(emotion)]).repeat(clips, 1)
    for name in set(given) & set(VOICE_UNITS):
        units[:, VOICE_UNITS.index(name)] = given.pop(name)
    return synthesise(
        units,
        torch.full((clips,), actor),
        generator_seed=seed,
        sample_rate=sample_rate,
        samples=int(seconds * sample_rate),
        **given,
    )


def semitones(clip, actor=0):
    """The pitch in semitones above the actor's own, one value each 16 ms, NaN where unvoiced."""
    pitch, _, _ = librosa.pyin(
        clip.numpy(), fmin=60, fmax=700, sr=RATE, frame_length=1024, hop_length=256
    )
    return 12 * np.log2(pitch / float(cast().pitch[actor]))


def loudness(clip, seconds=0.032):
    """The root mean square in overlapping windows, four a window length."""
    width = int(seconds * RATE)
    return librosa.feature.rms(y=clip.numpy(), frame_length=width, hop_length=width // 4)[0]


@pytest.fixture(scope="module")
def everything():
    """Forty clips at 8 kHz: five actors in each of the eight emotions."""
    units, actor = torch.tensor(VOICE).repeat(5, 1), torch.arange(5).repeat_interleave(8)
    return units, actor, synthesise(units, actor, generator_seed=3)


def test_shapes_and_range(device):
    units = torch.tensor(VOICE, device=device)
    actor = torch.arange(8, device=device)
    waveform, energy = synthesise(units, actor, generator_seed=0)
    assert waveform.shape == (8, 8192) and energy.shape == (8, 129)
    assert waveform.dtype == energy.dtype == torch.float32
    assert waveform.device.type == device.type
    waveform, energy = synthesise(units, actor, generator_seed=0, sample_rate=16000, samples=20000)
    assert waveform.shape == (8, 20000) and energy.shape == (8, 157)


def test_no_clips_are_no_error():
    waveform, energy = synthesise(torch.zeros(0, 10), torch.zeros(0).long(), generator_seed=0)
    assert waveform.shape == (0, 8192) and energy.shape == (0, 129)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(everything):
    units, actor, (waveform, energy) = everything
    again, energy_again = synthesise(units, actor, generator_seed=3)
    assert torch.equal(waveform, again) and torch.equal(energy, energy_again)
    other, _ = synthesise(units, actor, generator_seed=4)
    assert ((waveform - other).abs().amax(dim=1) > 0.01).all()


def test_a_clip_does_not_depend_on_its_company(everything, monkeypatch):
    units, actor, (waveform, _) = everything
    first, _ = synthesise(units[:3], actor[:3], generator_seed=3)
    torch.testing.assert_close(first, waveform[:3], atol=1e-5, rtol=0)
    monkeypatch.setattr(voices, "CHUNK", 7)
    chunked, _ = synthesise(units, actor, generator_seed=3)
    torch.testing.assert_close(chunked, waveform, atol=1e-5, rtol=0)


def test_a_seed_for_each_clip_makes_any_part_sound_like_the_whole(everything):
    units, actor, _ = everything
    seeds = np.arange(40) * 7 + 1
    whole, _ = synthesise(units, actor, generator_seed=seeds)
    part, _ = synthesise(units[5::9], actor[5::9], generator_seed=seeds[5::9])
    torch.testing.assert_close(part, whole[5::9], atol=1e-5, rtol=0)


def test_a_cpu_and_a_gpu_say_the_same(device, everything):
    units, actor, (waveform, _) = everything
    here, _ = synthesise(units.to(device), actor.to(device), generator_seed=3)
    correlation = torch.corrcoef(torch.stack([here.cpu().flatten(), waveform.flatten()]))[0, 1]
    assert correlation > 0.99


def test_nothing_clips_and_nothing_is_nan_even_at_the_limits():
    generator = torch.Generator().manual_seed(0)
    limits = torch.tensor(VOICE_LIMITS)
    share = torch.rand(60, 10, generator=generator).round()  # a corner of the range each
    units = torch.lerp(limits[:, 0], limits[:, 1], share)
    units[-5:] = 1e5 * torch.randn(5, 10, generator=generator)  # clamped to the range
    tone, beat = share[:, 0], torch.where(share[:, 1] > 0, share[:, 2], torch.nan)
    waveform, energy = synthesise(
        units, torch.arange(60) % 24, generator_seed=1, tone=tone, beat=beat
    )
    assert torch.isfinite(waveform).all() and torch.isfinite(energy).all()
    assert waveform.abs().max() < 1
    assert (waveform.abs().amax(dim=1) > 1e-3).all()


def test_clips_begin_and_end_in_silence(everything):
    waveform = everything[2][0]
    assert waveform[:, :80].abs().max() < 1e-3 and waveform[:, -80:].abs().max() < 1e-3


def test_there_are_no_clicks():
    waveform = torch.cat([say(emotion, clips=3, seconds=1.0)[0] for emotion in EMOTIONS])

    def roughness(clips):  # the largest jump, as a multiple of the ordinary large ones
        jumps = clips.diff(dim=1).abs()
        return jumps.amax(dim=1) / jumps.quantile(0.999, dim=1)

    assert (roughness(waveform) < 1.6).all()
    clicked = waveform.clone()
    clicked[:, 9000:] += waveform.abs().amax(dim=1, keepdim=True)
    assert (roughness(clicked) > 1.6).float().mean() > 0.5  # most clicks would be noticed


@pytest.mark.parametrize("emotion", ["calm", "happy", "sad", "surprised"])
def test_pitch_and_its_slope_are_those_asked_for(emotion):
    actor = 3
    melody = semitones(say(emotion, actor=actor, seed=5)[0][0], actor)
    voiced = ~np.isnan(melody)
    wanted = dict(zip(VOICE_UNITS, VOICE[EMOTIONS.index(emotion)], strict=True))
    assert abs(np.median(melody[voiced]) - wanted["pitch"]) < 1
    slope = np.polyfit(np.linspace(0, 1, len(melody))[voiced], melody[voiced], 1)[0]
    assert abs(slope - wanted["slope"]) < 1.5


def test_a_wider_range_moves_the_pitch_more():
    spread = []
    for wide in (0.5, 4.0, 9.0):
        melody = semitones(say("neutral", range=wide, slope=0.0, seed=2)[0][0])
        spread.append(np.subtract(*np.nanpercentile(melody, [90, 10])))
    assert spread[0] + 0.5 < spread[1] < spread[2] - 1


def test_loudness_differs_by_the_decibels_asked_for():
    level = {}
    for emotion in EMOTIONS:
        waveform, _ = say(emotion, clips=6)
        sounding = torch.stack([torch.tensor(loudness(clip)) for clip in waveform]).flatten()
        sounding = sounding[sounding > 0.3 * sounding.max()]
        level[emotion] = 20 * sounding.square().mean().sqrt().log10()
    energy = VOICE[:, VOICE_UNITS.index("energy")]
    for row, emotion in enumerate(EMOTIONS):
        difference = level[emotion] - level["neutral"]
        assert abs(difference - energy[row]) < 1.5, emotion


@pytest.mark.parametrize("rate", [2.5, 4.0, 6.0])
def test_syllables_come_at_the_rate_asked_for(rate):
    waveform, _ = say("neutral", rate=rate, pause=0.2, clips=6)
    counts = []
    for clip in waveform:
        envelope = np.convolve(loudness(clip), np.hanning(9) / np.hanning(9).sum(), "same")
        peaks, _ = find_peaks(envelope, prominence=0.25 * np.quantile(envelope, 0.95))
        counts.append(len(peaks))
    assert abs(np.mean(counts) / 3 / rate - 1) < 0.2


def test_longer_pauses_are_more_silence():
    silent = []
    for pause in (0.0, 0.2, 0.4):
        tracks = [loudness(clip) for clip in say("neutral", pause=pause, clips=6)[0]]
        silent.append(
            np.mean([(track < 0.05 * np.quantile(track, 0.95)).mean() for track in tracks])
        )
    assert silent[0] < 0.1 < silent[1] < silent[2] - 0.05


def test_a_steeper_tilt_leaves_less_at_high_frequencies():
    window, share = torch.hann_window(512), {}
    for tilt in (-15.0, -9.0, -3.0):
        waveform, _ = say("neutral", clips=4, tilt=tilt)
        spectrum = torch.stft(waveform, 512, window=window, return_complex=True).abs().square()
        power = spectrum.sum(dim=1)
        above = spectrum[:, 64:].sum(dim=1) / power.clamp(min=1e-9)  # 2 kHz
        share[tilt] = above[power > power.quantile(0.6)].median()
    assert share[-15.0] < share[-9.0] / 4 < share[-3.0] / 16


def test_breath_and_jitter_make_a_voice_less_periodic():
    def periodicity(**given):  # how well a stretch of 64 ms agrees with itself one pitch period on
        stretches = say("neutral", clips=4, **given)[0].unfold(1, 1024, 512).flatten(0, 1)
        stretches = stretches[stretches.square().mean(1) > 0.03**2]
        power = torch.fft.rfft(stretches, 2048).abs().square()
        agreement = torch.fft.irfft(power)[:, :300]
        return float((agreement[:, 60:].amax(1) / agreement[:, 0]).mean())

    clear = periodicity(breath=0.0, jitter=0.0)
    assert clear > 0.7
    assert periodicity(breath=0.5, jitter=0.0) < clear - 0.1
    assert periodicity(breath=0.0, jitter=0.8) < clear - 0.1


def test_an_ironic_tone_swoops_by_five_semitones():
    plain, _ = say("calm", actor=1, seconds=2.0, seed=1)
    ironic, _ = say("calm", actor=1, seconds=2.0, seed=1, tone=torch.ones(1))
    swoop = semitones(ironic[0], 1) - semitones(plain[0], 1)
    place = np.linspace(0, 1, len(swoop))
    expected = 5 * np.sin(2 * np.pi * 1.25 * place + 0.3)
    assert np.nanmedian(np.abs(swoop - expected)) < 0.5
    half, _ = say("calm", actor=1, seconds=2.0, seed=1, tone=torch.full((1,), 0.5))
    assert np.nanmedian(np.abs(semitones(half[0], 1) - semitones(plain[0], 1) - expected / 2)) < 0.5


@pytest.mark.parametrize("place", [0.25, 0.6])
def test_a_beat_is_louder_and_higher_at_its_moment_and_nowhere_else(place):
    plain, _ = say("neutral", seconds=1.024, clips=8)
    stressed, energy = say("neutral", seconds=1.024, clips=8, beat=torch.full((8,), place))
    frames = torch.linspace(0, 1, energy.shape[1])
    assert ((energy.argmax(dim=1) - place * (energy.shape[1] - 1)).abs() <= 1).all()
    torch.testing.assert_close(energy.amax(dim=1), torch.full((8,), 2.8), atol=0.05, rtol=0)
    away = (frames - place).abs() > 0.15
    samples = torch.linspace(0, 1, stressed.shape[1])
    assert ((stressed - plain).abs()[:, (samples - place).abs() < 0.03].amax(dim=1) > 0.1).all()
    assert (stressed.square()[:, (samples - place).abs() < 0.03].mean(1).sqrt() > 0.12).all()
    quiet_before = samples < place - 0.15  # later pulses fall elsewhere, for the phase has moved on
    torch.testing.assert_close(stressed[:, quiet_before], plain[:, quiet_before], atol=2e-3, rtol=0)
    assert energy[:, away].max() < 1.5


def test_no_beat_and_no_tone_change_nothing(everything):
    units, actor, (waveform, _) = everything
    same, _ = synthesise(
        units, actor, generator_seed=3, tone=torch.zeros(40), beat=torch.full((40,), torch.nan)
    )
    torch.testing.assert_close(same, waveform, atol=1e-5, rtol=0)


def test_both_sample_rates_speak_the_same_sentence():
    low, energy_low = say("happy", clips=3, sample_rate=8000, seconds=2.048)
    high, energy_high = say("happy", clips=3, sample_rate=16000, seconds=2.048)
    torch.testing.assert_close(energy_low, energy_high)
    assert low.shape[1] * 2 == high.shape[1]

    def envelope(wave, width):
        return (
            wave[:, : wave.shape[1] // width * width]
            .unfold(1, width, width)
            .square()
            .mean(2)
            .sqrt()
        )

    pair = torch.stack([envelope(low, 128).flatten(), envelope(high, 256).flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.95


def test_energy_follows_the_sound(everything):
    _, _, (waveform, energy) = everything
    measured = waveform.unfold(1, 256, 64).square().mean(dim=2).sqrt()
    middle = energy[:, 2 : 2 + measured.shape[1]]
    for one, other in zip(measured, middle, strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": torch.zeros(3, 9)}, "VOICE_UNITS"),
        ({"units": torch.full((3, 10), float("inf"))}, r"\(clip, unit\) \[0, 0\]"),
        ({"actor": torch.tensor([0, 1])}, "one index per clip"),
        ({"actor": torch.tensor([0, 99, 1])}, "the cast has 24"),
        ({"sample_rate": 44100}, "8000 or 16000"),
        ({"samples": 1000}, "quarter of a second"),
        ({"tone": torch.zeros(2)}, "tone must hold one number per clip"),
        ({"tone": torch.full((3,), torch.nan)}, "use 0 where"),
        ({"beat": torch.tensor([0.1, 1.2, 0.3])}, r"beat must lie in \[0, 1\]"),
        ({"generator_seed": [1, 2]}, "one per clip"),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(arguments, message):
    valid = {"units": torch.tensor(VOICE[:3]), "actor": torch.arange(3), "generator_seed": 0}
    with pytest.raises(ValueError, match=message):
        synthesise(**(valid | arguments))
