"""When an alarm says that a fault began, and which columns it blames."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.alarms.traffic import streams, watch
from monitoring.alarms.drift.detector import DriftDetector
from monitoring.alarms.drift.scores import Observations


def changed(names: list[str], plain: Observations, tail: Observations) -> set[str]:
    """Return which columns a fault has changed; predictions only where no feature has."""
    if len(tail) < len(plain):
        return {"carrier_code"}
    same = [np.array_equal(*pair, equal_nan=True) for pair in zip(plain.features.T, tail.features.T, strict=True)]
    return {name for name, is_same in zip(names, same, strict=True) if not is_same} or {"prediction"}


def describe(
    kept: watch.Watch, names: list[str], detector: DriftDetector, head: Observations, tail: Observations
) -> dict[str, Any]:
    """Return how many rows after the tail's first the onset is, and the blamed columns, the surest first."""
    alarm = detector.status().alarm
    assert alarm is not None
    assert head.times is not None
    assert tail.times is not None
    early = alarm.onset < tail.times[0]
    columns = kept.attribute(tuple(names), detector, alarm).columns
    surest = sorted(columns, key=lambda column: -column.contribution)
    return {
        "onset": -int((head.times >= alarm.onset).sum()) if early else int(np.searchsorted(tail.times, alarm.onset)),
        "blamed": [column.column for column in surest if column.direction],
    }


def table(delays: dict[str, list[dict[str, Any]]]) -> str:
    """Return, as Markdown, how each fault's alarms were attributed."""
    return "\n".join(_lines(delays))


def _lines(delays: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield "| fault | alarms | onset off by rows: median | a changed column is blamed first | others blamed: mean |"
    yield "|---|---|---|---|---|"
    for fault, several in delays.items():
        found = [one for one in several if "onset" in one]
        if not found:
            continue
        off = np.median([abs(one["onset"]) for one in found])
        first = sum(one["blamed"][:1] != [] and one["blamed"][0] in one["changed"] for one in found)
        others = np.mean([len(set(one["blamed"]) - set(one["changed"])) for one in found])
        yield f"| {streams.FAULTS[fault]} | {len(found)} | {off:,.0f} | {first} | {others:.1f} |"
