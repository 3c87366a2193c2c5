"""Rows as scores against a reference: sums of them are all that the detector ever looks at.

A feature's value becomes its normal score, the normal quantile of its rank among the reference's values (van der
Waerden 1952): bounded, indifferent to the feature's scale and shape, and equal for equal values. Sums of scores, of
their products, and of counts add up over rows, as profiles do; a block of rows is known by its sums alone.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]

FOLDS = 5
WIDE = 32  # features: of more, no pairs are looked at, whose number grows with the square
FAR = 0.99  # quantile of the reference's distances from its middle beyond which a row weighs no more


@dataclass(frozen=True, eq=False)
class Observations:
    """Rows to score: features (n, d), NaN or infinite where there is no number, and predictions (n,).

    A prediction is its category's place in the config, `categories` for none or an unknown one.
    """

    features: Floats
    predictions: Codes

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.predictions)

    def take(self, places: slice | npt.NDArray[np.intp]) -> "Observations":
        """Return the rows at these places."""
        return Observations(self.features[places], self.predictions[places])


@dataclass(frozen=True)
class ScoreColumns:
    """Where each kind of sum lies in a block's K sums: d features, and categories with one more for all others."""

    features: int
    categories: int

    @property
    def scores(self) -> slice:
        """Return the place of Σu (d)."""
        return slice(0, self.features)

    @property
    def products(self) -> slice:
        """Return the place of the sums of products of two scores, in the order of `pairs`."""
        return slice(self.features, self.features + len(self.pairs[0]))

    @property
    def white(self) -> slice:
        """Return the place of the same of the whitened scores."""
        return slice(self.products.stop, self.products.stop + len(self.pairs[0]))

    @cached_property
    def pairs(self) -> tuple[Places, Places]:
        """Return which scores are multiplied: each with itself and every later one, or with WIDE data with itself."""
        itself = np.arange(self.features)
        first, second = np.triu_indices(self.features) if self.features <= WIDE else (itself, itself)
        return first, second

    @cached_property
    def squares(self) -> npt.NDArray[np.bool_]:
        """Return which of the products are of a score with itself."""
        squares: npt.NDArray[np.bool_] = self.pairs[0] == self.pairs[1]
        return squares

    @property
    def radius(self) -> slice:
        """Return the place of the sum of the distances' normal scores (1)."""
        return slice(self.white.stop, self.white.stop + 1)

    @property
    def predictions(self) -> slice:
        """Return the place of the predictions' counts."""
        return slice(self.radius.stop, self.radius.stop + self.categories + 1)

    @property
    def missing(self) -> slice:
        """Return the place of the counts of missing values (d), and of rows with any (1)."""
        return slice(self.predictions.stop, self.predictions.stop + self.features + 1)

    @property
    def width(self) -> int:
        """Return K."""
        width: int = self.missing.stop
        return width


@dataclass(frozen=True, eq=False)
class _Ranks:
    """Normal scores of values by their rank among sorted ones; the mean of its ranks is a repeated value's rank."""

    values: Floats  # and infinity, so that there is one to compare with behind the last
    ends: Counts  # where the run of values ends that are equal to each
    table: Floats

    @classmethod
    def of(cls, values: Floats) -> "_Ranks":
        values = np.sort(values)
        ends = np.append(np.searchsorted(values, values, side="right"), len(values))
        doubled = np.arange(2 * len(values) + 1) / 2
        return cls(np.append(values, np.inf), ends, special.ndtri((doubled + 0.5) / (len(values) + 1)))

    def score(self, values: Floats) -> Floats:
        begin = np.searchsorted(self.values[:-1], values)
        end = np.where(self.values[begin] == values, self.ends[begin], begin)
        scores: Floats = self.table[begin + end]
        return scores


