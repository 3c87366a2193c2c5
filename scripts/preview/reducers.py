"""One value for a column of many, by the names of Grafana's calculations."""

from collections.abc import Callable, Sequence

LABELS = {
    "lastNotNull": "Last *", "last": "Last", "firstNotNull": "First *", "first": "First", "mean": "Mean", "max": "Max",
    "min": "Min", "sum": "Total", "count": "Count", "range": "Range", "diff": "Difference", "delta": "Difference",
}  # fmt: skip
_OF_PRESENT: dict[str, Callable[[Sequence[float]], float]] = {
    "lastNotNull": lambda present: present[-1],
    "firstNotNull": lambda present: present[0],
    "mean": lambda present: sum(present) / len(present),
    "max": max,
    "min": min,
    "sum": sum,
    "range": lambda present: max(present) - min(present),
    "diff": lambda present: present[-1] - present[0],
    "delta": lambda present: present[-1] - present[0],
}


def reduce_to(calculation: str, values: Sequence[float | None]) -> float | None:
    """Return what a calculation makes of the values, None where there are none; an unknown one means the last."""
    if calculation == "count":
        return float(len(values))
    if calculation in {"last", "first"}:
        return values[-1 if calculation == "last" else 0] if values else None
    present = [value for value in values if value is not None]
    return _OF_PRESENT.get(calculation, _OF_PRESENT["lastNotNull"])(present) if present else None
