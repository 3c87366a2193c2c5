"""What a profile says beyond Evidently's tests: counts of bad data, shares, and each feature's shift and shape."""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from monitoring.profile.columns import NumericColumn, column_of, columns_of, features_of
from monitoring.profile.grid import CONFIDENCE_BINS
from monitoring.profile.profile import Floats, Profile
from monitoring.snapshot.error_shapes import shape_errors
from monitoring.snapshot.repetitions import count_unexplained
from monitoring.snapshot.shapes import NumericShape
from monitoring.snapshot.snapshot import CorrelationShift, Errors, ProbabilityScores, Quality

QUANTILES = (0.1, 0.5, 0.9)
OTHER = "other"
SHIFTS = 3  # of a feature: the number of all pairs grows with the square of the features'
ROUNDING = 1e-14  # a deviation of less than this share of the mean is rounding


def measure_quality(profile: Profile) -> Quality:
    """Count what is wrong with rows.

    The score is the share of feature cells that hold a finite number or a text, times the share of rows that do not
    repeat others beyond what the reference explains, and of a regression times the share of rows whose prediction is a
    finite number: it falls for missing, infinite, ill-typed and repeated data, and not for drift.
    """
    columns = columns_of(profile.grid)
    features = columns[:-1]
    cells = profile.rows * len(features)
    usable = cells - sum(sum(feature.void(profile)) for feature in features)
    unexplained = count_unexplained(profile)
    constant = sum(column.constant(profile) for column in columns)
    mismatched = [feature.mismatched(profile) for feature in features]
    unanswered = sum(columns[-1].void(profile)) if columns[-1].kind == "numeric" else 0
    score = None
    if unexplained is not None and profile.rows:
        score = usable / cells * (1 - unexplained / profile.rows) * (1 - unanswered / profile.rows)
    return Quality(
        missing_values=sum(f.void(profile).missing for f, bad in zip(features, mismatched, strict=True) if not bad),
        duplicated_rows=profile.duplicated,
        constant_columns=constant if profile.rows else 0,
        column_type_mismatches=sum(mismatched),
        score=score,
        missing_shares=missing_shares(profile),
        unseen_categories=_unseen(profile),
        out_of_range=_out_of_range(profile),
    )


def _unseen(profile: Profile) -> Mapping[str, int]:
    """Return how many values of each categorical feature have a level that the reference does not hold."""
    return {name: unseen.total for name, unseen in zip(profile.grid.categorical.names, profile.unseen, strict=True)}


def _out_of_range(profile: Profile) -> Mapping[str, int]:
    """Return how many values of each numeric feature lie outside its range: its test's bounds, or the reference's."""
    found = {
        feature.name: feature.out_of_range(profile)
        for feature in features_of(profile.grid)
        if isinstance(feature, NumericColumn) and not feature.mismatched(profile)
    }
    return {name: number for name, number in found.items() if number is not None}


def missing_shares(profile: Profile) -> Mapping[str, float]:
    """Return each feature's share of missing values, of those that hold what they should; nothing without rows."""
    if not profile.rows:
        return {}
    return {
        feature.name: feature.void(profile).missing / profile.rows
        for feature in features_of(profile.grid)
        if not feature.mismatched(profile)
    }


def missing_p_values(reference: Profile, current: Profile) -> Mapping[str, float]:
    """Return the p-value of each feature's missing values being as frequent as in the reference, against more frequent.

    It is Fisher's exact test, one-sided.
    """
    features = features_of(current.grid)
    ours, theirs = (np.array([f.void(side).missing for f in features]) for side in (reference, current))
    p_values = stats.hypergeom.sf(theirs - 1, reference.rows + current.rows, ours + theirs, current.rows)
    by_name = dict(zip(current.grid.model.features, map(float, p_values), strict=True))
    return {name: by_name[name] for name in missing_shares(current)}


