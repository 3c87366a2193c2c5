"""The bootstrap: populations that a reference may come from, from which pseudo-references and pseudo-streams are drawn.

A population is a smoothed bootstrap of the reference (Silverman and Young 1987, with half of Silverman's bandwidth). To
draw a row, one of the reference's rows is taken as normal scores, shrunk a little towards the mean, given noise of the
reference's own covariance, and mapped back to values of the reference. The whole bandwidth is meant for normal data: in
many dimensions its noise makes any data normal, and hides how often real rows are unusual in several features at once.

Ties stay as frequent as they are in the reference, and rows do not repeat, as in a real stream. A plain bootstrap would
give the detector streams of the very rows that its reference was made of. What m rows have never shown (a missing
value, a value beyond all others, an unknown category) is drawn with a probability from Jeffreys's prior: as often as m
rows without it leave possible.
"""

import numpy as np
import numpy.typing as npt
from scipy import special

from monitoring.alarms.drift.scores import Observations, ReferenceScores


class Bootstrap:
    """Draws the populations of one reference."""

    def __init__(self, reference: Observations, categories: int) -> None:
        self._reference, self._categories = reference, categories
        model = ReferenceScores(reference, categories)
        m, d = reference.features.shape
        smooth = 0.5 * min(1.0, (4 / (m * (d + 2))) ** (1 / (d + 4)))  # the noise's share of a score's deviation
        self._scores = model.normal_scores(reference.features) * np.sqrt(1 - smooth**2)
        self._noise = np.linalg.cholesky(model.covariance).T * smooth
        self._sorted = [np.sort(column[np.isfinite(column)]) for column in reference.features.T]

    def draw(self, rng: np.random.Generator) -> "Population":
        """Draw a population."""
        m, d = self._reference.features.shape
        unseen = rng.beta(0.5, m + 0.5, size=2 * d + 1)  # probabilities: missing, beyond, an unknown category
        return Population(self, rng, unseen[:d], unseen[d : 2 * d], float(unseen[-1]))

    def rows(self, rng: np.random.Generator, number: int) -> Observations:
        """Draw rows of the smoothed reference, without anything that it has never shown."""
        places = rng.integers(0, len(self._reference), number)
        noise = rng.standard_normal((number, len(self._sorted))) @ self._noise
        ranks = special.ndtr(self._scores[places] + noise)
        features = self._reference.features[places]
        for column, values, rank in zip(features.T, self._sorted, ranks.T, strict=True):
            if len(values):
                finite = np.isfinite(column)
                place = (rank[finite] * len(values)).astype(np.intp)
                column[finite] = values[np.minimum(place, len(values) - 1)]
        return Observations(features, self._reference.predictions[places])

    def any_predictions(self, rng: np.random.Generator, number: int) -> npt.NDArray[np.int64]:
        """Draw predictions (number,) evenly from all categories and an unknown one."""
        return rng.integers(0, self._categories + 1, number)


class Population:
    """A population to draw rows from.

    `missing` and `beyond` (features,) are the probabilities of a missing value and of one beyond the reference's,
    `other` is that of a prediction drawn from all categories.
    """

    def __init__(
        self,
        bootstrap: Bootstrap,
        rng: np.random.Generator,
        missing: npt.NDArray[np.float64],
        beyond: npt.NDArray[np.float64],
        other: float,
    ) -> None:
        self._bootstrap, self._rng = bootstrap, rng
        self._missing, self._beyond, self._other = missing, beyond, other

    def rows(self, number: int) -> Observations:
        """Draw rows."""
        rng = self._rng
        drawn = self._bootstrap.rows(rng, number)
        for column, missing, beyond in zip(drawn.features.T, self._missing, self._beyond, strict=True):
            places = self._pick(number, beyond)
            column[places] = np.where(rng.random(len(places)) < 0.5, -np.inf, np.inf)  # noqa: PLR2004 - either side
            column[self._pick(number, missing)] = np.nan
        places = self._pick(number, self._other)
        drawn.predictions[places] = self._bootstrap.any_predictions(rng, len(places))
        return drawn

    def _pick(self, number: int, share: float) -> npt.NDArray[np.int64]:
        """Pick about this share of the places below a number (picked,)."""
        return self._rng.integers(0, number, self._rng.binomial(number, share))
