"""Tests of each column's rows since an onset against the reference's: which way it may have changed, how surely.

Rows drawn one by one are tested as a second sample. Of rows that depend on those before them each component is divided
by its own long-run deviation, as the detector does, so that both go by one statistic; and what moves a column is also
looked for in values outside the reference's range and in a jump at the onset.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from monitoring.alarms.drift.dependent_statistics import Deviations, components, split
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.usual import Floats
from monitoring.alarms.drift.windows import BLOCK

Test = tuple[str, float]  # a direction in which a column may have changed, and the p-value of a test for it
TESTS = 6  # of a feature whose rows depend on each other
SURE = 0.05


@dataclass(frozen=True)
class Tests:
    """Each column's tests, the predictions' last, and the p-value of the rows' distances from the reference's mean.

    The distances of rows drawn one by one are not tested: NaN.
    """

    columns: list[list[Test]]
    distance: float


def independent_tests(scores: ReferenceScores, reference: Observations, since: Observations) -> Tests:
    """Return each feature's tests, of its scores' mean, their variance and its missing values, and the predictions'.

    The predictions are tested for homogeneity by chi-square.
    """
    counts = np.stack([count_predictions(scores, rows) for rows in (reference, since)])
    counts = counts[:, counts.any(0)]
    varied = counts.shape[1] > 1
    mix = float(stats.chi2_contingency(counts, correction=False).pvalue) if varied else 1.0
    return Tests([*_independent_feature_tests(scores, since), [("mix", mix)]], math.nan)


def _independent_feature_tests(scores: ReferenceScores, since: Observations) -> Iterator[list[Test]]:
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
            ("up" if z > 0 else "down", _two_sided(z)),
            ("wider" if s > 0 else "narrower", _two_sided(s)),
            ("missing" if more else "present", float(stats.fisher_exact(counts)[1])),
        ]


def dependent_tests(
    scores: ReferenceScores, deviations: Deviations, reference: Observations, before: Observations, since: Observations
) -> Tests:
    """Return the same tests of rows with a rhythm, and those for values outside the range, and for a jump at the onset.

    `before` are the rows just before the onset, as far as they are known.
    """
    n = len(since)
    sums = scores.sums(since, n)
    standard = components(scores, sums, np.full(sums.shape, np.nan), n) / deviations.at(n)
    parts = split(scores.columns, standard[0])
    near, far = np.split(parts.outside, 2)
    jump = _jump(scores, deviations, before, since)
    features = zip(parts.shift, jump, parts.scale, parts.missing, near, far, strict=True)
    tests = [_dependent_feature_tests(*map(float, of)) for of in features]
    mix = ("mix", _mix(scores, reference, since, parts.mix))
    return Tests([*tests, [mix]], _two_sided(parts.distance[0]))


def _dependent_feature_tests(  # noqa: PLR0917 - one of each sort
    shift: float, jump: float, scale: float, missing: float, outside: float, far: float
) -> list[Test]:
    """Return the tests of one feature from its components.

    Squares are those of distances from the reference's mean, so that a feature that has surely moved is wider too, and
    outside the range: that is told as the move that it is.
    """
    move = "up" if max(shift, jump, key=abs) > 0 else "down"
    moved = TESTS * min(_two_sided(shift), _two_sided(jump)) < SURE
    spread = "wider" if scale > 0 else "narrower"
    return [
        (move, _two_sided(shift)),
        (move, _two_sided(jump)),
        (move if moved else spread, _two_sided(scale)),
        (move if moved else "wider", _two_sided(outside)),
        (move if moved else "wider", _two_sided(far)),
        ("missing" if missing > 0 else "present", _two_sided(missing)),
    ]


def _jump(scores: ReferenceScores, deviations: Deviations, before: Observations, since: Observations) -> Floats:
    """Return each feature's jump at the onset (d,), over as many rows as tell the most of it; 0 without rows before.

    A jump that stays stands out the more, the larger the root of their number is in units of its deviation.
    """
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


def _mix(scores: ReferenceScores, reference: Observations, since: Observations, mix: Floats) -> float:
    """Return Pearson's test of the predictions' shares, from the components of those that occur."""
    counts = count_predictions(scores, reference) + count_predictions(scores, since)
    seen = counts > 0
    square = ((1 - scores.shares) * mix**2)[seen].sum()
    return float(stats.chi2.sf(square, seen.sum() - 1)) if seen.sum() > 1 else 1.0


def count_predictions(scores: ReferenceScores, rows: Observations) -> Floats:
    """Return how often each category was predicted, and last any other (categories + 1)."""
    return np.bincount(rows.predictions, minlength=scores.columns.categories + 1).astype(np.float64)


def _two_sided(z: float) -> float:
    return float(2 * special.ndtr(-abs(z)))
