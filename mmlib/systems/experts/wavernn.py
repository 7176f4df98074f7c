"""The expert of sound: WaveRNN on a waveform and its spectrogram, and a classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlib.backbones.published import weights_file
from mmlib.backbones.wavernn import WaveRNN
from mmlib.data.feature_set import FeatureSet
from mmlib.data.sound import log_mel, resample
from mmlib.layers import masked_mean
from mmlib.systems.experts.output import Classifier, Recognised, only_stream, refuse_misfit, span_of
from mmlib.systems.scales import at_scale

#: What the one public file was trained on; it loads into nothing else (E-17).
LJSPEECH: dict[str, Any] = {
    "sample_rate": 22_050,
    "spectrogram_rate": 22_050,
    "upsample_scales": (5, 5, 11),
    "n_classes": 256,
    "n_res_block": 10,
    "n_rnn": 512,
    "n_fc": 512,
    "n_freq": 80,
    "n_hidden": 128,
    "n_output": 128,
    "n_time": 241,
    "window": 1100,
    "n_fft": 2048,
    "f_min": 40.0,
    "f_max": 11_025.0,
}
_DECIBELS = 10 / math.log(10)
#: Decoded sound passes full scale a little where it was loud before it was compressed.
_LOUDEST = 2.0


@dataclass(frozen=True)
class WaveRNNExpertConfig:
    """What the expert of sound is made of and how it is trained.

    Attributes:
        streams: the one stream that it reads.
        weights: the public file, or its name "ljspeech"; None: it begins at random.
        block: samples in a step of the data; input_rate: samples a second there.
        sample_rate: of the waveform that the network reads; spectrogram_rate: of the sound that its
            spectrogram is made of. Other sound is resampled.
        upsample_scales, n_classes, n_res_block, n_rnn, n_fc, kernel_size, n_freq, n_hidden,
            n_output, n_time: of `WaveRNN`; the scales' product is the hop.
        max_steps: that its states are pooled to, at most (E-15).
        window, n_fft, f_min, f_max: of the spectrogram, in samples at its rate, and in Hz.
        head_dim: between the classifier's two layers.
        num_classes: emotions.
        epochs, batch_size, learning_rate, weight_decay: how it is trained by default.
    """

    streams: tuple[str] = ("audio",)
    weights: str | None = None
    block: int = 200
    input_rate: int = 16_000
    sample_rate: int = 16_000
    spectrogram_rate: int = 16_000
    upsample_scales: tuple[int, ...] = (5, 5, 8)
    n_classes: int = 512
    n_res_block: int = 10
    n_rnn: int = 512
    n_fc: int = 512
    kernel_size: int = 5
    n_freq: int = 128
    n_hidden: int = 128
    n_output: int = 128
    n_time: int = 240
    max_steps: int = 50
    window: int = 400
    n_fft: int = 2048
    f_min: float = 0.0
    f_max: float | None = None
    head_dim: int = 256
    num_classes: int = 7
    epochs: int = 10
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        """Refuse rates that do not fit together."""
        if self.hop * self.spectrogram_rate % self.sample_rate:
            raise ValueError(
                f"{self.hop} samples at {self.sample_rate} Hz are no whole number at "
                f"{self.spectrogram_rate} Hz, so the spectrogram would drift from the waveform; "
                "choose other scales or another rate."
            )

    @property
    def hop(self) -> int:
        """Count the waveform's samples from one frame of the spectrogram to the next."""
        return math.prod(self.upsample_scales)

    @property
    def spectrogram_hop(self) -> int:
        """Count the same in samples of the sound that the spectrogram is made of."""
        return self.hop * self.spectrogram_rate // self.sample_rate

    @property
    def least_hops(self) -> int:
        """Count the hops of the shortest sound whose spectrogram can be made: half a transform's.

        Silence stands on both sides, and counts.
        """
        return max(
            1, math.ceil((self.n_fft // 2 + 1) / self.spectrogram_hop) - self.kernel_size + 1
        )

    @classmethod
    def paper(cls) -> Self:
        """Give the paper's numbers; it begins at random, since no public weights fit them (E-17).

        The paper names neither the window of its spectrogram nor how this expert was trained.
        """
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Give the same architecture narrow, on a waveform of 1 kHz: a GRU's steps take their time.

        That leaves of a voice its melody; the spectrogram, 40 frames a second, has the rest.
        """
        return cls(
            sample_rate=1000,
            upsample_scales=(5, 5),
            n_classes=16,
            n_res_block=2,
            n_rnn=32,
            n_fc=32,
            n_freq=40,
            n_hidden=32,
            n_output=32,
            n_time=122,
            n_fft=1024,
            head_dim=32,
            epochs=15,
            batch_size=64,
            learning_rate=2e-3,
        )

    @classmethod
    def for_dataset(
        cls, dataset: FeatureSet, scale: str = "small", *, weights: str | None = None
    ) -> Self:
        """Take block, length and classes from the data.

        Args:
            dataset: with a waveform at 16 kHz in blocks, as `prepare --dataset meld` writes it.
            scale: "small" or "paper".
            weights: "ljspeech", or that file; the network is then the file's, whatever the scale.

        Raises:
            ValueError: no waveform (features, say), labels that are no classes, or an unknown scale.
        """
        config = at_scale(cls, scale)
        refuse_misfit("wavernn", "audio", dataset)
        _refuse_features(dataset, config.block)
        config = replace(config, block=dataset.widths["audio"], num_classes=dataset.num_outputs)
        if weights is not None:
            config = replace(config, weights=weights, **LJSPEECH)
        samples = dataset.lengths["audio"] * config.block
        rate = config.spectrogram_rate
        hops = math.ceil(samples * rate / (config.input_rate * config.spectrogram_hop))
        frames = max(hops, config.least_hops) + config.kernel_size - 1
        return replace(config, n_time=min(config.n_time, frames))


class WaveRNNExpert(nn.Module):
    """The expert of sound: a vocoder's states, pooled, and two layers that tell the emotion.

    Only as much sound as `n_time` frames stand for is heard; what is longer is cut (E-16).

    Shape:
        - audio: (B, T, block), the waveform in [-1, 1], a block a step; masks["audio"]: (B, T) bool
        - returns: a `Recognised`: logits (B, C), embedding (B, n_fc)
        - `features`: (B, steps, n_fc) and mask (B, steps), at most `max_steps` steps

    Source:
        Crossmodal + EmbraceNet, section 4.1.2, Figure 3.

    Choices:
        E-15: pooled states. E-16: `n_time`. E-17: the public weights are of another hop, rate and
        number of bands; with them, sound is resampled to theirs, and the spectrogram is in decibels
        below full scale from 0 (100 below) to 1, near to what they saw, not equal. E-18: a vocoder;
        do not expect much. E-33: a ReLU between the classifier's layers.

    Raises:
        ValueError: audio is missing, or in other blocks.
        PretrainedError: the weights cannot be had, or are others.
    """

    raw_streams = ("audio",)

    def __init__(self, *, config: WaveRNNExpertConfig) -> None:
        """Build the network, with the public weights where the config names them."""
        super().__init__()
        self.config = config
        self.network = WaveRNN(
            config.upsample_scales,
            config.n_classes,
            config.hop,
            config.n_res_block,
            config.n_rnn,
            config.n_fc,
            config.kernel_size,
            config.n_freq,
            config.n_hidden,
            config.n_output,
            n_time=config.n_time,
            max_steps=config.max_steps,
        )
        if config.weights is not None:
            self.network.load_public(weights_file(config.weights))
        self.network.fc3.requires_grad_(False)  # tells the next sample, which nobody asks for
        self.classify = Classifier(
            in_dim=config.n_fc, hidden_dim=config.head_dim, num_classes=config.num_classes
        )

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Recognised:
        """Listen, and tell the emotion; see the class."""
        embedding = masked_mean(*self.features(masks=masks, **inputs))
        return Recognised(self.classify(embedding), embedding)

    def features(
        self, *, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Give the pooled states before WaveRNN's last layer, and which of them are real."""
        waveform, picture, real = self.heard(*only_stream("wavernn", "audio", inputs, masks))
        waveform, picture = (x.to(self.network.fc.weight.dtype) for x in (waveform, picture))
        return self.network.features(waveform, picture, real), self.network.pool.mask(real)

    @torch.no_grad()
    def heard(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make what WaveRNN reads, in full precision: half of it would hiss louder than a whisper.

        Shape:
            returns: waveform (B, 1, S), spectrogram (B, 1, n_freq, F), and what is real (B, S) bool
        """
        config = self.config
        with torch.autocast(audio.device.type, enabled=False):
            sound, real = self.sound(audio.float(), mask)
            picture = self.spectrogram(sound)
            waveform = resample(sound, config.spectrogram_rate, config.sample_rate)
        real = real[:, _nearest(waveform, config.sample_rate, config.spectrogram_rate)]
        return waveform.masked_fill(~real, 0.0)[:, None], picture, real

    def sound(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Join the blocks to the sound that is heard, cut or filled up with silence to whole hops.

        Shape:
            returns: sound (B, S) at `spectrogram_rate`, zero where not real, and (B, S) bool
        """
        config = self.config
        if audio.dim() != 3 or audio.shape[2] != config.block:
            raise ValueError(
                f"audio of shape {tuple(audio.shape)}, expected (batch, steps, {config.block}): the "
                "waveform, so many samples a step."
            )
        sound = audio.masked_fill(~mask[..., None], 0.0).flatten(1)
        sound = resample(sound, config.input_rate, config.spectrogram_rate)
        step = _nearest(sound, config.spectrogram_rate, config.input_rate) // config.block
        real = mask[:, step]
        sound = sound.masked_fill(~real, 0.0)
        hop = config.spectrogram_hop
        hops = max(math.ceil(sound.shape[1] / hop), config.least_hops)
        missing = hop * min(hops, config.n_time - config.kernel_size + 1) - sound.shape[1]
        return F.pad(sound, (0, missing)), F.pad(real, (0, missing))

    def spectrogram(self, sound: Tensor) -> Tensor:
        """Make the spectrogram that WaveRNN reads beside the waveform, in [0, 1].

        Shape:
            sound: (B, S), S in whole hops; returns: (B, 1, n_freq, S / hop + kernel_size - 1)
        """
        config = self.config
        around = (config.kernel_size - 1) // 2 * config.spectrogram_hop
        loudest = (config.window / 4) ** 2  # the power of a sine of full scale in a Hann window
        spectrum = log_mel(
            F.pad(sound, (around, around)),
            sample_rate=config.spectrogram_rate,
            n_fft=config.n_fft,
            hop=config.spectrogram_hop,
            n_mels=config.n_freq,
            f_min=config.f_min,
            f_max=config.f_max,
            floor=1e-10 * loudest,
            window=config.window,
        )
        decibels = _DECIBELS * (spectrum - math.log(loudest))
        return (1 + decibels / 100).clamp(0, 1).mT[:, None]


def _refuse_features(dataset: FeatureSet, block: int) -> None:
    """Refuse an audio stream that holds something else than sound: features, tokens, integers.

    Nothing but the name tells sound from numbers, so this asks what sound in blocks always has:
    floats, blocks of whole hops, and values about [-1, 1].
    """
    audio = dataset.inputs["audio"]
    expected = (
        f"the waveform at 16 kHz, (samples, blocks, {block}), as prepare --dataset meld writes it"
    )
    shape = tuple(audio.shape)
    if shape[2] % block or not audio.dtype.is_floating_point:
        kind = str(audio.dtype).removeprefix("torch.")
        raise ValueError(
            f"wavernn reads {expected}, but audio of {dataset.name} is {kind} of shape {shape}."
        )
    low, high = span_of(dataset, "audio")
    if not max(-low, high) <= _LOUDEST:
        raise ValueError(
            f"wavernn reads {expected}, in [-1, 1], but audio of {dataset.name} goes from {low:.4g} to "
            f"{high:.4g}: features, or sound as whole numbers, which is to be divided by 32768."
        )


def _nearest(sound: Tensor, rate: int, other: int) -> Tensor:
    """Tell for each sample of a sound which one of another rate it stands at."""
    return torch.arange(sound.shape[1], device=sound.device) * other // rate
