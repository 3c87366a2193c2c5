"""What plotly's figures share: the layout, and ticks that are written in a panel's unit."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from scripts.dashboards.queries.time_range import TimeRange
from scripts.preview.colours import TEXT
from scripts.preview.columns import Column

Figure = dict[str, Any]

GRID = "rgba(204,204,220,0.09)"
_TICKS = 5
_ZEROS = re.compile(r"(\d)\.0+(?!\d)|(?<=\d)(\.\d*?[1-9])0+(?!\d)")
_MINUTES = 60
_BINARY = [float(2**power) for power in range(50)]
_CLOCK = [60.0 * one for one in (1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440, 2880, 7200, 14400)]
# Steps between ticks in units that are not counted in tens; smaller and larger ones are.
_STEPS = {"bytes": _BINARY, "s": [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, *_CLOCK]}


def escaped(text: str) -> str:
    """Return a text that plotly, which reads some HTML, shows as it is."""
    return html.escape(text, quote=False)


def layout(**parts: Any) -> Figure:
    """Return a figure's layout in the page's look."""
    return {
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": TEXT},
        "showlegend": False,
        "dragmode": False,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "#22252B", "bordercolor": "#41444B", "font": {"color": TEXT, "size": 12}},
        **parts,
    }


def time_axis(time: TimeRange) -> Figure:
    """Return the axis of a time range, in UTC."""
    return {
        "type": "date",
        "range": [milliseconds(time.start), milliseconds(time.end)],
        "gridcolor": GRID,
        "zeroline": False,
        "fixedrange": True,
        "tickformat": "%H:%M" if time.seconds >= 5 * _MINUTES else "%H:%M:%S",
        "hoverformat": "%Y-%m-%d %H:%M:%S",
        "automargin": True,
    }


def milliseconds(seconds: float) -> float:
    """Return what plotly takes for a moment."""
    return round(seconds * 1000)


def value_axis(columns: Sequence[Column], values: Iterable[float | None]) -> Figure:
    """Return the axis of some columns' values, its ticks written in the first one's unit."""
    first = columns[0]
    present = [value for value in values if value is not None and math.isfinite(value)]
    low, high = first.bound("min"), first.bound("max")
    fixed = low is not None
    low = min(present, default=0.0) if low is None else low
    high = max(present, default=0.0) if high is None else high
    if high <= low:
        low, high = (0.0, 1.0) if low == 0 else (min(low, 0.0), max(low, 0.0))
    ticks = ticks_between(low, high, first.config.get("unit") or "")
    margin = 0.03 * (high - low)
    return {
        "range": [low - (0 if low == 0 or fixed else margin), high + margin],
        "tickvals": ticks,
        "ticktext": [tick_text(first.text(tick)) for tick in ticks],
        "gridcolor": GRID,
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
    }


def tick_text(text: str) -> str:
    """Return a tick's text without the zeros that end its decimals."""
    return escaped(_ZEROS.sub(r"\1\2", text))


def ticks_between(low: float, high: float, unit: str) -> list[float]:
    """Return about five round numbers between two bounds, counted as the unit is."""
    raw = (high - low) / _TICKS
    step = next((one for one in _STEPS.get(unit, ()) if one >= raw >= _STEPS[unit][0] / 2), None) or _round_step(raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _round_step(raw: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(one * magnitude for one in (1, 2, 5, 10) if one * magnitude >= raw * (1 - 1e-9))
