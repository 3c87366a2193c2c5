"""Annotations: moments that a dashboard marks on all of its time series."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.dashboards.queries.json_paths import Json
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.targets import annotations_of, ask_annotation
from scripts.dashboards.queries.variables import Scope
from scripts.preview.axes import Figure, escaped, milliseconds
from scripts.preview.colours import colour, faded


@dataclass(frozen=True)
class Mark:
    """A moment, or a stretch of time, with a name."""

    start: float
    end: float
    text: str
    colour: str


def marks_of(dashboard: Json, scope: Scope, prometheus: Prometheus) -> list[Mark]:
    """Return what the dashboard's annotations found; raise QueryError for one that Prometheus refuses."""
    return [mark for one in annotations_of(dashboard) for mark in _found(one, scope, prometheus)]


def _found(definition: Json, scope: Scope, prometheus: Prometheus) -> Iterator[Mark]:
    answer = ask_annotation(definition, scope, prometheus)
    code = colour(definition["iconColor"])
    for series in answer.series:
        moments = [float(moment) for moment, value in series["values"] if float(value) > 0]
        for start, end in _stretches(moments, answer.step):
            yield Mark(start, end, definition["name"], code)


def _stretches(moments: Sequence[float], step: float) -> Iterator[tuple[float, float]]:
    """Give the first and last of moments that follow each other step by step."""
    breaks = [i for i in range(1, len(moments)) if moments[i] - moments[i - 1] > 1.5 * step]
    for first, after in zip([0, *breaks], [*breaks, len(moments)], strict=True):
        if first < after:
            yield moments[first], moments[after - 1]


def marked(marks: Sequence[Mark]) -> Figure:
    """Return the part of a layout that shows marks: a line at the start, a band to the end, the name on hovering."""
    shapes, notes = [], []
    for mark in marks:
        x, until = milliseconds(mark.start), milliseconds(mark.end)
        line = {"color": mark.colour, "width": 1.2, "dash": "dash"}
        shapes.append({"type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line})
        if until > x:
            band = {"type": "rect", "yref": "paper", "x0": x, "x1": until, "y0": 0, "y1": 1, "line": {"width": 0}}
            shapes.append({**band, "fillcolor": faded(mark.colour, 0.12), "layer": "below"})
        notes.append(
            {"x": x, "y": 0, "yref": "paper", "yanchor": "bottom", "text": "▲", "showarrow": False,
             "font": {"color": mark.colour, "size": 10}, "hovertext": escaped(mark.text)}
        )  # fmt: skip
    return {"shapes": shapes, "annotations": notes}
