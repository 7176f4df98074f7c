"""Curves show the numbers of each run, and means and bands of several seeds."""

import numpy as np
import pandas as pd
import pytest

from mmlib.plots import accuracy_curves, training_curves


def history(*numbers: float, **columns: list[float]) -> pd.DataFrame:
    epochs = range(1, len(numbers) + 1)
    return pd.DataFrame({"epoch": epochs, "valid_accuracy": numbers, **columns})


LOSSES = history(
    *(0.1, 0.2, 0.3),
    train_loss=[3.0, 2.0, 1.0],
    valid_loss=[3.5, 2.5, 2.0],
    loss_encoder=[2.0, 1.5, 0.5],
    loss_discriminator=[1.0, 0.5, 0.5],
)


def legend_of(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_parts_of_a_loss_are_found_by_a_pattern() -> None:
    ax = training_curves(LOSSES, column="loss_*")
    assert legend_of(ax) == ["encoder", "discriminator"] and ax.get_ylabel() == "loss"
    assert [list(line.get_ydata()) for line in ax.lines] == [[2, 1.5, 0.5], [1, 0.5, 0.5]]
    assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines}) == 2


def test_several_columns_of_one_run_are_named_by_what_differs() -> None:
    ax = training_curves(LOSSES, column=["train_loss", "valid_loss"])
    assert legend_of(ax) == ["train", "valid"] and ax.get_ylabel() == "loss"
    assert list(ax.lines[1].get_ydata()) == [3.5, 2.5, 2.0]


def test_one_run_needs_no_legend() -> None:
    ax = training_curves(LOSSES)
    assert ax.get_legend() is None and ax.get_ylabel() == "valid accuracy"
    assert list(ax.lines[0].get_xdata()) == [1, 2, 3]


def test_columns_without_a_common_word_are_named_in_full() -> None:
    ax = training_curves(LOSSES, column=["train_loss", "valid_accuracy"])
    assert legend_of(ax) == ["train loss", "valid accuracy"]


def test_a_continued_history_keeps_its_epochs() -> None:
    later = history(0.5, 0.6).assign(epoch=[7, 8])
    assert list(training_curves(later).lines[0].get_xdata()) == [7, 8]
    ax = accuracy_curves({"early": [later, later]})
    assert list(ax.lines[0].get_xdata()) == [7, 8]


@pytest.mark.parametrize(
    ("histories", "column", "words"),
    [
        ({}, "valid_accuracy", "the dict is empty"),
        ([LOSSES], "valid_accuracy", "a dict from names .* but got list"),
        ({"a": [1, 2]}, "valid_accuracy", "the table that fit returns, but got list"),
        (LOSSES, "loss_x*", "no column 'loss_x[*]'; it has epoch, valid_accuracy"),
        ({"a": LOSSES, "b": LOSSES}, "loss_*", "2 runs and 2 columns .*; draw one column"),
        (LOSSES.iloc[:0], "valid_accuracy", "nothing to draw"),
        (history(0.1, np.nan, 0.3), "valid_accuracy", "1 of 3 numbers .* the first at 1"),
    ],
)
def test_training_curves_say_what_does_not_fit(histories, column, words) -> None:
    with pytest.raises(ValueError, match=words):
        training_curves(histories, column=column)


def test_seeds_become_a_mean_and_a_band_from_the_lowest_to_the_highest() -> None:
    runs = [history(0.1, 0.5), history(0.3, 0.6), history(0.2, 1.0)]
    ax = accuracy_curves({"early": runs, "late": runs[:1]}, ceiling=0.9)
    assert ax.lines[0].get_ydata() == pytest.approx([0.2, 0.7])
    [band] = ax.collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.round(6)}
    assert {(1, 0.1), (1, 0.3), (2, 0.5), (2, 1.0)} <= corners
    assert legend_of(ax) == ["early", "late"]
    title = ax.get_legend().get_title().get_text()
    assert title == "mean of 1 or 3 seeds,\nband: lowest to highest"
    assert "ceiling 0.900" in [text.get_text() for text in ax.texts]


def test_a_single_seed_has_no_band_and_is_called_no_mean() -> None:
    ax = accuracy_curves({"early": [history(0.1, 0.5)]})
    assert not ax.collections and ax.get_legend().get_title().get_text() == ""


def test_where_a_seed_stopped_the_mean_ends_and_the_others_go_on_alone() -> None:
    ax = accuracy_curves({"early": [[0.1, 0.2], [0.3, 0.4, 0.5, 0.6]]})
    mean, rest = ax.lines
    assert mean.get_ydata() == pytest.approx([0.2, 0.3])
    assert list(rest.get_xdata()) == [2, 3, 4] and list(rest.get_ydata()) == [0.4, 0.5, 0.6]


def test_eight_models_differ_in_marker_as_in_colour() -> None:
    ax = accuracy_curves({f"model {i}": [[0.1, 0.1 * i]] for i in range(8)})
    assert len({line.get_marker() for line in ax.lines}) == 8
    assert len({line.get_color() for line in ax.lines}) == 8


def test_some_of_several_systems_look_as_they_do_among_all() -> None:
    runs = {name: [[0.1, 0.2, 0.4]] for name in ("plain", "early", "late")}
    every = {line.get_label(): line for line in accuracy_curves(runs).lines}
    some = {name: runs[name] for name in ("late", "early")}
    for line in accuracy_curves(some, among=list(runs)).lines:
        same = every[line.get_label()]
        assert line.get_color() == same.get_color() and line.get_marker() == same.get_marker()


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "'early' has no run"),
        ([[[0.1, 0.2]]], "one number an epoch, but got shape"),
        ([["good"]], "not an array of numbers"),
        ([[0.1, float("inf")]], "NaN or infinite"),
        ([history(0.1).drop(columns="valid_accuracy")], "no column 'valid_accuracy'"),
    ],
)
def test_accuracy_curves_say_what_does_not_fit(runs, words) -> None:
    with pytest.raises(ValueError, match=words):
        accuracy_curves({"early": runs})
