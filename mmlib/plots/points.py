"""Points on a plane: a t-SNE map of an embedding, and the plane of valence and arousal."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from mmlib.data.theatre.emotions import COORDINATES, EMOTIONS
from mmlib.plots.inputs import class_indices, numbers
from mmlib.plots.looks import LOOKS, Look, distinct_looks, panel, styled


@styled
def tsne_map(
    embedding: Any,
    labels: Any,
    names: Sequence[str],
    *,
    perplexity: float | None = None,
    seed: int = 0,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw samples by t-SNE: those near in the embedding stand near in the map.

    Which samples are neighbours means something; distances between groups and their sizes do not.

    Args:
        embedding: one row a sample, (N, D).
        labels: the class of each sample, (N,).
        names: a name for each class.
        perplexity: about how many neighbours each sample has; by default 30, or a third of the
            samples where there are fewer than 91.
        seed: of t-SNE; it matters little, since the map starts from the two principal components.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: embedding and labels do not fit, or there is nothing to map.
    """
    rows = numbers(embedding, "tsne_map's embedding")
    if rows.ndim != 2:
        raise ValueError(
            f"tsne_map draws one row a sample, (N, D), but got shape {rows.shape}; "
            "pool the time steps first, or flatten what is behind the first axis"
        )
    classes = class_indices(labels, names)
    if len(classes) != len(rows):
        raise ValueError(f"{len(rows)} rows, but {len(classes)} labels; give one label a row")
    places, used = _tsne(rows, perplexity, seed)
    ax = panel(ax, 6.4, 4.6)
    for index, (name, kind) in enumerate(zip(names, distinct_looks(names), strict=True)):
        if (classes == index).any():
            scatter(ax, places[classes == index], kind, name)
    ax.set(xticks=[], yticks=[], title=title)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel(f"t-SNE, perplexity {used:.3g}: who is near whom", fontsize=9.5)
    ax.spines[:].set_visible(True)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _tsne(rows: np.ndarray, perplexity: float | None, seed: int) -> tuple[np.ndarray, float]:
    """Return the map `(N, 2)` and the perplexity that was used."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    count, width = rows.shape
    if count < 4 or width < 2:
        raise ValueError(
            f"t-SNE needs at least 4 samples of at least 2 features, but got {rows.shape}; "
            "draw so few as they are"
        )
    if (rows == rows[0]).all():
        raise ValueError(f"all {count} rows are the same, so that no one is nearer than another")
    used = min(30.0, (count - 1) / 3) if perplexity is None else float(perplexity)
    if not 1 <= used < count:
        raise ValueError(
            f"perplexity {used:g} for {count} samples; it counts neighbours: at least 1, less than {count}"
        )
    method = TSNE(2, init="pca", perplexity=used, random_state=seed)
    with threadpool_limits(1):  # several threads add up in another order each time
        return method.fit_transform(rows.astype(np.float32)), used


def scatter(ax: Axes, places: np.ndarray, kind: Look, label: str) -> None:
    """Draw the points of one class."""
    ax.scatter(
        places[:, 0],
        places[:, 1],
        s=34,
        marker=kind.marker,
        color=kind.color,
        edgecolor="white",
        linewidth=0.35,
        label=label,
    )


@styled
def valence_arousal_plane(
    points: Any,
    *,
    names: Sequence[str] | None = None,
    labels: Any = None,
    emotions: bool = False,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw points or trajectories on the plane of valence (to the right) and arousal (upwards).

    The square is [-1, 1] in both; what lies outside is drawn outside.

    Args:
        points: points `(N, 2)`, or trajectories: `(K, T, 2)`, or a list of `(T, 2)` of any lengths.
            A trajectory begins at the open ring and ends at its marker.
        names: a name for each point or trajectory; with `labels`, for each class.
        labels: the class of each point, (N,).
        emotions: whether to write where the theatre's emotions lie.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: the points are not pairs of numbers, or names and labels do not fit.
    """
    paths, single = _paths(points)
    count = len(paths[0]) if single else len(paths)
    if labels is not None and (names is None or not single):
        raise ValueError("labels are for points (N, 2) and need names, one a class")
    if labels is None and names is not None and len(names) != count:
        kind_of = "points" if single else "trajectories"
        raise ValueError(f"{len(names)} names for {count} {kind_of}; give one for each")
    ax = panel(ax, 5.4, 5.0)
    _plane(ax, emotions)
    if not single:
        _trajectories(ax, paths, names)
    elif labels is not None:
        classes = class_indices(labels, names or ())
        if len(classes) != count:
            raise ValueError(f"{count} points, but {len(classes)} labels; give one label a point")
        for index, (name, kind) in enumerate(
            zip(names or (), distinct_looks(names or ()), strict=True)
        ):
            if (classes == index).any():
                scatter(ax, paths[0][classes == index], kind, name)
    else:
        scatter(ax, paths[0], LOOKS["fusion"], "")
        for place, name in zip(paths[0], names or (), strict=False):
            right = place[0] > 0.4  # there the name would leave the panel
            ax.annotate(
                name,
                place,
                xytext=(-5 if right else 5, 4),
                textcoords="offset points",
                ha="right" if right else "left",
                size=9.5,
            )
    if names is not None and (labels is not None or not single):
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    reach = 1.08 * max(1.0, *(float(np.abs(path).max()) for path in paths))
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set(xlabel="valence", ylabel="arousal", title=title)
    return ax


