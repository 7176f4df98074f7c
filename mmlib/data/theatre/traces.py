"""Valence and arousal that drift in time, seen in a face and heard in a voice.

Both are Gaussian processes with covariance sd^2 exp(-|dt| / correlation_time). The voice shows them
at once and the face `lag` steps later, each with noise of its own, and both turn them into their
numbers by straight lines; hence the best guess of the true trace from what is seen and heard has a
closed form (`posterior_mean`), and so has its concordance. All of it is synthetic.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmlib.data.theatre.displays import stream
from mmlib.data.theatre.emotions import FACE_UNITS, VOICE_UNITS
from mmlib.data.theatre.motion import drawable
from mmlib.data.theatre.script import Script
from mmlib.data.theatre.voices import VOICE_LIMITS

SPREAD = 0.5
#: Steps drawn before the first one, so that the face has something to show late.
LEAD = 8
#: Steps that share one second of sound.
STEPS_PER_CLIP = 8

#: A unit at rest, and what one unit of valence and one of arousal add to it.
FACE_LINES: dict[str, tuple[float, float, float]] = {
    "mouth_curve": (0.02, 0.10, 0.0),
    "blush": (0.35, 0.20, 0.0),
    "mouth_open": (0.14, 0.0, 0.06),
    "mouth_width": (0.25, 0.0, 0.0),
    "brow_height": (0.05, 0.0, 0.04),
    "eye_open": (0.72, 0.0, 0.16),
    "squint": (0.10, 0.0, 0.0),
    "pupil": (0.50, 0.0, 0.0),
}
VOICE_LINES: dict[str, tuple[float, float, float]] = {
    "pitch": (1.0, 0.0, 3.0),
    "range": (4.0, 1.2, 0.0),
    "slope": (-1.0, 1.5, 0.0),
    "energy": (0.0, 0.0, 4.0),
    "rate": (4.3, 0.0, 0.9),
    "tilt": (-9.0, 0.0, 0.0),
    "jitter": (0.08, 0.0, 0.0),
    "breath": (0.10, 0.0, 0.0),
    "pause": (0.12, 0.0, 0.0),
}


@dataclass(frozen=True)
class Traces:
    """N traces of valence and arousal, and what voice and face make of them.

    Shape:
        felt, heard, seen: (N, T, 2), valence then arousal.
    """

    felt: np.ndarray
    heard: np.ndarray
    seen: np.ndarray


def draw_traces(script: Script, n: int, seed: int) -> Traces:
    """Draw n traces and their noisy displays."""
    steps = script.num_frames
    path = stream(seed, "traces").standard_normal((n, LEAD + steps, 2))
    keep = np.exp(-1 / script.correlation_time)
    for t in range(1, LEAD + steps):  # this process has no memory beyond the last step
        path[:, t] = keep * path[:, t - 1] + (1 - keep**2) ** 0.5 * path[:, t]
    path *= SPREAD
    felt, late = path[:, LEAD:], path[:, LEAD - script.lag : LEAD - script.lag + steps]
    voice_noise = stream(seed, "voice noise").standard_normal(felt.shape)
    face_noise = stream(seed, "face noise").standard_normal(felt.shape)
    return Traces(
        felt=felt,
        heard=felt + np.array(script.voice_noise) * voice_noise,
        seen=late + np.array(script.face_noise) * face_noise,
    )


def _along_lines(
    shown: np.ndarray, names: tuple[str, ...], lines: dict[str, tuple[float, float, float]]
) -> np.ndarray:
    table = np.array([lines.get(name, (0.0, 0.0, 0.0)) for name in names])  # (U, 3)
    return table[:, 0] + shown @ table[:, 1:].T


def trace_face_units(traces: Traces) -> Tensor:
    """The face in every step; (N, T, 16)."""
    return torch.from_numpy(drawable(_along_lines(traces.seen, FACE_UNITS, FACE_LINES))).float()


def trace_voice_units(traces: Traces) -> Tensor:
    """The voice in every step; (N, T, 10)."""
    units = _along_lines(traces.heard, VOICE_UNITS, VOICE_LINES)
    return torch.from_numpy(units.clip(VOICE_LIMITS[:, 0], VOICE_LIMITS[:, 1])).float()


@functools.lru_cache(maxsize=64)
def _weights(script: Script, dimension: int, streams: tuple[str, ...], lag: int) -> np.ndarray:
    """The matrix that turns all observations into the posterior mean: (T, streams * T)."""
    now = np.arange(script.num_frames, dtype=float)
    times, noise = [], []
    for name in streams:
        own_noise = script.voice_noise if name == "audio" else script.face_noise
        times.append(now if name == "audio" else now - lag)
        noise.append(np.full(len(now), own_noise[dimension] ** 2))
    when = np.concatenate(times)

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return SPREAD**2 * np.exp(-np.abs(a[:, None] - b[None, :]) / script.correlation_time)

    observed = covariance(when, when) + np.diag(np.concatenate(noise))
    return np.linalg.solve(observed, covariance(when, now)).T


def posterior_mean(
    script: Script, traces: Traces, streams: tuple[str, ...], *, lag: int | None = None
) -> np.ndarray:
    """The best guess, in mean squared error, of valence and arousal from some streams.

    Args:
        script: where the traces come from.
        traces: what was seen and heard.
        streams: ``("audio",)``, ``("vision",)`` or both.
        lag: the lag that the guesser believes in; None for the true one, 0 to ignore it.

    Shape:
        (N, T, 2)
    """
    believed = script.lag if lag is None else lag
    seen = {"audio": traces.heard, "vision": traces.seen}
    guess = np.empty_like(traces.felt)
    for dimension in range(2):
        observed = np.concatenate([seen[name][..., dimension] for name in streams], axis=1)
        guess[..., dimension] = observed @ _weights(script, dimension, tuple(streams), believed).T
    return guess


def _concordance(guess: np.ndarray, truth: np.ndarray) -> float:
    """Lin's coefficient over all elements, population statistics."""
    apart = (guess.mean() - truth.mean()) ** 2
    together = ((guess - guess.mean()) * (truth - truth.mean())).mean()
    return float(2 * together / (guess.var() + truth.var() + apart))


