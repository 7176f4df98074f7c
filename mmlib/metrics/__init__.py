"""Metrics: how good predictions are, in the terms of the four papers, and how sure one can be.

Prediction first, then target. Everything is computed in float64 over the whole set at once; metrics
of parts are never averaged. The formulas are our own ten lines where scikit-learn and scipy have
them too: written as functions of a few sums they are computed for thousands of bootstrap draws at
once, and the tests hold them against both libraries.
"""

from mmlib.metrics.classes import (
    classification_report,
    confusion_matrix,
    per_class,
    top_k_accuracy,
)
from mmlib.metrics.comparing import Comparison, compare
from mmlib.metrics.intervals import Interval, Spread, bootstrap_interval, seed_spread
from mmlib.metrics.numbers import concordance, pearson, regression_report, rmse
from mmlib.metrics.sums import METRICS
from mmlib.metrics.videos import (
    VideoConcordance,
    concordance_by_video,
    moving_average,
    target_concordances,
)

__all__ = [
    "METRICS",
    "Comparison",
    "Interval",
    "Spread",
    "VideoConcordance",
    "bootstrap_interval",
    "classification_report",
    "compare",
    "concordance",
    "concordance_by_video",
    "confusion_matrix",
    "moving_average",
    "pearson",
    "per_class",
    "regression_report",
    "rmse",
    "seed_spread",
    "target_concordances",
    "top_k_accuracy",
]
