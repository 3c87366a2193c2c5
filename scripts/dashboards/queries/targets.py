"""What panels and annotations ask of Prometheus, with the steps that Grafana would ask in."""

from collections.abc import Iterator
from dataclasses import dataclass

from scripts.dashboards.queries.json_paths import Json, KnownSettings, dig, require_known
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.sections import Panel
from scripts.dashboards.queries.variables import Scope

_PIXELS_A_COLUMN = 65  # of a page 1600 pixels wide
_ANNOTATION_POINTS = 1200

# One that asks for both a course and its end, or for neither, is nobody's.
COURSE: KnownSettings = {"targets.instant": (False,), "targets.range": (True,), "targets.legendFormat": None}
NOW: KnownSettings = {"targets.instant": (True,), "targets.range": (False,)}
TARGETS: KnownSettings = dict.fromkeys(("targets.datasource.*", "targets.expr", "targets.refId"))
_ANNOTATION: KnownSettings = {
    **dict.fromkeys(("name", "expr", "datasource.*", "iconColor", "placement")),
    "enable": (True,), "hide": (False,), "builtIn": (0,),
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A query as Prometheus got it, and the series that it answered, each with `metric` and pairs in `values`."""

    query: str
    step: float
    series: list[Json]


def ask_target(panel: Panel, target: Json, prometheus: Prometheus) -> Answer:
    """Ask what a panel's target asks; raise QueryError if Prometheus refuses it."""
    time = panel.scope.time
    step = time.step(panel.place.width * _PIXELS_A_COLUMN)
    query = panel.scope.fill(target["expr"], step)
    series = prometheus.instant(query, time.end) if target.get("instant") else prometheus.range(query, time, step)
    return Answer(query, step, series)


def annotations_of(dashboard: Json) -> Iterator[Json]:
    """Give the dashboard's annotations; raise DashboardError that names what is not known of one."""
    for definition in dig(dashboard, "annotations.list", []):
        require_known(definition, _ANNOTATION, f"annotation {definition.get('name', '')}")
        yield definition


def ask_annotation(definition: Json, scope: Scope, prometheus: Prometheus) -> Answer:
    """Ask what an annotation asks; raise QueryError if Prometheus refuses it."""
    step = scope.time.step(_ANNOTATION_POINTS)
    query = scope.fill(definition["expr"], step)
    return Answer(query, step, prometheus.range(query, scope.time, step))
