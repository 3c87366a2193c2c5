"""What an attribution asks of each kind of column: in which direction it may have changed, how surely, and by how much.

There is a class for numbers, one for levels, and one for a classification's predictions. Each takes its own part of the
rows, and returns one result per column, in their order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy import special

from monitoring.alarms.drift.dependent_statistics import Components, Deviations, components, split
from monitoring.alarms.drift.effect_sizes import Effects, beyond_chance
from monitoring.alarms.drift.matching import Sample
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.vocabulary import Vocabulary

Test = tuple[str, float]  # a direction in which a column may have changed, and the p-value of a test for it


@dataclass(frozen=True)
class LevelChange:
    """How the share of a categorical feature's rows that have a level changed; `unseen` ones the reference has not."""

    level: str
    before: float
    now: float
    unseen: bool


@dataclass(frozen=True)
class Changed:
    """What is compared: the rows since an onset, those just before it as far as they are known, and the reference's.

    `deviations` are the calibration's, None for rows that were drawn one by one.
    """

    scores: ReferenceScores
    deviations: Deviations | None
    reference: Observations
    before: Observations
    since: Observations

    @cached_property
    def components(self) -> Components:
        """Return the components of the rows since the onset, each in its own long-run deviations."""
        assert self.deviations is not None
        n = len(self.since)
        sums = self.scores.sums(self.since, n)
        standard = components(self.scores, sums, np.full(sums.shape, np.nan), n) / self.deviations.at(n)
        return split(self.scores.columns, standard[0])


@dataclass(frozen=True)
class Samples:
    """A sample of the reference's rows, at the same times of the cycle if there is one, and one of those since.

    `deviations` are those of the components, None for rows that were drawn one by one.
    """

    reference: Sample
    since: Sample
    deviations: Components | None

    def beyond_chance(self, sizes: Effects | None, deviation: float) -> float:
        """Return a distance less its mean by chance, for rows that deviate so many times as much as drawn ones."""
        ours, theirs = self.reference, self.since
        common = math.sqrt((deviation**2 - 1) * sum(1 / one.of for one in (ours, theirs)))
        return 0.0 if sizes is None else beyond_chance(sizes.ks.value, len(ours.rows), len(theirs.rows), common)


class ColumnKind(Protocol):
    """What depends on a column's kind in an attribution."""

    def tests(self, changed: Changed) -> list[list[Test]]:
        """Return each column's tests."""

    def effects(
        self, scores: ReferenceScores, samples: Samples, rng: np.random.Generator
    ) -> Iterator[tuple[float, Effects | None]]:
        """Yield each column's effect, beyond what chance gives, and its effect sizes."""

    def levels(self, samples: Samples, vocabulary: Vocabulary) -> list[tuple[LevelChange, ...]]:
        """Return which of each column's levels changed; none of what has no levels, or whose levels are few."""


def two_sided(z: float) -> float:
    """Return the p-value of a normal deviation in either direction."""
    return float(2 * special.ndtr(-abs(z)))
