"""One HTML page per dashboard, which needs nothing but itself."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from scripts.dashboards.queries.json_paths import Json
from scripts.dashboards.queries.sections import Section
from scripts.dashboards.queries.variables import Scope
from scripts.preview.annotations import Mark
from scripts.preview.panels import Drawn

_FILES = Path(__file__).parent


@dataclass(frozen=True)
class DrawnSection:
    """A section with its panels drawn."""

    section: Section
    panels: Sequence[Drawn]


@dataclass(frozen=True)
class Drawing:
    """A dashboard with its variables, sections and marks."""

    dashboard: Json
    source: str  # the file that it was read from
    scope: Scope
    sections: Sequence[DrawnSection]
    marks: Sequence[Mark]

    @property
    def panels(self) -> list[Drawn]:
        """Return the panels of all sections."""
        return [panel for section in self.sections for panel in section.panels]


def page(drawing: Drawing, others: Sequence[Json]) -> str:
    """Return the page of a dashboard, with links to the pages of the others."""
    scripts = [get_plotlyjs(), _read("preview.js")]
    return (
        _environment()
        .get_template("page.html")
        .render(
            drawing=drawing,
            others=others,
            marks={mark.text: mark.colour for mark in drawing.marks},
            drawn_at=_moment(drawing.scope.time.end),
            since=_moment(drawing.scope.time.start),
            policy=_policy(scripts),
            style=Markup(_read("preview.css")),  # noqa: S704 - our own file
            scripts=[Markup(script) for script in scripts],  # noqa: S704 - plotly's and our own file
            figures=_data([one.figure for one in drawing.panels if one.figure is not None]),
        )
    )


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(_FILES)
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _policy(scripts: Sequence[str]) -> str:
    """Return what the browser holds the page to: it runs these scripts and loads nothing from anywhere."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def _data(figures: Sequence[Any]) -> Markup:
    """Return JSON that can stand in a script element: no text in it can end the element."""
    content = json.dumps(figures, separators=(",", ":"), allow_nan=False)
    return Markup(content.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704
