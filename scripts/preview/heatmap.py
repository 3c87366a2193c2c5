"""Heatmaps as figures."""

from collections.abc import Sequence
from typing import Any

from plotly.colors import get_colorscale, sequential

from scripts.dashboards.queries.json_paths import Json, dig, finite
from scripts.dashboards.queries.time_range import TimeRange
from scripts.dashboards.queries.variables import natural
from scripts.preview.axes import GRID, Figure, escaped, layout, milliseconds, tick_text, ticks_between, time_axis
from scripts.preview.colours import colour, faded, luma
from scripts.preview.time_series import Lines
from scripts.preview.units import write

_FEW_CELLS = 60  # of more in a row the gaps between them would be all that one sees


def heatmap(drawn: Lines, time: TimeRange, options: Json) -> Figure:
    """Return the figure of a panel of cells: a row per series, a colour per value."""
    rows = _ordered(drawn)
    times = sorted({moment for frame, _ in rows for moment in frame.times})
    cells = []
    for frame, column in rows:
        known = dict(zip(frame.times, column.values, strict=True))
        cells.append([finite(known.get(moment)) for moment in times])
    hidden = dig(options, "filterValues.le")
    cells = [[None if v is None or (hidden is not None and v <= hidden) else v for v in line] for line in cells]
    unit = dig(options, "cellValues.unit") or rows[0][1].config.get("unit") or ""
    texts = [[escaped(write(v, unit, dig(options, "cellValues.decimals"))) for v in line] for line in cells]
    trace = {
        "type": "heatmap", "x": [milliseconds(moment) for moment in times], "y": [escaped(c.name) for _, c in rows],
        "z": cells, "customdata": texts, "hovertemplate": "%{y}: %{customdata}<extra></extra>",
        "xgap": int(len(times) <= _FEW_CELLS), "ygap": 1, "colorscale": colour_scale(dig(options, "color", {})),
        "zmin": dig(options, "color.min"), "zmax": dig(options, "color.max"),
        "showscale": bool(dig(options, "legend.show", True)), "colorbar": _colour_bar(cells, unit),
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


def _ordered(drawn: Lines) -> Lines:
    """Sort from bottom to top: buckets by their bound, other rows by name with the first at the top."""
    if all("le" in column.field.labels for _, column in drawn):
        return sorted(drawn, key=lambda one: float(one[1].field.labels["le"]))
    return sorted(drawn, key=lambda one: natural(one[1].name), reverse=True)


def colour_scale(options: Json) -> list[list[Any]]:
    """Return a scheme of Grafana's for a dark page: what is little is dark."""
    if options.get("mode") == "opacity":
        code = colour(options.get("fill") or "dark-orange")
        return [[0.0, faded(code, 0.03)], [1.0, code]]
    name = options.get("scheme", "Oranges")
    try:
        scale = get_colorscale(name)
    except Exception:  # noqa: BLE001 - plotly raises its own, untyped error for a name it does not know
        scale = get_colorscale("Oranges")
    codes = [code for _, code in scale]
    light_first = hasattr(sequential, name) and luma(codes[0]) > luma(codes[-1])
    if light_first != bool(options.get("reverse")):
        codes.reverse()
    return [[index / (len(codes) - 1), code] for index, code in enumerate(codes)]
