"""Pictures of AVT-CA: its graph in three readings with what each part weighs, and how it learns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from mmlib.plots.curves import epochs_of
from mmlib.plots.looks import CEILING, LOOKS, as_array, ink, new_figure, styled
from mmlib.systems import AVTCA, AVTCAConfig

#: What the paper's text, its Algorithm 10 and the released code say where they differ.
READINGS: dict[str, dict[str, Any]] = {
    "text": {"late": "cross", "pool": "max", "merge": "add"},
    "Algorithm 10": {"late": "self", "pool": "max", "merge": "concat"},
    "released code": {
        "second_attention": False,
        "late": "shared",
        "pool": "mean",
        "merge": "concat",
    },
}
LINE, GHOST = "#4D4D4D", "#B5B5B5"


@lru_cache(maxsize=32)
def sizes(config: AVTCAConfig) -> dict[str, int]:
    """Count the parameters of each part, without making any."""
    with torch.device("meta"):
        model = AVTCA(config=config)
    return {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }


def reading(name: str, *, heads: int = 4) -> AVTCAConfig:
    """Give the configuration of one reading at the paper's scale.

    Raises:
        ValueError: there is no such reading.
    """
    if name not in READINGS:
        raise ValueError(f"there is no reading {name!r}; there are {', '.join(READINGS)}.")
    return replace(AVTCAConfig.paper(), num_heads=heads, **READINGS[name])


@styled
def draw_reading(name: str = "Algorithm 10", heads: int | str = 4) -> tuple[Figure, str]:
    """Draw the graph of one reading with the parameters of each part, and describe it.

    Args:
        name: "text", "Algorithm 10" or "released code".
        heads: of every attention; the number of parameters does not depend on it.
    """
    config = reading(name, heads=int(heads))
    weigh = sizes(config)
    figure = new_figure(8.6, 6.0)
    ax = figure.subplots()
    _branch(ax, 0.0, "audio", weigh)
    _branch(ax, 4.4, "vision", weigh)
    _wide(
        ax, 2.0, f"each asks the other, and adds what it was told   {weigh['intermediate']:,}", True
    )
    there = config.second_attention
    told = f"each asks the other once more, and adds   {weigh.get('second', 0):,}"
    _wide(ax, 4.0, told if there else "no second pair of attentions", there)
    words = {
        "self": "each attends to itself, weights of its own",
        "shared": "each attends to itself, one set of weights for both",
        "cross": "each attends to the other",
    }[str(config.late)]
    _wide(ax, 5.0, f"late attention: {words}   {weigh['late']:,}", True)
    merged = "side by side" if config.merge == "concat" else "added"
    _wide(
        ax,
        6.0,
        f"{config.pool} over time, {merged}, one dense layer: 8 logits   {weigh['classifier']:,}",
        True,
        dark=True,
    )
    total = sum(weigh.values())
    ax.set(xlim=(-1.9, 6.3), ylim=(-1.5, 6.5), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    asked = f"{heads} head" + "s" * (config.num_heads != 1)
    ax.set_title(f"{name}: {total:,} parameters, {asked}")
    second = "with" if there else "without"
    alt = (
        f"AVT-CA by {'the ' * name.islower()}{name}, {asked}: {total:,} parameters; {second} a second pair of "
        f"attentions; late: {words}; {config.pool} over time, {merged}."
    )
    return figure, alt


def _branch(ax: Axes, x: float, stream: str, weigh: Mapping[str, int]) -> None:
    """Draw what one stream goes through, from below."""
    kind = LOOKS[stream]
    first = "MFCC, 10 a step" if stream == "audio" else f"visual trunk   {weigh['visual']:,}"
    boxes = (
        (-1.0, stream, kind.color),
        (0.0, first, "#F4F4F4"),
        (1.0, f"2 convolutions   {weigh[f'{stream}_stage1']:,}", "#F4F4F4"),
        (3.0, f"2 convolutions   {weigh[f'{stream}_stage2']:,}", "#F4F4F4"),
    )
    for y, words, fill in boxes:
        box = FancyBboxPatch((x - 1.7, y - 0.3), 3.4, 0.6, boxstyle="round,pad=0,rounding_size=0.1")
        box.set(facecolor=fill, edgecolor=kind.color, linewidth=1.4)
        ax.add_patch(box)
        ax.text(x, y, words, ha="center", va="center", size=9.5, color=ink(fill))
    for y in range(-1, 6):
        arrow = {"arrowstyle": "-|>", "color": LINE, "lw": 1.1}
        ax.annotate("", (x, y + 0.7), (x, y + 0.3), arrowprops=arrow)


def _wide(ax: Axes, y: float, words: str, there: bool, *, dark: bool = False) -> None:
    """Draw a part in which both streams take part; one that is not there has a dashed frame."""
    box = FancyBboxPatch((-1.7, y - 0.3), 7.8, 0.6, boxstyle="round,pad=0,rounding_size=0.1")
    fill = LOOKS["fusion"].color if dark else "#DCE9F2" if there else "white"
    box.set(
        facecolor=fill,
        edgecolor=LOOKS["fusion"].color if there else GHOST,
        linestyle="-" if there else (0, (4, 3)),
        linewidth=1.4,
    )
    ax.add_patch(box)
    ax.text(2.2, y, words, ha="center", va="center", size=9.5, color=ink(fill))


@styled
def learning_panels(
    train: Sequence[pd.DataFrame], valid: Sequence[pd.DataFrame], *, ceiling: float | None = None
) -> Figure:
    """Draw accuracy, macro F1 and loss over the epochs, on what is learnt from and on what is not.

    Args:
        train: a history for each seed, judged on the clips of the training set.
        valid: the same, judged on those of other actors.
        ceiling: the best possible accuracy.

    Raises:
        ValueError: there is no history.
    """
    if not train or not valid:
        raise ValueError("learning_panels needs a history for each seed, of both sets")
    figure = new_figure(9.8, 3.3)
    panels = figure.subplots(1, 3)
    columns = {"accuracy": "valid_accuracy", "macro F1": "valid_macro_f1", "loss": "valid_loss"}
    sets = {"training": (train, LOOKS["fusion"]), "validation": (valid, LOOKS["vision"])}
    for ax, (title, column) in zip(panels, columns.items(), strict=True):
        for name, (runs, kind) in sets.items():
            values = np.stack([run[column].to_numpy() for run in runs])
            epochs = epochs_of(runs[0])
            ax.plot(
                epochs,
                values.mean(0),
                color=kind.color,
                marker=kind.marker,
                ls=kind.linestyle,
                label=name,
            )
            ax.fill_between(epochs, values.min(0), values.max(0), color=kind.color, alpha=0.2, lw=0)
        if title == "accuracy" and ceiling is not None:
            ax.axhline(ceiling, color=CEILING, lw=1.6)
            ax.annotate("ceiling", (epochs[0], ceiling), size=9, color=CEILING, va="bottom")
        ax.set(title=title, xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[2].legend(loc="best")
    return figure


@styled
def credit_strips(credits: Mapping[str, Any]) -> Figure:
    """Draw for each way to pool which share of the gradient each step of one clip gets.

    Args:
        credits: a title -> the share of each step, (T,).

    Raises:
        ValueError: there is nothing to draw.
    """
    if not credits:
        raise ValueError("credit_strips needs at least one row of shares")
    figure = new_figure(7.6, 0.7 + 1.15 * len(credits))
    panels = figure.subplots(len(credits), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, (title, shares) in zip(panels, credits.items(), strict=True):
        values = as_array(shares)
        ax.bar(np.arange(len(values)), values, color=LOOKS["audio"].color, edgecolor="#4D4D4D")
        ax.set_title(title, fontsize=11)
    panels[-1].set_xlabel("step")
    panels[len(panels) // 2].set_ylabel("share of the gradient")
    return figure
