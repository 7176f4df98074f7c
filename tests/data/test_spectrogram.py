"""The geometry of JMT's spectrograms follows from frames and rates, and the pictures from sound."""

import librosa
import numpy as np
import pytest
import torch

from mmlib.data.sound import log_mel
from mmlib.data.spectrogram import SpectrogramGeometry, clip_spectrograms

SMALL = SpectrogramGeometry(
    frames=5, dilation=2, frame_rate=25, sample_rate=8000, n_fft=256, n_mels=23
)


def sound(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_papers_107_columns_are_32_frames_at_30_a_second():
    geometry = SpectrogramGeometry()
    assert (geometry.window, geometry.hop, geometry.samples) == (882, 441, 47_040)
    assert (geometry.n_mels, geometry.columns) == (64, 107)
    assert SpectrogramGeometry(frames=32, dilation=1).columns == 107


@pytest.mark.parametrize(
    ("changes", "columns"),
    [
        ({"dilation": 1}, 27),  # eight frames alone: 11,760 / 441 = 26.7
        ({"frames": 16}, 214),
        ({"frame_rate": 25.0}, 129),
        ({"frame_rate": 29.97}, 107),
        ({"sample_rate": 48_000}, 107),  # the hop grows along
        ({"hop_seconds": 0.005}, 214),  # 220.5 samples are taken as 220, as Python rounds
    ],
)
def test_columns_follow_from_frames_and_rates(changes, columns):
    geometry = SpectrogramGeometry(**changes)
    assert geometry.columns == columns
    if geometry.sample_rate <= 44_100:
        assert clip_spectrograms(sound(1, geometry.samples), geometry).shape == (1, 1, 64, columns)


def test_short_windows_are_counted_exactly_not_in_binary():
    # 0.29 * 100 is 28.999999999999996 in floating point
    assert SpectrogramGeometry(sample_rate=100, window_seconds=0.29, hop_seconds=0.29).hop == 29


def test_a_part_of_a_sample_is_rounded_to_the_nearest_and_a_part_of_a_hop_is_none():
    geometry = SpectrogramGeometry(
        frames=1, dilation=1, sample_rate=8000, n_fft=256, hop_seconds=0.0125
    )
    assert geometry.samples == 267  # 266.7
    assert (geometry.hop, geometry.columns) == (100, 3)


def test_spectrograms_agree_with_librosa(device):
    waveform = sound(3, SMALL.samples).to(device)
    pictures = clip_spectrograms(waveform, SMALL)
    assert pictures.shape == (3, 1, 23, SMALL.columns) and pictures.device.type == device.type
    for clip, picture in zip(waveform.cpu().numpy(), pictures.cpu().numpy(), strict=True):
        power = librosa.feature.melspectrogram(
            y=clip.astype(np.float64),
            sr=8000,
            n_fft=256,
            win_length=160,
            hop_length=80,
            n_mels=23,
            htk=True,
            norm=None,
            pad_mode="reflect",
        )
        expected = np.log(power + 1e-5)
        expected = (expected - expected.mean()) / expected.std()
        np.testing.assert_allclose(picture[0], expected, atol=1e-4)


def test_the_end_is_kept_on_demand_and_nothing_else_changes():
    waveform = sound(2, 1000)
    settings = {"sample_rate": 8000, "n_fft": 128, "hop": 50, "n_mels": 11}
    short, whole = (log_mel(waveform, **settings, keep_end=keep) for keep in (False, True))
    assert short.shape == (2, 20, 11) and whole.shape == (2, 21, 11)
    assert torch.allclose(short, whole[:, :20], atol=1e-5)


def test_each_clip_is_normalised_by_itself():
    waveform = sound(2, 3, SMALL.samples)
    waveform[0, 1] *= 40.0
    pictures = clip_spectrograms(waveform, SMALL)
    assert pictures.shape == (2, 3, 1, 23, SMALL.columns)
    assert torch.allclose(pictures.mean((-2, -1)), torch.zeros(2, 3, 1), atol=1e-4)
    assert torch.allclose(pictures.std((-2, -1), correction=0), torch.ones(2, 3, 1), atol=1e-4)
    alone = clip_spectrograms(waveform[1], SMALL)
    assert torch.allclose(alone, pictures[1], atol=1e-5)


def test_silence_is_a_picture_of_zeros():
    assert not clip_spectrograms(torch.zeros(1, SMALL.samples), SMALL).any()


def test_low_bands_stand_first_and_time_runs_to_the_right():
    time = torch.arange(SMALL.samples) / 8000
    low = torch.sin(2 * torch.pi * 300 * time) * (time < time[-1] / 2)
    picture = clip_spectrograms(low[None], SMALL)[0, 0]
    assert picture[:, :10].mean(1).argmax() < 7
    assert picture[:, :15].mean() > picture[:, -15:].mean() + 0.5


def test_what_is_no_geometry_or_no_clip_is_refused():
    with pytest.raises(ValueError, match="frames is 0"):
        SpectrogramGeometry(frames=0)
    with pytest.raises(ValueError, match="has 1764 samples, more than n_fft=1024"):
        SpectrogramGeometry(window_seconds=0.04)
    with pytest.raises(ValueError, match=r"expected \(batch, 47040\) samples: 32 frames"):
        clip_spectrograms(torch.zeros(2, 45_599))
    with pytest.raises(ValueError, match="window=300"):
        log_mel(torch.zeros(1, 1000), sample_rate=8000, window=300)
