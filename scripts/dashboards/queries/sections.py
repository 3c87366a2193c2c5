"""A dashboard's JSON as sections of panels, with what repeats repeated."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.dashboards.queries.json_paths import DashboardError, Json, dig
from scripts.dashboards.queries.variables import Scope

COLUMNS = 24
_PANEL_HEIGHT = 9


@dataclass(frozen=True)
class Place:
    """Where a panel stands: in columns of 24, and in rows of its section."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Panel:
    """A panel's JSON at its place, with the variables that hold for it."""

    json: Json
    place: Place
    scope: Scope

    @property
    def title(self) -> str:
        """Return its title with variables filled in."""
        return self.scope.fill(str(self.json.get("title", "")), style="text")

    @property
    def description(self) -> str:
        """Return its description with variables filled in."""
        return self.scope.fill(str(self.json.get("description", "")), style="text")


@dataclass(frozen=True)
class Section:
    """Panels under a row's title; without one if they stand before the first row."""

    title: str
    collapsed: bool
    panels: Sequence[Panel] = field(default_factory=list)


def load_dashboard(path: Path) -> Json:
    """Return a dashboard's JSON; raise DashboardError that names what is wrong with the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DashboardError(f"{path}: {error}") from error
    if not re.fullmatch(r"[\w-]+", str(dig(content, "uid", ""))):  # it names the page
        raise DashboardError(f"{path}: not a dashboard's JSON: it has no uid of letters, digits, - and _")
    loaded: Json = content
    return loaded


def sections_of(dashboard: Json, scope: Scope) -> list[Section]:
    """Return the dashboard's sections in their order."""
    return [
        section for row, panels in _rows(dashboard.get("panels") or []) for section in _repeated_row(row, panels, scope)
    ]


def _rows(panels: Sequence[Json]) -> Iterator[tuple[Json, list[Json]]]:
    """Give each row with its panels: those it holds if it is collapsed, else those that follow it."""
    row: Json = {}
    held: list[Json] = []
    for panel in sorted(panels, key=lambda one: (dig(one, "gridPos.y", 0), dig(one, "gridPos.x", 0))):
        if panel.get("type") == "row":
            if row or held:
                yield row, held
            row, held = panel, list(panel.get("panels") or [])
        else:
            held.append(panel)
    yield row, held


def _repeated_row(row: Json, panels: list[Json], scope: Scope) -> Iterator[Section]:
    for one in _scopes(row, scope):
        title = one.fill(str(row.get("title", "")), style="text")
        yield Section(title, bool(row.get("collapsed")), _placed(panels, one))


def _scopes(node: Json, scope: Scope) -> list[Scope]:
    """Return a scope for each value of the variable that a row or panel repeats over."""
    variable = scope.variables.get(node.get("repeat") or "")
    if variable is None:
        return [scope]
    return [scope.having(replace(variable, values=[value], all_value="")) for value in variable.values]


def _placed(panels: list[Json], scope: Scope) -> list[Panel]:
    """Place panels below the section's top, and push down what stands below a panel that takes more room."""
    top = min((dig(panel, "gridPos.y", 0) for panel in panels), default=0)
    placed: list[Panel] = []
    pushed = 0
    for panel in panels:
        place = Place(
            min(max(int(dig(panel, "gridPos.x", 0)), 0), COLUMNS - 1),
            int(dig(panel, "gridPos.y", 0)) - top + pushed,
            min(max(int(dig(panel, "gridPos.w", COLUMNS // 2)), 1), COLUMNS),
            max(int(dig(panel, "gridPos.h", _PANEL_HEIGHT)), 1),
        )
        copies = list(_copies(panel, place, scope))
        bottom = max((copy.place.y + copy.place.height for copy in copies), default=place.y)
        pushed += max(0, bottom - place.y - place.height)
        placed += copies
    return placed


def _copies(panel: Json, place: Place, scope: Scope) -> Iterator[Panel]:
    scopes = _scopes(panel, scope)
    if not panel.get("repeat"):
        yield Panel(panel, place, scope)
    elif panel.get("repeatDirection") == "v":
        for index, one in enumerate(scopes):
            yield Panel(panel, replace(place, y=place.y + index * place.height), one)
    else:
        a_line = max(1, min(len(scopes), int(panel.get("maxPerRow") or 4)))
        width = math.floor(COLUMNS / a_line)
        for index, one in enumerate(scopes):
            line, column = divmod(index, a_line)
            yield Panel(panel, Place(column * width, place.y + line * place.height, width, place.height), one)
