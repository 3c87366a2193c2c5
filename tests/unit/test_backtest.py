"""`python -m monitoring backtest`: a recorded log replayed, and the rules asked of a real Prometheus."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitoring.__main__ import CANNOT_START, main
from monitoring.backtest.log_rows import open_log, rate_of
from monitoring.contract.times import microseconds
from scripts.prometheus_tools import find_tools
from tests.processes import ROOT
from tests.unit.models import GENRES
from tests.unit.monitor_fixtures import keep_reference, label_rows, log_rows, make_rows

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _record(folder: Path) -> None:
    """Record a row burst per minute: 40 steady ones of 20 rows, then 20 whose first feature has moved.

    Every other minute's labels name their rows in capitals.
    """
    keep_reference(folder, GENRES, make_rows(GENRES, 300, seed=99))
    for minute in range(60):
        rows = make_rows(GENRES, 20, seed=minute, shift=2.0 if minute >= 40 else 0.0)
        ids = log_rows(folder, GENRES, rows.assign(actual_genre=None), START + minute * MINUTE)
        ids = [i.upper() for i in ids] if minute % 2 else ids
        label_rows(folder, GENRES, ids, rows[GENRES.model.target].tolist(), START + (minute + 30) * MINUTE)


def _backtest(folder: Path, *arguments: str) -> int:
    places = ["--log", str(folder / "current.parquet"), "--reference", str(folder / "reference.parquet")]
    tools = ["--prometheus-bin", str(Path(find_tools().promtool).parent)]
    return main(["backtest", *places, "--config", str(ROOT / "monitoring/config.yml"), *tools, *arguments])


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("past")
    _record(folder)
    outputs = ["--json", str(folder / "found.json"), "--openmetrics", str(folder / "past.om")]
    labels = ["--labels", str(folder / "labels.parquet")]
    assert _backtest(folder, "--every", "1m", *labels, *outputs) == 0
    return folder, json.loads((folder / "found.json").read_text())


def test_the_detector_would_have_fired_after_the_change_and_not_before(replayed: tuple[Path, dict[str, Any]]) -> None:
    """One alarm, noticed within minutes of the change, that blames the feature which moved."""
    _, found = replayed
    assert found["rows"] == 1200
    (alarm,) = found["detector"]["alarms"]
    change = (START + 40 * MINUTE).timestamp()
    assert change <= alarm["noticed"] <= change + 180
    assert abs(alarm["onset"] - change) <= 120
    assert alarm["blamed"]["mfcc_1"] == "up"
    detector = found["detector"]
    assert detector["promise_rows"] == pytest.approx(30 * 86_400 * detector["rows_per_second"])
    assert detector["supported_rows"] == 1_200_000
    assert detector["rhythm"].items() >= {"cycle_seconds": 0, "cycles": 0}.items()
    assert "the reference does not know its rows' times" in detector["rhythm"]["said"]


def test_the_rules_are_answered_by_prometheus(replayed: tuple[Path, dict[str, Any]]) -> None:
    """An alert fires once its expression has held for its `for`; the one that retrains after the change alone."""
    _, found = replayed
    alerts = {one["alert"]: one for one in found["alerts"]}
    change = (START + 40 * MINUTE).timestamp()
    (firing,) = alerts["ModelDrift"]["firings"]
    assert change + 300 <= firing["begin"] <= change + 600
    assert firing["end"] is None
    assert alerts["MFCCFeatureDrift"]["firings"][-1]["end"] is None
    assert alerts["DataQualityIssue"]["times"] == 0
    assert "TargetDown" not in alerts  # it speaks of nothing that a log holds
    assert "TargetDown" in found["alerts_left_out"]


def test_what_is_written_goes_into_a_prometheus(replayed: tuple[Path, dict[str, Any]]) -> None:
    """Promtool takes the text; no label is known before its own time."""
    folder, _ = replayed
    command = [find_tools().promtool, "tsdb", "create-blocks-from", "openmetrics", folder / "past.om", folder / "tsdb"]
    subprocess.run(command, check=True, capture_output=True)
    assert list((folder / "tsdb").glob("*/meta.json"))
    labelled = [
        (float(line.split()[2]), float(line.split()[1]))
        for line in (folder / "past.om").read_text().splitlines()
        if line.startswith("labelled_rows{")
    ]
    assert all(value == 0 for time, value in labelled if time < (START + 30 * MINUTE).timestamp())
    assert labelled[-1][1] > 300  # of the newest 1,000 rows, 20 a minute: half of these labels name them in capitals
    assert all('job="monitor"' in line for line in (folder / "past.om").read_text().splitlines() if line[0] != "#")


def test_a_part_of_a_log_is_promised_by_its_own_rate(tmp_path: Path) -> None:
    """A row group that the period cuts counts by its rows in it, not by all that it holds."""
    log_rows(tmp_path, GENRES, make_rows(GENRES, 1000), START)  # a millisecond apart, in one row group
    whole, cut = (START + n * timedelta(milliseconds=1) for n in (0, 900))
    rates = [
        rate_of(open_log(str(tmp_path / "current.parquet"), GENRES.model, microseconds(begin) - 1, None))
        for begin in (whole, cut)
    ]
    assert rates == pytest.approx([1000, 1000], rel=0.02)


def test_what_cannot_be_replayed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No log, no rows of the time that is asked for, rules that are none: the answer names what is wrong."""
    keep_reference(tmp_path, GENRES, make_rows(GENRES, 300, seed=99))
    assert _backtest(tmp_path) == CANNOT_START
    assert "current.parquet" in capsys.readouterr().err
    log_rows(tmp_path, GENRES, make_rows(GENRES, 20), START)
    assert _backtest(tmp_path, "--from", "2030-01-01") == CANNOT_START
    assert "none of the time asked for" in capsys.readouterr().err
    (tmp_path / "rules.yml").write_text("groups: 3")
    assert _backtest(tmp_path, "--rules", str(tmp_path / "rules.yml")) == CANNOT_START
    assert "is no file of Prometheus rules" in capsys.readouterr().err
