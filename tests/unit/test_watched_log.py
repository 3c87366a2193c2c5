"""PREDICTION_LOG: another system's log, watched where it lies."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from flows.training.collection import collect
from monitoring.__main__ import main
from monitoring.alarms.log_cursor import REMEMBERED, LogCursor
from monitoring.contract.config import Config, Window
from monitoring.contract.errors import DriftloopError
from monitoring.contract.foreign_log import known_as, watched_log
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import list_parts
from monitoring.contract.reference import write_reference
from monitoring.contract.schemas import log_schema
from monitoring.contract.times import BEFORE_ALL
from monitoring.profile.counting import grid_of
from monitoring.window.window import ProfiledWindow
from tests.unit.models import WINE
from tests.unit.monitor_fixtures import make_rows, monitor_of
from tests.unit.object_storage import served_folder

COLUMNS = {"timestamp": "event_time", "confidence": "score"}
THEIRS = Config.model_validate(
    {**WINE, "model": {**WINE["model"], "columns": COLUMNS}, "tests": ["TestColumnDrift"], "window": {"rows": 100_000}}
)
MODEL = THEIRS.model
ALL = Window(rows=10**9)
BEGIN = datetime(2026, 2, 1, tzinfo=UTC)


def night(day: int, rows: int = 120, **columns: Any) -> pd.DataFrame:
    """Draw a night's rows as another system writes them: its names, labels in the same rows, no ids."""
    times = pd.date_range(BEGIN + timedelta(days=day), periods=rows, freq="min")
    return make_rows(THEIRS, rows, seed=day).assign(**({"event_time": times, "score": 0.7, "host": "a7"} | columns))


def write(log: Path, day: int, rows: pd.DataFrame | None = None) -> Path:
    """Write a night into a folder of its own, and return the file."""
    path = log / f"night={day}" / "scored.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    (night(day) if rows is None else rows).to_parquet(path)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a folder of three nights, with what else lies in such folders."""
    folder = tmp_path / "theirs"
    for day in range(3):
        write(folder, day)
    (folder / "_SUCCESS").touch()
    (folder / "README.txt").write_text("not for you")
    (folder / "_temporary").mkdir()
    night(9).to_parquet(folder / "_temporary/half.parquet")
    return folder


@pytest.fixture
def layout(tmp_path: Path, log: Path) -> Layout:
    data = tmp_path / "data"
    data.mkdir()
    table = pa.Table.from_pandas(make_rows(THEIRS, 500, seed=77), preserve_index=False)
    write_reference(Layout(data), MODEL, table, origin="user")
    return Layout(data, None, watched_log(str(log), MODEL))


def window(layout: Layout) -> ProfiledWindow:
    return ProfiledWindow(layout, THEIRS, grid_of(MODEL, pa.Table.from_pandas(make_rows(THEIRS, 300))))


def cursor(layout: Layout) -> LogCursor:
    return LogCursor(layout.current, log_schema(MODEL), BEFORE_ALL)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


def test_rows_are_read_where_they_lie_and_new_files_are_found(layout, log):
    looked, taken = window(layout), cursor(layout)
    before = snapshot(log)
    look = looked.look(None)
    assert (look.profile.rows, look.profile.labelled, look.unreadable) == (360, 360, ())
    rows, unreadable = taken.take(1000)
    assert (len(rows), unreadable) == (360, [])
    assert rows["prediction_id"].to_pylist()[:2] == ["night=0/scored.parquet#0", "night=0/scored.parquet#1"]
    assert len(set(rows["prediction_id"].to_pylist())) == 360
    assert set(rows["confidence"].to_pylist()) == {0.7}
    assert snapshot(log) == before
    write(log, 3)
    assert looked.look(None).profile.rows == 480
    assert taken.take(1000)[0]["timestamp"][0].as_py() == BEGIN + timedelta(days=3)
    assert len(taken.take(1000)[0]) == 0
    assert len(read_rows(layout, MODEL, Window(rows=150)).table) == 150


