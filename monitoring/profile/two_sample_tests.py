"""Two-sample tests on profiles: the p-values that scipy computes from rows, computed from counts alone.

A categorical test takes both samples' counts by level; some measure a distance, which is no p-value. A numeric test
takes the profiles of the reference and of the current rows, on the same grid, the index of a numeric column,
and for each of the two whether its infinite values count.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats
from scipy.spatial import distance

from monitoring.profile.profile import Counts, Profile

RARE = 0.0001  # the share that Evidently's PSI takes for that of a level which does not occur
LEAST_EXPECTED = 5  # values of a category, below which the chi-square approximation does not hold
EXACT_UP_TO = 10_000  # rows of the larger sample up to which scipy.stats.ks_2samp computes an exact p-value


def _cells(profile: Profile, index: int, *, infinite: bool) -> Counts:
    """Return a feature's cells (2k + 3,), the outer two for -inf and +inf; these are 0 without `infinite`."""
    _, lowest, highest = profile.special[index] * infinite
    return np.concatenate([[lowest], profile.column(index), [highest]])


def ks_statistic(reference: Counts, current: Counts) -> float:
    """Return the Kolmogorov-Smirnov statistic of two samples, from their counts (cells,).

    It is exact: the two distribution functions differ most at a value of the reference or just before one.
    """
    gaps = np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum()
    return float(max(np.clip(-gaps.min(), 0, 1), gaps.max()))


def ks_p_value(reference: Counts, current: Counts) -> float:
    """Return the two-sided p-value of scipy.stats.ks_2samp, to the bit."""
    n, m = (float(cells.sum()) for cells in (reference, current))
    if max(n, m) <= EXACT_UP_TO:  # cells in place of values: the order is the same, so is the p-value
        places = np.arange(len(reference))
        return float(stats.ks_2samp(np.repeat(places, reference), np.repeat(places, current)).pvalue)
    larger, smaller = max(n, m), min(n, m)
    effective = np.round(larger * smaller / (larger + smaller))
    return float(np.clip(stats.kstwo.sf(ks_statistic(reference, current), effective), 0, 1))


def _ks(reference: Profile, current: Profile, index: int, infinite: tuple[bool, bool]) -> float:
    return ks_p_value(_cells(reference, index, infinite=infinite[0]), _cells(current, index, infinite=infinite[1]))


def _t_test(reference: Profile, current: Profile, index: int, infinite: tuple[bool, bool]) -> float:
    """Return the p-value of scipy.stats.ttest_ind; equal up to rounding, for sums are in another order."""
    sides = [(reference, infinite[0]), (current, infinite[1])]
    if any(keep and side.special[index, 1:].any() for side, keep in sides):
        return float("nan")
    moments = [(side.mean(index), np.sqrt(side.variance(index)), side.finite(index)) for side in (reference, current)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(stats.ttest_ind_from_stats(*moments[0], *moments[1]).pvalue)


NUMERIC: Mapping[str, Callable[..., float]] = {"ks": _ks, "t_test": _t_test}


def two_sample_chi_square(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """Return the p-value of the chi-square test of homogeneity of two samples' categories.

    Evidently's own test takes the reference's shares to be exact, and finds drift in any large window. Categories of
    which fewer than LEAST_EXPECTED values are expected in the smaller sample count together (Cochran 1954, "Some
    methods for strengthening the common chi-square tests"): of hundreds of rare ones some would be drift by chance.
    """
    names = sorted({*reference, *current})
    table = np.array([[side.get(name, 0) for name in names] for side in (reference, current)]).reshape(2, len(names))
    table = _with_rare_together(table)
    if table.shape[1] <= 1:  # a single category on both sides: nothing to test
        return 1.0
    return float(stats.chi2_contingency(table, correction=False).pvalue)


@dataclass(frozen=True)
class Homogeneity:
    """What counts of two samples say of their being drawn alike.

    `distance` is the chi-square distance of both distributions beyond what chance makes of such samples, `effect` the
    share of values that would have to move, beyond chance too: it is at most half the root of that distance.
    """

    p_value: float = 1.0
    distance: float = 0.0
    effect: float = 0.0


@dataclass(frozen=True)
class Clustering:
    """What rows that come in clusters do to the chi-square statistic (Rao and Scott 1984).

    `inflation` is the factor by which it is larger on average, `degrees` are those of the chi-square distribution that
    it has then, nearly (Satterthwaite), and `clusters` tell how well both are known.
    """

    inflation: float
    degrees: float
    clusters: int


def homogeneity(table: Counts, clustering: Clustering | None = None) -> Homogeneity:
    """Test counts of two samples (2, k) by chi-square, with the rarest cells together until each may be expected.

    p is 1 where there is nothing to test. With a clustering the statistic is F with its degrees of freedom.
    """
    table = _with_expected(table)
    rows = table.sum(axis=1)
    if table.shape[1] <= 1 or not rows.all():
        return Homogeneity()
    expected, degrees = np.outer(rows, table.sum(axis=0) / table.sum()), table.shape[1] - 1
    inflation = 1.0 if clustering is None else clustering.inflation
    statistic = float(((table - expected) ** 2 / expected).sum()) / inflation
    distance = inflation * max(0.0, statistic - degrees) * float((1 / rows).sum())
    moved = float(np.abs(table[0] / rows[0] - table[1] / rows[1]).sum()) / 2
    effect = min(moved, 0.5 * math.sqrt(distance))
    if clustering is None:
        return Homogeneity(float(special.chdtrc(degrees, statistic)), distance, effect)
    ours = min(float(degrees), clustering.degrees)
    p_value = float(special.fdtrc(ours, max(1, clustering.clusters - 1), statistic / degrees))
    return Homogeneity(p_value, distance, effect)


def _with_expected(table: Counts) -> Counts:
    """Return counts (2, k) whose two smallest cells are put together until each is expected often enough."""
    table = table[:, table.any(axis=0)]
    share = table.sum(axis=1).min() / max(1, int(table.sum()))
    while table.shape[1] > 1:
        order = np.argsort(table.sum(axis=0), kind="stable")
        if table[:, order[0]].sum() * share >= LEAST_EXPECTED:
            break
        table = np.column_stack([table[:, order[2:]], table[:, order[:2]].sum(axis=1)])
    return table


def _with_rare_together(table: Counts) -> Counts:
    """Return counts of both samples (2, k) with the rare categories as one; of fewer than three all stay."""
    sizes = table.sum(axis=1)
    expected = table.sum(axis=0) * sizes.min() / max(int(sizes.sum()), 1)
    rare = expected < LEAST_EXPECTED
    if len(expected) < 3 or np.count_nonzero(rare) < 2:  # noqa: PLR2004 - two of them are tested as they are
        return table
    return np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])


