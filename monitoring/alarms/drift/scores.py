"""Rows as scores against a reference, and the sums of scores over blocks of rows, from which all statistics are made.

A feature's value becomes its normal score, the normal quantile of its rank among the reference's values (van der
Waerden 1952). It is bounded, does not depend on the feature's unit or distribution, and is equal for equal values. The
sums of scores, of their products, and of counts add up over blocks, as profiles do, so that no row has to be kept.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

from monitoring.alarms.drift.levels import NO_LEVELS, LevelColumns, Levels, ReferenceLevels, level_departures
from monitoring.alarms.drift.usual import Cycle, Floats, Times, Usual

Codes = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

MOST_WHOLE = 65_536  # whole numbers up to which ranks are looked up
FOLDS = 5  # of the reference, in cross-fitting its principal axes
MOST_PAIRED = 32  # features: of more there are no statistics of pairs, whose number grows with the square
LEAST_VARIANCE = 0.05  # of scores less what is usual: what their bins leave of a column that follows from the time
FAR = 0.1  # of the reference's range: a value that lies so far outside it is far outside
CLIP_QUANTILE = 0.99  # of the reference's distances from its mean: rows beyond are scaled down to that distance


@dataclass(frozen=True, eq=False)
class Observations:
    """Rows to score: features (n, d), NaN or infinite where a value is missing, and predictions (n,).

    A prediction is the index of its category in the config; a missing or unknown one is the number of categories. A
    regression has none: its prediction is the last of the features. `times` (n,) are in microseconds since 1970, None
    where they are not known. `levels` are those of the categorical features.
    """

    features: Floats
    predictions: Codes
    times: Times | None = None
    levels: Levels = NO_LEVELS

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.predictions)

    def take(self, places: slice | npt.NDArray[np.intp]) -> "Observations":
        """Return the rows at these indices."""
        times = None if self.times is None else self.times[places]
        return Observations(self.features[places], self.predictions[places], times, self.levels.take(places))

    def incomplete(self) -> npt.NDArray[np.bool_]:
        """Return whether each row lacks a value (n,)."""
        missing: npt.NDArray[np.bool_] = np.any(~np.isfinite(self.features), axis=1)
        if self.levels.sizes:
            np.logical_or(missing, self.levels.without_value().any(1), out=missing)
        return missing


@dataclass(frozen=True)
class ScoreColumns:
    """Which of the K columns of the sums hold what, for d numeric features, categorical ones and some categories.

    Values outside the reference's range are counted only for rows with a rhythm: of others their scores say as much.
    """

    features: int
    categories: int
    rhythmic: bool = False
    sizes: tuple[int, ...] = ()  # how many cells each categorical feature has

    @property
    def scores(self) -> slice:
        """Return the columns of the scores' sums (d)."""
        return slice(0, self.features)

    @property
    def products(self) -> slice:
        """Return the columns of the sums of standardised products of two scores, in the order of `pairs`."""
        return slice(self.features, self.features + len(self.pairs[0]))

    @property
    def whitened(self) -> slice:
        """Return the columns of the same sums of products of whitened scores."""
        return slice(self.products.stop, self.products.stop + len(self.pairs[0]))

    @cached_property
    def pairs(self) -> tuple[Places, Places]:
        """Return the two scores of each product, by index: the squares, and up to MOST_PAIRED features all pairs."""
        itself = np.arange(self.features)
        first, second = np.triu_indices(self.features, 1) if self.features <= MOST_PAIRED else (itself[:0], itself[:0])
        return np.append(itself, first), np.append(itself, second)

    @property
    def distance(self) -> slice:
        """Return the column of the sum of the distances' normal scores (1)."""
        return slice(self.whitened.stop, self.whitened.stop + 1)

    @property
    def predictions(self) -> slice:
        """Return the columns of the predictions' counts (categories + 1), the last for missing and unknown ones."""
        return slice(self.distance.stop, self.distance.stop + self.categories + 1)

    @property
    def missing(self) -> slice:
        """Return the columns of the counts of missing values (d), and of rows with any (1)."""
        return slice(self.predictions.stop, self.predictions.stop + self.features + 1)

    @property
    def outside(self) -> slice:
        """Return the columns of the counts of values outside the reference's range (d), and far outside (d)."""
        return slice(self.missing.stop, self.missing.stop + (2 * self.features if self.rhythmic else 0))

    @cached_property
    def cells(self) -> LevelColumns:
        """Return where the cells of each categorical feature lie among those of all."""
        return LevelColumns(self.sizes)

    @property
    def levels(self) -> slice:
        """Return the columns of the counts of the categorical features' cells (C)."""
        return slice(self.outside.stop, self.outside.stop + self.cells.width)

    @property
    def width(self) -> int:
        """Return the number of columns, K."""
        width: int = self.levels.stop
        return width


