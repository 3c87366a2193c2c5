"""The detector over a log in true order: the one place that knows how it is called."""

from dataclasses import dataclass

import numpy as np

from benchmarks.alarms.traffic.flights import ZONE
from monitoring.alarms.drift.attribution import Attribution, attribute
from monitoring.alarms.drift.calibration import Calibration, calibrate
from monitoring.alarms.drift.detector import Alarm, DriftDetector
from monitoring.alarms.drift.drift_watch import thinned
from monitoring.alarms.drift.rhythm import find_rhythm
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.vocabulary import Vocabulary

STEP = 50  # rows that the detector is given at once
DAY = 86_400e6  # microseconds
PROMISED_DAYS = 30
NO_WORDS = Vocabulary()


@dataclass(frozen=True)
class Watch:
    """A reference that the detector is calibrated for."""

    reference: Observations
    categories: int
    scores: ReferenceScores
    calibration: Calibration
    words: Vocabulary

    @classmethod
    def of(cls, reference: Observations, categories: int, words: Vocabulary = NO_WORDS, workers: int = 1) -> "Watch":
        """Calibrate for a reference as the monitor does, with `rhythm: auto` and New York's clocks.

        `words` are the reference's levels.
        """
        rows = thinned(reference)
        rhythm = find_rhythm(rows, categories, "auto", ZONE)
        calibration = calibrate(rows, categories, seed=1, rhythm=rhythm, workers=workers)
        calibration = calibration.at_density(len(reference) / len(rows))
        return cls(rows, categories, ReferenceScores(rows, categories, rhythm.cycle), calibration, words)

    def start(self) -> DriftDetector:
        """Return a detector that has seen nothing."""
        return DriftDetector(self.scores, self.calibration)

    def attribute(self, names: tuple[str, ...], detector: DriftDetector, alarm: Alarm) -> Attribution:
        """Return which columns changed, as the detector that has just raised the alarm sees it."""
        deviations, around = self.calibration.deviations, detector.around(alarm.onset)
        names = (*names, "prediction")
        return attribute(names, self.scores, deviations, self.reference, around, vocabulary=self.words)


@dataclass(frozen=True)
class Raised:
    """An alarm: its kind, what changed, and the rows of the log at which it began, was raised and was over."""

    kind: str
    changed: str
    effect: float
    onset: int
    row: int
    over: int


@dataclass(frozen=True)
class Watched:
    """A log that was watched: days, share of time in alarm, alarms, and how many with a new start after each."""

    days: float
    share: float
    alarms: list[Raised]
    anew: int


def promised_rows(log: Observations) -> float:
    """Return how many rows of a log come in the promised days."""
    return PROMISED_DAYS * len(log) / days(log)


def days(log: Observations) -> float:
    """Return how many days a log is long."""
    assert log.times is not None
    return float(log.times[-1] - log.times[0]) / DAY


def step(detector: DriftDetector, log: Observations, begin: int, promise: float) -> Alarm | None:
    """Give the detector the next rows; return the alarm it is in."""
    assert log.times is not None
    rows = slice(begin, begin + STEP)
    detector.update(log.take(rows), log.times[rows], promise)
    return detector.status().alarm


def replay(watch: Watch, log: Observations, names: tuple[str, ...], promise: float) -> Watched:
    """Watch a log from its begin to its end."""
    assert log.times is not None
    detector, alarms, current, inside = watch.start(), list[Raised](), None, 0
    for begin in range(0, len(log), STEP):
        alarm = step(detector, log, begin, promise)
        end = min(begin + STEP, len(log))
        if alarm != current and alarm is not None:
            found = watch.attribute(names, detector, alarm)
            alarms.append(Raised(alarm.kind, _changed(found), found.effect, *_rows(log, alarm), end))
        if alarm is not None:
            inside += int(log.times[min(end, len(log) - 1)] - log.times[begin])
            alarms[-1] = Raised(**vars(alarms[-1]) | {"over": end})
        current = alarm
    share = inside / float(log.times[-1] - log.times[0])
    return Watched(days(log), share, alarms, restarts(watch, log, promise) if alarms else 0)


def restarts(watch: Watch, log: Observations, promise: float) -> int:
    """Count the alarms of a detector that starts anew, having seen nothing, behind each of them."""
    detector, found = watch.start(), 0
    for begin in range(0, len(log), STEP):
        if step(detector, log, begin, promise) is not None:
            detector, found = watch.start(), found + 1
    return found


def _rows(log: Observations, alarm: Alarm) -> tuple[int, int]:
    assert log.times is not None
    return int(np.searchsorted(log.times, alarm.onset)), int(np.searchsorted(log.times, alarm.noticed))


def _changed(found: Attribution) -> str:
    columns = sorted((c for c in found.columns if c.direction), key=lambda c: -c.contribution)
    return ", ".join(f"{c.column} {c.direction}" for c in columns[:3]) or "no column by itself"
