"""What the trigger asks of Prefect and MLflow, over their REST APIs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import requests
from pydantic import AwareDatetime, BaseModel, Field

from monitoring.schema import DriftloopError

ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
NEWEST = 200
_CREATED = 201
_TIMEOUT = 5  # seconds; a notification takes up to five requests


class UnavailableError(DriftloopError):
    """Prefect or MLflow cannot be used now; later it may."""


class RejectedError(DriftloopError):
    """Prefect understood the request and refused it: our mistake, which no repetition mends."""


class Run(BaseModel):
    """A flow run, as Prefect tells of it."""

    id: str
    state_type: str | None = None
    state_name: str | None = None
    created: AwareDatetime
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None
    tags: list[str] = Field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Say whether it has come to an end, good or bad."""
        return self.state_type in ENDED

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

    def newest_runs(self, flow: str, limit: int = NEWEST, **run_filter: Any) -> list[Run]:
        """Return a flow's newest runs, the newest first."""
        body = {"flows": {"name": {"any_": [flow]}}, "flow_runs": run_filter, "sort": "START_TIME_DESC", "limit": limit}
        return [Run.model_validate(run) for run in self._call("POST", "/flow_runs/filter", body).json()]

    def create_run(self, deployment: str, key: str, tags: list[str], parameters: dict[str, Any]) -> tuple[Run, bool]:
        """Ask for a run under an idempotency key; return it, and whether it is new."""
        body = {
            "idempotency_key": key,
            "tags": tags,
            "parameters": parameters,
            "state": {"type": "SCHEDULED", "message": "an alert asked for it"},
        }
        answer = self._call("POST", f"/deployments/{deployment}/create_flow_run", body)
        return Run.model_validate(answer.json()), answer.status_code == _CREATED

    def _call(self, method: str, path: str, body: Any = None) -> requests.Response:
        auth = tuple(self.auth.split(":", 1)) if self.auth else None
        return _request("Prefect", method, f"{self.url.rstrip('/')}{path}", auth=auth, json=body)


@dataclass(frozen=True)
class Registry:
    """MLflow's REST API."""

    url: str

    def champion(self, name: str) -> str:
        """Return the champion's version; raise UnavailableError if there is none yet."""
        url = f"{self.url.rstrip('/')}/api/2.0/mlflow/registered-models/alias?name={quote(name)}&alias=champion"
        try:
            return str(_request("MLflow", "GET", url).json()["model_version"]["version"])
        except RejectedError as error:  # MLflow answers 400 for an alias that is not set
            raise UnavailableError(str(error)) from error


def _request(server: str, method: str, url: str, **options: Any) -> requests.Response:
    try:
        answer = requests.request(method, url, timeout=_TIMEOUT, **options)
    except requests.RequestException as error:
        raise UnavailableError(f"{server} cannot be reached at {url}: {type(error).__name__}") from error
    if answer.ok:
        return answer
    detail = f"{server} answered {answer.status_code} at {url}: {answer.text[:300]}"
    # 401 and 403 are mended in the settings, 404 by serving the deployment, 408 and 429 by time
    if answer.status_code >= 500 or answer.status_code in {401, 403, 404, 408, 429}:  # noqa: PLR2004
        raise UnavailableError(detail)
    raise RejectedError(detail)
