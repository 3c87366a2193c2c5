"""The bootstrap: populations that a reference may come from, from which pseudo-references and pseudo-streams are drawn.

A population is a smoothed reference (Silverman and Young 1987, with half of Silverman's bandwidth). A row is one of the
reference's, taken in normal scores, moved a little towards the middle, given noise of the reference's own covariance,
and read back as values of the reference. The whole bandwidth is for normal data: in many dimensions its noise makes any
data normal, and so hides how often real rows are odd in several features at once.

Ranks and repeated values stay as frequent as they are, and no row is drawn twice, as in life. A plain bootstrap would
show the detector streams of rows that its reference was made of. What m rows have never shown (a missing value, one
beyond all others, another category) a population shows as often as m rows leave possible (Jeffreys's prior).
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
        never = rng.beta(0.5, m + 0.5, size=2 * d + 1)
        return Population(self, rng, never[:d], never[d : 2 * d], float(never[-1]))

    def rows(self, rng: np.random.Generator, number: int) -> Observations:
        """Draw smoothed rows."""
        places = rng.integers(0, len(self._reference), number)
        noise = rng.standard_normal((number, len(self._sorted))) @ self._noise
        ranks = special.ndtr(self._scores[places] + noise)
        features = self._reference.features[places]
        for column, values, rank in zip(features.T, self._sorted, ranks.T, strict=True):
            if len(values):
                there = np.isfinite(column)
                place = (rank[there] * len(values)).astype(np.intp)
                column[there] = values[np.minimum(place, len(values) - 1)]
        return Observations(features, self._reference.predictions[places])

    def unlike(self, rng: np.random.Generator, number: int) -> npt.NDArray[np.int64]:
        """Draw any predictions, unknown ones among them."""
        return rng.integers(0, self._categories + 1, number)


class Population:
    """A population to draw rows from."""

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
            places = self._some(number, beyond)
            column[places] = np.where(rng.random(len(places)) < 0.5, -np.inf, np.inf)  # noqa: PLR2004 - either side
            column[self._some(number, missing)] = np.nan
        places = self._some(number, self._other)
        drawn.predictions[places] = self._bootstrap.unlike(rng, len(places))
        return drawn

    def _some(self, number: int, share: float) -> npt.NDArray[np.int64]:
        return self._rng.integers(0, number, self._rng.binomial(number, share))
