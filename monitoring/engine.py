"""Evidently's calculation engine over profiles: the TestSuite as it is, at a cost that does not depend on the rows.

`TestSuite.run(reference_data=…, current_data=…, engine=ProfileEngine)` takes two profiles of one grid in the place of
DataFrames. Each metric that the configurable tests ask for is computed here from counts; a metric that is not here
fails with its name, and what a profile does not know is left out of a result, so that no test can read it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from evidently.legacy.base_metric import GenericInputData, Metric
from evidently.legacy.calculation_engine.engine import Engine, EngineDatasets, metric_implementation
from evidently.legacy.calculation_engine.metric_implementation import MetricImplementation
from evidently.legacy.calculations.data_drift import ColumnDataDriftMetrics, DriftStatsField, get_dataset_drift
from evidently.legacy.calculations.stattests.registry import get_registered_stattest
from evidently.legacy.core import ColumnType
from evidently.legacy.metric_results import ConfusionMatrix, DatasetClassificationQuality, Distribution
from evidently.legacy.metrics import (
    ClassificationConfusionMatrix,
    ClassificationQualityMetric,
    ColumnDriftMetric,
    DataDriftTable,
    DatasetMissingValuesMetric,
    DatasetSummaryMetric,
)
from evidently.legacy.metrics.classification_performance.classification_quality_metric import (
    ClassificationQualityMetricResult,
)
from evidently.legacy.metrics.classification_performance.confusion_matrix_metric import (
    ClassificationConfusionMatrixResult,
)
from evidently.legacy.metrics.data_drift.data_drift_table import DataDriftTableResults
from evidently.legacy.metrics.data_integrity.dataset_missing_values_metric import (
    DatasetMissingValues,
    DatasetMissingValuesMetricResult,
)
from evidently.legacy.metrics.data_integrity.dataset_summary_metric import (
    DatasetSummary,
    DatasetSummaryMetricResult,
    NumpyDtype,
)
from evidently.legacy.options.data_drift import DataDriftOptions
from evidently.legacy.pipeline.column_mapping import ColumnMapping
from evidently.legacy.utils.data_operations import process_columns
from evidently.legacy.utils.data_preprocessing import DataDefinition, create_data_definition
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from monitoring.drift_tests import CATEGORICAL, NUMERIC
from monitoring.profile import Profile

TWO = 2


class NotInProfileError(NotImplementedError):
    """A metric that cannot be computed from a profile."""


class ProfileEngine(Engine):  # type: ignore[misc]  # Evidently is not followed by mypy
    """Runs Evidently's tests on profiles."""

    def __init__(self) -> None:
        super().__init__()
        self._calculations: dict[Metric, _Once] = {}
        self._p_values: dict[tuple[Any, ...], float] = {}

    def convert_input_data(self, data: GenericInputData) -> GenericInputData:
        """Return the data as they are: profiles need no conversion."""
        return data

    def get_data_definition(
        self,
        current_data: Profile,
        reference_data: Profile | None,  # noqa: ARG002 - the signature is Evidently's
        column_mapping: ColumnMapping,
        categorical_features_cardinality: int | None = None,
    ) -> DataDefinition:
        """Return the columns' roles, which follow from the mapping and the types."""
        frame = _no_rows(current_data)
        return create_data_definition(frame, frame, column_mapping, categorical_features_cardinality)

    def calculate_additional_features(self, *_: Any) -> dict[Any, Any]:
        """Return nothing: no configurable test derives columns."""
        return {}

    def merge_additional_features(self, _features: Any) -> EngineDatasets:
        """Return nothing, as above."""
        return EngineDatasets(current=None, reference=None)

    def get_metric_implementation(self, metric: Metric) -> "_Once":
        """Return a metric's calculation, one for all tests that ask for it."""
        if metric not in self._calculations:
            implementation = super().get_metric_implementation(metric)
            self._calculations[metric] = _Once(metric, implementation)
        return self._calculations[metric]

    def p_value(
        self, reference: Profile, current: Profile, index: int, test: str, infinite: tuple[bool, bool]
    ) -> float:
        """Return a feature's p-value, computed once for all tests that ask for it."""
        key = (index, test, infinite)
        if key not in self._p_values:
            self._p_values[key] = _numeric_test(test)(reference, current, index, infinite)
        return self._p_values[key]


def _numeric_test(name: str) -> Callable[..., float]:
    if name not in NUMERIC:
        raise NotInProfileError(f"the drift test {name} cannot be computed from a profile")
    return NUMERIC[name]


