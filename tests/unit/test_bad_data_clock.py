"""Clocks that jump: rows of 1970 and of 2100, and of a clock that was set back, beside rows of the present."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from api.clock import Clock
from flows.training.collection import collect, newest_row
from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import list_parts
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.reference import read_reference
from monitoring.contract.times import AHEAD, microseconds
from tests.unit.flows_fixtures import draw_wine, write_log
from tests.unit.log_fixtures import MODEL, Log, ids, rows
from tests.unit.models import LOANS, loans, wine
from tests.unit.monitor_fixtures import keep_calibration, keep_reference, label_rows, log_rows, make_rows, monitor_of

NOW = datetime.now(UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize("engine", ["profile", "dataframe"])
def test_the_window_does_not_freeze_on_the_future(tmp_path: Path, engine: str) -> None:
    """Rows of 2100 are left out and named once; the newest of the others are judged, and so are those that follow."""
    config = loans(window={"rows": 100}, engine=engine)
    keep_reference(tmp_path, config, make_rows(config, 200))
    log_rows(tmp_path, config, make_rows(config, 300, shift=9), start=FUTURE)
    log_rows(tmp_path, config, make_rows(config, 100, seed=1), start=NOW - timedelta(minutes=2))
    monitor, registry = monitor_of(tmp_path, config)
    with capture_logs() as logs:
        monitor.cycle()
        log_rows(tmp_path, config, make_rows(config, 60, seed=2), start=NOW - timedelta(minutes=1))
        monitor.cycle()
    assert registry.get_sample_value("rowcount") == 100
    assert registry.get_sample_value("outliers", {"feature": "age"}) < 20
    assert monitor.state.report.snapshot.last < NOW
    (line,) = [line for line in logs if line["event"] == "part_unreadable"]
    assert "2100-01-01" in line["reason"]
    assert registry.get_sample_value("monitor_unreadable_parts") == 1


def test_a_part_that_reaches_into_the_future_counts_up_to_now(tmp_path: Path) -> None:
    """A clock jumped while a journal was open: the rows from before the jump are judged, with their late labels."""
    config = loans(window={"rows": 100})
    keep_reference(tmp_path, config, make_rows(config, 200))
    drawn = make_rows(config, 120, seed=1).assign(target=None)
    named = log_rows(tmp_path, config, drawn.head(60), start=NOW - timedelta(minutes=2))
    named += log_rows(tmp_path, config, drawn.tail(60), start=FUTURE)
    log, layout = tmp_path / "current.parquet", Layout(tmp_path)
    both = [pa.parquet.read_table(part.path) for part in list_parts(log)[0]]
    for part in list_parts(log)[0]:
        Path(str(part.path)).unlink()
    pa.parquet.write_table(pa.concat_tables(both), log / "of-both-times.parquet")
    label_rows(tmp_path, config, named, ["yes"] * 120, start=NOW - timedelta(minutes=2))
    monitor, registry = monitor_of(tmp_path, config)
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 60
    assert registry.get_sample_value("labelled_rows") == 60
    assert registry.get_sample_value("duplicated_rows") == 0
    assert len(read_rows(layout, config.model, Window(rows=100)).table) == 60


def test_the_detector_passes_over_the_future(tmp_path: Path) -> None:
    """Rows of 2100 that drift raise no alarm, neither now nor after a restart, and rows that follow are seen."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    keep_calibration(tmp_path, LOANS, populations=3)
    log_rows(tmp_path, LOANS, make_rows(LOANS, 400, shift=9), start=FUTURE)
    log_rows(tmp_path, LOANS, make_rows(LOANS, 200, seed=1), start=NOW - timedelta(minutes=3))
    for seed in (2, 3):
        monitor, registry = monitor_of(tmp_path, drift_alarm="on")
        monitor.cycle()
        before = registry.get_sample_value("drift_rows_seen")
        log_rows(tmp_path, LOANS, make_rows(LOANS, 200, seed=seed), start=NOW - timedelta(minutes=4 - seed))
        monitor.cycle()
        assert before >= 200
        assert registry.get_sample_value("drift_rows_seen") == before + 200
        assert registry.get_sample_value("drift_detected") == 0
        monitor.stop()


def test_a_new_reference_lets_the_present_in(tmp_path: Path) -> None:
    """Retraining leaves the future out, and a reference does not begin its window there."""
    config, layout = wine(tmp_path), Layout(tmp_path)
    _, last = write_log(layout, config, draw_wine(200))
    write_log(layout, config, draw_wine(50, shift=9), start=microseconds(FUTURE), writer="ahead")
    found = collect(layout, config, None)
    assert (found.rows, found.through) == (200, last)
    assert any("2100-01-01" in file for file in found.unreadable)
    assert last <= newest_row(layout) <= microseconds(datetime.now(UTC))


def test_a_reference_from_a_wrong_clock_lets_rows_in(tmp_path: Path) -> None:
    """Re-based while the clock was in 2100, it would hold the window empty until then."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200), origin="rebased", through=microseconds(FUTURE))
    assert read_reference(Layout(tmp_path), LOANS.model).through is None
    log_rows(tmp_path, LOANS, make_rows(LOANS, 60, seed=1))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 60


@pytest.mark.parametrize("when", [pytest.param(LONG_AGO, id="1970"), pytest.param(FUTURE, id="2100")])
def test_what_a_wrong_clock_logged_is_found_by_its_id(tmp_path: Path, when: datetime) -> None:
    """Before and after its journal is sealed, so that a label is taken; rows of the present are not lost between."""
    log = Log(tmp_path / "current.parquet")
    wrong, right = rows(3, at=microseconds(when)), rows(3)
    log.append([right[0], *wrong, *right[1:]])
    assert set(log.find(ids(wrong) | ids(right), MODEL.target)) == ids(wrong) | ids(right)
    log.seal()
    assert set(log.find(ids(wrong) | ids(right), MODEL.target)) == ids(wrong) | ids(right)
    seen = read_rows(Layout(tmp_path), MODEL, Window(rows=3)).table["prediction_id"].to_pylist()
    assert set(seen) == ids(right)


def test_rows_keep_their_order_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """By half an hour: what is logged after that is still the newest, and its ids tell its time."""
    at = microseconds(NOW) * 1000
    half = AHEAD // timedelta(microseconds=1) // 2
    times = iter([at, at - half * 1000, at - half * 1000 + 7_000, at + 5_000_000])
    clock = Clock(lambda: next(times))
    stamps = [clock.now() for _ in range(4)]
    assert stamps == [at // 1000, at // 1000 + 1, at // 1000 + 2, at // 1000 + 5000]
    log = Log(tmp_path / "current.parquet")
    batches = [rows(1, at=stamp) for stamp in stamps]
    for batch in batches:
        log.append(batch)
        log.seal()
    newest = read_rows(Layout(tmp_path), MODEL, Window(rows=2)).table["prediction_id"].to_pylist()
    assert newest == [batch[0][0] for batch in batches[2:]]
    assert [id_milliseconds(batch[0][0]) for batch in batches] == [stamp // 1000 for stamp in stamps]


def test_a_clock_that_comes_back_from_far_ahead_is_followed() -> None:
    """Rows are not dated 2100 for as long as the process lives."""
    times = iter([microseconds(FUTURE) * 1000, microseconds(NOW) * 1000])
    clock = Clock(lambda: next(times))
    assert [clock.now(), clock.now()] == [microseconds(FUTURE), microseconds(NOW)]
