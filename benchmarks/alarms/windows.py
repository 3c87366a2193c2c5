"""Peers that test a window of the newest rows against the reference: the mission's rule, Evidently's, and FDR."""

from collections.abc import Callable
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, kstwo

from benchmarks.alarms.rows import Floats, Rows
from benchmarks.alarms.watches import Numbers, Peer, ScoredWatch, Variant, ends, power

NEWEST, LEAST, EVERY = 1_000, 200, 50
DRIFTED = 7  # of 14 columns: Evidently's share of 0.5
FLOOR = -300.0  # of decimal logarithms of p-values
_GRID = np.concatenate([np.linspace(0, 0.3, 121), np.linspace(0.31, 1, 40)])

Counts = npt.NDArray[np.intp]


@cache
def _table(effective: int) -> Floats:
    """Return log10 of the two-sample KS test's p-value on the grid, as scipy's asymptotic method has it."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log10(kstwo.sf(_GRID, effective)), FLOOR)


def ks_log_p(distance: Floats, rows: Counts, reference_rows: int) -> Floats:
    """Return log10 of the p-values of KS distances, read off a table: there are thousands of windows."""
    effective = np.maximum(np.round(rows * reference_rows / (rows + reference_rows)), 1).astype(int)
    return np.array([np.interp(d, _GRID, _table(int(n))) for d, n in zip(distance, effective, strict=True)])


def _log_p(statistic: float, freedom: int) -> float:
    return max(float(chi2.logsf(statistic, freedom)) / np.log(10), FLOOR)


class Windows:
    """Windows of a stretch of rows against a reference without missing values."""

    def __init__(self, reference: Rows, rows: Rows) -> None:
        self.size, self.rows = len(reference), rows
        self._sorted = np.sort(reference.features, axis=0).T
        pairs = [(np.searchsorted(one, one, "right"), np.searchsorted(one, one, "left")) for one in self._sorted]
        self._upto, self._below = (np.array(side) / self.size for side in zip(*pairs, strict=True))
        self._expected = np.bincount(reference.predictions, minlength=10)

    @cached_property
    def _places(self) -> tuple[Counts, Counts, npt.NDArray[np.bool_]]:
        """Return for each value how many reference values are below it and up to it; missing ones lie above all."""
        columns, offsets = self.rows.features.T, (self.size + 1) * np.arange(len(self._sorted))
        below, upto = (
            np.column_stack([np.searchsorted(one, new, side) for one, new in zip(self._sorted, columns, strict=True)])
            for side in ("left", "right")
        )
        missing = np.isnan(self.rows.features)
        below[missing] = upto[missing] = self.size
        return below + offsets, upto + offsets, missing

    def distances(self, begin: int, end: int) -> tuple[Floats, Counts]:
        """Return each feature's two-sample KS distance, and how many values it has."""
        below, upto, missing = (part[begin:end] for part in self._places)
        present = end - begin - missing.sum(axis=0)
        gaps = []
        for place, share in ((below, self._upto), (upto, self._below)):
            counted = np.bincount(place.ravel(), minlength=share.size + len(share)).reshape(len(share), -1)
            gaps.append(np.abs(counted[:, :-1].cumsum(axis=1) / np.maximum(present, 1)[:, None] - share).max(axis=1))
        return np.where(present, np.maximum(*gaps), 0.0), present

    def features(self, begin: int, end: int) -> Floats:
        """Return log10 of each feature's KS p-value."""
        return ks_log_p(*self.distances(begin, end), self.size)

    def _predictions(self, begin: int, end: int) -> tuple[Counts, Counts]:
        found = np.bincount(self.rows.predictions[begin:end], minlength=10)
        some = (found + self._expected) > 0
        return found[some], self._expected[some]

    def goodness_of_fit(self, begin: int, end: int) -> float:
        """Return log10 of the prediction's p-value with the reference's shares taken for exact, as Evidently does."""
        found, expected = self._predictions(begin, end)
        shares = expected * found.sum() / self.size
        if not shares.all():
            return FLOOR
        return _log_p(float(((found - shares) ** 2 / shares).sum()), len(found) - 1)

    def homogeneity(self, begin: int, end: int) -> float:
        """Return log10 of the p-value of the prediction's two-sample chi-square test."""
        both = np.array(self._predictions(begin, end))
        shares = both.sum(axis=1, keepdims=True) * both.sum(axis=0) / both.sum()
        return _log_p(float(((both - shares) ** 2 / shares).sum()), both.shape[1] - 1)

    def missing(self, begin: int, end: int) -> float:
        """Return log10 of the KS p-value of the number of missing cells, of which the reference's rows have none."""
        share = self._places[2][begin:end].any(axis=1).mean()
        return float(ks_log_p(np.array([share]), np.array([end - begin]), self.size)[0])


