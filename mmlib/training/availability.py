"""How good a system is where streams are absent: for each combination, and the more often they are.

A stream is taken away in the system's own means (`mmlib.systems.absence`), mostly by a mask that is
all False.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from mmlib.data.feature_set import FeatureSet
from mmlib.systems.absence import Means
from mmlib.training import evaluating
from mmlib.training.hearing import Heard, hear, patterns_of

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def subset_probabilities(streams: Sequence[str], rate: float) -> dict[str, float]:
    """Say how often each combination is what is left, where each stream goes with probability `rate`.

    A sample that would lose all keeps one of them, each as likely. So a ceiling of accuracy at a
    rate is the mean of the combinations' ceilings with these weights.

    Raises:
        ValueError: a rate that is no probability.
    """
    _check_rates([rate])
    count = len(streams)
    left = {
        "+".join(some): (1 - rate) ** len(some) * rate ** (count - len(some))
        for some in patterns_of(streams)
    }
    for name in streams:
        left[name] += rate**count / count
    return left


def availability_patterns(
    model: nn.Module,
    features: FeatureSet,
    *,
    means: Means | None = None,
    ceilings: Mapping[str, float] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    **asking: Any,
) -> pd.DataFrame:
    """Measure a model on every combination of its streams, all others taken away at test time.

    Args:
        model: as of `hear`.
        features: as of `hear`.
        means: as of `hear`.
        ceilings: combination ("text+audio") -> the best score; told where every sample has all
            streams.
        resamples: of the intervals, which are drawn by group where samples share one.
        level: of the intervals.
        seed: of the intervals.
        **asking: batch_size, device and update, as of `hear`.

    Returns:
        A row a combination: `pattern`, how many `streams` it has, the `means` by which the others
        were taken away, `n` (samples that have none of the combination's streams are not judged),
        and accuracy, balanced_accuracy, weighted_f1 and macro_f1 (of numbers mean_ccc,
        mean_pearson and mean_rmse), each with its `_low` and `_high`; NaN where the system refuses.
    """
    heard = hear(model, features, means=means, **asking)
    return judge_patterns(heard, ceilings=ceilings, resamples=resamples, level=level, seed=seed)


def falling_availability(
    model: nn.Module,
    features: FeatureSet,
    rates: Sequence[float] = RATES,
    *,
    draws: int = 10,
    seed: int = 0,
    means: Means | None = None,
    ceilings: Mapping[str, float] | None = None,
    **asking: Any,
) -> pd.DataFrame:
    """Measure a model where each stream of each sample is gone with a probability.

    A sample never loses all: where it would, it keeps one of its streams, each as likely. So with
    three streams and a rate of 0.8 about half of the samples are of that kind, and 1.1 streams are
    left of 3. Every system gets the same draws for the same samples.

    Args:
        model: as of `hear`.
        features: as of `hear`.
        rates: probabilities.
        draws: how often it is drawn which streams go.
        seed: of the draws.
        means: as of `hear`.
        ceilings: combination -> the best accuracy; a rate's is the mean over the combinations that
            are left, see `subset_probabilities`. Numbers have none: a concordance is no mean.
        **asking: batch_size, device and update, as of `hear`.

    Returns:
        A row a rate and draw: `rate`, `draw`, `means`, `n`, `streams_left` (the mean number that a
        sample kept), and the metrics of `availability_patterns` without intervals.

    Raises:
        ValueError: a rate that is no probability, or no draw.
    """
    heard = hear(model, features, means=means, **asking)
    return judge_falling(heard, rates, draws=draws, seed=seed, ceilings=ceilings)


def judge_patterns(
    heard: Heard,
    *,
    ceilings: Mapping[str, float] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Judge each combination; see `availability_patterns`."""
    rows = []
    for place, pattern in enumerate(patterns_of(heard.streams)):
        judged = np.flatnonzero(heard.has(pattern))
        row: dict[str, Any] = {
            "pattern": "+".join(pattern),
            "streams": len(pattern),
            "means": heard.absence.means,
            "n": len(judged),
        }
        outputs = heard.outputs[place][judged]
        if len(judged) and _said(outputs):
            some = heard.features.subset(judged)
            row |= _metrics(outputs, some)
            told = evaluating.intervals(outputs, some, resamples=resamples, level=level, seed=seed)
            for metric, ends in told["intervals"].items():
                row[f"{metric}_low"], row[f"{metric}_high"] = ends
        if ceilings is not None and heard.whole:
            row["ceiling"] = ceilings.get("+".join(pattern))
        rows.append(row)
    return pd.DataFrame(rows)


def judge_falling(
    heard: Heard,
    rates: Sequence[float] = RATES,
    *,
    draws: int = 10,
    seed: int = 0,
    ceilings: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Judge falling availability; see `falling_availability`.

    Raises:
        ValueError: no rate, one outside [0, 1], or no draw.
    """
    _check_rates(rates)
    if draws < 1:
        raise ValueError(f"draws is {draws}, expected at least 1.")
    rows = []
    for rate in rates:
        ceiling = None
        if ceilings is not None and heard.whole and heard.features.class_names is not None:
            weights = subset_probabilities(heard.streams, rate)
            if weights.keys() <= ceilings.keys():
                ceiling = sum(ceilings[name] * weight for name, weight in weights.items())
        for draw in range(draws):
            left = heard.left(rate, draw=draw, seed=seed)
            outputs = heard.said_of(left)
            row: dict[str, Any] = {
                "rate": float(rate),
                "draw": draw,
                "means": heard.absence.means,
                "n": len(outputs),
                "streams_left": float(left.sum(1).mean()),
            }
            if _said(outputs):
                row |= _metrics(outputs, heard.features)
            if ceilings is not None:
                row["ceiling"] = ceiling
            rows.append(row)
    return pd.DataFrame(rows)


def _said(outputs: Tensor) -> bool:
    """Say whether the model answered for all of these samples."""
    return not bool(outputs.flatten(1).isnan().all(1).any())


def _metrics(outputs: Tensor, features: FeatureSet) -> dict[str, float]:
    """Compute the metrics that also have intervals."""
    names = evaluating.judged_by(features)
    report = evaluating.score(outputs, features)
    return {name: report[name] for name in names}


def _check_rates(rates: Sequence[float]) -> None:
    """Refuse what is no probability."""
    wrong = [rate for rate in rates if not 0.0 <= rate <= 1.0]
    if wrong or not len(rates):
        raise ValueError(
            f"rates holds {wrong[0]}, expected probabilities from 0 to 1."
            if wrong
            else "rates is empty; give at least one probability, such as 0.3."
        )
