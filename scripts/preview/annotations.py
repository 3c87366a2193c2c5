"""Annotations: moments that a dashboard marks on all of its time series."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.dashboards.queries.json_paths import Json, dig
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.time_range import seconds_of
from scripts.dashboards.queries.variables import Scope
from scripts.preview.axes import Figure, escaped, milliseconds
from scripts.preview.colours import colour, faded
from scripts.preview.frames import legends

_POINTS = 1200


@dataclass(frozen=True)
class Event:
    """A moment, or a stretch of time, with a name."""

    start: float
    end: float
    text: str
    colour: str
    panels: frozenset[int]  # the ids of the panels it is for, none for all of them

    def on(self, panel: Json) -> bool:
        """Return whether it is marked on a panel."""
        return not self.panels or panel.get("id") in self.panels


def events_of(dashboard: Json, scope: Scope, prometheus: Prometheus) -> list[Event]:
    """Return what the dashboard's own annotations found; raise QueryError for one that Prometheus refuses."""
    definitions = dig(dashboard, "annotations.list", [])
    asked = [one for one in definitions if one.get("expr") and one.get("enable") and not one.get("hide")]
    return [event for one in asked for event in _found(one, scope, prometheus)]


def _found(definition: Json, scope: Scope, prometheus: Prometheus) -> Iterator[Event]:
    step = scope.time.step(_POINTS, seconds_of(definition["step"]) if definition.get("step") else 15)
    series = prometheus.range(scope.fill(definition["expr"], step), scope.time, step)
    template = definition.get("titleFormat") or definition["name"]
    panels = frozenset(dig(definition, "filter.ids", []))
    names = legends([one["metric"] for one in series], template, definition["name"])
    for one, name in zip(series, names, strict=True):
        for start, end in _stretches([float(t) for t, value in one["values"] if float(value) > 0], step):
            yield Event(start, end, name, colour(definition.get("iconColor", "red")), panels)


def _stretches(moments: Sequence[float], step: float) -> Iterator[tuple[float, float]]:
    """Give the first and last of moments that follow each other step by step."""
    start = last = None
    for moment in moments:
        if start is None or last is None or moment - last > 1.5 * step:
            if start is not None and last is not None:
                yield start, last
            start = moment
        last = moment
    if start is not None and last is not None:
        yield start, last


def marks(events: Sequence[Event]) -> Figure:
    """Return the part of a layout that shows events: a line at the start, a band to the end, the name on hovering."""
    shapes, notes = [], []
    for event in events:
        x, until = milliseconds(event.start), milliseconds(event.end)
        line = {"color": event.colour, "width": 1.2, "dash": "dash"}
        shapes.append({"type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line})
        if until > x:
            band = {"type": "rect", "yref": "paper", "x0": x, "x1": until, "y0": 0, "y1": 1, "line": {"width": 0}}
            shapes.append({**band, "fillcolor": faded(event.colour, 0.12), "layer": "below"})
        notes.append(
            {"x": x, "y": 0, "yref": "paper", "yanchor": "bottom", "text": "▲", "showarrow": False,
             "font": {"color": event.colour, "size": 10}, "hovertext": escaped(event.text)}
        )  # fmt: skip
    return {"shapes": shapes, "annotations": notes}
