"""What a stream is to a model: one clip as matrices, and sentences in a box with their padding."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmlib.data.theatre import Clips
from mmlib.plots.looks import as_array, new_figure, panel, styled
from mmlib.plots.stage import show_face, show_mel, show_wave


@styled
def streams(clips: Clips, index: int = 0, *, frames: int = 4) -> Figure:
    """Draw one clip twice: above as a person meets it, below as the matrices that a model gets.

    Time runs to the right in every panel; below, a column is a step and a row a feature.

    Args:
        clips: clips with words, voice and face.
        index: which one.
        frames: how many of its pictures to show.
    """
    clip = clips[index]
    features = clip.features(modalities=("text", "audio", "vision"))
    seconds = clip.waveform.shape[-1] / clip.sample_rate
    words = clip.sentences[0].split()
    units, vectors = features.inputs["vision"][0], features.inputs["text"][0][: len(words)]
    figure = new_figure(9.8, 4.2)
    panels: Any = figure.subplot_mosaic("WFS;MUV", height_ratios=(1, 1.5))
    show_wave(panels["W"], clip.waveform[0], seconds)
    show_mel(panels["M"], clip.log_mel[0], seconds)
    pictures = clip.draw(size=72)[0]
    chosen = torch.linspace(0, len(pictures) - 1, min(frames, len(pictures))).round().long()
    show_face(panels["F"], torch.cat(list(pictures[chosen]), dim=-1))
    panels["F"].set_anchor("N")
    panels["S"].axis("off")
    half = (len(words) + 1) // 2
    sentence = " ".join(words[:half]) + "\n" + " ".join(words[half:])
    panels["S"].text(0.5, 0.5, sentence, ha="center", va="center", size=12, style="italic")
    for key, matrix in (("U", units), ("V", vectors)):
        panels[key].imshow(as_array(matrix).T, aspect="auto", cmap="Greys")
        panels[key].set_yticks([])
    panels["V"].set_xticks(range(len(words)), words, rotation=45, ha="right", size=8)
    panels["M"].set_ylabel("40 bands")
    panels["U"].set(xlabel="frame", ylabel=f"{units.shape[1]} face units")
    panels["V"].set_ylabel(f"{vectors.shape[1]} numbers")
    for key, title in (("W", "voice"), ("F", "face"), ("S", "words")):
        panels[key].set_title(title)
    return figure


@styled
def padded_words(sentences: Sequence[str], mask: Any, *, ax: Axes | None = None) -> Axes:
    """Draw a batch of sentences as the box that it is: words where a step is real, hatching where not.

    Args:
        sentences: as many words in each as its row of the mask has real steps.
        mask: `(B, T)` boolean, True where a step is real; columns without any are left out.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: sentences that do not fit the mask.
    """
    real = as_array(mask).astype(bool)
    words = [sentence.split() for sentence in sentences]
    if [len(row) for row in words] != real.sum(1).tolist():
        raise ValueError(
            f"the sentences have {[len(row) for row in words]} words but the mask has "
            f"{real.sum(1).tolist()} real steps; they must agree"
        )
    steps = int(np.flatnonzero(real.sum(0)).max()) + 1
    ax = panel(ax, 0.7 * steps + 0.2, 0.35 * len(words) + 0.5)
    for row, sentence in enumerate(words):
        rest = iter(sentence)
        for step in range(steps):
            cell = Rectangle((step, row), 1, 1, ec="#8C8C8C", lw=0.8, fc="white", hatch="////")
            if real[row, step]:
                cell.set(facecolor="#DCE9F2", hatch=None)
                ax.text(step + 0.5, row + 0.5, next(rest), ha="center", va="center", size=7.5)
            ax.add_patch(cell)
    ax.set(xlim=(0, steps), ylim=(len(words), 0), xlabel="step", ylabel="clip")
    ax.set_xticks([step + 0.5 for step in range(steps)], [str(step) for step in range(steps)])
    ax.set_yticks([row + 0.5 for row in range(len(words))], [str(row) for row in range(len(words))])
    ax.spines[:].set_visible(False)
    return ax
