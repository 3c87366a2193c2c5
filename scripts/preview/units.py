"""Numbers as Grafana writes them, by unit."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

_SHORT = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " K"), (1, ""))
_BYTES = ((1024**4, " TiB"), (1024**3, " GiB"), (1024**2, " MiB"), (1024, " KiB"), (1, " B"))
_DECIMAL_BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1, " B"))
_SECONDS = (
    (31557600, " years"), (604800, " weeks"), (86400, " days"), (3600, " hours"), (60, " mins"), (1, " s"),
    (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns"),
)  # fmt: skip
_PARTS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_SUFFIXES = {
    "reqps": " req/s", "rps": " rd/s", "wps": " wr/s", "ops": " ops/s", "cps": " c/s", "iops": " io/s",
    "rowsps": " rows/s", "pps": " p/s", "eps": " evt/s", "mps": " msg/s",
}  # fmt: skip
_TINY = 1e-4
_NORM = 2.25  # Grafana's own bound between one more decimal and none
_SECONDS_TO_BASE = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9, "m": 60.0, "h": 3600.0, "d": 86400.0}


def decimals_of(value: float) -> int:
    """Return how many decimals Grafana gives a value that has no configured number of them."""
    if value == 0 or value == int(value):
        return 0
    decimals = 1 - math.floor(math.log10(abs(value)))
    if abs(value) * 10**decimals > _NORM:
        decimals += 1
    return max(0, decimals)


def _fixed(value: float, decimals: int | None) -> str:
    if decimals is None and 0 < abs(value) < _TINY:
        return f"{value:.2g}"
    return f"{value:.{decimals_of(value) if decimals is None else decimals}f}"


def _scaled(value: float, scale: Sequence[tuple[float, str]], decimals: int | None) -> str:
    if value == 0:
        return _fixed(0, decimals) + next(suffix for size, suffix in scale if size == 1)
    size, suffix = next((one for one in scale if abs(value) >= one[0]), scale[-1])
    return _fixed(value / size, decimals) + suffix


def _short(value: float, decimals: int | None) -> str:
    return _scaled(value, _SHORT, decimals) if abs(value) >= 1 else _fixed(value, decimals)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _duration(seconds: float) -> str:
    """Write the two largest parts of a duration: `2 hours, 5 minutes`."""
    left, parts = round(abs(seconds)), []
    for size, name in _PARTS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    return ", ".join(parts[:2]) or "0 seconds"


def _from_now(seconds: float, now: float) -> str:
    distance = _duration(now - seconds).split(",")[0]
    return f"in {distance}" if seconds > now else f"{distance} ago"


def write(value: float | None, unit: str = "", decimals: int | None = None, *, now: float = 0.0) -> str:
    """Return a number as Grafana writes it in a unit; `now` (epoch seconds) is for units that are relative to it."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}" if value is None else {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    if unit == "dateTimeFromNow":
        return _from_now(value / 1e3, now)
    if unit.startswith("dateTime"):
        return f"{_moment(value / 1e3):%Y-%m-%d %H:%M:%S}"
    if unit in _WRITERS:
        return _WRITERS[unit](value, decimals)
    return _affixed(value, unit, decimals)


def _affixed(value: float, unit: str, decimals: int | None) -> str:
    kind, _, affix = unit.partition(":")
    if unit in _SUFFIXES:
        return _short(value, decimals) + _SUFFIXES[unit]
    if kind == "prefix":
        return f"{affix}{_fixed(value, decimals)}"
    return f"{_fixed(value, decimals)} {affix.strip() if kind == 'suffix' else unit}"


def _time(unit: str) -> Callable[[float, int | None], str]:
    return lambda value, decimals: _scaled(value * _SECONDS_TO_BASE[unit], _SECONDS, decimals)


_WRITERS: dict[str, Callable[[float, int | None], str]] = {
    "": _fixed,
    "none": _fixed,
    "string": _fixed,
    "sci": lambda value, decimals: f"{value:.{2 if decimals is None else decimals}e}",
    "locale": lambda value, decimals: f"{value:,.{decimals_of(value) if decimals is None else decimals}f}",
    "short": _short,
    "percent": lambda value, decimals: _fixed(value, decimals) + "%",
    "percentunit": lambda value, decimals: _fixed(round(value * 100, 10), decimals) + "%",
    "bytes": lambda value, decimals: _scaled(value, _BYTES, decimals),
    "decbytes": lambda value, decimals: _scaled(value, _DECIMAL_BYTES, decimals),
    "Bps": lambda value, decimals: _scaled(value, _DECIMAL_BYTES, decimals) + "/s",
    "binBps": lambda value, decimals: _scaled(value, _BYTES, decimals) + "/s",
    "dtdurations": lambda value, _: _duration(value),
    "dtdurationms": lambda value, _: _duration(value / 1e3),
    "bool": lambda value, _: "True" if value else "False",
    "bool_yes_no": lambda value, _: "Yes" if value else "No",
    "bool_on_off": lambda value, _: "On" if value else "Off",
    **{unit: _time(unit) for unit in _SECONDS_TO_BASE},
}
