"""The drift detector over a prediction log: it is calibrated in the background, fed with new rows, and restarts.

After a restart the detector reads from the log again the newest rows, as many as its longest window may hold. All else
is kept under `_drift/` in DATA_DIR: a calibration for each reference, and a state file with the current alarm and the
time of the last row before the detector started anew.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from monitoring.alarms.drift.attribution import Attribution, attribute
from monitoring.alarms.drift.calibration import Calibration
from monitoring.alarms.drift.calibration_process import CalibrationError, CalibrationJob
from monitoring.alarms.drift.detector import DetectorStatus, DriftDetector
from monitoring.alarms.drift.learning import learning_until
from monitoring.alarms.drift.scores import Observations, ReferenceScores, learn_usual
from monitoring.alarms.drift.support import Support
from monitoring.alarms.drift.usual import Cycle
from monitoring.alarms.drift.windows import BLOCK
from monitoring.alarms.log_cursor import LogCursor
from monitoring.contract.config import Config, Model
from monitoring.contract.drawn_rows import draw_rows
from monitoring.contract.drift_state import Alarm, DriftState, drift_key, drift_state_path, read_drift_state
from monitoring.contract.layout import Layout
from monitoring.contract.parts import Part, Unreadable, list_parts
from monitoring.contract.reference import Reference
from monitoring.contract.rhythm_rows import read_rhythm_rows
from monitoring.contract.schemas import TIMESTAMP, compared_fields
from monitoring.contract.storage import replaced
from monitoring.contract.times import BEFORE_ALL, Micros, latest_time, microseconds

logger = structlog.get_logger()

REFERENCE_ROWS = 20_000  # at most: more rows would tell little more, and take longer
CYCLE_ROWS = 200_000  # about so many rows are taken in a cycle, at most
KEPT_CALIBRATIONS = 10
RATE_PERIOD = timedelta(days=7)
ATTRIBUTED_EVERY = timedelta(seconds=30)  # while an alarm lasts, for more rows tell more


@dataclass(frozen=True)
class DriftVerdict:
    """The detector's state after an update; before it is calibrated, `detector` is None.

    `progress` of the calibration is 0 to 1; `promise` is the mean number of rows between false alarms that config.yml
    asks for. There is an `attribution` while an alarm lasts. `logged` is how many rows the log holds since the
    reference. `support` says how far the calibration supports the promise. Until `learning_until` rows of the log are
    taken as the reference's, and nothing is tested.
    """

    progress: float
    promise: float
    detector: DetectorStatus | None = None
    attribution: Attribution | None = None
    unreadable: tuple[Unreadable, ...] = ()
    logged: int = 0
    support: Support | None = None
    learning_until: Micros | None = None

    @property
    def alarm(self) -> Alarm | None:
        """Return the current alarm."""
        return self.detector.alarm if self.detector else None


def rows_of(table: pa.Table, model: Model) -> Observations:
    """Return a table's rows (n) as the detector takes them, with times if the table has them."""
    features = [table[name].cast(pa.float64(), safe=False).to_numpy() for name in model.features]
    codes = {name: code for code, name in enumerate(model.categories)}
    predictions = [codes.get(name, len(codes)) for name in table[model.prediction].to_pylist()]
    times = table["timestamp"].cast(pa.int64()).to_numpy() if "timestamp" in table.column_names else None
    return Observations(np.column_stack(features), np.array(predictions, np.int64), times)


