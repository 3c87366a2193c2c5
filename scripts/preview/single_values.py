"""Panels of single values as HTML: stats and bar gauges."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from scripts.dashboards.queries.json_paths import Json
from scripts.preview.colours import PANEL, blend
from scripts.preview.columns import Column, finite

_SPARK = (100, 30)  # the box that a sparkline is drawn in; the page stretches it
_LETTERS = 4  # a value of fewer is not written larger


@dataclass(frozen=True)
class Item:
    """One value of a panel of values, with its column, which is the line that led to it."""

    column: Column
    value: float | None

    @property
    def text(self) -> str:
        """Return the value as its column writes it."""
        return self.column.text(self.value)

    @property
    def colour(self) -> str:
        """Return the value's colour."""
        return self.column.threshold_colour(self.value)


def items_of(columns: Sequence[Column]) -> list[Item]:
    """Return the last value that is there of each column of numbers."""
    numbers = [one for one in columns if one.field.kind == "number"]
    return [Item(one, next((v for v in reversed(one.values) if v is not None), None)) for one in numbers]


def stat(items: Sequence[Item], options: Json) -> Markup:
    """Return the HTML of a panel of large values."""
    names_alone = options["textMode"] == "name"
    named = names_alone or len(items) > 1
    parts = [_stat(one, options, named=named, valued=not names_alone) for one in items]
    return Markup('<div class="stats">{}</div>').format(Markup("").join(parts))


def _stat(item: Item, options: Json, *, named: bool, valued: bool) -> Markup:
    return Markup('<div class="stat" style="color:{}">{}<b style="--n:{}">{}</b>{}</div>').format(
        item.colour,
        Markup('<span class="name">{}</span>').format(item.column.name) if named else "",
        max(len(item.text), _LETTERS),
        item.text if valued else "",
        sparkline(item.column, item.colour) if options["graphMode"] == "area" else "",
    )


def sparkline(column: Column, code: str) -> Markup:
    """Return the column's values as a line over the width of the tile; nothing for a single value."""
    points = [(index, number) for index, value in enumerate(column.values) if (number := finite(value)) is not None]
    if len(points) <= 1:
        return Markup()
    width, height = _SPARK
    low, high = min(value for _, value in points), max(value for _, value in points)
    last, span = len(column.values) - 1, (high - low) or 1.0
    places = [f"{x / last * width:.1f},{height - 1 - (y - low) / span * (height - 3):.1f}" for x, y in points]
    first_x, last_x = places[0].split(",")[0], places[-1].split(",")[0]
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<polygon points="{}" fill="{}" fill-opacity=".15"/>'
        '<polyline points="{}" fill="none" stroke="{}" stroke-width="1.5" vector-effect="non-scaling-stroke"/></svg>'
    ).format(
        width, height, f"{first_x},{height} {' '.join(places)} {last_x},{height}", code, " ".join(places), code
    )  # fmt: skip


def bar_gauge(items: Sequence[Item]) -> Markup:
    """Return the HTML of a panel of bars, each with its name and value, on one scale, as in Grafana."""
    numbers = [number for one in items if (number := finite(one.value)) is not None]
    low, high = min([0.0, *numbers]), max(numbers, default=1.0)
    rows = []
    for one in items:
        share = _share(finite(one.value), one.column.bound("min"), one.column.bound("max"), (low, high))
        row = '<div class="bar"><span class="name">{}</span><i><u style="width:{}%;background:{}"></u></i>{}</div>'
        value = Markup('<b style="color:{}">{}</b>').format(one.colour, one.text)
        paint = f"linear-gradient(90deg,{blend(PANEL, one.colour, 0.45)},{one.colour})"
        rows.append(Markup(row).format(one.column.name, f"{100 * share:.1f}", paint, value))  # noqa: S704 - the pattern is ours
    return Markup('<div class="bars">{}</div>').format(Markup("").join(rows))


def _share(value: float | None, low: float | None, high: float | None, scale: tuple[float, float]) -> float:
    """Return where a value lies between the panel's bounds, or else those of all values, from 0 to 1."""
    low, high = scale[0] if low is None else low, scale[1] if high is None else high
    return 0.0 if value is None or high <= low else min(max((value - low) / (high - low), 0.0), 1.0)
