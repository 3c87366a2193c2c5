"""MLflow's registered versions, over its REST API."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field, field_validator

from flows.clients.rest import RejectedError, UnavailableError, send
from monitoring.contract.logins import Login
from monitoring.contract.names import CHAMPION

VERSIONS = 20


class Version(BaseModel):
    """A version of the registered model in MLflow."""

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
        """Return the decision of the retraining's gate: `passed`, `refused`, or nothing."""
        return self.tags.get("gate", "")


@dataclass(frozen=True)
class MLflow:
    """MLflow's REST API."""

    url: str
    login: Login | None = None

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
        return send("MLflow", "GET", url, params=query, auth=self.login).json()
