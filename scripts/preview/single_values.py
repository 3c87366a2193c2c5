"""Panels of single values: stats and bar gauges as HTML, gauges as figures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from scripts.dashboards.queries.json_paths import Json, dig, finite
from scripts.preview.axes import Figure, escaped, layout
from scripts.preview.colours import NAMED, PANEL, blend, ink
from scripts.preview.columns import Column
from scripts.preview.reducers import reduce_to

_SPARK = (100, 30)  # the box that a sparkline is drawn in; the page stretches it
_LETTERS = 4  # a value of fewer is not written larger


@dataclass(frozen=True)
class Item:
    """One value of a panel of values, with its column and the line that led to it."""

    column: Column
    name: str
    value: float | str | None

    @property
    def text(self) -> str:
        """Return the value as its column writes it."""
        return self.column.text(self.value)

    @property
    def colour(self) -> str:
        """Return the value's colour."""
        return self.column.colour(self.value)


def items_of(tables: Sequence[Sequence[Column]], options: Json) -> list[Item]:
    """Return a panel's values: a calculation per column, or every row where the panel says so."""
    reduce = dig(options, "reduceOptions", {})
    wanted = str(reduce.get("fields") or "")
    items = []
    for table in tables:
        chosen = [one for one in table if _wanted(one, wanted) and not one.custom("hideFrom.viz")]
        if reduce.get("values"):
            names = [one for one in table if one.field.kind == "text" and one not in chosen]
            for row in range(len(table[0].values) if table else 0):
                called = " ".join(one.text(one.values[row]) for one in names)
                items += [Item(one, called or one.name, one.values[row]) for one in chosen]
            continue
        calculation = (reduce.get("calcs") or ["lastNotNull"])[0]
        for one in chosen:
            values = one.values
            value = reduce_to(calculation, values) if one.field.kind == "number" else values[-1] if values else None
            items.append(Item(one, one.name, value))
    return items[: int(reduce.get("limit") or len(items))]


def _wanted(column: Column, pattern: str) -> bool:
    """Return whether a column is shown: one of numbers where nothing is said."""
    if not pattern:
        return column.field.kind == "number"
    return column.name == pattern or bool(re.search(pattern.strip("/"), column.name))


def stat(items: Sequence[Item], options: Json) -> Markup:
    """Return the HTML of a panel of large values."""
    mode = options.get("textMode", "auto")
    named = mode in {"name", "value_and_name"} or (mode == "auto" and len(items) > 1)
    parts = [_stat(one, options, named=named, valued=mode not in {"name", "none"}) for one in items]
    return Markup('<div class="stats {}">{}</div>').format(_direction(options), Markup("").join(parts))


def _direction(options: Json) -> str:
    return {"horizontal": "down", "vertical": "across"}.get(str(options.get("orientation", "auto")), "auto")


def _stat(item: Item, options: Json, *, named: bool, valued: bool) -> Markup:
    filled = str(options.get("colorMode", "value")).startswith("background")
    code = item.colour if options.get("colorMode") != "none" else NAMED["text"]
    style = f"background:{code};color:{ink(code)}" if filled else f"color:{code}"
    line = options.get("graphMode", "area") == "area" and item.column.field.kind == "number"
    return Markup('<div class="stat" style="{}">{}<b style="--n:{}">{}</b>{}</div>').format(
        style,
        Markup('<span class="name">{}</span>').format(item.name) if named else "",
        max(len(item.text), _LETTERS),
        item.text if valued else "",
        sparkline(item.column, ink(code) if filled else code) if line else "",
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


def bar_gauge(items: Sequence[Item], options: Json) -> Markup:
    """Return the HTML of a panel of bars, each with its name and value."""
    numbers = [number for one in items if (number := finite(one.value)) is not None]
    low, high = min([0.0, *numbers]), max(numbers, default=1.0)  # one scale for all, as in Grafana
    rows = []
    for one in items:
        bounded = replace(one.column, config={"min": low, "max": high, **one.column.config})
        share = bounded.share(finite(one.value))
        code = bounded.colour(one.value)
        row = '<div class="bar"><span class="name">{}</span><i><u style="width:{}%;background:{}"></u></i>{}</div>'
        value = Markup('<b style="color:{}">{}</b>').format(code, one.text)
        rows.append(Markup(row).format(one.name, f"{100 * share:.1f}", _paint(code, options), value))  # noqa: S704 - the pattern is ours
    return Markup('<div class="bars">{}</div>').format(Markup("").join(rows))


def _paint(code: str, options: Json) -> str:
    if options.get("displayMode", "gradient") != "gradient" or not code.startswith("#"):
        return code
    return f"linear-gradient(90deg,{blend([PANEL, code], 0.45)},{code})"


def gauge(items: Sequence[Item]) -> Figure:
    """Return the figure of a panel of dials."""
    return {"data": [_dial(one, index, len(items)) for index, one in enumerate(items)], "layout": layout()}


def _dial(item: Item, index: int, count: int) -> Figure:
    low, high = item.column.bound("min") or 0.0, item.column.bound("max")
    high = (1.0 if item.column.config.get("unit") == "percentunit" else 100.0) if high is None else high
    bounds = [(low if bound is None else bound, name) for bound, name in item.column.steps]
    ends = [*(bound for bound, _ in bounds[1:]), high]
    bands = [
        {"range": [start, end], "color": item.column.colour(start), "thickness": 0.12}
        for (start, _), end in zip(bounds, ends, strict=True)
    ]
    name = escaped(item.name) if count > 1 else ""
    return {
        "type": "indicator",
        "mode": "gauge",
        "value": finite(item.value),
        "domain": {"x": [(index + 0.04) / count, (index + 0.96) / count]},
        "title": {"text": f"<b>{escaped(item.text)}</b><br>{name}", "font": {"color": item.colour, "size": 18}},
        "gauge": {
            "axis": {"range": [low, high], "visible": False},
            "bar": {"color": item.colour, "thickness": 0.7},
            "bgcolor": "rgba(204,204,220,.08)",
            "borderwidth": 0,
            "steps": bands,
        },
    }
