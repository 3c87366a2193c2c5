"""Prefect's flow runs and deployments, over its REST API."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

import requests
from pydantic import AwareDatetime, BaseModel, Field

from flows.clients.rest import UnavailableError, send

DEPLOYMENT = "on-alert"  # of every flow that an alert may ask for
ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
WAITING = ("PENDING", "SCHEDULED")
NEWEST = 200
SKEW = timedelta(minutes=1)  # that the clocks of two services may differ by
BUSY_PAUSES = (0.2, 0.4, 0.8, 1.6)  # seconds before a request that was answered with 503 is sent again
_CREATED = 201


OF_MODEL = "model:"  # what the tag begins with that says whose run it is, among many models


def tags_of(model: str | None) -> list[str]:
    """Return the tags of a run for one of many models; none where there is but one."""
    return [] if model is None else [f"{OF_MODEL}{model}"]


def model_in(tags: Iterable[str]) -> str | None:
    """Return which of many models a run's tags name; None if they name none."""
    return next((tag.removeprefix(OF_MODEL) for tag in tags if tag.startswith(OF_MODEL)), None)


def parameters_of(model: str | None) -> dict[str, Any]:
    """Return the flows' parameters for one of many models; none where there is but one."""
    return {} if model is None else {"model": model}


class RunState(BaseModel):
    """A run's state in Prefect, as far as it is needed."""

    message: str | None = None


class FlowRun(BaseModel):
    """A flow run in Prefect."""

    id: str
    state_type: str | None = None
    state_name: str | None = None
    created: AwareDatetime
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None
    tags: list[str] = Field(default_factory=list)
    state: RunState | None = None

    @property
    def model(self) -> str | None:
        """Return which of many models it is for; None where there is but one."""
        return model_in(self.tags)

    @property
    def ended(self) -> bool:
        """Say whether it has come to an end, good or bad."""
        return self.state_type in ENDED

    @property
    def begun(self) -> bool:
        """Say whether a process has taken it up."""
        return self.state_type not in WAITING

    @property
    def seconds(self) -> float | None:
        """Return how long it took; None if it has not ended, or never began."""
        if not self.ended or self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()

    def is_ahead(self, now: datetime) -> bool:
        """Say whether one of its times is ahead of the clock: it is from a clock that was wrong then, or is now."""
        return self.last_moment > now + SKEW

    @property
    def last_moment(self) -> datetime:
        """Return when it ended, or started, or was asked for: the latest of these that there is."""
        return max(t for t in (self.created, self.start_time, self.end_time) if t is not None)


@dataclass(frozen=True)
class Prefect:
    """Prefect's REST API; `auth` is `user:password` or None."""

    url: str
    auth: str | None = None

    def deployment_id(self, flow: str, deployment: str) -> str:
        """Return a deployment's id by its name; raise UnavailableError if it is not served yet."""
        return str(self._call("GET", f"/deployments/name/{flow}/{deployment}").json()["id"])

    def deployment_status(self, flow: str, deployment: str) -> str:
        """Return READY while a runner asks for the deployment's runs, else NOT_READY."""
        return str(self._call("GET", f"/deployments/name/{flow}/{deployment}").json()["status"])

    def newest_runs(self, flow: str, limit: int = NEWEST, **run_filter: Any) -> list[FlowRun]:
        """Return a flow's newest runs, the newest first."""
        body = {"flows": {"name": {"any_": [flow]}}, "flow_runs": run_filter, "sort": "START_TIME_DESC", "limit": limit}
        return [FlowRun.model_validate(run) for run in self._call("POST", "/flow_runs/filter", body).json()]

    def run(self, run_id: str) -> FlowRun:
        """Return a run by its id."""
        return FlowRun.model_validate(self._call("GET", f"/flow_runs/{run_id}").json())

    def set_state(self, run_id: str, state: str, message: str, *, force: bool = False) -> bool:
        """Give a run a state of this type; return whether Prefect took it. `force` passes Prefect's rules by."""
        body = {"state": {"type": state, "name": state.capitalize(), "message": message}, "force": force}
        return bool(self._call("POST", f"/flow_runs/{run_id}/set_state", body).json()["status"] == "ACCEPT")

    def create_run(
        self, deployment: str, key: str, tags: list[str], parameters: dict[str, Any], who: str = "an alert"
    ) -> tuple[FlowRun, bool]:
        """Ask for a run under an idempotency key; return it, and whether it is new."""
        body = {
            "idempotency_key": key,
            "tags": tags,
            "parameters": parameters,
            "state": {"type": "SCHEDULED", "message": f"{who} asked for it"},
        }
        answer = self._call("POST", f"/deployments/{deployment}/create_flow_run", body)
        return FlowRun.model_validate(answer.json()), answer.status_code == _CREATED

    def _call(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Send a request; where Prefect's database is busy, which it answers with 503, send it again as clients should.

        Nothing was done then, and a run is asked for under a key, so that it is one however often it is asked for.
        """
        auth = tuple(self.auth.split(":", 1)) if self.auth else None
        ask = partial(send, "Prefect", method, f"{self.url.rstrip('/')}{path}", auth=auth, json=body)
        for pause in BUSY_PAUSES:
            try:
                return ask()
            except UnavailableError as error:
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                time.sleep(pause)
        return ask()
