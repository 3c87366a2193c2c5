"""The detector over a log: calibrated in a process of its own, fed with parts, exported, and restarted."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitoring.alarms.drift.calibration_process import CalibrationError
from monitoring.alarms.drift.drift_watch import DriftVerdict, DriftWatch, rate_of
from monitoring.alarms.drift.vocabulary import rows_of
from monitoring.contract.layout import Layout
from monitoring.contract.parts import list_parts
from monitoring.contract.reference import read_reference
from tests.unit.models import LOANS, loans
from tests.unit.monitor_fixtures import keep_calibration, keep_reference, log_rows, make_rows, monitor_of

NOW = datetime.now(UTC) - timedelta(hours=1)
COLUMNS = (*LOANS.model.features, LOANS.model.prediction)
CONFIG = loans(false_alarm_every=100_000)


def _watch(folder: Path, *, calibrated: bool = True) -> DriftWatch:
    """Return a watch, with a calibration of few populations unless there is one."""
    watch = DriftWatch(Layout(folder), CONFIG, read_reference(Layout(folder), LOANS.model))
    if calibrated and not watch.calibration_path.exists():
        keep_calibration(folder, CONFIG)
    return watch


def _log(folder: Path, count: int, minute: int, *, shift: float = 0.0) -> None:
    rows = make_rows(LOANS, count, seed=minute)
    log_rows(folder, LOANS, rows.assign(income=rows["income"] + shift), NOW + timedelta(minutes=minute))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 300, seed=99))
    return tmp_path


def test_before_the_calibration_is_done_there_is_only_its_progress(folder: Path) -> None:
    """A process calibrates beside the updates and reports its progress, and its result is there for the next start."""
    watch = _watch(folder, calibrated=False)
    _log(folder, 100, 0)
    seen: list[DriftVerdict] = []
    deadline = time.monotonic() + 100
    while not seen or seen[-1].detector is None:
        assert time.monotonic() < deadline, "the calibration has not ended"
        seen.append(watch.update())
        time.sleep(0.1)
    progress = [verdict.progress for verdict in seen]
    assert progress == sorted(progress)
    assert any(0 < share < 1 for share in progress)
    assert seen[-1].detector is not None
    assert seen[-1].detector.rows == 100
    again = _watch(folder).update()
    assert again.detector == seen[-1].detector


def test_a_replay_says_what_the_clock_shows(folder: Path) -> None:
    """The promise follows from the rate of the rows in the week before its clock, not before the present."""
    keep_calibration(folder, CONFIG)
    then = NOW - timedelta(days=1000)
    for start, rows in ((then, 200), (NOW - timedelta(days=1), 20)):
        for day in range(2):
            log_rows(folder, LOANS, make_rows(LOANS, rows, seed=day), start + timedelta(days=day))
    config = loans(false_alarm_every="30d")
    watch = DriftWatch(Layout(folder), config, read_reference(Layout(folder), LOANS.model))
    present, replayed = watch.update().promise, watch.update(then + timedelta(days=2)).promise
    assert replayed > present


def test_a_change_is_attributed_to_its_feature(folder: Path) -> None:
    """The alarm names the feature that moved and which way, with effect sizes whose intervals hold them."""
    watch = _watch(folder)
    _log(folder, 400, 0)
    assert watch.update().alarm is None
    _log(folder, 300, 1, shift=0.8)
    verdict = watch.update()
    assert verdict.alarm is not None
    assert verdict.attribution is not None
    directions = {column.column: column.direction for column in verdict.attribution.columns if column.direction}
    assert directions["income"] == "up"
    income = next(column for column in verdict.attribution.columns if column.column == "income")
    assert income.contribution == max(column.contribution for column in verdict.attribution.columns)
    assert income.effects is not None
    assert income.effects.wasserstein is not None
    assert income.effects.wasserstein.low < 0.8 < income.effects.wasserstein.high + 0.1
    assert 0.2 < verdict.attribution.effect < 0.5


def test_an_alarm_outlives_a_restart(folder: Path) -> None:
    """A monitor that starts anew has the alarm of before, its onset too, and counts no row twice."""
    watch = _watch(folder)
    _log(folder, 400, 0)
    _log(folder, 300, 1, shift=0.8)
    before = watch.update()
    assert before.alarm is not None
    after = _watch(folder).update()
    assert after.alarm == before.alarm
    assert after.detector is not None
    assert before.detector is not None
    assert after.detector.score == pytest.approx(before.detector.score)


def test_another_reference_begins_anew(folder: Path) -> None:
    """After a re-base the alarm about the former reference is gone, and rows from before it are no evidence."""
    watch = _watch(folder)
    _log(folder, 400, 0)
    _log(folder, 300, 1, shift=0.8)
    assert watch.update().alarm is not None
    rows = make_rows(LOANS, 300, seed=50)
    through = int((NOW + timedelta(minutes=30)).timestamp() * 1e6)
    keep_reference(folder, LOANS, rows.assign(income=rows["income"] + 0.8), origin="rebased", through=through)
    watch = _watch(folder)
    status = watch.update().detector
    assert status is not None
    assert status.rows == 0
    assert status.alarm is None
    _log(folder, 300, 40, shift=0.8)
    status = watch.update().detector
    assert status is not None
    assert status.rows == 300
    assert status.alarm is None


def test_a_calibration_that_fails_says_why(folder: Path) -> None:
    """The process's own words reach the log; the next update tries again."""
    watch = _watch(folder, calibrated=False)
    watch.update()
    job = watch._job
    assert job is not None
    os.kill(job._process.pid, 9)
    job._thread.join(30)  # it ends with the process
    with pytest.raises(CalibrationError, match="exit status -9"):
        watch.update()
    assert watch.update().detector is None
    watch.stop()


