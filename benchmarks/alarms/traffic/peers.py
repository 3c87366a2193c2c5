"""Peers on real traffic, each tuned by its one setting to the same share of time in alarm while nothing changes.

    python -m benchmarks.alarms.traffic.peers NAME FOLDER SHARE OUT

A peer that tests now and then gives a score each time, and is in alarm until its next test if the score is above the
setting. ADWIN tests at each row, and adapts when it has detected a change: its alarm is counted as a day.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.alarms.traffic.streams import FAULTS, HOUR, Stream, read

Floats = npt.NDArray[np.float64]
Ends = npt.NDArray[np.intp]
# Returns the rows after which a log is tested, those behind row `since` alone, and the scores there.
Scores = Callable[[Stream, Stream, int], tuple[Ends, Floats]]
THOUSAND = 1_000
DAY = 24 * HOUR
# The module that a peer is in, and its name there: a module imports what only its peers' environment has.
PEERS = {
    "evidently": ("windows", "EVIDENTLY", "Evidently, dataset drift, a day each"),
    "nannyml_day": ("nannyml_chunks", "BY_DAY", "NannyML, a day's rows each"),
    "nannyml_1000": ("nannyml_chunks", "BY_ROWS", "NannyML, 1,000 rows each"),
    "hour_of_week": ("windows", "HOUR_OF_WEEK", "KS against the same hour of the week"),
    "adwin": ("adwin", "PEER", "River ADWIN"),
}


def ends_of(groups: npt.NDArray[np.int64]) -> Ends:
    """Return the row behind each run of equal values."""
    return np.append(np.flatnonzero(np.diff(groups)) + 1, len(groups))


class Scored:
    """A peer whose scores do not depend on its setting."""

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    def tune(self, pairs: list[tuple[Stream, Stream]], share: float) -> tuple[float, float]:
        """Return the lowest setting at which the share of time in alarm is not above what is asked, and the share."""
        found, spans = [], []
        for reference, log in pairs:
            ends, scores = self._scores(reference, log, 0)
            times = np.append(log.times[ends - 1], log.times[-1])
            found.append(scores)
            spans.append(np.diff(times).astype(float))
        scores, lengths = np.concatenate(found), np.concatenate(spans)
        total = sum(float(log.times[-1] - log.times[0]) for _, log in pairs)
        order = np.argsort(-scores, kind="stable")
        inside = np.cumsum(lengths[order]) / total
        above = int(np.searchsorted(inside, share, "right"))
        setting = float(scores[order[min(above, len(order) - 1)]])
        return setting, float(lengths[scores > setting].sum() / total)

    def detect(self, reference: Stream, head: Stream, tail: Stream, setting: float) -> tuple[str, int]:
        """Return `at` and the row of the tail after which the alarm is raised, `silent`, or `before` it began."""
        log = head.then(tail)
        ends, scores = self._scores(reference, log, max(0, len(head) - 2 * THOUSAND))
        before = scores[ends <= len(head)]
        if len(before) and before[-1] > setting:
            return "before", 0
        reached = ends[(scores > setting) & (ends > len(head))]
        return ("at", int(reached[0]) - len(head)) if len(reached) else ("silent", len(tail))


def delay(found: tuple[str, int], tail: Stream) -> dict[str, Any]:
    """Return rows and hours from a fault to its alarm, None for both if it was silent."""
    kind, row = found
    hours = float(tail.times[row - 1] - tail.times[0]) / HOUR if kind == "at" else None
    return {"kind": kind, "rows": row if kind == "at" else None, "hours": hours}


def measure(name: str, folder: Path, share: float) -> dict[str, Any]:
    """Tune a peer on the logs without a fault, and let it find each fault in each log."""
    module, attribute, label = PEERS[name]
    peer = getattr(importlib.import_module(f"benchmarks.alarms.traffic.{module}"), attribute)
    number = len(list(folder.glob("*.reference.npz")))
    pairs = [(read(folder, f"{n}.reference"), read(folder, f"{n}.log")) for n in range(number)]
    setting, measured = peer.tune(pairs, share)
    found: dict[str, list[dict[str, Any]]] = {fault: [] for fault in FAULTS}
    for n, (reference, log) in enumerate(pairs):
        at = int(np.load(folder / f"{n}.begin.npy"))
        for fault, one in found.items():
            tail = read(folder, f"{n}.{fault}")
            one.append(delay(peer.detect(reference, log.take(slice(0, at)), tail, setting), tail))
    return {"peer": name, "label": label, "setting": setting, "share": measured, "delays": found}


def main() -> None:
    name, folder, share, out = sys.argv[1:]
    Path(out).write_text(json.dumps(measure(name, Path(folder), float(share))), encoding="utf-8")


if __name__ == "__main__":
    main()