@dataclass(frozen=True, eq=False)
class _Ranks:
    """Normal scores of values by their rank among sorted ones; ties have the mean of their ranks."""

    values: Floats  # sorted, and infinity behind them, which a value beyond the last is compared with
    ends: Counts  # where each value's run of ties ends
    table: Floats  # normal scores by twice the rank
    below: Counts | None  # how many values are less than 0, 1, 2, …, where all are whole numbers of that size

    @classmethod
    def of(cls, values: Floats) -> "_Ranks":
        values = np.sort(values)
        ends = np.append(np.searchsorted(values, values, side="right"), len(values))
        doubled = np.arange(2 * len(values) + 1) / 2
        table = special.ndtri((doubled + 0.5) / (len(values) + 1))
        return cls(np.append(values, np.inf), ends, table, _count_below(values))

    def score(self, values: Floats) -> Floats:
        begin = self._begin(values)
        end = np.where(self.values[begin] == values, self.ends[begin], begin)
        scores: Floats = self.table[begin + end]
        return scores

    def ends_at(self, place: int) -> float:
        """Return the least value (0) or the largest (-1); NaN without any."""
        return float(self.values[:-1][place]) if len(self.values) > 1 else np.nan

    def _begin(self, values: Floats) -> Counts:
        """Return how many of the reference's values are less (n,); all are less than NaN."""
        if self.below is None:
            return np.searchsorted(self.values[:-1], values)
        last = len(self.below) - 1
        begin: Counts = self.below[np.nan_to_num(np.clip(np.ceil(values), 0, last), nan=last).astype(np.intp)]
        return begin


def _count_below(values: Floats) -> Counts | None:
    """Count sorted values below each whole number, which is ten times faster to look up than to search."""
    if not len(values) or values[0] < 0 or values[-1] > MOST_WHOLE or (values != np.floor(values)).any():
        return None
    return np.searchsorted(values, np.arange(values[-1] + 2))


