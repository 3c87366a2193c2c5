"""A backtest of mixed features: the detector over a recorded log, late labels of a regression, and the report."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from monitoring.alarms.drift.support import Support
from monitoring.backtest.detector_replay import PastDetector, calibrate_for
from monitoring.backtest.log_rows import open_labels, open_log
from monitoring.backtest.report import Backtest, as_json, as_text
from monitoring.backtest.windows import PastLabels, look_back
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from monitoring.contract.times import microseconds
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.monitor_fixtures import keep_reference, label_rows, log_rows

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CONFIGS = pytest.mark.parametrize("config", [pytest.param(trips(), id="trips"), pytest.param(tips(), id="tips")])


def _rows(config: Config, count: int, seed: int) -> pd.DataFrame:
    columns = pa.table(trip_rows(count, seed))
    rows = columns.to_pandas().assign(airport=columns["airport"].cast(pa.string()).to_pandas())
    model = config.model
    return rows[[*model.features, model.prediction, model.target]]


def _record(folder: Path, config: Config) -> None:
    """Record 30 rows a minute; from the 20th minute on the station has moved to a new zone. Labels come later."""
    keep_reference(folder, config, _rows(config, 500, 99))
    for minute in range(40):
        rows = _rows(config, 30, minute)
        if minute >= 20:
            rows["zone"] = rows.zone.replace("station", "terminal")
        labels = rows[config.model.target].tolist()
        ids = log_rows(folder, config, rows.assign(**{config.model.target: None}), START + minute * MINUTE)
        label_rows(folder, config, ids, labels, START + (minute + 5) * MINUTE)


@CONFIGS
def test_a_log_of_mixed_features_is_replayed_and_told(tmp_path: Path, config: Config) -> None:
    """The alarm comes after the change; text and JSON name the levels that came and went."""
    _record(tmp_path, config)
    model = config.model
    reference = read_reference(Layout(tmp_path), model)
    calibration = calibrate_for(reference, config, lambda _: None, 20)
    support = Support(100_000, 240_000, 0.5, calibration.rhythm)
    detector = PastDetector(reference, model, calibration, support)
    log = open_log(str(tmp_path / "current.parquet"), model, None, None)
    for piece in log.read():
        detector.feed(piece)
    (alarm,) = detector.alarms
    change = microseconds(START + 20 * MINUTE)
    assert change <= alarm.alarm.noticed <= change + 120_000_000
    assert not detector.unknown
    found = Backtest(
        log.first, log.last, 1200, 1, 60.0, None, tuple(detector.alarms), tuple(detector.restarted.alarms), support
    )
    assert "zone unseen (unseen terminal 0.0 % to" in as_text(found)
    (told,) = as_json(found)["detector"]["alarms"]
    assert told["blamed"] == {"zone": "unseen"}
    assert {one["level"]: one["unseen"] for one in told["levels"]["zone"]}["terminal"]


@CONFIGS
def test_late_labels_are_of_the_tasks_type(tmp_path: Path, config: Config) -> None:
    """Windows of the past have a regression's labels as numbers, from the time on at which they came."""
    _record(tmp_path, config)
    model = config.model
    log = open_log(str(tmp_path / "current.parquet"), model, None, None)
    labels = PastLabels(open_labels(str(tmp_path / "labels.parquet"), model), model)
    moments = [microseconds(START + minutes * MINUTE) for minutes in (4, 39)]
    before, after = (one.rows[model.target] for one in look_back(log, labels, config.window, moments))
    assert {before.type, after.type} == {model.rules.values}  # noqa: PD011 - no frame
    assert before.null_count == len(before)
    assert 0 < after.null_count < len(after) // 4


def test_a_prediction_of_another_coding_is_counted(tmp_path: Path) -> None:
    """A classification's predictions that the config does not name are told; a regression's numbers never are."""
    config = tips()
    _record(tmp_path, config)
    reference = read_reference(Layout(tmp_path), config.model)
    calibration = calibrate_for(reference, config, lambda _: None, 5)
    detector = PastDetector(reference, config.model, calibration, Support(1e5, 1e5, 0.5, calibration.rhythm))
    log_rows(tmp_path, config, _rows(config, 30, 1).assign(predicted_tip="1"), START + timedelta(hours=2))
    for piece in open_log(str(tmp_path / "current.parquet"), config.model, None, None).read():
        detector.feed(piece)
    assert detector.unknown == {"1": 30}