def test_a_file_that_is_written_anew_with_more_rows_is_read_on(layout, log, tmp_path):
    """As by a job that writes a day's file every hour. What was there before is not new to the sequential tests."""
    looked, taken = window(layout), cursor(layout)
    assert looked.look(None).profile.rows == len(taken.take(1000)[0]) == 360
    for rows in (150, 180):
        write(log, 2, night(2, rows))
        assert looked.look(None).profile.rows == 240 + rows
        new = taken.take(1000)[0]
        assert len(new) == 30
        assert new["prediction_id"][0].as_py() == f"night=2/scored.parquet#{rows - 30}"
    write(log, 2, night(2, 180, truth="red"))  # labels are filled in
    assert looked.look(None).profile.rows == 420
    assert len(taken.take(1000)[0]) == 0
    write(log, 2).unlink()
    assert len(taken.take(1000)[0]) == 0
    write(log, 2, night(2, 200))
    restored = LogCursor.restore(layout.current, log_schema(MODEL), BEFORE_ALL, taken.state())
    assert len(restored.take(1000)[0]) == 20


def test_large_row_groups_are_read_on_too(layout, log):
    table = pa.Table.from_pandas(night(5, 400_000), preserve_index=False)
    pq.write_table(table.slice(0, 300_000), log / "big.parquet", row_group_size=10**7)
    taken = cursor(layout)
    first = _drain(taken)
    assert first == 300_360
    pq.write_table(table, log / "big.parquet", row_group_size=10**7)
    assert _drain(taken) == 100_000


def _drain(taken: LogCursor) -> int:
    total = 0
    while rows := len(taken.take(50_000)[0]):
        total += rows
    return total


def test_labels_by_ids_come_in_files_and_are_not_lost_when_a_file_is_written_anew(layout, log):
    for day in range(3):
        write(log, day, night(day, truth=None, prediction_id=[f"{day}-{n}" for n in range(120)]))
    looked = window(layout)
    assert looked.look(None).profile.labelled == 0
    labels = pd.DataFrame({"prediction_id": ["1-5", "2-7", "9-9"], "truth": "red", "timestamp": datetime.now(UTC)})
    layout.labels.mkdir()
    labels.to_parquet(layout.labels / "labels.parquet")
    assert looked.look(None).profile.labelled == 2
    write(log, 2, night(2, 130, truth=None, prediction_id=[f"2-{n}" for n in range(130)]))
    assert looked.look(None).profile.labelled == 2


def test_the_monitor_watches_it_and_leaves_it_alone(layout, log, tmp_path):
    before = snapshot(log)
    monitor, registry = monitor_of(layout.root, THEIRS, prediction_log=str(log))
    monitor.cycle()
    assert monitor.state.problem is None
    assert registry.get_sample_value("rowcount") == 360
    write(log, 3)
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 480
    assert before.items() <= snapshot(log).items()
    assert not (layout.root / "current.parquet").exists()


def test_a_retraining_collects_from_it(layout):
    config = THEIRS.model_copy(update={"retrain": THEIRS.retrain.model_copy(update={"rows": 10_000})})
    found = collect(layout, config, None)
    assert (found.rows, len(found.table)) == (360, found.rows_since_change)


def test_a_name_that_is_not_there_is_an_error_on_the_page_in_metrics_and_in_check_config(
    layout, log, tmp_path, capsys, monkeypatch
):
    for day in range(3):
        write(log, day, night(day).rename(columns={"event_time": "when"}))
    says = "has no column event_time, which model.columns names for timestamp"
    monitor, registry = monitor_of(layout.root, THEIRS, prediction_log=str(log))
    monitor.cycle()
    assert monitor.state.problem is not None
    assert "none of the 3 files of the log can be read" in monitor.state.problem
    assert says in monitor.state.problem
    assert registry.get_sample_value("monitor_failures_total", {"stage": "read"}) == 1
    _check_config(tmp_path, monkeypatch, layout, log)
    assert main(["check-config"]) == 2
    assert says in capsys.readouterr().err
    write(log, 1)
    assert main(["check-config"]) == 0
    told = capsys.readouterr().out
    assert f"{log}: 120 rows in 1 files, from 2026-02-02 00:00 to 2026-02-02 01:59 UTC" in told
    assert f"{log}/night=0/scored.parquet: cannot be read: {says}" in told
    monitor.cycle()
    assert {file.reason for file in monitor.state.unreadable} == {says}
    assert registry.get_sample_value("monitor_unreadable_parts") == 2


