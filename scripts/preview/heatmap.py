"""Heatmaps as figures."""

from collections.abc import Sequence

from plotly.colors import get_colorscale

from scripts.dashboards.queries.json_paths import Json
from scripts.dashboards.queries.time_range import TimeRange
from scripts.dashboards.queries.variables import natural
from scripts.preview.axes import GRID, Figure, escaped, layout, milliseconds, tick_text, ticks_between, time_axis
from scripts.preview.columns import finite
from scripts.preview.time_series import Lines
from scripts.preview.units import write

_FEW_CELLS = 60  # of more in a row the gaps between them would be all that one sees


def heatmap(drawn: Lines, time: TimeRange, options: Json) -> Figure:
    """Return the figure of a panel of cells: a row per series, sorted by name from the top, a colour per value."""
    rows = sorted(drawn, key=lambda one: natural(one[1].name), reverse=True)
    times = sorted({moment for frame, _ in rows for moment in frame.times})
    cells = []
    for frame, column in rows:
        known = dict(zip(frame.times, column.values, strict=True))
        cells.append([finite(known.get(moment)) for moment in times])
    hidden = options["filterValues"]["le"]
    cells = [[None if value is None or value <= hidden else value for value in line] for line in cells]
    unit = options["cellValues"]["unit"]
    trace = {
        "type": "heatmap", "x": [milliseconds(moment) for moment in times], "y": [escaped(c.name) for _, c in rows],
        "z": cells, "customdata": [[escaped(write(value, unit)) for value in line] for line in cells],
        "hovertemplate": "%{y}: %{customdata}<extra></extra>", "xgap": int(len(times) <= _FEW_CELLS), "ygap": 1,
        "colorscale": colour_scale(options["color"]["scheme"]), "showscale": True, "colorbar": _colour_bar(cells, unit),
    }  # fmt: skip
    axis = {"type": "category", "fixedrange": True, "automargin": True, "gridcolor": GRID}
    return {
        "data": [trace],
        "layout": layout(xaxis=time_axis(time), yaxis=axis, hovermode="closest"),
    }


def _colour_bar(cells: Sequence[Sequence[float | None]], unit: str) -> Figure:
    present = [value for line in cells for value in line if value is not None]
    bar: Figure = {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11}}
    if not present or min(present) == max(present):
        return bar
    ticks = ticks_between(min(present), max(present), unit)
    return {**bar, "tickvals": ticks, "ticktext": [tick_text(write(tick, unit)) for tick in ticks]}


def colour_scale(scheme: str) -> list[list[float | str]]:
    """Return a scheme of one hue as Grafana has it on a dark page: what is little is dark."""
    codes = [code for _, code in reversed(get_colorscale(scheme))]
    return [[index / (len(codes) - 1), code] for index, code in enumerate(codes)]
