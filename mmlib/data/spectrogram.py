"""JMT's spectrograms: how many columns a clip of video has, computed from frames and rates."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from mmlib.data.sound import log_mel


@dataclass(frozen=True)
class SpectrogramGeometry:
    """What one clip's spectrogram is made of; the numbers that follow are computed.

    Attributes:
        frames: video frames of a clip; dilation: how many frames of the recording each stands for
            (8 frames dilated by 4 span 32).
        frame_rate: video frames a second.
        sample_rate: sound samples a second.
        n_fft: points of the transform.
        window_seconds, hop_seconds: of the windows.
        n_mels: bands.

    Source:
        JMT, section 4.2: 44.1 kHz, 1024 points, windows of 20 ms every 10 ms, 64 x 107 a clip.

    Choices:
        J-17: 107 columns are 32 frames at 30 a second: 47,040 samples / 441 + 1.

    Raises:
        ValueError: a number that is not positive, or a window longer than the transform.
    """

    frames: int = 8
    dilation: int = 4
    frame_rate: float = 30.0
    sample_rate: int = 44_100
    n_fft: int = 1024
    window_seconds: float = 0.02
    hop_seconds: float = 0.01
    n_mels: int = 64

    def __post_init__(self) -> None:
        """Refuse what is no geometry."""
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} is {value}, expected more than 0.")
        if self.window > self.n_fft:
            raise ValueError(
                f"a window of {self.window_seconds:g} s has {self.window} samples, more than "
                f"n_fft={self.n_fft}; take a longer transform or a shorter window."
            )

    @property
    def window(self) -> int:
        """Count the samples of a window."""
        return round(_exact(self.window_seconds) * self.sample_rate)

    @property
    def hop(self) -> int:
        """Count the samples from one window to the next."""
        return max(1, round(_exact(self.hop_seconds) * self.sample_rate))

    @property
    def samples(self) -> int:
        """Count the samples that a clip's frames span."""
        seconds = self.frames * self.dilation / _exact(self.frame_rate)
        return round(seconds * self.sample_rate)

    @property
    def columns(self) -> int:
        """Count the windows centred on every hop of a clip, from its first sample to its end."""
        return self.samples // self.hop + 1


def clip_spectrograms(waveform: Tensor, geometry: SpectrogramGeometry | None = None) -> Tensor:
    """Make log-power mel spectrograms of clips, as pictures with one channel.

    Each is shifted and scaled to zero mean and unit variance by itself, as the paper normalises.

    Shape:
        - waveform: (..., samples), as many samples as the geometry's clip has
        - returns: (..., 1, n_mels, columns), bands from low to high, time from left to right

    Source:
        JMT, section 4.2, audio.

    Choices:
        J-17: nothing is padded; a clip's sound is as long as its frames.

    Raises:
        ValueError: another number of samples, and as `log_mel`.
    """
    geometry = geometry or SpectrogramGeometry()
    if waveform.dim() < 2 or waveform.shape[-1] != geometry.samples:
        raise ValueError(
            f"sound of shape {tuple(waveform.shape)}, expected (batch, {geometry.samples}) samples: "
            f"{geometry.frames * geometry.dilation} frames at {geometry.frame_rate:g} a second of "
            f"sound at {geometry.sample_rate} Hz. Cut it to the clip, or resample it."
        )
    spectrum = log_mel(
        waveform.reshape(-1, geometry.samples),
        sample_rate=geometry.sample_rate,
        n_fft=geometry.n_fft,
        hop=geometry.hop,
        n_mels=geometry.n_mels,
        window=geometry.window,
        keep_end=True,
    ).mT  # (N, n_mels, columns)
    mean = spectrum.mean((1, 2), keepdim=True)
    deviation = spectrum.std((1, 2), correction=0, keepdim=True)
    # What silence has of spread is rounding: its picture is zero.
    picture = ((spectrum - mean) / deviation).masked_fill(deviation < 1e-4, 0.0)
    return picture.reshape(*waveform.shape[:-1], 1, geometry.n_mels, geometry.columns)


def _exact(number: float) -> Fraction:
    """Read 0.01 as one hundredth and 29.97 as it is written, not as the nearest binary number."""
    return Fraction(str(number))
