"""The attribution of an alarm: which columns changed since its onset, in which direction, by how much.

Each column's rows since the onset are tested against the reference's as a second sample. The onset was chosen because
these rows differ, so the p-values are a little too small. Benjamini-Hochberg's adjustment over the columns controls the
false discovery rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from monitoring.alarms.drift.effect_sizes import Effects, beyond_chance, category_effects, numeric_effects
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.usual import Floats

LEVEL = 0.05  # false discovery rate
SAMPLE_ROWS = 2000  # at most, of either side: effect sizes are measured on a random sample

Directions = dict[str, float]  # p-value of each direction in which a column may have changed


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
    names: tuple[str, ...], scores: ReferenceScores, reference: Observations, current: Observations, seed: int = 0
) -> Attribution:
    """Compare rows since an onset with the reference's; `names` are those of the features and of the prediction."""
    rng = np.random.default_rng(seed)
    tests = [*_feature_tests(scores, current), {"mix": _mix_p_value(scores, reference, current)}]
    p_values = np.array([min(1.0, len(one) * min(one.values())) for one in tests])
    adjusted = stats.false_discovery_control(p_values)
    evidence = -np.log(np.maximum(p_values, 1e-300))
    shares = evidence / max(evidence.sum(), 1e-300)
    ours, theirs = (_sample(rows, rng) for rows in (reference, current))
    effects = [*_feature_effects(ours, theirs, rng), _mix_effects(scores, ours, theirs, rng)]
    columns = tuple(
        ColumnAttribution(
            name,
            min(test, key=test.__getitem__) if q < LEVEL else None,
            float(q),
            float(share),
            max(0.0 if effect is None else beyond_chance(effect.ks.value, len(ours), len(theirs)), gap),
            effect,
        )
        for name, test, q, share, effect, gap in zip(
            names, tests, adjusted, shares, effects, [*_missing_gaps(ours, theirs), 0.0], strict=True
        )
    )
    distances = numeric_effects(scores.distances(ours), scores.distances(theirs), rng)
    distance = beyond_chance(distances.ks.value, len(ours), len(theirs)) if distances else 0.0
    return Attribution(columns, distance, len(current))


def _sample(rows: Observations, rng: np.random.Generator) -> Observations:
    return rows if len(rows) <= SAMPLE_ROWS else rows.take(rng.choice(len(rows), SAMPLE_ROWS, replace=False))


def _feature_tests(scores: ReferenceScores, current: Observations) -> Iterator[Directions]:
    """Yield each feature's p-values: of its scores' mean, of their variance, and of its share of missing values."""
    m = scores.rows
    present = ~np.isnan(current.features)
    values = scores.centred(current)
    n = np.maximum(present.sum(0), 1)
    scale = (1 / n + 1 / m) ** -0.5
    mean = values.sum(0) / n
    square = (values**2).sum(0) / n - mean**2
    shift = mean * scale / np.sqrt(np.diagonal(scores.covariance))
    spread = (square - np.diagonal(scores.covariance)) * scale / scores.square_deviation
    missing = (~np.isfinite(current.features)).sum(0)
    missing_before = scores.missing[:-1] * (m + 1) - 0.5  # the reference's counts, which its shares were made from
    n = len(current)
    for z, s, here, before in zip(shift, spread, missing, missing_before, strict=True):
        counts = [[round(here), n - round(here)], [round(before), m - round(before)]]
        more = here / n > before / m
        yield {
            "up" if z > 0 else "down": _two_sided(z),
            "wider" if s > 0 else "narrower": _two_sided(s),
            "missing" if more else "present": float(stats.fisher_exact(counts)[1]),
        }


def _two_sided(z: float) -> float:
    return float(2 * special.ndtr(-abs(z)))


def _mix_p_value(scores: ReferenceScores, reference: Observations, current: Observations) -> float:
    """Return the p-value of the chi-square test of homogeneity of the predictions."""
    counts = np.stack([_count(scores, rows) for rows in (reference, current)])
    counts = counts[:, counts.any(0)]
    if counts.shape[1] < 2:  # noqa: PLR2004 - one category throughout
        return 1.0
    return float(stats.chi2_contingency(counts, correction=False).pvalue)


def _count(scores: ReferenceScores, rows: Observations) -> Floats:
    """Return how often each category was predicted, and last any other (categories + 1)."""
    return np.bincount(rows.predictions, minlength=scores.columns.categories + 1).astype(np.float64)


def _feature_effects(
    reference: Observations, current: Observations, rng: np.random.Generator
) -> Iterator[Effects | None]:
    for ours, theirs in zip(reference.features.T, current.features.T, strict=True):
        yield numeric_effects(ours[np.isfinite(ours)], theirs[np.isfinite(theirs)], rng)


def _mix_effects(
    scores: ReferenceScores, reference: Observations, current: Observations, rng: np.random.Generator
) -> Effects:
    return category_effects(_count(scores, reference), _count(scores, current), rng)


def _missing_gaps(reference: Observations, current: Observations) -> list[float]:
    """Return the change of each feature's share of missing values, without its sign."""
    ours, theirs = (np.mean(~np.isfinite(rows.features), axis=0) for rows in (reference, current))
    return [float(gap) for gap in np.abs(theirs - ours)]