def test_a_torn_state_is_no_state(folder: Path) -> None:
    """What a crash left half written delays nothing: the detector begins with the newest rows."""
    watch = _watch(folder)
    _log(folder, 400, 0)
    watch.update()
    for text in ("", "{", '{"reference": 1}', "[]"):
        (folder / "_drift/_state.json").write_text(text)
        assert _watch(folder).update().detector is not None


def test_the_monitor_exports_the_verdicts(folder: Path) -> None:
    """Score, threshold, alarm and attribution are metrics; they are absent where the tests are switched off."""
    _watch(folder)
    _log(folder, 400, 0)
    _log(folder, 300, 1, shift=0.8)
    monitor, registry = monitor_of(folder, CONFIG, drift_alarm="on")
    monitor.cycle()
    assert registry.get_sample_value("drift_detected") == 1
    assert registry.get_sample_value("drift_alarm_threshold") == 5
    assert (registry.get_sample_value("drift_alarm_score") or 0) > 5
    assert registry.get_sample_value("drift_blamed", {"feature": "income", "direction": "up"}) == 1
    shares = [registry.get_sample_value("drift_contribution", {"feature": name}) for name in COLUMNS]
    assert sum(share or 0 for share in shares) == pytest.approx(1)
    assert registry.get_sample_value("monitor_failures_total", {"stage": "alarms"}) == 0
    monitor.stop()
    monitor, registry = monitor_of(folder, CONFIG)
    monitor.cycle()
    assert registry.get_sample_value("drift_detected") is None


def test_a_test_that_fails_leaves_the_other_metrics(folder: Path) -> None:
    """The cycle goes on; the failure is counted, and the drift metrics are absent instead of old."""
    (folder / "_drift").write_text("in the way")
    _log(folder, 400, 0)
    monitor, registry = monitor_of(folder, CONFIG, drift_alarm="on")
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 400
    assert registry.get_sample_value("monitor_failures_total", {"stage": "alarms"}) == 1
    assert registry.get_sample_value("drift_detected") is None


def test_an_unknown_prediction_is_a_category_of_its_own() -> None:
    """A category that the config does not name is told from those that it does, and so is none."""
    rows = make_rows(LOANS, 3).assign(**{LOANS.model.prediction: ["no", None, "perhaps"]})
    found = rows_of(pa.Table.from_pandas(rows, preserve_index=False), LOANS.model)
    assert found.predictions.tolist() == [0, 2, 2]
    assert np.isfinite(found.features).all()


def test_a_burst_is_not_the_pace_of_the_traffic(tmp_path: Path) -> None:
    """Time without rows counts; rows of before last week do not, nor a clock that is behind the newest of them."""
    now = datetime.now(UTC)
    log_rows(tmp_path, LOANS, make_rows(LOANS, 1_500), now - timedelta(minutes=6))
    parts, _ = list_parts(Layout(tmp_path).current)
    assert rate_of(parts, now) == pytest.approx(1_500 / 360)
    assert rate_of(parts, now - timedelta(hours=1)) == pytest.approx(1_500 / 1.499)
    assert rate_of(parts, now + timedelta(days=8)) == pytest.approx(1_500 / (8 * 86_400 + 360))
    assert rate_of([], now) == 0


def test_a_log_that_is_silent_for_long_keeps_the_pace_that_it_had(tmp_path: Path) -> None:
    """A log of another system whose newest row is of two months ago, and one of monthly batches, have theirs."""
    now = datetime.now(UTC)
    for day in range(60, 90):
        log_rows(tmp_path, LOANS, make_rows(LOANS, 100), now - timedelta(days=day))
    parts, _ = list_parts(Layout(tmp_path).current)
    assert rate_of(parts, now) * 86_400 == pytest.approx(100, rel=0.1)
    assert rate_of([part for part in parts if part.rows], now - timedelta(days=60)) * 86_400 == pytest.approx(
        100, rel=0.2
    )


def test_a_row_that_is_dated_long_before_the_others_says_nothing_of_their_pace(tmp_path: Path) -> None:
    """A client's clock was wrong once: the traffic is of the last hour."""
    now = datetime.now(UTC)
    for minute in range(60):
        log_rows(tmp_path, LOANS, make_rows(LOANS, 100), now - timedelta(minutes=minute + 1))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 1), now - timedelta(days=5))
    parts, _ = list_parts(Layout(tmp_path).current)
    assert rate_of(parts, now) == pytest.approx(100 / 60, rel=0.05)
