"""The detector over a prediction log: calibrated in the background, fed with what arrives, going on after a restart.

What a restart needs is in the log: the detector reads the newest rows that its longest window may hold again. Beside
them it keeps, under `_drift/` in DATA_DIR, the calibration by its reference, since when it looks, and the alarm.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.alarms.drift.attribution import Attribution, attribute
from monitoring.alarms.drift.calibration import Calibration
from monitoring.alarms.drift.calibration_process import CalibrationError, CalibrationJob
from monitoring.alarms.drift.detector import Alarm, DetectorStatus, DriftDetector
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.windows import BLOCK, window_lengths
from monitoring.alarms.log_cursor import LogCursor
from monitoring.contract.config import Config, Model
from monitoring.contract.layout import Layout
from monitoring.contract.parts import Part, Unreadable, list_parts
from monitoring.contract.reference import Reference
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.storage import replaced
from monitoring.contract.times import BEFORE_ALL, Micros, latest_time, microseconds

MOST_REFERENCE = 20_000  # rows of a reference that are used: more would say little more, and take longer
LIMIT = 200_000  # rows taken in a cycle
KEPT = 10  # calibrations
RATE_OVER = timedelta(days=7)
RENEWED = timedelta(seconds=30)  # how often an alarm is attributed anew while an alarm holds


@dataclass(frozen=True)
class DriftVerdict:
    """What the detector says; before it is calibrated, `detector` is None.

    `progress` of the calibration is 0 to 1, `promise` the rows between false alarms that config.yml asks for. There
    is an `attribution` while an alarm holds. `logged` is how many rows the log holds since the reference.
    """

    progress: float
    promise: float
    detector: DetectorStatus | None = None
    attribution: Attribution | None = None
    unreadable: tuple[Unreadable, ...] = ()
    logged: int = 0

    @property
    def alarm(self) -> Alarm | None:
        """Return the alarm that holds."""
        return self.detector.alarm if self.detector else None


def rows_of(table: pa.Table, model: Model) -> Observations:
    """Return a table's rows as the detector takes them."""
    features = [table[name].cast(pa.float64(), safe=False).to_numpy() for name in model.features]
    codes = {name: code for code, name in enumerate(model.categories)}
    predictions = [codes.get(name, len(codes)) for name in table[model.prediction].to_pylist()]
    return Observations(np.column_stack(features), np.array(predictions, np.int64))


