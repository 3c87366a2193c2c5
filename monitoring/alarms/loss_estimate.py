"""A regression's mean absolute error without labels: direct loss estimation from a profile's counts.

A model of the loss is fitted on the reference's labelled rows: a constant, and one summand for each bin of each numeric
feature and of the prediction, and for each level of each categorical feature, by least squares with a ridge penalty.
Because it adds up over the columns, the mean over a window's rows follows from the window's counts exactly, without
a pass over the rows. It rises when more rows come from where the model was always weak. It does not when what the
features mean has changed (concept drift), nor does it see what only two features together tell.

The errors are those of the reference's own predictions. The flows write predictions of rows that the model was not
trained on; of a reference of the user's nobody knows, and predictions of training rows make the estimate too low.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.alarms.accuracy_estimate import QUANTILE, Variation, deviations_of, vary
from monitoring.contract.config import Model
from monitoring.contract.reference import TIME, Reference
from monitoring.contract.values import convert
from monitoring.profile.categorical import TEXTS, LevelGrid, TextColumn
from monitoring.profile.grid import Grid
from monitoring.profile.profile import Profile

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

BINS = 10  # of a numeric column, by its quantiles
MOST_LEVELS = 50  # of a categorical feature that have bins of their own
MOST_IN_ALL = 1_000  # of both in all columns together, which has its square of numbers
FEWEST_BINS = 2  # of a column all the same
RIDGE = 10.0  # the penalty, in rows: a bin of so many goes half of the way
RARE = 30  # rows of a level below which it is counted with the other rare ones
FEWEST = 200  # labelled rows of a reference, below which no model of the loss is fitted
BLOCK = 4_096  # rows whose bins are held at once


@dataclass(frozen=True)
class LossEstimate:
    """An estimate of a window's mean absolute error from its `rows`, and the interval that holds it in 95 % of cases.

    Above `threshold` lies what the reference's own rows do not explain; None if they are too few to tell. See
    `accuracy_estimate.Estimate` for `chunks`.
    """

    mae: float
    low: float
    high: float
    rows: int
    threshold: float | None
    chunks: int


@dataclass(frozen=True)
class _NumericBins:
    """A numeric column's bins: those between its quantiles, then missing, -inf and +inf."""

    index: int
    edges: Floats

    @property
    def size(self) -> int:
        return len(self.edges) + 4

    def place(self, column: pa.ChunkedArray) -> Places:
        """Return each row's bin (n,)."""
        values: Floats = column.cast(pa.float64()).to_numpy()
        places = np.searchsorted(self.edges, values)
        first = len(self.edges) + 1
        for place, found in enumerate((np.isnan(values), values == -np.inf, values == np.inf)):
            places[found] = first + place
        return places

    def count(self, profile: Profile) -> Floats:
        """Return how many of a profile's rows lie in each bin (size,); the edges are marks of its grid."""
        marks = profile.grid.numeric.marks[self.index].values
        ends = np.repeat(np.append(marks, np.inf), 2)[:-1]  # a cell below a mark is in the mark's bin
        cells = np.bincount(np.searchsorted(self.edges, ends), profile.column(self.index), len(self.edges) + 1)
        return np.concatenate([cells, profile.special[self.index]])


@dataclass(frozen=True)
class _LevelBins:
    """A categorical feature's bins: the most frequent levels, the others together, unseen ones, and missing values."""

    index: int
    grid: LevelGrid
    bins: Places  # of each of the reference's levels

    @property
    def size(self) -> int:
        return int(self.bins.max(initial=0)) + 3

    def place(self, column: pa.ChunkedArray) -> Places:
        """Return each row's bin (n,); all of a reference's levels are known."""
        text = TextColumn.of(convert(column, pa.field("level", TEXTS)))
        known = pc.index_in(text.words, value_set=pa.array(self.grid.levels[self.index], pa.string()))
        bins = np.append(self.bins, [self.size - 2, self.size - 1])
        words = known.fill_null(len(self.bins)).to_numpy(zero_copy_only=False).astype(np.int64)
        places: Places = bins[np.append(words, len(self.bins) + 1)[text.codes]]
        return places

    def count(self, profile: Profile) -> Floats:
        """Return how many of a profile's rows lie in each bin (size,)."""
        begin, end = self.grid.offsets[self.index : self.index + 2]
        counts: Floats = np.bincount(self.bins, profile.levels[begin:end], self.size).astype(np.float64)
        counts[-2:] = profile.unseen[self.index].total, profile.nulls[self.index]
        return counts


