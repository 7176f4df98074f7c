"""Traces: the process they come from, and what the best guess of them scores."""

import numpy as np
import pytest
import torch

from mmlib.data import theatre
from mmlib.data.theatre.displays import stream
from mmlib.data.theatre.presets import PRESETS
from mmlib.data.theatre.traces import (
    FACE_LINES,
    VOICE_LINES,
    Traces,
    draw_traces,
    posterior_mean,
    trace_concordances,
)

JMT = PRESETS["jmt"]

#: From a prototype with 400 paths: valence and arousal of a, v, av, av with the lag ignored.
MEASURED = {
    0: ((0.782, 0.939, 0.943, 0.943), (0.927, 0.843, 0.936, 0.936)),
    4: ((0.782, 0.930, 0.937, 0.784), (0.927, 0.831, 0.936, 0.919)),
}


def test_traces_have_the_covariance_they_should():
    felt = draw_traces(JMT, 3_000, seed=1).felt
    assert felt.shape == (3_000, 64, 2)
    for gap in (0, 5, 17):
        product = (felt[:, : 64 - gap] * felt[:, gap:]).mean((0, 1))
        np.testing.assert_allclose(product, 0.25 * np.exp(-gap / 12), atol=0.012)
    assert abs((felt[..., 0] * felt[..., 1]).mean()) < 0.01


def test_voice_and_face_have_noise_of_their_own_and_the_face_is_late():
    traces = draw_traces(JMT, 2_000, seed=2)
    np.testing.assert_allclose((traces.heard - traces.felt).std((0, 1)), (0.9, 0.35), atol=0.01)
    late = traces.seen[:, 4:] - traces.felt[:, :-4]
    np.testing.assert_allclose(late.std((0, 1)), (0.3, 0.7), atol=0.01)


@pytest.mark.parametrize("lag", MEASURED)
def test_concordance_of_the_best_guess(lag):
    found = trace_concordances(JMT.changed(lag=lag), n=800, seed=0)
    for row, name in zip(MEASURED[lag], ("valence", "arousal"), strict=True):
        for value, (ours, error) in zip(row, found[name].values(), strict=True):
            # Both were sampled: theirs with 400 paths has an error larger by the root of two.
            assert abs(ours - value) < 3 * error * 3**0.5


def test_ignoring_the_lag_costs_valence_dearly_and_nothing_where_there_is_none():
    late = trace_concordances(JMT, n=200)["valence"]
    assert late["audio+vision"][0] - late["audio+vision, lag ignored"][0] > 0.1
    punctual = trace_concordances(JMT.changed(lag=0), n=50)["valence"]
    assert punctual["audio+vision"] == punctual["audio+vision, lag ignored"]


def test_the_posterior_mean_of_one_step_by_hand():
    script = JMT.changed(num_frames=1, lag=0)
    traces = Traces(
        felt=np.zeros((1, 1, 2)), heard=np.array([[[1.0, 2.0]]]), seen=np.array([[[3.0, 5.0]]])
    )
    guess = posterior_mean(script, traces, ("audio", "vision"))[0, 0]
    precision = 1 / 0.25 + 1 / np.array([0.9, 0.35]) ** 2 + 1 / np.array([0.3, 0.7]) ** 2
    evidence = np.array([1.0, 2.0]) / np.array([0.9, 0.35]) ** 2
    evidence += np.array([3.0, 5.0]) / np.array([0.3, 0.7]) ** 2
    np.testing.assert_allclose(guess, evidence / precision)


def test_the_posterior_mean_beats_any_other_weighting_in_squared_error():
    traces = draw_traces(JMT, 300, seed=3)
    best = posterior_mean(JMT, traces, ("audio", "vision"))
    error = ((best - traces.felt) ** 2).mean()
    assert ((1.1 * best - traces.felt) ** 2).mean() > error
    assert ((0.9 * best - traces.felt) ** 2).mean() > error
    assert ((posterior_mean(JMT, traces, ("vision",)) - traces.felt) ** 2).mean() > error


def test_the_least_squared_error_is_not_the_largest_concordance():
    plain = trace_concordances(JMT, n=400)["valence"]["audio"][0]
    scaled = trace_concordances(JMT, n=400, scale=1.3)["valence"]["audio"][0]
    assert 0.005 < scaled - plain < 0.03


def test_clips_carry_the_traces_in_their_labels_and_units():
    clips = theatre.make("jmt", n=5, seed=3)
    traces = draw_traces(JMT, 5, seed=3)
    assert clips.class_names is None
    torch.testing.assert_close(clips.labels, torch.from_numpy(traces.felt).float())
    assert clips.voice_units.shape == (5, 64, 10)
    rest, _, slope = VOICE_LINES["pitch"]
    pitch = rest + slope * traces.heard[..., 1]
    np.testing.assert_allclose(clips.voice_units[..., 0], pitch.clip(-10, 14), atol=1e-5)
    rest, slope, _ = FACE_LINES["mouth_curve"]
    curve = rest + slope * traces.seen[..., 0]
    np.testing.assert_allclose(clips.face_units[..., 0], curve.clip(-0.2, 0.24), atol=1e-5)


def test_features_keep_nearly_all_that_traces_tell():
    features = theatre.make("jmt", n=400).features()
    assert features.task == "regression"
    assert features.labels.shape == (400, 64, 2)
    x = torch.cat([features.inputs["audio"], features.inputs["vision"]], -1).flatten(0, 1).numpy()
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    traces = draw_traces(JMT, 400, seed=0)
    for shown in (traces.heard, traces.seen):
        y = shown.reshape(-1, 2)
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        assert (left.std(0) / y.std(0) < 0.15).all()


def test_ceilings_of_traces_average_both_dimensions():
    found = theatre.ceilings("jmt")
    apart = trace_concordances(JMT)
    assert list(found) == ["audio", "vision", "audio+vision"]
    expected = (apart["valence"]["vision"][0] + apart["arousal"]["vision"][0]) / 2
    assert found["vision"] == pytest.approx(expected)
    assert 0 < found.standard_errors["vision"] < 0.01


def test_a_trace_sounds_one_second_for_every_eight_steps_and_says_nothing():
    clips = theatre.make("jmt", n=2)
    assert clips.waveform.shape == (2, 8 * 8192)
    assert clips.log_mel.shape == (2, 8 * 128, 40)
    assert clips.sentences == ["", ""]
    assert clips.displays == {}
    assert clips.felt is None


def test_noise_of_the_face_leaves_the_traces_alone():
    first = draw_traces(JMT, 20, seed=1)
    second = draw_traces(JMT.changed(face_noise=(0.5, 0.5)), 20, seed=1)
    assert np.array_equal(first.felt, second.felt)
    assert np.array_equal(first.heard, second.heard)
    assert not np.array_equal(first.seen, second.seen)
    assert not np.array_equal(stream(1, "voice noise").random(3), stream(1, "face noise").random(3))