class DriftWatch:
    """Watches a log for drift from one reference."""

    def __init__(self, layout: Layout, config: Config, reference: Reference) -> None:
        self._layout, self._config = layout, config
        model = config.model
        self._names = (*model.features, model.prediction)
        self._reference = thinned(rows_of(reference.table, model))
        self._scores = ReferenceScores(self._reference, len(model.categories))
        self._through = BEFORE_ALL if reference.through is None else reference.through
        self._folder = layout.root / "_drift"
        self._key = _digest(reference.digest, *model.features, "", *model.categories)
        self._columns = pa.schema(
            [("prediction_id", pa.string()), ("timestamp", TIMESTAMP), (model.prediction, pa.string())]
            + [(name, pa.float32()) for name in model.features]
        )
        self._job: CalibrationJob | None = None
        self._detector: DriftDetector | None = None
        self._arrivals: LogCursor | None = None
        self._written = ""
        self._found: tuple[Alarm, datetime, Attribution] | None = None

    def look(self) -> DriftVerdict:
        """Take in what has arrived, and say what that means; raise CalibrationError if that process fails.

        Observations that are more than an hour ahead of the clock when they arrive are left out.
        """
        latest = latest_time()
        parts = [part for part in list_parts(self._layout.current)[0] if self._through < part.last <= latest]
        logged = sum(part.rows for part in parts)
        promise = self._config.false_alarm_rows(_rate(parts))
        if self._detector is None:
            calibration = self._calibrated()
            if calibration is None:
                return DriftVerdict(self._job.progress if self._job else 0.0, promise, logged=logged)
            self._start(calibration, parts)
        assert self._detector is not None
        assert self._arrivals is not None
        table, unreadable = self._arrivals.take(LIMIT)
        table = table.filter(pc.less_equal(table["timestamp"].cast(pa.int64()), latest))
        times = table["timestamp"].cast(pa.int64()).to_numpy()
        self._detector.update(rows_of(table, self._config.model), times, promise)
        status = self._detector.status()
        self._write(status)
        return DriftVerdict(1.0, promise, status, self._attribute(status), tuple(unreadable), logged)

    def stop(self) -> None:
        """End a calibration that still runs."""
        if self._job is not None:
            self._job.stop()
            self._job = None

    @property
    def calibration_path(self) -> Path:
        """Return where the calibration for this reference is kept."""
        return self._folder / f"{self._key}.json"

    def _calibrated(self) -> Calibration | None:
        """Return the calibration if there is one, else see to it that one is being made."""
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
            self._job = CalibrationJob(path, self._reference, len(self._config.model.categories))
        return None

    def _start(self, calibration: Calibration, parts: Iterable[Part]) -> None:
        """Begin with the rows that the longest window may hold, and with what was known before a restart."""
        since, alarm = self._read()
        self._detector = DriftDetector(self._scores, calibration, alarm)
        longest = window_lengths(len(self._reference))[-1] * BLOCK
        self._detector.since = since
        after = max(self._through, since, _newest(parts, longest))
        self._arrivals = LogCursor(self._layout.current, self._columns, after)

    def _attribute(self, status: DetectorStatus) -> Attribution | None:
        """Attribute the alarm, anew now and then: more rows tell more."""
        alarm, now = status.alarm, datetime.now(UTC)
        if alarm is None or self._detector is None:
            self._found = None
        elif self._found is None or self._found[0] != alarm or now - self._found[1] >= RENEWED:
            current = self._detector.since_onset(alarm.onset)
            if not len(current):
                return None
            self._found = alarm, now, attribute(self._names, self._scores, self._reference, current)
        return self._found[2] if self._found else None

    def _write(self, status: DetectorStatus) -> None:
        assert self._detector is not None
        alarm = asdict(status.alarm) if status.alarm else None
        content = json.dumps({"reference": self._key, "since": self._detector.since, "alarm": alarm})
        if content != self._written:
            with replaced(self._state) as temporary:
                temporary.write_text(content, encoding="utf-8")
            self._written = content

    def _read(self) -> tuple[Micros, Alarm | None]:
        """Return since when this reference's detector looks, and its alarm; nothing if that is another's, or torn."""
        try:
            content = json.loads(self._state.read_bytes())
            if content["reference"] == self._key and int(content["since"]) <= latest_time():  # else its clock was wrong
                return Micros(int(content["since"])), Alarm(**content["alarm"]) if content["alarm"] else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return BEFORE_ALL, None

    @property
    def _state(self) -> Path:
        return self._folder / "_state.json"


def thinned(rows: Observations) -> Observations:
    """Return a reference's rows, or as many of them as the detector uses; the same for the same rows."""
    if len(rows) <= MOST_REFERENCE:
        return rows
    places = np.random.default_rng(len(rows)).choice(len(rows), MOST_REFERENCE, replace=False)
    return rows.take(np.sort(places))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _rate(parts: Iterable[Part]) -> float:
    """Return the rows per second over the last days of the log; 0 where that cannot be told."""
    earliest = microseconds(datetime.now(UTC) - RATE_OVER)
    recent = [part for part in parts if part.last > earliest]
    begin, end = min((p.first for p in recent), default=0), max((p.last for p in recent), default=0)
    return sum(part.rows for part in recent) / ((end - begin) / 1e6) if end > begin else 0.0


def _newest(parts: Iterable[Part], rows: int) -> Micros:
    """Return a time after which there are at least so many rows, if there are."""
    for part in sorted(parts, key=lambda part: part.first, reverse=True):
        rows -= part.rows
        if rows <= 0:
            return Micros(part.first - 1)
    return BEFORE_ALL


def _drop_oldest(folder: Path) -> None:
    paths = [path for path in folder.glob("*.json") if not path.name.startswith("_")]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)[: -KEPT + 1]:
        path.unlink(missing_ok=True)