class LossEstimator:
    """Estimates windows' mean absolute errors by a reference's labelled rows."""

    def __init__(self, reference: Reference, model: Model, grid: Grid) -> None:
        """Fit the model of the loss, unless the task is another one or the labelled rows are too few."""
        self._fitted = False
        if model.task != "regression":
            return
        table = reference.table
        self._timed = TIME.name in table.column_names
        if self._timed:
            table = table.sort_by(TIME.name)
        losses: Floats = pc.abs(pc.subtract(table[model.prediction], table[model.target])).to_numpy()
        labelled = np.isfinite(losses)
        self._losses, table = losses[labelled], table.filter(pa.array(labelled))
        if len(self._losses) >= FEWEST:
            self._bins: list[_NumericBins | _LevelBins] = [*_numeric_bins(grid, table), *_level_bins(grid, table)]
            self._fit(table, [*grid.numeric.names, *grid.categorical.names])

    def _fit(self, table: pa.Table, columns: list[str]) -> None:
        sizes = np.cumsum([0, *(bins.size for bins in self._bins)])
        places = [bins.place(table[name]) for bins, name in zip(self._bins, columns, strict=True)]
        codes, width = np.stack(places) + sizes[:-1, None], int(sizes[-1])
        self._spread = float(self._losses.var())
        self._mean, self._centre = float(self._losses.mean()), np.bincount(codes.ravel(), minlength=width) / len(table)
        gram, products = np.zeros((width, width)), np.zeros(width)
        for begin in range(0, len(table), BLOCK):
            rows = self._rows(codes[:, begin : begin + BLOCK])
            gram += rows.T @ rows
            products += rows.T @ (self._losses[begin : begin + BLOCK] - self._mean)
        inverse = np.linalg.inv(gram + RIDGE * np.eye(width))
        self._summands: Floats = inverse @ products
        squares = float(((self._losses - self._mean) ** 2).sum() - 2 * self._summands @ products)
        squares = max(0.0, squares + float(self._summands @ gram @ self._summands))
        freedom = max(1.0, len(table) - 1 - float(np.trace(inverse @ gram)))
        self._residual = squares / freedom
        self._covariance = self._residual * inverse
        self._fitted = True

    def _rows(self, codes: Places) -> Floats:
        """Return which bins rows are in (n, bins), less the reference's shares."""
        rows = np.tile(-self._centre, (codes.shape[1], 1))
        for places in codes:
            rows[np.arange(len(rows)), places] += 1
        return rows

    def estimate(self, profile: Profile, minimum_rows: int) -> LossEstimate | None:
        """Estimate the mean absolute error on a profile's rows; None with too few rows, or without a model of the loss.

        The interval is for the error of these very rows. Its variance is the sum of three: that of the summands, that
        of the window's own errors about the model, and that between the reference's chunks. A row without an answer
        has no error, but counts here as its other columns have it.
        """
        rows = profile.rows
        if not self._fitted or rows < max(1, minimum_rows):
            return None
        shares = np.concatenate([bins.count(profile) for bins in self._bins]) / rows - self._centre
        mae = max(self._mean + float(shares @ self._summands), 0.0)
        if not np.isfinite(mae):  # errors too large to be squared
            return None
        variation = vary(self._losses, rows, timed=self._timed, spread=self._spread)
        between = variation.between if variation else 0.0
        known = self._residual / len(self._losses) + float(shares @ self._covariance @ shares)
        margin = QUANTILE * float(np.sqrt(known + self._residual / rows + between))
        return LossEstimate(
            mae,
            max(0.0, mae - margin),
            mae + margin,
            rows,
            _threshold(self._mean, variation) if variation else None,
            variation.chunks if variation else 0,
        )


def _threshold(mae: float, variation: Variation) -> float:
    """Return the upper prediction bound for one more window."""
    return mae + deviations_of(variation) * float(np.sqrt(variation.window + variation.mean))


def _most(number: int, grid: Grid) -> int:
    """Return how many bins a column has, of the number that it would have if there were few columns."""
    columns = len(grid.numeric.names) + len(grid.categorical.names)
    return max(FEWEST_BINS, min(number, MOST_IN_ALL // columns))


def _numeric_bins(grid: Grid, table: pa.Table) -> Iterator[_NumericBins]:
    for index, name in enumerate(grid.numeric.names):
        values: Floats = table[name].cast(pa.float64()).to_numpy()
        finite = values[np.isfinite(values)]
        number = _most(BINS, grid)
        shares = np.arange(1, number) / number
        edges = np.unique(np.quantile(finite, shares, method="lower")) if len(finite) else finite
        yield _NumericBins(index, edges)


def _level_bins(grid: Grid, table: pa.Table) -> Iterator[_LevelBins]:
    for index, name in enumerate(grid.categorical.names):
        counts, _ = grid.categorical.count(index, TextColumn.of(convert(table[name], pa.field(name, TEXTS))))
        frequent = np.zeros(len(counts), np.bool_)
        frequent[np.argsort(-counts, kind="stable")[: _most(MOST_LEVELS, grid)]] = True
        frequent &= counts >= RARE
        yield _LevelBins(index, grid.categorical, np.where(frequent, np.cumsum(frequent), 0))
