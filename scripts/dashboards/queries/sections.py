"""A dashboard's JSON as sections of panels, with the rows that repeat repeated."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.dashboards.queries.json_paths import DashboardError, Json, KnownSettings, dig, require_known
from scripts.dashboards.queries.variables import Scope

_DASHBOARD: KnownSettings = dict.fromkeys(
    ("uid", "title", "description", "tags", "editable", "graphTooltip", "links.*", "refresh", "schemaVersion",
     "fiscalYearStartMonth", "timezone", "time.from", "time.to")
)  # fmt: skip
_ROW: KnownSettings = {"type": ("row",), "id": None, "title": None, "gridPos.*": None, "repeat": None,
                       "collapsed": (False,)}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a panel stands: in columns of 24, and in rows of its section."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Panel:
    """A panel's JSON at its place, with the variables that hold for it, filled in where it is named."""

    json: Json
    place: Place
    scope: Scope
    title: str
    description: str


@dataclass(frozen=True)
class Section:
    """Panels under a row's title; without one if they stand before the first row."""

    title: str
    panels: Sequence[Panel] = ()


def load_dashboard(path: Path) -> Json:
    """Return a dashboard's JSON; raise DashboardError that names what is wrong with the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DashboardError(f"{path}: {error}") from error
    if not re.fullmatch(r"[\w-]+", str(dig(content, "uid", ""))):  # it names the page
        raise DashboardError(f"{path}: not a dashboard's JSON: it has no uid of letters, digits, - and _")
    loaded: Json = content
    apart = {"panels", "templating", "annotations"}  # they are looked through where they are read
    require_known({key: value for key, value in loaded.items() if key not in apart}, _DASHBOARD, str(path))
    return loaded


def sections_of(dashboard: Json, scope: Scope) -> list[Section]:
    """Return the dashboard's sections in their order; raise DashboardError for a setting of a row that is not known."""
    rows = _rows(dashboard.get("panels") or [])
    return [Section(one.fill_text(row.get("title", "")), _placed(panels, one))
            for row, panels in rows for one in _scopes(row, scope)]  # fmt: skip


def _rows(panels: Sequence[Json]) -> Iterator[tuple[Json, list[Json]]]:
    """Give each row with the panels that follow it."""
    row: Json = {}
    held: list[Json] = []
    for panel in sorted(panels, key=lambda one: (one["gridPos"]["y"], one["gridPos"]["x"])):
        if panel.get("type") == "row":
            require_known(panel, _ROW, f"row {panel.get('title', '')}")
            if row or held:
                yield row, held
            row, held = panel, []
        else:
            held.append(panel)
    yield row, held


def _scopes(row: Json, scope: Scope) -> list[Scope]:
    """Return a scope for each value of the variable that a row repeats over."""
    variable = scope.variables.get(row.get("repeat") or "")
    if variable is None:
        return [scope]
    return [scope.having(replace(variable, values=[value], all_value="")) for value in variable.values]


def _placed(panels: Sequence[Json], scope: Scope) -> list[Panel]:
    """Place panels below the section's top."""
    places = [panel["gridPos"] for panel in panels]
    top = min((place["y"] for place in places), default=0)
    return [
        Panel(
            panel,
            Place(place.get("x", 0), place["y"] - top, place["w"], place["h"]),
            scope,
            scope.fill_text(panel.get("title", "")),
            scope.fill_text(panel.get("description", "")),
        )
        for panel, place in zip(panels, places, strict=True)
    ]
