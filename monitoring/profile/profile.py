"""Profiles: the statistics of rows that Evidently's tests need, in a form that can be merged by addition.

A profile counts rows against a fixed reference. Tests like Kolmogorov-Smirnov's do not depend on where values lie
between two neighbouring values of the reference, so it is enough to count how many lie at and between them. Such counts
add up over parts, processes and machines, in any order. `monitoring.suite.engine` computes the suite's results from the
sums, at a cost that does not depend on the number of rows.
"""

import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from monitoring.contract.errors import DriftloopError
from monitoring.contract.times import BEFORE_ALL, Micros
from monitoring.profile.categorical import Unseen
from monitoring.profile.distinct_rows import DistinctRows
from monitoring.profile.error_bins import ErrorBins
from monitoring.profile.grid import CONFIDENCE_BINS, Grid
from monitoring.profile.label_errors import ErrorSums
from monitoring.profile.label_scores import ScoreCounts
from monitoring.profile.segments import GroupOutcomes

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

NEVER = Micros(int(np.iinfo(np.int64).max))  # later than every row


class ProfileMismatchError(DriftloopError):
    """Two profiles, or a profile and a reference, were made against different references."""


def _add(a: Counts, b: Counts) -> Counts:
    return np.add(a, b, dtype=np.int64)  # whatever narrow type they were kept in


@np.errstate(over="ignore", invalid="ignore")  # as `counting` has them
def _add_moments(a: Floats, b: Floats) -> Floats:
    """Return the moments of both samples (Chan, Golub and LeVeque 1979)."""
    number = a[0] + b[0]
    weight = a[0] * b[0] / np.maximum(number, 1)
    gap = b[1] - a[1]
    mean = a[1] + gap * b[0] / np.maximum(number, 1)
    return np.stack([number, mean, a[2] + b[2] + gap**2 * weight, a[3] + b[3] + gap * gap.T * weight])


def _add_each(a: tuple[Unseen, ...], b: tuple[Unseen, ...]) -> tuple[Unseen, ...]:
    return tuple(ours + theirs for ours, theirs in zip(a, b, strict=True))


def _add_distinct(a: DistinctRows | None, b: DistinctRows | None) -> DistinctRows | None:
    return None if a is None or b is None else a.merge(b)


