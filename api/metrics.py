"""The API's own metrics; right with several gunicorn workers when PROMETHEUS_MULTIPROC_DIR is set."""

import os
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

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
CHALLENGER_OUTCOMES = ("answered", "failed", "left_out")
M = TypeVar("M", bound=MetricWrapperBase)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class Labelled(Generic[M]):
    """A metric with labels, the first of which is the model's name where there are many."""

    metric: M
    first: tuple[str, ...] = ()

    def labels(self, *values: object) -> M:
        """Return the series of these values."""
        return self.metric.labels(*self.first, *values)


@dataclass(frozen=True)
class Maker:
    """Makes the metrics of one model in its registry: with the label `model` where there are many, else without.

    One that is made again is the same, and counts on: a counter that falls has been restarted, for Prometheus.
    """

    registry: CollectorRegistry
    model: str | None = None
    made: dict[str, tuple[tuple[str, ...], Any]] = field(default_factory=dict)  # by name: the labels, and the metric

    def labelled(self, kind: type[M], name: str, text: str, labels: Sequence[str] = (), **more: Any) -> Labelled[M]:
        """Make a metric with labels."""
        first = () if self.model is None else (self.model,)
        names = (*("model" for _ in first), *labels)
        if name in self.made and self.made[name][0] != names:
            self.registry.unregister(self.made.pop(name)[1])
        if name not in self.made:
            self.made[name] = names, kind(name, text, names, registry=self.registry, **more)
        return Labelled(self.made[name][1], first)

    def single(self, kind: type[M], name: str, text: str, **more: Any) -> M:
        """Make a metric that has no label of its own."""
        made = self.labelled(kind, name, text, **more)
        return made.metric if self.model is None else made.labels()


@dataclass(frozen=True)
class LogMetrics:
    """What an append-only log counts."""

    rows: Counter
    parts: Counter
    merged: Counter
    retired: Counter
    files: Gauge
    lag: Gauge
    failures: Labelled[Counter]

    def failed(self, stage: str, count: int = 1) -> None:
        """Count a failure of one stage."""
        self.failures.labels(stage).inc(count)


def log_metrics(prefix: str, make: Maker) -> LogMetrics:
    """Make the metrics of the log of that name."""
    failures = make.labelled(Counter, f"{prefix}_failures", "Failures by stage.", ["stage"])
    for stage in LOG_STAGES:
        failures.labels(stage)  # there from the start: a counter that begins at 1 has not increased, for Prometheus
    newest = {"multiprocess_mode": "livemostrecent"}
    return LogMetrics(
        rows=make.single(Counter, f"{prefix}_rows", "Rows appended."),
        parts=make.single(Counter, f"{prefix}_parts_sealed", "Journals sealed into Parquet parts."),
        merged=make.single(Counter, f"{prefix}_parts_merged", "Parts made of smaller ones."),
        retired=make.single(Counter, f"{prefix}_parts_retired", "Parts that left for their age or the log's size."),
        files=make.single(Gauge, f"{prefix}_parts", "Parts in the log, when they were last looked after.", **newest),
        lag=make.single(
            Gauge,
            f"{prefix}_seal_lag_seconds",
            "How long a row has been in a journal and in no part, when the log was last looked after.",
            **newest,
        ),
        failures=failures,
    )


class _Categories:
    """The predictions of a classification, by category."""

    def __init__(self, model: Model, make: Maker) -> None:
        counter = make.labelled(Counter, "api_predictions", "Rows predicted, by prediction.", [model.label])
        self._counters = {name: counter.labels(name) for name in model.categories}

    def count(self, answers: Sequence[str | float]) -> None:
        if len(answers) == 1:
            self._counters[str(answers[0])].inc()
            return
        for category, count in Tally(answers).items():
            self._counters[str(category)].inc(count)


class _Numbers:
    """The predictions of a regression, all together: a series per number would be one per row."""

    def __init__(self, _model: Model, make: Maker) -> None:
        self._counter = make.single(Counter, "api_predictions", "Rows predicted.")

    def count(self, answers: Sequence[str | float]) -> None:
        self._counter.inc(len(answers))


_PREDICTIONS: dict[TaskName, type[_Categories | _Numbers]] = {"classification": _Categories, "regression": _Numbers}


