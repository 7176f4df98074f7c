"""A clip of the theatre whose feelings drift: faces, voice, valence and arousal on one clock."""

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmlib.data.theatre import Clips
from mmlib.plots.looks import CEILING, LOOKS, OTHERS, Look, as_array, new_figure, styled
from mmlib.plots.points import valence_arousal_plane
from mmlib.plots.stage import show_face, show_mel

#: How the two numbers look in every figure.
TARGETS = {"valence": OTHERS[0], "arousal": OTHERS[2]}


def look_of(target: str, stream: str) -> Look:
    """Return the look of one of the two numbers as a stream tells it: its line, the stream's marks."""
    return replace(TARGETS[target], marker=LOOKS[stream].marker, hatch=LOOKS[stream].hatch)


@styled
def trace_stage(clips: Clips, index: int, *, faces: int = 8) -> Figure:
    """Draw what a camera and a microphone get of one clip, and what was felt.

    Dotted lines part its pieces; on the right the way from piece to piece on the plane.

    Args:
        clips: clips whose labels are traces.
        index: which one.
        faces: in how many pieces of equal length; the first picture of each is shown.

    Raises:
        ValueError: clips without traces.
    """
    clip = clips[index]
    if clip.labels is None or clip.labels.ndim != 3:
        raise ValueError("these clips have no traces; make them with theatre.make('jmt')")
    felt = as_array(clip.labels[0])
    steps = len(felt)
    chosen = np.arange(faces) * steps // faces
    figure = new_figure(9.8, 5.0)
    parts: Any = figure.subfigures(1, 2, width_ratios=(2.1, 1))
    left, right = parts
    grid = left.add_gridspec(4, 1, height_ratios=(1.0, 0.9, 0.75, 0.75))
    strip = left.add_subplot(grid[0])
    pictures = clip.draw(size=72)[0][chosen]
    show_face(strip, pictures.permute(1, 2, 0, 3).flatten(2))
    strip.set_aspect("auto")
    mel = left.add_subplot(grid[1])
    show_mel(mel, clip.log_mel[0], steps)
    mel.set(xlabel="", xticks=[], ylabel="voice")
    strip.set_ylabel("face")
    for row, (name, kind) in enumerate(TARGETS.items()):
        ax = left.add_subplot(grid[2 + row])
        ax.plot(felt[:, row], color=kind.color, ls="-", lw=1.8)
        ax.axhline(0, color="#B8B8B8", lw=0.8, ls="-", zorder=0)
        for place in range(0, steps, steps // faces):
            ax.axvline(place, color="#8C8C8C", lw=0.7, ls=":", zorder=0)
        reach = max(1.0, float(np.abs(felt).max()) * 1.05)
        ax.set(xlim=(0, steps), ylim=(-reach, reach), ylabel=name, xticks=range(0, steps + 1, 8))
        if row == 0:
            ax.set_xticklabels([])
        else:
            ax.set_xlabel("step")
    plane = right.add_subplot()
    pieces = np.stack([part.mean(0) for part in np.array_split(felt, faces)])
    title = f"the means of its {faces} pieces"
    valence_arousal_plane(pieces[None], emotions=True, title=title, ax=plane)
    return figure


@styled
def feature_bars(
    rows: dict[str, tuple[Any, Any]],
    *,
    ceilings: dict[str, tuple[float, float]],
    streams: dict[str, str],
) -> Figure:
    """Draw concordances of several readings of a voice and a face, a mark a seed, with ceilings.

    Args:
        rows: a name for each reading -> its concordances for valence and for arousal, one a seed.
        ceilings: stream -> the best possible for valence and for arousal.
        streams: the stream of each reading.
    """
    figure = new_figure(9.0, 0.42 * len(rows) + 1.2)
    panels = figure.subplots(1, 2, sharey=True)
    for column, (ax, target) in enumerate(zip(panels, TARGETS, strict=True)):
        for place, (name, values) in enumerate(rows.items()):
            kind = LOOKS[streams[name]]
            scores = np.atleast_1d(as_array(values[column]))
            ax.barh(
                place, scores.mean(), color=kind.color, hatch=kind.hatch, ec="white", height=0.6
            )
            ax.plot(scores, [place] * len(scores), "|", ms=11, mew=1.6, color="black")
            best = ceilings[streams[name]][column]
            ax.plot([best, best], [place - 0.42, place + 0.42], color=CEILING, lw=2, ls="-")
            ax.text(1.07, place, f"{scores.mean():.2f}", va="center", size=9.5)
        ax.text(1.07, -0.75, "mean", va="center", size=8.5, color="#4D4D4D")
        ax.set(xlim=(-0.05, 1.22), title=target, xlabel="CCC; ticks: seeds, red: ceiling")
        ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
        ax.axvline(0, color="#4D4D4D", lw=0.9, ls="-")
    panels[0].set_yticks(range(len(rows)), list(rows))
    panels[0].set_ylim(len(rows) - 0.4, -0.95)
    return figure
