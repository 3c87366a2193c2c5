"""A recorded log, looked at again as the monitor looks: window after window, and the metrics that it exported."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pyarrow as pa

from monitoring.alarms.accuracy_estimate import estimate_accuracy
from monitoring.alarms.drift.drift_watch import DriftVerdict
from monitoring.backtest.detector_replay import PastDetector
from monitoring.backtest.log_rows import PastLog
from monitoring.backtest.openmetrics import Spool
from monitoring.backtest.windows import PastLabels, look_back
from monitoring.contract.config import Config
from monitoring.contract.reference import Reference
from monitoring.contract.times import Micros
from monitoring.monitor import report_on
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import Profile
from monitoring.snapshot.exporter import SnapshotCollector
from monitoring.snapshot.snapshot import Origin, Snapshot
from monitoring.suite.frames import Frames, frame_of

MOST_LOOKS = 2_000  # if nobody says how often
MOST_LOOKS_AT_FEATURES = 26_000  # a look's cost grows with the features
STEPS = tuple(
    timedelta(seconds=s) for s in (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
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


class WindowAssessor:
    """Holds windows against one reference."""

    def __init__(self, config: Config, reference: Reference) -> None:
        self._config, self._reference = config, reference
        self._grid = grid_of(config.model, reference.table)
        self._profile: Profile = profile_rows(self._grid, reference.table)
        self._origin = Origin(reference.origin, reference.model_version, reference.digest)

    def look(self, rows: pa.Table) -> Snapshot:
        """Return what a look at a window's rows finds, but for the tests that look at each row once."""
        model, frames = self._config.model, None
        if self._config.engine == "dataframe":
            frames = Frames(*(frame_of(table, model) for table in (self._reference.table, rows)))
        current = profile_rows(self._grid, rows)
        snapshot = report_on(self._config, self._profile, current, frames).snapshot
        estimate = estimate_accuracy(self._reference.performance, current, self._config.minimum_rows)
        return replace(snapshot, reference_origin=self._origin, estimate=estimate)


def replay(past: Past, moments: range, spool: Spool, progress: Progress = lambda _: None) -> int:
    """Look at each moment, spool what a scrape would have seen, and return the rows seen."""
    looker, collector = WindowAssessor(past.config, past.reference), SnapshotCollector()
    snapshot: Snapshot | None = None
    verdict: DriftVerdict | None = None
    rows = 0
    for number, window in enumerate(look_back(past.log, past.labels, past.config.window, map(Micros, moments))):
        progress(number / len(moments))
        rows += len(window.fresh)
        past.detector.feed(window.fresh)
        if snapshot is None or window.changed:  # nights without traffic cost nothing
            snapshot = looker.look(window.rows)
        if verdict is None or len(window.fresh):
            verdict = past.detector.verdict()
        collector.publish(replace(snapshot, drift=verdict))
        spool.add(window.moment / SECOND, collector.collect())
    progress(1.0)
    return rows
