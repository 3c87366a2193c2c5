"""How levels and predictions changed since an onset: their mix, levels that the reference never had, and no value."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from monitoring.alarms.drift.column_kinds import Changed, LevelChange, Samples, Test, two_sided
from monitoring.alarms.drift.effect_sizes import Effects, category_effects, total_variation_by_chance
from monitoring.alarms.drift.levels import NO_VALUE, UNSEEN, Codes
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.usual import Floats
from monitoring.alarms.drift.vocabulary import FeatureLevels, Vocabulary

SURE = 0.05
MOST_CHANGED = 5  # levels of a feature that are named
MOST_TESTED = 20  # levels of a feature: those whose shares differ the most


class CategoricalColumns:
    """Categorical features, by the cells that their levels lie in."""

    def tests(self, changed: Changed) -> list[list[Test]]:
        """Return tests of the mix of the reference's levels, of unseen ones, and of missing values."""
        if changed.deviations is None:
            both = zip(changed.reference.levels.counts(), changed.since.levels.counts(), strict=True)
            return [_independent_tests(before, now) for before, now in both]
        levels = changed.scores.levels
        parts = (levels.columns.split(of) for of in (levels.shares, changed.components.levels))
        return [_dependent_tests(shares, of) for shares, of in zip(*parts, strict=True)]

    def effects(
        self, scores: ReferenceScores, samples: Samples, rng: np.random.Generator
    ) -> Iterator[tuple[float, Effects | None]]:
        """Yield the total variation distance beyond chance."""
        columns = scores.columns.cells
        deviations = columns.split(np.ones(columns.width) if samples.deviations is None else samples.deviations.levels)
        counts = (one.rows.levels.counts() for one in (samples.reference, samples.since))
        sizes = [one.of for one in (samples.reference, samples.since)]
        for before, now, deviation in zip(*counts, deviations, strict=True):
            found = category_effects(before, now, rng)
            chance = total_variation_by_chance(before, now, deviation, sizes)
            yield max(0.0, found.ks.value - chance), found

    def levels(self, samples: Samples, vocabulary: Vocabulary) -> list[tuple[LevelChange, ...]]:
        """Return the levels whose shares have surely changed, the largest change first."""
        before, now = (one.rows.levels.codes for one in (samples.reference, samples.since))
        if before is None or now is None or not vocabulary.features:
            return [()] * len(samples.since.rows.levels.sizes)
        both = zip(vocabulary.features, before.T, now.T, strict=True)
        return [tuple(_changed_levels(words, *of)) for words, *of in both]


class PredictedCategories:
    """A classification's prediction, by the config's categories; a regression has none."""

    def tests(self, changed: Changed) -> list[list[Test]]:
        """Return a test of homogeneity by chi-square."""
        scores = changed.scores
        if not scores.columns.categories:
            return []
        if changed.deviations is not None:
            return [[("mix", _mix(scores, changed.reference, changed.since, changed.components.mix))]]
        counts = np.stack([count_predictions(scores, rows) for rows in (changed.reference, changed.since)])
        return [[("mix", _homogeneity(counts))]]

    def effects(
        self, scores: ReferenceScores, samples: Samples, rng: np.random.Generator
    ) -> Iterator[tuple[float, Effects | None]]:
        """Yield the total variation distance beyond chance."""
        if not scores.columns.categories:
            return
        counts = [count_predictions(scores, one.rows) for one in (samples.reference, samples.since)]
        mix = 1.0
        if samples.deviations is not None:
            mix = float(samples.deviations.mix[counts[0] + counts[1] > 0].max())
        sizes = category_effects(counts[0], counts[1], rng)
        yield samples.beyond_chance(sizes, mix), sizes

    def levels(self, samples: Samples, vocabulary: Vocabulary) -> list[tuple[LevelChange, ...]]:  # noqa: ARG002
        """Return none: the page shows all categories."""
        return [()]


def _independent_tests(before: Floats, now: Floats) -> list[Test]:
    """Return the tests of one feature from the counts of its cells (cells,)."""
    known = np.delete(np.stack([before, now]), (NO_VALUE, UNSEEN), axis=1)
    tests = [("mix", _homogeneity(known))]
    for cell, more, fewer in ((NO_VALUE, "missing", "present"), (UNSEEN, "unseen", "mix")):
        counts = [[round(of[cell]), round(of.sum() - of[cell])] for of in (now, before)]
        share, share_before = (of[cell] / max(of.sum(), 1) for of in (now, before))
        tests.append((more if share > share_before else fewer, float(stats.fisher_exact(counts)[1])))
    return tests


def _dependent_tests(shares: Floats, components: Floats) -> list[Test]:
    """Return the same tests from the cells' components (cells,)."""
    squares = np.delete((1 - shares) * components**2, (NO_VALUE, UNSEEN))
    mix = float(stats.chi2.sf(squares.sum(), max(1, len(squares) - 1)))
    missing, unseen = components[NO_VALUE], components[UNSEEN]
    return [
        ("mix", mix),
        ("missing" if missing > 0 else "present", two_sided(missing)),
        ("unseen" if unseen > 0 else "mix", two_sided(unseen)),
    ]


def _homogeneity(counts: Floats) -> float:
    """Return the p-value of the chi-square test that two samples' counts (2, c) are of one population."""
    counts = counts[:, counts.any(0)]
    if counts.shape[1] <= 1 or not counts.any(1).all():
        return 1.0
    return float(stats.chi2_contingency(counts, correction=False).pvalue)


def _mix(scores: ReferenceScores, reference: Observations, since: Observations, mix: Floats) -> float:
    """Return Pearson's test of the predictions' shares, from the components of those that occur."""
    counts = count_predictions(scores, reference) + count_predictions(scores, since)
    seen = counts > 0
    square = ((1 - scores.shares) * mix**2)[seen].sum()
    return float(stats.chi2.sf(square, seen.sum() - 1)) if seen.sum() > 1 else 1.0


def count_predictions(scores: ReferenceScores, rows: Observations) -> Floats:
    """Return how often each category was predicted, and last any other (categories + 1)."""
    return np.bincount(rows.predictions, minlength=scores.columns.categories + 1).astype(np.float64)


def _changed_levels(words: FeatureLevels, before: Codes, now: Codes) -> Sequence[LevelChange]:
    """Return what changed, by Fisher's exact test of each known level that may have, with Bonferroni's correction."""
    number = int(max(before.max(initial=0), now.max(initial=0))) + 1
    ours, theirs = (np.bincount(codes[codes >= 0], minlength=number) for codes in (before, now))
    n, m = max(len(now), 1), max(len(before), 1)
    gaps = theirs / n - ours / m
    level = SURE / max(int(np.count_nonzero(ours + theirs)), 1)
    changes: list[LevelChange] = []
    for code in np.argsort(-np.abs(gaps), kind="stable")[:MOST_TESTED]:
        counts = [[theirs[code], n - theirs[code]], [ours[code], m - ours[code]]]
        unseen = bool(code >= len(words.levels) and theirs[code])  # that it came at all is the change
        if (name := words.name(int(code))) is not None and (unseen or float(stats.fisher_exact(counts)[1]) < level):
            changes.append(LevelChange(name, float(ours[code] / m), float(theirs[code] / n), unseen))
    return changes[:MOST_CHANGED]
