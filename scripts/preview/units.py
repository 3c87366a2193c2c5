"""Numbers as Grafana writes them, by unit."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

_SHORT = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " K"), (1, ""))
_BYTES = ((1024**4, " TiB"), (1024**3, " GiB"), (1024**2, " MiB"), (1024, " KiB"), (1, " B"))
_SECONDS = (
    (31557600, " years"), (604800, " weeks"), (86400, " days"), (3600, " hours"), (60, " mins"), (1, " s"),
    (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns"),
)  # fmt: skip
_TINY = 1e-4
_NORM = 2.25  # Grafana's own bound between one more decimal and none


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


def _moment(milliseconds: float, _: int | None) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1e3, UTC):%Y-%m-%d %H:%M:%S}"


def write(value: float | None, unit: str, decimals: int | None = None) -> str:
    """Return a number as Grafana writes it in a unit, one of UNITS."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}" if value is None else {math.inf: "∞", -math.inf: "-∞"}.get(value, "NaN")
    return UNITS[unit](value, decimals)


UNITS: dict[str, Callable[[float, int | None], str]] = {
    "none": _fixed,
    "short": _short,
    "percentunit": lambda value, decimals: _fixed(round(value * 100, 10) + 0.0, decimals) + "%",  # 0.0: never -0
    "bytes": lambda value, decimals: _scaled(value, _BYTES, decimals),
    "s": lambda value, decimals: _scaled(value, _SECONDS, decimals),
    "cps": lambda value, decimals: _short(value, decimals) + " c/s",
    "reqps": lambda value, decimals: _short(value, decimals) + " req/s",
    "bool_yes_no": lambda value, _: "Yes" if value else "No",
    "dateTimeAsIso": _moment,
}