def _check_config(folder: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout, log: Path) -> None:
    model = {**WINE["model"], "columns": COLUMNS}
    (folder / "config.yml").write_text(yaml.safe_dump({**WINE, "model": model}))
    for name, value in {
        "DRIFTLOOP_CONFIG": folder / "config.yml", "DATA_DIR": layout.root, "PREDICTION_LOG": log
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))


def test_check_config_says_what_the_newest_file_lacks(layout, log, tmp_path, capsys, monkeypatch):
    _check_config(tmp_path, monkeypatch, layout, log)
    write(log, 2, night(2).drop(columns=["sugar", "truth"]))
    assert main(["check-config"]) == 0
    told = capsys.readouterr().out
    assert "scored.parquet: has no column sugar: it counts as missing values" in told
    assert "scored.parquet: has no column truth: labels have to come by ids" in told


@pytest.mark.parametrize("make", ["half written", "empty", "pipe", "link in a circle", "folder", "integers as times"])
def test_a_file_that_cannot_be_read_is_named_and_costs_no_other(layout, log, make):
    path = log / "odd.parquet"
    if make == "half written":
        path.write_bytes((log / "night=0/scored.parquet").read_bytes()[:-100])
    elif make == "empty":
        path.touch()
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "link in a circle":
        path.symlink_to(path)
    elif make == "folder":
        path.mkdir()
    else:
        night(7, event_time=range(120)).to_parquet(path)
    look = window(layout).look(None)
    assert look.profile.rows == 360
    assert [file.path.name for file in look.unreadable] == ([] if make == "folder" else ["odd.parquet"])
    if make == "half written":
        night(7).to_parquet(path)
        assert window(layout).look(None).profile.rows == 480


def test_a_log_that_is_not_there_is_an_error_and_so_is_an_empty_folder(layout, log, tmp_path, monkeypatch, capsys):
    nowhere = Layout(layout.root, None, watched_log(str(tmp_path / "nowhere"), MODEL))
    with pytest.raises(DriftloopError, match=r"PREDICTION_LOG = .*nowhere: there is no such folder"):
        list_parts(nowhere.current)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DriftloopError, match=r"PREDICTION_LOG = .*empty: there is no file of Parquet, or it is away"):
        list_parts(watched_log(str(tmp_path / "empty"), MODEL))
    (log / "_delta_log").mkdir()
    with pytest.raises(DriftloopError, match="the Delta table cannot be read"):
        list_parts(layout.current)
    _check_config(tmp_path, monkeypatch, layout, log)
    night(0).to_parquet(tmp_path / "batch.parquet")
    assert main(["ingest", "--input", str(tmp_path / "batch.parquet")]) == 2
    assert "a log of others, which is only read" in capsys.readouterr().err


def test_of_deleted_files_the_newest_are_remembered(layout, log):
    taken = cursor(layout)
    taken.take(1000)
    state = taken.state()
    (_, progress), *_ = state["taken"].items()
    old = {f"old.parquet~{n:016x}~5~{n:016x}": [n, n, *progress[2:]] for n in range(REMEMBERED)}
    taken = LogCursor.restore(layout.current, log_schema(MODEL), BEFORE_ALL, state | {"gone": old})
    (log / "night=0/scored.parquet").unlink()
    assert len(taken.take(1000)[0]) == 0
    assert {*taken.state()["gone"]} == {*state["taken"], *old} - {*taken.state()["taken"], next(iter(old))}
    write(log, 0)
    assert len(taken.take(1000)[0]) == 0


def test_a_folder_that_cannot_be_looked_into_is_named(layout, log):
    (log / "night=3").symlink_to(log)
    (log / "night=4").symlink_to(log / "gone")
    look = window(layout).look(None)
    assert look.profile.rows == 360
    assert {(file.path.name, file.reason) for file in look.unreadable} == {
        ("night=3", "is a link to a folder that holds it"),
        ("night=4", "is a link to nothing"),
    }


