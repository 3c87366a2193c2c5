"""The last changepoint of the rows: from there on their distribution is one.

Binary segmentation (Scott and Knott 1974) with the two-sample Kolmogorov-Smirnov test. Its p-values are right for rows
that do not depend on each other. On traffic with a rhythm and weather every hour differs from the last one, and is no
change. Whether rows depend on each other is tested first: within the segments that the plain test finds, neighbours of
independent rows are not alike. Where they are alike, a change must also exceed what windows of the same side differ by,
each a tenth of the rows: the method of batch means (Schmeiser 1982, "Batch size effects in the analysis of simulation
output"). Automatic block lengths (Politis and White 2004) come out too short here: what a split explains of a slow
change of the weather is no longer seen as dependence.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import kolmogorov, stdtr

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Doubles = npt.NDArray[np.float64]
Splits = npt.NDArray[np.intp]

STEP = 25
SHORTEST = 50
LEVEL = 0.001
WINDOWS = 10  # that dependent rows are cut into
MOST_SPLITS = 320  # of the rows in one round, and half as many of the newest ones: of 8,000 rows, one every STEP
MOST_POINTS = 8192  # values at which two distributions are held against each other
_ROUNDING = 1e-12  # of a variance of ranks: what is less is none
_ALIKE = 4.0  # standard errors of the correlation of neighbours above which rows depend on each other


@dataclass(frozen=True)
class _Change:
    feature: int
    split: int
    strength: float


def last_changepoint(features: Floats, level: float = LEVEL) -> int:
    """Return the first row after the last change of distribution of rows (n, features), oldest first; 0 without one.

    Among splits every STEP rows (of very many rows, fewer of the older ones) the strongest of any feature is taken. If
    it is below `level` after Bonferroni's correction for all splits and features, its place is refined to the row, the
    older side is dropped, and the newer one searched again. A missing value counts as a value below all others, so that
    a change in what is missing is a change too. Where rows depend on each other, a side is at least two windows long: a
    shorter spell is no change.
    """
    filled = np.where(np.isnan(features), -np.inf, features)
    dependent = _depend(filled, [0, *_segments(filled, level), len(filled)])
    start = 0
    while (split := _change(filled[start:], level, dependent=dependent)) is not None:
        start += split
    return start


def _segments(values: Floats, level: float, first: int = 0) -> Iterator[int]:
    """Yield the changepoints that independent rows would have, in order."""
    split = _change(values, level, dependent=False)
    if split is not None:
        yield from _segments(values[:split], level, first)
        yield first + split
        yield from _segments(values[split:], level, first + split)


def _depend(values: Floats, bounds: list[int]) -> bool:
    """Say whether neighbours within the segments are alike: the lag-one correlation of ranks, of any feature.

    Less what it is on average for independent rows, minus one over the rows of a segment (Kendall 1954).
    """
    rows = len(values)
    if len(bounds) == 2:  # noqa: PLR2004 - one segment: no change was found that dependence could feign
        return False
    for column in values.T:
        ranks = _ranks(column)
        pieces = [ranks[begin:end] - ranks[begin:end].mean() for begin, end in pairwise(bounds)]
        total = sum(float(np.sum(piece**2)) for piece in pieces)
        together = sum(float(np.sum(piece[1:] * piece[:-1])) for piece in pieces)
        if total and (together / total + len(pieces) / rows) * math.sqrt(rows) > _ALIKE:
            return True
    return False


def _change(values: Floats, level: float, *, dependent: bool) -> int | None:
    rows, features = values.shape
    splits, step = _splits(rows, max(SHORTEST, 2 * (rows // WINDOWS)) if dependent else SHORTEST)
    if not len(splits):
        return None
    changes = [found for one in range(features) for found in _changes(values, one, splits, level, dependent=dependent)]
    if not changes:
        return None
    best = max(changes, key=lambda change: change.strength)
    if not dependent:
        return _refined(values, best.split, step)
    column = values[:, best.feature : best.feature + 1]
    return _refined(column, best.split, max(step, rows // WINDOWS + 1))


def _splits(rows: int, shortest: int) -> tuple[Splits, int]:
    """Return the splits to look at and how far apart they are at most: every STEP rows, of many rows further apart.

    Among the newest rows they stay STEP apart: there a change is to be seen early.
    """
    step = STEP * max(1, -(-rows // (STEP * MOST_SPLITS)))
    splits = np.arange(shortest, rows - shortest + 1, step)
    newest = np.arange(rows - shortest, max(shortest, rows - STEP * MOST_SPLITS // 2), -STEP) if step > STEP else splits
    return np.union1d(splits, newest), step


def _refined(values: Floats, split: int, step: int) -> int:
    """Return the split less than `step` from another one at which older and newer rows differ most in any feature.

    The splits between are looked at in rounds, each among the neighbours of the best one of the round before.
    """
    while step > 1:
        reach, step = step - 1, 1 if step <= STEP else max(STEP, step // STEP)
        nearby = np.arange(max(1, split - reach), min(len(values) - 1, split + reach) + 1, step)
        evidence = np.max([_ks_scaled(column, nearby) for column in values.T], axis=0)
        split = int(nearby[np.argmax(evidence)])
    return split


def _changes(values: Floats, feature: int, splits: Splits, level: float, *, dependent: bool) -> Iterator[_Change]:
    """Yield a feature's splits that are a change, each with its strength, which compares within a kind of rows."""
    column, features = values[:, feature], values.shape[1]
    evidence = _ks_scaled(column, splits)
    significant = kolmogorov(evidence) * len(splits) * features < level
    if not dependent:
        yield from (_Change(feature, int(splits[one]), float(evidence[one])) for one in np.flatnonzero(significant))
        return
    if not significant.any():
        return
    ranks, splits = _ranks(column), splits[significant]
    p_values = np.minimum(*(_batch_means(scores, splits) for scores in (ranks, np.abs(ranks)))) * 2 * WINDOWS * features
    for split, p_value in zip(splits, p_values, strict=True):
        if p_value < level:
            yield _Change(feature, int(split), -math.log(max(p_value, 1e-300)))


