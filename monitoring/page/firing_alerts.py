"""The alerts of this moment, asked of Prometheus when somebody looks at the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import requests
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from monitoring.contract.logins import Login
from monitoring.page.remembered import TIMEOUT, Remembered

_LIFETIME = 5.0  # seconds


class _Alert(BaseModel):
    labels: dict[str, str]
    annotations: dict[str, str]
    state: str
    active_at: AwareDatetime = Field(alias="activeAt")


class _Data(BaseModel):
    alerts: list[_Alert]


class _Answer(BaseModel):
    data: _Data


@dataclass(frozen=True)
class FiringAlert:
    """An alert and what it says; series of one name are one, since the first of them, of so many models."""

    name: str
    severity: str
    summary: str
    since: datetime
    series: int
    runbook: str
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class FiringAlerts:
    """What fires, or why that cannot be said."""

    firing: tuple[FiringAlert, ...] = ()
    problem: str | None = None


class AlertReader:
    """Asks Prometheus for the alerts that fire, at most once in a few seconds."""

    def __init__(self, url: str, login: Login | None = None, model: str | None = None) -> None:
        """Of many models', the alerts of another `model` are left out."""
        self._login, self._model = login, model
        self._url = f"{url.rstrip('/')}/api/v1/alerts"
        self._seen = Remembered(self._ask, FiringAlerts(problem="Prometheus has not said yet what fires"), _LIFETIME)

    def read(self) -> FiringAlerts:
        """Return what fires, severe alerts first; Watchdog, which always fires, is left out."""
        return self._seen.read()

    def _ask(self) -> FiringAlerts:
        try:
            answer = requests.get(self._url, auth=self._login, timeout=TIMEOUT)
            answer.raise_for_status()
            found = _Answer.model_validate_json(answer.content).data.alerts
        except (requests.RequestException, ValidationError) as error:
            return FiringAlerts(problem=f"Prometheus cannot say what fires: {type(error).__name__} at {self._url}")
        return FiringAlerts(
            _summed([one for one in found if self._model in (None, one.labels.get("model", self._model))])
        )


def _summed(alerts: Sequence[_Alert]) -> tuple[FiringAlert, ...]:
    by_name: dict[str, list[_Alert]] = {}
    for alert in alerts:
        name = alert.labels.get("alertname", "")
        if alert.state == "firing" and name != "Watchdog":
            by_name.setdefault(name, []).append(alert)
    firing = [_one(name, series) for name, series in by_name.items()]
    return tuple(sorted(firing, key=lambda one: (one.severity != "critical", one.since)))


def _one(name: str, series: list[_Alert]) -> FiringAlert:
    first = min(series, key=lambda alert: alert.active_at)
    return FiringAlert(
        name=name,
        severity=first.labels.get("severity", ""),
        summary=first.annotations.get("summary", ""),
        since=first.active_at,
        series=len(series),
        runbook=first.annotations.get("runbook_url", ""),
        models=tuple(sorted({alert.labels["model"] for alert in series if "model" in alert.labels})),
    )
