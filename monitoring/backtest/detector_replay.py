"""The drift detector over a recorded log: each of its alarms, with when it came, went, and whom it blamed."""

import copy
import os
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.alarms.drift.attribution import Attribution, attribute_for
from monitoring.alarms.drift.calibration import POPULATIONS, Calibration, Progress, calibrate
from monitoring.alarms.drift.calibration_process import SEED
from monitoring.alarms.drift.detector import QUIET, DriftDetector
from monitoring.alarms.drift.drift_watch import DriftVerdict, thinned
from monitoring.alarms.drift.rhythm import find_rhythm
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.support import Support
from monitoring.alarms.drift.vocabulary import Vocabulary, rows_of
from monitoring.alarms.drift.windows import BLOCK
from monitoring.backtest.log_rows import Times, times_of
from monitoring.contract.config import Config, Model
from monitoring.contract.drift_state import Alarm
from monitoring.contract.reference import Reference
from monitoring.contract.schemas import compared_fields
from monitoring.contract.times import Micros
from monitoring.contract.values import conform

POPULATIONS_AT_FEATURES = 5_000
FEWEST_POPULATIONS = 25


@dataclass
class PastAlarm:
    """An alarm, what it was attributed to when it was noticed, and when it ended (None if not yet)."""

    alarm: Alarm
    attribution: Attribution
    over: int | None = None


class RestartedDetector:
    """A detector that starts anew right after each alarm: its alarms are as many as the traffic can raise.

    One alarm that does not end counts once with the detector that the monitor runs, and again and again here.
    `alarms` are the times at which one was raised.
    """

    def __init__(self, scores: ReferenceScores, calibration: Calibration, promise: float) -> None:
        self.alarms: list[Micros] = []
        self._scores, self._calibration, self._promise = scores, calibration, promise
        self._detector = DriftDetector(scores, calibration)

    def feed(self, rows: Observations, times: Times) -> None:
        """Take in rows, so few at once that no alarm can come and go among them."""
        begin = 0
        while begin < len(rows):
            piece = slice(begin, begin + QUIET * BLOCK)
            self._detector.update(rows.take(piece), times[piece], self._promise)
            begin = min(piece.stop, len(rows))
            if alarm := self._detector.status().alarm:
                self.alarms.append(alarm.noticed)
                self._detector = DriftDetector(self._scores, self._calibration)
                begin = max(piece.start + 1, int(np.searchsorted(times, alarm.noticed, "right")))


class PastDetector:
    """The detector, fed with a log's rows in the order of time, and one that starts anew after each alarm."""

    def __init__(self, reference: Reference, model: Model, calibration: Calibration, support: Support) -> None:
        self.alarms: list[PastAlarm] = []
        self.unknown: Counter[str] = Counter()  # predictions that the config does not name
        self.support, self._promise, self._model = support, support.promised, model
        self._words = Vocabulary.of(reference.table, model)
        self._rows = thinned(rows_of(reference.table, model))
        self._scores = ReferenceScores(self._rows, len(model.categories), calibration.rhythm.cycle)
        self._detector = DriftDetector(self._scores, calibration)
        self.restarted = RestartedDetector(self._scores, calibration, self._promise)
        self._columns = pa.schema(compared_fields(reference.table.schema, model))

    def feed(self, table: pa.Table) -> None:
        """Take in rows that came since."""
        if len(table):
            self._note_unknown(table[self._model.prediction])
            rows, times = rows_of(conform(table, self._columns), self._model, self._words), times_of(table)
            self._feed(rows, times)
            self.restarted.feed(rows, times)

    def _note_unknown(self, predictions: pa.ChunkedArray) -> None:
        """Count predictions that the config does not name; a number is never one."""
        if not self._model.categories:
            return
        named = pc.value_counts(predictions.combine_chunks()).to_pylist()
        unknown = {
            one["values"]: one["counts"] for one in named if one["values"] not in (None, *self._model.categories)
        }
        self.unknown.update(unknown)

    def verdict(self) -> DriftVerdict:
        """Return what the detector says now."""
        status = self._detector.status()
        attribution = self._find(status.alarm) if status.alarm else None
        return DriftVerdict(1.0, self._promise, status, attribution, support=self.support)

    def _feed(self, rows: Observations, times: Times) -> None:
        """Feed rows; where an alarm came or went among them, go back and feed fewer, to the block that it was."""
        before, alarm = copy.copy(self._detector), self._detector.status().alarm  # it replaces its arrays, not fills
        self._detector.update(rows, times, self._promise)
        now = self._detector.status().alarm
        if now == alarm and self._detector.since == before.since:
            return
        if len(rows) > BLOCK:
            self._detector = before
            half = len(rows) // 2
            for some in (slice(0, half), slice(half, None)):
                self._feed(rows.take(some), times[some])
            return
        if alarm is not None:
            self.alarms[-1].over = self._detector.since
        if now is not None:
            self.alarms.append(PastAlarm(now, self._find(now)))

    def _find(self, alarm: Alarm) -> Attribution:
        deviations, around = self._detector.calibration.deviations, self._detector.around(alarm.onset)
        return attribute_for(self._model, self._scores, deviations, self._rows, around, vocabulary=self._words)


def populations_for(model: Model) -> int:
    """Return how many populations to calibrate on: as many as the monitor, or fewer of many features.

    The monitor takes its time in the background; here somebody waits.
    """
    return max(FEWEST_POPULATIONS, min(POPULATIONS, POPULATIONS_AT_FEATURES // len(model.features)))


def calibrate_for(reference: Reference, config: Config, progress: Progress, populations: int) -> Calibration:
    """Calibrate for a reference on so many populations, on all cores."""
    rows, categories = thinned(rows_of(reference.table, config.model)), len(config.model.categories)
    rhythm = find_rhythm(rows, categories, config.rhythm, config.timezone)
    if rhythm.cycle is None and reference.origin == "rebased":
        unread = "the monitor may know one, from rows before it was re-based, which a replay does not read"
        rhythm = replace(rhythm, said=f"{rhythm.said} ({unread})")
    workers = os.cpu_count() or 1
    calibration = calibrate(rows, categories, SEED, progress, populations, rhythm=rhythm, workers=workers)
    return calibration.at_density(len(reference.table) / len(rows))
