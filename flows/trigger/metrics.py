"""The trigger's metrics: outcomes of notifications, and the last poll of Prefect and of MLflow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from flows.clients.mlflow import MLflow
from flows.clients.prefect import Prefect
from flows.trigger.flow_metrics import FlowHistories, FlowStates, read_histories
from flows.trigger.polling import Poll, PollHealth
from flows.trigger.registry_metrics import RegisteredVersions, Versions, VersionsReader

OUTCOMES = ("accepted", "forwarded", "known", "cooldown", "notified", "ignored", "refused", "failed")


class TriggerMetrics:
    """The counters; each outcome is there from the start, at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.notifications = Counter(
            "trigger_notifications",
            "Notifications from Alertmanager, by what came of them.",
            ["outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self.notifications.labels(outcome)


@dataclass(frozen=True)
class Upstreams:
    """The polls of the two servers behind the trigger."""

    prefect: Poll[FlowHistories]
    mlflow: Poll[Mapping[str, Versions]]

    @property
    def polls(self) -> tuple[Poll[Any], ...]:
        """Return both."""
        return self.prefect, self.mlflow


@dataclass(frozen=True)
class Watched:
    """The models' names, whether they are many, whose runs and versions are told apart, and a run's cooldown."""

    names: Callable[[], Sequence[str]]
    many: bool = False
    cooldown: timedelta = timedelta(0)


def watch(prefect: Prefect, mlflow: MLflow, watched: Watched, seconds: float, registry: CollectorRegistry) -> Upstreams:
    """Make the polls, and register their series; the caller starts them."""
    upstreams = Upstreams(
        Poll("prefect", lambda: read_histories(prefect, watched.names() if watched.many else (None,)), seconds),
        Poll("mlflow", VersionsReader(mlflow, watched.names), seconds),
    )
    registry.register(FlowStates(upstreams.prefect, watched.cooldown, many=watched.many))
    registry.register(RegisteredVersions(upstreams.mlflow))
    registry.register(PollHealth(upstreams.polls))
    return upstreams
