"""Log-mel spectrograms and cepstra agree with librosa and refuse what is no waveform."""

import math

import librosa
import numpy as np
import pytest
import torch

from mmlib.data.sound import log_mel, mfcc

SETTINGS = [
    {"sample_rate": 8000, "n_fft": 256, "hop": 64, "n_mels": 40},
    {"sample_rate": 16000, "n_fft": 512, "hop": 160, "n_mels": 23, "f_min": 50.0, "f_max": 7000.0},
]


@pytest.fixture
def waveform(device):
    """Three clips of 5,000 samples, of quite different loudness."""
    noise = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    return (noise * torch.tensor([[0.3], [0.01], [1e-4]])).to(device)


def by_librosa(clip, *, sample_rate, n_fft, hop, n_mels, f_min=0.0, f_max=None):
    power = librosa.feature.melspectrogram(
        y=clip.astype(np.float64),
        sr=sample_rate,
        n_fft=n_fft,
        hop_length=hop,
        n_mels=n_mels,
        fmin=f_min,
        fmax=f_max,
        htk=True,
        norm=None,
        pad_mode="reflect",
    )
    return np.log(power + 1e-5)[:, : len(clip) // hop].T


@pytest.mark.parametrize("settings", SETTINGS)
def test_log_mel_agrees_with_librosa(waveform, settings):
    ours = log_mel(waveform, **settings).cpu().numpy()
    for clip, spectrum in zip(waveform.cpu().numpy(), ours, strict=True):
        np.testing.assert_allclose(spectrum, by_librosa(clip, **settings), atol=1e-4)


@pytest.mark.parametrize("settings", SETTINGS)
def test_mfcc_agrees_with_librosa(waveform, settings):
    ours = mfcc(waveform, n_mfcc=11, **settings).cpu().numpy()
    for clip, coefficients in zip(waveform.cpu().numpy(), ours, strict=True):
        spectrum = by_librosa(clip, **settings)
        theirs = librosa.feature.mfcc(S=spectrum.T, n_mfcc=11, dct_type=2, norm="ortho").T
        np.testing.assert_allclose(coefficients, theirs, atol=2e-4)


def test_a_second_of_voice_gives_128_steps_of_40_bands(device):
    waveform = torch.randn(2, 8192, device=device)
    spectrum = log_mel(waveform, sample_rate=8000, n_fft=256, hop=64, n_mels=40)
    assert spectrum.shape == (2, 128, 40)
    assert spectrum.dtype == torch.float32 and spectrum.device.type == device.type


def test_a_tone_excites_the_band_at_its_pitch(device):
    time = torch.arange(4000, device=device) / 8000
    pitches = torch.tensor([300.0, 1000.0, 3000.0], device=device)
    tones = torch.sin(2 * math.pi * pitches[:, None] * time)
    loudest = log_mel(tones, sample_rate=8000).mean(dim=1).argmax(dim=1).cpu()
    # 40 triangles between 0 and 4 kHz: band b is centred at (b + 1) / 41 of the mel range.
    mel = 2595 * torch.log10(1 + torch.tensor([300.0, 1000.0, 3000.0, 4000.0]) / 700)
    expected = (mel[:3] / mel[3] * 41 - 1).round().long()
    assert (loudest - expected).abs().max() <= 1


def test_ten_times_the_amplitude_adds_the_logarithm_of_a_hundred(device):
    waveform = torch.randn(2, 2000, device=device)
    quiet = log_mel(waveform, sample_rate=8000, floor=0.0)
    loud = log_mel(10 * waveform, sample_rate=8000, floor=0.0)
    torch.testing.assert_close(
        loud - quiet, torch.full_like(quiet, math.log(100)), atol=1e-3, rtol=0
    )


def test_silence_gives_the_logarithm_of_the_floor(device):
    spectrum = log_mel(torch.zeros(1, 1000, device=device), sample_rate=8000, floor=1e-3)
    torch.testing.assert_close(spectrum, torch.full_like(spectrum, math.log(1e-3)))


def test_a_clip_sounds_the_same_alone_and_among_many(device):
    waveform = torch.randn(37, 1500, device=device)
    together = log_mel(waveform, sample_rate=8000)
    alone = log_mel(waveform[35:36], sample_rate=8000)
    torch.testing.assert_close(together[35:36], alone, atol=1e-5, rtol=1e-5)


def test_half_precision_waveforms_are_computed_in_single_precision(device):
    waveform = torch.randn(2, 1500, device=device).half()
    spectrum = log_mel(waveform, sample_rate=8000)
    torch.testing.assert_close(spectrum, log_mel(waveform.float(), sample_rate=8000))


def test_the_zeroth_coefficient_is_the_scaled_mean_of_the_bands(device):
    waveform = torch.randn(2, 1500, device=device)
    coefficients = mfcc(waveform, sample_rate=8000, n_mels=30, n_mfcc=5)
    bands = log_mel(waveform, sample_rate=8000, n_mels=30)
    torch.testing.assert_close(coefficients[..., 0], bands.mean(-1) * math.sqrt(30))


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(500), "shape"),
        (torch.zeros(2, 1, 500), "shape"),
        (torch.zeros(2, 500, dtype=torch.int16), "floating-point"),
        (torch.zeros(2, 128), "too short"),
        (
            torch.tensor([[0.0, float("nan")] * 300]),
            r"NaN or infinity at \(clip, sample\) \[0, 1\]",
        ),
        (torch.full((1, 600), float("inf")), "finite"),
    ],
)
def test_what_is_no_waveform_is_refused_in_words(waveform, message):
    with pytest.raises(ValueError, match=message):
        log_mel(waveform, sample_rate=8000)


def test_impossible_filters_are_refused_in_words():
    waveform = torch.zeros(1, 1000)
    with pytest.raises(ValueError, match="n_mels=200"):
        log_mel(waveform, sample_rate=8000, n_mels=200)
    with pytest.raises(ValueError, match="half the sample rate"):
        log_mel(waveform, sample_rate=8000, f_max=5000.0)
    with pytest.raises(ValueError, match="n_mfcc=41"):
        mfcc(waveform, sample_rate=8000, n_mels=40, n_mfcc=41)
