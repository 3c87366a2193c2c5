"""The sequential tests' verdicts as Prometheus metrics; docs/metrics.md defines each."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from monitoring.alarms.accuracy import AccuracyVerdict
from monitoring.alarms.accuracy_estimate import Estimate
from monitoring.alarms.drift.attribution import Attribution
from monitoring.alarms.drift.detector import DetectorStatus
from monitoring.alarms.drift.drift_watch import DriftVerdict
from monitoring.alarms.drift.support import Support
from monitoring.alarms.harm import HarmVerdict
from monitoring.alarms.loss import LossVerdict
from monitoring.alarms.loss_estimate import LossEstimate
from monitoring.contract.drift_state import Alarm

MICROSECONDS = 1e6


def drift_metrics(verdict: DriftVerdict) -> Iterator[Metric]:
    """Yield what the drift detector says."""
    until = verdict.learning_until
    yield gauge(
        "drift_learning_until_timestamp_seconds",
        "Until when rows of the log join a re-based reference; 0 once they do not.",
        0.0 if until is None else until / MICROSECONDS,
    )
    if until is None and verdict.progress is not None:
        yield gauge("drift_calibration_progress", "Share of the calibration that is done.", verdict.progress)
    yield gauge("drift_false_alarm_every_rows", "Rows between false alarms that are promised.", verdict.promise)
    if verdict.detector is not None:
        yield from _detector(verdict.detector)
    if verdict.support is not None:
        yield from _supported(verdict.support)
    if verdict.alarm is not None:
        yield from _raise(verdict.alarm)
    if verdict.attribution is not None:
        yield from _attributed(verdict.attribution)


def _detector(status: DetectorStatus) -> Iterator[Metric]:
    yield gauge("drift_rows_seen", "Rows that the detector has looked at since it started.", status.rows)
    yield gauge("drift_alarm_score", "log10 of the rows between false alarms at this evidence.", status.score)
    yield gauge("drift_alarm_threshold", "log10 of the rows that are promised.", status.threshold)
    yield gauge("drift_detected", "1 while a drift alarm holds.", float(status.alarm is not None))


def _supported(support: Support) -> Iterator[Metric]:
    yield gauge("drift_supported_rows", "Rows without change that the calibration has seen.", support.supported)
    yield gauge("drift_rows_per_second", "Rows a second of the log over the last days.", support.rate)
    yield gauge("drift_rhythm_cycle_seconds", "Length of the cycle that is in the alarm.", support.cycle_seconds)
    yield gauge("drift_rhythm_cycles", "Whole cycles from which the rhythm was learned.", support.rhythm.cycles)


def _raise(alarm: Alarm) -> Iterator[Metric]:
    yield gauge(
        "drift_onset_timestamp_seconds", "When the drift began, as the rows tell it.", alarm.onset / MICROSECONDS
    )
    family = GaugeMetricFamily("drift_cause", "The statistic that raised the alarm.", labels=["kind"])
    family.add_metric([alarm.kind], 1)
    yield family


def _attributed(found: Attribution) -> Iterator[Metric]:
    yield gauge("drift_effect_size", "Largest share of values that would have to change.", found.effect)
    contribution = GaugeMetricFamily("drift_contribution", "Share of the columns' evidence.", labels=["feature"])
    blamed = GaugeMetricFamily("drift_blamed", "Columns that changed, and how.", labels=["feature", "direction"])
    effects = GaugeMetricFamily(
        "drift_feature_effect", "Effect size since the onset.", labels=["feature", "measure", "bound"]
    )
    for column in found.columns:
        contribution.add_metric([column.column], column.contribution)
        if column.direction is not None:
            blamed.add_metric([column.column, column.direction], 1)
        for measure in ("ks", "psi", "wasserstein"):
            effect = getattr(column.effects, measure, None)
            for bound in ("value", "low", "high") if effect else ():
                effects.add_metric([column.column, measure, bound], getattr(effect, bound))
    yield from (family for family in (contribution, blamed, effects) if family.samples)


def accuracy_metrics(verdict: AccuracyVerdict | None, estimate: Estimate | None) -> Iterator[Metric]:
    """Yield what labels, and confidences, say of the accuracy."""
    if verdict is not None:
        yield gauge("accuracy_at_promotion", "Accuracy of the champion when promoted.", verdict.at_promotion)
        yield gauge("accuracy_floor", "Accuracy that the champion is held to.", verdict.floor)
        yield from _harm("accuracy", verdict, "against the accuracy")
        yield gauge("accuracy_drop_detected", "1 while the alarm of accuracy holds.", float(verdict.detected))
    if estimate is not None:
        yield gauge("model_accuracy_estimate", "Accuracy as confidences tell it.", estimate.accuracy)
        yield from _estimate("model_accuracy_estimate", estimate, "low")


def loss_metrics(verdict: LossVerdict | None) -> Iterator[Metric]:
    """Yield what labels say of a regression's errors."""
    if verdict is None:
        return
    yield gauge("loss_at_promotion", "Mean absolute error of the champion when promoted.", verdict.at_promotion)
    yield gauge("loss_ceiling", "Mean absolute error that the champion is held to.", verdict.ceiling)
    yield from _harm("loss", verdict, "of larger errors")
    yield gauge("loss_rise_detected", "1 while the alarm of larger errors holds.", float(verdict.detected))


def loss_estimate_metrics(estimate: LossEstimate | None) -> Iterator[Metric]:
    """Yield what a regression's mean absolute error is without labels."""
    if estimate is None:
        return
    yield gauge("model_loss_estimate", "Mean absolute error as features and answers tell it.", estimate.mae)
    yield from _estimate("model_loss_estimate", estimate, "high")


def _estimate(name: str, estimate: Estimate | LossEstimate, bad: str) -> Iterator[Metric]:
    """Yield what estimates without labels have in common; `bad` is how they lie beyond their threshold."""
    yield gauge(f"{name}_low", "Lower bound of the estimate.", estimate.low)
    yield gauge(f"{name}_high", "Upper bound of the estimate.", estimate.high)
    yield gauge(f"{name}_chunks", "Chunks that the threshold comes from.", estimate.chunks)
    if estimate.threshold is not None:
        yield gauge(f"{name}_threshold", f"Estimate too {bad} to be chance.", estimate.threshold)


def _harm(prefix: str, verdict: HarmVerdict, evidence: str) -> Iterator[Metric]:
    """Yield what the tests of harm have in common."""
    yield gauge(f"{prefix}_test_rows", "Labelled rows that the test has seen.", verdict.rows)
    yield gauge(f"{prefix}_labels_waiting", "Labels whose row has not been found.", verdict.waiting)
    yield gauge(f"{prefix}_block_seconds", "Length of the blocks of rows that are judged together.", verdict.block)
    yield gauge(f"{prefix}_alarm_threshold", "log10 of the promised blocks or labelled rows.", verdict.threshold)
    if verdict.score is not None:
        yield gauge(f"{prefix}_alarm_score", f"log10 of the evidence {evidence}.", verdict.score)


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)
