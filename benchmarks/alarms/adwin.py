"""River's ADWIN, one per input, each of which has seen the reference first."""

from river.drift import ADWIN

from benchmarks.alarms.rows import Rows, inputs
from benchmarks.alarms.watches import Peer, RerunWatch, Variant, power


def _alarm(known: list[float], values: list[float], delta: float) -> int:
    """Return after how many values the alarm is raised, or one more than there are."""
    detector = ADWIN(delta=delta)
    update = detector.update
    for value in known:
        update(value)
    for number, value in enumerate(values, 1):
        update(value)
        if detector.drift_detected:
            return number
    return len(values) + 1


def watch(reference: Rows, rows: Rows) -> RerunWatch:
    """Watch until any input's detector raises an alarm."""
    known, stream = (part.T.tolist() for part in inputs(reference, rows))

    def rerun(since: int, setting: float) -> int | None:
        first = len(rows) - since + 1
        for before, column in zip(known, stream, strict=True):
            first = min(first, _alarm(before, column[since : since + first - 1], power(setting)))
        return None if first > len(rows) - since else since + first

    return RerunWatch(len(rows), rerun)


PEER = Peer(
    "adwin",
    "River ADWIN",
    (Variant("delta {0:.2g}, after the reference", watch, 3.0, 1.0, power),),
    streams=60,
)
