"""A monitor of many models over HTTP: all of them on one page, each on pages of its own, and Prometheus' targets."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import flask
from prometheus_client import CollectorRegistry
from werkzeug.exceptions import NotFound

from monitoring.contract.config_file import printable
from monitoring.contract.history import Episode, read_history
from monitoring.contract.layout import Layout
from monitoring.fleet.fleet import Fleet, Member
from monitoring.page.firing_alerts import AlertReader
from monitoring.page.page import (
    ModelPages,
    links_of,
    model_paths,
    prometheus_of,
    respond,
    respond_health,
    respond_metrics,
    start_app,
)
from monitoring.snapshot.snapshot import Snapshot

Trouble = Literal["unwatched", "failing", "waiting", "collecting", "passing"]
# In the order in which models are listed, who needs attention first: what is said of one, and of several.
SAID: Mapping[Trouble, tuple[str, str]] = {
    "unwatched": ("is not watched", "are not watched"),
    "failing": ("drifts or fails its tests", "drift or fail their tests"),
    "waiting": ("waits for a first look", "wait for a first look"),
    "collecting": ("has too few rows yet", "have too few rows yet"),
    "passing": ("is well", "are well"),
}
ORDER = tuple(SAID)
UNITS = (("days", 86_400), ("hours", 3_600), ("minutes", 60))


@dataclass(frozen=True)
class Row:
    """What the overview tells of a model; `since` is when a drift began that lasts."""

    name: str
    file: str
    trouble: Trouble
    why: str | None
    snapshot: Snapshot | None
    since: datetime | None
    last_run: Episode | None
    unreadable: int

    @property
    def lasts(self) -> str:
        """Say how long the drift has lasted."""
        seconds = (datetime.now(UTC) - self.since).total_seconds() if self.since else 0.0
        unit, length = next((one for one in UNITS if seconds >= 2 * one[1]), UNITS[-1])
        return f"for {seconds / length:.0f} {unit}"

    @property
    def place(self) -> tuple[int, bool, datetime, str]:
        """Return what rows are sorted by: their trouble, then the longest drift, then the name."""
        return ORDER.index(self.trouble), self.since is None, self.since or datetime.now(UTC), self.name


def create_fleet_app(fleet: Fleet, registry: CollectorRegistry, watching: Callable[[], bool]) -> flask.Flask:
    """Return the Flask app that shows what the monitors of many models saw last."""
    app = start_app(fleet.settings)
    alerts = AlertReader(*prometheus_of(fleet.settings))
    app.register_blueprint(model_paths(_Finder(fleet), watching), url_prefix="/models/<model>")

    @app.get("/")
    def page() -> flask.Response:
        return respond("overview.html", alerts=alerts.read(), **_overview(fleet))

    @app.get("/metrics")
    def metrics() -> flask.Response:
        return respond_metrics(registry)

    @app.get("/sd")
    def targets() -> flask.Response:
        """Name the targets by the address at which Prometheus has asked; it keeps those that it has for a 503."""
        if not fleet.looked:
            return flask.Response(
                "The folder of config files has not been looked at yet.\n", 503, mimetype="text/plain"
            )
        found = [{"model": name, "__metrics_path__": f"/models/{name}/metrics"} for name in fleet.members]
        return flask.jsonify([{"targets": [flask.request.host], "labels": labels} for labels in found])

    @app.get("/health")
    def health() -> tuple[dict[str, str], int]:
        return respond_health(watching())

    @app.get("/ready")
    def ready() -> tuple[dict[str, Any], int]:
        unready = {n: fleet.trouble(m) or "starting" for n, m in fleet.members.items() if not m.monitor.fresh}
        unready |= {printable(path.name): reason for path, reason in fleet.faults.items()}
        if any(member.monitor.fresh for member in fleet.members.values()):
            return {"status": "ready", "not_ready": unready}, 200
        return {"status": "no model's cycle has succeeded lately", "not_ready": unready}, 503

    return app


class _Finder:
    """Finds the pages of a model, and keeps them for as long as its monitor is the same."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._pages: dict[str, ModelPages] = {}

    def __call__(self, name: str | None) -> ModelPages:
        member = self._fleet.members.get(name or "")
        if member is None:
            self._pages.pop(name or "", None)
            raise NotFound(f"There is no model {name}.")
        known = self._pages.get(member.name)
        if known is None or known.monitor is not member.monitor:
            known = ModelPages.of(member.monitor, member.registry, f"/models/{member.name}", member.name)
            self._pages[member.name] = known
        return known


def _overview(fleet: Fleet) -> Mapping[str, Any]:
    rows = sorted((_row(fleet, member) for member in fleet.members.values()), key=lambda row: row.place)
    return {
        "rows": rows,
        "said": SAID,
        "counts": Counter(row.trouble for row in rows),
        "troubled": sum(row.trouble in ("unwatched", "failing") for row in rows),
        "judged": sum(row.trouble in ("failing", "passing") for row in rows),
        "faults": fleet.faults,
        "folder": fleet.folder,
        "interval": fleet.settings.monitor_interval_seconds,
        "links": links_of(fleet.settings),
    }


def _row(fleet: Fleet, member: Member) -> Row:
    state = member.monitor.state
    snapshot = state.report.snapshot if state.report else None
    alarm = snapshot.drift.alarm if snapshot and snapshot.drift else None
    return Row(
        name=member.name,
        file=printable(member.path.name),
        trouble=_trouble(fleet, member, snapshot),
        why=fleet.trouble(member),
        snapshot=snapshot,
        since=datetime.fromtimestamp(alarm.onset / 1e6, UTC) if alarm else None,
        last_run=next(iter(read_history(Layout(member.monitor.settings.data_dir), 1)), None),
        unreadable=len(state.unreadable),
    )


def _trouble(fleet: Fleet, member: Member, snapshot: Snapshot | None) -> Trouble:
    if fleet.standing(member) == "failing":
        return "unwatched"
    if snapshot is None:
        return "waiting"
    if snapshot.assessment is None:
        return "collecting"
    return "failing" if snapshot.verdict == "failing" else "passing"
