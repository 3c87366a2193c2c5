"""What the loop is doing, in words, for the report of a test that failed."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import requests

from tests.stack.faulty import Faulty

_LINES = 64  # of all logs


def situation(faulty: Faulty) -> str:
    """Return which services run, alerts, runs with their states, champion, drift, traffic, and the ends of all logs."""
    demo = faulty.demo
    parts: dict[str, Callable[[], object]] = {
        "time": lambda: f"{datetime.now(UTC):%H:%M:%S} UTC, {time.time() - faulty.since:.0f} s after the last fault",
        "services that do not run": lambda: ", ".join(faulty.ended()) or "none",
        "champion": lambda: f"{demo.champion()}; the API served {' -> '.join(faulty.served)} from the case's begin",
        "drift": lambda: (
            f"detected {demo.query('drift_detected')}, score {demo.query('drift_alarm_score')}, "
            f"rows {demo.query('drift_rows_seen')}, calibration {demo.query('drift_calibration_progress')}"
        ),
        "traffic": faulty.sent.counts,
        "alerts": lambda: _lines(_alert(one) for one in demo.get("prometheus", "/api/v1/alerts")["data"]["alerts"]),
        "runs": lambda: _lines(_run(one) for one in faulty.runs()[:8]),
    }
    told = [f"{name}: {_tried(part)}" for name, part in parts.items()]
    return "\n".join([*told, *(_log(faulty, service) for service in faulty.commands)])


def _tried(part: Callable[[], object]) -> object:
    try:
        return part()
    except (requests.RequestException, KeyError, IndexError) as error:
        return f"not to be had: {error!r}"


def _lines(told: Iterable[str]) -> str:
    return "".join(f"\n  {line}" for line in told) or "none"


def _alert(alert: dict[str, dict[str, str]]) -> str:
    labels = {name: value for name, value in alert["labels"].items() if name not in {"alertname", "severity"}}
    return f"{alert['labels']['alertname']} {labels} {alert['state']} since {alert['activeAt']}"


def _run(run: dict[str, dict[str, str]]) -> str:
    state = f"{run['state_type']} {run['state_name']}: {(run['state'] or {}).get('message')}"
    return f"{run['name']} from {run['start_time']} to {run['end_time']} {state[:200]}"


def _log(faulty: Faulty, service: str) -> str:
    lines = [
        line for line in (faulty.folder / f"{service}.log").read_text(errors="replace").splitlines() if line.strip()
    ]
    return f"{service}.log:{_lines(line[:300] for line in lines[-_LINES // len(faulty.commands) :])}"
