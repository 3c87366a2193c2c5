"""Turn the last snapshot into Prometheus metrics: a scrape computes nothing, and a series lives as long as its value.

Names are written down here, never taken from Evidently; docs/metrics.md defines each.
"""

import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from monitoring.snapshot.alarm_metrics import accuracy_metrics, drift_metrics, loss_estimate_metrics, loss_metrics
from monitoring.snapshot.error_metrics import error_metrics
from monitoring.snapshot.segment_metrics import segment_metrics
from monitoring.snapshot.snapshot import STATUSES, Assessment, FeatureDrift, Snapshot
from monitoring.snapshot.trial_metrics import trial_metrics

STAGES = ("reference", "read", "read_part", "suite", "alarms", "trial", "report")


class SnapshotCollector(Collector):
    """The metrics of the snapshot that was published last, for as long as it was said to hold."""

    def __init__(self) -> None:
        self._published: tuple[Snapshot, float] | None = None

    def publish(self, snapshot: Snapshot, lifetime: float = float("inf")) -> None:
        """Replace the snapshot at once; after `lifetime` seconds without another one nothing is exported."""
        self._published = (snapshot, time.monotonic() + lifetime)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families of the snapshot."""
        published = self._published
        if published is None or time.monotonic() >= published[1]:
            return
        snapshot = published[0]
        yield from _count(snapshot)
        yield from _describe(snapshot)
        if snapshot.assessment is not None:
            yield from _judge(snapshot.assessment, snapshot.feature_prefix)
        if snapshot.drift is not None:
            yield from drift_metrics(snapshot.drift)
        yield from accuracy_metrics(snapshot.accuracy, snapshot.estimate)
        yield from loss_estimate_metrics(snapshot.loss_estimate)
        yield from loss_metrics(snapshot.loss)
        yield from segment_metrics(snapshot.segments)
        yield from trial_metrics(snapshot.trial)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the families depend on the snapshot, and registering must not collect."""
        return ()