class DriftWatch:
    """Tests a log for drift from one reference."""

    def __init__(self, layout: Layout, config: Config, reference: Reference) -> None:
        self._layout, self._config = layout, config
        model = config.model
        self._names = (*model.features, model.prediction)
        self._known = reference.table
        self._reference = thinned(rows_of(reference.table, model))
        self._thinned = len(reference.table) / len(self._reference)
        self._rhythm_rows = read_rhythm_rows(layout, model, reference.digest)
        self._earlier = rows_of(self._rhythm_rows.table, model) if self._rhythm_rows else None
        self._learning = learning_until(reference, self._reference, self._earlier, config)
        self._suffix = f"-{self._rhythm_rows.digest[:12]}" if self._rhythm_rows else ""
        self._suffix += f"-{self._learning}" if self._learning else ""
        self._scores: ReferenceScores | None = None
        self._through = BEFORE_ALL if reference.through is None else reference.through
        self._folder = layout.root / "_drift"
        features = compared_fields(reference.table.schema, model)
        # not of the types in which rows are compared: a rounding moves no threshold, and an alarm is to outlive it
        self._key = drift_key(reference, model)
        self._columns = pa.schema(
            [
                ("prediction_id", pa.string()),
                ("timestamp", TIMESTAMP),
                (model.prediction, pa.string()),
                *features,
            ]
        )
        self._cycle: Cycle | None = None
        self._job: CalibrationJob | None = None
        self._detector: DriftDetector | None = None
        self._cursor: LogCursor | None = None
        self._saved = ""
        self._attributed: tuple[Alarm, datetime, Attribution] | None = None

    def update(self, now: datetime | None = None) -> DriftVerdict:
        """Take in the rows that have arrived since; raise CalibrationError if the calibration's process fails.

        Rows that are more than an hour ahead of the clock when they arrive are left out. A replay of the past says what
        the clock shows (`now`).
        """
        now = now or datetime.now(UTC)
        latest = latest_time(now)
        listed = [part for part in list_parts(self._layout.current)[0] if part.last <= latest]
        self._learn(listed)
        parts = [part for part in listed if self._through < part.last]
        logged = sum(part.rows for part in parts)
        rate = _rate(parts, now)
        promise = self._config.false_alarm_rows(rate)
        if self._learning is not None:
            return DriftVerdict(0.0, promise, logged=logged, learning_until=self._learning)
        if self._detector is None:
            calibration = self._calibrated()
            if calibration is None:
                return DriftVerdict(self._job.progress if self._job else 0.0, promise, logged=logged)
            self._start(calibration, parts)
        assert self._detector is not None
        assert self._cursor is not None
        table, unreadable = self._cursor.take(CYCLE_ROWS)
        table = table.filter(pc.less_equal(table["timestamp"].cast(pa.int64()), latest))
        times = table["timestamp"].cast(pa.int64()).to_numpy()
        self._detector.update(rows_of(table, self._config.model), times, promise)
        status = self._detector.status()
        self._save_state(status)
        support = self._detector.calibration.support(promise, rate)
        return DriftVerdict(1.0, promise, status, self._attribute(status, now), tuple(unreadable), logged, support)

    def _learn(self, parts: Iterable[Part]) -> None:
        """Once the log has come to the end of learning, take its rows until then to the reference's."""
        if self._learning is None or max((part.last for part in parts), default=BEFORE_ALL) <= self._learning:
            return
        model = self._config.model
        columns = pa.schema([field for field in self._columns if field.name != "prediction_id"])
        known = self._known.select(columns.names).cast(columns)
        until = Micros(self._learning + 1)
        rows, self._thinned = draw_rows(self._layout.current, known, self._through, until, REFERENCE_ROWS)
        self._reference = rows_of(rows, model)
        self._through, self._learning = self._learning, None

    def stop(self) -> None:
        """End a calibration that is running."""
        if self._job is not None:
            self._job.stop()
            self._job = None

    @property
    def calibration_path(self) -> Path:
        """Return the path of the calibration for this reference."""
        config = self._config
        asked = f"{config.rhythm}-{config.timezone.replace('/', '-')}"
        return self._folder / f"{self._key}-{asked}{self._suffix}.json"

    def _calibrated(self) -> Calibration | None:
        """Return the calibration; if there is none, None, and start making one unless that is under way."""
        path = self.calibration_path
        try:
            if self._job is None or self._job.done():
                calibration = Calibration.from_json(path.read_bytes())
                self._job = None
                return calibration
        except CalibrationError:
            self._job = None
            raise
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            _drop_oldest(self._folder)
            categories = len(self._config.model.categories)
            asked = self._config.rhythm, self._config.timezone
            self._job = CalibrationJob(path, self._reference, categories, *asked, earlier=self._earlier)
        return None

    def _start(self, calibration: Calibration, parts: Iterable[Part]) -> None:
        """Start the detector from the kept state and the rows that its longest window may hold."""
        state = read_drift_state(self._layout, self._key) or DriftState()
        rhythm, categories, usual, each = calibration.rhythm, len(self._config.model.categories), None, self._thinned
        if rhythm.earlier and rhythm.cycle and self._rhythm_rows and self._earlier:
            usual, each = learn_usual(self._earlier, categories, rhythm.cycle, earlier=True), self._rhythm_rows.each
        calibration = calibration.at_density(each)
        self._cycle = rhythm.cycle
        self._scores = ReferenceScores(self._reference, categories, self._cycle, usual)
        self._detector = DriftDetector(self._scores, calibration, state.alarm)
        logger.info("drift_alarm_calibrated", rhythm=calibration.rhythm.said)
        longest = calibration.lengths[-1] * BLOCK
        self._detector.since = state.since
        after = max(self._through, state.since, _newest(parts, longest))
        self._cursor = LogCursor(self._layout.current, self._columns, after)

    def _attribute(self, status: DetectorStatus, now: datetime) -> Attribution | None:
        """Return the attribution of the current alarm, which is renewed now and then; None without an alarm."""
        alarm = status.alarm
        if alarm is None or self._detector is None or self._scores is None:
            self._attributed = None
        elif self._attributed is None or self._attributed[0] != alarm or now - self._attributed[1] >= ATTRIBUTED_EVERY:
            around = self._detector.around(alarm.onset)
            if not len(around[1]):
                return None
            deviations = self._detector.calibration.deviations
            found = attribute(self._names, self._scores, deviations, self._reference, around)
            self._attributed = alarm, now, found
        return self._attributed[2] if self._attributed else None

    def _save_state(self, status: DetectorStatus) -> None:
        assert self._detector is not None
        alarm = asdict(status.alarm) if status.alarm else None
        cycle = None if self._cycle is None else self._cycle.length / 1e6
        state = {"reference": self._key, "since": self._detector.since, "alarm": alarm, "cycle_seconds": cycle}
        content = json.dumps(state)
        if content != self._saved:
            with replaced(drift_state_path(self._layout)) as temporary:
                temporary.write_text(content, encoding="utf-8")
            self._saved = content


