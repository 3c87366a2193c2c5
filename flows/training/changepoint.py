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
Splits = npt.NDArray[np.intp]

STEP = 25
SHORTEST = 50
LEVEL = 0.001
WINDOWS = 10  # that dependent rows are cut into
_ALIKE = 4.0  # standard errors of the correlation of neighbours above which rows depend on each other


@dataclass(frozen=True)
class _Change:
    feature: int
    split: int
    strength: float


def last_changepoint(features: Floats, level: float = LEVEL) -> int:
    """Return the first row after the last change of distribution of rows (n, features), oldest first; 0 without one.

    Among splits every STEP rows the strongest of any feature is taken. If it is below `level` after Bonferroni's
    correction for all splits and features, its place is refined to the row, the older side is dropped, and the newer
    one searched again. A missing value counts as a value below all others, so that a change in what is missing is a
    change too. Where rows depend on each other, a side is at least two windows long: a shorter spell is no change.
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
    shortest = max(SHORTEST, 2 * (rows // WINDOWS)) if dependent else SHORTEST
    splits = np.arange(shortest, rows - shortest + 1, STEP)
    if not len(splits):
        return None
    changes = [found for one in range(features) for found in _changes(values, one, splits, level, dependent=dependent)]
    if not changes:
        return None
    best = max(changes, key=lambda change: change.strength)
    if not dependent:
        return _refined(values, best.split, STEP - 1)
    column = values[:, best.feature : best.feature + 1]
    return _refined(column, _refined(column, best.split, rows // WINDOWS, STEP), STEP - 1)


def _refined(values: Floats, split: int, reach: int, step: int = 1) -> int:
    """Return the split near another one at which older and newer rows differ most in any feature."""
    nearby = np.arange(max(1, split - reach), min(len(values) - 1, split + reach) + 1, step)
    evidence = np.max([_ks_scaled(column, nearby) for column in values.T], axis=0)
    return int(nearby[np.argmax(evidence)])


def _changes(values: Floats, feature: int, splits: Splits, level: float, *, dependent: bool) -> Iterator[_Change]:
    """Yield a feature's splits that are a change, each with its strength, which compares within a kind of rows."""
    column, features = values[:, feature], values.shape[1]
    evidence = _ks_scaled(column, splits)
    significant = np.flatnonzero(kolmogorov(evidence) * len(splits) * features < level)
    if not dependent:
        yield from (_Change(feature, int(splits[one]), float(evidence[one])) for one in significant)
        return
    ranks = _ranks(column)
    for one in significant:
        split = int(splits[one])
        p_value = min(_batch_means(scores, split) for scores in (ranks, np.abs(ranks))) * 2 * WINDOWS * features
        if p_value < level:
            yield _Change(feature, split, -math.log(max(p_value, 1e-300)))


def _ranks(column: Floats) -> npt.NDArray[np.float64]:
    """Return each value's rank among all (n,), from -0.5 to 0.5; equal values have the same."""
    _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    return np.asarray(((np.cumsum(counts) - counts / 2) / len(column) - 0.5)[place])


def _batch_means(scores: npt.NDArray[np.float64], split: int) -> float:
    """Return the p-value of older and newer scores (n,) having one mean, by the means of windows within each side.

    The variance is that of the side that varies more. A mean over a window of a side is the nearer to the side's the
    longer the window, hence the correction.
    """
    window, variances = len(scores) // WINDOWS, [0.0]
    sides = scores[:split], scores[split:]
    for side in sides:
        sums = np.concatenate([[0.0], np.cumsum(side - side.mean())])
        means = (sums[window:] - sums[:-window]) / window
        variances += [float(np.mean(means**2)) / (1 - window / len(side)), float(np.var(side)) / window]
    variance = max(variances)
    if not variance:
        return 0.0
    difference = abs(float(sides[0].mean() - sides[1].mean()))
    spread = math.sqrt(variance * sum(window / len(side) for side in sides))
    return 2 * float(stdtr(len(scores) / window - 2, -difference / spread))


def _ks_scaled(column: Floats, splits: Splits) -> npt.NDArray[np.float64]:
    """Return sqrt(n·m/(n+m))·D of older against newer rows, per split."""
    rows = len(column)
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    older = order[None, :] < splits[:, None]
    share_older = np.cumsum(older, axis=1) / splits[:, None]
    share_newer = np.cumsum(~older, axis=1) / (rows - splits)[:, None]
    distance = np.abs(share_older - share_newer)[:, last_of_equals].max(axis=1)
    return np.asarray(np.sqrt(splits * (rows - splits) / rows) * distance)
