"""Effect sizes of a change in one column, with bootstrap intervals: how far apart the distributions of two samples are.

All are computed from the samples' counts in common cells, so that the bootstrap only draws multinomial counts. A cell
is one distinct value of either sample, or where there are many, a range that holds as many values as the others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.alarms.drift.usual import Floats

DRAWS = 200  # of the bootstrap
COVERAGE = 0.95
BINS = 10  # of the population stability index
CELLS = 200  # about, at most
KOLMOGOROV_MEAN = 0.8687  # of Kolmogorov's distribution: sqrt(pi / 2) * ln 2

Measure = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Effect:
    """An effect size and its interval of 95 % (percentile bootstrap, Efron 1979)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Effects:
    """The effect sizes of one column.

    `ks`: the Kolmogorov-Smirnov distance, 0 to 1, and for a category the total variation distance. `psi`: the
    population stability index over the reference's deciles, or categories. `wasserstein`: the distance of the
    distributions in the reference's standard deviations; None for a category.
    """

    ks: Effect
    psi: Effect
    wasserstein: Effect | None


def numeric_effects(reference: Floats, current: Floats, rng: np.random.Generator) -> Effects | None:
    """Compare finite values (n,) with others (k,); None if either sample has none."""
    if not len(reference) or not len(current):
        return None
    deciles = np.unique(np.quantile(reference, np.arange(1, BINS) / BINS))
    both = np.sort(np.concatenate([reference, current]))
    ends = np.unique(np.concatenate([both[:: max(1, len(both) // CELLS)], both[-1:], deciles]))  # a cell's last value
    ours, theirs = (
        np.bincount(np.searchsorted(ends, x), minlength=len(ends)).astype(np.float64) for x in (reference, current)
    )
    bins = np.insert(np.searchsorted(ends, deciles[deciles < ends[-1]]) + 1, 0, 0)
    gaps = np.append(np.diff(ends), 0.0) / (reference.std() or 1.0)

    def measure(a: Floats, b: Floats) -> Floats:
        """Return the three effect sizes (3, …) of shares (…, cells)."""
        above = np.abs(np.cumsum(a - b, axis=-1))
        psi = _psi(np.add.reduceat(a, bins, axis=-1), np.add.reduceat(b, bins, axis=-1))
        return np.stack([above.max(-1), psi, (above * gaps).sum(-1)])

    return Effects(*_effects(measure, ours, theirs, rng))


def category_effects(reference: Floats, current: Floats, rng: np.random.Generator) -> Effects:
    """Compare counts of categories (c,) with counts (c,)."""

    def measure(a: Floats, b: Floats) -> Floats:
        return np.stack([np.abs(a - b).sum(-1) / 2, _psi(a, b)])

    ks, psi = _effects(measure, reference, current, rng)
    return Effects(ks, psi, None)


def beyond_chance(distance: float, reference_rows: int, rows: int, common: float = 0.0) -> float:
    """Return a Kolmogorov-Smirnov distance less its mean without any change, for samples of these sizes; 0 at least.

    Rows that depend on each other have a deviation in `common`, in deviations of one row: the mean distance of two
    normal distributions that are so far apart is arctan(common / 2) * 2 / pi.
    """
    one_by_one = KOLMOGOROV_MEAN * math.sqrt(1 / max(reference_rows, 1) + 1 / max(rows, 1))
    return max(0.0, distance - math.hypot(one_by_one, math.atan(common / 2) * 2 / math.pi))


def total_variation_by_chance(reference: Floats, current: Floats, deviations: Floats, of: Sequence[float]) -> float:
    """Return the mean total variation distance without any change, from counts of categories (c,) of both samples.

    `deviations` (c,) are those of the categories, 1 for rows drawn one by one; both were drawn `of` so many rows. The
    mean of a normal value's size is sqrt(2 / pi) deviations.
    """
    n, m = (max(counts.sum(), 1) for counts in (reference, current))
    pooled = (reference + current) / (n + m)
    variance = pooled * (1 - pooled)
    drawn, common = 1 / n + 1 / m, sum(1 / max(rows, 1) for rows in of)
    deviation = np.sqrt(variance * (drawn + (deviations**2 - 1) * common))
    return float(math.sqrt(2 / math.pi) * deviation.sum() / 2)


def _psi(a: Floats, b: Floats) -> Floats:
    """Return the population stability index (…) of shares (…, cells)."""
    a, b = (np.maximum(x, 1e-4) for x in (a, b))  # an empty cell has a large index, not an infinite one
    index: Floats = ((b - a) * np.log(b / a)).sum(-1)
    return index


def _effects(measure: Measure, ours: Floats, theirs: Floats, rng: np.random.Generator) -> list[Effect]:
    """Measure two samples, given their counts (cells,), with intervals from counts drawn anew from each."""
    shares, drawn = [], []
    for counts in (ours, theirs):
        number = max(int(counts.sum()), 1)
        shares.append(counts / number)
        drawn.append(rng.multinomial(number, counts / number, size=DRAWS) / number)
    low, high = np.quantile(measure(*drawn), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=-1)
    return [Effect(*map(float, of)) for of in zip(measure(*shares), low, high, strict=True)]
