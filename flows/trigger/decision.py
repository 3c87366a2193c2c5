"""Whether a notification starts a run of the flow that it asks for.

All state is Prefect's. A run carries the tag `episode:<key>` of the alert that asked for it: its group, its start and
the champion of that moment. While the episode's newest run has not ended, further notifications find it known. Once it
has ended and the alert still fires about the same champion, the alert asks again after the cooldown, under a key that
is made of the episode's and the ended run's id: two notifications at once make the same key, and Prefect one run.

The cooldown is a flow's own: a retraining that has just ended does not hold off the rollback of what it promoted.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flows.clients.mlflow import MLflow
from flows.clients.prefect import DEPLOYMENT, Prefect
from flows.trigger.notification import Notification, digest

Outcome = Literal["accepted", "known", "cooldown", "ignored"]


@dataclass(frozen=True)
class Decision:
    """What a notification led to."""

    outcome: Outcome
    flow_run_id: str | None = None
    until: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the answer's body."""
        until = self.until.isoformat(timespec="seconds") if self.until else None
        answer = {"outcome": self.outcome, "flow_run_id": self.flow_run_id, "until": until}
        return {key: value for key, value in answer.items() if value is not None}


@dataclass(frozen=True)
class Trigger:
    """The servers, the watched model's name, and how long a run of a flow holds off its next."""

    prefect: Prefect
    mlflow: MLflow
    model: str
    cooldown: timedelta

    def decide(self, notification: Notification) -> Decision:
        """Start a run, or say why not; raise UnavailableError or RejectedError if the servers do not play along."""
        flow = notification.flow
        if flow is None:
            return Decision("ignored")
        champion = self.mlflow.champion(self.model)
        episode = notification.episode(champion)
        tag = f"episode:{episode[:16]}"
        deployment = self.prefect.deployment_id(flow, DEPLOYMENT)
        former = self.prefect.newest_runs(flow, limit=1, tags={"all_": [tag]})
        if former and not former[0].ended:
            return Decision("known", former[0].id)
        if until := self._cooling(flow):
            return Decision("cooldown", until=until)
        key = digest(episode, former[0].id) if former else episode
        run, new = self.prefect.create_run(deployment, key, [tag], {"alert": notification.describe(champion)})
        return Decision("accepted" if new else "known", run.id)

    def _cooling(self, flow: str) -> datetime | None:
        """Return when the cooldown ends; None if there is none now."""
        newest = self.prefect.newest_runs(flow, limit=20)
        until = max((run.last_moment for run in newest), default=datetime.min.replace(tzinfo=UTC)) + self.cooldown
        return until if until > datetime.now(UTC) else None
