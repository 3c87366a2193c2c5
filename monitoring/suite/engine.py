"""Evidently's calculation engine over profiles: the TestSuite as it is, at a cost that does not depend on the rows.

`TestSuite.run(reference_data=…, current_data=…, engine=ProfileEngine)` takes two profiles of one grid in the place of
DataFrames. Each metric that the configurable tests ask for is computed here from counts; a metric that is not here
fails with its name, and what a profile does not know is left out of a result, so that no test can read it.
"""

from collections.abc import Mapping
from typing import Any

from evidently.legacy.base_metric import GenericInputData, Metric
from evidently.legacy.calculation_engine.engine import Engine, EngineDatasets, metric_implementation
from evidently.legacy.calculation_engine.metric_implementation import MetricImplementation
from evidently.legacy.calculations.data_drift import ColumnDataDriftMetrics, DriftStatsField, get_dataset_drift
from evidently.legacy.calculations.stattests.registry import get_registered_stattest
from evidently.legacy.core import ColumnType
from evidently.legacy.metric_results import Distribution
from evidently.legacy.metrics import (
    ClassificationConfusionMatrix,
    ClassificationQualityByClass,
    ClassificationQualityMetric,
    ColumnDriftMetric,
    ColumnQuantileMetric,
    ColumnSummaryMetric,
    ColumnValueListMetric,
    ColumnValueRangeMetric,
    DataDriftTable,
    DatasetMissingValuesMetric,
    DatasetSummaryMetric,
    RegressionQualityMetric,
)
from evidently.legacy.metrics.classification_performance.classification_quality_metric import (
    ClassificationQualityMetricResult,
)
from evidently.legacy.metrics.classification_performance.confusion_matrix_metric import (
    ClassificationConfusionMatrixResult,
)
from evidently.legacy.metrics.classification_performance.quality_by_class_metric import (
    ClassificationQualityByClassResult,
)
from evidently.legacy.metrics.data_drift.data_drift_table import DataDriftTableResults
from evidently.legacy.metrics.data_integrity.column_summary_metric import ColumnSummaryResult
from evidently.legacy.metrics.data_integrity.dataset_missing_values_metric import (
    DatasetMissingValuesMetricResult,
)
from evidently.legacy.metrics.data_integrity.dataset_summary_metric import (
    DatasetSummaryMetricResult,
)
from evidently.legacy.metrics.data_quality.column_quantile_metric import ColumnQuantileMetricResult, QuantileStats
from evidently.legacy.metrics.data_quality.column_value_list_metric import ColumnValueListMetricResult
from evidently.legacy.metrics.data_quality.column_value_range_metric import ColumnValueRangeMetricResult
from evidently.legacy.metrics.regression_performance.regression_quality import RegressionQualityMetricResults
from evidently.legacy.options.data_drift import DataDriftOptions
from evidently.legacy.pipeline.column_mapping import ColumnMapping
from evidently.legacy.utils.data_operations import process_columns
from evidently.legacy.utils.data_preprocessing import DataDefinition, create_data_definition

from monitoring.contract.kinds import DISTANCES, KindName
from monitoring.profile.columns import LevelColumn, NumericColumn, PredictedColumn, column_of
from monitoring.profile.profile import Profile
from monitoring.profile.quantiles import quantile
from monitoring.suite.column_summaries import characteristics, picture_of
from monitoring.suite.evidently_results import (
    NO_PICTURE,
    confusion_of,
    draw,
    errors_of,
    in_list,
    in_range,
    missing_values,
    no_rows,
    score,
    score_by_class,
    scored,
    summarize,
)

TestedColumn = NumericColumn | LevelColumn | PredictedColumn
TYPES: Mapping[KindName, ColumnType] = {"numeric": ColumnType.Numerical, "categorical": ColumnType.Categorical}


class NotInProfileError(NotImplementedError):
    """A metric that cannot be computed from a profile."""


