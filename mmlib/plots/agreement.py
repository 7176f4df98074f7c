"""How well a guess agrees with a trace: what bias, scale and noise do to r and to concordance."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmlib.metrics import concordance, pearson
from mmlib.plots.looks import (
    LOOKS,
    OTHERS,
    Look,
    as_array,
    distinct_looks,
    new_figure,
    panel,
    styled,
)

STEPS = 64


@functools.cache
def truth_and_noise() -> tuple[np.ndarray, np.ndarray]:
    """Draw one trace and one noise, both of mean 0 and deviation .5, without correlation.

    So r of `scale * (truth + noise * draws) + bias` is `1 / sqrt(1 + noise^2)`, whatever the rest.

    Shape:
        - returns: (STEPS,) each
    """
    rng = np.random.default_rng(10)
    truth = np.zeros(STEPS)
    for step in range(1, STEPS):
        truth[step] = 0.92 * truth[step - 1] + 0.39 * rng.standard_normal()
    truth -= truth.mean()
    noise = rng.standard_normal(STEPS)
    noise -= noise.mean()
    noise -= truth * (noise @ truth) / (truth @ truth)
    return 0.5 * truth / truth.std(), 0.5 * noise / noise.std()


@styled
def draw_agreement(bias: float = 0.0, scale: float = 1.0, noise: float = 0.5) -> tuple[Figure, str]:
    """Draw a trace and a guess of it over time and against each other, with r and CCC.

    Args:
        bias: what is added to the guess.
        scale: what the guess is multiplied by.
        noise: the deviation of the guess's errors, as a multiple of the trace's own.
    """
    truth, draws = truth_and_noise()
    guess = scale * (truth + noise * draws) + bias
    r, ccc = pearson(guess, truth), concordance(guess, truth)
    figure = new_figure(4.9, 4.1)
    panels: Any = figure.subplot_mosaic("TT;SB", height_ratios=(1, 1.25))
    true, guessed = LOOKS["fusion"], OTHERS[3]
    time, plane, bars = panels["T"], panels["S"], panels["B"]
    time.plot(truth, color=true.color, ls="-", lw=2, label="truth")
    time.plot(guess, color=guessed.color, ls="--", lw=1.4, label="guess")
    time.set(xlim=(0, STEPS - 1), ylim=(-2, 2), yticks=(-1, 0, 1), xlabel="step")
    time.set_title(f"bias {bias:+.1f}  scale {scale:.1f}  noise {noise:.1f}", fontsize=9.5)
    where = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.97), "borderaxespad": 0}
    time.legend(ncols=2, fontsize=8.5, handlelength=1.6, columnspacing=1.0, **where)
    plane.plot([-2, 2], [-2, 2], color="#8C8C8C", ls="-", lw=1)
    plane.scatter(truth, guess, s=14, marker=guessed.marker, color=guessed.color, lw=0)
    plane.set(xlim=(-2, 2), ylim=(-2, 2), xlabel="truth", ylabel="guess", aspect="equal")
    for row, (value, kind) in enumerate(
        ((r, Look("#9A9A9A", "", "//", "-")), (ccc, replace(guessed, hatch="")))
    ):
        bars.barh(row, value, color=kind.color, hatch=kind.hatch, edgecolor="white", height=0.55)
        bars.text(max(value, 0) + 0.03, row, f"{value:.2f}", va="center", fontsize=10)
    bars.axvline(0, color="#4D4D4D", lw=0.9, ls="-")
    bars.set(xlim=(min(0.0, ccc, r), 1.25), ylim=(1.6, -0.6), xticks=(0, 0.5, 1))
    bars.set_yticks([0, 1], ["r", "CCC"])
    alt = (
        f"A trace and a guess with bias {bias:+.1f}, scale {scale:.1f} and noise {noise:.1f}: "
        f"Pearson's r {r:.2f}, concordance {ccc:.2f}."
    )
    return figure, alt


@styled
def scores_over(
    x: Any,
    curves: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str = "CCC",
    best: bool = True,
    marks: Mapping[str, float] | None = None,
    looks: Mapping[str, Look] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw scores over a setting, a line each, with a ring round the best of each.

    Args:
        x: the settings, (K,).
        curves: a name for each line -> its scores, (K,).
        xlabel: what the settings are.
        ylabel: what the scores are.
        best: whether to mark the highest score of each line.
        marks: a word for a dotted vertical line -> its place.
        looks: the look of each line; by default no two alike.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.
    """
    places = as_array(x)
    ax = panel(ax, 6.6, 3.2)
    kinds = looks or dict(zip(curves, distinct_looks(list(curves)), strict=True))
    for name, scores in curves.items():
        heights, kind = as_array(scores), kinds[name]
        line = ax.plot(places, heights, color=kind.color, ls=kind.linestyle, lw=1.8, label=name)[0]
        line.set(marker=kind.marker, markersize=4, markevery=max(1, len(heights) // 9))
        if best:
            top = int(heights.argmax())
            ax.plot(places[top], heights[top], kind.marker, ms=9, mec="black", color=kind.color)
    for word, place in (marks or {}).items():
        ax.axvline(place, color="#6E6E6E", lw=1, ls=":")
        ax.annotate(
            word,
            (place, 0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            size=8.5,
        )
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@styled
def batch_scores(scores: Mapping[str, Any], *, whole: float, title: str = "") -> Figure:
    """Draw the concordances of many batches, a row for each size of batch.

    Args:
        scores: a name for each size -> the concordance of each batch.
        whole: the concordance of everything together; a dashed line.
        title: what is shown.
    """
    figure = new_figure(7.4, 0.95 * len(scores) + 0.9)
    panels = figure.subplots(len(scores), 1, sharex=True, squeeze=False)[:, 0]
    every = np.concatenate([as_array(each) for each in scores.values()])
    bins = np.linspace(min(every.min(), 0.0), 1.0, 60).tolist()
    for ax, (name, values), kind in zip(
        panels, scores.items(), distinct_looks(list(scores)), strict=True
    ):
        ax.hist(as_array(values), bins=bins, color=kind.color, hatch=kind.hatch, ec="white", lw=0.3)
        ax.axvline(whole, color="black", ls="--", lw=1.4)
        ax.axvline(float(as_array(values).mean()), color=kind.color, ls="-", lw=2)
        ax.set(yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        ax.spines["left"].set_visible(False)
    panels[0].set_title(title)
    panels[-1].set_xlabel("CCC of a batch; solid: their mean, dashed: CCC of all together")
    return figure
