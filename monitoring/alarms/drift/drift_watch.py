"""The drift detector over a prediction log: it is calibrated in the background, fed with new rows, and restarts.

After a restart the detector reads from the log again the newest rows, as many as its longest window may hold. All else
is kept under `_drift/` in DATA_DIR: a calibration for each reference, the rows that joined it while the alarm learned,
and a state file with the current alarm and the time of the last row before the detector started anew.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from monitoring.alarms.drift.attribution import Attribution, attribute_for
from monitoring.alarms.drift.calibration import Calibration
from monitoring.alarms.drift.calibration_process import CalibrationError, CalibrationJob
from monitoring.alarms.drift.detector import DetectorStatus, DriftDetector
from monitoring.alarms.drift.learning import (
    LearnedRows,
    learning_until,
    missing_time,
    read_learned_rows,
    write_learned_rows,
)
from monitoring.alarms.drift.rhythm import find_rhythm
from monitoring.alarms.drift.scores import Observations, ReferenceScores, learn_usual
from monitoring.alarms.drift.support import Support
from monitoring.alarms.drift.usual import Cycle
from monitoring.alarms.drift.vocabulary import Vocabulary, rows_of
from monitoring.alarms.drift.windows import BLOCK
from monitoring.alarms.log_cursor import LogCursor
from monitoring.contract.config import Config
from monitoring.contract.drawn_rows import draw_from_log
from monitoring.contract.drift_state import Alarm, DriftState, drift_key, drift_state_path, read_drift_state
from monitoring.contract.layout import Layout
from monitoring.contract.parts import Part, Unreadable, list_parts
from monitoring.contract.plain_files import discard, list_plain, read_plain
from monitoring.contract.reference import Reference
from monitoring.contract.rhythm_rows import RhythmRows, UnreadableRhythmError, load_rhythm_rows
from monitoring.contract.schemas import TIMESTAMP, compared_fields
from monitoring.contract.storage import replaced
from monitoring.contract.times import BEFORE_ALL, Micros, before, latest_time, microseconds

logger = structlog.get_logger()

REFERENCE_ROWS = 20_000  # at most: more rows would tell little more, and take longer
CYCLE_ROWS = 200_000  # about so many rows are taken in a cycle, at most
KEPT_CALIBRATIONS = 10  # and as many files of learned rows
RATE_PERIOD, _A_DAY = timedelta(days=7), timedelta(days=1)
_OF_ALL = 0.98  # of the rows: the oldest parts beyond it do not say when the traffic began
ATTRIBUTED_EVERY = timedelta(seconds=30)  # while an alarm lasts, for more rows tell more


@dataclass(frozen=True)
class DriftVerdict:
    """The detector's state after an update; before it is calibrated, `detector` is None.

    `progress` of the calibration is 0 to 1, None while another model's is under way; `promise` is the mean number of
    rows between false alarms that config.yml asks for. There is an `attribution` while an alarm lasts. `logged` is how
    many rows the log holds since the reference. `support` says how far the calibration supports the promise. Until
    `learning_until` rows of the log are taken as the reference's, and nothing is tested.
    """

    progress: float | None
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


class DriftWatch:
    """Tests a log for drift from one reference."""

    def __init__(self, layout: Layout, config: Config, reference: Reference) -> None:
        self._layout, self._config = layout, config
        model = config.model
        self._words = Vocabulary.of(reference.table, model)
        self._reference = thinned(rows_of(reference.table, model))
        self._thinned = len(reference.table) / len(self._reference)
        self._rhythm_rows, self._flaw = _rhythm_rows_of(layout, config, reference)
        self._earlier = rows_of(self._rhythm_rows.table, model, self._words) if self._rhythm_rows else None
        self._learning = learning_until(reference, self._reference, self._earlier, config)
        self._suffix = f"-{self._rhythm_rows.digest[:12]}" if self._rhythm_rows else ""
        self._suffix += f"-{self._learning}" if self._learning else ""
        self._scores: ReferenceScores | None = None
        self._through = BEFORE_ALL if reference.through is None else reference.through
        self._folder = layout.root / "_drift"
        compared = compared_fields(reference.table.schema, model)
        # not of the types in which rows are compared: a rounding moves no threshold, and an alarm is to outlive it
        self._key = drift_key(reference, model)
        self._columns = pa.schema([("prediction_id", pa.string()), ("timestamp", TIMESTAMP), *compared])
        self._cycle: Cycle | None = None
        self._known: pa.Table | None = None  # the reference's rows while it learns
        if self._learning is not None:
            columns = self._columns.remove(0)  # the id
            self._known = reference.table.select(columns.names).cast(columns)
            asked = config.rhythm, config.timezone
            self._cycle = find_rhythm(self._reference, len(model.categories), *asked, self._earlier).cycle
            if learned := read_learned_rows(self._learned_path, columns):
                self._take(learned)
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
        unread = self._learn(listed)
        parts = [part for part in listed if self._through < part.last]
        logged = sum(part.rows for part in parts)
        rate = rate_of(parts, now)
        promise = self._config.false_alarm_rows(rate)
        if self._learning is not None:
            self._save_state(DriftState())  # a retraining meanwhile asks for the cycle
            return DriftVerdict(0.0, promise, unreadable=unread, logged=logged, learning_until=self._learning)
        if self._detector is None:
            calibration = self._calibrated()
            if calibration is None:
                return DriftVerdict(self._job.progress if self._job else None, promise, logged=logged)
            self._start(calibration, parts)
        assert self._detector is not None
        assert self._cursor is not None
        table, unreadable = self._cursor.take(CYCLE_ROWS)
        table = table.filter(pc.less_equal(table["timestamp"].cast(pa.int64()), latest))
        times = table["timestamp"].cast(pa.int64()).to_numpy()
        self._detector.update(rows_of(table, self._config.model, self._words), times, promise)
        status = self._detector.status()
        self._save_state(DriftState(self._detector.since, status.alarm))
        support = self._detector.calibration.support(promise, rate)
        return DriftVerdict(1.0, promise, status, self._attribute(status, now), tuple(unreadable), logged, support)

    def _learn(self, parts: Iterable[Part]) -> tuple[Unreadable, ...]:
        """Once the log has come to the end of learning, take its rows until then to the reference's.

        Where these do not span what they have to, as before a weekend without rows, learning goes on; and as long as
        files of that time cannot be read, which are returned.
        """
        newest = max((part.last for part in parts), default=BEFORE_ALL)
        while self._learning is not None and self._known is not None and newest > self._learning:
            span = self._through, Micros(self._learning + 1)
            drawn = draw_from_log(self._layout.current, self._known, *span, REFERENCE_ROWS)
            if drawn.unreadable:
                return drawn.unreadable
            missing = missing_time(rows_of(drawn.table, self._config.model), self._earlier, self._config)
            if missing:
                self._learning = Micros(self._learning + missing)
                continue
            learned = LearnedRows(drawn.table, drawn.each, self._learning)
            self.calibration_path.unlink(missing_ok=True)  # it is of other rows, whose file was lost
            write_learned_rows(self._learned_path, learned)
            self._take(learned)
        return ()

    def _take(self, learned: LearnedRows) -> None:
        """Take rows that were learned for the reference's, and end learning."""
        self._words = Vocabulary.of(learned.table, self._config.model)
        self._reference, self._thinned = rows_of(learned.table, self._config.model), learned.each
        if self._rhythm_rows:
            self._earlier = rows_of(self._rhythm_rows.table, self._config.model, self._words)
        self._through, self._learning, self._known = learned.through, None, None

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

    @property
    def _learned_path(self) -> Path:
        return self.calibration_path.with_suffix(".parquet")

    def _calibrated(self) -> Calibration | None:
        """Return the calibration; if there is none, None, and start making one unless one is under way."""
        path = self.calibration_path
        try:
            if self._job is None or self._job.done():
                calibration = Calibration.from_json(read_plain(path))
                self._job = None
                return calibration
        except CalibrationError:
            self._job = None
            raise
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            _drop_oldest(self._folder)
            categories = len(self._config.model.categories)
            asked = self._config.rhythm, self._config.timezone
            self._job = CalibrationJob.in_turn(path, self._reference, categories, *asked, earlier=self._earlier)
        return None

    def _start(self, calibration: Calibration, parts: Iterable[Part]) -> None:
        """Start the detector from the kept state and the rows that its longest window may hold."""
        state = read_drift_state(self._layout, self._key) or DriftState()
        rhythm, categories, usual, each = calibration.rhythm, len(self._config.model.categories), None, self._thinned
        if rhythm.earlier and rhythm.cycle and self._rhythm_rows and self._earlier:
            usual, each = learn_usual(self._earlier, categories, rhythm.cycle, earlier=True), self._rhythm_rows.each
        if self._flaw:
            said = f"{rhythm.said}; the rhythm rows from before the re-base cannot be read ({self._flaw})"
            calibration = replace(calibration, rhythm=replace(rhythm, said=said))
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
            found = attribute_for(
                self._config.model,
                self._scores,
                self._detector.calibration.deviations,
                self._reference,
                around,
                vocabulary=self._words,
            )
            self._attributed = alarm, now, found
        return self._attributed[2] if self._attributed else None

    def _save_state(self, state: DriftState) -> None:
        """Keep a state, with the cycle of the rows, unless it is kept."""
        cycle = None if self._cycle is None else self._cycle.length / 1e6
        content = json.dumps({"reference": self._key} | asdict(replace(state, cycle_seconds=cycle)))
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


