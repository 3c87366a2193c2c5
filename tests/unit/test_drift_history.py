"""After a re-base the reference is hours long: the drift alarm learns the rhythm from the rows before the change."""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from flows.registry.publication import complete, stage
from flows.training.collection import collect
from flows.training.rhythm_rows import find_rhythm_rows
from monitoring.alarms.drift.calibration import Calibration, calibrate
from monitoring.alarms.drift.cycles import Stretch, draw_cycles, split_cycles
from monitoring.alarms.drift.detector import DriftDetector
from monitoring.alarms.drift.drift_watch import DriftVerdict, DriftWatch
from monitoring.alarms.drift.learning import learning_until, missing_time
from monitoring.alarms.drift.rhythm import find_rhythm
from monitoring.alarms.drift.scores import Observations, ReferenceScores, learn_usual
from monitoring.alarms.drift.usual import DAY, HOUR, WEEK, Cycle
from monitoring.alarms.drift.vocabulary import rows_of
from monitoring.contract.config import Config
from monitoring.contract.drawn_rows import draw_from_log
from monitoring.contract.drift_state import DriftState, drift_key, read_drift_state
from monitoring.contract.layout import Layout
from monitoring.contract.parts import list_parts
from monitoring.contract.reference import Reference, read_reference
from monitoring.contract.rhythm_rows import RhythmRows, longest_cycle, read_rhythm_rows, rhythm_rows_path, rhythm_schema
from monitoring.contract.times import Micros, from_microseconds, microseconds
from tests.unit.flows_fixtures import draw_wine, write_log
from tests.unit.models import LOANS, loans, wine
from tests.unit.monitor_fixtures import log_rows, make_rows

from tests.unit.test_drift_rhythm import A_DAY, MONDAY, traffic  # isort: skip

MOVED = 5.0  # what the change has added to the third feature
HOURS = 8  # of the reference


def _after(seed: int, days: int, begin: int) -> Observations:
    rows = traffic(seed, days, begin=begin)
    rows.features[:, 2] += MOVED
    return rows