def _paths(points: Any) -> tuple[list[np.ndarray], bool]:
    """Return a list of paths `(T, 2)`, and whether it is one cloud of points instead."""
    example = "give points (N, 2), trajectories (K, T, 2), or a list of trajectories (T, 2)"
    if isinstance(points, list | tuple) and len({np.shape(each) for each in points}) > 1:
        paths = [numbers(each, f"trajectory {i}") for i, each in enumerate(points)]
        single = False
    else:
        if isinstance(points, list | tuple):
            points = [numbers(each, f"entry {i} of the points") for i, each in enumerate(points)]
        array = numbers(points, "valence_arousal_plane's points")
        single = array.ndim == 2
        paths = [array] if single else list(array)
    for path in paths:
        if path.ndim != 2 or path.shape[1] != 2:
            raise ValueError(
                f"valence and arousal are two numbers, but got shape {path.shape}; {example}"
            )
    return paths, single


def _plane(ax: Axes, emotions: bool) -> None:
    """Draw the square, the circle and the two axes, and the theatre's emotions if asked."""
    ax.axhline(0, color="#B8B8B8", lw=0.9, ls="-", zorder=0)
    ax.axvline(0, color="#B8B8B8", lw=0.9, ls="-", zorder=0)
    ax.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], color="#B8B8B8", lw=0.9, ls="-", zorder=0)
    ax.add_patch(Circle((0, 0), 1, fill=False, ec="#D9D9D9", lw=0.9, zorder=0))
    if emotions:
        for name, place in zip(EMOTIONS, COORDINATES[:, :2], strict=True):
            gaps = place - COORDINATES[:, :2]
            crowded = ((abs(gaps[:, 0]) < 0.4) & (gaps[:, 1] > 0) & (gaps[:, 1] < 0.2)).any()
            ax.plot(*place, ls="", marker="+", ms=6, color="#6E6E6E", zorder=1)
            ax.annotate(
                name,
                place,
                xytext=(0, 4 if crowded else -4),
                textcoords="offset points",
                ha="center",
                va="bottom" if crowded else "top",
                size=9,
                color="#4D4D4D",
                style="italic",
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
                zorder=4,
            )


def _trajectories(ax: Axes, paths: Sequence[np.ndarray], names: Sequence[str] | None) -> None:
    """Draw each path as a line from an open ring to a marker."""
    words = list(names) if names is not None else [f"path {i}" for i in range(len(paths))]
    for path, name, kind in zip(paths, words, distinct_looks(words), strict=True):
        ax.plot(*path.T, color=kind.color, ls=kind.linestyle, lw=1.6)
        ax.plot(*path[0], marker="o", ms=7, mfc="white", mec=kind.color, mew=1.6, ls="")
        ax.plot(*path[-1], marker=kind.marker, ms=8, color=kind.color, mec="white", ls="")
        ax.plot([], [], color=kind.color, ls=kind.linestyle, marker=kind.marker, label=name)