@pytest.mark.parametrize("away", ["unmounted", "renamed", "a night"])
def test_what_is_away_for_a_look_is_told_and_nothing_of_it_is_lost(layout, log, away):
    """Where the disk of a log is not mounted, its folder is there and empty. Late labels are looked up again."""
    for day in range(3):
        write(log, day, night(day, truth=None, prediction_id=[f"{day}-{n}" for n in range(120)]))
    layout.labels.mkdir()
    labels = pd.DataFrame({"prediction_id": ["1-5", "2-7"], "truth": "red", "timestamp": datetime.now(UTC)})
    labels.to_parquet(layout.labels / "labels.parquet")
    looked, taken = window(layout), cursor(layout)
    assert (looked.look(None).profile.labelled, len(taken.take(1000)[0])) == (2, 360)
    what = log / "night=1" if away == "a night" else log
    elsewhere = what.rename(what.with_name("_elsewhere"))
    if away == "a night":
        assert (looked.look(None).profile.rows, len(taken.take(1000)[0])) == (240, 0)
    else:
        if away == "unmounted":
            what.mkdir()
        with pytest.raises(DriftloopError, match="PREDICTION_LOG = "):
            looked.look(None)
        with pytest.raises(DriftloopError, match="PREDICTION_LOG = "):
            taken.take(1000)
        if away == "unmounted":
            what.rmdir()
    elsewhere.rename(what)
    look = looked.look(None)
    assert (look.profile.rows, look.profile.labelled, len(taken.take(1000)[0])) == (360, 2, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_without_the_right_to_look_into_a_folder_its_rows_are_missed_aloud(layout, log):
    (log / "night=1").chmod(0)
    look = window(layout).look(None)
    (log / "night=1").chmod(0o700)
    assert (look.profile.rows, [file.path.name for file in look.unreadable]) == (240, ["night=1"])
    log.chmod(0)
    with pytest.raises(DriftloopError, match="cannot be listed: Permission denied"):
        list_parts(layout.current)
    log.chmod(0o700)


def test_a_delta_table_below_the_folder_is_refused(layout, log):
    (log / "night=1" / "_delta_log").mkdir()
    with pytest.raises(DriftloopError, match="night=1: is a Delta table"):
        list_parts(layout.current)


def test_a_numeric_feature_may_stand_in_the_folders_names(layout, tmp_path):
    name = MODEL.features[0]
    folder = tmp_path / "by feature"
    rows = pd.concat([night(day, 50).assign(**{name: 0.5 + day}) for day in range(3)])
    rows.to_parquet(folder, partition_cols=[name])
    found = read_rows(Layout(layout.root, None, watched_log(str(folder), MODEL)), MODEL, ALL)
    assert found.unreadable == ()
    assert sorted(set(found.table[name].to_pylist())) == [0.5, 1.5, 2.5]


def test_days_may_stand_in_the_folders_names_alone(layout, tmp_path):
    folder = tmp_path / "daily"
    rows = pd.concat([night(day, 50).assign(event_time=f"2026-02-0{day + 1}") for day in range(3)])
    rows.to_parquet(folder, partition_cols=["event_time", "guess"])
    daily = Layout(layout.root, None, watched_log(str(folder), MODEL))
    found = read_rows(daily, MODEL, ALL)
    assert found.unreadable == ()
    assert pc.unique(found.table["timestamp"]).to_pylist() == [BEGIN + timedelta(days=n) for n in range(3)]
    assert found.table["guess"].null_count == 0
    assert window(daily).look(None).profile.rows == 150


def test_a_part_s_name_tells_which_file_it_is_and_how_it_was(layout, log):
    (newest, *_), _ = list_parts(layout.current)
    before = known_as(newest.name)
    assert before is not None
    assert before[1] == 120
    write(log, 2, night(2, 121))
    (again, *_), _ = list_parts(layout.current)
    assert known_as(again.name) == (before[0], 121)
    assert known_as("part-0000000000000001-0000000000000002-3-a-1.parquet") is None


@pytest.mark.timeout(240)
def test_it_may_lie_in_object_storage(layout, monkeypatch):
    with served_folder(monkeypatch) as uri:
        where, _, options = uri.partition("?")
        there = Layout(layout.root, None, watched_log(f"{where}/theirs?{options}", MODEL))
        filesystem, path = there.current.at.address
        with pytest.raises(DriftloopError, match="there is no file of Parquet, or it is away"):
            list_parts(there.current)
        for day in range(2):
            with filesystem.open_output_stream(f"{path}/night={day}/scored.parquet") as stream:
                night(day).to_parquet(stream)
        taken = cursor(there)
        assert window(there).look(None).profile.rows == len(taken.take(1000)[0]) == 240
        with filesystem.open_output_stream(f"{path}/night=1/scored.parquet") as stream:
            night(1, 150).to_parquet(stream)
        assert len(taken.take(1000)[0]) == 30
