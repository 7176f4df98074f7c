"""Figures of absent streams show every system, every seed, and what could be reached."""

import pandas as pd
import pytest

from mmlib.plots.availability import falling_curves, pattern_bars


def patterns(*scores: float, ceiling: bool = True, names=("text", "audio", "text+audio")):
    table = pd.DataFrame({"pattern": names, "accuracy": scores, "weighted_f1": scores})
    return table.assign(ceiling=[0.5, 0.6, 0.7][: len(names)]) if ceiling else table


def falling(first: float, slope: float, best: float | None = 0.9) -> pd.DataFrame:
    rows = [
        {"rate": rate, "draw": draw, "accuracy": first - slope * rate + (0.02 if draw else -0.02)}
        for rate in (0.0, 0.4, 0.8)
        for draw in (0, 1)
    ]
    table = pd.DataFrame(rows)
    return table if best is None else table.assign(ceiling=best - 0.1 * table["rate"])


def legend_of(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_bars_stand_in_groups_a_dot_for_each_seed_and_a_ceiling_over_each_group() -> None:
    tables = {
        "concat": [patterns(0.1, 0.2, 0.3), patterns(0.3, 0.4, 0.5)],
        "late": patterns(0.2, 0.3, 0.35),
    }
    ax = pattern_bars(tables)
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == pytest.approx([0.2, 0.3, 0.4, 0.2, 0.3, 0.35])
    centres = [bar.get_x() + bar.get_width() / 2 for bar in ax.patches]
    assert [round(x) for x in centres] == [0, 1, 2, 0, 1, 2] and centres[0] < centres[3]
    assert [len(dots.get_offsets()) for dots in ax.collections] == [2, 2, 2, 1, 1, 1]
    assert [line.get_ydata()[0] for line in ax.lines] == [0.5, 0.6, 0.7]
    assert sorted(legend_of(ax)) == ["ceiling", "concat", "late"]
    assert len({bar.get_hatch() for bar in ax.patches}) == 2


def test_a_ceiling_of_accuracy_is_not_drawn_over_another_metric() -> None:
    assert not pattern_bars({"concat": patterns(0.1, 0.2, 0.3)}, metric="weighted_f1").lines
    table = falling(0.8, 0.3).rename(columns={"accuracy": "weighted_f1"})
    assert len(falling_curves({"concat": table}, metric="weighted_f1").lines) == 1


def test_combinations_come_in_the_order_of_the_streams_whoever_comes_first() -> None:
    two = patterns(0.1, 0.2, 0.3, ceiling=False, names=("audio", "vision", "audio+vision"))
    ax = pattern_bars({"jmt": two, "late": patterns(0.1, 0.2, 0.3, ceiling=False)})
    labels = [tick.get_text().replace("\n", "").replace(" ", "") for tick in ax.get_xticklabels()]
    assert labels == ["text", "audio", "vision", "text+audio", "audio+vision"]


def test_what_a_system_refuses_has_no_bar() -> None:
    ax = pattern_bars({"concat": patterns(float("nan"), 0.2, 0.3), "late": patterns(0.1, 0.2, 0.3)})
    assert len(ax.patches) == 5 and "concat" in legend_of(ax)


def test_curves_are_means_of_draws_and_seeds_with_a_band_over_the_seeds() -> None:
    ax = falling_curves(
        {"late": [falling(0.8, 0.5), falling(0.6, 0.5)], "concat": [falling(0.7, 0.1)]}
    )
    assert ax.lines[0].get_xdata() == pytest.approx([0.0, 0.4, 0.8])
    assert ax.lines[0].get_ydata() == pytest.approx([0.7, 0.5, 0.3])
    [band] = ax.collections
    box = band.get_paths()[0].get_extents()
    assert (box.ymin, box.ymax) == pytest.approx((0.2, 0.8))
    assert ax.lines[2].get_ydata() == pytest.approx([0.9, 0.86, 0.82])
    assert legend_of(ax) == ["late", "concat", "ceiling"]
    assert "2 seeds" in ax.get_legend().get_title().get_text() or "1 or 2" in (
        ax.get_legend().get_title().get_text()
    )


def test_a_ceiling_of_other_streams_says_whose_it_is() -> None:
    tables = {
        "jmt": falling(0.5, 0.1, best=0.7),
        "late": falling(0.6, 0.1),
        "concat": falling(0.6, 0.2),
    }
    assert legend_of(falling_curves(tables))[3:] == ["ceiling", "ceiling of jmt"]


@pytest.mark.parametrize("draw", [pattern_bars, falling_curves])
@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, "the dict is empty"),
        ({"late": []}, "'late' has no table"),
        ({"late": pd.DataFrame({"rate": [0.1]})}, "a table of 'late' has no column"),
    ],
)
def test_what_cannot_be_drawn_is_said(draw, tables, words) -> None:
    with pytest.raises(ValueError, match=words):
        draw(tables)
