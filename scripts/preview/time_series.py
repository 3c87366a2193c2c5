"""Time series as figures."""

from collections.abc import Sequence

from scripts.dashboards.queries.time_range import TimeRange
from scripts.preview.annotations import Mark, marked
from scripts.preview.axes import Figure, escaped, layout, milliseconds, time_axis, value_axis
from scripts.preview.colours import colour, faded
from scripts.preview.columns import Column, finite
from scripts.preview.frames import Frame

Lines = Sequence[tuple[Frame, Column]]  # each column with the frame that holds its times

_FEW_POINTS = 2


def time_series(drawn: Lines, time: TimeRange, marks: Sequence[Mark]) -> Figure:
    """Return the figure of a panel of lines over time."""
    columns = [column for _, column in drawn]
    found = marked(marks)
    shapes = _thresholds(columns[0]) + found["shapes"]
    axis = value_axis(columns, _heights(columns))
    return {
        "data": [_line(frame, column) for frame, column in drawn],
        "layout": layout(xaxis=time_axis(time), yaxis=axis, shapes=shapes, annotations=found["annotations"]),
    }


def _heights(columns: Sequence[Column]) -> list[float | None]:
    """Return the values that the axis must reach, of stacked columns their sums."""
    if columns[0].custom("stacking.mode") != "normal":
        return [value for column in columns for value in column.values]
    longest = max(len(column.values) for column in columns)
    stacked = [
        sum(column.values[-i] or 0.0 for column in columns if i <= len(column.values)) for i in range(1, longest + 1)
    ]
    return [0.0, *stacked]


def _line(frame: Frame, column: Column) -> Figure:
    code = column.series_colour
    values = [finite(value) for value in column.values]
    lonely = sum(value is not None for value in values) <= _FEW_POINTS  # a line of one point cannot be seen
    trace: Figure = {
        "type": "scatter",
        "mode": "lines+markers" if lonely else "lines",
        "x": [milliseconds(moment) for moment in frame.times],
        "y": values,
        "name": escaped(column.name),
        "customdata": [escaped(column.text(value)) for value in column.values],
        "hovertemplate": "%{customdata}",
        "marker": {"color": code, "size": 5},
        "line": {
            "color": code,
            "width": column.custom("lineWidth", 1) + 0.5,
            "dash": column.custom("lineStyle.fill", "solid"),
        },
        "connectgaps": False,
    }
    fill = faded(code, column.custom("fillOpacity", 0) / 100)
    stacked = column.custom("stacking.mode") == "normal"
    return trace | ({"stackgroup": "A", "fillcolor": fill} if stacked else {})


def _thresholds(column: Column) -> list[Figure]:
    """Return dashed lines at the thresholds, if the panel shows them."""
    if column.custom("thresholdsStyle.mode") != "dashed":
        return []
    return [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": bound, "y1": bound,
         "line": {"color": colour(name), "width": 1.2, "dash": "dash"}}
        for bound, name in column.steps
        if bound is not None
    ]  # fmt: skip
