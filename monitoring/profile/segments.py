"""Groups of rows, and their counts: how many rows of each group lie in which cell of each tested column.

A group is a level of a segment's feature, or a bin of a numeric one. The reference fixes groups and cells, so that
counts add up over parts as all others do, and so do the losses of the labelled rows. Cells are few: groups say where a
change is; whether there is one is said by the whole window's tests, which look at every value.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.profile.categorical import TextColumn
from monitoring.profile.label_errors import exact_sum, mean_of

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

GROUPS_KEPT = 50  # the most frequent levels of a segment in the reference; all others are one group
LEVELS_KEPT = 20  # the most frequent levels of a tested column, likewise
QUARTERS = 4  # bins of a segment's numeric feature
TENTHS = 10  # bins of a tested numeric column
DAY = 86_400_000_000  # microseconds
FEWEST_SPANS, MOST_SPANS = 5, 60  # of the reference's time
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
        """Return the cells' names; a level that is called as one of the last two stands in quotes."""
        levels = (f'"{level}"' if level in (OTHER, MISSING) else level for level in self.levels)
        return (*levels, OTHER, MISSING)

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
    """The groups that a numeric feature makes: those between its edges, infinite numbers in the outer two."""

    edges: Floats

    @property
    def names(self) -> tuple[str, ...]:
        """Return the groups' names."""
        texts = [f"{edge:.6g}" for edge in self.edges]
        if len({*texts}) < len(texts):
            texts = [repr(float(edge)) for edge in self.edges]
        if not texts:
            return "all numbers", MISSING
        between = (f"from {low} to below {high}" for low, high in pairwise(texts))
        return f"below {texts[0]}", *between, f"from {texts[-1]}", MISSING

    def place(self, column: Floats) -> Counts:
        """Return the group of each row (n,)."""
        places = np.searchsorted(self.edges, column, "right")
        return np.where(np.isnan(column), len(self.names) - 1, places)


def _quantiles(column: Floats, parts: int) -> Floats:
    """Return what divides a reference's values (n,) into equal parts; frequent values make fewer."""
    values = column[np.isfinite(column)]
    inner = np.arange(1, parts) / parts
    return np.unique(np.quantile(values, inner, method="inverted_cdf")) if len(values) else np.empty(0)


@dataclass(frozen=True, eq=False)
class Clusters:
    """Spans of the reference's time, within which rows are alike, and what that does to the tests.

    `spans` (groups,): in how many a group has rows. `inflation` (groups, columns): the factor by which their statistic
    is larger, 1 or more; `degrees` (groups, columns): of the chi-square distribution that it has then.
    """

    spans: Counts
    inflation: Floats
    degrees: Floats


