"""Bar charts as figures."""

from collections.abc import Sequence
from typing import Any

from scripts.dashboards.queries.json_paths import Json, dig, finite
from scripts.preview.axes import GRID, Figure, escaped, layout, value_axis
from scripts.preview.colours import colour, faded
from scripts.preview.columns import Column


def bar_chart(tables: Sequence[Sequence[Column]], options: Json) -> Figure:
    """Return the figure of a panel of bars: a group per row of its table, a colour per column of numbers."""
    names, columns = _axis_and_bars(tables, str(options.get("xField") or ""))
    across = options.get("orientation") == "horizontal"
    stacking = options.get("stacking", "none")
    traces = [_bars(names, column, options, across=across) for column in columns]
    heights = [0.0, *(_totals(columns) if stacking != "none" else [v for one in columns for v in one.values])]
    share = stacking == "percent"
    categories = {
        "type": "category",
        "fixedrange": True,
        "automargin": True,
        "gridcolor": GRID,
        "tickangle": options.get("xTickLabelRotation") or "auto",
        "autotickangles": [0, -30, -45, -90],
        "autorange": "reversed" if across else True,
    }
    values = {"fixedrange": True, "gridcolor": GRID} if share else value_axis(columns, heights)
    return {
        "data": traces,
        "layout": layout(
            xaxis=values if across else categories,
            yaxis=categories if across else values,
            barmode="group" if stacking == "none" else "stack",
            barnorm="fraction" if share else "",
            bargap=1 - float(options.get("groupWidth", 0.7)),
            hovermode="y unified" if across else "x unified",
        ),
    }


def _axis_and_bars(tables: Sequence[Sequence[Column]], x_field: str) -> tuple[list[str], list[Column]]:
    """Return the names along the axis and the columns of bars; series without a table are a bar each."""
    columns = [one for table in tables for one in table]
    bars = [one for one in columns if one.field.kind == "number" and one.name != x_field]
    along = next((one for one in columns if x_field in (one.name, one.field.shown)), None)
    along = along or next((one for one in columns if one.field.kind == "text"), None)
    if along is None:
        along = next(one for one in columns if one.field.kind == "time")
    return [along.text(value) for value in along.values], [one for one in bars if not one.custom("hideFrom.viz")]


def _totals(columns: Sequence[Column]) -> list[float]:
    return [sum(finite(value) or 0.0 for value in row) for row in zip(*(one.values for one in columns), strict=True)]


def _bars(names: Sequence[str], column: Column, options: Json, *, across: bool) -> Figure:
    texts = [escaped(column.text(value)) for value in column.values]
    codes: Any = faded(column.series_colour(), column.custom("fillOpacity", 80) / 100)
    if dig(column.config, "color.mode") == "thresholds":
        codes = [column.colour(value) for value in column.values]
    if by := options.get("colorByField"):
        codes = [column.colour(value) for value in column.values] if by == column.name else codes
    labels, values = [escaped(name) for name in names], [finite(value) for value in column.values]
    return {
        "type": "bar",
        "orientation": "h" if across else "v",
        "x": values if across else labels,
        "y": labels if across else values,
        "name": escaped(column.name),
        "customdata": texts,
        "hovertemplate": "%{customdata}",
        "text": texts if options.get("showValue") == "always" else None,
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": codes, "line": {"width": column.custom("lineWidth", 0), "color": colour("transparent")}},
    }