class ProfileEngine(Engine):  # type: ignore[misc]  # Evidently is not followed by mypy
    """Runs Evidently's tests on profiles; not `drawn`, without the pictures of its report."""

    def __init__(self, *, drawn: bool = True) -> None:
        super().__init__()
        self.drawn = drawn
        self._calculations: dict[Metric, _Once] = {}
        self.drift: dict[tuple[Any, ...], ColumnDataDriftMetrics] = {}  # what the table's and the columns' tests share

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
        frame = no_rows(current_data)
        return create_data_definition(frame, frame, column_mapping, categorical_features_cardinality)

    def get_additional_features(self, *_: Any) -> list[Any]:
        """Return nothing, as below: asked for, it would log a traceback for each column that holds no value."""
        return []

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

    def column(self, data: GenericInputData) -> TestedColumn:
        """Return the metric's column, whose values the tests look at are there in both profiles."""
        column = column_of(data.current_data.grid, self.metric.column_name.name)
        _require_values(column.name, column.judged(data.reference_data), column.judged(data.current_data))
        return column

    def pictures(self, column: TestedColumn, data: GenericInputData) -> tuple[Distribution, Distribution]:
        """Return a column's pictures in the current and the reference rows, empty ones where nothing is drawn."""
        if not self.engine.drawn:
            return NO_PICTURE, NO_PICTURE
        return draw(column, data.current_data, data.reference_data)


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
            dataset_columns=process_columns(no_rows(data.current_data), data.column_mapping),
        )


def _column_drift(
    engine: ProfileEngine, data: GenericInputData, name: str, options: DataDriftOptions, *, in_table: bool
) -> ColumnDataDriftMetrics:
    reference, current = data.reference_data, data.current_data
    column = column_of(current.grid, name)
    kind = TYPES[column.kind]
    test = options.get_feature_stattest_func(name, kind.value)
    threshold = options.get_threshold(name, kind.value)
    # Evidently's table leaves infinities in columns that hold no missing value; its test of one column does not.
    kept = (in_table and column.infinite_alone(reference), in_table and column.infinite_alone(current))
    key = (name, test, threshold, kept)
    if key not in engine.drift:
        _require_values(name, column.judged(reference), column.judged(current))
        score = column.compare(test, reference, current, kept)
        pictures = draw(column, current, reference) if engine.drawn else (None, None)
        engine.drift[key] = ColumnDataDriftMetrics(
            column_name=name,
            column_type=kind.value,
            stattest_name=get_registered_stattest(test, kind).display_name,
            stattest_threshold=threshold,
            drift_score=score,
            drift_detected=_drifts(test, score, threshold),
            current=DriftStatsField(distribution=pictures[0]),
            reference=DriftStatsField(distribution=pictures[1]),
        )
    return engine.drift[key]


def _drifts(test: str, score: float, threshold: float) -> bool:
    """Say whether a score is drift: a distance from the threshold on, a p-value below it."""
    if test in DISTANCES:
        return score >= threshold
    return score <= threshold if test == "ks" else score < threshold


def _require_values(name: str, reference: int, current: int) -> None:
    for dataset, number in (("reference", reference), ("current", current)):
        if not number:
            raise ValueError(f"An empty column '{name}' was provided for drift calculation in the {dataset} dataset.")


# --- data quality ----------------------------------------------------------------------------------------------------


