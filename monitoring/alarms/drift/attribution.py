"""The attribution of an alarm: which columns changed since its onset, in which direction, by how much.

Each column's rows since the onset are tested against the reference's by its kind, see `column_kinds`. The onset was
chosen because these rows differ, so the p-values are a little too small. Benjamini-Hochberg's adjustment over the
columns controls the false discovery rate. With a rhythm, effects are differences from the reference's rows at the same
times of the cycle, see `matching`, beyond what rows that depend on each other give by chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from monitoring.alarms.drift.categorical_columns import CategoricalColumns, PredictedCategories
from monitoring.alarms.drift.column_kinds import Changed, ColumnKind, LevelChange, Samples, Test, two_sided
from monitoring.alarms.drift.dependent_statistics import Deviations, split
from monitoring.alarms.drift.effect_sizes import Effects, numeric_effects
from monitoring.alarms.drift.matching import matched_sample, sample
from monitoring.alarms.drift.numeric_columns import NumericColumns
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.vocabulary import Vocabulary, columns_of
from monitoring.contract.config import Model

# in the order in which the detector has the columns
COLUMN_KINDS: tuple[ColumnKind, ...] = (NumericColumns(), CategoricalColumns(), PredictedCategories())
LEVEL = 0.05  # false discovery rate
SAMPLE_ROWS = 2000  # at most, of either side: effect sizes are measured on a random sample


@dataclass(frozen=True)
class ColumnAttribution:
    """How one column changed since the onset.

    `direction`: `up` or `down` (its values), `wider` or `narrower` (their spread), `missing` or `present` (how often
    it has a value), `mix` (of categories), `unseen` (levels that the reference does not have); None for a column
    without a significant change. `contribution` is its share
    of the sum of all columns' -log p, 0 to 1. `effect` is the share of its values that would have to change to undo the
    change, beyond what chance gives. `effects` are None for a column without a number on either side. `levels` are
    those of a categorical feature that have grown or shrunk the most.
    """

    column: str
    direction: str | None
    adjusted_p_value: float
    contribution: float
    effect: float
    effects: Effects | None
    levels: tuple[LevelChange, ...] = ()


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
    vocabulary: Vocabulary | None = None,
) -> Attribution:
    """Compare rows since an onset with the reference's; `names` are those of the columns, in the detector's order.

    `deviations` are the calibration's; `around` are the rows just before the onset, and those since. Levels are named
    by the vocabulary.
    """
    rng = np.random.default_rng(seed)
    changed = Changed(scores, deviations, reference, *around)
    tests = [test for kind in COLUMN_KINDS for test in kind.tests(changed)]
    p_values = np.array([min(1.0, len(of) * min(p for _, p in of)) for of in tests])
    adjusted = stats.false_discovery_control(p_values)
    evidence = -np.log(np.maximum(p_values, 1e-300))
    shares = evidence / max(evidence.sum(), 1e-300)
    samples = _samples(changed, rng)
    *found, (distance, _) = _effects(scores, samples, rng)
    if deviations is not None:  # what varies slowly is often far from the reference, and has not changed
        found = [(effect if q < LEVEL else 0.0, sizes) for q, (effect, sizes) in zip(adjusted, found, strict=True)]
        if (len(names) + 1) * two_sided(changed.components.distance[0]) >= LEVEL:
            distance = 0.0
    levels = [of for kind in COLUMN_KINDS for of in kind.levels(samples, vocabulary or Vocabulary())]
    columns = tuple(
        ColumnAttribution(name, _direction(test, q), float(q), float(share), effect, sizes, of if q < LEVEL else ())
        for name, test, q, share, (effect, sizes), of in zip(
            names, tests, adjusted, shares, found, levels[: len(names)], strict=True
        )
    )
    return Attribution(columns, distance, len(changed.since))


def attribute_for(
    model: Model,
    scores: ReferenceScores,
    deviations: Deviations | None,
    reference: Observations,
    around: tuple[Observations, Observations],
    *,
    vocabulary: Vocabulary,
) -> Attribution:
    """Do as `attribute`, for a model's columns: the features in the config's order, and the prediction last."""
    names = tuple(name for names in columns_of(model) for name in names)
    found = attribute(names, scores, deviations, reference, around, vocabulary=vocabulary)
    by_name = {column.column: column for column in found.columns}
    return replace(found, columns=tuple(by_name[name] for name in (*model.features, model.prediction)))


def _direction(tests: list[Test], adjusted: float) -> str | None:
    return min(tests, key=lambda one: one[1])[0] if adjusted < LEVEL else None


def _samples(changed: Changed, rng: np.random.Generator) -> Samples:
    """Draw from the reference, at the same times of the cycle if there is one, and from the rows since the onset."""
    scores, reference, since = changed.scores, changed.reference, changed.since
    if scores.usual is None:
        ours = sample(reference, SAMPLE_ROWS, rng)
    else:
        ours = matched_sample(reference, since, scores.usual.cycle, SAMPLE_ROWS, rng)
    theirs, of = sample(since, SAMPLE_ROWS, rng), None
    if changed.deviations is not None:
        of = split(scores.columns, changed.deviations.at(round(theirs.of))[0])
    return Samples(ours, theirs, of)


def _effects(
    scores: ReferenceScores, samples: Samples, rng: np.random.Generator
) -> Iterator[tuple[float, Effects | None]]:
    """Yield effect and effect sizes of each column, and of the distances from the mean."""
    for kind in COLUMN_KINDS:
        yield from kind.effects(scores, samples, rng)
    ours, theirs = (scores.distances(one.rows) for one in (samples.reference, samples.since))
    sizes = numeric_effects(ours, theirs, rng)
    distance = 1.0 if samples.deviations is None else float(samples.deviations.distance[0])
    yield samples.beyond_chance(sizes, distance), sizes
