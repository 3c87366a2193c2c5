"""River's PageHinkley, one per input; computed by the code below, which `check` holds to the library's class."""

from collections.abc import Callable
from functools import partial

import numba
import numpy as np
from river.drift import PageHinkley

from benchmarks.alarms.rows import Floats, Rows, inputs
from benchmarks.alarms.watches import Peer, RerunWatch, Variant

LEAST, FADING = 30, 1 - 0.0001  # the library's defaults


@numba.njit
def alarm(values: Floats, begin: int, end: int, delta: float, threshold: float) -> int:
    """Return after how many values the first alarm after `begin` is raised, or `end` + 1; earlier ones start anew."""
    mean = increase = decrease = 0.0
    lowest, highest, seen = np.inf, -1.0, 0
    for at in range(end):
        value = values[at]
        seen += 1
        mean += (value - mean) / seen
        increase = FADING * increase + value - mean - delta
        decrease = FADING * decrease + value - mean + delta
        lowest, highest = min(lowest, increase), max(highest, decrease)
        if seen >= LEAST and (increase - lowest > threshold or highest - decrease > threshold):
            if at >= begin:
                return at + 1
            mean = increase = decrease = 0.0
            lowest, highest, seen = np.inf, -1.0, 0
    return end + 1


def watching(delta: float, reference: Rows, rows: Rows) -> RerunWatch:
    """Let the detectors see the reference first, then the rows."""
    known, stream = inputs(reference, rows)
    before = len(known)

    def rerun(since: int, setting: float) -> int | None:
        columns = np.concatenate([known, stream[since:]]).T.copy()
        first = columns.shape[1] + 1
        for column in columns:
            first = min(first, alarm(column, before, min(first, columns.shape[1]), delta, setting))
        return None if first > columns.shape[1] else since + first - before

    return RerunWatch(len(rows), rerun)


def check(reference: Rows, rows: Rows) -> None:
    """Fail if the library's detector raises its alarms elsewhere."""
    for column in inputs(reference, rows[:3_000])[1].T:
        theirs, delta, threshold, at = PageHinkley(delta=0.1, threshold=15.0), 0.1, 15.0, 0
        for n, value in enumerate(column, 1):
            theirs.update(value)
            if theirs.drift_detected:
                assert n == at + alarm(column[at:], 0, len(column) - at, delta, threshold)
                at = n
        assert alarm(column[at:], 0, len(column) - at, delta, threshold) > len(column) - at


def _variant(delta: float, start: float) -> Variant:
    watch: Callable[[Rows, Rows], RerunWatch] = partial(watching, delta)
    return Variant(f"threshold {{0:.1f}}, delta {delta}, after the reference", watch, start, start / 4)


PEER = Peer(
    "page_hinkley",
    "River PageHinkley",
    tuple(_variant(*pair) for pair in ((0.005, 250.0), (0.05, 80.0), (0.1, 45.0), (0.2, 25.0), (0.4, 14.0))),
    check=check,
)
