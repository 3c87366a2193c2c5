"""What a profile says of one column in the form of Evidently's summary, rounded as that is: to two decimals."""

from math import nan
from typing import Any

import numpy as np
import pandas as pd
from evidently.legacy.metric_results import Distribution, Histogram, HistogramData
from evidently.legacy.metrics.data_integrity.column_summary_metric import (
    CategoricalCharacteristics,
    ColumnCharacteristics,
    DataQualityPlot,
    NumericCharacteristics,
)

from monitoring.profile.columns import REST, LevelColumn, NumericColumn, PredictedColumn
from monitoring.profile.profile import Profile
from monitoring.profile.quantiles import quantile

DECIMALS = 2
SHOWN = 10  # levels in the report's tables


def characteristics(column: NumericColumn | LevelColumn | PredictedColumn, profile: Profile) -> ColumnCharacteristics:
    """Return what the tests read of a column; what a profile does not know is not set."""
    if isinstance(column, NumericColumn):
        return NumericCharacteristics.construct(**_of_numbers(column, profile))
    counts = _by_frequency(column, profile)
    known: dict[str, float] = {}
    if REST not in counts.index:
        unique = column.uniques(profile)
        known = {"unique": unique, "unique_percentage": _percent(unique, profile)}
    if counts.index[0] != REST:  # of which nobody knows whether one level alone is more frequent
        known["most_common_percentage"] = _percent(int(counts.iloc[0]), profile)
    return CategoricalCharacteristics.construct(**known)


def _percent(number: float, profile: Profile) -> float:
    return float(np.round(100 * number / profile.rows, DECIMALS))


def _of_numbers(column: NumericColumn, profile: Profile) -> dict[str, Any]:
    """Return statistics of the numbers; where some are infinite, mean and deviation are what pandas makes of them."""
    _, lowest, highest = profile.special[column.index].tolist()
    least, greatest = column.bounds(profile)
    mean, deviation = profile.mean(column.index), np.sqrt(profile.variance(column.index))
    if lowest or highest:
        mean, deviation = nan if lowest and highest else np.inf if highest else -np.inf, nan
    found = {
        "min": least,
        "max": greatest,
        "mean": mean,
        "std": deviation,
        "p50": quantile(profile, column.index, 1 / 2).middle,
    }
    return {name: float(np.round(value, DECIMALS)) for name, value in found.items()}


def _by_frequency(column: LevelColumn | PredictedColumn, profile: Profile) -> "pd.Series[int]":
    """Return how often each level occurs, and a missing one, the most frequent first."""
    counts: dict[str | float, int] = {}
    counts.update(column.counts(profile).items())
    if missing := column.nulls(profile):
        counts[nan] = missing
    return pd.Series(counts, dtype="int64").sort_values(ascending=False, kind="stable")


def picture_of(
    column: NumericColumn | LevelColumn | PredictedColumn,
    current: Profile,
    reference: Profile,
    pictures: tuple[Distribution, Distribution],
) -> DataQualityPlot:
    """Return the pictures of a column in both: a histogram of numbers, a table of levels."""
    if isinstance(column, NumericColumn):
        drawn = map(HistogramData.from_distribution, pictures)
        histogram = Histogram(**dict(zip(("current", "reference"), drawn, strict=True)))
        return DataQualityPlot.construct(bins_for_hist=histogram, counts_of_values=None)
    tables = {
        name: _by_frequency(column, side).rename_axis("x").reset_index(name="count").head(SHOWN)
        for name, side in (("current", current), ("reference", reference))
    }
    return DataQualityPlot.construct(bins_for_hist=None, counts_of_values=tables)
