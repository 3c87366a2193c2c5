"""Alertmanager's webhook, version 4: what a notification must hold, and what a flow's run takes from it."""

import hashlib
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from monitoring.contract.errors import DriftloopError

ACTIONS = ("retrain", "rollback")  # what the label `action` may ask for: flows, by their names
_MOST_ALERTS = 50  # that a run's parameters name; the key and the count speak for all


class NotificationError(DriftloopError):
    """The body is not a notification of version 4."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Alert(_Payload):
    """One alert of the group."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: AwareDatetime = Field(alias="startsAt")
    fingerprint: str

    @property
    def requested_flow(self) -> str | None:
        """Return the flow that it asks for by its label `action`; None if it asks for none, or is over."""
        action = self.labels.get("action")
        return action if self.status == "firing" and action in ACTIONS else None


class Notification(_Payload):
    """A group's alerts, as Alertmanager posts them."""

    version: Literal["4"]
    group_key: str = Field(alias="groupKey", min_length=1)
    alerts: tuple[Alert, ...] = Field(min_length=1)

    @property
    def requesting(self) -> tuple[Alert, ...]:
        """Return the alerts that ask for the same flow as the earliest that asks for any, the earliest first."""
        requesting = sorted((a for a in self.alerts if a.requested_flow), key=lambda a: a.starts_at)
        return tuple(a for a in requesting if a.requested_flow == requesting[0].requested_flow)

    @property
    def flow(self) -> str | None:
        """Return the flow that it asks for; None if it asks for none."""
        return self.requesting[0].requested_flow if self.requesting else None

    def episode(self, champion: str) -> str:
        """Return the key of this alert's episode: its group, its earliest start, and the champion that it is about."""
        return digest(self.group_key, self.requesting[0].starts_at.isoformat(), champion)

    def describe(self, champion: str) -> dict[str, Any]:
        """Return what the flow run is told, with the champion that the alert is about: JSON of a bounded size."""
        alerts = [
            {
                "name": alert.labels.get("alertname", ""),
                "labels": alert.labels,
                "startsAt": alert.starts_at.isoformat(),
                "fingerprint": alert.fingerprint,
            }
            for alert in self.requesting[:_MOST_ALERTS]
        ]
        return {"groupKey": self.group_key, "champion": champion, "count": len(self.requesting), "alerts": alerts}


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