class _Once:
    """A calculation whose result is kept; Evidently itself computes a metric anew for each test that shares it."""

    def __init__(self, metric: Metric, implementation: MetricImplementation | None) -> None:
        self._metric = metric
        self._implementation = implementation
        self._result: Any = None

    def calculate(self, context: Any, data: GenericInputData) -> Any:
        if self._implementation is None:
            raise NotInProfileError(f"{type(self._metric).__name__} cannot be computed from a profile")
        if self._result is None:
            self._result = self._implementation.calculate(context, data)
        return self._result


class _ProfileMetric(MetricImplementation):  # type: ignore[misc]
    def __init__(self, engine: ProfileEngine, metric: Any) -> None:
        self.engine = engine
        self.metric = metric

    @classmethod
    def supported_engines(cls) -> tuple[type[ProfileEngine]]:
        return (ProfileEngine,)


def _no_rows(profile: Profile) -> pd.DataFrame:
    """Return an empty frame of the tested columns, with their types."""
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in _types(profile).items()})


def _types(profile: Profile) -> dict[str, str]:
    """Return the types that the rows would have as a DataFrame, of the features and the prediction."""
    model = profile.grid.model
    features = zip(model.features, profile.mismatched, strict=True)
    return {name: "object" if mismatched else "float64" for name, mismatched in features} | {model.prediction: "object"}


# --- drift -----------------------------------------------------------------------------------------------------------


