"""How sure a number is: bootstrap intervals over samples or groups, and the spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmlib.metrics.reading import Values
from mmlib.metrics.resampling import (
    Groups,
    Metric,
    Units,
    as_samples,
    check_settings,
    counted,
    draws,
    finite,
)
from mmlib.metrics.sums import sums_of


class Interval(NamedTuple):
    """A measured value and where it would mostly lie, had other samples or groups been drawn.

    Attributes:
        value: as measured on all samples.
        low, high: the ends of the interval.
        level: how often such intervals hold the true value, such as 0.95.
    """

    value: float
    low: float
    high: float
    level: float


class Spread(NamedTuple):
    """The mean over seeds, how far single seeds lie from it, and an interval for the mean.

    Attributes:
        mean: over the seeds.
        deviation: of single seeds from it.
        low, high: the ends of the interval for the mean.
        level: how often such intervals hold the true mean, such as 0.95.
    """

    mean: float
    deviation: float
    low: float
    high: float
    level: float


def bootstrap_interval(
    metric: Metric,
    prediction: Values,
    target: Values,
    *,
    groups: Groups | None = None,
    mask: Values | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Draw the test set again and again from itself, and see how far the metric moves.

    Each draw takes as many units as there are, with replacement: samples, or with `groups` whole
    groups, all samples of one at a time (a group that comes twice counts twice). Draw by group
    wherever samples of one speaker, video or dialogue are alike: to draw such samples one by one
    presumes more evidence than there is, and the interval comes out too narrow. The interval lies
    between the quantiles of the draws (the percentile bootstrap). With few groups it still is too
    narrow: measured on simulated speakers, 95 % intervals held the truth in 94 % of all cases with
    24 groups, in 91 % with 12 and in 86 % with 6.

    A metric by name (`METRICS`) is computed for all draws at once; a function of (prediction,
    target), or of (prediction, target, mask) where there is a mask, is called for each. The same
    seed makes the same draws for both.

    Shape:
        prediction, target, mask: `(N, ...)`, whatever the metric takes; groups: `(N,)`.

    Raises:
        ValueError: shapes that do not fit, fewer than two samples or groups, an unknown metric, or
            a metric that is not a number on some draw.
    """
    check_settings(resamples, level)
    known, true = as_samples(prediction, "prediction"), as_samples(target, "target")
    columns: list[Any] = [known, true]
    if mask is not None:
        columns.append(as_samples(mask, "mask"))
    _same_length(*columns)
    if isinstance(metric, str):
        sums = sums_of(metric, *columns)
        value = float(sums.finish(sums.adds[sums.kind].sum(0)))
        units = Units(len(true), groups)
        kind, adds = units.gather(sums.adds, sums.kind)
        parts = [
            sums.finish(counted(drawn, kind, len(adds)) @ adds).numpy()
            for drawn in draws(units.count, resamples, seed)
        ]
        values = np.concatenate(parts)
    else:
        value = finite(metric(*columns))
        units = Units(len(true), groups)
        samples = units.sampler()
        values = np.array(
            [
                finite(metric(*(column[chosen] for column in columns)))
                for drawn in draws(units.count, resamples, seed)
                for chosen in map(samples, drawn)
            ]
        )
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)


def seed_spread(values: Sequence[float] | np.ndarray, *, level: float = 0.95) -> Spread:
    """Summarise the results of several seeds: mean, deviation, and Student's t interval of the mean.

    The interval speaks of the method's mean over all seeds on this one test set; what another test
    set would give is `bootstrap_interval`'s business. With three seeds it is honestly wide: it
    reaches 2.5 deviations to each side.

    Shape:
        values: `(S,)`, one number a seed.

    Raises:
        ValueError: fewer than two seeds, or a value that is not finite.
    """
    check_settings(1, level)
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) < 2:
        raise ValueError(
            f"values has shape {numbers.shape}, expected one number for each of at least two seeds."
        )
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"the value of seed number {int((~np.isfinite(numbers)).argmax())} is "
            "not finite; leave out no seed, mend it."
        )
    from scipy.stats import t

    mean, deviation = float(numbers.mean()), float(numbers.std(ddof=1))
    reach = float(t.ppf((1 + level) / 2, len(numbers) - 1)) * deviation / len(numbers) ** 0.5
    return Spread(mean, deviation, mean - reach, mean + reach, level)


def _same_length(*columns: Any) -> None:
    """Refuse columns of different numbers of samples."""
    sizes = [len(column) for column in columns]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"there are {sizes[0]} predictions but {sizes[1]} targets"
            + (f" and {sizes[2]} masks" if len(sizes) > 2 else "")
            + "; give one of each for every sample."
        )
