"""Time series and state timelines as figures."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from scripts.dashboards.queries.json_paths import finite
from scripts.dashboards.queries.time_range import TimeRange
from scripts.preview.annotations import Event, marks
from scripts.preview.axes import (
    GRID,
    Figure,
    escaped,
    layout,
    milliseconds,
    time_axis,
    value_axis,
)
from scripts.preview.colours import colour, faded, ink
from scripts.preview.columns import Column, mapping_of
from scripts.preview.frames import Frame

Lines = Sequence[tuple[Frame, Column]]  # each column with the frame that holds its times

_SHAPES = {"smooth": "spline", "stepBefore": "vh", "stepAfter": "hv"}
_DASHES = {"dash": "dash", "dot": "dot"}
_FEW_POINTS = 2


def time_series(drawn: Lines, time: TimeRange, events: Sequence[Event]) -> Figure:
    """Return the figure of a panel of lines, bars or points over time."""
    columns = [column for _, column in drawn]
    right = [column for column in columns if column.custom("axisPlacement") == "right"]
    left = [column for column in columns if column not in right] or right
    marked = marks(events)
    thresholds = _thresholds(left)
    axes = {"yaxis": value_axis(left, _heights(left))}
    if right and left is not right:
        axes["yaxis2"] = value_axis(right, _heights(right)) | {"overlaying": "y", "side": "right", "showgrid": False}
    traces = [_line(frame, column, second=left is not right and column in right) for frame, column in drawn]
    shapes = thresholds + marked["shapes"]
    return {
        "data": traces,
        "layout": layout(
            xaxis=time_axis(time), **axes, shapes=shapes, annotations=marked["annotations"], barmode="stack"
        ),
    }


def _heights(columns: Sequence[Column]) -> list[float | None]:
    """Return the values that an axis must reach, of stacked columns their sums."""
    if columns[0].custom("stacking.mode", "none") == "normal":
        longest = max(len(column.values) for column in columns)
        stacked = [
            sum(column.values[-i] or 0.0 for column in columns if i <= len(column.values))
            for i in range(1, longest + 1)
        ]
        return [0.0, *stacked]
    zero = [0.0] if any(column.custom("drawStyle") == "bars" for column in columns) else []
    return [*zero, *(value for column in columns for value in column.values)]


def _line(frame: Frame, column: Column, *, second: bool) -> Figure:
    code = column.series_colour()
    style, stacking = column.custom("drawStyle", "line"), column.custom("stacking.mode", "none")
    values = [finite(value) for value in column.values]
    points = column.custom("showPoints", "auto")
    lonely = sum(value is not None for value in values) <= _FEW_POINTS  # a line of one point cannot be seen
    trace: Figure = {
        "x": [milliseconds(moment) for moment in frame.times],
        "y": values,
        "name": escaped(column.name),
        "customdata": [escaped(column.text(value)) for value in column.values],
        "hovertemplate": "%{customdata}",
        "yaxis": "y2" if second else "y",
    }
    if style == "bars":
        return trace | {"type": "bar", "marker": {"color": faded(code, 0.8), "line": {"width": 0}}}
    trace |= {
        "type": "scatter",
        "mode": "markers" if style == "points" else "lines+markers" if points == "always" or lonely else "lines",
        "marker": {"color": code, "size": column.custom("pointSize", 5)},
        "line": {
            "color": code,
            "width": column.custom("lineWidth", 1) + 0.5,
            "shape": _SHAPES.get(column.custom("lineInterpolation", "linear"), "linear"),
            "dash": _DASHES.get(column.custom("lineStyle.fill", "solid"), "solid"),
        },
        "connectgaps": column.custom("spanNulls") is True,
    }
    fill = column.custom("fillOpacity", 0) / 100
    if stacking in {"normal", "percent"}:
        trace |= {"stackgroup": column.custom("stacking.group", "A") or "A", "fillcolor": faded(code, fill)}
        trace |= {"groupnorm": "fraction"} if stacking == "percent" else {}
    elif fill:
        trace |= {"fill": "tozeroy", "fillcolor": faded(code, fill)}
    return trace


def _thresholds(columns: Sequence[Column]) -> list[Figure]:
    """Return lines and areas at the first column's thresholds, as its style says."""
    style = columns[0].custom("thresholdsStyle.mode", "off")
    steps = columns[0].steps
    shapes: list[Figure] = []
    for (bound, name), above in zip(steps, [*steps[1:], (None, "")], strict=True):
        code = colour(name)
        if "area" in style:
            low = {"y0": bound} if bound is not None else {"y0": min(0.0, above[0] or 0.0)}
            high = {"y1": above[0]} if above[0] is not None else {"y1": (bound or 1.0) * 10}
            area = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "line": {"width": 0}, "layer": "below"}
            shapes.append({**area, **low, **high, "fillcolor": faded(code, 0.1)})
        if bound is not None and ("line" in style or "dashed" in style):
            line = {"color": code, "width": 1.2}
            line |= {"dash": "dash"} if "dashed" in style else {}
            shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": bound, "y1": bound, "line": line})
    return shapes


def state_timeline(drawn: Lines, time: TimeRange, events: Sequence[Event]) -> Figure:
    """Return the figure of a panel of states: a bar per stretch of the same value."""
    traces: list[Figure] = []
    names = [escaped(column.name) for _, column in drawn]
    for (frame, column), name in zip(drawn, names, strict=True):
        times = list(frame.times)
        ends = [*times[1:], min(time.end, times[-1] + (times[-1] - times[-2] if times[1:] else 60))] if times else []
        for shown, group in groupby(zip(times, ends, column.values, strict=True), key=lambda one: column.text(one[2])):
            stretch = list(group)
            if stretch[0][2] is None:
                continue
            traces.append(_state(column, name, shown, stretch))
    rows = {"type": "category", "categoryorder": "array", "categoryarray": names[::-1], "fixedrange": True}
    return {
        "data": traces,
        "layout": layout(
            xaxis=time_axis(time), yaxis={**rows, "automargin": True, "gridcolor": GRID},
            barmode="overlay", bargap=0.15, hovermode="closest", **marks(events),
        ),
    }  # fmt: skip


def _state(column: Column, name: str, shown: str, stretch: Sequence[tuple[float, float, Any]]) -> Figure:
    value = stretch[0][2]
    mapped = mapping_of(column.config.get("mappings") or [], value) or {}
    code = column.colour(value) if column.steps or mapped.get("color") else column.series_colour()
    return {
        "type": "bar", "orientation": "h", "y": [name], "base": [milliseconds(stretch[0][0])],
        "x": [milliseconds(stretch[-1][1]) - milliseconds(stretch[0][0])], "text": [escaped(shown)],
        "textposition": "inside", "insidetextanchor": "start", "insidetextfont": {"color": ink(code)},
        "marker": {"color": code, "line": {"width": 0}}, "hovertemplate": f"{name}: {escaped(shown)}<extra></extra>",
    }  # fmt: skip
