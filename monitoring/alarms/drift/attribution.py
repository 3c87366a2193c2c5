"""The attribution of an alarm: which columns changed since its onset, in which direction, by how much.

Each column's rows since the onset are tested against the reference's, see `column_tests`. The onset was chosen because
these rows differ, so the p-values are a little too small. Benjamini-Hochberg's adjustment over the columns controls the
false discovery rate. With a rhythm, effects are differences from the reference's rows at the same times of the cycle,
see `matching`, beyond what rows that depend on each other give by chance.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from monitoring.alarms.drift.column_tests import count_predictions, dependent_tests, independent_tests
from monitoring.alarms.drift.dependent_statistics import Deviations, split
from monitoring.alarms.drift.effect_sizes import (
    Effects,
    beyond_chance,
    category_effects,
    numeric_effects,
)
from monitoring.alarms.drift.matching import Sample, matched_sample, sample
from monitoring.alarms.drift.scores import Observations, ReferenceScores

LEVEL = 0.05  # false discovery rate
SAMPLE_ROWS = 2000  # at most, of either side: effect sizes are measured on a random sample


@dataclass(frozen=True)
class ColumnAttribution:
    """How one column changed since the onset.

    `direction`: `up` or `down` (its values), `wider` or `narrower` (their spread), `missing` or `present` (how often
    it has a value), `mix` (of categories); None for a column without a significant change. `contribution` is its share
    of the sum of all columns' -log p, 0 to 1. `effect` is the share of its values that would have to change to undo the
    change, beyond what chance gives. `effects` are None for a column without a number on either side.
    """

    column: str
    direction: str | None
    adjusted_p_value: float
    contribution: float
    effect: float
    effects: Effects | None


@dataclass(frozen=True)
class Attribution:
    """How each column changed since the onset; the predictions' column is the last.

    `distance` is the effect size of the rows' Mahalanobis distance from the reference's mean: it shows changes of
    correlations, which no single column shows. `rows` is how many rows since the onset were compared.
    """

    columns: tuple[ColumnAttribution, ...]
    distance: float
    rows: int

    @property
    def effect(self) -> float:
        """Return the largest effect, 0 to 1."""
        return max(self.distance, *(column.effect for column in self.columns))


def attribute(
    names: tuple[str, ...],
    scores: ReferenceScores,
    deviations: Deviations | None,
    reference: Observations,
    around: tuple[Observations, Observations],
    *,
    seed: int = 0,
) -> Attribution:
    """Compare rows since an onset with the reference's; `names` are those of the features and of the prediction.

    `deviations` are the calibration's; `around` are the rows just before the onset, and those since.
    """
    rng, since = np.random.default_rng(seed), around[1]
    if deviations is None:
        tests = independent_tests(scores, reference, since)
    else:
        tests = dependent_tests(scores, deviations, reference, *around)
    p_values = np.array([min(1.0, len(of) * min(p for _, p in of)) for of in tests.columns])
    adjusted = stats.false_discovery_control(p_values)
    evidence = -np.log(np.maximum(p_values, 1e-300))
    shares = evidence / max(evidence.sum(), 1e-300)
    found = list(_effects(scores, deviations, _samples(scores, reference, since, rng), rng))
    if deviations is not None:  # what varies slowly is often far from the reference, and has not changed
        changed = [*(adjusted < LEVEL), (len(names) + 1) * tests.distance < LEVEL]
        found = [(effect if but else 0.0, sizes) for but, (effect, sizes) in zip(changed, found, strict=True)]
    columns = tuple(
        ColumnAttribution(
            name, min(test, key=lambda one: one[1])[0] if q < LEVEL else None, float(q), float(share), effect, sizes
        )
        for name, test, q, share, (effect, sizes) in zip(
            names, tests.columns, adjusted, shares, found[:-1], strict=True
        )
    )
    return Attribution(columns, found[-1][0], len(since))


def _samples(
    scores: ReferenceScores, reference: Observations, since: Observations, rng: np.random.Generator
) -> tuple[Sample, Sample]:
    """Draw from the reference, at the same times of the cycle if there is one, and from the rows since the onset."""
    if scores.usual is None:
        ours = sample(reference, SAMPLE_ROWS, rng)
    else:
        ours = matched_sample(reference, since, scores.usual.cycle, SAMPLE_ROWS, rng)
    return ours, sample(since, SAMPLE_ROWS, rng)


def _effects(
    scores: ReferenceScores, deviations: Deviations | None, samples: tuple[Sample, Sample], rng: np.random.Generator
) -> Iterator[tuple[float, Effects | None]]:
    """Yield effect and effect sizes of each feature, of the predictions, and of the distances from the mean."""
    ours, theirs = (one.rows for one in samples)
    counts = count_predictions(scores, ours), count_predictions(scores, theirs)
    shift, mix, distance = np.ones(scores.columns.features), 1.0, 1.0
    if deviations is not None:
        of = split(scores.columns, deviations.at(round(samples[1].of))[0])
        shift, mix, distance = of.shift, float(of.mix[counts[0] + counts[1] > 0].max()), float(of.distance[0])

    def effect(sizes: Effects | None, deviation: float) -> float:
        common = math.sqrt((deviation**2 - 1) * sum(1 / one.of for one in samples))
        return 0.0 if sizes is None else beyond_chance(sizes.ks.value, len(ours), len(theirs), common)

    for before, now, deviation, gap in zip(
        ours.features.T, theirs.features.T, shift, _missing_gaps(ours, theirs), strict=True
    ):
        sizes = numeric_effects(before[np.isfinite(before)], now[np.isfinite(now)], rng)
        yield max(effect(sizes, deviation), gap), sizes
    sizes = category_effects(counts[0], counts[1], rng)
    yield effect(sizes, mix), sizes
    sizes = numeric_effects(scores.distances(ours), scores.distances(theirs), rng)
    yield effect(sizes, distance), sizes


def _missing_gaps(reference: Observations, current: Observations) -> list[float]:
    """Return the change of each feature's share of missing values, without its sign."""
    ours, theirs = (np.mean(~np.isfinite(rows.features), axis=0) for rows in (reference, current))
    return [float(gap) for gap in np.abs(theirs - ours)]
