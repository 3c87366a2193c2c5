"""A panel's JSON and data to what stands on the page."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from scripts.dashboards.queries.json_paths import DashboardError
from scripts.dashboards.queries.prometheus import Prometheus, QueryError
from scripts.dashboards.queries.sections import Panel
from scripts.preview.annotations import Mark
from scripts.preview.axes import Figure
from scripts.preview.bar_chart import bar_chart
from scripts.preview.columns import Column, columns_of
from scripts.preview.frames import Frame, frames_of
from scripts.preview.heatmap import heatmap
from scripts.preview.single_values import bar_gauge, items_of, stat
from scripts.preview.supported import require_supported
from scripts.preview.tables import table
from scripts.preview.time_series import time_series
from scripts.preview.transformations import transform

EMPTY = "No data"


@dataclass(frozen=True)
class Key:
    """A line of a legend: a colour and a name."""

    colour: str
    name: str


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


def draw(panel: Panel, prometheus: Prometheus, marks: Sequence[Mark]) -> Drawn:
    """Return the panel with live data; a query or setting that fails is said on it."""
    try:
        require_supported(panel.json)
        frames = transform(frames_of(panel, prometheus), panel.json.get("transformations") or [])
        tables = columns_of(frames, panel)
        if not any(columns and columns[0].values for columns in tables):
            return Drawn(panel, problem=EMPTY)
        return _drawn(panel, frames, tables, marks)
    except QueryError as error:
        return Drawn(panel, problem=f"The query failed: {error}")
    except KeyError as error:
        return Drawn(panel, problem=f"The preview needs the setting {error}.")
    except DashboardError as error:
        return Drawn(panel, problem=str(error))


def _drawn(panel: Panel, frames: Sequence[Frame], tables: Sequence[Sequence[Column]], marks: Sequence[Mark]) -> Drawn:
    kind, options, time = panel.json["type"], panel.json.get("options") or {}, panel.scope.time
    columns = [one for table in tables for one in table]
    lines = [(frame, one) for frame, table in zip(frames, tables, strict=True) for one in table if _is_number(one)]
    match kind:
        case "stat":
            return Drawn(panel, content=stat(items_of(columns), options))
        case "bargauge":
            return Drawn(panel, content=bar_gauge(items_of(columns)))
        case "table":
            return Drawn(panel, content=table(tables[0]))
        case "barchart":
            return Drawn(panel, bar_chart(tables[0], options), legend=_legend(columns))
        case "heatmap":
            return Drawn(panel, heatmap(lines, time, options))
        case _:
            return Drawn(panel, time_series(lines, time, marks), legend=_legend(columns))


def _is_number(column: Column) -> bool:
    return column.field.kind == "number"


def _legend(columns: Sequence[Column]) -> list[Key]:
    return [Key(one.series_colour, one.name) for one in columns if _is_number(one)]