class ReferenceScores:
    """A reference, made ready to score rows: sorted values, and the moments of its own scores.

    Its own m rows' scores have mean 0 (the mean is taken off) and covariance C. Distances are Mahalanobis's in C,
    which gets on its diagonal what one more row at the edge would add, so that a constant feature divides by no zero.
    What is usual along the principal axes, and of distances, is read off rows that the axes were not made from: the
    axes fit their own rows too well, the more so the more features there are.
    """

    def __init__(self, reference: Observations, categories: int) -> None:
        self.rows, d = reference.features.shape
        self.layout = ScoreColumns(d, categories)
        self._ranks = [_Ranks.of(column[np.isfinite(column)]) for column in reference.features.T]
        self._mean = np.zeros(d)
        self._mean = self.centred(reference.features).mean(0)
        scores = self.centred(reference.features)
        edge = special.ndtri((self.rows + 0.5) / (self.rows + 1))
        self._edge = np.eye(d) * edge**2 / self.rows
        self.covariance = scores.T @ scores / self.rows + self._edge
        self.precision = np.linalg.inv(self.covariance)
        self.whiten = _whitening(self.covariance)
        white = self._held_out(scores)
        distances = _distances(white)
        self._far = float(np.quantile(distances, FAR))
        self._distance_ranks = _Ranks.of(distances)
        near = self._pull_in(scores, distances)
        self.square_deviation = np.maximum((scores**2).std(0), self.rows**-0.5)
        self.product_mean, self.product_deviation = self._describe_products(near)
        self.white_mean, self.white_deviation = self._describe_products(self._pull_in(white, distances))
        self._describe_counts(reference, near)

    def _held_out(self, scores: Floats) -> Floats:
        """Return each row's scores along axes that were made without its fold, from the narrowest to the widest."""
        if self.rows < 2 * FOLDS:
            return scores @ self.whiten
        white = np.empty(scores.shape)
        for fold in range(FOLDS):
            others = np.delete(scores, slice(fold, None, FOLDS), axis=0)
            white[fold::FOLDS] = scores[fold::FOLDS] @ _whitening(others.T @ others / len(others) + self._edge)
        return white

    def _describe_counts(self, reference: Observations, near: Floats) -> None:
        """Keep the shares of predictions and missing values, and what scores and predictions have in common."""
        d = self.layout.features
        counts = np.bincount(reference.predictions, minlength=self.layout.categories + 1)
        self.shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
        missing = ~np.isfinite(reference.features)
        cells = np.append(missing.sum(0), missing.any(1).sum())
        self.missing = (cells + 0.5) / (self.rows + 1)
        indicators = (reference.predictions[:, None] == np.arange(self.layout.categories)) - self.shares[:-1]
        joint = np.concatenate([near, indicators], axis=1)
        ridge = np.concatenate([np.full(d, 0.0), np.full(self.layout.categories, 0.5 / self.rows)])
        covariance = joint.T @ joint / self.rows + np.diag(ridge)
        covariance[:d, :d] = self.covariance
        self.joint_precision = np.linalg.pinv(covariance, rcond=1e-6, hermitian=True)

    def _describe_products(self, scores: Floats) -> tuple[Floats, Floats]:
        """Return mean and deviation of the products of scores."""
        mean = (scores.T @ scores / self.rows)[self.layout.pairs]
        variance = ((scores**2).T @ scores**2 / self.rows)[self.layout.pairs] - mean**2
        return mean, np.sqrt(np.maximum(variance, 1 / self.rows))

    def normal_scores(self, features: Floats) -> Floats:
        """Return the values' normal scores (n, d); NaN has one too, that of the largest rank."""
        scores = np.empty(features.shape)
        for index, ranks in enumerate(self._ranks):
            scores[:, index] = ranks.score(features[:, index])
        return scores

    def centred(self, features: Floats) -> Floats:
        """Return normal scores (n, d) less the reference's mean; a missing value has the mean, 0."""
        return np.where(np.isnan(features), 0.0, self.normal_scores(features) - self._mean)

    def distances(self, features: Floats) -> Floats:
        """Return each row's distance from the reference's middle."""
        return _distances(self.centred(features) @ self.whiten)

    def _pull_in(self, scores: Floats, distances: Floats) -> Floats:
        """Draw rows that lie far out in to where the reference's far rows lie, so that no single row decides."""
        return scores * np.minimum(1.0, self._far / np.maximum(distances, 1e-9))[:, None]

    def sums(self, rows: Observations, block: int) -> Floats:
        """Return the sums (n // block, K) of blocks of rows; rows beyond the last whole block are left out."""
        number = len(rows) // block
        rows = rows.take(slice(0, number * block))
        scores = self.centred(rows.features)
        distances = _distances(scores @ self.whiten)
        near = self._pull_in(scores, distances)
        missing = ~np.isfinite(rows.features)
        terms = np.concatenate(
            [
                self._distance_ranks.score(distances)[:, None],
                rows.predictions[:, None] == np.arange(self.layout.categories + 1),
                missing,
                missing.any(1, keepdims=True),
            ],
            axis=1,
            dtype=np.float64,
        )
        products = [self._multiply(each, number) for each in (near, near @ self.whiten)]
        others = terms.reshape(number, block, terms.shape[1]).sum(1)
        return np.concatenate([near.reshape(number, block, near.shape[1]).sum(1), *products, others], axis=1)

    def _multiply(self, scores: Floats, number: int) -> Floats:
        """Return the sums of products (number, pairs) of equally many scores (n, d) each."""
        blocks = scores.reshape(number, len(scores) // max(number, 1), scores.shape[1])
        if self.layout.features > WIDE:
            products: Floats = np.einsum("bij,bij->bj", blocks, blocks)
        else:
            products = (blocks.transpose(0, 2, 1) @ blocks)[:, *self.layout.pairs]
        return products


def _whitening(covariance: Floats) -> Floats:
    """Return the matrix that makes scores uncorrelated with variance 1, along the principal axes (d, d)."""
    values, vectors = np.linalg.eigh(covariance)
    matrix: Floats = vectors / np.sqrt(values)
    return matrix


def _distances(white: Floats) -> Floats:
    distances: Floats = np.sqrt(np.einsum("ij,ij->i", white, white))
    return distances
