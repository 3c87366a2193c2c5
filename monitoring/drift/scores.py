"""Rows as scores against a reference: sums of them are all that the detector ever looks at.

A feature's value becomes its normal score, the normal quantile of its rank among the reference's values (van der
Waerden 1952): bounded, indifferent to the feature's scale and shape, and equal for equal values. Sums of scores, of
their products, and of counts add up over rows, as profiles do; a block of rows is known by its sums alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]

FAR = 0.99  # quantile of the reference's distances from its middle beyond which a row weighs no more


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows to score: features (n, d), NaN or infinite where there is no number, and predictions (n,).

    A prediction is its category's place in the config, `categories` for none or an unknown one.
    """

    features: Floats
    predictions: Codes

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.predictions)

    def take(self, places: slice | npt.NDArray[np.intp]) -> "Rows":
        """Return the rows at these places."""
        return Rows(self.features[places], self.predictions[places])


@dataclass(frozen=True)
class Layout:
    """Where each kind of sum lies in a block's K sums: d features, and categories with one more for all others."""

    features: int
    categories: int

    @property
    def scores(self) -> slice:
        """Return the place of Σu (d)."""
        return slice(0, self.features)

    @property
    def products(self) -> slice:
        """Return the place of Σuu', its upper triangle row by row: d(d+1)/2."""
        return slice(self.features, self.features + self.features * (self.features + 1) // 2)

    @property
    def radius(self) -> slice:
        """Return the place of the sum of the distances' normal scores (1)."""
        return slice(self.products.stop, self.products.stop + 1)

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
    """

    def __init__(self, reference: Rows, categories: int) -> None:
        self.rows, d = reference.features.shape
        self.layout = Layout(d, categories)
        self.upper = np.triu_indices(d)
        self._ranks = [_Ranks.of(column[np.isfinite(column)]) for column in reference.features.T]
        self._mean = np.zeros(d)
        self._mean = self.centred(reference.features).mean(0)
        scores = self.centred(reference.features)
        edge = special.ndtri((self.rows + 0.5) / (self.rows + 1))
        self.covariance = scores.T @ scores / self.rows + np.eye(d) * edge**2 / self.rows
        self.precision = np.linalg.inv(self.covariance)
        values, vectors = np.linalg.eigh(self.covariance)
        self.whiten = vectors / np.sqrt(values)
        distances = _distances(scores @ self.whiten)
        self._far = float(np.quantile(distances, FAR))
        self._distance_ranks = _Ranks.of(distances)
        self._describe(reference, scores)

    def _describe(self, reference: Rows, scores: Floats) -> None:
        """Keep the mean and the deviation of each of the sums' terms."""
        self.square_deviation = np.maximum((scores**2).std(0), self.rows**-0.5)
        near = self._pull_in(scores, _distances(scores @ self.whiten))
        d = self.layout.features
        self.product_mean, self.product_deviation = self._describe_products(near)
        self.white_mean, self.white_deviation = self._describe_products(near @ self.whiten)
        self.whiten_products = self._whiten_products()
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
        mean = scores.T @ scores / self.rows
        variance = (scores**2).T @ scores**2 / self.rows - mean**2
        return mean[self.upper], np.sqrt(np.maximum(variance, 1 / self.rows))[self.upper]

    def _whiten_products(self) -> Floats:
        """Return the matrix that makes sums of products of scores, as they are kept, those of the whitened scores."""
        first, second = (self.whiten[places] for places in self.upper)
        both = first[:, self.upper[0]] * second[:, self.upper[1]] + second[:, self.upper[0]] * first[:, self.upper[1]]
        matrix: Floats = np.where((self.upper[0] == self.upper[1])[:, None], both / 2, both)
        return matrix

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

    def sums(self, rows: Rows, block: int) -> Floats:
        """Return the sums (n // block, K) of blocks of rows; rows beyond the last whole block are left out."""
        number = len(rows) // block
        rows = rows.take(slice(0, number * block))
        scores = self.centred(rows.features)
        distances = _distances(scores @ self.whiten)
        near = self._pull_in(scores, distances).reshape(number, block, scores.shape[1])
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
        products = (near.transpose(0, 2, 1) @ near)[:, *self.upper]
        others = terms.reshape(number, block, terms.shape[1]).sum(1)
        return np.concatenate([near.sum(1), products, others], axis=1)


def _distances(white: Floats) -> Floats:
    distances: Floats = np.sqrt(np.einsum("ij,ij->i", white, white))
    return distances
