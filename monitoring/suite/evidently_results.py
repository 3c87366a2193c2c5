"""What profiles say in the form of Evidently's own results; what they do not say is not set, and cannot be read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from evidently.legacy.metric_results import ConfusionMatrix, DatasetClassificationQuality, Distribution
from evidently.legacy.metrics.classification_performance.objects import ClassMetric
from evidently.legacy.metrics.classification_performance.quality_by_class_metric import ClassificationQuality
from evidently.legacy.metrics.data_integrity.dataset_missing_values_metric import DatasetMissingValues
from evidently.legacy.metrics.data_integrity.dataset_summary_metric import DatasetSummary, NumpyDtype
from evidently.legacy.metrics.data_quality.column_value_list_metric import ValueListStat
from evidently.legacy.metrics.data_quality.column_value_range_metric import ValuesInRangeStat
from evidently.legacy.metrics.regression_performance.regression_quality import MoreRegressionMetrics
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from monitoring.profile.columns import LevelColumn, NumericColumn, PredictedColumn, columns_of
from monitoring.profile.label_errors import ErrorSums
from monitoring.profile.profile import Profile

TWO = 2
NO_PICTURE = Distribution(x=[], y=[])


def no_rows(profile: Profile) -> pd.DataFrame:
    """Return an empty frame of the tested columns, with their types; nobody may write to it."""
    return _no_rows(tuple(_types(profile).items()))


@lru_cache(maxsize=8)
def _no_rows(types: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    """Make the frame once: for hundreds of columns it takes longer than a test of them."""
    columns = [name for name, _ in types]
    others = {name: dtype for name, dtype in types if dtype != "float64"}
    return pd.DataFrame(np.empty((0, len(columns))), columns=columns).astype(others)


def _types(profile: Profile) -> dict[str, str]:
    """Return the types that the rows would have as a DataFrame, of the features and the prediction."""
    return {
        column.name: "float64" if column.kind == "numeric" and not column.mismatched(profile) else "object"
        for column in columns_of(profile.grid)
    }


def missing_values(profile: Profile) -> DatasetMissingValues:
    """Count what Evidently takes for missing: nulls, infinite numbers, empty texts."""
    voids = {column.name: column.void(profile) for column in columns_of(profile.grid)}
    kinds: dict[str, dict[Any, int]] = {
        name: {"": void.empty, np.inf: void.highest, -np.inf: void.lowest, None: void.missing}
        for name, void in voids.items()
    }
    by_kind = {kind: sum(counts[kind] for counts in kinds.values()) for kind in ("", np.inf, -np.inf, None)}
    by_column = {name: sum(void) for name, void in voids.items()}
    missing, rows, columns = sum(by_column.values()), profile.rows, len(kinds)
    affected = sorted(name for name, number in by_column.items() if number)
    return DatasetMissingValues(
        different_missing_values=by_kind,
        number_of_different_missing_values=sum(number > 0 for number in by_kind.values()),
        different_missing_values_by_column=kinds,
        number_of_different_missing_values_by_column={n: sum(c > 0 for c in k.values()) for n, k in kinds.items()},
        number_of_missing_values=missing,
        share_of_missing_values=missing / (columns * rows) if rows else 0.0,
        number_of_missing_values_by_column=by_column,
        share_of_missing_values_by_column={n: number / rows for n, number in by_column.items()} if rows else {},
        number_of_rows=rows,
        number_of_rows_with_missing_values=profile.rows_missing,
        share_of_rows_with_missing_values=profile.rows_missing / rows if rows else 0.0,
        number_of_columns=columns,
        columns_with_missing_values=affected,
        number_of_columns_with_missing_values=len(affected),
        share_of_columns_with_missing_values=len(affected) / columns,
    )


def summarize(profile: Profile) -> DatasetSummary:
    """Describe the rows; what a profile does not know, such as almost constant columns, is not set."""
    columns, types = columns_of(profile.grid), _types(profile)
    nulls = {column.name: column.void(profile).missing for column in columns}
    return DatasetSummary.construct(
        number_of_columns=len(types),
        number_of_rows=profile.rows,
        number_of_missing_values=sum(nulls.values()),
        number_of_constant_columns=sum(column.constant(profile) for column in columns),
        number_of_empty_columns=sum(number == profile.rows for number in nulls.values()),
        number_of_duplicated_columns=profile.equal_columns,
        number_of_empty_rows=profile.rows_empty,
        number_of_duplicated_rows=profile.duplicated,
        columns_type_data={name: NumpyDtype(dtype=dtype) for name, dtype in types.items()},
        nans_by_columns=nulls,
        number_uniques_by_columns={column.name: column.uniques(profile) for column in columns},
    )


def _cases(confusion: Counter[tuple[str, str]]) -> tuple[list[str], list[str], list[int]]:
    """Return each pair of target and prediction once, and how many rows have it."""
    targets, predictions = zip(*confusion, strict=True)
    return list(targets), list(predictions), list(confusion.values())


def confusion_of(confusion: Counter[tuple[str, str]]) -> ConfusionMatrix:
    """Return the matrix of the labelled rows, over the labels that occur."""
    targets, predictions, weights = _cases(confusion)
    labels = sorted({*targets, *predictions})
    if len(labels) == 1:  # which scikit-learn warns of
        return ConfusionMatrix(labels=labels, values=[[sum(weights)]])
    values = confusion_matrix(targets, predictions, labels=labels, sample_weight=weights)
    return ConfusionMatrix(labels=labels, values=values.tolist())


def score(confusion: Counter[tuple[str, str]], positive: str) -> DatasetClassificationQuality:
    """Score as Evidently does: the mean over all classes, and where there are two, the positive one's."""
    targets, predictions, weights = _cases(confusion)
    average: dict[str, Any] = {"average": "macro"}
    if len({*targets, *predictions}) == TWO:
        average = {"average": "binary", "pos_label": positive}
    precision, recall, f1, _ = precision_recall_fscore_support(
        targets, predictions, sample_weight=weights, zero_division=0, **average
    )
    accuracy = accuracy_score(targets, predictions, sample_weight=weights)
    return DatasetClassificationQuality(accuracy=accuracy, precision=precision, recall=recall, f1=f1)


