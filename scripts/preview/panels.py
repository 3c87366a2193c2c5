"""A panel's JSON and data to what stands on the page."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from scripts.dashboards.queries.json_paths import DashboardError, dig
from scripts.dashboards.queries.prometheus import Prometheus, QueryError
from scripts.dashboards.queries.sections import Panel
from scripts.dashboards.queries.targets import ask
from scripts.preview import single_values
from scripts.preview.annotations import Event
from scripts.preview.axes import Figure
from scripts.preview.bar_chart import bar_chart
from scripts.preview.columns import Column, columns_of
from scripts.preview.frames import Frame
from scripts.preview.heatmap import heatmap
from scripts.preview.reducers import LABELS, reduce_to
from scripts.preview.tables import table
from scripts.preview.tables import text as text_content
from scripts.preview.time_series import Lines, state_timeline, time_series
from scripts.preview.transformations import transform

EMPTY = "No data"
_TILES = {"stat": single_values.stat, "bargauge": single_values.bar_gauge}


@dataclass(frozen=True)
class Key:
    """A line of a legend: a colour, a name, and what was calculated of the values."""

    colour: str
    name: str
    numbers: Sequence[str] = ()


@dataclass(frozen=True)
class Drawn:
    """A panel as it stands on the page: a figure or HTML, or what is wrong instead."""

    panel: Panel
    figure: Figure | None = None
    content: Markup = field(default_factory=Markup)
    legend: Sequence[Key] = ()
    problem: str = ""

    @property
    def empty(self) -> bool:
        """Return whether its queries found nothing."""
        return self.problem == EMPTY

    @property
    def legend_side(self) -> str:
        """Return where its legend stands: `bottom` or `right`."""
        return str(dig(self.panel.json, "options.legend.placement", "bottom"))

    @property
    def calculations(self) -> list[str]:
        """Return the headings of its legend's numbers."""
        return [LABELS.get(name, name) for name in dig(self.panel.json, "options.legend.calcs", [])]


def draw(panel: Panel, prometheus: Prometheus, events: Sequence[Event]) -> Drawn:
    """Return the panel with live data; a query or setting that fails is said on it."""
    kind, options = panel.json["type"], panel.json.get("options") or {}
    if kind == "text":
        return Drawn(panel, content=text_content(options, panel.scope.fill))
    try:
        frames = transform(ask(panel, prometheus), panel.json.get("transformations") or [])
        tables = [columns for columns in columns_of(frames, panel) if columns and columns[0].values]
        if not tables:
            return Drawn(panel, problem=EMPTY)
        return _drawn(panel, frames, tables, [event for event in events if event.on(panel.json)])
    except QueryError as error:
        return Drawn(panel, problem=f"The query failed: {error}")
    except DashboardError as error:
        return Drawn(panel, problem=str(error))


def _drawn(panel: Panel, frames: Sequence[Frame], tables: Sequence[Sequence[Column]], events: Sequence[Event]) -> Drawn:
    kind, options = panel.json["type"], panel.json.get("options") or {}
    if kind in _TILES:
        return Drawn(panel, content=_TILES[kind](single_values.items_of(tables, options), options))
    if kind == "table":
        return Drawn(panel, content=table(tables, options))
    if kind == "gauge":
        return Drawn(panel, single_values.gauge(single_values.items_of(tables, options)))
    if kind == "barchart":
        shown = [one for columns in tables for one in columns if one.field.kind == "number"]
        return Drawn(panel, bar_chart(tables, options), legend=_legend(panel, shown))
    full = [frame for frame in frames if frame.length]
    lines = [(frame, one) for frame, columns in zip(full, tables, strict=True) for one in columns if _is_line(one)]
    return _over_time(panel, lines, events)


def _is_line(column: Column) -> bool:
    return column.field.kind == "number" and not column.custom("hideFrom.viz")


def _over_time(panel: Panel, lines: Lines, events: Sequence[Event]) -> Drawn:
    kind, time = panel.json["type"], panel.scope.time
    if kind == "timeseries":
        return Drawn(panel, time_series(lines, time, events), legend=_legend(panel, [one for _, one in lines]))
    if kind in {"state-timeline", "status-history"}:
        return Drawn(panel, state_timeline(lines, time, events))
    if kind == "heatmap":
        return Drawn(panel, heatmap(lines, time, panel.json.get("options") or {}))
    raise DashboardError(f"The preview draws no panels of type {kind}.")


def _legend(panel: Panel, columns: Sequence[Column]) -> list[Key]:
    options = dig(panel.json, "options.legend", {})
    if options.get("showLegend") is False or options.get("displayMode") == "hidden":
        return []
    calculations = options.get("calcs") or []
    shown = [one for one in columns if not one.custom("hideFrom.legend")]
    return [
        Key(one.series_colour(), one.name, [one.text(reduce_to(name, one.values)) for name in calculations])
        for one in shown
    ]
