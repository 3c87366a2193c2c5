"""Alertmanager's webhook, version 4: what a notification must hold, and what a flow's run takes from it."""

import hashlib
import json
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from monitoring.contract.errors import DriftloopError

RETRAIN, ROLLBACK = "retrain", "rollback"
ACTIONS = (RETRAIN, ROLLBACK)  # what the label `action` may ask for: flows, by their names

# What a run's parameters hold, which Prefect refuses above 512 kB; the key and the count speak for all alerts.
_MOST_ALERTS = 50
_MOST_LABELS = 50  # of an alert
_LONGEST_TEXT = 500  # characters of a name or a value
_LARGEST = 100_000  # bytes of all alerts together; one of usual size has some 500


class NotificationError(DriftloopError):
    """The request is not Alertmanager's: it lacks the token, or its body is no notification of version 4."""

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

    def describe(self) -> dict[str, Any]:
        """Return what the flow run is told of it; labels may be of any number and length, and are cut."""
        kept = list(self.labels.items())[:_MOST_LABELS]
        return {
            "name": _shortened(self.labels.get("alertname", "")),
            "labels": {_shortened(name): _shortened(value) for name, value in kept},
            "startsAt": self.starts_at.isoformat(),
            "fingerprint": _shortened(self.fingerprint),
        }


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

    def about(self, model: str) -> "Notification":
        """Return the notification of one of many models' alerts alone."""
        return self.model_copy(update={"alerts": tuple(a for a in self.alerts if a.labels.get("model") == model)})

    def episode(self, champion: str, model: str | None = None) -> str:
        """Return the key of this alert's episode: its group, its earliest start, and the champion that it is about.

        Of many models it is one of this model's.
        """
        begun = self.requesting[0].starts_at.isoformat()
        return digest(self.group_key, begun, champion, *([] if model is None else [model]))

    def describe(self, champion: str) -> dict[str, Any]:
        """Return what the flow run is told, with the champion that the alert is about: JSON of a bounded size."""
        alerts: list[dict[str, Any]] = []
        left = _LARGEST
        for alert in self.requesting[:_MOST_ALERTS]:
            told = alert.describe()
            left -= (size := len(json.dumps(told)))
            if left < 0 and alerts:
                left += size  # it is left out, and a smaller one that follows is not
                continue
            alerts.append(told)
        key = _shortened(self.group_key)
        return {"groupKey": key, "champion": champion, "count": len(self.requesting), "alerts": alerts}


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


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
