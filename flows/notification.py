"""Alertmanager's webhook, version 4: what a notification must hold, and what a retraining takes from it."""

import hashlib
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from monitoring.schema import DriftloopError

ACTION = ("action", "retrain")
_MOST_ALERTS = 50  # that a run's parameters name; the key and the count speak for all


class NotificationError(DriftloopError):
    """The body is not a notification of version 4."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Alert(_Part):
    """One alert of the group."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: AwareDatetime = Field(alias="startsAt")
    fingerprint: str

    @property
    def asks_for_retraining(self) -> bool:
        """Say whether it fires and carries the label that asks for a retraining."""
        name, value = ACTION
        return self.status == "firing" and self.labels.get(name) == value


class Notification(_Part):
    """A group's alerts, as Alertmanager posts them."""

    version: Literal["4"]
    group_key: str = Field(alias="groupKey", min_length=1)
    alerts: tuple[Alert, ...] = Field(min_length=1)

    @property
    def asking(self) -> tuple[Alert, ...]:
        """Return the alerts that ask for a retraining, the earliest first."""
        return tuple(sorted((a for a in self.alerts if a.asks_for_retraining), key=lambda a: a.starts_at))

    def episode(self, champion: str) -> str:
        """Return the key of this alert's episode: its group, its earliest start, and the champion that it is about."""
        return digest(self.group_key, self.asking[0].starts_at.isoformat(), champion)

    def describe(self) -> dict[str, Any]:
        """Return what the flow run is told: JSON values, of a bounded size."""
        alerts = [
            {
                "name": alert.labels.get("alertname", ""),
                "labels": alert.labels,
                "startsAt": alert.starts_at.isoformat(),
                "fingerprint": alert.fingerprint,
            }
            for alert in self.asking[:_MOST_ALERTS]
        ]
        return {"groupKey": self.group_key, "count": len(self.asking), "alerts": alerts}


def digest(*parts: str) -> str:
    """Return a SHA-256 of several strings, none of which can pass for another split of them."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def parse_notification(body: bytes) -> Notification:
    """Read a notification; raise NotificationError with every key that is wrong."""
    if not body.strip():
        raise NotificationError(400, "the body is empty; it takes Alertmanager's webhook JSON")
    try:
        return Notification.model_validate_json(body)
    except ValidationError as error:
        wrong = error.errors()
        if wrong[0]["type"] == "json_invalid":
            raise NotificationError(400, f"the body is not JSON: {wrong[0]['ctx']['error']}") from error
        raise NotificationError(422, "; ".join(_explain(e) for e in wrong[:10])) from error


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "body"
    shown = "" if error["type"] == "missing" else f" (it is {str(error['input'])[:40]!r})"
    return f"{key}: {error['msg']}{shown}"
