"""A recorded log, looked at again as the monitor looks: window after window, and the metrics that it exported."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta

from monitoring.alarms.drift.drift_watch import DriftVerdict
from monitoring.backtest.detector_replay import PastDetector
from monitoring.backtest.log_rows import PastLog
from monitoring.backtest.look_processes import looking
from monitoring.backtest.openmetrics import Spool
from monitoring.backtest.windows import PastLabels, look_back
from monitoring.contract.config import Config
from monitoring.contract.reference import Reference
from monitoring.contract.times import Micros
from monitoring.snapshot.exporter import SnapshotCollector
from monitoring.snapshot.snapshot import Snapshot

MOST_LOOKS = 300  # if nobody says how often
MOST_LOOKS_AT_FEATURES = 7_000  # a look's cost grows with the features
LOOKS_AHEAD = 8  # windows that are under way at once
STEPS = tuple(
    timedelta(seconds=s)
    for s in (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 28_800, 43_200, 86_400)
)
SECOND = 1_000_000  # microseconds

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Past:
    """What a replay takes: a log with its late labels, what it is held against, and the detector."""

    log: PastLog
    labels: PastLabels
    config: Config
    reference: Reference
    detector: PastDetector


def choose_step(log: PastLog, features: int) -> timedelta:
    """Return how often to look so that there are at most MOST_LOOKS looks, and fewer at many features."""
    most = min(MOST_LOOKS, MOST_LOOKS_AT_FEATURES // features + 1)
    fitting = (step for step in STEPS if len(moments_of(log, step)) <= most)
    return next(fitting, timedelta(days=1 + (log.last - log.first) // (86_400 * SECOND * most)))


def moments_of(log: PastLog, step: timedelta) -> range:
    """Return the moments to look at, each as `Micros`: whole steps since 1970, from the first row to the last."""
    width = step // timedelta(microseconds=1)
    return range(-(-log.first // width) * width, -(-log.last // width) * width + 1, width)


def replay(past: Past, moments: range, spool: Spool, progress: Progress = lambda _: None) -> int:
    """Look at each moment, spool what a scrape would have seen, and return the rows seen."""
    collector, rows = SnapshotCollector(), 0
    snapshot: Future[Snapshot] | None = None
    verdict: DriftVerdict | None = None
    ahead: deque[tuple[Micros, Future[Snapshot], DriftVerdict]] = deque()

    def publish() -> None:
        moment, found, drift = ahead.popleft()
        collector.publish(replace(found.result(), drift=drift))
        spool.add(moment / SECOND, collector.collect())

    with looking(past.config, past.reference, len(moments)) as look:
        for number, window in enumerate(look_back(past.log, past.labels, past.config.window, map(Micros, moments))):
            progress(number / len(moments))
            rows += len(window.fresh)
            past.detector.feed(window.fresh)
            if snapshot is None or window.changed:  # nights without traffic cost nothing
                snapshot = look(window.rows)
            if verdict is None or len(window.fresh):
                verdict = past.detector.verdict()
            ahead.append((window.moment, snapshot, verdict))
            if len(ahead) > LOOKS_AHEAD:
                publish()
        while ahead:
            publish()
    progress(1.0)
    return rows