def share_predictions(side: Profile, reference: Profile) -> Mapping[str, float]:
    """Return each category's share of the predictions, or of a regression's that of each range of the reference's."""
    grid = reference.grid
    column = column_of(grid, grid.model.prediction)
    if isinstance(column, NumericColumn):
        shares = NumericShape(column).bins(reference, side)
        return {one.name: one.current for one in shares if one.current is not None}
    return share_categories(side.predictions, grid.model.categories)


def share_categories(counts: Mapping[str, int], categories: tuple[str, ...]) -> Mapping[str, float]:
    """Return each category's share; unknown categories are summed up as `other`, with one that is called so."""
    total = sum(counts.values())
    if not total:
        return {}
    shares = {name: counts.get(name, 0) / total for name in categories}
    unknown = total - sum(counts.get(name, 0) for name in categories)
    return shares | ({OTHER: shares.get(OTHER, 0.0) + unknown / total} if unknown else {})


def confidence_quantiles(profile: Profile) -> Mapping[str, float]:
    """Return quantiles of the confidence, interpolated within bins: at most one bin's width (0.001) off."""
    total = int(profile.confidence.sum())
    if not total:
        return {}
    reached = np.concatenate([[0], np.cumsum(profile.confidence)]) / total
    edges = np.linspace(0, 1, CONFIDENCE_BINS + 1)
    return {str(q): _interpolate(q, reached, edges) for q in QUANTILES}


def _interpolate(q: float, reached: Floats, edges: Floats) -> float:
    upper = int(np.searchsorted(reached, q))
    lower = upper - 1
    return float(
        edges[lower] + (edges[upper] - edges[lower]) * (q - reached[lower]) / (reached[upper] - reached[lower])
    )


def measure_errors(reference: Profile, current: Profile, minimum_labels: int) -> Errors | None:
    """Return a regression's errors; None with too few labels, or for a classification."""
    errors = current.errors
    if not errors.rows or errors.rows < minimum_labels:
        return None
    r2 = errors.r2 if np.isfinite(errors.r2) else None
    mean, root = errors.mean_absolute, errors.root_mean_squared
    return Errors(mean, root, errors.mean_error, errors.largest_absolute, r2, shape_errors(reference, current))


def measure_probabilities(current: Profile, minimum_labels: int) -> ProbabilityScores | None:
    """Return what the probabilities are worth; None where too few labelled rows have them."""
    scores, model = current.scores, current.grid.model
    if not scores.rows or scores.rows < minimum_labels:
        return None
    area = scores.roc_auc(model)
    return ProbabilityScores(scores.log_loss(model), area if np.isfinite(area) else None)


def shift_correlations(reference: Profile, current: Profile) -> tuple[CorrelationShift, ...]:
    """Return the changes of Pearson's correlation that are among the SHIFTS largest of one of both features.

    Each pair of numeric features is there once; a pair with a constant feature has none.
    """
    features = current.grid.model.of_kind("numeric")
    shifts = (correlations(current) - correlations(reference))[: len(features), : len(features)]
    sizes = np.where(np.isfinite(shifts), np.abs(shifts), -1.0)
    np.fill_diagonal(sizes, -1.0)
    partners = np.argsort(-sizes, axis=1, kind="stable")[:, :SHIFTS]
    pairs = {(min(a, b), max(a, b)) for a, few in enumerate(partners.tolist()) for b in few if sizes[a, b] >= 0}
    return tuple(CorrelationShift(features[a], features[b], float(shifts[a, b])) for a, b in sorted(pairs))


def correlations(profile: Profile) -> Floats:
    """Return Pearson's correlation of numeric columns over the rows where both are finite (dxd); NaN if one is flat."""
    _, mean, squares, products = profile.moments
    varies = squares > profile.moments[0] * (ROUNDING * mean) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix: Floats = np.where(varies & varies.T, products / np.sqrt(squares * squares.T), np.nan)
    return matrix
