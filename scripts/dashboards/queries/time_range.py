"""The time that a dashboard shows, and the steps that Grafana would ask for."""

import re
import time
from dataclasses import dataclass

from scripts.dashboards.queries.json_paths import DashboardError

SCRAPE_SECONDS = 15  # Grafana's default of a Prometheus data source, which bounds steps from below
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_STEPS = (15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def seconds_of(duration: str) -> float:
    """Return the seconds of a duration such as `30s`, `15m` or `1h30m`."""
    parts = re.findall(r"(\d+)([smhdw])", duration)
    if not parts or "".join(a + b for a, b in parts) != duration.strip():
        raise DashboardError(f"{duration!r} is no duration; one is 30s, 15m or 6h")
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


@dataclass(frozen=True)
class TimeRange:
    """From when to when, in seconds since 1970."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Return how long it is."""
        return self.end - self.start

    def step(self, points: int) -> float:
        """Return the step that gives a panel of so many pixels a point each, rounded as Grafana rounds."""
        raw = max(self.seconds / max(points, 1), SCRAPE_SECONDS)
        return float(next((one for one in _STEPS if one >= raw * 0.9), raw))


def rate_interval(step: float) -> float:
    """Return `$__rate_interval`: never fewer than four scrapes."""
    return max(step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)


def read_range(start: str, end: str = "now", *, now: float | None = None) -> TimeRange:
    """Return the range that a dashboard's `time` names (`now-6h` to `now`)."""
    clock = time.time() if now is None else now
    return TimeRange(_moment(start, clock), _moment(end, clock))


def _moment(text: str, now: float) -> float:
    if text == "now":
        return now
    if not text.startswith("now-"):
        raise DashboardError(f"time {text!r}: the preview takes now or now-<duration>")
    return now - seconds_of(text.removeprefix("now-"))
