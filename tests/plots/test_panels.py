"""What every function that fills a panel has in common."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmlib import plots

NAMES = ["happy", "sad", "angry"]
HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "valid_accuracy": [0.2, 0.5, 0.6]})
LABELS = [0, 2, 1, 1, 0, 2, 2]
CLOUD = np.random.default_rng(3).uniform(-1, 1, (7, 5)).round(3)
Convert = Callable[[Any], Any]

PANELS: dict[str, Callable[[Convert, Axes | None], Axes]] = {
    "training_curves": lambda _, ax: plots.training_curves({"a": HISTORY}, ceiling=0.8, ax=ax),
    "accuracy_curves": lambda to, ax: plots.accuracy_curves(
        {"early": [to([0.1, 0.2]), to([0.3, 0.5])]}, ceiling=0.8, ax=ax
    ),
    "confusion_map": lambda to, ax: plots.confusion_map(
        to([[5, 2, 0], [0, 3, 1], [0, 0, 0]]), NAMES, ax=ax
    ),
    "per_class_bars": lambda to, ax: plots.per_class_bars(
        {"precision": to([0.5, 0.25, 1.0]), "support": to([5, 3, 9])},
        NAMES,
        columns=["precision"],
        ax=ax,
    ),
    "bars_with_seeds": lambda to, ax: plots.bars_with_seeds(
        {"early": to([0.25, 0.5])}, ceilings=0.9, chance=0.125, ax=ax
    ),
    "bars_with_intervals": lambda to, ax: plots.bars_with_intervals(
        {"early": to([0.5, 0.25, 0.75])}, ceilings={"early": 0.9}, ax=ax
    ),
    "differences": lambda to, ax: plots.differences({"b − a": to([0.5, -0.25, 0.75])}, ax=ax),
    "attention_map": lambda to, ax: plots.attention_map(to([[0.25, 0.75], [0.5, 0.5]]), ax=ax),
    "tsne_map": lambda to, ax: plots.tsne_map(to(CLOUD.tolist()), to(LABELS), NAMES, ax=ax),
    "valence_arousal_plane": lambda to, ax: plots.valence_arousal_plane(
        to(CLOUD[:, :2].tolist()), labels=to(LABELS), names=NAMES, emotions=True, ax=ax
    ),
    "label_histogram": lambda to, ax: plots.label_histogram(
        to(LABELS), NAMES, split=["train"] * 4 + ["test"] * 3, ax=ax
    ),
}
every_panel = pytest.mark.parametrize("draw", PANELS.values(), ids=PANELS)


def as_it_is(values: Any) -> Any:
    return values


@every_panel
def test_it_draws_on_the_axes_given_and_returns_them(draw: Callable) -> None:
    _, other = Figure().subplots(1, 2)
    assert draw(as_it_is, other) is other
    assert other.has_data()


@every_panel
def test_it_draws_tensors_arrays_and_lists_to_the_same_bytes(draw: Callable) -> None:
    pictures = {
        plots.png_bytes(draw(convert, None).figure)
        for convert in (as_it_is, np.array, lambda values: torch.tensor(values).double())
    }
    assert len(pictures) == 1


@every_panel
def test_nothing_of_a_notebooks_settings_changes_a_picture_and_none_is_changed(
    draw: Callable,
) -> None:
    plain = plots.png_bytes(draw(as_it_is, None).figure)
    settings = {
        "font.size": 20,
        "hatch.linewidth": 5,
        "lines.linewidth": 7,
        "axes.grid": True,
        "axes.labelpad": 30,
        "savefig.bbox": "tight",
        "axes.unicode_minus": False,
    }
    with plt.style.context(["dark_background", settings]):
        before = dict(plt.rcParams)
        assert plots.png_bytes(draw(as_it_is, None).figure) == plain
        assert dict(plt.rcParams) == before


@every_panel
def test_pyplot_keeps_no_figure_and_its_current_one_stays(draw: Callable) -> None:
    mine, ax = plt.subplots()
    try:
        draw(as_it_is, None)
        assert plt.get_fignums() == [mine.number] and plt.gcf() is mine
        assert not ax.has_data()
    finally:
        plt.close(mine)


@every_panel
def test_the_texts_lie_within_the_figure(draw: Callable) -> None:
    ax = draw(as_it_is, None)
    figure = ax.figure
    figure.draw_without_rendering()
    box = ax.get_tightbbox()
    legend = ax.get_legend()
    assert box.x0 >= -1 and box.y0 >= -1
    assert box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1
    assert legend is None or legend.get_window_extent().x1 <= figure.bbox.width + 1


def test_the_package_names_every_function_in_its_docstring() -> None:
    assert plots.__doc__ is not None
    missing = [name for name in plots.__all__ if name not in plots.__doc__]
    assert not missing
    assert set(PANELS) <= set(plots.__all__)
