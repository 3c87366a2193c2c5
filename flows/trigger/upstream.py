"""What the trigger asks of Prefect and MLflow, over their REST APIs."""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import requests
from pydantic import AwareDatetime, BaseModel, Field, field_validator

from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import CHAMPION

ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
NEWEST = 200
VERSIONS = 20
_CREATED = 201
_TIMEOUT = 5  # seconds; a notification takes up to five requests


class UnavailableError(DriftloopError):
    """Prefect or MLflow cannot be used now; later it may. `status` is what it answered, if it did."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class RejectedError(DriftloopError):
    """Prefect understood the request and refused it: our mistake, which no repetition mends."""


class RunState(BaseModel):
    """What a run's state says of itself."""

    message: str | None = None


class Run(BaseModel):
    """A flow run, as Prefect tells of it."""

    id: str
    state_type: str | None = None
    state_name: str | None = None
    created: AwareDatetime
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None
    tags: list[str] = Field(default_factory=list)
    state: RunState | None = None

    @property
    def ended(self) -> bool:
        """Say whether it has come to an end, good or bad."""
        return self.state_type in ENDED

    @property
    def seconds(self) -> float | None:
        """Return how long it took; None if it has not ended, or never began."""
        if not self.ended or self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()

    @property
    def last_moment(self) -> datetime:
        """Return when it ended, or started, or was asked for: the latest of these that there is."""
        return max(t for t in (self.created, self.start_time, self.end_time) if t is not None)


class Version(BaseModel):
    """A version of the registered model, as MLflow tells of it."""

    version: str
    run_id: str
    creation_timestamp: int  # milliseconds since 1970
    tags: dict[str, str] = Field(default_factory=dict)

    @field_validator("tags", mode="before")
    @classmethod
    def _as_mapping(cls, tags: list[dict[str, str]]) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in tags}

    @property
    def number(self) -> int:
        """Return the version as a number; MLflow counts from 1."""
        return int(self.version)

    @property
    def created(self) -> float:
        """Return when it was registered, in seconds since 1970."""
        return self.creation_timestamp / 1000

    @property
    def gate(self) -> str:
        """Return what the retraining's gate said of it: `passed`, `refused`, or nothing."""
        return self.tags.get("gate", "")


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

    def run(self, run_id: str) -> Run:
        """Return a run by its id."""
        return Run.model_validate(self._call("GET", f"/flow_runs/{run_id}").json())

    def create_run(
        self, deployment: str, key: str, tags: list[str], parameters: dict[str, Any], who: str = "an alert"
    ) -> tuple[Run, bool]:
        """Ask for a run under an idempotency key; return it, and whether it is new."""
        body = {
            "idempotency_key": key,
            "tags": tags,
            "parameters": parameters,
            "state": {"type": "SCHEDULED", "message": f"{who} asked for it"},
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
        try:
            answer = self._get("registered-models/alias", name=name, alias=CHAMPION)
        except RejectedError as error:  # MLflow answers 400 for an alias that is not set
            raise UnavailableError(str(error)) from error
        return str(answer["model_version"]["version"])

    def newest_versions(self, name: str) -> list[Version]:
        """Return the newest versions, the newest first; none if the model is not registered yet."""
        query: dict[str, str | int] = {"filter": f"name='{name}'", "max_results": VERSIONS}
        found = self._get("model-versions/search", **query, order_by="version_number DESC").get("model_versions", [])
        return [Version.model_validate(version) for version in found]

    def aliases(self, name: str) -> dict[str, str]:
        """Return the versions by alias."""
        model = self._get("registered-models/get", name=name)["registered_model"]
        return {alias["alias"]: alias["version"] for alias in model.get("aliases", [])}

    def run_metrics(self, run_id: str) -> dict[str, float]:
        """Return what a run has measured, by name; nothing if the run has been deleted."""
        try:
            data = self._get("runs/get", run_id=run_id)["run"]["data"]
        except UnavailableError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return {}
            raise
        return {metric["key"]: float(metric["value"]) for metric in data.get("metrics", [])}

    def _get(self, path: str, **query: str | int) -> Any:
        url = f"{self.url.rstrip('/')}/api/2.0/mlflow/{path}"
        return _request("MLflow", "GET", url, params=query).json()


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
        raise UnavailableError(detail, answer.status_code)
    raise RejectedError(detail)
