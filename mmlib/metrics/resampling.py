"""Draw samples, or whole groups of them, and compute a metric of every draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlib.metrics.reading import Values

Metric = str | Callable[..., float]
Groups = np.ndarray | Sequence | Tensor
# Draws are made some at a time: so many numbers of eight bytes are held at once.
_AT_ONCE = 2**22


class Units:
    """What is drawn as a whole: each sample, or each group of samples.

    Attributes:
        count: how many there are.
        of: `(N,)` int64, the unit that each sample belongs to.

    Raises:
        ValueError: groups of another number than the samples, or fewer than two units.
    """

    def __init__(self, samples: int, groups: Groups | None) -> None:
        """Number the groups, or the samples where there are none."""
        if groups is None:
            self.of = np.arange(samples)
            self.count = samples
            if samples < 2:
                count = "is 1 sample" if samples else "are no samples"
                raise ValueError(f"there {count}; an interval needs at least two.")
            return
        column = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
        if column.shape != (samples,):
            raise ValueError(
                f"groups has shape {column.shape} but there are {samples} samples; name one group "
                "for each."
            )
        names, of = np.unique(column, return_inverse=True)
        self.of, self.count = of.astype(np.int64), len(names)
        if self.count < 2:
            raise ValueError(
                f"all samples belong to one group ('{names[0]}'), which says nothing about other "
                "groups; give at least two groups, or draw by sample (groups=None)."
            )

    def sampler(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from a draw of units to the samples it consists of."""
        order = np.argsort(self.of, kind="stable")
        if self.count == len(order):
            return lambda draw: order[draw]
        rows = np.split(order, np.cumsum(np.bincount(self.of, minlength=self.count))[:-1])
        return lambda draw: np.concatenate([rows[unit] for unit in draw])

    def gather(self, adds: Tensor, kind: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Sum what samples add into what units add.

        Shape:
            adds: `(U, S)`, kind: `(N,)` as in `Sums`; returns the same for the units.
        """
        if self.count == len(self.of):
            return kind[np.argsort(self.of)], adds
        unit, row = torch.from_numpy(self.of), torch.from_numpy(kind)
        summed = torch.zeros(self.count, adds.shape[1], dtype=adds.dtype)
        return np.arange(self.count), summed.index_add_(0, unit, adds[row])


def draws(units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw `units` of the units with replacement, `resamples` times, some at a time.

    Shape:
        yields `(some, units)` int64.
    """
    rng = np.random.default_rng(seed)
    some = max(1, _AT_ONCE // units)
    for start in range(0, resamples, some):
        yield rng.integers(0, units, size=(min(some, resamples - start), units))


def counted(drawn: np.ndarray, kind: np.ndarray, kinds: int) -> Tensor:
    """Count in each draw how often each kind came.

    Shape:
        drawn: `(R, units)`, kind: `(units,)`; returns `(R, kinds)` float64.
    """
    size = len(drawn)
    places = kind[drawn] + kinds * np.arange(size)[:, None]
    table = np.bincount(places.ravel(), minlength=size * kinds).reshape(size, kinds)
    return torch.from_numpy(table.astype(np.float64))


def as_samples(values: Values, name: str) -> Tensor | np.ndarray:
    """Read values that can be indexed by sample, tensors staying tensors.

    Raises:
        ValueError: they are one number.
    """
    table: Any = values.detach().cpu() if isinstance(values, Tensor) else np.asarray(values)
    if table.ndim == 0:
        raise ValueError(f"the {name} is one number, expected one for each sample.")
    return table


def finite(value: float) -> float:
    """Take a metric's value.

    Raises:
        ValueError: it is NaN or infinite.
    """
    value = float(value)
    if not np.isfinite(value):
        raise ValueError(
            f"the metric gave {value}; an interval needs a metric that is a number on every draw."
        )
    return value


def check_settings(resamples: int, level: float) -> None:
    """Check the number of resamples and the level.

    Raises:
        ValueError: one of them means nothing.
    """
    if not isinstance(resamples, int | np.integer) or resamples < 1:
        raise ValueError(
            f"resamples is {resamples}, expected a whole number from 1 on (2000 is usual)."
        )
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a share between 0 and 1, such as 0.95.")
