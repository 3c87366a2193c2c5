"""The record that a run leaves for the monitor's page; a run whose process dies leaves Prefect's state alone."""

import contextlib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import structlog
from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import ValidationError

from flows.training.evaluation import Comparison
from flows.training.scores import Scores
from monitoring.contract.history import Episode, FlowName, Scored, TriggeringAlert, keep_episode, read_history
from monitoring.contract.layout import Layout
from monitoring.contract.reference import reference_digest

log = structlog.get_logger(__name__)


class RunRecord:
    """A run's episode while it is made; `version` is the champion as far as the run knows."""

    def __init__(self, layout: Layout, flow: FlowName, alert: dict[str, Any] | None) -> None:
        self._layout, self._flow, self._alert = layout, flow, requesting_alert(alert)
        self._started = datetime.now(UTC)
        self._scores: dict[str, Any] = {}
        self._run_id = str(runtime.flow_run.id or uuid.uuid4())  # a command is no run of Prefect's
        self.version: str | None = None

    def compare(self, comparison: Comparison, champion: str, candidate: str) -> None:
        """Note how champion and candidate did on the held-out rows."""
        self.score(_scored(champion, comparison.champion), _scored(candidate, comparison.candidate), comparison.rows)

    def score(self, champion: Scored, candidate: Scored, rows: int) -> None:
        """Note what the champion and the version that may replace it achieved on the same rows."""
        self._scores = {"champion": champion, "candidate": candidate, "rows": rows}

    def conclude(self, outcome: str, message: str) -> State[None]:
        """Keep the episode, and return the state that the run ends with."""
        self.keep(outcome, message)
        return Completed(name=outcome, message=message)

    def keep(self, outcome: str, message: str) -> None:
        """Write the episode; where that fails the run goes on, for its own work is done."""
        try:
            keep_episode(self._layout, self._episode(outcome, message))
        except OSError as error:
            log.exception("episode_not_kept", reason=str(error))

    def told(self, outcome: str) -> bool:
        """Say whether the newest episode has this outcome: a start that changes nothing need not be told again."""
        newest = read_history(self._layout, 1)
        return bool(newest) and newest[0].outcome == outcome

    def catch_up(self) -> None:
        """Keep an episode if none tells of this champion with this reference.

        The run that made it so was cut off before it could tell, or a person has moved the alias.
        """
        told = next((one for one in read_history(self._layout) if one.version is not None), None)
        if told is None or (told.version, told.reference_digest) != (self.version, reference_digest(self._layout)):
            message = f"version {self.version} is champion, with its reference; no run that ended had told of it"
            self.keep("Recovered", message)

    def _episode(self, outcome: str, message: str) -> Episode:
        return Episode(
            flow=self._flow,
            flow_run_id=self._run_id,
            started_at=self._started,
            ended_at=datetime.now(UTC),
            outcome=outcome,
            message=message,
            asked=self._alert,
            version=self.version,
            reference_digest=reference_digest(self._layout),
            **self._scores,
        )


@contextlib.contextmanager
def recorded(layout: Layout, flow: FlowName, alert: dict[str, Any] | None = None) -> Iterator[RunRecord]:
    """Record a run; an error is kept as `Failed`, and raised."""
    record = RunRecord(layout, flow, alert)
    try:
        yield record
    except Exception as error:
        record.keep("Failed", f"{type(error).__name__}: {error}")
        raise


def _scored(version: str, scores: Scores) -> Scored:
    return Scored.model_validate({"version": version, **scores.values})


def requesting_alert(alert: Any) -> TriggeringAlert | None:
    """Return the alert that requested a run, the earliest that the trigger names; None for a run that a person started.

    The parameter may be anything that this person gave: one that names no alert is no error.
    """
    try:
        first = alert["alerts"][0]
        return TriggeringAlert(name=first["name"], starts_at=first["startsAt"])
    except (LookupError, TypeError, ValidationError):
        return None