def trace_concordances(
    script: Script, *, n: int = 400, seed: int = 0, scale: float = 1.0
) -> dict[str, dict[str, tuple[float, float]]]:
    """Concordance of the exact posterior mean, by Monte Carlo over n traces.

    The posterior mean has the least squared error, not the largest concordance: it is shrunk towards
    zero, and a ``scale`` a little above 1 raises its concordance by up to .02.

    Returns:
        ``"valence"`` and ``"arousal"`` -> ``"audio"``, ``"vision"``, ``"audio+vision"`` and
        ``"audio+vision, lag ignored"`` -> (concordance, its standard error from ten batches).
    """
    traces = draw_traces(script, n, seed)
    cases: dict[str, tuple[tuple[str, ...], int | None]] = {
        "audio": (("audio",), None),
        "vision": (("vision",), None),
        "audio+vision": (("audio", "vision"), None),
        "audio+vision, lag ignored": (("audio", "vision"), 0),
    }
    result: dict[str, dict[str, tuple[float, float]]] = {"valence": {}, "arousal": {}}
    for case, (streams, lag) in cases.items():
        guess = scale * posterior_mean(script, traces, streams, lag=lag)
        for dimension, name in enumerate(result):
            truth = traces.felt[..., dimension]
            value = _concordance(guess[..., dimension], truth)
            batches = [
                _concordance(guess[rows, :, dimension], truth[rows])
                for rows in np.array_split(np.arange(n), min(10, n))
            ]
            error = float(np.std(batches, ddof=1) / len(batches) ** 0.5) if n > 1 else np.nan
            result[name][case] = (value, error)
    return result
