"""The registered model's versions as metrics, as of the last poll of MLflow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flows.clients.mlflow import MLflow, Version
from flows.trigger.polling import Poll
from monitoring.contract.names import CHAMPION

MEASURED = 10  # newest versions whose runs' metrics are exported


@dataclass(frozen=True)
class Versions:
    """The newest versions, the newest first, the aliases by name, and the metrics of the newest versions' runs."""

    newest: tuple[Version, ...]
    aliases: Mapping[str, str]
    metrics: Mapping[str, Mapping[str, float]]


class VersionsReader:
    """Reads models' versions from MLflow; a run's metrics are read once, as they are final when a version exists."""

    def __init__(self, mlflow: MLflow, names: Callable[[], Sequence[str]]) -> None:
        self._mlflow, self._names = mlflow, names
        self._metrics: dict[str, Mapping[str, float]] = {}

    def __call__(self) -> Mapping[str, Versions]:
        """Return each model's present versions: two requests a model, and one more per new version."""
        former, self._metrics = self._metrics, {}
        return {name: self._read(name, former) for name in self._names()}

    def _read(self, model: str, former: Mapping[str, Mapping[str, float]]) -> Versions:
        newest = tuple(self._mlflow.newest_versions(model))
        for version in newest[:MEASURED]:
            known = former.get(version.run_id)
            self._metrics[version.run_id] = self._mlflow.run_metrics(version.run_id) if known is None else known
        metrics = {version.version: self._metrics[version.run_id] for version in newest[:MEASURED]}
        return Versions(newest, self._mlflow.aliases(model) if newest else {}, metrics)


class RegisteredVersions(Collector):
    """The series of the models' versions; absent after a poll that failed."""

    def __init__(self, poll: Poll[Mapping[str, Versions]]) -> None:
        self._poll = poll

    def collect(self) -> Iterator[Metric]:
        """Yield the series of the last poll."""
        label = ["model"]
        count = GaugeMetricFamily("mlflow_model_versions", "Versions registered so far.", labels=label)
        champion = GaugeMetricFamily("mlflow_champion_version", "The champion's version.", labels=label)
        alias = GaugeMetricFamily("mlflow_version_alias", "1 for each alias.", labels=[*label, "version", "alias"])
        created = GaugeMetricFamily(
            "mlflow_version_created_timestamp_seconds",
            "When a version was registered, seconds since 1970; the newest 20.",
            labels=[*label, "version", "gate"],
        )
        measured = GaugeMetricFamily(
            "mlflow_version_metric",
            "Metrics of the run that made a version; the newest 10.",
            labels=[*label, "version", "metric"],
        )
        for model, seen in (self._poll.seen or {}).items():
            count.add_metric([model], seen.newest[0].number if seen.newest else 0)
            for name, version in seen.aliases.items():
                alias.add_metric([model, version, name], 1)
                if name == CHAMPION:
                    champion.add_metric([model], float(version))
            for one in seen.newest:
                created.add_metric([model, one.version, one.gate], one.created)
            for version, metrics in seen.metrics.items():
                for name, value in metrics.items():
                    measured.add_metric([model, version, name], value)
        yield from (count, champion, alias, created, measured)