def _spans(times: Counts) -> Counts | None:
    """Return the number of each row's span of time (n,): a day, or longer ones of many, or tenths of few."""
    _, days = np.unique(times // DAY, return_inverse=True)
    number = int(days.max()) + 1
    if number > MOST_SPANS:
        days = days * MOST_SPANS // number
    elif number < FEWEST_SPANS:
        _, moments = np.unique(times, return_inverse=True)
        days = moments * TENTHS // (int(moments.max()) + 1)
    return days if int(days.max()) + 1 >= FEWEST_SPANS else None


def _spread(counts: Counts) -> tuple[Floats, Floats]:
    """Return by what factor spans of time make the statistic larger, and its degrees of freedom, each (groups,).

    Of counts (groups, spans, cells): the trace of the covariance between spans, over what independent rows would have,
    and the square of that trace over the trace of its square, as Satterthwaite has it.
    """
    whole, rows = counts.sum(axis=1, keepdims=True), counts.sum(axis=2, keepdims=True)
    shares = whole / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    apart = (counts - rows * shares) / np.sqrt(np.where(shares > 0, shares, 1.0))
    spans = np.count_nonzero(rows[:, :, 0], axis=1)
    scale = np.maximum(rows.sum(axis=(1, 2)), 1) * np.maximum(spans - 1, 1) / np.maximum(spans, 1)
    between = np.einsum("gsa,gsb->gab", apart, apart) / scale[:, None, None]
    trace = np.trace(between, axis1=1, axis2=2)
    squares = (between**2).sum(axis=(1, 2)) - trace**2 / np.maximum(spans - 1, 1)  # less what few spans add to it
    usual = np.maximum(np.count_nonzero(whole[:, 0], axis=1) - 1, 1)
    inflation = np.maximum(1.0, trace / usual)
    degrees = np.where(squares > 0, trace**2 / np.where(squares > 0, squares, 1.0), usual)
    return inflation, np.clip(degrees, 1.0, usual)


@dataclass(frozen=True, eq=False)
class SegmentGrid:
    """What groups are counted against: `groups` by segment, and `cells` by tested column."""

    groups: Mapping[str, LevelCells | NumberGroups]
    cells: Mapping[str, LevelCells | NumberCells]
    clusters: Clusters | None = None  # of the reference's rows, where these have times

    @classmethod
    def of(
        cls, segments: Sequence[str], columns: Mapping[str, TextColumn | Floats], times: Counts | None
    ) -> "SegmentGrid":
        """Make the grid of a reference's tested columns and times (n,)."""
        groups = {name: _groups_of(columns[name]) for name in segments}
        bare = cls(groups, {name: _cells_of(column) for name, column in columns.items()})
        spans = None if times is None else _spans(times)
        return bare if spans is None else replace(bare, clusters=bare.cluster(columns, spans))

    def cluster(self, columns: Mapping[str, TextColumn | Floats], spans: Counts) -> Clusters:
        """Return how much alike the rows of one span of time are, of spans (n,) that are numbered from 0."""
        number, (total, _) = int(spans.max()) + 1, self.shape
        places = self.places(columns, len(spans)) * number + spans
        counts = [one.reshape(total, number, -1) for one in self._each(places, total * number, columns)]
        inflation, degrees = zip(*map(_spread, counts), strict=True)
        held = np.count_nonzero(counts[0].sum(axis=2), axis=1)
        return Clusters(held, np.column_stack(inflation), np.column_stack(degrees))

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Return how many groups there are, of all segments, and how many cells, of all columns."""
        return sum(len(g.names) for g in self.groups.values()), sum(len(c.names) for c in self.cells.values())

    @cached_property
    def key(self) -> str:
        """Return a text that differs where groups or cells do."""
        return repr([(name, one.names) for name, one in self.groups.items()]) + repr(
            [
                (name, one.levels if isinstance(one, LevelCells) else one.edges.tobytes())
                for name, one in (*self.groups.items(), *self.cells.items())
            ]
        )

    def places(self, columns: Mapping[str, TextColumn | Floats], rows: int) -> Counts:
        """Return each row's group of each segment (segments, n), by its place among the groups of all."""
        found = np.empty((len(self.groups), rows), np.int64)
        begin = 0
        for place, (name, one) in enumerate(self.groups.items()):
            found[place] = begin + one.place(columns[name])  # type: ignore[arg-type]
            begin += len(one.names)
        return found

    def count(self, places: Counts, columns: Mapping[str, TextColumn | Floats]) -> Counts:
        """Count rows, whose groups are at these places (segments, n), by group and cell of each column, in turn."""
        total, _ = self.shape
        return np.hstack([np.zeros((total, 0), np.int64), *self._each(places, total, columns)])

    def _each(self, places: Counts, number: int, columns: Mapping[str, TextColumn | Floats]) -> Iterator[Counts]:
        """Yield for each column how many rows, at so many places (segments, n), lie in each of its cells."""
        for name, cells in self.cells.items():
            width, cell = len(cells.names), cells.place(columns[name])  # type: ignore[arg-type]
            counts = sum(np.bincount(some * width + cell, minlength=number * width) for some in places)
            yield np.asarray(counts).reshape(number, width)


@dataclass(frozen=True)
class GroupOutcomes:
    """Of each group, in turn: how many rows are labelled, and the exact sum of their losses in units of 2^-1126.

    A loss is 1 for a wrong category and 0 for the right one, or a regression's absolute error. No sums are all zero.
    """

    rows: tuple[int, ...] = ()
    losses: tuple[int, ...] = ()

    @classmethod
    def of(cls, places: Counts, losses: Floats, groups: int) -> "GroupOutcomes":
        """Sum up rows' losses (n,), NaN where there is no label, by their groups (segments, n)."""
        known = ~np.isnan(losses)
        if not (groups and known.any()):
            return cls()
        rows, sums = np.zeros(groups, np.int64), [0] * groups
        for some in places[:, known]:
            order = np.argsort(some, kind="stable")
            found, begins = np.unique(some[order], return_index=True)
            for group, part in zip(found.tolist(), np.split(losses[known][order], begins[1:]), strict=True):
                rows[group], sums[group] = len(part), exact_sum(part)
        return cls(tuple(rows.tolist()), tuple(sums))

    def __add__(self, other: "GroupOutcomes") -> "GroupOutcomes":
        """Return the sums of both samples."""
        return self._summed(other, 1)

    def __sub__(self, other: "GroupOutcomes") -> "GroupOutcomes":
        """Return the sums without those of rows that are among these."""
        return self._summed(other, -1)

    def _summed(self, other: "GroupOutcomes", sign: int) -> "GroupOutcomes":
        if not other.rows:
            return self
        ours = self if self.rows else GroupOutcomes((0,) * len(other.rows), (0,) * len(other.rows))
        rows, losses = (
            tuple(a + sign * b for a, b in zip(mine, theirs, strict=True))
            for mine, theirs in ((ours.rows, other.rows), (ours.losses, other.losses))
        )
        return GroupOutcomes(rows, losses)

    def labelled(self, group: int) -> int:
        """Return how many rows of a group are labelled."""
        return self.rows[group] if self.rows else 0

    def mean_loss(self, group: int) -> float:
        """Return a group's mean loss; NaN without labels."""
        return mean_of(self.losses[group], self.rows[group]) if self.labelled(group) else float("nan")


def _groups_of(column: TextColumn | Floats) -> LevelCells | NumberGroups:
    if isinstance(column, TextColumn):
        return LevelCells.of(column, GROUPS_KEPT)
    return NumberGroups(_quantiles(column, QUARTERS))


def _cells_of(column: TextColumn | Floats) -> LevelCells | NumberCells:
    if isinstance(column, TextColumn):
        return LevelCells.of(column, LEVELS_KEPT)
    return NumberCells(_quantiles(column, TENTHS))