def scored(profile: Profile) -> DatasetClassificationQuality:
    """Return what the labelled rows' probabilities are worth; what needs their answers is not set."""
    model, scores = profile.grid.model, profile.scores
    return DatasetClassificationQuality.construct(
        roc_auc=scores.roc_auc(model), log_loss=scores.log_loss(model), plot_data=None, rate_plots_data=None
    )


def score_by_class(confusion: Counter[tuple[str, str]]) -> ClassificationQuality:
    """Score each category that occurs among labels or predictions."""
    targets, predictions, weights = _cases(confusion)
    labels = sorted({*targets, *predictions})
    scores = precision_recall_fscore_support(
        targets, predictions, sample_weight=weights, labels=labels, average=None, zero_division=0
    )
    by_class = {
        label: ClassMetric(precision=precision, recall=recall, f1=f1, support=support)
        for label, precision, recall, f1, support in zip(labels, *scores, strict=True)
    }
    return ClassificationQuality(metrics=by_class, roc_aucs=None)


def in_range(
    column: NumericColumn, profile: Profile, bounds: tuple[float, float], picture: Distribution
) -> ValuesInRangeStat:
    """Count the numbers that lie in the reference's range, both bounds included; missing ones do not count."""
    number = profile.rows - column.void(profile).missing
    within = column.between(profile, bounds)
    return ValuesInRangeStat(
        number_in_range=within,
        number_not_in_range=number - within,
        share_in_range=within / number if number else 0.0,
        share_not_in_range=(number - within) / number if number else 0.0,
        number_of_values=number,
        distribution=picture,
    )


def in_list(column: LevelColumn, profile: Profile, values: Sequence[str] | None) -> ValueListStat:
    """Count the values at listed levels, or the reference's; missing ones are none of them, as Evidently has it."""
    known = column.known(profile) if values is None else column.listed(profile, values)
    counts = column.counts(profile)
    within = sum(known.values())
    return ValueListStat(
        number_in_list=within,
        number_not_in_list=profile.rows - within,
        share_in_list=within / profile.rows if profile.rows else 0.0,
        share_not_in_list=(profile.rows - within) / profile.rows if profile.rows else 0.0,
        values_in_list=list(known.items()),
        values_not_in_list=[(name, count) for name, count in counts.items() if name not in known],
        rows_count=profile.rows,
    )


def errors_of(errors: ErrorSums, percentage: float) -> MoreRegressionMetrics:
    """Return the errors of the labelled rows; their shapes, which tests do not read, are not set."""
    return MoreRegressionMetrics.construct(
        r2_score=errors.r2,
        rmse=errors.root_mean_squared,
        mean_error=errors.mean_error,
        mean_abs_error=errors.mean_absolute,
        mean_abs_perc_error=percentage,
        abs_error_max=errors.largest_absolute,
        error_std=errors.deviation,
    )


def draw(
    column: NumericColumn | LevelColumn | PredictedColumn, current: Profile, reference: Profile
) -> tuple[Distribution, Distribution]:
    """Return pictures of a column in the current rows and in the reference."""
    if isinstance(column, NumericColumn):
        both = (reference, current)
        return _histogram(current, column.index, both), _histogram(reference, column.index, both)
    ours, theirs = (column.counts(side) for side in (current, reference))
    return _bars(ours), _bars(theirs)


def _bars(counts: Mapping[str, int]) -> Distribution:
    return Distribution(x=list(counts), y=list(counts.values()))


def _histogram(side: Profile, index: int, both: tuple[Profile, Profile]) -> Distribution:
    """Return the counts in the grid's bins; the outer two reach as far as there are values."""
    edges = side.grid.numeric.edges[index].copy()
    edges[0] = min(edges[0], *(profile.low[index] for profile in both))
    edges[-1] = max(edges[-1], *(profile.high[index] for profile in both))
    return Distribution(x=edges, y=side.histogram(index))