def thinned(rows: Observations) -> Observations:
    """Return a reference's rows, or a random REFERENCE_ROWS of them, which are the same for the same number of rows."""
    if len(rows) <= REFERENCE_ROWS:
        return rows
    places = np.random.default_rng(len(rows)).choice(len(rows), REFERENCE_ROWS, replace=False)
    return rows.take(np.sort(places))


def _rate(parts: Iterable[Part], now: datetime) -> float:
    """Return the rows per second over the last days of the log; 0 if they span no time."""
    earliest = microseconds(now - RATE_PERIOD)
    recent = [part for part in parts if part.last > earliest]
    begin, end = min((p.first for p in recent), default=0), max((p.last for p in recent), default=0)
    return sum(part.rows for part in recent) / ((end - begin) / 1e6) if end > begin else 0.0


def _newest(parts: Iterable[Part], rows: int) -> Micros:
    """Return a time after which there are at least so many rows; BEFORE_ALL if there are not so many."""
    for part in sorted(parts, key=lambda part: part.first, reverse=True):
        rows -= part.rows
        if rows <= 0:
            return Micros(part.first - 1)
    return BEFORE_ALL


def _drop_oldest(folder: Path) -> None:
    """Remove the oldest calibrations, so that there is room for one more."""
    paths = [path for path in folder.glob("*.json") if not path.name.startswith("_")]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)[: -KEPT_CALIBRATIONS + 1]:
        path.unlink(missing_ok=True)
