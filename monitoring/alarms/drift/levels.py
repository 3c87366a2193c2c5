"""Categorical features as the detector sees them: rows' cells, their shares in a reference, and counts over blocks.

A cell is a frequent level, all rare ones together, all that the reference has never shown, or no value. The cells of a
feature are few, however many levels it has, and what is counted in them adds up over blocks as sums of scores do.

A reference has every level of its own, but its population has others: as many rows hold one as there are rows in the
reference whose level no other row has (Good 1953). So such a row of the reference counts as unseen itself: the others
have never seen its level. In the log that level is a rare one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

from monitoring.alarms.drift.chances import bernoulli, chi_square, largest, normal, root
from monitoring.alarms.drift.usual import Floats, Usual

Cells = npt.NDArray[np.int16]
Codes = npt.NDArray[np.int32]

NO_VALUE, UNSEEN, RARE = 0, 1, 2  # cells of every feature
FIRST = 3  # the most frequent level's cell

LEVEL_KINDS = (
    "level",  # one of one feature: of its frequent levels, the rare and the unseen ones together, and no value
    "levels",  # all of one feature
    "levels of several",  # features
)


@dataclass(frozen=True, eq=False)
class Levels:
    """The cells (n, c) of rows in c categorical features, each of which has so many (`sizes`).

    `codes` (n, c) say which level exactly, as the vocabulary numbers them; None where nobody asks.
    """

    cells: Cells
    sizes: tuple[int, ...]
    codes: Codes | None = None

    @classmethod
    def none_of(cls, sizes: tuple[int, ...]) -> "Levels":
        """Return no rows of features with so many cells."""
        return cls(np.zeros((0, len(sizes)), np.int16), sizes, np.zeros((0, len(sizes)), np.int32))

    def take(self, places: slice | npt.NDArray[np.intp]) -> "Levels":
        """Return the levels of the rows at these indices."""
        if not self.sizes:
            return self
        codes = None if self.codes is None else self.codes[places]
        return Levels(self.cells[places], self.sizes, codes)

    def joined(self, others: "Levels") -> "Levels":
        """Return the levels of these rows and of others after them."""
        if not self.sizes:
            return self
        codes = None
        if self.codes is not None and others.codes is not None:
            codes = np.concatenate([self.codes, others.codes])
        return Levels(np.concatenate([self.cells, others.cells]), self.sizes, codes)

    def without_value(self) -> npt.NDArray[np.bool_]:
        """Return whether each row has no value (n, c)."""
        missing: npt.NDArray[np.bool_] = self.cells == NO_VALUE
        return missing

    def indicators(self) -> Iterator[Floats]:
        """Yield for each feature 1 for the cell that a row lies in, else 0 (n, cells): one at a time is in memory."""
        for cells, size in zip(self.cells.T, self.sizes, strict=True):
            yield (cells[:, None] == np.arange(size)).astype(np.float64)

    def counts(self) -> list[Floats]:
        """Return each feature's counts of rows in its cells (cells,)."""
        both = zip(self.cells.T, self.sizes, strict=True)
        return [np.bincount(cells, minlength=size).astype(np.float64) for cells, size in both]


NO_LEVELS = Levels.none_of(())


class LevelColumns:
    """Where the cells of each feature lie among those of all, C in number."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes, self.width = sizes, sum(sizes)
        self.begins = np.cumsum((0, *sizes))[:-1]

    def split(self, values: Floats) -> list[Floats]:
        """Return values of all cells (…, C) by feature."""
        return np.split(values, self.begins[1:], axis=-1) if self.sizes else []

    def add(self, values: Floats) -> Floats:
        """Return the sum (T, c) of values (T, C) over each feature's cells."""
        sums: Floats = np.add.reduceat(values, self.begins, axis=1)
        return sums


class ReferenceLevels:
    """Holds counts of cells against a reference's shares."""

    def __init__(self, levels: Levels) -> None:
        self.columns = LevelColumns(levels.sizes)
        counts = levels.counts()
        shares = [(of + 0.5) / (of.sum() + 0.5 * len(of)) for of in counts]
        self.shares: Floats = np.concatenate([np.zeros(0), *shares])
        self.degrees = np.array([max(1, np.count_nonzero(of) - 1) for of in counts])

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of its statistics: none without categorical features."""
        return LEVEL_KINDS if self.columns.sizes else ()

    def sums(self, levels: Levels, block: int, departures: Iterable[Floats] = ()) -> Floats:
        """Return the counts of cells (n // block, C) over whole blocks of rows, less what departs as usual."""
        number, width = len(levels.cells) // block if self.columns.sizes else 0, self.columns.width
        places = levels.cells + self.columns.begins + np.repeat(np.arange(number), block)[:, None] * width
        counts = np.bincount(places.ravel(), minlength=number * width).reshape(number, width).astype(np.float64)
        for begin, of in zip(self.columns.begins, departures, strict=False):
            counts[:, begin : begin + of.shape[1]] -= of.reshape(number, block, of.shape[1]).sum(1)
        return counts

    def statistics(self, sums: Floats, rows: Floats, weight: Floats) -> Floats:
        """Return the statistics (T, kinds) of windows of `rows` (T, 1) drawn one by one, from their sums (T, C)."""
        shares = sums / rows
        ratios = self.columns.add(2 * rows * weight * special.rel_entr(shares, self.shares))
        level: Floats = bernoulli(shares, self.shares, rows * weight).max(1)
        return np.stack([level, *self._of_features(ratios)], axis=1)

    def components(self, sums: Floats, rows: Floats, weight: Floats) -> Floats:
        """Return the cells' components (T, C) of windows of `rows` (T, 1), see `dependent_statistics`."""
        return root(sums / rows, self.shares, rows * weight)

    def dependent_statistics(self, components: Floats) -> Floats:
        """Return the statistics (T, kinds) from components (T, C) that are divided by their deviations."""
        squares = self.columns.add((1 - self.shares) * components**2)
        return np.stack([normal(largest(components)), *self._of_features(squares)], axis=1)

    def _of_features(self, squares: Floats) -> Sequence[Floats]:
        """Return the statistics of one feature (T,) and of several (T,), from each one's chi-squared values (T, c)."""
        one: Floats = chi_square(squares, self.degrees).max(1)
        return one, chi_square(squares.sum(1), int(self.degrees.sum()))


def level_departures(usual: Usual | None, times: npt.NDArray[np.int64] | None) -> Iterable[Floats]:
    """Return how what is usual of each feature's cells departs at these times (n, cells); none without a rhythm."""
    if usual is None or times is None:
        return ()
    return usual.level_departures(times)
