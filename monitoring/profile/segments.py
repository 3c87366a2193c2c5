"""Groups of rows, and their counts: how many rows of each group lie in which cell of each tested column.

A group is a level of a segment's feature, or a bin of a numeric one. The reference fixes groups and cells, so that
counts add up over parts as all others do. Cells are few: groups say where a change is; whether there is one is said by
the whole window's tests, which look at every value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.profile.categorical import TextColumn

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

GROUPS_KEPT = 50  # the most frequent levels of a segment in the reference; all others are one group
LEVELS_KEPT = 20  # the most frequent levels of a tested column, likewise
QUARTERS = 4  # bins of a segment's numeric feature
TENTHS = 10  # bins of a tested numeric column
OTHER = "(other)"
MISSING = "(missing)"


@dataclass(frozen=True, eq=False)
class LevelCells:
    """The cells of a column of text: the levels that are kept, all others, and missing values."""

    levels: tuple[str, ...]

    @classmethod
    def of(cls, column: TextColumn, kept: int) -> "LevelCells":
        """Keep a reference's most frequent levels; of equally frequent ones the first of the alphabet."""
        counts = zip(column.words.to_pylist(), column.counts.tolist(), strict=True)
        ranked = sorted((-count, word) for word, count in counts if count)
        return cls(tuple(word for _, word in ranked[:kept]))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the cells' names."""
        return (*self.levels, OTHER, MISSING)

    def place(self, column: TextColumn) -> Counts:
        """Return the cell of each row (n,)."""
        found = pc.index_in(column.words, value_set=pa.array(self.levels, pa.string()))
        places = found.fill_null(len(self.levels)).to_numpy(zero_copy_only=False).astype(np.int64)
        cells: Counts = np.append(places, len(self.levels) + 1)[column.codes]  # a missing value's code is -1
        return cells


@dataclass(frozen=True, eq=False)
class NumberCells:
    """The cells of a column of numbers: below, at and between its edges, and what is no finite number."""

    edges: Floats

    @classmethod
    def of(cls, column: Floats) -> "NumberCells":
        """Take the tenths of a reference's values (n,); frequent values make fewer."""
        return cls(_quantiles(column, TENTHS))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the cells' names."""
        return (*map(str, range(2 * len(self.edges) + 1)), MISSING)

    def place(self, column: Floats) -> Counts:
        """Return the cell of each row (n,)."""
        places = np.searchsorted(self.edges, column) + np.searchsorted(self.edges, column, "right")
        return np.where(np.isfinite(column), places, len(self.names) - 1)


@dataclass(frozen=True, eq=False)
class NumberGroups:
    """The groups that a numeric feature makes: the reference's quarters, infinite numbers in the outer two."""

    edges: Floats

    @classmethod
    def of(cls, column: Floats) -> "NumberGroups":
        """Take the quarters of a reference's values (n,); frequent values make fewer."""
        return cls(_quantiles(column, QUARTERS))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the groups' names."""
        texts = [f"{edge:.6g}" for edge in self.edges]
        if not texts:
            return "all numbers", MISSING
        between = (f"from {low} to below {high}" for low, high in pairwise(texts))
        return f"below {texts[0]}", *between, f"from {texts[-1]}", MISSING

    def place(self, column: Floats) -> Counts:
        """Return the group of each row (n,)."""
        places = np.searchsorted(self.edges, column, "right")
        return np.where(np.isnan(column), len(self.names) - 1, places)


def _quantiles(column: Floats, parts: int) -> Floats:
    values = column[np.isfinite(column)]
    inner = np.arange(1, parts) / parts
    return np.unique(np.quantile(values, inner, method="inverted_cdf")) if len(values) else np.empty(0)


@dataclass(frozen=True, eq=False)
class SegmentGrid:
    """What groups are counted against: `groups` by segment, and `cells` by tested column."""

    groups: Mapping[str, LevelCells | NumberGroups]
    cells: Mapping[str, LevelCells | NumberCells]

    @classmethod
    def of(cls, segments: Sequence[str], columns: Mapping[str, TextColumn | Floats]) -> "SegmentGrid":
        """Make the grid of a reference's tested columns; without segments it is empty."""
        if not segments:
            return cls({}, {})
        groups = {name: _groups_of(columns[name]) for name in segments}
        return cls(groups, {name: _cells_of(column) for name, column in columns.items()})

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Return how many groups there are, of all segments, and how many cells, of all columns."""
        return sum(len(g.names) for g in self.groups.values()), sum(len(c.names) for c in self.cells.values())

    @cached_property
    def key(self) -> str:
        """Return a text that differs where groups or cells do."""
        return repr([(name, one.names) for name, one in self.groups.items()]) + repr(
            [(name, one.levels if isinstance(one, LevelCells) else one.edges.tobytes()) for name, one in self._all]
        )

    @property
    def _all(self) -> list[tuple[str, LevelCells | NumberCells | NumberGroups]]:
        return [*self.groups.items(), *self.cells.items()]

    def count(self, columns: Mapping[str, TextColumn | Floats]) -> Counts:
        """Count rows by group and by cell of each column, in turn (groups, cells)."""
        if not self.groups:
            return np.zeros(self.shape, np.int64)
        placed = [(len(one.names), one.place(columns[name])) for name, one in self.cells.items()]  # type: ignore[arg-type]
        blocks = []
        for name, one in self.groups.items():
            groups, number = one.place(columns[name]), len(one.names)  # type: ignore[arg-type]
            counted = [np.bincount(groups * width + cell, minlength=number * width) for width, cell in placed]
            blocks.append(np.hstack([c.reshape(number, -1) for c in counted]))
        return np.vstack(blocks)


def _groups_of(column: TextColumn | Floats) -> LevelCells | NumberGroups:
    return LevelCells.of(column, GROUPS_KEPT) if isinstance(column, TextColumn) else NumberGroups.of(column)


def _cells_of(column: TextColumn | Floats) -> LevelCells | NumberCells:
    return LevelCells.of(column, LEVELS_KEPT) if isinstance(column, TextColumn) else NumberCells.of(column)
