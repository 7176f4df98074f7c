"""WaveRNN: a vocoder that reads a waveform sample by sample, here an extractor of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmlib.backbones.public import load_strictly, read_weights
from mmlib.backbones.upsampling import Upsampling
from mmlib.layers import all_real, check_mask

#: Its last layer, which tells the next sample's level: no emotion is in it.
HEAD = "fc3."
#: Pooled steps that are computed at once: what lies between them is never held for a whole clip.
STEPS_AT_ONCE = 5
#: Numbers of the last state of a batch from which on they are computed anew on the way back: with all
#: that stands before them, about a GB.
HELD = 2**24


class Pooled(NamedTuple):
    """What a pool makes of a long sequence: features (B, steps, D), and mask (B, steps) bool."""

    features: Tensor
    mask: Tensor


class WaveRNNFeaturePool(nn.Module):
    """Average a state per sample over stretches of equal length, so that few steps are left.

    47,200 samples of 512 numbers are 97 MB a clip; attention over them is out of reach. The stretches
    depend on `samples` alone, not on how long a batch is, so that padding does not move them.

    Args:
        samples: of the longest clip.
        max_steps: that it becomes, at most.

    Shape:
        - state: (B, S, D), S at most `samples`; mask: (B, S) bool, True where a sample is real
        - returns: `Pooled`: (B, ceil(S / size), D), the mean over a stretch's real samples and zero
          where there are none, and which steps have one

    Source:
        Crossmodal + EmbraceNet, section 4.1.2, whose 47,200 vectors of 512 numbers a clip it makes
        few enough for attention.

    Choices:
        E-15: chunked means to 50 steps at most, where the paper keeps a vector for each sample.

    Raises:
        ValueError: more samples than `samples`, or a mask of another shape.
    """

    def __init__(self, *, samples: int = 47_200, max_steps: int = 50) -> None:
        """Settle how many samples are a step."""
        super().__init__()
        if samples < 1 or max_steps < 1:
            raise ValueError(
                f"samples={samples} and max_steps={max_steps}; expected at least 1 of each."
            )
        self.samples, self.max_steps = samples, max_steps
        self.size = math.ceil(samples / max_steps)

    def forward(self, state: Tensor, mask: Tensor | None = None) -> Pooled:
        """Average; see the class."""
        if mask is None:
            mask = all_real(state)
        counts = self.counts(mask)
        missing = -state.shape[1] % self.size
        real = state.masked_fill(~mask[..., None], 0.0)
        sums = nn.functional.pad(real, (0, 0, 0, missing)).unflatten(1, (-1, self.size)).sum(2)
        return Pooled(sums / counts.clamp(min=1)[..., None].to(sums.dtype), counts > 0)

    def mask(self, mask: Tensor) -> Tensor:
        """Say which steps have a real sample: (B, S) bool -> (B, ceil(S / size)) bool."""
        return self.counts(mask) > 0

    def counts(self, mask: Tensor) -> Tensor:
        """Count the real samples of each step: (B, S) bool -> (B, ceil(S / size)) int64."""
        if mask.dim() != 2 or mask.dtype != torch.bool or mask.shape[1] > self.samples:
            raise ValueError(
                f"the samples' mask is {mask.dtype} of shape {tuple(mask.shape)}, expected bool "
                f"(batch, samples) of at most {self.samples} samples; cut the sound, or build with "
                "a larger n_time."
            )
        padded = nn.functional.pad(mask, (0, -mask.shape[1] % self.size))
        return padded.unflatten(1, (-1, self.size)).sum(2)


class WaveRNN(nn.Module):
    """WaveRNN with the names of the public checkpoint; the defaults are the paper's settings.

    It was made to tell the next sample from those before: here it is given the true ones, all at
    once, and what it holds before its last layer is taken as the features of a sound.

    Args:
        upsample_scales: their product is the hop.
        n_classes: levels of a sample that the last layer tells apart.
        hop_length: samples from one frame of the spectrogram to the next.
        n_res_block, n_hidden, n_output: blocks, inner and outer width of the residual network that
            reads the spectrogram; n_output is cut into four equal parts.
        n_rnn, n_fc: widths of both GRUs, and of the layers behind them.
        kernel_size: frames that it looks at together; odd.
        n_freq: bands of the spectrogram.
        n_time: frames of the longest spectrogram; only `features` asks.
        max_steps: that `features` makes of a clip of `n_time` frames.

    Shape:
        - called: waveform (B, 1, S) in [-1, 1] and spectrogram (B, 1, n_freq, F), with
          S = (F - kernel_size + 1) * hop_length, -> logits (B, 1, S, n_classes)
        - `state`: the same -> (B, S, n_fc)
        - `features`: the same, with mask (B, S) bool or None -> (B, steps, n_fc), zero where
          `pool.mask(mask)` is False; at most `max_steps` steps

    Source:
        Kalchbrenner et al. (2018) by way of torchaudio's arrangement; crossmodal + EmbraceNet,
        section 4.1.2: hop 200, kernel 5, 240 frames, so 47,200 samples of 512 numbers.

    Choices:
        E-15: `features` pools. E-16: `n_time` is a parameter; 47,200 samples are 2.95 s at 16 kHz,
        and 40 % of MELD's utterances are longer. E-17: the only public weights (LJSpeech) are of
        another hop, other bands and another rate: `ljspeech()` builds for them, and they do not
        load into the paper's settings. E-18: it is a vocoder, no recogniser; the paper's
        audio-only result is nearly always the most frequent class.

    Raises:
        ValueError: scales whose product is not the hop, or sounds and spectrograms that do not
            belong together.
    """

    def __init__(
        self,
        upsample_scales: Sequence[int] = (5, 5, 8),
        n_classes: int = 512,
        hop_length: int = 200,
        n_res_block: int = 10,
        n_rnn: int = 512,
        n_fc: int = 512,
        kernel_size: int = 5,
        n_freq: int = 128,
        n_hidden: int = 128,
        n_output: int = 128,
        *,
        n_time: int = 240,
        max_steps: int = 50,
    ) -> None:
        """Build it; see the class."""
        super().__init__()
        if math.prod(upsample_scales) != hop_length:
            raise ValueError(
                f"upsample_scales={tuple(upsample_scales)} multiply to {math.prod(upsample_scales)}, "
                f"but hop_length is {hop_length}; each frame must become as many samples as a hop has."
            )
        if kernel_size % 2 == 0 or n_output % 4 or n_time < kernel_size:
            raise ValueError(
                f"kernel_size={kernel_size}, n_output={n_output}, n_time={n_time}: expected an odd "
                "kernel, outputs in four equal parts, and no fewer frames than the kernel has."
            )
        self.hop_length, self.kernel_size, self.n_freq = hop_length, kernel_size, n_freq
        self.feature_dim, self.samples = n_fc, (n_time - kernel_size + 1) * hop_length
        part = n_output // 4
        self.upsample = Upsampling(
            upsample_scales=upsample_scales,
            n_res_block=n_res_block,
            n_freq=n_freq,
            n_hidden=n_hidden,
            n_output=n_output,
            kernel_size=kernel_size,
        )
        self.fc = nn.Linear(1 + n_freq + part, n_rnn)
        self.rnn1 = nn.GRU(n_rnn, n_rnn, batch_first=True)
        self.rnn2 = nn.GRU(n_rnn + part, n_rnn, batch_first=True)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.fc1 = nn.Linear(n_rnn + part, n_fc)
        self.fc2 = nn.Linear(n_fc + part, n_fc)
        self.fc3 = nn.Linear(n_fc, n_classes)
        self.pool = WaveRNNFeaturePool(samples=self.samples, max_steps=max_steps)

    @classmethod
    def ljspeech(cls, *, n_time: int = 240) -> Self:
        """Build for the one public file: 22,050 Hz, hop 275, 80 bands, 256 levels."""
        return cls((5, 5, 11), 256, 275, n_freq=80, n_time=n_time)

    def forward(self, waveform: Tensor, spectrogram: Tensor) -> Tensor:
        """Tell the next sample's logits; see the class."""
        return self.fc3(self.state(waveform, spectrogram))[:, None]

    def state(self, waveform: Tensor, spectrogram: Tensor) -> Tensor:
        """Make what stands before the last layer, for each sample."""
        self._check(waveform, spectrogram, None)
        upsampled, auxiliary = self.upsample(spectrogram[:, 0])
        around = auxiliary.repeat_interleave(self.hop_length, dim=2)
        return self._run(waveform[:, 0], upsampled, around, None, None)[0]

    def features(self, waveform: Tensor, spectrogram: Tensor, mask: Tensor | None = None) -> Tensor:
        """Make few vectors of each sound, a stretch at a time; see the class.

        Without gradients nothing per sample outlives its stretch; with them, what a stretch of a
        large batch needs is computed again on the way back, so that memory grows with a stretch and
        not with a clip.
        """
        self._check(waveform, spectrogram, mask)
        sound = waveform[:, 0]
        mask = all_real(sound) if mask is None else mask
        counts = self.pool.counts(mask)
        real = mask.unflatten(1, (-1, self.hop_length)).any(2) if self.training else None
        upsampled, auxiliary = self.upsample(spectrogram[:, 0], real)
        first: Tensor | None = None
        second: Tensor | None = None
        pooled = []
        for start in range(0, sound.shape[1], self.pool.size * STEPS_AT_ONCE):
            end = min(start + self.pool.size * STEPS_AT_ONCE, sound.shape[1])
            given = (sound, upsampled, auxiliary, mask, first, second, start, end)
            if torch.is_grad_enabled() and sound.numel() * self.feature_dim > HELD:
                part, first, second = checkpoint(self._stretch, *given, use_reentrant=False)
            else:
                part, first, second = self._stretch(*given)
            pooled.append(part)
        means = torch.cat(pooled, dim=1)
        return means.masked_fill((counts == 0)[..., None], 0.0)

    def _stretch(
        self,
        sound: Tensor,
        upsampled: Tensor,
        auxiliary: Tensor,
        mask: Tensor,
        first: Tensor | None,
        second: Tensor | None,
        start: int,
        end: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read on from where the GRUs stand, and pool."""
        frame = torch.arange(start, end, device=sound.device) // self.hop_length
        state, first, second = self._run(
            sound[:, start:end], upsampled[..., start:end], auxiliary[..., frame], first, second
        )
        return self.pool(state, mask[:, start:end]).features, first, second

    def _run(
        self,
        sound: Tensor,
        upsampled: Tensor,
        around: Tensor,
        first: Tensor | None,
        second: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read samples (B, S) beside (B, n_freq, S) and (B, n_output, S), from given states on."""
        a1, a2, a3, a4 = around.transpose(1, 2).chunk(4, dim=2)
        x = self.fc(torch.cat([sound[..., None], upsampled.transpose(1, 2), a1], dim=2))
        heard, first = self.rnn1(x, first)
        x = heard + x
        heard, second = self.rnn2(torch.cat([x, a2], dim=2), second)
        x = heard + x
        x = self.relu1(self.fc1(torch.cat([x, a3], dim=2)))
        return self.relu2(self.fc2(torch.cat([x, a4], dim=2))), first, second

    def load_public(self, path: str | Path, *, head: bool = True) -> Self:
        """Load a public file, all of it or nothing; with `head=False` all but the last layer.

        Raises:
            PretrainedError: no such file, one that holds more than tensors, or other weights.
        """
        load_strictly(self, read_weights(path), head=head, source=path, last=HEAD)
        return self

    def _check(self, waveform: Tensor, spectrogram: Tensor, mask: Tensor | None) -> None:
        """Refuse, in one sentence, what cannot work."""
        sound, picture = tuple(waveform.shape), tuple(spectrogram.shape)
        if len(sound) != 3 or sound[1] != 1 or len(picture) != 4 or picture[1] != 1:
            raise ValueError(
                f"a waveform of shape {sound} and a spectrogram of {picture}, expected (batch, 1, "
                f"samples) and (batch, 1, {self.n_freq}, frames)."
            )
        samples = (picture[3] - self.kernel_size + 1) * self.hop_length
        if picture[2] != self.n_freq or samples <= 0 or sound != (picture[0], 1, samples):
            raise ValueError(
                f"a waveform of shape {sound} beside a spectrogram of {picture}: expected "
                f"{self.n_freq} bands, and (frames - {self.kernel_size} + 1) * {self.hop_length} "
                f"samples, so {max(samples, 0)} here."
            )
        check_mask(waveform[:, 0], mask, "the waveform")
