"""How numbers changed since an onset: their mean score, its spread, and how often there is none.

Rows drawn one by one are tested as a second sample. Of rows that depend on those before them each component is divided
by its own long-run deviation, as the detector does, so that both go by one statistic; and what moves a column is also
looked for in values outside the reference's range and in a jump at the onset.
"""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from monitoring.alarms.drift.column_kinds import Changed, LevelChange, Samples, Test, two_sided
from monitoring.alarms.drift.dependent_statistics import components, split
from monitoring.alarms.drift.effect_sizes import Effects, numeric_effects
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.usual import Floats
from monitoring.alarms.drift.vocabulary import Vocabulary
from monitoring.alarms.drift.windows import BLOCK

TESTS = 6  # of a column whose rows depend on each other
SURE = 0.05


class NumericColumns:
    """Numeric features, and a regression's prediction."""

    def tests(self, changed: Changed) -> list[list[Test]]:
        """Return tests of the mean, the spread and the missing values; of dependent rows, of range and jump too."""
        if changed.deviations is None:
            return list(_independent_tests(changed.scores, changed.since))
        parts = changed.components
        near, far = np.split(parts.outside, 2)
        features = zip(parts.shift, _jump(changed), parts.scale, parts.missing, near, far, strict=True)
        return [_dependent_tests(*map(float, of)) for of in features]

    def effects(
        self, scores: ReferenceScores, samples: Samples, rng: np.random.Generator
    ) -> Iterator[tuple[float, Effects | None]]:
        """Yield the Kolmogorov-Smirnov distance beyond chance, or the change of the share of missing values."""
        ours, theirs = samples.reference.rows, samples.since.rows
        shift = np.ones(scores.columns.features) if samples.deviations is None else samples.deviations.shift
        gaps = _missing_gaps(ours, theirs)
        for before, now, deviation, gap in zip(ours.features.T, theirs.features.T, shift, gaps, strict=True):
            sizes = numeric_effects(before[np.isfinite(before)], now[np.isfinite(now)], rng)
            yield max(samples.beyond_chance(sizes, deviation), gap), sizes

    def levels(self, samples: Samples, vocabulary: Vocabulary) -> list[tuple[LevelChange, ...]]:  # noqa: ARG002
        """Return none."""
        return [()] * samples.since.rows.features.shape[1]


def _independent_tests(scores: ReferenceScores, since: Observations) -> Iterator[list[Test]]:
    m = scores.rows
    present = ~np.isnan(since.features)
    values = scores.centred(since)
    n = np.maximum(present.sum(0), 1)
    scale = (1 / n + 1 / m) ** -0.5
    mean = values.sum(0) / n
    square = (values**2).sum(0) / n - mean**2
    shift = mean * scale / np.sqrt(np.diagonal(scores.covariance))
    spread = (square - np.diagonal(scores.covariance)) * scale / scores.square_deviation
    missing = (~np.isfinite(since.features)).sum(0)
    missing_before = scores.missing[:-1] * (m + 1) - 0.5  # the reference's counts, which its shares were made from
    n = len(since)
    for z, s, here, before in zip(shift, spread, missing, missing_before, strict=True):
        counts = [[round(here), n - round(here)], [round(before), m - round(before)]]
        more = here / n > before / m
        yield [
            ("up" if z > 0 else "down", two_sided(z)),
            ("wider" if s > 0 else "narrower", two_sided(s)),
            ("missing" if more else "present", float(stats.fisher_exact(counts)[1])),
        ]


def _dependent_tests(  # noqa: PLR0917 - one of each sort
    shift: float, jump: float, scale: float, missing: float, outside: float, far: float
) -> list[Test]:
    """Return the tests of one feature from its components.

    Squares are those of distances from the reference's mean, so that a feature that has surely moved is wider too, and
    outside the range: that is told as the move that it is.
    """
    move = "up" if max(shift, jump, key=abs) > 0 else "down"
    moved = TESTS * min(two_sided(shift), two_sided(jump)) < SURE
    spread = "wider" if scale > 0 else "narrower"
    return [
        (move, two_sided(shift)),
        (move, two_sided(jump)),
        (move if moved else spread, two_sided(scale)),
        (move if moved else "wider", two_sided(outside)),
        (move if moved else "wider", two_sided(far)),
        ("missing" if missing > 0 else "present", two_sided(missing)),
    ]


def _jump(changed: Changed) -> Floats:
    """Return each feature's jump at the onset (d,), over as many rows as tell the most of it; 0 without rows before.

    A jump that stays stands out the more, the larger the root of their number is in units of its deviation.
    """
    scores, deviations, before, since = changed.scores, changed.deviations, changed.before, changed.since
    assert deviations is not None
    lengths = deviations.lengths[deviations.lengths <= min(len(before), len(since))]
    if not len(lengths):
        return np.zeros(scores.columns.features)
    longest = int(lengths[-1])
    after = np.cumsum(scores.sums(since.take(slice(0, longest)), BLOCK), axis=0)
    until = np.cumsum(scores.sums(before.take(slice(-longest, None)), BLOCK)[::-1], axis=0)
    places = lengths // BLOCK - 1
    deviation = split(scores.columns, deviations.at(lengths)).jump
    jump = split(scores.columns, components(scores, after[places], until[places], lengths)).jump / deviation
    best = (np.sqrt(lengths)[:, None] / deviation).argmax(0)
    found: Floats = jump[best, np.arange(len(best))]
    return found


def _missing_gaps(reference: Observations, current: Observations) -> list[float]:
    """Return the change of each feature's share of missing values, without its sign."""
    ours, theirs = (np.mean(~np.isfinite(rows.features), axis=0) for rows in (reference, current))
    return [float(gap) for gap in np.abs(theirs - ours)]