@metric_implementation(DatasetMissingValuesMetric)
class _MissingValues(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> DatasetMissingValuesMetricResult:
        return DatasetMissingValuesMetricResult(
            current=missing_values(data.current_data), reference=missing_values(data.reference_data)
        )


@metric_implementation(DatasetSummaryMetric)
class _Summary(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> DatasetSummaryMetricResult:
        return DatasetSummaryMetricResult.construct(
            current=summarize(data.current_data),
            reference=summarize(data.reference_data),
            almost_duplicated_threshold=self.metric.almost_duplicated_threshold,
        )


@metric_implementation(ColumnValueRangeMetric)
class _ValueRange(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ColumnValueRangeMetricResult:
        reference, current = data.reference_data, data.current_data
        column = self.column(data)
        if not isinstance(column, NumericColumn):
            raise NotInProfileError("only of numbers can a profile tell how many lie in a range")
        left, right = column.bounds(reference)
        left = left if self.metric.left is None else self.metric.left
        right = right if self.metric.right is None else self.metric.right
        pictures = self.pictures(column, data)
        return ColumnValueRangeMetricResult(
            column_name=column.name,
            left=left,
            right=right,
            current=in_range(column, current, (left, right), pictures[0]),
            reference=in_range(column, reference, (left, right), pictures[1]),
        )


@metric_implementation(ColumnValueListMetric)
class _ValueList(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ColumnValueListMetricResult:
        reference, current = data.reference_data, data.current_data
        column = column_of(current.grid, self.metric.column_name)
        values = self.metric.values
        if not isinstance(column, LevelColumn):
            raise NotInProfileError("only of levels can a profile tell how many are in a list")
        return ColumnValueListMetricResult(
            column_name=column.name,
            values=list(column.known(reference)) if values is None else values,
            current=in_list(column, current, values),
            reference=in_list(column, reference, values),
        )


@metric_implementation(ColumnSummaryMetric)
class _ColumnSummary(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ColumnSummaryResult:
        reference, current = data.reference_data, data.current_data
        column = self.column(data)
        pictures = self.pictures(column, data)
        return ColumnSummaryResult.construct(
            column_name=column.name,
            column_type=TYPES[column.kind].value,
            current_characteristics=characteristics(column, current),
            reference_characteristics=characteristics(column, reference),
            plot_data=picture_of(column, current, reference, pictures),
        )


@metric_implementation(ColumnQuantileMetric)
class _Quantile(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ColumnQuantileMetricResult:
        reference, current = data.reference_data, data.current_data
        column = self.column(data)
        if not isinstance(column, NumericColumn):
            raise NotInProfileError("only numbers have quantiles")
        pictures = self.pictures(column, data)
        ours, theirs = (quantile(side, column.index, self.metric.quantile) for side in (reference, current))
        return ColumnQuantileMetricResult(
            column_name=column.name,
            column_type=TYPES[column.kind].value,
            quantile=self.metric.quantile,
            current=QuantileStats(value=theirs.middle, distribution=pictures[0]),
            reference=QuantileStats(value=ours.middle, distribution=pictures[1]),
        )


# --- labels ----------------------------------------------------------------------------------------------------------


@metric_implementation(ClassificationConfusionMatrix)
class _ConfusionMatrix(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ClassificationConfusionMatrixResult:
        return ClassificationConfusionMatrixResult(
            current_matrix=confusion_of(data.current_data.confusion),
            reference_matrix=confusion_of(data.reference_data.confusion) if data.reference_data.labelled else None,
        )


@metric_implementation(ClassificationQualityMetric)
class _ClassificationQuality(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ClassificationQualityMetricResult:
        positive = data.column_mapping.pos_label
        if isinstance(data.column_mapping.prediction, list):  # of probabilities
            return ClassificationQualityMetricResult.construct(
                current=scored(data.current_data),
                reference=scored(data.reference_data) if data.reference_data.scores.rows else None,
                target_name=data.column_mapping.target,
            )
        return ClassificationQualityMetricResult(
            current=score(data.current_data.confusion, positive),
            reference=score(data.reference_data.confusion, positive) if data.reference_data.labelled else None,
            target_name=data.column_mapping.target,
        )


@metric_implementation(ClassificationQualityByClass)
class _QualityByClass(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> ClassificationQualityByClassResult:
        ours, theirs = data.reference_data, data.current_data
        return ClassificationQualityByClassResult.construct(
            current=score_by_class(theirs.confusion),
            reference=score_by_class(ours.confusion) if ours.labelled else None,
        )


@metric_implementation(RegressionQualityMetric)
class _RegressionQuality(_ProfileMetric):
    def calculate(self, _context: Any, data: GenericInputData) -> RegressionQualityMetricResults:
        ours, theirs = data.reference_data.errors, data.current_data.errors
        return RegressionQualityMetricResults.construct(
            # of labels of zero Evidently takes the percentage to be 100 in the current rows, and drops the reference's
            current=errors_of(theirs, theirs.mean_percentage(zeros=1.0)),
            reference=errors_of(ours, ours.mean_percentage(zeros=None)) if ours.rows else None,
            me_default_sigma=theirs.deviation,
        )
