"""Conversations in pictures: a dialogue with what a model says of each turn, the model, its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from mmlib.data.theatre import Clips
from mmlib.plots.bars import grouped_bars
from mmlib.plots.inputs import named, numbers
from mmlib.plots.looks import (
    CEILING,
    LOOKS,
    as_array,
    ink,
    new_figure,
    panel,
    styled,
)
from mmlib.plots.stage import show_face
from mmlib.plots.words import name_bars

LINE = "#4D4D4D"
RIGHT, WRONG = "#00664B", CEILING
#: Where the columns of a dialogue begin, from 0 to 10: who and what, what is felt, what is said of it.
COLUMNS = {"says": 0.75, "felt": 6.1, "model": 7.7}


@styled
def dialogue_panel(turns: Clips, beliefs: Any, *, title: str = "") -> Figure:
    """Draw a dialogue from above to below: face, sentence, what is felt, and what a model says.

    The model's emotion of each turn has a tick where it is right and a cross where it is wrong, and
    beside it how probable the model holds it.

    Args:
        turns: the turns of one dialogue, in order.
        beliefs: what the model holds probable, one row a turn, (N, C).
        title: what is shown.

    Raises:
        ValueError: not one row a turn, or turns of several dialogues.
    """
    probable = numbers(beliefs, "dialogue_panel's beliefs")
    names = turns.class_names or ()
    if probable.shape != (len(turns), len(names)):
        raise ValueError(
            f"beliefs have shape {probable.shape}, expected {(len(turns), len(names))}: one row a "
            "turn, one column an emotion"
        )
    if len(set(turns.group)) != 1:
        raise ValueError("dialogue_panel draws one dialogue; give the turns of one group")
    figure = new_figure(9.6, 0.44 * len(turns) + 0.75, tight=True)
    ax = figure.subplots()
    faces = turns.draw(size=64)[:, turns.script.num_frames // 2]
    first = int(turns.actor[0])
    heads = ("who says what", "felt", "the model says")
    for name, x in zip(heads, COLUMNS.values(), strict=True):
        ax.text(x, -0.75, name, size=9.5, va="center", color=LINE, style="italic")
    for row, (sentence, label, actor) in enumerate(
        zip(turns.sentences, turns.labels.tolist(), turns.actor.tolist(), strict=True)
    ):
        mine = actor == first
        small = ax.inset_axes(
            (0.02 if mine else 0.32, row - 0.46, 0.36, 0.92), transform=ax.transData
        )
        show_face(small, faces[row])
        ax.text(
            COLUMNS["says"], row, _short(sentence, 62), size=9.5, va="center",
            weight="bold" if mine else "normal", family="DejaVu Sans",
        )  # fmt: skip
        ax.text(COLUMNS["felt"], row, names[label], size=10, va="center")
        said = int(probable[row].argmax())
        good = said == label
        color = RIGHT if good else WRONG
        words = f"{'✓' if good else '✗'} {names[said]}"
        ax.text(COLUMNS["model"], row, words, size=10, va="center", color=color, weight="bold")
        share = float(probable[row, said])
        ax.add_patch(
            FancyBboxPatch((9.15, row - 0.14), 0.72 * share, 0.28, boxstyle="square,pad=0",
                           facecolor=color, edgecolor="none", alpha=0.75)
        )  # fmt: skip
        ax.text(9.92, row, f"{share:.2f}".lstrip("0"), size=9, va="center")
        if row:
            ax.axhline(row - 0.5, color="#E3E3E3", lw=0.7, ls="-")
    ax.set(xlim=(0, 10.3), ylim=(len(turns) - 0.45, -1.1), xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
    return figure


def _short(sentence: str, letters: int) -> str:
    return sentence if len(sentence) <= letters else sentence[: letters - 1].rstrip() + "…"


def describe_dialogue(turns: Clips, beliefs: Tensor, title: str) -> str:
    """Say in words what `dialogue_panel` shows."""
    names = turns.class_names or ()
    said = as_array(beliefs).argmax(1)
    told = "; ".join(
        f"turn {row + 1} feels {names[label]}, the model says {names[guess]}"
        for row, (label, guess) in enumerate(zip(turns.labels.tolist(), said, strict=True))
    )
    right = int((said == as_array(turns.labels)).sum())
    return f"{title}: {right} of {len(turns)} turns right. {told[:1].upper()}{told[1:]}."


@styled
def fusion_map(ax: Axes | None = None) -> Axes:
    """Draw the crossmodal EmbraceNet from below to above: six directions, three products, one draw."""
    ax = panel(ax, 9.2, 5.0)
    streams = {"text": 0.0, "audio": 3.4, "vision": 6.8}
    experts = {"text": "GPT", "audio": "WaveRNN", "vision": "FaceNet + GRU"}
    for name, x in streams.items():
        color = LOOKS[name].color
        _box(ax, x, 0.0, f"{name}: {experts[name]}", color, wide=1.45, filled=True)
        others = [other for other in streams if other != name]
        for place, other in zip((x - 0.8, x + 0.8), others, strict=True):
            _box(ax, place, 1.6, f"{other}\n→ {name}", color, wide=0.68, high=0.42)
            _arrow(ax, (x, 0.32), (place, 1.16))
            _arrow(ax, (streams[other], 0.32), (place, 1.16), dashed=True)
            _arrow(ax, (place, 2.04), (x, 2.52))
        _box(ax, x, 2.8, "⊙  then the mean", color, wide=1.25)
        _arrow(ax, (x, 3.12), (x, 3.46))
        _box(ax, x, 3.76, "docking: 256", color, wide=1.25)
        _arrow(ax, (x, 4.06), (x, 4.4))
    wide = FancyBboxPatch((-1.5, 4.4), 9.8, 0.6, boxstyle="round,pad=0,rounding_size=0.12")
    wide.set(facecolor=LOOKS["fusion"].color, edgecolor=LOOKS["fusion"].color)
    ax.add_patch(wide)
    words = "embracement: each of 256 features from one stream, drawn by chance"
    ax.text(3.4, 4.7, words, ha="center", va="center", size=10.5, color="white")
    _arrow(ax, (3.4, 5.0), (3.4, 5.34))
    _box(ax, 3.4, 5.64, "seven emotions", LINE, wide=1.45)
    ax.set(xlim=(-1.7, 8.5), ylim=(-0.45, 6.05), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _box(
    ax: Axes,
    x: float,
    y: float,
    words: str,
    color: str,
    *,
    wide: float,
    high: float = 0.3,
    filled: bool = False,
) -> None:
    box = FancyBboxPatch(
        (x - wide, y - high), 2 * wide, 2 * high, boxstyle="round,pad=0,rounding_size=0.12"
    )
    box.set(facecolor=color if filled else "white", edgecolor=color, linewidth=1.6)
    ax.add_patch(box)
    shade = ink(color) if filled else "black"
    ax.text(x, y, words, ha="center", va="center", size=9.5, color=shade, linespacing=1.15)


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], *, dashed: bool = False
) -> None:
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0,
        color="#9A9A9A" if dashed else LINE, lw=0.9 if dashed else 1.2, ls="--" if dashed else "-",
        zorder=0,
    )  # fmt: skip
    ax.add_patch(arrow)


@styled
def share_bars(
    counts: Mapping[str, Any], names: Sequence[str], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw which share of each data set every class has: a group of bars a class.

    Args:
        counts: data set -> how often it has each class, (C,).
        names: a name for each class.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: counts that are not one number a class.
    """
    shares = {}
    for name, given in named(counts, "share_bars", '{"train": [4710, 1743]}').items():
        values = numbers(given, f"the counts of {name!r}")
        if values.shape != (len(names),):
            raise ValueError(
                f"{len(names)} names, but the counts of {name!r} have shape {values.shape}; give "
                "one number a class"
            )
        shares[name] = values / values.sum()
    ax = panel(ax, 9.0, 3.0)
    grouped_bars(ax, shares, "{:.1%}")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    top = max(float(values.max()) for values in shares.values())
    ax.set(ylim=(0, 1.25 * top), ylabel="share of the utterances", title=title)
    name_bars(ax, list(names))
    return ax


