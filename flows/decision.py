"""Whether a notification starts a run of `retrain`.

All state is Prefect's. A run carries the tag `episode:<key>` of the alert that asked for it: its group, its start and
the champion of that moment. While the episode's newest run has not ended, further notifications find it known. Once it
has ended and the alert still fires about the same champion, the alert asks again after the cooldown, under a key that
is made of the episode's and the ended run's id: two notifications at once make the same key, and Prefect one run.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flows.notification import Notification, digest
from flows.upstream import Prefect, Registry

FLOW, DEPLOYMENT = "retrain", "on-alert"

Outcome = Literal["accepted", "known", "cooldown", "ignored"]


@dataclass(frozen=True)
class Decision:
    """What came of a notification."""

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
    """The servers, the watched model's name, and how long a retraining holds off the next."""

    prefect: Prefect
    registry: Registry
    model: str
    cooldown: timedelta

    def decide(self, notification: Notification) -> Decision:
        """Start a run, or say why not; raise UnavailableError or RejectedError if the servers do not play along."""
        if not notification.asking:
            return Decision("ignored")
        episode = notification.episode(self.registry.champion(self.model))
        tag = f"episode:{episode[:16]}"
        deployment = self.prefect.deployment_id(FLOW, DEPLOYMENT)
        former = self.prefect.newest_runs(FLOW, limit=1, tags={"all_": [tag]})
        if former and not former[0].ended:
            return Decision("known", former[0].id)
        if until := self._cooling():
            return Decision("cooldown", until=until)
        key = digest(episode, former[0].id) if former else episode
        run, new = self.prefect.create_run(deployment, key, [tag], {"alert": notification.describe()})
        return Decision("accepted" if new else "known", run.id)

    def _cooling(self) -> datetime | None:
        """Return when the cooldown ends; None if there is none now."""
        newest = self.prefect.newest_runs(FLOW, limit=20)
        until = max((run.last_moment for run in newest), default=datetime.min.replace(tzinfo=UTC)) + self.cooldown
        return until if until > datetime.now(UTC) else None
