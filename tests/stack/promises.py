"""Within what time an alert fires, as its runbook promises, at the rules' own clock: Prometheus' evaluations."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.demo import Demo
from scripts.stack import ROOT

PACE = 30  # divides the waiting times of rules and routes; scrapes and evaluations come each second, not sooner
OWN_CLOCKS = 12.0  # seconds beside them that no pace divides: scrapes, polls, evaluations, starts
_LOOKED_BACK = "2h"  # longer than any case


def promised(alert: str) -> float:
    """Return the seconds within which an alert fires, as its runbook says."""
    text = (ROOT / f"docs/runbooks/{alert}.md").read_text()
    found = re.search(r"^Fires within (\d+) (seconds?|minutes?)", text, re.MULTILINE)
    assert found, f"docs/runbooks/{alert}.md does not say within what time the alert fires"
    return int(found[1]) * (60 if found[2].startswith("minute") else 1)


@dataclass(frozen=True)
class Fired:
    """When an alert fired, in Prometheus' time, and how many evaluations from its condition's first had seen it."""

    fired: float
    evaluations: int


def fired(demo: Demo, alert: str, since: float, labels: Mapping[str, str]) -> Fired | None:
    """Return an alert's first firing at `since` or later; None while there is none.

    It counts when it is over, too: a probe that comes late sees the same. Its condition may have been true before, as
    a target of a busy machine is down for a scrape or two.
    """
    for key, samples in _samples(demo, "ALERTS", {"alertname": alert, "alertstate": "firing", **labels}).items():
        begins = dict(_samples(demo, "ALERTS_FOR_STATE", dict(key)).get(key, []))
        firing = [when for when, _ in samples if when in begins]
        if found := [when for when in firing if when >= since]:
            begun = begins[found[0]]
            first = next(when for when in firing if begins[when] == begun)
            return Fired(first, sum(value == begun and at <= first for at, value in begins.items()))
    return None


Key = frozenset[tuple[str, str]]


def _samples(demo: Demo, metric: str, labels: Mapping[str, str]) -> dict[Key, list[tuple[float, float]]]:
    """Return each series' samples as they are stored; its key is the alert's own labels."""
    selector = ",".join(f'{name}="{value}"' for name, value in labels.items())
    found: list[dict[str, Any]] = demo.get(
        "prometheus", "/api/v1/query", query=f"{metric}{{{selector}}}[{_LOOKED_BACK}]"
    )["data"]["result"]
    return {
        frozenset((name, value) for name, value in one["metric"].items() if name not in {"__name__", "alertstate"}): [
            (float(when), float(value)) for when, value in one["values"]
        ]
        for one in found
    }
