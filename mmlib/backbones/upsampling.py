"""WaveRNN's way from a spectrogram, a column a hop, to the clock of the waveform."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two pointwise convolutions with a way around them, and nothing behind the sum.

    Shape:
        - x: (B, width, F) -> the same

    Source:
        torchaudio's WaveRNN, its ResBlock.
    """

    def __init__(self, width: int) -> None:
        """Build both convolutions."""
        super().__init__()
        self.resblock_model = nn.Sequential(
            nn.Conv1d(width, width, 1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Conv1d(width, width, 1, bias=False),
            nn.BatchNorm1d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and add."""
        return self.resblock_model(x) + x


class MelResNet(nn.Module):
    """Read a few frames of the spectrogram at a time: one convolution, then residual blocks.

    Shape:
        - spectrogram: (B, n_freq, F) -> (B, n_output, F - kernel_size + 1)
        - real: (B, F - kernel_size + 1) bool, or None; in training, what is not real touches no
          statistic and gives zeros; of fewer than two real frames no statistic is taken

    Source:
        torchaudio's WaveRNN, its MelResNet.
    """

    def __init__(
        self, *, n_res_block: int, n_freq: int, n_hidden: int, n_output: int, kernel_size: int
    ) -> None:
        """Build the sequence; only its first convolution looks to the sides."""
        super().__init__()
        self.melresnet_model = nn.Sequential(
            nn.Conv1d(n_freq, n_hidden, kernel_size, bias=False),
            nn.BatchNorm1d(n_hidden),
            nn.ReLU(inplace=True),
            *(ResidualBlock(n_hidden) for _ in range(n_res_block)),
            nn.Conv1d(n_hidden, n_output, 1),
        )

    def forward(self, spectrogram: Tensor, real: Tensor | None = None) -> Tensor:
        """Convolve; see the class."""
        if real is None or not self.training:
            return self.melresnet_model(spectrogram)
        if int(real.sum()) < 2:  # no spread to measure: what was learnt before serves
            self.melresnet_model.eval()
            try:
                return self.melresnet_model(spectrogram).masked_fill(~real[:, None], 0.0)
            finally:
                self.melresnet_model.train()
        first, rest = self.melresnet_model[0], self.melresnet_model[1:]
        # All that follows is pointwise, so the real frames may stand in one row.
        some = rest(first(spectrogram).transpose(1, 2)[real].T[None])[0].T
        out = some.new_zeros(*real.shape, some.shape[1])
        out[real] = some
        return out.transpose(1, 2)


class Repeat(nn.Module):
    """Repeat each step `times` times along the last axis.

    Shape:
        - x: (..., T) -> (..., times * T)
    """

    def __init__(self, times: int) -> None:
        """Remember how often."""
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Repeat."""
        return x.repeat_interleave(self.times, dim=-1)


class Upsampling(nn.Module):
    """Bring the spectrogram to the waveform's clock, and say of each frame what stands around it.

    Shape:
        - spectrogram: (B, n_freq, F) -> upsampled (B, n_freq, S), S = (F - kernel_size + 1) * hop;
          and auxiliary (B, n_output, F - kernel_size + 1), a step a frame: the reference repeats
          each `hop` times, which is left to whoever reads them

    Source:
        torchaudio's WaveRNN, its UpsampleNetwork.
    """

    def __init__(
        self,
        *,
        upsample_scales: Sequence[int],
        n_res_block: int,
        n_freq: int,
        n_hidden: int,
        n_output: int,
        kernel_size: int,
    ) -> None:
        """Build the residual network, and a smoothing convolution behind each repetition."""
        super().__init__()
        self.cut = (kernel_size - 1) // 2 * math.prod(upsample_scales)
        self.resnet = MelResNet(
            n_res_block=n_res_block,
            n_freq=n_freq,
            n_hidden=n_hidden,
            n_output=n_output,
            kernel_size=kernel_size,
        )
        layers: list[nn.Module] = []
        for scale in upsample_scales:
            smooth = nn.Conv2d(1, 1, (1, 2 * scale + 1), padding=(0, scale), bias=False)
            nn.init.constant_(smooth.weight, 1.0 / (2 * scale + 1))  # begins as a moving average
            layers += [Repeat(scale), smooth]
        self.upsample_layers = nn.Sequential(*layers)

    def forward(self, spectrogram: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Upsample and look around; see the class."""
        upsampled = self.upsample_layers(spectrogram[:, None])[:, 0]
        return upsampled[..., self.cut : -self.cut or None], self.resnet(spectrogram, real)
