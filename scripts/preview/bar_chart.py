"""Bar charts as figures."""

from collections.abc import Sequence

from scripts.dashboards.queries.json_paths import DashboardError, Json
from scripts.preview.axes import GRID, Figure, escaped, layout, value_axis
from scripts.preview.colours import faded
from scripts.preview.columns import Column, finite


def bar_chart(columns: Sequence[Column], options: Json) -> Figure:
    """Return the figure of a table as bars: a group per row, a colour per column of numbers."""
    along = next((one for one in columns if one.name == options["xField"]), None)
    if along is None:
        raise DashboardError(f"The data have no column {options['xField']}.")
    bars = [one for one in columns if one.field.kind == "number"]
    names = [along.text(value) for value in along.values]
    categories = {
        "type": "category",
        "fixedrange": True,
        "automargin": True,
        "gridcolor": GRID,
        "autotickangles": [0, -30, -45, -90],
    }
    heights = [0.0, *(value for one in bars for value in one.values)]
    return {
        "data": [_bars(names, column) for column in bars],
        "layout": layout(
            xaxis=categories,
            yaxis=value_axis(bars, heights),
            barmode="group",
            bargap=1 - float(options["groupWidth"]),
        ),
    }


def _bars(names: Sequence[str], column: Column) -> Figure:
    fill = faded(column.series_colour, column.custom("fillOpacity", 80) / 100)
    return {
        "type": "bar",
        "x": [escaped(name) for name in names],
        "y": [finite(value) for value in column.values],
        "name": escaped(column.name),
        "customdata": [escaped(column.text(value)) for value in column.values],
        "hovertemplate": "%{customdata}",
        "marker": {"color": fill, "line": {"width": 0}},
    }
