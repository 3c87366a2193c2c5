"""Whether a notification starts a run of the flow that it asks for.

All state is Prefect's. A run carries the tag `episode:<key>` of the alert that asked for it: its group, its start and
the champion of that moment. While the episode's newest run has not ended, further notifications find it known. Once it
has ended and the alert still fires about the same champion, the alert asks again after the cooldown, under a key that
is made of the episode's and the ended run's id: two notifications at once make the same key, and Prefect one run.

A run that is dated ahead of the clock, because a clock was wrong, counts as an old one: it holds off nothing, and where
it was to begin at such a time it is not waited for.

The cooldown is a flow's own: a retraining that has just ended does not hold off the rollback of what it promoted. A
rollback that has changed nothing, or is still to come to its end, holds off its own episode alone, for another alert
may be the one that is right; they run one after the other. An episode whose runs can conclude nothing waits longer each
time (`flows.trigger.waiting`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flows.clients.mlflow import MLflow
from flows.clients.prefect import DEPLOYMENT, FlowRun, Prefect, parameters_of, tags_of
from flows.trigger.notification import ACTIONS, RETRAIN, ROLLBACK, Notification, digest
from flows.trigger.scheduler import Scheduler
from flows.trigger.waiting import EPISODE, UNCHANGED, held_until, inconclusive, newest_first, wait_since

Outcome = Literal["accepted", "forwarded", "known", "cooldown", "ignored", "notified"]
_MOST_ROLLBACKS = 3  # at work or waiting at once: one that an alert is right to ask for need not wait for another's
_RUNS = 20  # of an episode or a flow that are looked at: the longest wait is reached long before


@dataclass(frozen=True)
class Decision:
    """What a notification led to; `inconclusive` counts the episode's runs so far that could conclude nothing.

    `ahead` counts its runs that are dated ahead of the clock. `detail` says of one that started nothing what would have
    to be different.
    """

    outcome: Outcome
    flow_run_id: str | None = None
    until: datetime | None = None
    inconclusive: int | None = None
    ahead: int | None = None
    detail: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the answer's body."""
        until = self.until.isoformat(timespec="seconds") if self.until else None
        answer = {
            "outcome": self.outcome,
            "flow_run_id": self.flow_run_id,
            "until": until,
            "inconclusive": self.inconclusive or None,
            "runs_ahead_of_clock": self.ahead or None,
            "detail": self.detail,
        }
        return {key: value for key, value in answer.items() if value is not None}


@dataclass(frozen=True)
class Trigger:
    """The servers, the watched model's name, and how long a run of a flow holds off its next.

    The flows in `notify_only` are for people to run: an alert that asks for one of them is counted, and nothing is run.
    Where there is a scheduler of the user's, it retrains, and the flow `retrain` is not run.
    """

    prefect: Prefect
    mlflow: MLflow
    model: str
    cooldown: timedelta
    is_one_of_many: bool = False  # its runs bear its name
    notify_only: frozenset[str] = frozenset()
    scheduler: Scheduler | None = None

    def decide(self, notification: Notification, now: datetime | None = None) -> Decision:
        """Start a run, or say why not; raise UnavailableError or RejectedError if the servers do not play along.

        A replay of the past says what the clock shows (`now`).
        """
        flow = notification.flow
        if flow is None:
            return Decision("ignored", detail=f"no alert in it fires with the label action: {' or '.join(ACTIONS)}")
        if flow in self.notify_only:
            return Decision("notified", detail=f"with {flow}.mode: auto in config.yml it would start a run of {flow}")
        champion = self.mlflow.champion(self.model)
        now = now or datetime.now(UTC)
        if flow == RETRAIN and self.scheduler is not None:
            return self._forward(self.scheduler, notification, champion, now)
        return self._run(flow, notification, champion, now)

    @property
    def _named(self) -> str | None:
        return self.model if self.is_one_of_many else None

    @property
    def _own(self) -> dict[str, Any]:
        """Return the filter of the model's own runs: others hold off none of its."""
        return {"tags": {"all_": tags_of(self._named)}} if self.is_one_of_many else {}

    def _run(self, flow: str, notification: Notification, champion: str, now: datetime) -> Decision:
        episode = notification.episode(champion, self._named)
        tag = f"{EPISODE}{episode[:16]}"
        deployment = self.prefect.deployment_id(flow, DEPLOYMENT)
        tags = [tag, *tags_of(self._named)]
        former = newest_first(self.prefect.newest_runs(flow, limit=_RUNS, tags={"all_": tags}), now)
        ahead = sum(run.is_ahead(now) for run in former)
        if known := next((run for run in former if not run.ended and (run.begun or not run.is_ahead(now))), None):
            detail = f"its run of {flow} has not ended: when it has, the alert may ask again after a wait"
            return Decision("known", known.id, ahead=ahead, detail=detail)
        failed = inconclusive(former)
        if held := self._waiting(flow, former, now):
            until, why = held
            return Decision("cooldown", until=until, inconclusive=failed, ahead=ahead, detail=f"it may ask again {why}")
        key = digest(episode, former[0].id) if former else episode
        told = {"alert": notification.describe(champion), **parameters_of(self._named)}
        run, new = self.prefect.create_run(deployment, key, tags, told)
        return Decision("accepted" if new else "known", run.id, inconclusive=failed, ahead=ahead)

    def _forward(self, scheduler: Scheduler, notification: Notification, champion: str, now: datetime) -> Decision:
        """Have the user's scheduler retrain: once in a cooldown, and in each of the waits since the alert's start."""
        number, until = wait_since(notification.requesting[0].starts_at, self.cooldown, now)
        key = digest(notification.episode(champion), str(number))
        body = {"flow": RETRAIN, "model": self.model, "attempt": number, "alert": notification.describe(champion)}
        outcome = scheduler.request(key, body, now, self.cooldown)
        if outcome == "cooldown" and scheduler.sent is not None:
            detail = f"it may ask again {self.cooldown.total_seconds():g} s after the newest request to the scheduler"
            return Decision(
                outcome, until=scheduler.sent + self.cooldown, detail=f"{detail} (TRIGGER_COOLDOWN_SECONDS)"
            )
        if outcome == "forwarded":
            return Decision(outcome, until=until)
        detail = "the scheduler has this request: while the alert fires, it is asked again after that moment"
        return Decision("known", until=until, detail=detail)

    def _waiting(self, flow: str, former: list[FlowRun], now: datetime) -> tuple[datetime, str] | None:
        """Return until when nothing is run, for the flow's cooldown or the episode's wait, and why; None if neither."""
        newest = [
            run
            for run in self.prefect.newest_runs(flow, limit=_RUNS, **self._own)
            if run.state_name not in UNCHANGED and not run.is_ahead(now)
        ]
        if flow == ROLLBACK and sum(not run.ended for run in newest) < _MOST_ROLLBACKS:
            newest = [run for run in newest if run.ended]
        why = f"{self.cooldown.total_seconds():g} s after the newest run of {flow} (TRIGGER_COOLDOWN_SECONDS)"
        ends = [(max(run.last_moment for run in newest) + self.cooldown, why)] if newest else []
        if wait := held_until(former, self.cooldown, now):
            failed = inconclusive(former)
            longer = f"later each time: {failed} of its runs could conclude nothing, and their messages say why"
            ends.append((wait, longer if failed > 1 else why))
        held = max(ends, default=None)
        return held if held and held[0] > now else None
