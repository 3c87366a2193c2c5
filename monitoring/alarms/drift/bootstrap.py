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

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from monitoring.alarms.drift.levels import NO_VALUE, UNSEEN
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.usual import Floats


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
        unseen = Unseen.draw(self._reference, len(self._reference), self._categories, rng)
        return Population(self, rng, unseen)

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
        levels = self._reference.levels.take(places)
        return Observations(features, self._reference.predictions[places], levels=levels)


@dataclass(frozen=True)
class Population:
    """A population to draw rows from."""

    bootstrap: Bootstrap
    rng: np.random.Generator
    unseen: "Unseen"

    def rows(self, number: int) -> Observations:
        """Draw rows."""
        return self.unseen.add(self.bootstrap.rows(self.rng, number), self.rng)


@dataclass(frozen=True)
class Unseen:
    """What a reference may never have shown, and how probable it is in a population.

    `missing` and `beyond` (features,) are the probabilities of a missing value and of one beyond the reference's,
    `other` is that of a prediction drawn evenly from all categories and an unknown one. `levels` (2, c) are those of no
    value and of an unseen level of each categorical feature.
    """

    missing: Floats
    beyond: Floats
    other: float
    categories: int
    levels: Floats

    @classmethod
    def draw(cls, like: Observations, rows: int, categories: int, rng: np.random.Generator) -> "Unseen":
        """Draw probabilities that so many rows like others, without any of it, leave possible."""
        features, categorical = like.features.shape[1], len(like.levels.sizes)
        unseen = rng.beta(0.5, rows + 0.5, size=2 * features + 1)
        levels = rng.beta(0.5, rows + 0.5, size=(2, categorical))
        return cls(unseen[:features], unseen[features : 2 * features], float(unseen[-1]), categories, levels)

    def add(self, rows: Observations, rng: np.random.Generator) -> Observations:
        """Put it into rows, in place, and return them."""
        for column, missing, beyond in zip(rows.features.T, self.missing, self.beyond, strict=True):
            places = _pick(len(rows), beyond, rng)
            column[places] = np.where(rng.random(len(places)) < 0.5, -np.inf, np.inf)  # noqa: PLR2004 - either side
            column[_pick(len(rows), missing, rng)] = np.nan
        places = _pick(len(rows), self.other, rng)
        rows.predictions[places] = rng.integers(0, self.categories + 1, len(places))
        for cell, shares in zip((NO_VALUE, UNSEEN), self.levels, strict=True):
            for column, share in zip(rows.levels.cells.T, shares, strict=True):
                column[_pick(len(rows), share, rng)] = cell
        return rows


def _pick(number: int, share: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Pick about this share of the places below a number (picked,)."""
    return rng.integers(0, number, rng.binomial(number, share))
