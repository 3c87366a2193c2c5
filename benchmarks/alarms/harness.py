"""How an alarm is measured, the same for all: one false alarm in 10,000 rows, then rows from a shift to its alarm.

The rows come from a folder that `peers.py` fills. A setting is the one number that a peer's sensitivity is tuned by:
the larger, the rarer are alarms. Rows are counted to the one at which the method can first say so.
"""

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alarms.rows import read
from benchmarks.alarms.watches import HEAD, Peer, Variant, Watch

TARGET = 10_000  # rows between false alarms
NEAR = 0.04  # the tuning ends when the logarithm of what is measured is this near to the target's
TRIES = 9
SHIFTED_ROWS = 20_000  # rows under a shift


def alarms(watch: Watch, setting: float) -> int:
    """Count the alarms on one stretch, with a new start after each."""
    at, found = 0, 0
    while (alarm := watch.first(at, setting)) is not None:
        at, found = alarm, found + 1
    return found


def tune(variant: Variant, watches: list[Watch]) -> tuple[float, int]:
    """Search the setting whose measured time between false alarms is nearest to the target; return it and the alarms.

    The logarithm of that time is nearly linear in the setting: follow the line through the two nearest measurements.
    """
    rows = sum(watch.rows for watch in watches)
    setting, found = variant.start, dict[float, int]()

    def gap(tried: float) -> float:
        return float(np.log(TARGET * max(found[tried], 0.5) / rows))

    for _ in range(TRIES):
        found[setting] = sum(alarms(watch, setting) for watch in watches)
        if abs(gap(setting)) < NEAR:
            break
        below, above = [s for s in found if gap(s) > 0], [s for s in found if gap(s) <= 0]
        if below and above:
            low, high = max(below), min(above)
            share = gap(low) / (gap(low) - gap(high))
            setting = low + (high - low) * float(np.clip(share, 0.1, 0.9))
        else:
            nearest = max(below) if below else min(above)
            setting = nearest + variant.step * float(np.clip(gap(nearest) / np.log(10), -1, 1)) * 1.1
    best = min(found, key=lambda tried: abs(gap(tried)))
    return best, found[best]


@cache
def shifts(folder: Path) -> tuple[str, ...]:
    """Return the shifts that the folder holds runs of, in their order."""
    return tuple((folder / "shifts.txt").read_text(encoding="utf-8").split())


def _stretches(folder: Path, name: str) -> Iterator[int]:
    return iter(range(len(np.load(folder / f"{name}.predictions.npy", mmap_mode="r"))))


def steady(folder: Path, streams: int, variant: Variant) -> list[Watch]:
    """Return the variant's watches over steady rows, each with a reference of its own."""
    numbers = list(_stretches(folder, "steady"))[:streams]
    return [variant.watch(read(folder / "reference", n), read(folder / "steady", n)) for n in numbers]


def delays(folder: Path, runs: int, variant: Variant, setting: float) -> dict[str, list[int]]:
    """Count the rows from each shift to its alarm; a run with an alarm before the shift makes way for a spare one."""
    found: dict[str, list[int]] = {name: [] for name in shifts(folder)}
    for number in _stretches(folder, "head"):
        reference, head = read(folder / "run", number), read(folder / "head", number)
        for name, one in found.items():
            if len(one) == runs:
                return found
            alarm = variant.watch(reference, head.then(read(folder / name, number))).first(0, setting)
            if alarm is not None and alarm <= HEAD:
                break
            one.append(SHIFTED_ROWS if alarm is None else alarm - HEAD)
    return found


def middle(found: dict[str, list[int]]) -> float:
    """Return the geometric mean over the shifts of the median delay."""
    return float(np.exp(np.mean([np.log(np.median(one)) for one in found.values()])))


def measure(folder: Path, peer: Peer) -> dict[str, Any]:
    """Tune every variant of a peer, and return the results of the one that detects the shifts soonest on the whole."""
    begun, results = time.perf_counter(), []
    if peer.check:
        peer.check(read(folder / "run", 0), read(folder / "head", 0).then(read(folder / "mix_40", 0)))
    for variant in peer.variants:
        watches = steady(folder, peer.streams, variant)
        setting, false_alarms = tune(variant, watches)
        rows = sum(watch.rows for watch in watches)
        del watches
        found = delays(folder, peer.runs, variant, setting)
        results.append(
            {
                "setting": variant.text.format(variant.shown(setting)),
                "false_alarm_rows": round(rows / max(false_alarms, 1)),
                "false_alarms": false_alarms,
                "rows_seen": rows,
                "runs": len(next(iter(found.values()))),
                "middle": round(middle(found)),
                "delays": found,
                "silent": {name: sum(delay >= SHIFTED_ROWS for delay in one) for name, one in found.items()},
            }
        )
    results.sort(key=lambda result: result["middle"])
    others = [{key: other[key] for key in ("setting", "false_alarm_rows", "middle")} for other in results[1:]]
    result = {"peer": peer.name, "label": peer.label, **results[0], "other_variants": others}
    return result | {"reference_rows": len(read(folder / "reference", 0)), "seconds": time.perf_counter() - begun}