def _rhythm_rows_of(layout: Layout, config: Config, reference: Reference) -> tuple[RhythmRows | None, str]:
    """Return a reference's rhythm rows, and why they cannot be read: the alarm does without them then."""
    try:
        return load_rhythm_rows(layout, config.model, reference.digest), ""
    except UnreadableRhythmError as error:
        logger.warning("rhythm_rows_unreadable", reason=str(error))
        return None, str(error)


def rate_of(parts: Iterable[Part], now: datetime) -> float:
    """Return the rows per second over the last days of the log, until now; 0 if there are none.

    Time in which no row came counts, or a backfill of a few seconds would be taken for the pace of the traffic. Of a
    log that has been silent for so long it is the rate over all of its time, if that is a day or more. The few oldest
    rows do not count: one that is dated long before the others says nothing of their pace.
    """
    parts = list(parts)
    if not parts:
        return 0.0
    first, last = min(part.first for part in parts), max(part.last for part in parts)
    earliest, end = before(now, RATE_PERIOD), max(microseconds(now), last)
    if last <= earliest:
        earliest, end = first, last if last - first >= _A_DAY // timedelta(microseconds=1) else end
    shares = [(max(part.first, earliest), part.rows * _share_after(part, earliest)) for part in parts]
    every, seen, begin = sum(rows for _, rows in shares), 0.0, end
    for moment, rows in sorted(shares, reverse=True):
        if seen >= _OF_ALL * every:
            break
        begin, seen = Micros(min(begin, moment)), seen + rows
    return seen / (end - begin) * 1e6 if end > begin else 0.0


def _share_after(part: Part, moment: int) -> float:
    """Return about which share of a part's rows are later, as if they came at one pace."""
    if part.first >= moment or part.last <= moment:
        return float(part.last > moment or part.first == moment)
    return (part.last - moment) / (part.last - part.first)


def _newest(parts: Iterable[Part], rows: int) -> Micros:
    """Return a time after which there are at least so many rows; BEFORE_ALL if there are not so many."""
    for part in sorted(parts, key=lambda part: part.first, reverse=True):
        rows -= part.rows
        if rows <= 0:
            return Micros(part.first - 1)
    return BEFORE_ALL


def _drop_oldest(folder: Path) -> None:
    """Remove the oldest calibrations and learned rows, so that there is room for one more."""
    for kind in ("*.json", "*.parquet"):
        paths = [path for path in list_plain(folder, kind) if not path.name.startswith("_")]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)[: -KEPT_CALIBRATIONS + 1]:
            discard(path)