class RequestMetrics:
    """What is counted of requests, be they for a model or not."""

    def __init__(self, model: str | None = None, maker: Maker | None = None) -> None:
        use_metric_files()
        self.make = maker or Maker(CollectorRegistry(), model)
        self.registry = self.make.registry
        make = self.make.labelled
        self._requests = make(Counter, "api_requests", "Requests answered.", ["endpoint", "method", "status"])
        self._seconds = make(
            Histogram,
            "api_request_duration_seconds",
            "Time from the request's headers to the answer.",
            ["endpoint"],
            buckets=_SECONDS,
        )
        self._shed = make(
            Counter,
            "api_requests_shed",
            "Requests refused unread because no thread would have come to them soon.",
            ["endpoint"],
        )
        self.rejected = make(
            Counter, "api_rejected_requests", "Requests refused for what they hold, by reason.", ["reason"]
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


class APIMetrics(RequestMetrics):
    """The metrics of one model in one worker process; with its name as a label where there are many.

    Those of a model that has changed go on with what its former ones have counted.
    """

    def __init__(self, model: Model, *, many: bool = False, former: RequestMetrics | None = None) -> None:
        super().__init__(model.name if many else None, former.make if former else None)
        labelled, single = self.make.labelled, self.make.single
        self._predictions = _PREDICTIONS[model.task](model, self.make)
        self.batch_size = single(Histogram, "api_batch_size", "Rows of a prediction request.", buckets=_ROWS)
        labels = labelled(Counter, "api_labels", "Labels sent, by what became of them.", ["outcome"])
        self._labels = {name: labels.labels(name) for name in LABEL_OUTCOMES}  # there from the start, as log stages are
        rows = labelled(Counter, "api_log_rows", "Rows sent to /log, by what became of them.", ["outcome"])
        self._rows = {name: rows.labels(name) for name in ROW_OUTCOMES}  # there from the start, too
        events = labelled(
            Counter, "api_inference_events", "Events sent to /log/cloudevents, by what became of them.", ["outcome"]
        )
        self._events = {name: events.labels(name) for name in EVENT_OUTCOMES}
        self.log = log_metrics("prediction_log", self.make)
        self.labels = log_metrics("labels_log", self.make)
        self.model_loads = labelled(
            Counter, "api_model_loads", "Tries to follow the champion, by what came of them.", ["outcome"]
        )
        for outcome in LOAD_OUTCOMES:
            self.model_loads.labels(outcome)  # there from the start, as log stages are
        self._model_info = labelled(
            Gauge,
            "api_model_info",
            "1 for the version that a worker serves, 0 for one that was served before.",
            ["version"],
            multiprocess_mode="livemax",
        )
        self._serves: str | None = None
        self._model_version = single(
            Gauge,
            "api_model_version",
            "The number of the champion's version that is served.",
            multiprocess_mode="livemostrecent",
        )

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
        self._serves = version
        self._model_version.set(float(version))

    def ended(self) -> None:
        """Note that this process serves the model no longer."""
        if self._serves is not None:
            self._model_info.labels(self._serves).set(0)
        self.log.lag.set(0)
        self.labels.lag.set(0)


class ChallengerMetrics:
    """The metrics of a challenger in the shadow; without `retrain.rollout: shadow` there are none."""

    def __init__(self, make: Maker) -> None:
        rows = make.labelled(
            Counter, "api_challenger_rows", "Rows that the challenger was to be asked for, by what came.", ["outcome"]
        )
        self._rows = {name: rows.labels(name) for name in CHALLENGER_OUTCOMES}
        self.version = make.single(
            Gauge,
            "api_challenger_version",
            "The number of the version on trial; 0 while none is.",
            multiprocess_mode="livemostrecent",
        )
        self.log = log_metrics("shadow_log", make)

    def asked(self, outcome: str, count: int) -> None:
        """Count rows by their outcome."""
        self._rows[outcome].inc(count)


def render(registries: Sequence[CollectorRegistry]) -> bytes:
    """Return all processes' metrics as Prometheus text; where they are not shared, those of this one's registries."""
    gathered = CollectorRegistry()
    gathered.register(MetricFiles() if "PROMETHEUS_MULTIPROC_DIR" in os.environ else _Merged(registries))
    return generate_latest(gathered)


class _Merged:
    """A collector of several registries that have metrics of the same names."""

    def __init__(self, registries: Sequence[CollectorRegistry]) -> None:
        self._registries = registries

    def collect(self) -> Iterable[Metric]:
        """Merge them by name."""
        merged: dict[str, Metric] = {}
        for family in (family for registry in self._registries for family in registry.collect()):
            merged.setdefault(family.name, Metric(family.name, family.documentation, family.type)).samples.extend(
                family.samples
            )
        return merged.values()
