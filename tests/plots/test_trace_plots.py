"""The pictures of lesson 10: traces on a stage, agreement, scores over a setting, kernels."""

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from mmlib.data import theatre
from mmlib.metrics import concordance, pearson
from mmlib.plots import png_bytes
from mmlib.plots.agreement import batch_scores, draw_agreement, scores_over, truth_and_noise
from mmlib.plots.kernels import factorised_kernel
from mmlib.plots.looks import LOOKS
from mmlib.plots.traces import TARGETS, feature_bars, look_of, trace_stage


def test_truth_and_noise_make_r_depend_on_the_noise_alone() -> None:
    truth, draws = truth_and_noise()
    assert truth.mean() == pytest.approx(0, abs=1e-12) and truth.std() == pytest.approx(0.5)
    for noise in (0.0, 0.5, 2.0):
        for scale, bias in ((1.0, 0.0), (0.3, 0.7)):
            guess = scale * (truth + noise * draws) + bias
            assert pearson(guess, truth) == pytest.approx((1 + noise**2) ** -0.5)
            assert abs(concordance(guess, truth)) <= pearson(guess, truth) + 1e-12


def test_agreement_is_drawn_with_the_numbers_of_its_alt_text() -> None:
    figure, alt = draw_agreement(bias=0.6, scale=1.0, noise=0.5)
    time, plane, bars = figure.axes
    truth, guess = (line.get_ydata() for line in time.lines)
    np.testing.assert_allclose(plane.collections[0].get_offsets(), np.stack([truth, guess], 1))
    assert [text.get_text() for text in bars.texts] == ["0.89", "0.54"]
    assert "bias +0.6" in alt and "concordance 0.54" in alt


def test_the_highest_score_of_each_line_is_ringed() -> None:
    x = [1, 3, 5, 7]
    curves = {"valence": [0.2, 0.6, 0.5, 0.1], "arousal": [0.9, 0.4, 0.3, 0.2]}
    ax = scores_over(x, curves, xlabel="steps", marks={"20": 4.0}, looks=TARGETS)
    peaks = [line.get_xydata()[0].tolist() for line in ax.lines if len(line.get_xdata()) == 1]
    assert peaks == [[3, 0.6], [1, 0.9]]
    assert ax.lines[0].get_color() == TARGETS["valence"].color
    assert "20" in [text.get_text() for text in ax.texts]


def test_batches_are_drawn_against_the_score_of_all_together() -> None:
    scores = {"2": np.array([0.1, 0.5, 0.9]), "16": np.array([0.6, 0.7])}
    figure = batch_scores(scores, whole=0.8)
    for ax, values in zip(figure.axes, scores.values(), strict=True):
        whole, mean = (line.get_xdata()[0] for line in ax.lines)
        assert (whole, mean) == (0.8, pytest.approx(values.mean()))


def test_a_stage_shows_both_numbers_and_the_way_on_the_plane() -> None:
    clips = theatre.make("jmt", n=2, seed=0)
    figure = trace_stage(clips, 1)
    axes = {ax.get_ylabel(): ax for part in figure.subfigs for ax in part.axes}
    for k, name in enumerate(("valence", "arousal")):
        ax = next(a for a in figure.subfigs[0].axes if a.get_ylabel() == name)
        np.testing.assert_allclose(ax.lines[0].get_ydata(), clips[1].labels[0, :, k])
    assert {"face", "voice"} <= set(axes)
    assert figure.subfigs[1].axes[0].get_xlabel() == "valence"
    with pytest.raises(ValueError, match=r"theatre\.make\('jmt'\)"):
        trace_stage(theatre.make("masks", n=2, seed=0), 0)


def test_readings_are_drawn_with_their_seeds_means_and_ceilings() -> None:
    rows = {"voice": ([0.1, 0.3], [0.5, 0.7]), "face": ([0.8], [0.4])}
    figure = feature_bars(
        rows,
        ceilings={"audio": (0.8, 0.95), "vision": (0.9, 0.85)},
        streams={"voice": "audio", "face": "vision"},
    )
    valence = figure.axes[0]
    assert [text.get_text() for text in valence.texts] == ["0.20", "0.80", "mean"]
    assert [bar.get_width() for bar in valence.patches] == pytest.approx([0.2, 0.8])
    drawn = [line.get_xdata().tolist() for line in valence.lines[:-1]]
    assert drawn == [[0.1, 0.3], [0.8, 0.8], [0.8], [0.9, 0.9]]


def test_a_number_keeps_its_colour_and_a_stream_its_marks() -> None:
    kind = look_of("valence", "audio")
    assert kind.color == TARGETS["valence"].color
    assert kind.marker == LOOKS["audio"].marker
    four = [look_of(target, stream) for target in TARGETS for stream in ("audio", "vision")]
    assert len({(each.linestyle, each.marker) for each in four}) == 4  # also without colours


@pytest.mark.parametrize(("t", "d"), [(3, 3), (5, 3), (3, 7)])
def test_a_factorised_kernel_has_the_weights_that_it_says(t: int, d: int) -> None:
    figure = factorised_kernel(t, d)
    white = (1.0, 1.0, 1.0, 1.0)
    filled = [
        sum(isinstance(p, Rectangle) and p.get_facecolor() != white for p in ax.patches)
        for ax in figure.axes
    ]
    assert filled == [t * d * d, d * d, t]


def test_the_figures_are_written_alike_each_time() -> None:
    torch.manual_seed(0)
    one, other = (png_bytes(draw_agreement(0.2, 0.7, 1.0)[0]) for _ in range(2))
    assert one == other
