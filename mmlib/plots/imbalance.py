"""What happens to each metric when one class outnumbers the others: a picture and exact numbers.

Two models that need no training are judged on any mixture of classes: one always names the largest
class, the other is right equally often in every class. Nothing is sampled.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmlib.plots.looks import LOOKS, OTHERS, Look, new_figure, panel, styled

NAMES = ("neutral", "joy", "surprise", "anger", "sadness", "fear", "disgust")
LINE = 0.045  # the height of a name beside a mosaic of height one
MODELS = {"majority": OTHERS[2], "fair": LOOKS["text"]}


def joint_table(shares: Sequence[float], skill: float | None) -> np.ndarray:
    """Give the probability of each pair of true class (row) and named class (column).

    Args:
        shares: how frequent each class is, at least two, one in sum.
        skill: how often the fair model is right, in every class alike; its mistakes fall evenly on
            the other classes. None for the majority model, which always names the largest class.

    Shape:
        returns: `(C, C)`, one in sum.

    Raises:
        ValueError: shares that are no distribution over two classes or more, or a skill beyond 0 to 1.
    """
    mixture = np.asarray(shares, dtype=float)
    if (
        mixture.ndim != 1
        or len(mixture) < 2
        or (mixture < 0).any()
        or abs(mixture.sum() - 1) > 1e-9
    ):
        raise ValueError(
            f"the shares {tuple(shares)} are no distribution; give two or more, none negative, "
            "which sum to one"
        )
    count = len(mixture)
    if skill is None:
        named = np.zeros((count, count))
        named[:, int((mixture > mixture.max() - 1e-9).argmax())] = 1.0  # of equals, the first
        return mixture[:, None] * named
    if not 0 <= skill <= 1:
        raise ValueError(
            f"skill is the share of right answers, between 0 and 1; it came as {skill}"
        )
    others = np.full((count, count), (1 - skill) / (count - 1))
    np.fill_diagonal(others, skill)
    return mixture[:, None] * others


def expected_scores(table: np.ndarray) -> dict[str, float]:
    """Compute the four metrics from a table of probabilities in the place of counts.

    Shape:
        table: `(C, C)`, rows are the true classes, each of which occurs.

    Choices:
        E-01, E-03: as in `mmlib.metrics.classification_report`.
    """
    right, support, named = table.diagonal(), table.sum(1), table.sum(0)
    f1 = 2 * right / (support + named)
    return {
        "accuracy": float(right.sum() / table.sum()),
        "balanced accuracy": float((right / support).mean()),
        "macro F1": float(f1.mean()),
        "weighted F1": float((support * f1).sum() / support.sum()),
    }


@styled
def mosaic(
    table: np.ndarray,
    names: Sequence[str],
    *,
    kind: Look = LOOKS["fusion"],
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a confusion matrix whose rows are as tall as their class is frequent.

    Each row is divided by what the model says: the filled part is right, the white parts are mistakes,
    each with the name that was given where there is room for it. So the filled *area* is the accuracy,
    and the mean filled *width* is the balanced accuracy.

    Args:
        table: `(C, C)` counts or probabilities, rows are the true classes.
        names: a label for each class.
        kind: the colour and hatch of what is right.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: names that do not fit the table.
    """
    if table.shape != (len(names), len(names)):
        raise ValueError(f"{len(names)} names for a table of shape {table.shape}; give one a class")
    ax = panel(ax, 3.6, 3.4)
    shares = table.sum(1) / table.sum()
    top = 0.0
    for row, share in enumerate(shares):
        order = [row, *(column for column in range(len(names)) if column != row)]
        left = 0.0
        for column in order:
            width = table[row, column] / table[row].sum() if table[row].sum() else 0.0
            is_right = column == row
            if width == 0:
                continue
            ax.add_patch(
                Rectangle(
                    (left, top),
                    width,
                    share,
                    facecolor=kind.color if is_right else "white",
                    edgecolor="#4D4D4D",
                    linewidth=0.7,
                )
            )
            if not is_right and width > 0.5 and share > 0.05:
                said = f"says “{names[column]}”"
                ax.text(left + width / 2, top + share / 2, said, ha="center", va="center", size=8.5)
            left += width
        top += share
    for name, height in zip(names, _label_heights(shares), strict=True):
        if not np.isnan(height):
            ax.text(-0.02, height, name, ha="right", va="center", size=9)
    ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[0, 0.5, 1], yticks=[], title=title)
    ax.set_xlabel("share of the class that is right (filled)", size=9)
    ax.tick_params(labelsize=8)
    ax.spines[:].set_visible(False)
    return ax


