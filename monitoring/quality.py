"""Describe rows: counts of what is wrong with them, and how their values lie against the reference's."""

from collections.abc import Mapping
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from monitoring.schema import Model
from monitoring.snapshot import Bin, CorrelationShift, Quality

Values = npt.NDArray[np.float64]

OTHER = "other"
BINS = 10
QUANTILES = (0.1, 0.5, 0.9)
# Tukey's fences: this many interquartile ranges beyond the quartiles
FENCE = 1.5


def conform(data: pd.DataFrame, model: Model) -> pd.DataFrame:
    """Return the model's columns alone: numbers as float64, categories as text, an absent column as null.

    A feature that holds something else than numbers stays as it is, and counts as a type mismatch.
    """
    frame = data.reindex(columns=[*model.features, model.prediction, model.target]).reset_index(drop=True)
    for name in model.features:
        frame[name] = _numbers(frame[name])
    for name in (model.prediction, model.target):
        frame[name] = frame[name].map(str, na_action="ignore").astype(object).where(frame[name].notna(), None)
    return frame


def _numbers(column: pd.Series) -> pd.Series:
    if column.isna().all():
        return pd.Series(np.nan, index=column.index, dtype="float64")
    if is_number(column):
        return column.astype("float64")
    return column.astype(object)


def is_number(column: pd.Series) -> bool:
    """Return whether a column holds numbers."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def judgeable(features: tuple[str, ...], *frames: pd.DataFrame) -> tuple[str, ...]:
    """Return the features that hold at least one finite number in each of the frames."""
    return tuple(f for f in features if all(is_number(frame[f]) and len(finite(frame[f])) for frame in frames))


def finite(column: pd.Series) -> Values:
    """Return a feature's finite values."""
    values: Values = column.to_numpy(dtype="float64")
    return values[np.isfinite(values)]


def measure_quality(frame: pd.DataFrame, model: Model) -> Quality:
    """Count what is wrong with conformed rows.

    The score is the share of feature cells that hold a finite number, times the share of rows that do not repeat an
    earlier one: it falls for missing, infinite, ill-typed and repeated data, and not for drift.
    """
    features = frame[list(model.features)]
    seen = frame[[*model.features, model.prediction]]
    duplicates = int(seen.duplicated().sum())
    numbers = [name for name in model.features if is_number(frame[name])]
    usable = sum(len(finite(frame[name])) for name in numbers)
    return Quality(
        missing_values=int(features.isna().to_numpy().sum()),
        duplicated_rows=duplicates,
        constant_columns=int((seen.nunique() <= 1).sum()) if len(frame) else 0,  # noqa: PD101 - counted as Evidently counts
        column_type_mismatches=len(model.features) - len(numbers),
        score=usable / features.size * (1 - duplicates / len(frame)) if len(frame) else None,
    )


def share_categories(column: pd.Series, categories: tuple[str, ...]) -> Mapping[str, float]:
    """Return each category's share of the non-null values; unknown categories are summed up as `other`."""
    counts = column.value_counts()
    total = int(counts.sum())
    if not total:
        return {}
    shares = {name: int(counts.get(name, 0)) / total for name in categories}
    unknown = total - sum(int(counts.get(name, 0)) for name in categories)
    return shares | ({OTHER: unknown / total} if unknown else {})


def take_quantiles(data: pd.DataFrame, column: str) -> Mapping[str, float]:
    """Return the quantiles of a column of numbers that may be absent."""
    values = finite(data[column]) if column in data and is_number(data[column]) else np.empty(0)
    if not len(values):
        return {}
    return {str(q): float(v) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def ks_statistic(reference: Values, current: Values) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic (scipy.stats.ks_2samp)."""
    # The statistic does not depend on the method; the exact p-value, not used here, is what costs.
    return float(stats.ks_2samp(reference, current, method="asymp").statistic)


def effect_size(reference: Values, current: Values) -> float | None:
    """Return the mean's shift in the reference's standard deviations (Glass's delta); None if it does not vary."""
    spread = float(np.std(reference, ddof=1)) if len(reference) > 1 else 0.0
    return float(np.mean(current) - np.mean(reference)) / spread if spread > 0 else None


def count_outliers(reference: Values, current: pd.Series) -> int:
    """Count values beyond the reference's Tukey fences."""
    low, high = np.quantile(reference, (0.25, 0.75))
    margin = FENCE * (high - low)
    values = current.to_numpy(dtype="float64")
    return int(((values < low - margin) | (values > high + margin)).sum())


def share_bins(reference: Values, current: Values) -> tuple[Bin, ...]:
    """Return both shares over equal widths of the reference's range; the outer bins are open."""
    low, high = float(reference.min()), float(reference.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    ours = np.histogram(reference, edges)[0] / len(reference)
    theirs = np.histogram(current.clip(low, high), edges)[0] / len(current) if len(current) else [None] * BINS
    return tuple(
        Bin(name, float(r), None if c is None else float(c))
        for name, r, c in zip(_bin_names(edges), ours, theirs, strict=True)
    )


def _bin_names(edges: Values) -> list[str]:
    inner = [f"{edge:.4g}" for edge in edges[1:-1]]
    ranges = [
        f"below {inner[0]}",
        *(f"{a} to {b}" for a, b in pairwise(inner)),
        f"from {inner[-1]}",
    ]
    return [f"{n:02d}: {text}" for n, text in enumerate(ranges, start=1)]


def shift_correlations(
    reference: pd.DataFrame, current: pd.DataFrame, features: tuple[str, ...]
) -> tuple[CorrelationShift, ...]:
    """Return the change of each pair's Pearson correlation; a pair with a constant feature has none."""
    shifts = current[list(features)].corr() - reference[list(features)].corr()
    matrix = shifts.to_numpy()
    return tuple(
        CorrelationShift(features[a], features[b], float(matrix[a, b]))
        for a, b in combinations(range(len(features)), 2)
        if np.isfinite(matrix[a, b])
    )
