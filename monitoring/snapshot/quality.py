"""What a profile says beyond Evidently's tests: counts of bad data, shares, and each feature's shift and shape."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy import stats

from monitoring.profile.profile import CONFIDENCE_BINS, Floats, Profile
from monitoring.profile.two_sample_tests import ks_statistic
from monitoring.snapshot.repetitions import count_unexplained
from monitoring.snapshot.snapshot import Bin, CorrelationShift, Quality

QUANTILES = (0.1, 0.5, 0.9)
OTHER = "other"
SHIFTS = 3  # of a feature: the number of all pairs grows with the square of the features'
ROUNDING = 1e-14  # a deviation of less than this share of the mean is rounding


def judgeable(*profiles: Profile) -> tuple[str, ...]:
    """Return the features that hold at least one finite number in each of the profiles."""
    features = profiles[0].grid.model.features
    return tuple(name for index, name in enumerate(features) if all(p.finite(index) for p in profiles))


def measure_quality(profile: Profile) -> Quality:
    """Count what is wrong with rows.

    The score is the share of feature cells that hold a finite number, times the share of rows that do not repeat others
    beyond what the reference explains: it falls for missing, infinite, ill-typed and repeated data, and not for drift.
    """
    features = range(len(profile.grid.model.features))
    cells = profile.rows * len(features)
    usable = cells - int(profile.special.sum())
    unexplained = count_unexplained(profile)
    constant = sum(profile.constant(index) for index in features) + (len(profile.predictions) <= 1)
    return Quality(
        missing_values=int(profile.special[~profile.mismatched, 0].sum()),
        duplicated_rows=profile.duplicated,
        constant_columns=constant if profile.rows else 0,
        column_type_mismatches=int(profile.mismatched.sum()),
        score=None if unexplained is None or not profile.rows else usable / cells * (1 - unexplained / profile.rows),
        missing_shares=missing_shares(profile),
    )


def missing_shares(profile: Profile) -> Mapping[str, float]:
    """Return each feature's share of missing values, of those that hold numbers; nothing if there are no rows."""
    if not profile.rows:
        return {}
    shares = profile.special[:, 0] / profile.rows
    return {
        name: float(share)
        for name, share, mismatched in zip(profile.grid.model.features, shares, profile.mismatched, strict=True)
        if not mismatched
    }


def missing_p_values(reference: Profile, current: Profile) -> Mapping[str, float]:
    """Return the p-value of each feature's missing values being as frequent as in the reference, against more frequent.

    It is Fisher's exact test, one-sided.
    """
    ours, theirs = reference.special[:, 0], current.special[:, 0]
    p_values = stats.hypergeom.sf(theirs - 1, reference.rows + current.rows, ours + theirs, current.rows)
    by_name = dict(zip(current.grid.model.features, map(float, p_values), strict=True))
    return {name: by_name[name] for name in missing_shares(current)}


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


def feature_ks_statistic(reference: Profile, current: Profile, index: int) -> float:
    """Return a feature's two-sample Kolmogorov-Smirnov statistic over its finite values."""
    return ks_statistic(reference.column(index), current.column(index))


def effect_size(reference: Profile, current: Profile, index: int) -> float | None:
    """Return the mean's shift in the reference's standard deviations (Glass's delta); None if it does not vary."""
    variance = reference.variance(index)
    if not variance > 0:
        return None
    return (current.mean(index) - reference.mean(index)) / float(np.sqrt(variance))


def count_outliers(current: Profile, index: int) -> int:
    """Count values beyond the reference's Tukey fences, infinite ones with them."""
    low, high = current.grid.fences[index]
    above = current.finite(index) - current.up_to(index, high)
    return current.below(index, low) + above + int(current.special[index, 1:].sum())


def share_bins(reference: Profile, current: Profile, index: int) -> tuple[Bin, ...]:
    """Return both shares over equal widths of the reference's range; the outer bins are open."""
    ours = reference.histogram(index) / max(1, reference.finite(index))
    theirs = current.histogram(index) / current.finite(index) if current.finite(index) else None
    names = _bin_names(reference.grid.edges[index])
    return tuple(
        Bin(name, float(ours[n]), None if theirs is None else float(theirs[n])) for n, name in enumerate(names)
    )


def _bin_names(edges: Floats) -> list[str]:
    inner = [f"{edge:.4g}" for edge in edges[1:-1]]
    ranges = [
        f"below {inner[0]}",
        *(f"{a} to {b}" for a, b in pairwise(inner)),
        f"from {inner[-1]}",
    ]
    return [f"{n:02d}: {text}" for n, text in enumerate(ranges, start=1)]


def shift_correlations(reference: Profile, current: Profile) -> tuple[CorrelationShift, ...]:
    """Return the changes of Pearson's correlation that are among the SHIFTS largest of one of both features.

    Each pair is there once; a pair with a constant feature has none.
    """
    features = current.grid.model.features
    shifts = correlations(current) - correlations(reference)
    sizes = np.where(np.isfinite(shifts), np.abs(shifts), -1.0)
    np.fill_diagonal(sizes, -1.0)
    partners = np.argsort(-sizes, axis=1, kind="stable")[:, :SHIFTS]
    pairs = {(min(a, b), max(a, b)) for a, few in enumerate(partners.tolist()) for b in few if sizes[a, b] >= 0}
    return tuple(CorrelationShift(features[a], features[b], float(shifts[a, b])) for a, b in sorted(pairs))


def correlations(profile: Profile) -> Floats:
    """Return Pearson's correlation of each pair over the rows where both are finite (dxd); NaN if one is constant."""
    _, mean, squares, products = profile.moments
    varies = squares > profile.moments[0] * (ROUNDING * mean) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix: Floats = np.where(varies & varies.T, products / np.sqrt(squares * squares.T), np.nan)
    return matrix
