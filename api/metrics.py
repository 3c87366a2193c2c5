"""The API's own metrics; right with several gunicorn workers when PROMETHEUS_MULTIPROC_DIR is set."""

import os
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api.metric_files import MetricFiles, use_metric_files
from monitoring.contract.config import Model
from monitoring.contract.tasks import TaskName

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000)
LOG_STAGES = (
    "append", "lock", "seal", "recover", "corrupt", "bad_part", "part_refused", "sealer", "merge", "retire", "upkeep",
)  # fmt: skip
LOAD_OUTCOMES = ("loaded", "late", "refused", "unreachable", "copy_failed", "copy_damaged", "failed")
ROW_OUTCOMES = ("logged", "known")
EVENT_OUTCOMES = ("joined", "waiting", "dropped")
LABEL_OUTCOMES = ("accepted", "known", "corrected", "unknown", "invalid")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class LogMetrics:
    """What an append-only log counts."""

    rows: Counter
    parts: Counter
    merged: Counter
    retired: Counter
    files: Gauge
    lag: Gauge
    failures: Counter

    def failed(self, stage: str, count: int = 1) -> None:
        """Count a failure of one stage."""
        self.failures.labels(stage).inc(count)


def log_metrics(prefix: str, registry: CollectorRegistry) -> LogMetrics:
    """Make the metrics of the log of that name."""
    failures = Counter(f"{prefix}_failures", "Failures by stage.", ["stage"], registry=registry)
    for stage in LOG_STAGES:
        failures.labels(stage)  # there from the start: a counter that begins at 1 has not increased, for Prometheus
    return LogMetrics(
        rows=Counter(f"{prefix}_rows", "Rows appended.", registry=registry),
        parts=Counter(f"{prefix}_parts_sealed", "Journals sealed into Parquet parts.", registry=registry),
        merged=Counter(f"{prefix}_parts_merged", "Parts made of smaller ones.", registry=registry),
        retired=Counter(
            f"{prefix}_parts_retired", "Parts that left for their age or the log's size.", registry=registry
        ),
        files=Gauge(
            f"{prefix}_parts",
            "Parts in the log, when they were last looked after.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        ),
        lag=Gauge(
            f"{prefix}_seal_lag_seconds",
            "How long a row has been in a journal and in no part, when the log was last looked after.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        ),
        failures=failures,
    )


class _Categories:
    """The predictions of a classification, by category."""

    def __init__(self, model: Model, registry: CollectorRegistry) -> None:
        counter = Counter("api_predictions", "Rows predicted, by prediction.", [model.label], registry=registry)
        self._counters = {name: counter.labels(name) for name in model.categories}

    def count(self, answers: Sequence[str | float]) -> None:
        if len(answers) == 1:
            self._counters[str(answers[0])].inc()
            return
        for category, count in Tally(answers).items():
            self._counters[str(category)].inc(count)


class _Numbers:
    """The predictions of a regression, all together: a series per number would be one per row."""

    def __init__(self, _model: Model, registry: CollectorRegistry) -> None:
        self._counter = Counter("api_predictions", "Rows predicted.", registry=registry)

    def count(self, answers: Sequence[str | float]) -> None:
        self._counter.inc(len(answers))


_PREDICTIONS: dict[TaskName, type[_Categories | _Numbers]] = {"classification": _Categories, "regression": _Numbers}


class APIMetrics:
    """The metrics of one worker process."""

    def __init__(self, model: Model) -> None:
        use_metric_files()
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "api_requests", "Requests answered.", ["endpoint", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "api_request_duration_seconds",
            "Time from the request's headers to the answer.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._predictions = _PREDICTIONS[model.task](model, registry)
        self._shed = Counter(
            "api_requests_shed",
            "Requests refused unread because no thread would have come to them soon.",
            ["endpoint"],
            registry=registry,
        )
        self.batch_size = Histogram("api_batch_size", "Rows of a prediction request.", buckets=_ROWS, registry=registry)
        self.rejected = Counter(
            "api_rejected_requests", "Requests refused for what they hold, by reason.", ["reason"], registry=registry
        )
        labels = Counter("api_labels", "Labels sent, by what became of them.", ["outcome"], registry=registry)
        self._labels = {name: labels.labels(name) for name in LABEL_OUTCOMES}  # there from the start, as log stages are
        rows = Counter("api_log_rows", "Rows sent to /log, by what became of them.", ["outcome"], registry=registry)
        self._rows = {name: rows.labels(name) for name in ROW_OUTCOMES}  # there from the start, too
        events = Counter(
            "api_inference_events", "Events sent to /log/cloudevents, by what became of them.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._events = {name: events.labels(name) for name in EVENT_OUTCOMES}
        self.log = log_metrics("prediction_log", registry)
        self.labels = log_metrics("labels_log", registry)
        self.model_loads = Counter(
            "api_model_loads",
            "Tries to follow the champion, by what came of them.",
            ["outcome"],
            registry=registry,
        )
        for outcome in LOAD_OUTCOMES:
            self.model_loads.labels(outcome)  # there from the start, as log stages are
        self._model_info = Gauge(
            "api_model_info",
            "1 for the version that a worker serves, 0 for one that was served before.",
            ["version"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._model_version = Gauge(
            "api_model_version",
            "The number of the champion's version that is served.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self._bound: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (endpoint, method, status)
        bound = self._bound.get(key)
        if bound is None:
            known = method if method in _METHODS else "other"
            bound = (self._requests.labels(endpoint, known, status), self._seconds.labels(endpoint))
            if known == method:
                self._bound[key] = bound
        bound[0].inc()
        bound[1].observe(seconds)

    def shed(self, endpoint: str) -> None:
        """Count one request that was refused unread."""
        self._shed.labels(endpoint).inc()
        self._requests.labels(endpoint, "POST", 503).inc()

    def predicted(self, answers: Sequence[str | float]) -> None:
        """Count the predictions of one request."""
        self.batch_size.observe(len(answers))
        self._predictions.count(answers)

    def logged(self, outcomes: Mapping[str, int]) -> None:
        """Count the rows of one request to /log, by their outcome."""
        for outcome, count in outcomes.items():
            self._rows[outcome].inc(count)

    def joined(self, outcome: str, count: int) -> None:
        """Count events of other model servers, by their outcome."""
        self._events[outcome].inc(count)

    def labelled(self, outcomes: Mapping[str, int]) -> None:
        """Count the labels of one request, by their outcome."""
        for outcome, count in outcomes.items():
            self._labels[outcome].inc(count)

    def serves(self, version: str, before: str | None) -> None:
        """Note the version that this process serves from now on."""
        if before is not None:
            self._model_info.labels(before).set(0)  # a series cannot be removed in multiprocess mode
        self._model_info.labels(version).set(1)
        self._model_version.set(float(version))

    def render(self) -> bytes:
        """Return all processes' metrics as Prometheus text."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        gathered = CollectorRegistry()
        gathered.register(MetricFiles())
        return generate_latest(gathered)
