"""Split by group: no speaker, video or dialogue stands in two parts, and labels stay balanced.

Models recognise people. A split that lets one person into training and test measures how well a
model knows that person; only a split by group measures what it will do with someone new.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from mmlib.data.feature_set import SPLITS, FeatureError, listed

__all__ = ["grouped_folds", "split_by_group"]

Column = np.ndarray | Sequence | Tensor
# How many ways to deal out the groups are compared; fewer where groups are many and chance is even.
_MOST_TRIES, _MOST_DEALT = 2000, 2_000_000


def split_by_group(
    group: Column,
    *,
    labels: Column | None = None,
    shares: Sequence[float] | Mapping[str, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
) -> np.ndarray:
    """Put each group into train, valid or test, near the wanted shares of the samples.

    Many ways to deal the groups out are drawn by scikit-learn's `GroupShuffleSplit`, and the one is
    taken whose parts come nearest to their shares of the samples and, with `labels`, of every class
    (of a number: of every quarter of its range of values). The same seed gives the same split.

    Shape:
        group: `(N,)` names; labels: `(N,)` classes, or `(N, K)` or `(N, T, K)` numbers.
        shares: of train, valid and test; or by name, a part left out being empty.
        returns: `(N,)` str.

    Raises:
        FeatureError: fewer groups than parts, labels of another number, or impossible shares.
    """
    wanted = _shares(shares)
    names, of_sample = _groups(group)
    parts = np.flatnonzero(wanted)
    if len(names) < len(parts):
        raise FeatureError(
            f"there are {len(names)} groups ({listed(names)}) for {len(parts)} parts "
            f"({listed([SPLITS[part] for part in parts])}); a group cannot stand in two, so give "
            "some part the share 0, or find more groups."
        )
    kinds = np.zeros((len(of_sample), 1), np.int64) if labels is None else _kinds(labels, of_sample)
    counts = _counts_by_group(kinds, of_sample, len(names))
    chosen = np.full(len(names), parts[0])
    if len(parts) > 1:
        dealt = _deal(len(names), wanted[parts], seed)
        chosen = parts[dealt[_nearest(dealt, counts, wanted[parts])]]
    return np.array(SPLITS)[chosen][of_sample]


def grouped_folds(
    group: Column, *, labels: Column | None = None, folds: int = 5, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut the samples into folds for cross-validation, each group in one fold.

    scikit-learn's `StratifiedGroupKFold` keeps classes (of numbers: quarters of their range of
    values, of the first target) as even as the groups allow; without labels it evens out the sizes.

    Shape:
        group: `(N,)` names; labels: as in `split_by_group`.
        returns: `folds` pairs of row numbers, those to train on and those to test on.

    Raises:
        FeatureError: fewer groups than folds, fewer than two folds, or labels of another number.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names, of_sample = _groups(group)
    if folds < 2:
        raise FeatureError(f"folds is {folds}, expected at least 2.")
    if len(names) < folds:
        raise FeatureError(
            f"there are {len(names)} groups ({listed(names)}) for {folds} folds; a group cannot "
            f"stand in two, so ask for {len(names)} folds or fewer."
        )
    kinds = np.zeros(len(of_sample), np.int64)
    if labels is not None:
        kinds = _kinds(labels, of_sample)[:, 0]
    # It refuses folds that outnumber every class, and warns of one class; both are for us to bear.
    if np.bincount(kinds).max() < folds:
        kinds = np.zeros_like(kinds)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(splitter.split(np.zeros(len(of_sample)), kinds, of_sample))


def _shares(shares: Sequence[float] | Mapping[str, float]) -> np.ndarray:
    """Read the shares of train, valid and test."""
    if isinstance(shares, Mapping):
        strange = [name for name in shares if name not in SPLITS]
        if strange:
            raise FeatureError(
                f"there is no part '{strange[0]}' that could have a share; the parts are "
                f"{listed(SPLITS)}."
            )
        shares = [shares.get(name, 0.0) for name in SPLITS]
    wanted = np.asarray(shares, dtype=np.float64)
    good = wanted.shape == (3,) and bool((wanted >= 0).all()) and abs(wanted.sum() - 1) < 1e-6
    if not good:
        raise FeatureError(
            f"the shares are {listed([str(share) for share in shares])}; expected three numbers "
            "from 0 to 1, of train, valid and test, that sum to 1."
        )
    return wanted


def _groups(group: Column) -> tuple[np.ndarray, np.ndarray]:
    """Number the groups."""
    column = np.asarray(group)
    if column.ndim != 1 or len(column) == 0:
        raise FeatureError(f"group has shape {column.shape}, expected one name for each sample.")
    names, of_sample = np.unique(column, return_inverse=True)
    return names, of_sample


def _kinds(labels: Column, of_sample: np.ndarray) -> np.ndarray:
    """Turn labels into kinds to be balanced: classes, or quarters of each target.

    Shape:
        returns `(N, K)` int64.
    """
    table = np.asarray(labels)
    if len(table) != len(of_sample):
        raise FeatureError(
            f"there are {len(table)} labels but {len(of_sample)} samples with a group."
        )
    if table.dtype.kind != "f":
        return np.unique(table, return_inverse=True)[1].reshape(len(table), -1)[:, :1]
    if table.ndim == 3:  # a label a step: its mean over the sequence
        table = table.mean(1)
    table = table.reshape(len(table), -1)
    cuts = np.quantile(table, [0.25, 0.5, 0.75], axis=0)
    return (table[:, None] > cuts).sum(1)


def _counts_by_group(kinds: np.ndarray, of_sample: np.ndarray, groups: int) -> np.ndarray:
    """Count how often each kind comes in each group, `(G, kinds)`; kinds of targets side by side."""
    tables = []
    for column in kinds.T:
        size = int(column.max()) + 1
        table = np.bincount(of_sample * size + column, minlength=groups * size)
        tables.append(table.reshape(groups, size))
    return np.concatenate(tables, axis=1).astype(np.float64)


def _deal(groups: int, wanted: np.ndarray, seed: int) -> np.ndarray:
    """Draw ways to deal the groups out, each part getting its share of groups but at least one.

    Shape:
        returns `(tries, G)`, the position in `wanted`.
    """
    from sklearn.model_selection import GroupShuffleSplit

    sizes = np.maximum(1, np.floor(wanted * groups)).astype(int)
    while sizes.sum() > groups:
        sizes[np.argmax(np.where(sizes > 1, sizes - wanted * groups, -np.inf))] -= 1
    while sizes.sum() < groups:
        sizes[np.argmin(sizes - wanted * groups)] += 1
    tries = int(np.clip(_MOST_DEALT // groups, 50, _MOST_TRIES))
    numbers = np.arange(groups)
    # It deals into two parts; what it leaves over is the third.
    splitter = GroupShuffleSplit(
        n_splits=tries, train_size=int(sizes[0]), test_size=int(sizes[-1]), random_state=seed
    )
    dealt = np.ones((tries, groups), dtype=np.int64)
    for way, (train, test) in zip(dealt, splitter.split(numbers, groups=numbers), strict=True):
        way[train], way[test] = 0, len(sizes) - 1
    return dealt


def _nearest(dealt: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> int:
    """Find the way whose parts are nearest to their shares of every kind (least chi-square)."""
    distance = np.zeros(len(dealt))
    for part, share in enumerate(wanted):
        expected = share * counts.sum(0)
        found = (dealt == part).astype(np.float64) @ counts
        distance += ((found - expected) ** 2 / np.maximum(expected, 1e-9)).sum(1)
    return int(distance.argmin())
