"""Sound at another rate: what both rates can hold stays, what the lower one cannot is gone."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from mmlib.data.sound import resample


def tone(hertz: float, rate: int, count: int = 4000) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(count, dtype=torch.float64) / rate)[None]


@pytest.mark.parametrize("after", [1000, 4000, 11_025, 22_050, 16_000])
def test_a_low_tone_is_the_same_tone_at_any_rate(after, device):
    found = resample(tone(300, 16_000).to(device), 16_000, after).cpu()
    assert found.shape == (1, -(-4000 * after // 16_000))
    inside = slice(after // 20, -(after // 20))
    expected = tone(300, after, found.shape[1])
    assert torch.allclose(found[:, inside], expected[:, inside], atol=1e-3)


@pytest.mark.parametrize("hertz", [2100, 3000, 7900])
def test_what_the_lower_rate_cannot_hold_is_gone_not_folded_down(hertz):
    found = resample(tone(hertz, 16_000), 16_000, 4000)
    assert found[:, 100:-100].abs().max() < 2e-2
    assert tone(hertz, 16_000)[:, ::4].abs().max() > 0.8  # as leaving samples out would


def test_noise_agrees_with_scipys():
    low = resample_poly(np.random.default_rng(0).normal(size=(2, 300)), 8, 1, axis=1)[:, :2000]
    ours = resample(torch.from_numpy(low), 16_000, 22_050).numpy()
    theirs = resample_poly(low, 441, 320, axis=1)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs)[:, 50:-50].max() < 0.02 * np.abs(theirs).max()


def test_silence_behind_a_sound_changes_nothing_of_it():
    sound = torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
    longer = torch.nn.functional.pad(sound, (0, 300))
    one, other = (resample(x, 16_000, 1000) for x in (sound, longer))
    assert torch.allclose(one, other[:, : one.shape[1]], atol=1e-6)
    assert resample(sound.half(), 16_000, 16_000).dtype == torch.float16


def test_what_is_no_waveform_is_refused():
    with pytest.raises(ValueError, match="expected"):
        resample(torch.zeros(5), 16_000, 8000)
    with pytest.raises(ValueError, match="rates above 0"):
        resample(torch.zeros(1, 5), 16_000, 0)