def _label_heights(shares: np.ndarray) -> np.ndarray:
    """Give each row's name its height, moved down where rows are too flat; NaN where none is left."""
    centres = shares.cumsum() - shares / 2
    spread = centres.copy()
    for row in range(1, len(spread)):
        spread[row] = max(spread[row], spread[row - 1] + LINE)
    return spread if spread[-1] < 1 else np.where(shares >= LINE, centres, np.nan)


@styled
def metric_bars(
    scores: Mapping[str, Mapping[str, float]],
    looks: Mapping[str, Look],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw one group of bars for each metric, one bar a model, each with its number.

    Args:
        scores: model -> metric -> score, the same metrics for every model.
        looks: model -> colour and hatch.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.
    """
    ax = panel(ax, 5.0, 3.4)
    metrics = list(next(iter(scores.values())))
    wide = 0.8 / len(scores)
    for order, (model, values) in enumerate(scores.items()):
        kind = looks[model]
        places = np.arange(len(metrics)) + (order - (len(scores) - 1) / 2) * wide
        heights = [values[metric] for metric in metrics]
        ax.bar(
            places, heights, 0.92 * wide, color=kind.color, alpha=0.5, hatch=kind.hatch,
            edgecolor=kind.color, label=model,
        )  # fmt: skip
        for place, height in zip(places, heights, strict=True):
            ax.text(place, height + 0.015, f"{height:.2f}", ha="center", va="bottom", size=8.5)
    ax.set_xticks(range(len(metrics)), [metric.replace(" ", "\n") for metric in metrics])
    ax.set(ylim=(0, 1.08), yticks=[0, 0.5, 1], title=title)
    ax.tick_params(labelsize=9)
    ax.legend(ncols=len(scores), loc="upper right", fontsize=9, borderaxespad=0)
    return ax


@styled
def draw_imbalance(share: float = 0.47, skill: float = 0.4) -> tuple[Figure, str]:
    """Judge the majority model and the fair model where the largest of seven classes has a share.

    The other six classes divide the rest evenly. Two confusion matrices stand beside the four metrics
    of both models; everything is computed, nothing sampled.

    Args:
        share: how frequent the largest class is, at least a seventh.
        skill: how often the fair model is right, in every class alike.

    Raises:
        ValueError: a share under a seventh or not below one.
    """
    rest = len(NAMES) - 1
    if not 1 / len(NAMES) - 1e-9 <= share < 1:
        raise ValueError(f"the largest of seven classes has a share from 1/7 up to 1, not {share}")
    shares = (share, *[(1 - share) / rest] * rest)
    tables = {"majority": joint_table(shares, None), "fair": joint_table(shares, skill)}
    scores = {model: expected_scores(table) for model, table in tables.items()}
    figure = new_figure(9.6, 3.1)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.75))
    for ax, (model, table) in zip(panels, tables.items(), strict=False):
        mosaic(table, NAMES, kind=MODELS[model], title=f"the {model} model", ax=ax)
    metric_bars(scores, MODELS, title=f"largest class: {share:.0%} of the clips", ax=panels[2])
    told = "; ".join(
        f"the {model} model has "
        + ", ".join(f"{metric} {value:.2f}" for metric, value in values.items())
        for model, values in scores.items()
    )
    return figure, f"With {share:.0%} of the clips in the largest class, {told}."