@cache
def _rebased() -> tuple[Observations, Observations, Calibration]:
    """Return a reference of some hours since a change, four weeks before it, and the calibration."""
    earlier, since = traffic(1, 28), _after(2, 1, 28)
    reference = since.take(slice(0, A_DAY * HOURS // 24))
    rhythm = find_rhythm(reference, 2, "auto", "UTC", earlier)
    return reference, earlier, calibrate(reference, 2, 1, populations=20, rhythm=rhythm, earlier=earlier)


def _alarms(rows: Observations) -> list[str]:
    reference, earlier, calibration = _rebased()
    assert calibration.rhythm.cycle is not None
    usual = learn_usual(earlier, 2, calibration.rhythm.cycle, earlier=True)
    detector = DriftDetector(ReferenceScores(reference, 2, calibration.rhythm.cycle, usual), calibration)
    assert rows.times is not None
    detector.update(rows, rows.times, 30 * A_DAY)
    alarm = detector.status().alarm
    return [alarm.kind] if alarm else []


def test_the_rhythm_is_that_of_the_rows_before_the_change() -> None:
    """It is said; a reference that spans two cycles itself, and who asks for none, have their own."""
    reference, earlier, calibration = _rebased()
    assert calibration.rhythm.cycle == Cycle(WEEK, "UTC")
    assert calibration.rhythm.said == "a week, from 4 of them before the reference was re-based"
    assert Calibration.from_json(calibration.to_json()).rhythm == calibration.rhythm
    assert not find_rhythm(traffic(3, 14), 2, "auto", "UTC", earlier).earlier
    assert find_rhythm(reference, 2, "none", "UTC", earlier).cycle is None
    timeless = Observations(reference.features, reference.predictions)
    assert find_rhythm(timeless, 2, "auto", "UTC", earlier).cycle is None


def test_the_next_days_raise_no_alarm() -> None:
    """Two weeks of the new level, nights and weekends, from a reference of eight hours."""
    assert _alarms(_after(4, 14, 29)) == []


@pytest.mark.parametrize(("column", "by"), [(0, 1.0), (2, 1.0)])
def test_another_change_raises_one_within_two_days(column: int, by: float) -> None:
    """A feature with a rhythm and one without, at a time of the day that the reference has none of."""
    rows = _after(4, 5, 29)
    begin = 3 * A_DAY + A_DAY // 2
    assert _alarms(rows.take(slice(0, begin))) == []
    rows.features[begin:, column] += by
    assert _alarms(rows) != []


def test_pseudo_references_are_as_long_and_at_the_same_time_of_the_cycle() -> None:
    """They come from the known half of the cycles, and share no row with the stream."""
    reference, earlier, _ = _rebased()
    assert reference.times is not None
    cycle = Cycle(WEEK, "UTC")
    stretch = Stretch.of(reference, earlier, cycle)
    drawn = draw_cycles(earlier, 2, cycle, 2000, np.random.default_rng(1), stretch=stretch)
    for _, one in zip(range(10), drawn, strict=False):
        assert one.reference.times is not None
        assert one.stream.times is not None
        assert one.known.times is not None
        assert len(one.known) > 5 * len(one.reference)
        assert set(one.reference.times) <= set(one.known.times)
        assert not set(one.known.times) & set(one.stream.times)
        hours = (one.reference.times - MONDAY) % WEEK / HOUR
        assert hours.min() > (reference.times[0] - MONDAY) % WEEK / HOUR - 1
        assert len(one.reference) >= min(100, len(reference))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return wine(tmp_path)


def _log_days(layout: Layout, config: Config, days: int, begin: int) -> Micros:
    """Log 40 rows for each day, at noon; return the time of the last."""
    for day in range(begin, begin + days):
        _, last = write_log(layout, config, draw_wine(40, seed=day), start=MONDAY + day * DAY, writer=f"w{day}")
    return Micros(last)


def _put(layout: Layout, config: Config, version: str, rows: RhythmRows | None, through: Micros) -> Reference:
    """Publish a re-based reference of 40 rows in its last second."""
    table = draw_wine(40, seed=int(version))
    times = pa.array(through - 1000 * np.arange(40)[::-1], pa.timestamp("us", tz="UTC"))
    table = table.append_column("guess", table["truth"]).append_column("timestamp", times)
    stage(layout, config.model, version, table, origin="rebased", through=through, rhythm_rows=rows)
    assert complete(layout, version)
    return read_reference(layout, config.model)


def test_the_rows_until_the_change_are_the_next_references_rhythm_rows(layout: Layout, config: Config) -> None:
    """Its own rows and the log's after them: from a regime that lasts two cycles; else those it has stay."""
    first = _put(layout, config, "1", None, Micros(MONDAY + 40_000))
    end = _log_days(layout, config, 16, 1)
    onset = Micros(MONDAY + 16 * DAY)
    found = find_rhythm_rows(layout, config, first, onset)
    assert found is not None
    assert len(found.table) == 40 + 15 * 40
    assert found.each == 1

    second = _put(layout, config, "2", found, end)
    kept = read_rhythm_rows(layout, config.model, second.digest)
    assert kept is not None
    assert kept.table.equals(found.table)
    _log_days(layout, config, 4, 17)  # too short for a week, of which those kept have two
    again = find_rhythm_rows(layout, config, second, Micros(MONDAY + 21 * DAY))
    assert again == kept
    daily = config.model_copy(update={"rhythm": "1d"})
    newer = find_rhythm_rows(layout, daily, second, Micros(MONDAY + 21 * DAY))
    assert newer is not None
    assert len(newer.table) == 40 + 4 * 40


def test_nothing_had_changed_until_the_onset(layout: Layout, config: Config) -> None:
    """The rows that a retraining collects say until when: the onset, or without a change the newest row."""
    end = _log_days(layout, config, 6, 0)
    assert collect(layout, config, None).unchanged_until == end + 1
    onset = MONDAY + 3 * DAY
    changed = collect(layout, config, None, Micros(onset), cycle=7 * 86_400)
    assert changed.unchanged_until == onset
    assert (len(changed.table), changed.older) == (240, 120)


@pytest.mark.parametrize(
    ("onset", "newest"),
    [
        pytest.param(MONDAY, 1000, id="before the first row"),
        pytest.param(MONDAY + 2 * DAY, 100, id="before the newest rows, which alone are looked at"),
    ],
)
def test_an_onset_before_all_rows_that_are_looked_at_counts(
    layout: Layout, config: Config, onset: int, newest: int
) -> None:
    """They are all since the change then, and none of them is from a time in which nothing had changed."""
    _log_days(layout, config, 6, 0)
    config = config.model_copy(update={"retrain": config.retrain.model_copy(update={"rows": newest})})
    found = collect(layout, config, None, Micros(onset))
    assert found.rows_since_change == found.rows
    assert (found.unchanged_until, found.changed) == (onset, True)
    assert "since the last change, at 2026-01-0" in found.describe()


def _noon(day: int) -> datetime:
    return from_microseconds(Micros(MONDAY + day * DAY + DAY // 2))


def test_rows_are_rounded_to_the_narrower_type_of_reference_and_log(tmp_path: Path) -> None:
    """A value that both hold ranks the same."""
    rows = make_rows(LOANS, 40, seed=1).assign(age=2.7, timestamp=[_noon(day) for day in range(40)])
    reference = pa.Table.from_pandas(rows, preserve_index=False)
    narrow = reference.set_column(0, "age", reference["age"].cast(pa.float32()))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 20, seed=2).assign(age=2.7), _noon(41))
    until = Micros(MONDAY + 42 * DAY)
    for table, value in ((reference, 2.7), (narrow, float(np.float32(2.7)))):
        found = find_rhythm_rows(Layout(tmp_path), LOANS, Reference(table, "digest", None, "user", None), until)
        assert found is not None
        assert len(found.table) == 60
        assert set(found.table["age"].to_pylist()) == {value}


def test_cycles_without_rows_do_not_count() -> None:
    """Between a reference and the log there may be a hole of weeks: it is learned from those that hold rows."""
    rows = traffic(1, 84)
    assert rows.times is not None
    rows = rows.take(np.flatnonzero(np.abs(rows.times - MONDAY - 42 * DAY) > 14 * DAY))
    found = find_rhythm(rows, 2, "auto", "UTC")
    assert found.cycle is not None
    assert found.cycles == len(split_cycles(rows, found.cycle)) == 8
    assert longest_cycle(pa.table({"timestamp": rows.times}), "auto") == WEEK


def test_a_pseudo_reference_is_as_dense_as_its_cycle() -> None:
    """Of two weeks and five days the second week has the five days too, and a stretch of it is no denser."""
    earlier, cycle = traffic(1, 19), Cycle(WEEK, "UTC")
    reference = traffic(2, 3, begin=28)
    stretch = Stretch.of(reference, earlier, cycle)
    drawn = draw_cycles(earlier, 2, cycle, 2000, np.random.default_rng(1), stretch=stretch)
    rows = [len(one.reference) for _, one in zip(range(10), drawn, strict=False)]
    assert max(rows) < 1.2 * len(reference)


def test_a_short_first_regime_leaves_none(layout: Layout, config: Config) -> None:
    """Less than two days are no two cycles of anything."""
    first = _put(layout, config, "1", None, Micros(MONDAY + 40_000))
    _log_days(layout, config, 2, 0)
    assert find_rhythm_rows(layout, config, first, Micros(MONDAY + DAY + 40_000)) is None


def test_rhythm_rows_are_bounded(layout: Layout, config: Config) -> None:
    """The newest eight weeks, drawn at random; how many rows each stands for is kept."""
    first = _put(layout, config, "1", None, Micros(MONDAY + 40_000))
    end = _log_days(layout, config, 70, 1)
    found = find_rhythm_rows(layout, config, first, Micros(end + 1), 300)
    assert found is not None
    assert len(found.table) == 300
    assert found.each == pytest.approx(56 * 40 / 300, rel=0.2)
    times = found.table["timestamp"].cast(pa.int64()).to_numpy()
    assert times.min() > end - 57 * DAY
    assert (np.diff(times) >= 0).all()


def test_rhythm_rows_go_with_their_reference(layout: Layout, config: Config) -> None:
    """They are there as long as their reference is in place or kept; one put there by hand has none."""
    first = _put(layout, config, "1", None, Micros(MONDAY + 40_000))
    end = _log_days(layout, config, 16, 1)
    rows = find_rhythm_rows(layout, config, first, Micros(MONDAY + 16 * DAY))
    second = _put(layout, config, "2", rows, end)
    stage(layout, config.model, "9", second.table, origin="rebased", rhythm_rows=rows)  # never becomes champion
    assert len(list(layout.rhythm_rows.iterdir())) == 2
    third = _put(layout, config, "3", None, end)
    assert read_rhythm_rows(layout, config.model, third.digest) is None
    assert [path.stem for path in layout.rhythm_rows.iterdir()] == [second.digest]
    rhythm_rows_path(layout, third.digest).write_bytes(b"damaged")
    with capture_logs() as logs:
        assert read_rhythm_rows(layout, config.model, third.digest) is None
    assert [entry["event"] for entry in logs] == ["rhythm_rows_unreadable"]


def test_a_draw_counts_the_rows_of_the_time(layout: Layout, config: Config) -> None:
    """Not those of files that reach beyond it; and no known row is left out while there is room for all."""
    _log_days(layout, config, 1, 0)
    part = list_parts(layout.current)[0][0]
    schema = rhythm_schema(config.model)
    known = pq.read_table(part.path).select(schema.names).cast(schema)
    after = Micros(part.last - 1000 * 10)
    drawn = draw_from_log(layout.current, known, after, Micros(part.last), 60)
    assert (len(drawn.table), drawn.each) == (49, 1)
    few = draw_from_log(layout.current, known, after, Micros(part.last), 20)
    assert (len(few.table), few.each) == (20, 49 / 20)
    again = draw_from_log(layout.current, known, after, Micros(part.last), 20)
    assert again.table.equals(few.table)
    assert few.table.schema.equals(known.schema)


LEARNED = Micros(MONDAY + 28 * DAY + 8 * HOUR)


def _short_reference(origin: str = "rebased", rows: int = A_DAY * HOURS // 24) -> tuple[Reference, Observations]:
    """Return a reference of the first hours of a Monday, of which the log was read until eight o'clock."""
    seen = _after(2, 2, 28).take(slice(0, rows))
    return Reference(pa.table({}), "digest", LEARNED, origin, None), seen


@pytest.mark.parametrize(
    ("origin", "rhythm", "earlier", "days"),
    [
        pytest.param("rebased", "auto", True, 1, id="a day, to be calibrated with earlier rows"),
        pytest.param("rebased", "auto", False, 2, id="two days without any"),
        pytest.param("rebased", "7d", False, 14, id="two cycles that were asked for"),
        pytest.param("rebased", "none", True, None, id="no rhythm is asked for"),
        pytest.param("user", "auto", True, None, id="it was not re-based"),
    ],
)
def test_a_short_reference_waits_for_rows_of_the_log(
    origin: str, rhythm: str, days: int | None, *, earlier: bool
) -> None:
    """Those that a re-based one lacks to the span that is needed."""
    reference, rows = _short_reference(origin)
    assert rows.times is not None
    found = learning_until(reference, rows, traffic(1, 28) if earlier else None, loans(rhythm=rhythm))
    span = int(np.ptp(rows.times))
    assert found == (None if days is None else LEARNED + days * DAY - span)


def test_rows_without_a_rhythm_or_of_a_whole_day_wait_for_none() -> None:
    """As those of a demo, which come within minutes."""
    reference, rows = _short_reference(rows=A_DAY + 20)
    assert learning_until(reference, rows, traffic(1, 28), loans()) is None
    mixed = np.random.default_rng(1).normal(size=(200, 3))
    drawn = Observations(mixed, np.zeros(200, np.int64), LEARNED - np.arange(200) * HOUR // 20)
    assert learning_until(reference, drawn, None, loans()) is None
    assert rows.times is not None
    within_minutes = Observations(rows.features, rows.predictions, rows.times[0] + np.arange(len(rows)))
    assert learning_until(reference, within_minutes, None, loans()) is None


NOW = datetime.now(UTC) - timedelta(days=8)


def _rebase_hours(layout: Layout, hours: float = 5, rows: RhythmRows | None = None) -> Reference:
    """Publish a re-based reference of 100 rows in the hours before NOW."""
    moments = [NOW - timedelta(hours=hours / 99 * n) for n in range(100)]
    reference = make_rows(LOANS, 100, seed=2).assign(timestamp=moments)
    table = pa.Table.from_pandas(reference, preserve_index=False)
    stage(layout, LOANS.model, "1", table, origin="rebased", through=microseconds(NOW), rhythm_rows=rows)
    complete(layout, "1")
    return read_reference(layout, LOANS.model)


def _log_hours(layout: Layout, *hours: int) -> None:
    """Log 20 rows at each of these hours after NOW."""
    for hour in hours:
        log_rows(layout.root, LOANS, make_rows(LOANS, 20, seed=hour), NOW + timedelta(hours=hour, minutes=1))


def _until(watch: DriftWatch) -> float | None:
    """Return how many hours after NOW learning ends; None once it has ended."""
    verdict = watch.update()
    watch.stop()
    return None if verdict.learning_until is None else (verdict.learning_until - microseconds(NOW)) / HOUR


def test_what_was_learned_outlives_a_restart(tmp_path: Path) -> None:
    """Whatever has become of the log; where its file is lost, the rows are another draw, and calibrated anew."""
    layout, config = Layout(tmp_path), loans(false_alarm_every=100_000, rhythm="1d")
    reference = _rebase_hours(layout)
    _log_hours(layout, *range(50))
    watch = DriftWatch(layout, config, reference)
    assert _until(watch) is None
    (kept,) = (tmp_path / "_drift").glob("*.parquet")
    assert pq.read_metadata(kept).num_rows == 100 + 20 * 43
    written = kept.read_bytes()
    for part in list_parts(layout.current)[0]:
        if part.last < microseconds(NOW + timedelta(hours=40)):
            Path(str(part.path)).unlink()
    watch = DriftWatch(layout, config, reference)
    assert _until(watch) is None
    assert kept.read_bytes() == written
    kept.write_bytes(b"damaged")
    watch = DriftWatch(layout, config, reference)
    watch.calibration_path.write_text("of the first draw")
    with capture_logs() as logs:
        watch = DriftWatch(layout, config, reference)
    assert "learned_rows_unreadable" in [entry["event"] for entry in logs]
    assert _until(watch) is None
    assert not watch.calibration_path.exists()
    assert kept.read_bytes() != written


def test_learning_does_not_end_while_a_file_is_unreadable(tmp_path: Path) -> None:
    """It is named, and tried again."""
    layout, config = Layout(tmp_path), loans(false_alarm_every=100_000, rhythm="1d")
    watch = DriftWatch(layout, config, _rebase_hours(layout))
    _log_hours(layout, *range(50))
    path = Path(str(list_parts(layout.current)[0][20].path))
    content = path.read_bytes()
    path.write_bytes(b"damaged")
    verdict = watch.update()
    assert verdict.learning_until is not None
    assert [Path(str(file.path)) for file in verdict.unreadable] == [path]
    path.write_bytes(content)
    assert _until(watch) is None


def test_learning_goes_on_where_the_rows_are_too_few(tmp_path: Path) -> None:
    """After a night without rows the rows span less than was waited for: what is missing is waited for, too."""
    layout, config = Layout(tmp_path), loans(false_alarm_every=100_000, rhythm="1d")
    watch = DriftWatch(layout, config, _rebase_hours(layout))
    _log_hours(layout, *range(38))
    assert _until(watch) == pytest.approx(43)
    _log_hours(layout, 45)  # the rows until 43 o'clock end at 37
    assert _until(watch) == pytest.approx(49, abs=0.1)
    _log_hours(layout, 50)
    assert _until(watch) is None


def test_where_clocks_are_set_back_a_day_is_an_hour_longer() -> None:
    """A day by the clock is what a cycle is."""
    end = microseconds(datetime(2026, 10, 25, 12, tzinfo=UTC))  # clocks go back at 1:00 UTC
    times = end - np.arange(2 * 23 * 10)[::-1] * HOUR // 10
    rows = Observations(np.zeros((len(times), 1)), np.zeros(len(times), np.int64), times)
    berlin = loans(rhythm="1d", timezone="Europe/Berlin")
    assert missing_time(rows, None, loans(rhythm="1d", timezone="UTC")) == 2 * DAY - 459 * HOUR // 10
    assert missing_time(rows, None, berlin) == 2 * DAY - 449 * HOUR // 10


def test_while_it_learns_the_state_says_the_cycle(tmp_path: Path) -> None:
    """A retraining meanwhile asks for it."""
    layout, config = Layout(tmp_path), loans(false_alarm_every=100_000, rhythm="7d")
    times = [NOW - timedelta(days=28) + timedelta(minutes=15 * n) for n in range(28 * 96)]
    earlier = make_rows(LOANS, len(times), seed=1).assign(timestamp=times)
    rows = RhythmRows(pa.Table.from_pandas(earlier, preserve_index=False), 1.0)
    reference = _rebase_hours(layout, rows=rows)
    assert DriftWatch(layout, config, reference).update().learning_until is not None
    state = read_drift_state(layout, drift_key(reference, LOANS.model))
    assert state == DriftState(cycle_seconds=7 * 86_400)


def test_rhythm_rows_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """The alarm does without them, and the page says so."""
    layout, config = Layout(tmp_path), loans(false_alarm_every=100_000)
    reference = _rebase_hours(layout, hours=0.1)
    path = rhythm_rows_path(layout, reference.digest)
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"timestamp": [NOW]}), path)
    with capture_logs() as logs:
        watch = DriftWatch(layout, config, reference)
    assert [entry["event"] for entry in logs] == ["rhythm_rows_unreadable"]
    observed = rows_of(reference.table, LOANS.model)
    rhythm = find_rhythm(observed, 2, config.rhythm, config.timezone)
    watch.calibration_path.parent.mkdir(exist_ok=True)
    watch.calibration_path.write_text(calibrate(observed, 2, 1, populations=5, rhythm=rhythm).to_json())
    support = watch.update().support
    assert support is not None
    assert "rhythm rows from before the re-base cannot be read (columns are absent: age, " in support.rhythm_said


def test_the_watch_says_that_it_learns_and_takes_the_logs_rows(tmp_path: Path) -> None:
    """It tests nothing until then, and the rows from which it learned are no evidence, after a restart neither."""
    layout, config = Layout(tmp_path), loans(false_alarm_every=100_000, rhythm="1d")
    now = datetime.now(UTC) - timedelta(days=4)
    moments = [now - timedelta(minutes=3 * n) for n in range(100)]
    reference = make_rows(LOANS, 100, seed=2).assign(timestamp=moments)
    table = pa.Table.from_pandas(reference, preserve_index=False)
    stage(layout, LOANS.model, "1", table, origin="rebased", through=microseconds(now))
    complete(layout, "1")
    until = now + timedelta(days=2) - (moments[0] - moments[-1])
    for hour in range(40):
        log_rows(tmp_path, LOANS, make_rows(LOANS, 20, seed=hour), now + timedelta(hours=hour, minutes=1))
    watch = DriftWatch(layout, config, read_reference(layout, LOANS.model))
    assert watch.update() == DriftVerdict(0.0, 100_000, logged=800, learning_until=microseconds(until))
    for hour in range(40, 60):
        log_rows(tmp_path, LOANS, make_rows(LOANS, 20, seed=hour), now + timedelta(hours=hour, minutes=1))
    verdict = watch.update()
    assert verdict.learning_until is None
    watch.stop()
    late = sum(now + timedelta(hours=hour, minutes=1) > until for hour in range(60))
    assert verdict.logged == 20 * late


def test_the_watch_calibrates_with_them(tmp_path: Path) -> None:
    """Its calibration is another one than without them, and the state says their cycle."""
    layout, asked = Layout(tmp_path), loans(false_alarm_every=100_000, rhythm="7d")
    now = datetime.now(UTC) - timedelta(hours=60)
    times = [now - timedelta(days=28) + timedelta(minutes=15 * n) for n in range(28 * 96)]
    earlier = make_rows(LOANS, len(times), seed=1).assign(timestamp=times)
    reference = make_rows(LOANS, 200, seed=2, shift=3).assign(
        timestamp=[now - timedelta(minutes=8 * n) for n in range(200)]
    )
    table = pa.Table.from_pandas(reference, preserve_index=False)
    rows = RhythmRows(pa.Table.from_pandas(earlier, preserve_index=False), 1.0)
    stage(layout, LOANS.model, "1", table, origin="rebased", through=microseconds(now), rhythm_rows=rows)
    complete(layout, "1")
    watch = DriftWatch(layout, asked, read_reference(layout, LOANS.model))
    observed, before = rows_of(table, LOANS.model), rows_of(rows.table, LOANS.model)
    rhythm = find_rhythm(observed, 2, asked.rhythm, asked.timezone, before)
    watch.calibration_path.parent.mkdir()
    calibration = calibrate(observed, 2, 1, populations=10, rhythm=rhythm, earlier=before)
    watch.calibration_path.write_text(calibration.to_json())
    for hour in range(50):
        log_rows(tmp_path, LOANS, make_rows(LOANS, 4, seed=hour, shift=3), now + timedelta(hours=hour, minutes=1))
    verdict = watch.update()
    assert verdict.detector is not None
    assert verdict.detector.rows == 200
    assert verdict.alarm is None
    state = read_drift_state(layout, drift_key(read_reference(layout, LOANS.model), LOANS.model))
    assert state is not None
    assert state.cycle_seconds == 7 * 86_400
    rhythm_rows_path(layout, read_reference(layout, LOANS.model).digest).unlink()
    without = DriftWatch(layout, asked, read_reference(layout, LOANS.model))
    assert without.calibration_path != watch.calibration_path
