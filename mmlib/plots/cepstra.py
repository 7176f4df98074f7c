"""From a voice to ten numbers a moment: spectrogram, mel bands, and what a cosine transform keeps."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmlib.data.sound import cepstrum
from mmlib.plots.looks import LOOKS, OTHERS, as_array, new_figure, styled
from mmlib.plots.stage import show_mel, show_wave


@styled
def voice_to_cepstra(waveform: Tensor, log_mel: Tensor, mfcc: Tensor, *, rate: int) -> Figure:
    """Draw one voice three times: as a wave, in mel bands, and as cepstral coefficients.

    Args:
        waveform: the voice, (L,).
        log_mel: its bands, (T, bands).
        mfcc: its coefficients, (T, coefficients).
        rate: samples a second.
    """
    seconds = waveform.shape[-1] / rate
    figure = new_figure(8.6, 5.0)
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(0.7, 1.2, 1.0))
    show_wave(above, waveform, seconds)
    show_mel(middle, log_mel, seconds)
    values = as_array(mfcc).T
    spread = values.std(1, keepdims=True) + 1e-9
    scaled = (values - values.mean(1, keepdims=True)) / spread
    below.imshow(
        scaled,
        origin="lower",
        aspect="auto",
        cmap="PuOr",
        vmin=-3,
        vmax=3,
        extent=(0, seconds, -0.5, len(values) - 0.5),
    )
    below.set(xlabel="seconds", ylabel="coefficient")
    below.set_yticks(range(0, len(values), 3))
    below.set_xticks(np.linspace(0, seconds, 5), [f"{s:.1f}" for s in np.linspace(0, seconds, 5)])
    above.set_title(f"{waveform.shape[-1]:,} samples")
    middle.set_title(f"{log_mel.shape[1]} mel bands, {len(log_mel)} steps")
    below.set_title(f"{len(values)} coefficients, {values.shape[1]} steps (each row standardised)")
    middle.set_ylabel("mel band")
    for ax in (above, middle):
        ax.set_xlabel("")
    return figure


def from_cepstrum(coefficients: Tensor, n_mels: int) -> Tensor:
    """Go back to the bands: what the coefficients that were kept still know of a spectrum.

    Shape:
        (..., n_mfcc) -> (..., n_mels)
    """
    basis = cepstrum(torch.eye(n_mels, dtype=coefficients.dtype), coefficients.shape[-1])
    return coefficients @ basis.T


@styled
def what_is_kept(spectrum: Tensor, counts: tuple[int, ...] = (3, 10)) -> Figure:
    """Draw one moment's bands, and what the first few coefficients still know of them.

    Args:
        spectrum: the log-mel bands of one moment, (bands,).
        counts: how many coefficients to keep, a line each.
    """
    figure = new_figure(8.6, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    bands = len(spectrum)
    basis = as_array(cepstrum(torch.eye(bands), 4))
    for order in range(4):
        left.plot(np.arange(bands), basis[:, order] + 0.75 * (3 - order), color="#3D3D3D", ls="-")
        left.text(bands + 0.5, 0.75 * (3 - order), f"c{order}", va="center", size=9.5)
    left.set(xlabel="mel band", title="the first four cosines", yticks=[], xlim=(0, bands + 5))
    right.plot(as_array(spectrum), color="#8C8C8C", ls="-", lw=1.4, marker=".", label="40 bands")
    looks = (OTHERS[2], LOOKS["text"], OTHERS[0])
    for count, kind in zip(counts, looks, strict=False):
        line = as_array(from_cepstrum(cepstrum(spectrum, count), bands))
        right.plot(line, color=kind.color, ls=kind.linestyle, lw=2, label=f"{count} coefficients")
    right.set(xlabel="mel band", ylabel="log power", title="one moment of the voice")
    right.legend(loc="best", fontsize=9)
    return figure


def likeness(features: Tensor) -> float:
    """How much alike neighbouring columns are: the mean absolute correlation of each with the next.

    Shape:
        (N, T, D) -> a number
    """
    rows = as_array(features).reshape(-1, features.shape[-1])
    return float(np.abs(np.diag(np.corrcoef(rows.T), k=1)).mean())