@styled
def next_sample(waveform: Any, guess: Any, *, start: int, length: int, rate: int) -> Figure:
    """Draw a stretch of sound beside what was guessed of each sample from those before it.

    Args:
        waveform: one clip, (L,).
        guess: of each sample, (L,).
        start: the first sample that is drawn.
        length: how many are drawn.
        rate: samples in a second.

    Raises:
        ValueError: a guess of another length than the sound.
    """
    wave = numbers(waveform, "next_sample's waveform").reshape(-1)
    said = numbers(guess, "next_sample's guess").reshape(-1)
    if wave.shape != said.shape:
        raise ValueError(f"{len(wave)} samples, but {len(said)} guesses; give one for each")
    part = slice(start, start + length)
    time = 1000 * np.arange(len(wave))[part] / rate
    figure = new_figure(9.0, 2.6)
    ax = figure.subplots()
    ax.plot(time, wave[part], color=LOOKS["audio"].color, ls="-", lw=1.8, label="the sound")
    ax.plot(
        time, said[part], color=LOOKS["fusion"].color, ls=":", lw=1.3, marker=".", ms=4,
        label="guessed from the\neight samples before",
    )  # fmt: skip
    ax.set(xlabel="milliseconds", yticks=[], title="The next sample follows from the last few")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
