"""Prometheus' and Alertmanager's part in simulated time: when an alert that asks for a flow fires, and is told.

Expressions, `for` and labels are read from monitoring/alert_rules, the waits from alertmanager/alertmanager.yml. Gauges
stay as the monitor's last look left them. A rule is looked at with each of these looks and not each 15 seconds, and a
notification is repeated after just `repeat_interval`, where Alertmanager waits for its next `group_interval`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from benchmarks.loop.expressions import Gauges, holds
from flows.trigger.notification import Notification, parse_notification
from monitoring.backtest.alert_rules import SHIPPED, seconds

ALERTMANAGER = Path(__file__).parents[2] / "alertmanager/alertmanager.yml"


@dataclass(frozen=True)
class Rule:
    """An alert that asks for a flow."""

    name: str
    expression: str
    hold: timedelta
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Route:
    """When the trigger hears of an alert: at first, and again while it fires."""

    wait: timedelta
    repeat: timedelta


@dataclass(frozen=True)
class Due:
    """What happens next: an alert begins to fire, or (`notification`) the trigger hears of one that does."""

    moment: datetime
    alert: str
    notification: Notification | None = None


@dataclass
class _Alert:
    rule: Rule
    pending: datetime | None = None
    fired: datetime | None = None
    told: datetime | None = None


def read_rules(folder: Path = SHIPPED) -> list[Rule]:
    """Return the rules whose alerts ask for a flow."""
    groups = [group for path in sorted(folder.glob("*_alerts.yml")) for group in _yaml(path)["groups"]]
    rules = [rule for group in groups for rule in group["rules"] if "action" in rule.get("labels", {})]
    return [
        Rule(r["alert"], str(r["expr"]), timedelta(seconds=seconds(str(r.get("for", "0s")))), r["labels"])
        for r in rules
    ]


def read_route(path: Path = ALERTMANAGER) -> Route:
    """Return the waits of the route that leads to the trigger."""
    (route,) = [route for route in _yaml(path)["route"]["routes"] if route["receiver"] == "trigger"]
    return Route(*(timedelta(seconds=seconds(route[key])) for key in ("group_wait", "repeat_interval")))


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@dataclass
class Alerting:
    """The alerts in simulated time."""

    rules: list[Rule] = field(default_factory=read_rules)
    route: Route = field(default_factory=read_route)

    def __post_init__(self) -> None:
        self._alerts = [_Alert(rule) for rule in self.rules]

    @property
    def firing(self) -> list[str]:
        """Return the names of the alerts that fire."""
        return [alert.rule.name for alert in self._alerts if alert.fired]

    def observe(self, gauges: Gauges, now: datetime) -> Iterator[str]:
        """Evaluate the rules on what the monitor exports; yield the alerts that are over."""
        for alert in self._alerts:
            if holds(alert.rule.expression, gauges):
                alert.pending = alert.pending or now
                continue
            if alert.fired:
                yield alert.rule.name
            alert.pending = alert.fired = alert.told = None

    def take(self, until: datetime) -> Due | None:
        """Return what happens next, and take it as done; None if nothing does up to that moment."""
        coming = sorted(((self._next(a), n) for n, a in enumerate(self._alerts) if a.pending), key=lambda one: one)
        if not coming or coming[0][0] > until:
            return None
        moment, alert = coming[0][0], self._alerts[coming[0][1]]
        if alert.fired is None:
            alert.fired = moment
            return Due(moment, alert.rule.name)
        alert.told = moment
        return Due(moment, alert.rule.name, notification_of(alert.rule, alert.fired))

    def _next(self, alert: _Alert) -> datetime:
        assert alert.pending is not None
        if alert.fired is None:
            return alert.pending + alert.rule.hold
        return alert.fired + self.route.wait if alert.told is None else alert.told + self.route.repeat


def notification_of(rule: Rule, started: datetime) -> Notification:
    """Return what Alertmanager posts of one alert's group, as the trigger reads it."""
    labels = {"alertname": rule.name, **rule.labels}
    alert = {"status": "firing", "labels": labels, "startsAt": started.isoformat(), "fingerprint": rule.name}
    key = f'{{}}:{{action="{rule.labels["action"]}", alertname="{rule.name}"}}'
    return parse_notification(json.dumps({"version": "4", "groupKey": key, "alerts": [alert]}).encode())