def _ranks(column: Floats) -> npt.NDArray[np.float64]:
    """Return each value's rank among all (n,), from -0.5 to 0.5; equal values have the same."""
    _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    return np.asarray(((np.cumsum(counts) - counts / 2) / len(column) - 0.5)[place])


def _batch_means(scores: Doubles, splits: Splits) -> Doubles:
    """Return the p-values (splits,) of older and newer scores (n,) having one mean, by the means of windows of a side.

    The variance is that of the side that varies more. A mean over a window of a side is the nearer to the side's the
    longer the window, hence the correction.
    """
    rows, window = len(scores), len(scores) // WINDOWS
    total = np.concatenate([[0.0], np.cumsum(scores)])
    sides = np.array([splits, rows - splits])
    means = np.array([total[splits], total[-1] - total[splits]]) / sides
    windows = (total[window:] - total[:-window]) / window
    within = _variances(windows, splits - window + 1, splits, means) / (1 - window / sides)
    variance = np.maximum(within, _variances(scores, splits, splits, means) / window).max(axis=0)
    spread = np.sqrt(variance * np.sum(window / sides, axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * stdtr(rows / window - 2, -np.abs(means[0] - means[1]) / spread)
    return np.where(variance > 0, p_values, 0.0)


def _variances(values: Doubles, end: Splits, begin: Splits, means: Doubles) -> Doubles:
    """Return the mean square distance of values (n,) before `end` from the older mean, and from `begin` on the newer.

    `means` and the result are (2, splits). What sums of squares cannot tell from 0 is 0.
    """
    sums, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (values, values**2))
    number = np.array([end, len(values) - begin])
    first = np.array([sums[end], sums[-1] - sums[begin]]) / number
    second = np.array([squares[end], squares[-1] - squares[begin]]) / number
    found = second - 2 * means * first + means**2
    return np.where(found > _ROUNDING, found, 0.0)


def _ks_scaled(column: Floats, splits: Splits) -> Doubles:
    """Return sqrt(n·m/(n+m))·D of older against newer rows, per split; `splits` ascend.

    D is taken at MOST_POINTS values of the rows at most, so that the work grows with the rows, not with their square.
    """
    rows = len(column)
    points = np.unique(column)
    if len(points) > MOST_POINTS:
        points = np.unique(np.sort(column)[np.linspace(0, rows - 1, MOST_POINTS).astype(np.intp)])
    place = np.searchsorted(points, column)
    distance, below, begin = np.empty(len(splits)), np.zeros(len(points), np.intp), 0
    all_below = np.cumsum(np.bincount(place, minlength=len(points)))
    for at, split in enumerate(splits):
        np.add.at(below, place[begin:split], 1)
        begin = split
        older = np.cumsum(below)
        distance[at] = np.abs(older / split - (all_below - older) / (rows - split)).max()
    return np.sqrt(splits * (rows - splits) / rows) * distance