def _chi_square(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """Return the p-value of scipy.stats.chisquare with the reference's shares as expectation, as Evidently does."""
    names = sorted({*reference, *current})
    scale = sum(current.values()) / sum(reference.values())
    observed = [current.get(name, 0) for name in names]
    expected = [reference.get(name, 0) * scale for name in names]
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(stats.chisquare(observed, expected).pvalue)


def _z(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """Return the two-sided p-value of the z-test of the first level's share, as Evidently does."""
    names = sorted({*reference, *current})
    if len(names) == 1:
        return 1.0
    sizes = [sum(side.values()) for side in (reference, current)]
    others = [size - side.get(names[0], 0) for size, side in zip(sizes, (reference, current), strict=True)]
    pooled = sum(others) / sum(sizes)
    error = np.sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
    return float(2 * (1 - stats.norm.cdf(abs(others[0] / sizes[0] - others[1] / sizes[1]) / error)))


def _shares(reference: Mapping[str, int], current: Mapping[str, int]) -> list[npt.NDArray[np.float64]]:
    """Return both samples' shares of each level (k,)."""
    names = sorted({*reference, *current})
    return [np.array([side.get(name, 0) / sum(side.values()) for name in names]) for side in (reference, current)]


def _psi(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """Return the population stability index, with Evidently's small shares in the place of none."""
    ours, theirs = (_without_zeros(shares) for shares in _shares(reference, current))
    return float(np.sum((ours - theirs) * np.log(ours / theirs)))


def _without_zeros(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    least = shares[shares > 0].min()
    return np.where(shares > 0, shares, least / 1e6 if least <= RARE else RARE)


def _jensen_shannon(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """Return the Jensen-Shannon distance, in nats as Evidently does."""
    return float(distance.jensenshannon(*_shares(reference, current)))


def total_variation(reference: Mapping[str, int], current: Mapping[str, int]) -> float:
    """Return the total variation distance: the share of values that would have to change."""
    ours, theirs = _shares(reference, current)
    return float(np.abs(ours - theirs).sum() / 2)


CATEGORICAL: Mapping[str, Callable[[Mapping[str, int], Mapping[str, int]], float]] = {
    "chi_square_two_sample": two_sample_chi_square,
    "chisquare": _chi_square,
    "z": _z,
    "psi": _psi,
    "jensenshannon": _jensen_shannon,
    "total_variation": total_variation,
}