class ReferenceScores:
    """Scores rows against a reference, from its sorted values and the moments of its own scores.

    The scores of the reference's m rows have mean 0, for it is subtracted, and covariance C. Distances are Mahalanobis
    distances in C, to whose diagonal is added what one more row at the edge would add, so that a constant feature
    causes no division by zero. The moments along the principal axes, and the distribution of distances, come from
    cross-fitting: each fold is scored by axes made from the others, because axes fit their own rows too well, the more
    so the more features there are.

    With a `cycle`, scores and predictions are taken less what is `usual` at their time, which is learned from the
    reference if it is not given; all rows then need times.
    """

    def __init__(
        self, reference: Observations, categories: int, cycle: Cycle | None = None, usual: Usual | None = None
    ) -> None:
        self.rows, d = reference.features.shape
        self.columns = ScoreColumns(d, categories, rhythmic=cycle is not None, sizes=reference.levels.sizes)
        self.levels = ReferenceLevels(reference.levels)
        self._ranks = [_Ranks.of(column[np.isfinite(column)]) for column in reference.features.T]
        self._mean, self.usual = np.zeros(d), None
        if cycle is not None:
            self.usual = usual or learn_usual(reference, categories, cycle)
        self._lowest, self._highest = (np.array([ranks.ends_at(end) for ranks in self._ranks]) for end in (0, -1))
        departures = self._departures(reference)
        self._mean = self._centred(reference, departures).mean(0)
        scores = self._centred(reference, departures)
        edge = special.ndtri((self.rows + 0.5) / (self.rows + 1))
        self._edge = np.eye(d) * edge**2 / self.rows
        if cycle is not None:
            self._edge += np.diag(np.maximum(0, LEAST_VARIANCE - (scores**2).mean(0)))
        self.covariance = scores.T @ scores / self.rows + self._edge
        self.precision = np.linalg.inv(self.covariance)
        self.whiten = _whitening(self.covariance)
        whitened = self._held_out(scores)
        distances = _distances(whitened)
        self._clip_distance = float(np.quantile(distances, CLIP_QUANTILE))
        self._distance_ranks = _Ranks.of(distances)
        clipped = self._clip(scores, distances)
        self.square_deviation = np.maximum((scores**2).std(0), self.rows**-0.5)
        self._products = self._describe_products(clipped)
        self._whitened_products = self._describe_products(self._clip(whitened, distances))
        self._describe_counts(reference, departures, clipped)

    def _held_out(self, scores: Floats) -> Floats:
        """Return each row's scores (m, d) along axes made without its fold, in ascending order of variance."""
        if self.rows < 2 * FOLDS:
            return scores @ self.whiten
        whitened = np.empty(scores.shape)
        for fold in range(FOLDS):
            others = np.delete(scores, slice(fold, None, FOLDS), axis=0)
            whitened[fold::FOLDS] = scores[fold::FOLDS] @ _whitening(others.T @ others / len(others) + self._edge)
        return whitened

    def _describe_counts(self, reference: Observations, departures: Floats | None, clipped: Floats) -> None:
        """Compute the shares of predictions and missing values, and the joint precision of scores and predictions."""
        d = self.columns.features
        counts = np.bincount(reference.predictions, minlength=self.columns.categories + 1)
        self.shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        missing = ~np.isfinite(reference.features)
        cells = np.append(missing.sum(0), reference.incomplete().sum())
        self.missing = (cells + 0.5) / (self.rows + 1)
        if self.columns.rhythmic:
            self.outside = (self._count_outside(reference.features).sum(0) + 0.5) / (self.rows + 1)
        indicators = self._indicators(reference, departures)[:, :-1] - self.shares[:-1]
        joint = np.concatenate([clipped, indicators], axis=1)
        ridge = np.concatenate([np.full(d, 0.0), np.full(self.columns.categories, 0.5 / self.rows)])
        covariance = joint.T @ joint / self.rows + np.diag(ridge)
        covariance[:d, :d] = self.covariance
        self.joint_precision = np.linalg.pinv(covariance, rcond=1e-6, hermitian=True)

    def _describe_products(self, scores: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation, (pairs,) each, of the products of scores."""
        mean = (scores.T @ scores / self.rows)[self.columns.pairs]
        variance = ((scores**2).T @ scores**2 / self.rows)[self.columns.pairs] - mean**2
        return mean, np.sqrt(np.maximum(variance, 1 / self.rows))

    def normal_scores(self, features: Floats) -> Floats:
        """Return the values' normal scores (n, d); NaN has that of the largest rank."""
        scores = np.empty(features.shape)
        for index, ranks in enumerate(self._ranks):
            scores[:, index] = ranks.score(features[:, index])
        return scores

    def centred(self, rows: Observations) -> Floats:
        """Return normal scores (n, d) less the mean, and less what is usual; a missing value has 0, the mean."""
        return self._centred(rows, self._departures(rows))

    def _departures(self, rows: Observations) -> Floats | None:
        """Return how what is usual at the rows' times departs from what is usual overall; None without a cycle."""
        if self.usual is None:
            return None
        assert rows.times is not None
        return self.usual.departures(rows.times)

    def _centred(self, rows: Observations, departures: Floats | None) -> Floats:
        scores = self.normal_scores(rows.features) - self._mean
        if departures is not None:
            scores -= departures[:, : self.columns.features]
        return np.where(np.isnan(rows.features), 0.0, scores)

    def _indicators(self, rows: Observations, departures: Floats | None) -> Floats:
        """Return 1 for the prediction that a row has (n, categories + 1), less what departs as usual at its time."""
        indicators = _indicate(rows, self.columns.categories)
        if departures is not None:
            indicators -= departures[:, self.columns.features :]
        return indicators

    def _count_outside(self, features: Floats) -> Floats:
        """Return 1 for each value (n, 2 d) that lies outside the reference's range, and far outside."""
        margin = FAR * (self._highest - self._lowest)
        with np.errstate(invalid="ignore"):
            outside = [(features < self._lowest - by) | (features > self._highest + by) for by in (0, margin)]
        return np.concatenate(outside, axis=1, dtype=np.float64)

    def distances(self, rows: Observations) -> Floats:
        """Return each row's Mahalanobis distance (n,) from the reference's mean."""
        return _distances(self.centred(rows) @ self.whiten)

    def _clip(self, scores: Floats, distances: Floats) -> Floats:
        """Scale outlying rows of scores (n, d) down to the clipping distance, so that no single row decides."""
        return scores * np.minimum(1.0, self._clip_distance / np.maximum(distances, 1e-9))[:, None]

    def sums(self, rows: Observations, block: int) -> Floats:
        """Return the sums (n // block, K) over blocks of rows; rows after the last whole block are left out."""
        number = len(rows) // block
        rows = rows.take(slice(0, number * block))
        departures = self._departures(rows)
        scores = self._centred(rows, departures)
        distances = _distances(scores @ self.whiten)
        clipped = self._clip(scores, distances)
        missing = ~np.isfinite(rows.features)
        terms = np.concatenate(
            [
                self._distance_ranks.score(distances)[:, None],
                self._indicators(rows, departures),
                missing,
                rows.incomplete()[:, None],
                *([self._count_outside(rows.features)] if self.columns.rhythmic else []),
            ],
            axis=1,
            dtype=np.float64,
        )
        products = [
            (self._multiply(each, number) - block * mean) / deviation
            for each, (mean, deviation) in (
                (clipped, self._products),
                (clipped @ self.whiten, self._whitened_products),
            )
        ]
        others = terms.reshape(number, block, terms.shape[1]).sum(1)
        sums = [clipped.reshape(number, block, clipped.shape[1]).sum(1), *products, others]
        if self.levels.kinds:
            sums.append(self.levels.sums(rows.levels, block, level_departures(self.usual, rows.times)))
        return np.concatenate(sums, axis=1)

    def _multiply(self, scores: Floats, number: int) -> Floats:
        """Return the sums of products (number, pairs) over blocks of scores (n, d), n / number rows each."""
        blocks = scores.reshape(number, len(scores) // max(number, 1), scores.shape[1])
        if self.columns.features > MOST_PAIRED:
            products: Floats = np.einsum("bij,bij->bj", blocks, blocks)
        else:
            products = (blocks.transpose(0, 2, 1) @ blocks)[:, *self.columns.pairs]
        return products


def learn_usual(rows: Observations, categories: int, cycle: Cycle, *, earlier: bool = False) -> Usual:
    """Learn from rows what is usual of their own scores (d) and predictions (categories + 1) at a time of the cycle.

    Of `earlier` rows the scores alone: another model, or the same one asked with other features, predicts another share
    at an hour, while the order of a feature's values over the day outlives a change of its level or unit.
    """
    assert rows.times is not None
    scores = np.zeros(rows.features.shape)
    for index, column in enumerate(rows.features.T):
        known = ~np.isnan(column)
        scores[known, index] = _Ranks.of(column[np.isfinite(column)]).score(column[known])
    predictions = np.zeros((len(rows), categories + 1)) if earlier else _indicate(rows, categories)
    return Usual(np.concatenate([scores, predictions], axis=1), rows.times, cycle, rows.levels.indicators())


def _indicate(rows: Observations, categories: int) -> Floats:
    """Return 1 for the prediction that a row has, else 0 (n, categories + 1)."""
    indicators: Floats = (rows.predictions[:, None] == np.arange(categories + 1)).astype(np.float64)
    return indicators


def _whitening(covariance: Floats) -> Floats:
    """Return the matrix (d, d) that turns scores into uncorrelated ones of variance 1, along the principal axes."""
    values, vectors = np.linalg.eigh(covariance)
    matrix: Floats = vectors / np.sqrt(values)
    return matrix


def _distances(whitened: Floats) -> Floats:
    """Return the lengths (n,) of whitened scores (n, d)."""
    distances: Floats = np.sqrt(np.einsum("ij,ij->i", whitened, whitened))
    return distances
