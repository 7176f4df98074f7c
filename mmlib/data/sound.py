"""What a network hears: log-mel spectrograms and cepstra by a short-time Fourier transform.

A waveform is cut into overlapping windows; the power at each frequency is pooled by triangles that
stand closer together at low pitch, as hearing does; a logarithm makes loudness ratios into
differences. Everything is a few lines of torch, so it runs where the waveform lies.
"""

import functools
import math

import torch
from torch import Tensor

from mmlib.data.threads import one_thread

#: Waveforms are transformed this many at a time: their spectra then stay in a processor's cache.
CHUNK = 32


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """The HTK mel scale, 2595 log10(1 + f / 700)."""
    return 2595.0 * torch.log10(1.0 + hertz / 700.0)


def mel_to_hertz(mel: Tensor) -> Tensor:
    """The inverse of `hertz_to_mel`."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@functools.lru_cache(maxsize=32)
def mel_filters(
    sample_rate: int, n_fft: int, n_mels: int, f_min: float = 0.0, f_max: float | None = None
) -> Tensor:
    """Triangles of height one, evenly spaced and half overlapping on the mel scale.

    *Shape*: (n_mels, n_fft // 2 + 1), float32.

    *Raises*: ValueError where the frequency range is empty or above half the sample rate, or where
    a triangle falls between two frequencies of the transform and would hear nothing.
    """
    f_max = sample_rate / 2 if f_max is None else f_max
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(
            f"filters need 0 <= f_min < f_max <= {sample_rate / 2:g} Hz (half the sample rate), "
            f"got f_min={f_min:g}, f_max={f_max:g}"
        )
    ends = hertz_to_mel(torch.tensor([f_min, f_max], dtype=torch.float64))
    corners = mel_to_hertz(
        ends[0] + (ends[1] - ends[0]) * torch.arange(n_mels + 2, dtype=torch.float64) / (n_mels + 1)
    )
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    rising = (frequency - left) / (centre - left)
    falling = (right - frequency) / (right - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    empty = (filters.sum(dim=1) == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"mel filters {empty} are narrower than the {sample_rate / n_fft:g} Hz between two "
            f"frequencies of the transform; use fewer than n_mels={n_mels} or a larger n_fft"
        )
    return filters.float()


@functools.lru_cache(maxsize=8)
def _resampling_kernel(up: int, down: int, crossings: int = 16, rolloff: float = 0.95) -> Tensor:
    """Windowed sincs, one for each of `up` places between `down` samples; (up, 1, width), float32."""
    cutoff = rolloff * min(up, down)
    reach = math.ceil(crossings * down / cutoff)
    tap = torch.arange(-reach, reach + down, dtype=torch.float64) / down
    place = torch.arange(up, dtype=torch.float64)[:, None] / up
    phase = ((tap - place) * cutoff).clamp(-crossings, crossings)
    taper = torch.cos(phase * (math.pi / (2 * crossings))).square()
    return (torch.sinc(phase) * taper * (cutoff / down)).float()[:, None]


def resample(waveform: Tensor, before: int, after: int) -> Tensor:
    """Bring a waveform from one sample rate to another, without what the lower one cannot hold.

    A windowed sinc of 16 zero crossings a side; what lies beyond both ends counts as silence.

    *Shape*: (N, L) -> (N, ceil(L * after / before)), on the waveform's device and of its dtype.

    *Raises*: ValueError for another shape, or a rate that is not positive.
    """
    if waveform.dim() != 2 or before < 1 or after < 1:
        raise ValueError(
            f"a waveform of shape {tuple(waveform.shape)} from {before} to {after} Hz; expected "
            "(batch, samples) and rates above 0"
        )
    common = math.gcd(before, after)
    up, down = after // common, before // common
    if up == down:
        return waveform
    kernel = _resampling_kernel(up, down).to(waveform)
    reach = (kernel.shape[2] - down) // 2
    padded = torch.nn.functional.pad(waveform, (reach, reach + down))
    places = torch.nn.functional.conv1d(padded[:, None], kernel, stride=down)  # (N, up, L / down)
    return places.transpose(1, 2).flatten(1)[:, : -(-waveform.shape[1] * up // down)]


def check_waveform(waveform: Tensor, n_fft: int) -> None:
    """Raise a ValueError unless `waveform` is (N, L), real, finite and longer than half a window."""
    if waveform.dim() != 2:
        raise ValueError(
            f"a waveform has shape (batch, samples), got {tuple(waveform.shape)}; "
            "add a batch dimension with waveform[None], or take one channel"
        )
    if not waveform.is_floating_point():
        raise ValueError(
            f"a waveform holds floating-point samples in [-1, 1], got {waveform.dtype}; "
            "divide integer samples by their largest value first"
        )
    if waveform.shape[1] <= n_fft // 2:
        raise ValueError(
            f"a waveform of {waveform.shape[1]} samples is too short for windows of {n_fft}; "
            f"give more than {n_fft // 2} samples or a smaller n_fft"
        )
    if not bool(torch.isfinite(waveform).all()):
        where = (~torch.isfinite(waveform)).nonzero()[0].tolist()
        raise ValueError(
            f"a waveform must be finite, found NaN or infinity at (clip, sample) {where}"
        )


@one_thread()
def log_mel(
    waveform: Tensor,
    *,
    sample_rate: int,
    n_fft: int = 256,
    hop: int = 64,
    n_mels: int = 40,
    f_min: float = 0.0,
    f_max: float | None = None,
    floor: float = 1e-5,
    window: int | None = None,
    keep_end: bool = False,
) -> Tensor:
    """The natural logarithm of the mel power spectrum, `log(power + floor)`.

    Windows are Hann windows of `window` samples (None: `n_fft`), padded with zeros to `n_fft` and
    centred on every `hop`-th sample, the ends mirrored. The settings are librosa's
    `melspectrogram(htk=True, norm=None, pad_mode="reflect")`; the one frame centred on the very end
    of the waveform is dropped unless `keep_end`, so the number of steps is exactly
    `samples // hop`: 8,192 samples give 128 steps.

    *Shape*: `waveform` (N, L) -> (N, L // hop, n_mels), with `keep_end` (N, L // hop + 1, n_mels), on
    the waveform's device, float32.

    *Source*: the HTK mel scale, 2595 log10(1 + f / 700).

    *Raises*: ValueError for a wrong shape or dtype, a NaN, a waveform no longer than half a window,
    a window longer than `n_fft`, and filters too narrow to hear anything.
    """
    check_waveform(waveform, n_fft)
    length = n_fft if window is None else window
    if not 1 <= length <= n_fft:
        raise ValueError(f"a window has 1 to n_fft={n_fft} samples, got window={window}")
    filters = mel_filters(sample_rate, n_fft, n_mels, f_min, f_max).to(waveform.device)
    taper = torch.hann_window(length, device=waveform.device)
    steps = waveform.shape[1] // hop + keep_end
    result = waveform.new_empty(len(waveform), steps, n_mels, dtype=torch.float32)
    for start in range(0, len(waveform), CHUNK):
        part = waveform[start : start + CHUNK].float()
        whole = torch.stft(part, n_fft, hop, length, window=taper, return_complex=True)
        spectrum = whole[..., :steps]
        power = spectrum.real.square() + spectrum.imag.square()  # (n, frequencies, steps)
        result[start : start + CHUNK] = (power.transpose(1, 2) @ filters.T).add_(floor).log_()
    return result


def cepstrum(log_spectrum: Tensor, n_mfcc: int) -> Tensor:
    """The first `n_mfcc` coefficients of the orthonormal cosine transform of the last dimension.

    *Shape*: (..., n_mels) -> (..., n_mfcc).

    *Raises*: ValueError where more coefficients are asked for than there are mel bands.
    """
    n_mels = log_spectrum.shape[-1]
    if not 1 <= n_mfcc <= n_mels:
        raise ValueError(f"{n_mels} mel bands give 1 to {n_mels} coefficients, got n_mfcc={n_mfcc}")
    band = torch.arange(n_mels, dtype=torch.float64) + 0.5
    order = torch.arange(n_mfcc, dtype=torch.float64)
    basis = torch.cos(math.pi / n_mels * band[:, None] * order) * math.sqrt(2 / n_mels)
    basis[:, 0] /= math.sqrt(2)  # makes the constant as long as the cosines
    return log_spectrum @ basis.to(log_spectrum)


@one_thread()
def mfcc(
    waveform: Tensor,
    *,
    sample_rate: int,
    n_mfcc: int = 13,
    n_fft: int = 256,
    hop: int = 64,
    n_mels: int = 40,
    f_min: float = 0.0,
    f_max: float | None = None,
    floor: float = 1e-5,
) -> Tensor:
    """Mel-frequency cepstral coefficients: the cosine transform of `log_mel` over its bands.

    Unlike librosa, which takes decibels and cuts what lies 80 dB below the loudest moment, this
    keeps the natural logarithm of `log_mel`, so that a clip's coefficients depend on it alone.

    *Shape*: `waveform` (N, L) -> (N, L // hop, n_mfcc), on the waveform's device, float32.

    *Raises*: as `log_mel`; ValueError where `n_mfcc` exceeds `n_mels`.
    """
    spectrum = log_mel(
        waveform,
        sample_rate=sample_rate,
        n_fft=n_fft,
        hop=hop,
        n_mels=n_mels,
        f_min=f_min,
        f_max=f_max,
        floor=floor,
    )
    return cepstrum(spectrum, n_mfcc)