@dataclass(frozen=True, eq=False)
class Profile:
    """The counts and moments of some rows; each field's metadata says how it merges.

    With d numeric columns, which are the numeric features and the prediction where it is a number:

    - `cells` (Σ(2k + 1),): for each column in turn, with k marks, the number of finite values below the first mark, at
      it, between it and the second, at that, …, above the last.
    - `special` (d, 3): values that are missing, -inf, +inf. `low`, `high` (d,): the range of the finite values.
    - `moments` (4, d, d): over the rows where columns a and b are finite: their number, the mean of a, the sum of its
      squared deviations, and the sum of products of both deviations. Equal up to rounding for any division of the rows.
    - `apart` (d, d): whether two columns differ in some row. `mismatched` (d,): whether a column was not numeric.

    With c categorical features:

    - `levels` (Σk,): for each feature in turn, the number of values at each of its k levels in the reference.
    - `nulls` (c,): how many values are missing. `unseen` (c): the values that the reference does not hold.
    - `apart_texts` (t, t): whether two of `Grid.texts` differ in some row.

    With b bounds and v values that the config's tests name (`Grid.bounds`):

    - `beside` (b, 2): how many finite values of its column lie below each bound, and at it. `next_below`, `next_above`
      (b,): the greatest value below it, and the least above it. `listed` (v,): how often each value occurs.

    With g groups of `Grid.segments`, and w cells of all columns:

    - `groups` (g, w): how many of each group's rows lie in each cell. `outcomes`: the losses of its labelled rows.

    Of predictions and labels:

    - `predictions`, `confusion`: categories, and pairs of (target, prediction) of the labelled rows; `errors`,
      `error_bins`: those of a regression, and how they are spread. What is not of the task is empty.
    - `scores`: the probabilities that the labelled rows' categories were given, where the log tells them.
    - `unpredicted`: rows without a prediction.

    Of the rows:
    - `known` (u,): how many rows equal each of the reference's distinct rows; 0 where nobody looked for repetitions.
    - `first`, `last`: the range of the timestamps, each as `Micros`.
    - `rows_without_target`: rows that came without a column of labels, which is not the same as with an empty one.
    - `left_out`: the files that could not be read, whose rows are not among these.
    """

    grid: Grid
    rows: int = field(metadata={"merge": operator.add})
    rows_missing: int = field(metadata={"merge": operator.add})
    rows_empty: int = field(metadata={"merge": operator.add})
    cells: Counts = field(metadata={"merge": _add})
    special: Counts = field(metadata={"merge": _add})
    low: Floats = field(metadata={"merge": np.minimum})
    high: Floats = field(metadata={"merge": np.maximum})
    moments: Floats = field(metadata={"merge": _add_moments})
    apart: npt.NDArray[np.bool_] = field(metadata={"merge": np.logical_or})
    mismatched: npt.NDArray[np.bool_] = field(metadata={"merge": np.logical_or})
    levels: Counts = field(metadata={"merge": _add})
    nulls: Counts = field(metadata={"merge": _add})
    unseen: tuple[Unseen, ...] = field(metadata={"merge": _add_each})
    apart_texts: npt.NDArray[np.bool_] = field(metadata={"merge": np.logical_or})
    beside: Counts = field(metadata={"merge": _add})
    next_below: Floats = field(metadata={"merge": np.maximum})
    next_above: Floats = field(metadata={"merge": np.minimum})
    listed: Counts = field(metadata={"merge": _add})
    groups: Counts = field(metadata={"merge": _add})
    outcomes: GroupOutcomes = field(metadata={"merge": operator.add})
    predictions: Counter[str] = field(metadata={"merge": operator.add})
    unpredicted: int = field(metadata={"merge": operator.add})
    confusion: Counter[tuple[str, str]] = field(metadata={"merge": operator.add})
    errors: ErrorSums = field(metadata={"merge": operator.add})
    scores: ScoreCounts = field(metadata={"merge": operator.add})
    error_bins: ErrorBins = field(metadata={"merge": operator.add})
    confidence: Counts = field(metadata={"merge": _add})
    known: Counts = field(metadata={"merge": _add})
    first: Micros = field(metadata={"merge": min})
    last: Micros = field(metadata={"merge": max})
    distinct: DistinctRows | None = field(metadata={"merge": _add_distinct})
    rows_without_target: int = field(default=0, metadata={"merge": operator.add})
    left_out: int = field(default=0, metadata={"merge": operator.add})

    @classmethod
    def empty(cls, grid: Grid, *, hashes: bool = True) -> "Profile":
        """Return the profile of no rows: added to another, it changes nothing."""
        d, c, t = len(grid.numeric.names), len(grid.categorical.names), len(grid.texts)
        return cls(
            grid, 0, 0, 0,
            cells=np.zeros(grid.numeric.offsets[-1], np.int64),
            special=np.zeros((d, 3), np.int64),
            low=np.full(d, np.inf),
            high=np.full(d, -np.inf),
            moments=np.zeros((4, d, d)),
            apart=np.zeros((d, d), np.bool_),
            mismatched=np.zeros(d, np.bool_),
            levels=np.zeros(grid.categorical.offsets[-1], np.int64),
            nulls=np.zeros(c, np.int64),
            unseen=(Unseen(),) * c,
            apart_texts=np.zeros((t, t), np.bool_),
            beside=np.zeros((len(grid.bounds.places), 2), np.int64),
            next_below=np.full(len(grid.bounds.places), -np.inf),
            next_above=np.full(len(grid.bounds.places), np.inf),
            listed=np.zeros(len(grid.bounds.listed), np.int64),
            groups=np.zeros(grid.segments.shape, np.int64),
            outcomes=GroupOutcomes(),
            predictions=Counter(),
            unpredicted=0,
            confusion=Counter(),
            errors=ErrorSums(),
            scores=ScoreCounts.none(),
            error_bins=ErrorBins(),
            confidence=np.zeros(CONFIDENCE_BINS, np.int64),
            known=np.zeros(len(grid.known.hashes), np.int64),
            first=NEVER,
            last=BEFORE_ALL,
            distinct=DistinctRows() if hashes else None,
        )  # fmt: skip

    def __add__(self, other: "Profile") -> "Profile":
        """Return the profile of both profiles' rows; raise ProfileMismatchError if their references differ."""
        self.require(other.grid)
        merged = {f.name: f.metadata["merge"](getattr(self, f.name), getattr(other, f.name)) for f in MERGED}
        return Profile(self.grid, **merged)

    def require(self, grid: Grid) -> None:
        """Raise ProfileMismatchError unless this profile was counted against that grid."""
        if grid.digest != self.grid.digest:
            raise ProfileMismatchError(other_reference(self.grid.digest, grid.digest))

    def column(self, index: int) -> Counts:
        """Return a numeric column's cells (2k + 1,), for its k marks."""
        return self.cells[self.grid.numeric.offsets[index] : self.grid.numeric.offsets[index + 1]]

    def finite(self, index: int) -> int:
        """Return how many finite values a numeric column has."""
        return self.rows - int(self.special[index].sum())

    def below(self, index: int, mark: float) -> int:
        """Return how many finite values of a numeric column lie below one of its marks."""
        place = int(np.searchsorted(self.grid.numeric.marks[index].values, mark))
        return int(self.column(index)[: 2 * place + 1].sum())

    def up_to(self, index: int, mark: float) -> int:
        """Return how many finite values of a numeric column lie at or below one of its marks."""
        place = int(np.searchsorted(self.grid.numeric.marks[index].values, mark))
        return int(self.column(index)[: 2 * place + 2].sum())

    def histogram(self, index: int) -> Counts:
        """Return how many finite values of a numeric column lie in each of the bins (BINS,); the outer two are open."""
        places = np.searchsorted(self.grid.numeric.marks[index].values, self.grid.numeric.edges[index][1:-1])
        inner = np.cumsum(self.column(index))[2 * places]  # below an edge: all cells up to the one before it
        return np.diff(inner, prepend=0, append=self.finite(index))

    def mean(self, index: int) -> float:
        """Return the mean of a numeric column's finite values."""
        return float(self.moments[1, index, index])

    def variance(self, index: int) -> float:
        """Return the variance of a numeric column's finite values, with n-1 in the denominator."""
        number, _, squares = self.moments[:3, index, index]
        return float(squares / (number - 1)) if number > 1 else float("nan")

    def constant(self, index: int) -> bool:
        """Return whether a numeric column has one distinct value, or none."""
        infinite = int(np.count_nonzero(self.special[index, 1:]))
        spread = 0 if not self.finite(index) else 1 if self.low[index] == self.high[index] else 2
        return spread + infinite <= 1

    @property
    def equal_columns(self) -> int:
        """Return how many pairs of features and the prediction have the same values in all rows."""
        apart = self.apart | self.mismatched | self.mismatched[:, None]
        return int(np.count_nonzero(np.triu(~apart, 1)) + np.count_nonzero(np.triu(~self.apart_texts, 1)))

    @property
    def labelled(self) -> int:
        """Return how many rows hold a prediction and its label."""
        return self.confusion.total() + self.errors.rows

    @property
    def duplicated(self) -> int | None:
        """Return how many rows repeat an earlier one in all features and the prediction; None without hashes."""
        return None if self.distinct is None else self.rows - len(self.distinct)


def other_reference(theirs: str, ours: str) -> str:
    """Say that a profile was made against another reference."""
    return (
        f"a profile that was made against another reference: {theirs[:12]}, not {ours[:12]} (bounds that `tests` in "
        "config.yml name belong to it)"
    )


MERGED = tuple(f for f in fields(Profile) if "merge" in f.metadata)


def merge(grid: Grid, profiles: Iterable[Profile], *, hashes: bool = True) -> Profile:
    """Return the sum of any number of profiles."""
    return reduce(operator.add, profiles, Profile.empty(grid, hashes=hashes))


def compact(profile: Profile) -> Profile:
    """Return a profile without its rows' hashes, with counts in the narrowest type, so that many fit in memory."""
    return replace(
        profile,
        cells=narrow(profile.cells),
        levels=narrow(profile.levels),
        groups=narrow(profile.groups),
        confidence=narrow(profile.confidence),
        scores=ScoreCounts(profile.scores.keys, narrow(profile.scores.counts)),
        known=narrow(profile.known),
        distinct=None,
    )


def narrow(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return integers in the narrowest type that holds them, in the same shape; other arrays as they are."""
    if array.dtype != np.int64:
        return array
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))