class CycleMetrics:
    """The monitor's metrics about itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.last_success = Gauge(
            "monitor_last_success_timestamp_seconds",
            "When a cycle last succeeded, in seconds since 1970; 0 before the first.",
            registry=registry,
        )
        self.seconds = Gauge("monitor_cycle_seconds", "How long the last successful cycle took.", registry=registry)
        self.unreadable = Gauge(
            "monitor_unreadable_parts", "Files in the window that could not be read.", registry=registry
        )
        self.failures = Counter(
            "monitor_failures_total",
            "Failures by stage; read_part counts each unreadable file once.",
            ["stage"],
            registry=registry,
        )
        for stage in STAGES:
            self.failures.labels(stage)


def _gauge(name: str, text: str, value: float | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(name, text, value=value)


def _series(name: str, text: str, label: str, values: Mapping[str, float | None]) -> Iterator[Metric]:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([key], value)
    if family.samples:
        yield family


def _count(snapshot: Snapshot) -> Iterator[Metric]:
    quality = snapshot.quality
    yield from _gauge("rowcount", "Number of prediction records", snapshot.rows)
    yield from _gauge("missing_values", "Count of missing values", quality.missing_values)
    yield from _gauge("data_quality_score", "Overall data quality", quality.score)
    yield from _gauge("duplicated_rows", "Rows that repeat an earlier row of the window.", quality.duplicated_rows)
    yield from _gauge("constant_columns", "Columns of the window with one value or none.", quality.constant_columns)
    yield from _gauge("column_type_mismatches", "Features that are no numbers.", quality.column_type_mismatches)
    yield from _series(
        "unseen_categories",
        "Values of a categorical feature that the reference does not hold.",
        "feature",
        quality.unseen_categories,
    )
    yield from _series(
        "out_of_range",
        "Values of a numeric feature outside its test's bounds, or the reference's range.",
        "feature",
        quality.out_of_range,
    )
    yield from _series(
        "missing_share", "Share of the window's rows that lack the feature.", "feature", quality.missing_shares
    )
    yield from _series(
        "reference_missing_share",
        "Share of the reference's rows that lack the feature.",
        "feature",
        snapshot.reference_missing_shares,
    )
    yield from _series(
        "missing_p_value",
        "P-value of the feature being missing no more often than in the reference (Fisher's exact test).",
        "feature",
        snapshot.missing_p_values,
    )
    yield from _gauge("labelled_rows", "Rows in the window whose label is known.", snapshot.labelled_rows)
    yield from _gauge("reference_rows", "Rows in the reference.", snapshot.reference_rows)


def _describe(snapshot: Snapshot) -> Iterator[Metric]:
    label = snapshot.label
    yield from _series(
        "prediction_distribution", f"{label.capitalize()} prediction frequency", label, snapshot.predictions
    )
    yield from _series(
        "reference_distribution", "Share of predictions in the reference.", label, snapshot.reference_predictions
    )
    yield from _series("prediction_confidence", "Quantile of the window's confidence.", "quantile", snapshot.confidence)
    if origin := snapshot.reference_origin:
        family = GaugeMetricFamily(
            "monitor_reference_info", "The reference in use.", labels=["origin", "model_version", "digest"]
        )
        family.add_metric([origin.origin, origin.model_version or "", origin.digest], 1)
        yield family
        yield from _gauge(
            "reference_ahead_seconds",
            "How far ahead of the clock the time lies until which no row is looked at.",
            snapshot.reference_ahead,
        )


def _judge(assessment: Assessment, prefix: str) -> Iterator[Metric]:
    yield from _judge_features(assessment.features, prefix)
    yield from _gauge(
        "drifted_features", "Features that their own drift test calls drifted.", assessment.drifted_features
    )
    mix = assessment.prediction
    yield from _gauge("prediction_drift_p_value", "P-value of the predictions.", mix.p_value if mix else None)
    yield from _gauge(
        "prediction_drift_distance", "Distance of the predictions from the reference's.", mix.distance if mix else None
    )
    shifts = GaugeMetricFamily(
        "feature_correlation_shift",
        "Pearson correlation minus the reference's: the three largest changes of each feature.",
        labels=["feature_a", "feature_b"],
    )
    for pair in assessment.correlation_shifts:
        shifts.add_metric([pair.feature_a, pair.feature_b], pair.shift)
    yield shifts
    verdicts = assessment.verdicts
    yield from _series(
        "evidently_test_status",
        "1 if the test passes, else 0.",
        "test",
        {v.test: float(v.passed) for v in verdicts if not v.skipped},
    )
    yield from _series(
        "evidently_tests",
        "Tests by how they ended.",
        "status",
        {status: sum(v.status == status for v in verdicts) for status in STATUSES},
    )
    yield from _gauge("model_accuracy", "Accuracy on the window's labelled rows.", assessment.accuracy)
    yield from _gauge("model_f1", "Macro F1 on the window's labelled rows.", assessment.f1)
    if (scores := assessment.probabilities) is not None:
        yield from _gauge("model_roc_auc", "Area under the ROC curve on the window's labelled rows.", scores.roc_auc)
        yield from _gauge("model_log_loss", "Log loss of the probabilities on the same rows.", scores.log_loss)
    yield from error_metrics(assessment.errors)


def _judge_features(features: tuple[FeatureDrift, ...], prefix: str) -> Iterator[Metric]:
    by_name = {f.drift.column: f for f in features}
    for suffix, text, values in (
        (
            "drift_p_value",
            f"{prefix.upper()} feature drift p-value",
            {n: f.drift.p_value for n, f in by_name.items()},
        ),
        (
            "drift_distance",
            "Distance from the reference by the feature's drift test, where that gives no p-value.",
            {n: f.drift.distance for n, f in by_name.items()},
        ),
        (
            "drift_p_value_adjusted",
            "P-value adjusted for the number of features (Benjamini-Hochberg).",
            {n: f.adjusted_p_value for n, f in by_name.items()},
        ),
        (
            "ks_statistic",
            "Two-sample Kolmogorov-Smirnov statistic.",
            {n: f.ks_statistic for n, f in by_name.items()},
        ),
        (
            "effect_size",
            "Shift of the mean in the reference's standard deviations; of levels the total variation distance.",
            {n: f.effect_size for n, f in by_name.items()},
        ),
    ):
        yield from _series(f"{prefix}_{suffix}", text, "feature", values)
    yield from _series(
        "outliers",
        "Values beyond the reference's Tukey fences.",
        "feature",
        {n: f.outliers for n, f in by_name.items()},
    )
    shares = GaugeMetricFamily(
        "feature_distribution",
        "Share of values in a range, or at a level, of the reference's.",
        labels=["feature", "dataset", "bin"],
    )
    for name, feature in by_name.items():
        for share in feature.bins:
            shares.add_metric([name, "reference", share.name], share.reference)
            if share.current is not None:
                shares.add_metric([name, "current", share.name], share.current)
    yield shares