def mission(windows: Windows, begin: int, end: int) -> float:
    """Score by the smallest p-value of a feature."""
    return -float(windows.features(begin, end).min())


def evidently(windows: Windows, begin: int, end: int) -> float:
    """Score by the p-value that half of the columns, the prediction among them, are below."""
    return -float(np.sort([*windows.features(begin, end), windows.goodness_of_fit(begin, end)])[DRIFTED - 1])


def check_evidently(reference: Rows, rows: Rows) -> None:
    """Fail if Evidently's own tests give other p-values: they take 20 times as long, too long to watch with."""
    import pandas as pd  # noqa: PLC0415
    from evidently.legacy.calculations.stattests import chi_stat_test, ks_stat_test  # noqa: PLC0415
    from evidently.legacy.core import ColumnType  # noqa: PLC0415

    windows = Windows(reference, rows)
    for begin, end in ((0, LEAST), (0, 300), (200, 700)):
        part = rows[begin:end]
        pairs = zip(reference.features.T, part.features.T, strict=True)
        theirs = [ks_stat_test(pd.Series(a), pd.Series(b), ColumnType.Numerical, 0.05).drift_score for a, b in pairs]
        np.testing.assert_allclose(windows.features(begin, end), np.log10(theirs), rtol=0.03, atol=0.01)
        both = pd.Series(reference.predictions), pd.Series(part.predictions)
        fit = chi_stat_test(*both, ColumnType.Categorical, 0.05).drift_score
        np.testing.assert_allclose(windows.goodness_of_fit(begin, end), np.log10(fit), rtol=1e-6)


def adjusted(windows: Windows, begin: int, end: int) -> float:
    """Score by the smallest p-value as Benjamini and Hochberg (1995) adjust it, that of missing cells among them."""
    found = [*windows.features(begin, end), windows.homogeneity(begin, end), windows.missing(begin, end)]
    return -float((np.sort(found) + np.log10(len(found) / np.arange(1, len(found) + 1))).min())


Score = Callable[[Windows, int, int], float]


def sliding(score: Score) -> Callable[[Rows, Rows], ScoredWatch]:
    """Return a watch that tests the newest rows every EVERY rows."""

    def watch(reference: Rows, rows: Rows) -> ScoredWatch:
        windows = Windows(reference, rows)

        def scores(since: int, begin: int, end: int) -> tuple[Numbers, Floats]:
            places = np.arange(-(-max(begin + 1, since + LEAST) // EVERY) * EVERY, end + 1, EVERY)
            return places, np.array([score(windows, max(since, place - NEWEST), place) for place in places.tolist()])

        return ScoredWatch(len(rows), scores, memory=NEWEST)

    return watch


def disjoint(score: Score, size: int) -> Callable[[Rows, Rows], ScoredWatch]:
    """Return a watch that tests disjoint windows of this size."""

    def watch(reference: Rows, rows: Rows) -> ScoredWatch:
        windows = Windows(reference, rows)

        def scores(_: int, begin: int, end: int) -> tuple[Numbers, Floats]:
            places = ends(rows, size, begin, end)
            return places, np.array([score(windows, place - size, place) for place in places.tolist()])

        return ScoredWatch(len(rows), scores)

    return watch


_SLIDING = "newest 1,000 rows (from 200 on), every 50"
MISSION = Peer(
    "mission",
    "any KS p-value",
    (Variant("any of 13 KS p-values below {0:.2g}; " + _SLIDING, sliding(mission), 4.0, 1.0, power),),
)
EVIDENTLY = Peer(
    "evidently",
    "Evidently, dataset drift",
    (Variant("half of 14 columns with p below {0:.2g}; " + _SLIDING, sliding(evidently), 1.5, 0.6, power),),
    check=check_evidently,
)
ADJUSTED = Peer(
    "benjamini_hochberg",
    "Benjamini-Hochberg",
    tuple(
        Variant(f"a smallest adjusted p-value below {{0:.2g}}; windows of {n:,}", disjoint(adjusted, n), 2, 1, power)
        for n in (100, 200, 500, 1_000)
    ),
)