@metric_implementation(ColumnDriftMetric)
class _ColumnDrift(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ColumnDataDriftMetrics:
        options = DataDriftOptions(all_features_stattest=self.metric.stattest, threshold=self.metric.stattest_threshold)
        return _column_drift(self.engine, data, self.metric.column_name.name, options, in_table=False)


@metric_implementation(DataDriftTable)
class _DataDriftTable(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> DataDriftTableResults:
        options = self.metric.drift_options
        by_column = {
            name: _column_drift(self.engine, data, name, options, in_table=True) for name in self.metric.columns
        }
        found = get_dataset_drift(by_column, options.drift_share)
        return DataDriftTableResults(
            number_of_columns=len(by_column),
            number_of_drifted_columns=found.number_of_drifted_columns,
            share_of_drifted_columns=found.dataset_drift_score,
            dataset_drift=found.dataset_drift,
            drift_by_columns=by_column,
            dataset_columns=process_columns(_no_rows(data.current_data), data.column_mapping),
        )


def _column_drift(
    engine: ProfileEngine, data: GenericInputData, name: str, options: DataDriftOptions, *, in_table: bool
) -> ColumnDataDriftMetrics:
    reference, current = data.reference_data, data.current_data
    model = current.grid.model
    kind = ColumnType.Categorical if name == model.prediction else ColumnType.Numerical
    test = options.get_feature_stattest_func(name, kind.value)
    threshold = options.get_threshold(name, kind.value)
    if kind == ColumnType.Categorical:
        _require_values(name, reference.predictions.total(), current.predictions.total())
        p_value = CATEGORICAL[test](reference.predictions, current.predictions)
        pictures = [_category_picture(side.predictions) for side in (current, reference)]
    else:
        index = model.features.index(name)
        _require_values(name, reference.finite(index), current.finite(index))
        # Evidently's table leaves infinities in columns that hold no missing value; its test of one column does not.
        kept = [in_table and not side.special[index, 0] for side in (reference, current)]
        p_value = engine.p_value(reference, current, index, test, (kept[0], kept[1]))
        pictures = [_histogram(side, index, reference, current) for side in (current, reference)]
    return ColumnDataDriftMetrics(
        column_name=name,
        column_type=kind.value,
        stattest_name=get_registered_stattest(test, kind).display_name,
        stattest_threshold=threshold,
        drift_score=p_value,
        drift_detected=p_value <= threshold if test == "ks" else p_value < threshold,
        current=DriftStatsField(distribution=pictures[0]),
        reference=DriftStatsField(distribution=pictures[1]),
    )


def _require_values(name: str, reference: int, current: int) -> None:
    for dataset, number in (("reference", reference), ("current", current)):
        if not number:
            raise ValueError(f"An empty column '{name}' was provided for drift calculation in the {dataset} dataset.")


def _category_picture(counts: Mapping[str, int]) -> Distribution:
    return Distribution(x=list(counts), y=list(counts.values()))


def _histogram(side: Profile, index: int, *both: Profile) -> Distribution:
    """Return the counts in the grid's bins; the outer two reach as far as there are values."""
    edges = side.grid.edges[index].copy()
    edges[0] = min(edges[0], *(profile.low[index] for profile in both))
    edges[-1] = max(edges[-1], *(profile.high[index] for profile in both))
    return Distribution(x=edges, y=side.histogram(index))


# --- data quality ----------------------------------------------------------------------------------------------------


@metric_implementation(DatasetMissingValuesMetric)
class _MissingValues(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> DatasetMissingValuesMetricResult:
        return DatasetMissingValuesMetricResult(
            current=_missing_values(data.current_data), reference=_missing_values(data.reference_data)
        )


def _missing_values(profile: Profile) -> DatasetMissingValues:
    """Count what Evidently takes for missing: null and infinite features, null and empty predictions."""
    model = profile.grid.model
    kinds: dict[str, dict[Any, int]] = {
        name: {"": 0, np.inf: highest, -np.inf: lowest, None: missing}
        for name, (missing, lowest, highest) in zip(model.features, profile.special.tolist(), strict=True)
    }
    kinds[model.prediction] = {"": profile.predictions[""], np.inf: 0, -np.inf: 0, None: profile.unpredicted}
    by_kind = {kind: sum(counts[kind] for counts in kinds.values()) for kind in kinds[model.prediction]}
    by_column = {name: sum(counts.values()) for name, counts in kinds.items()}
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


@metric_implementation(DatasetSummaryMetric)
class _Summary(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> DatasetSummaryMetricResult:
        return DatasetSummaryMetricResult.construct(
            current=_summary(data.current_data),
            reference=_summary(data.reference_data),
            almost_duplicated_threshold=self.metric.almost_duplicated_threshold,
        )


def _summary(profile: Profile) -> DatasetSummary:
    """Describe the rows; what a profile does not know, such as almost constant columns, is not set."""
    model, types = profile.grid.model, _types(profile)
    nulls = dict(zip(model.features, profile.special[:, 0].tolist(), strict=True)) | {
        model.prediction: profile.unpredicted
    }
    constant = {name: profile.constant(index) for index, name in enumerate(model.features)}
    constant[model.prediction] = len(profile.predictions) <= 1
    return DatasetSummary.construct(
        number_of_columns=len(types),
        number_of_rows=profile.rows,
        number_of_missing_values=sum(nulls.values()),
        number_of_constant_columns=sum(constant.values()),
        number_of_empty_columns=sum(number == profile.rows for number in nulls.values()),
        number_of_duplicated_columns=profile.equal_columns,
        number_of_empty_rows=profile.rows_empty,
        number_of_duplicated_rows=profile.duplicated,
        columns_type_data={name: NumpyDtype(dtype=dtype) for name, dtype in types.items()},
        nans_by_columns=nulls,
        number_uniques_by_columns={name: _uniques(profile, name) for name in types},
    )


def _uniques(profile: Profile, name: str) -> float:
    """Return how many values a column holds; NaN for a feature with several, which a profile does not count."""
    if name == profile.grid.model.prediction:
        return len(profile.predictions)
    index = profile.grid.model.features.index(name)
    if not profile.constant(index):
        return float("nan")
    return int(profile.finite(index) + profile.special[index, 1:].sum() > 0)


# --- labels ----------------------------------------------------------------------------------------------------------


@metric_implementation(ClassificationConfusionMatrix)
class _ConfusionMatrix(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ClassificationConfusionMatrixResult:
        return ClassificationConfusionMatrixResult(
            current_matrix=_matrix(data.current_data.confusion),
            reference_matrix=_matrix(data.reference_data.confusion) if data.reference_data.labelled else None,
        )


@metric_implementation(ClassificationQualityMetric)
class _ClassificationQuality(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ClassificationQualityMetricResult:
        positive = data.column_mapping.pos_label
        return ClassificationQualityMetricResult(
            current=_quality(data.current_data.confusion, positive),
            reference=_quality(data.reference_data.confusion, positive) if data.reference_data.labelled else None,
            target_name=data.column_mapping.target,
        )


def _cases(confusion: Counter[tuple[str, str]]) -> tuple[list[str], list[str], list[int]]:
    """Return each pair of target and prediction once, and how many rows have it."""
    targets, predictions = zip(*confusion, strict=True)
    return list(targets), list(predictions), list(confusion.values())


def _matrix(confusion: Counter[tuple[str, str]]) -> ConfusionMatrix:
    targets, predictions, weights = _cases(confusion)
    labels = sorted({*targets, *predictions})
    values = confusion_matrix(targets, predictions, labels=labels, sample_weight=weights)
    return ConfusionMatrix(labels=labels, values=values.tolist())


def _quality(confusion: Counter[tuple[str, str]], positive: str) -> DatasetClassificationQuality:
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
