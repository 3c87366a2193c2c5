"""`python -m monitoring ingest`: batches become part of the log, once, whoever else writes to it or dies meanwhile."""

import csv
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import uuid_utils
import yaml

from api.log.append_log import label_format, prediction_format
from api.log.maintenance import Maintenance
from api.log.retention import Retention
from monitoring.__main__ import main
from monitoring.contract.config import Config, Window
from monitoring.contract.layout import ID_INDEX, Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import list_parts
from monitoring.contract.row_lookup import find_targets
from monitoring.contract.times import microseconds
from monitoring.profile.counting import grid_of
from monitoring.window.window import ProfiledWindow
from tests.processes import ROOT
from tests.unit.kills import killed_at, steps_of
from tests.unit.log_fixtures import Log
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.models import WINE
from tests.unit.monitor_fixtures import make_rows
from tests.unit.object_storage import served_folder

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
TRIPS = trips(window={"rows": 100_000})
ALL = Window(rows=10**9)


def batch(rows: int = 300, seed: int = 0, begin: datetime = BEGIN, **columns: Any) -> pd.DataFrame:
    """Draw scored trips as a nightly job has them: no ids, labels not yet known."""
    drawn = pa.table(trip_rows(rows, seed)).to_pandas()
    return drawn.assign(timestamp=pd.date_range(begin, periods=rows, freq="37s"), minutes=None).assign(**columns)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of data, with the config of the trips in the environment."""
    write_config(tmp_path, TRIPS)
    monkeypatch.setenv("DRIFTLOOP_CONFIG", str(tmp_path / "config.yml"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def write_config(folder: Path, config: Config, **model: Any) -> None:
    content = config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    content["model"]["features"] = dict(config.model.kinds) or list(config.model.features)
    content["model"].pop("kinds", None)
    content["model"] |= model
    content["tests"] = WINE["tests"]
    (folder / "config.yml").write_text(yaml.safe_dump(content, sort_keys=False))


def ingest(*files: Path | str, more: tuple[str, ...] = ()) -> int:
    return main(["ingest", "--input", *map(str, files), *more])


def logged(data: Path, config: Config = TRIPS) -> pa.Table:
    found = read_rows(Layout(data), config.model, ALL)
    assert found.unreadable == ()
    return found.table


def test_a_batch_is_appended_once_however_often_and_in_whatever_form(data, tmp_path, capsys):
    """Without ids a row is known by what stands in it: from Parquet and from CSV, whole and in pieces."""
    rows = batch()
    rows.to_parquet(tmp_path / "scored.parquet")
    rows.to_csv(tmp_path / "scored.csv")
    rows.to_csv(tmp_path / "german.csv", sep=";", decimal=",", encoding="utf-8-sig", index=False)
    rows.sample(frac=1, random_state=1).iloc[:100].to_parquet(tmp_path / "again.parquet")
    assert ingest(tmp_path / "scored.parquet") == 0
    assert capsys.readouterr().out == f"{tmp_path}/scored.parquet: 300 rows appended, 0 known already, 0 refused\n"
    assert ingest(tmp_path / "scored.parquet", tmp_path / "scored.csv", tmp_path / "again.parquet") == 0
    assert "3 files: 0 rows appended, 700 known already, 0 refused" in capsys.readouterr().out
    assert ingest(tmp_path / "german.csv", more=("--decimal", ",")) == 0
    assert "0 rows appended, 300 known already" in capsys.readouterr().out
    found = logged(data)
    assert len(found) == 300
    assert found["timestamp"].to_pylist() == list(rows["timestamp"])
    assert found["distance"].to_pylist() == list(rows["distance"])
    assert set(found["airport"].to_pylist()) == {"true", "false", None}
    assert set(found["passengers"].to_pylist()) == {1.0, 2.0, 3.0, 4.0}


def test_equal_rows_of_a_batch_are_all_kept_and_known_again(data, tmp_path):
    rows = batch(5)
    pd.concat([rows, rows, rows.iloc[:1]]).to_parquet(tmp_path / "twice.parquet")
    for _ in range(2):
        assert ingest(tmp_path / "twice.parquet") == 0
        assert len(logged(data)) == 11
    assert len(set(logged(data)["prediction_id"].to_pylist())) == 11


def test_ids_are_kept_and_known_whatever_else_has_changed(data, tmp_path, capsys):
    rows = batch(10, prediction_id=[f"loan {n}" for n in range(10)])
    pd.concat([rows, rows.iloc[:2]]).to_parquet(tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.parquet") == 0
    assert "10 rows appended, 2 known already" in capsys.readouterr().out
    rows.assign(distance=1.0, timestamp=BEGIN + timedelta(days=9)).to_parquet(tmp_path / "b.parquet")
    assert ingest(tmp_path / "b.parquet") == 0
    told = capsys.readouterr().out
    assert "0 rows appended, 10 known already" in told
    assert "10 known rows have another time in the log" in told
    assert sorted(logged(data)["prediction_id"].to_pylist()) == sorted(rows["prediction_id"])


def test_other_rows_with_the_id_of_an_earlier_one_are_refused(data, tmp_path, capsys):
    """A constant where an id is due loses nothing in silence; equal rows are known, with a label more, too."""
    rows = batch(6, prediction_id="job 7")
    rows.to_parquet(tmp_path / "constant.parquet")
    assert ingest(tmp_path / "constant.parquet") == 1
    told = capsys.readouterr().out
    assert "1 row appended, 0 known already, 5 refused" in told
    assert "5 rows refused: the id of an earlier row of the file, which holds other values (2, 3, 4, 5, 6)" in told
    first = rows.iloc[:1].assign(prediction_id="job 8", distance=float("nan"))
    pd.concat([first, first.assign(minutes=4.0)]).to_parquet(tmp_path / "twice.parquet")
    assert ingest(tmp_path / "twice.parquet") == 0
    assert "1 row appended, 1 known already, 0 refused; 1 label of known rows added" in capsys.readouterr().out


def test_of_several_labels_of_an_id_the_last_counts(data, tmp_path, capsys):
    """As it does where they come one by one, and also when the batch is run again."""
    row = batch(1, prediction_id="job 9", minutes=1.0)
    rows = [row, row.assign(minutes=4.0), row.assign(minutes=float("nan"))]
    pd.concat(rows).to_parquet(tmp_path / "corrected.parquet")
    for _ in range(2):
        assert ingest(tmp_path / "corrected.parquet") == 0
        assert "  1 id has several labels; the last one counts\n" in capsys.readouterr().out
        assert logged(data)["minutes"].to_pylist() == [4.0]


def test_rows_come_into_their_place_in_time(data, tmp_path):
    """A batch of older rows, in any order, is older in the window."""
    for name, begin in (("new", BEGIN + timedelta(days=1)), ("old", BEGIN)):
        batch(200, seed=len(name), begin=begin).sample(frac=1, random_state=3).to_parquet(tmp_path / f"{name}.parquet")
        assert ingest(tmp_path / f"{name}.parquet") == 0
    times = logged(data)["timestamp"].to_pylist()
    assert times == sorted(times)
    assert len(times) == 400
    grid = grid_of(TRIPS.model, pa.table(trip_rows(300, 5)))
    look = ProfiledWindow(Layout(data), TRIPS.model_copy(update={"window": Window(rows=250)}), grid).look(None)
    assert (look.profile.rows, look.unreadable) == (250, ())
    assert look.profile.first == microseconds(times[150])


def test_the_api_merges_finds_and_retires_what_was_ingested(data, tmp_path):
    """A part of a batch is like a sealed one: beside those of the API it is merged, looked up and archived."""
    form = prediction_format(TRIPS.model)
    log = Log(data / "current.parquet", form=form)
    labels = Log(data / "labels.parquet", form=label_format(TRIPS.model))
    for n in range(10):
        begin = BEGIN + timedelta(hours=n)
        batch(100, seed=n, begin=begin).to_parquet(tmp_path / f"{n}.parquet")
        at = microseconds(begin)
        row = [str(uuid_utils.uuid7(nanoseconds=at * 1000)), at, 1.0, 2.0, "station", "true", 9.0, None, "1", None]
        log.append([row] * 1 + [[str(uuid_utils.uuid7(nanoseconds=at * 1000)), *row[1:]] for _ in range(99)])
        log.seal()
    assert ingest(*(tmp_path / f"{n}.parquet" for n in range(10))) == 0
    Maintenance(log, labels, Retention(), 60.0).once()
    assert len(list_parts(log.folder)[0]) == 20 - 16 + 1
    found = logged(data)
    assert len(found) == 2000
    made = found.filter(pc.is_null(found["model_version"]))["prediction_id"].to_pylist()
    assert len(find_targets(log.folder, made, "minutes", pa.float64())) == 1000
    assert ingest(*(tmp_path / f"{n}.parquet" for n in range(10))) == 0
    assert len(logged(data)) == 2000
    archive = tmp_path / "archive"
    Maintenance(log, labels, Retention(age=timedelta(days=1), archive=archive), 60.0).once()
    assert len(logged(data)) == 0
    assert len(pd.read_parquet(archive / "current.parquet")) == 2000


def test_labels_that_come_with_the_same_rows_later_are_added_once(data, tmp_path, capsys):
    """They are no part of what a row is known by; a correction that came meanwhile is not taken back."""
    rows = batch(100)
    rows.to_parquet(tmp_path / "scored.parquet")
    rows.assign(minutes=[None, *map(float, range(1, 100))]).to_parquet(tmp_path / "labelled.parquet")
    assert ingest(tmp_path / "scored.parquet") == 0
    assert ingest(tmp_path / "labelled.parquet") == 0
    assert "0 rows appended, 100 known already, 0 refused; 99 labels of known rows added" in capsys.readouterr().out
    assert ingest(tmp_path / "labelled.parquet") == 0
    assert "known rows" not in capsys.readouterr().out
    assert sorted(logged(data)["minutes"].drop_null().to_pylist()) == [float(n) for n in range(1, 100)]
    rows.assign(minutes=7.5).to_parquet(tmp_path / "corrected.parquet")
    assert ingest(tmp_path / "corrected.parquet") == 0
    assert ingest(tmp_path / "labelled.parquet") == 0
    assert set(logged(data)["minutes"].to_pylist()) == {7.5}


def test_labels_by_ids_of_the_users_own_reach_the_window(data, tmp_path):
    rows = batch(60, prediction_id=[f"trip/{n}" for n in range(60)])
    rows.to_parquet(tmp_path / "scored.parquet")
    rows.assign(minutes=5.0).to_parquet(tmp_path / "labelled.parquet")
    assert ingest(tmp_path / "scored.parquet", tmp_path / "labelled.parquet") == 0
    grid = grid_of(TRIPS.model, pa.table(trip_rows(300, 5)))
    assert ProfiledWindow(Layout(data), TRIPS, grid).look(None).profile.labelled == 60
    assert logged(data)["minutes"].to_pylist() == [5.0] * 60


def test_rows_are_refused_by_reason_and_the_others_are_appended(data, tmp_path, capsys):
    rows = batch(20)
    rows.loc[3, "timestamp"] = None
    rows.loc[4, "timestamp"] = datetime.now(UTC) + timedelta(days=2)
    rows.loc[5, "timestamp"] = datetime(1969, 12, 31, tzinfo=UTC)
    rows.loc[6:13, "predicted_minutes"] = None
    rows.to_parquet(tmp_path / "scored.parquet")
    assert ingest(tmp_path / "scored.parquet") == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/scored.parquet: 9 rows appended, 0 known already, 11 refused",
        "  1 row refused: no timestamp (4)",
        "  1 row refused: dated before 1970 (6)",
        "  1 row refused: dated more than an hour ahead of this clock (5)",
        "  8 rows refused: no predicted_minutes (7, 8, 9, 10, 11, …)",
    ]
    assert len(logged(data)) == 9


def _with(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


HEAD = b"timestamp,distance,passengers,zone,airport,predicted_minutes\n"
ROW = b"2026-01-05T00:00:00Z,1.5,2,station,True,9.5\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("a.csv", HEAD + ROW.replace(b"1.5", b"far"), "distance holds 'far', no number", id="text"),
        pytest.param(
            "a.csv", HEAD.replace(b",", b";") + ROW.replace(b",", b";").replace(b".", b","),
            "distance holds '1,5', no number; --decimal , reads decimal commas", id="decimal comma",
        ),
        pytest.param("a.csv", ROW, "its first line names none of the config's columns", id="no header"),
        pytest.param("a.csv", b"x" * 200_000 + HEAD + ROW, "its first line cannot be read: field larger", id="long"),
        pytest.param("a.csv", b"", "is empty; a CSV file begins with the names", id="empty"),
        pytest.param("a.csv", HEAD.replace(b",", b"^") + ROW, "--delimiter says what stands between", id="delimiter"),
        pytest.param("a.csv", HEAD + ROW + b"1,2\n", "Expected 6 columns, got 2", id="a line that is cut off"),
        pytest.param("a.csv", HEAD.replace(b"zone", b"distance") + ROW, "distance stands more than once", id="twice"),
        pytest.param("a.csv", HEAD + ROW.replace(b"station", b"caf\xe9"), "is not utf-8", id="latin-1"),
        pytest.param("a.csv", HEAD.replace(b"zone", b"area") + ROW, "has no column zone; --allow-missing", id="lacks"),
        pytest.param("a.csv", HEAD.replace(b"timestamp", b"when") + ROW, "has no column timestamp; model", id="t"),
        pytest.param("a.csv", HEAD + ROW.replace(b"2026-01-05T00:00:00Z", b"1767571200"), "a time: ", id="seconds"),
        pytest.param("a.parquet", b"PAR1 and no more", "it ends in the middle", id="cut off"),
        pytest.param("a.parquet", HEAD + ROW, "is not a Parquet file", id="no Parquet"),
        pytest.param("a.csv.gz", HEAD + ROW, "zlib inflate failed", id="no gzip"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_understood_is_refused_with_what_helps(tmp_path, capsys, name, content, says):
    """As a whole: nothing of it is in the log, and the other files are."""
    batch(7).to_parquet(tmp_path / "good.parquet")
    assert ingest(_with(tmp_path / name, content), tmp_path / "good.parquet") == 1
    told = capsys.readouterr().out
    assert f"{tmp_path}/{name}: the file is refused: " in told
    assert says in told
    assert "2 files, 1 refused: 7 rows appended, 0 known already, 0 refused" in told
    assert len(logged(tmp_path / "data")) == 7


@pytest.mark.parametrize(
    ("encoding", "more"),
    [
        pytest.param("utf-8-sig", (), id="byte order mark"),
        pytest.param("utf-16", (), id="utf-16"),
        pytest.param("latin-1", ("--encoding", "latin-1"), id="latin-1"),
    ],
)
def test_encodings_are_recognised_or_named(data, tmp_path, encoding, more):
    text = (HEAD + ROW).decode().replace("station", "Bahnhof Süd").replace(",", "\t")
    assert ingest(_with(tmp_path / "a.tsv", text.encode(encoding)), more=more) == 0
    assert logged(data)["zone"].to_pylist() == ["Bahnhof Süd"]


def test_a_csv_s_words_mean_what_the_config_says(data, tmp_path):
    """Leading zeros are kept, whole numbers with gaps and booleans are levels, and what is missing is null."""
    lines = [
        b"2026-01-05 00:00:00+00:00,,2.0,007,True,9.5\n",
        b"2026-01-05,1e3,NaN,,,1\n",
        b'2026-01-05T01:00:00.5,"2","3",12,False,2\n',
    ]
    assert ingest(_with(tmp_path / "a.csv", HEAD + b"".join(lines))) == 0
    found = logged(data).sort_by("predicted_minutes").to_pydict()
    assert found["zone"] == [None, "12", "007"]
    assert found["airport"] == [None, "false", "true"]
    assert found["passengers"] == [None, 3.0, 2.0]
    assert found["distance"] == [1000.0, 2.0, None]
    with_gaps = HEAD + ROW.replace(b"station", b"4.0") + ROW.replace(b"station", b"").replace(b"9.5", b"8.5")
    assert ingest(_with(tmp_path / "b.csv", with_gaps)) == 0
    assert "4" in logged(data)["zone"].to_pylist()


def test_an_empty_field_in_quotes_is_a_missing_value_and_an_empty_id_is_none(data, tmp_path, capsys):
    rows = batch(20, prediction_id=None)
    rows["zone"] = rows["zone"].where(rows.index != 3, None)
    rows.to_csv(tmp_path / "a.csv", quoting=csv.QUOTE_ALL, index=False)
    rows.assign(prediction_id="").to_parquet(tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.csv", tmp_path / "a.parquet") == 0
    assert "2 files: 20 rows appended, 20 known already" in capsys.readouterr().out
    assert logged(data)["zone"].to_pylist()[3] is None
    assert "" not in logged(data)["prediction_id"].to_pylist()


def test_an_id_that_comes_again_with_its_label_gets_it_at_once(data, tmp_path, capsys):
    rows = batch(3, prediction_id=["a", "b", "c"])
    pd.concat([rows, rows.iloc[1:].assign(minutes=4.0)]).to_parquet(tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.parquet") == 0
    assert "3 rows appended, 2 known already, 0 refused; 2 labels" in capsys.readouterr().out
    assert ingest(tmp_path / "a.parquet") == 0
    assert "labels" not in capsys.readouterr().out
    assert logged(data).sort_by("prediction_id")["minutes"].to_pylist() == [None, 4.0, 4.0]


def test_equal_rows_of_several_files_of_a_command_are_named(data, tmp_path, capsys):
    rows = batch(5)
    rows.to_parquet(tmp_path / "a.parquet")
    pd.concat([rows.iloc[:2], batch(5, seed=1)]).to_parquet(tmp_path / "b.parquet")
    assert ingest(tmp_path / "a.parquet", tmp_path / "b.parquet") == 0
    assert "  2 rows without an id known from another file of this command" in capsys.readouterr().out
    assert ingest(tmp_path / "a.parquet", tmp_path / "b.parquet") == 0
    assert "another file" not in capsys.readouterr().out


def test_a_batch_without_rows_is_no_error(data, tmp_path, capsys):
    batch(5).iloc[:0].to_parquet(tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.parquet", _with(tmp_path / "a.csv", HEAD)) == 0
    assert "2 files: 0 rows appended, 0 known already, 0 refused" in capsys.readouterr().out


def test_names_of_theirs_folders_and_a_time_for_all(data, tmp_path, capsys):
    """A job's output as Spark leaves it: a folder a day, which names the time, `_SUCCESS`, and other names."""
    write_config(tmp_path, TRIPS, columns={"timestamp": "day", "prediction_id": "key"})
    rows = batch(60, key=[f"k{n}" for n in range(60)]).drop(columns="timestamp")
    rows["day"] = ["2026-01-05"] * 30 + ["2026-01-06"] * 30
    rows.to_parquet(tmp_path / "out", partition_cols=["day"])
    (tmp_path / "out/_SUCCESS").touch()
    assert ingest(tmp_path / "out") == 0
    assert "60 rows appended" in capsys.readouterr().out
    assert set(logged(data)["timestamp"].to_pylist()) == {BEGIN, BEGIN + timedelta(days=1)}
    pattern = str(tmp_path / "out" / "day=*" / "*.parquet")
    assert ingest(pattern) == 1
    assert "has no column day, which model.columns names for timestamp" in capsys.readouterr().out
    assert ingest(pattern, more=("--timestamp", "2026-01-07")) == 0
    assert "2 files: 0 rows appended, 60 known already" in capsys.readouterr().out
    assert ingest(str(tmp_path / "no*.parquet")) == 2
    assert "no file is named so" in capsys.readouterr().err
    (tmp_path / "out/_delta_log").mkdir()
    assert ingest(tmp_path / "out") == 2
    assert "out: the Delta table cannot be read" in capsys.readouterr().err


def test_a_delta_table_is_refused_however_it_is_named(data, tmp_path, capsys):
    table = tmp_path / "out/table"
    (table / "_delta_log").mkdir(parents=True)
    (table / "day=1").mkdir()
    (tmp_path / "plain").mkdir()
    for file in (table / "a.parquet", table / "day=1/b.parquet", tmp_path / "plain/c.parquet"):
        batch(5).to_parquet(file)
    for named in (
        "out",
        "out/table/a.parquet",
        "out/table/*.parquet",
        "out/table/day=*/*.parquet",
        "o*",
        "out/table/day=1/b.parquet",
    ):
        for source in (str(tmp_path / named), (tmp_path / named).as_uri().replace("%2A", "*")):
            assert ingest(source) == 2
            assert f"{table}: is a Delta table" in capsys.readouterr().err
    assert ingest(tmp_path / "plain", str(tmp_path / "plain/*.parquet")) == 0


def test_answers_that_are_all_no_categories_are_another_column(data, tmp_path, capsys):
    config = tips()
    write_config(tmp_path, config)
    rows = batch(50).drop(columns="minutes").assign(tip=None)
    rows.assign(predicted_tip="maybe").to_parquet(tmp_path / "a.parquet")
    rows.assign(predicted_tip=["maybe", *["yes"] * 49]).to_parquet(tmp_path / "b.parquet")
    assert ingest(tmp_path / "a.parquet") == 1
    assert "predicted_tip holds maybe in 50 rows; the config's categories are no, yes" in capsys.readouterr().out
    assert ingest(tmp_path / "b.parquet") == 0
    assert "predicted_tip holds maybe in 1 rows" in capsys.readouterr().out
    assert len(logged(data, config)) == 50


def test_numbers_are_narrowed_as_the_log_s_are_and_known_all_the_same(data, tmp_path):
    write_config(tmp_path, TRIPS, dtype="float32")
    rows = batch(40)
    rows.to_parquet(tmp_path / "a.parquet")
    narrow = {name: "float32" for name, kind in rows.dtypes.items() if kind == "float64"}
    assert {"distance", TRIPS.model.prediction} <= narrow.keys()
    rows.astype(narrow).to_parquet(tmp_path / "narrow.parquet")
    rows.astype(narrow).to_csv(tmp_path / "narrow.csv", index=False)
    for name in ("a.parquet", "a.parquet", "narrow.parquet", "narrow.csv"):
        assert ingest(tmp_path / name) == 0
    (part,) = list_parts(data / "current.parquet")[0]
    assert pq.read_schema(part.path).field("distance").type == pa.float32()
    assert part.rows == 40


def test_ids_that_tell_another_time_are_named(data, tmp_path, capsys):
    batch(5, prediction_id=[str(uuid_utils.uuid7()) for _ in range(5)]).to_parquet(tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.parquet") == 0
    assert "5 ids are UUIDs of version 7 that tell another time" in capsys.readouterr().out
    assert ingest(tmp_path / "a.parquet") == 0
    assert "0 rows appended, 5 known already" in capsys.readouterr().out


def test_killed_at_any_step_it_is_run_again_and_all_is_there_once(data, tmp_path):
    rows = batch(50, minutes=4.0)
    scored, labelled = tmp_path / "scored.parquet", tmp_path / "labelled.parquet"
    rows.assign(minutes=None).to_parquet(scored)
    rows.to_parquet(labelled)

    def work() -> None:
        assert ingest(scored, labelled) == 0

    steps = steps_of(work)
    assert "batch appended" in steps
    for step in range(len(steps)):
        for path in data.rglob("*.*"):
            path.is_file() and path.unlink()
        killed_at(step, work)
        work()
        assert logged(data)["minutes"].to_pylist() == [4.0] * 50, steps[step]
        assert not list(data.rglob("*.tmp")), steps[step]


def test_several_at_once_append_each_row_once(data, tmp_path):
    paths = []
    for n in range(4):
        paths.append(tmp_path / f"{n}.parquet")
        pd.concat([batch(100, seed=n), batch(100, seed=9, begin=BEGIN + timedelta(days=1))]).to_parquet(paths[-1])
    command = [sys.executable, "-m", "monitoring", "ingest", "--input"]
    runs = [subprocess.Popen([*command, *paths[n:], *paths[:n]], cwd=ROOT) for n in range(4)]
    assert [run.wait(100) for run in runs] == [0] * 4
    assert len(logged(data)) == 500


def test_rows_that_the_api_has_just_taken_are_known(data, tmp_path, capsys):
    """They are in a journal, and no part yet; a label that comes with them is theirs."""
    log = Log(data / "current.parquet", form=prediction_format(TRIPS.model))
    at = microseconds(BEGIN)
    log.append([[f"j-{n}", at, 1.0, 2.0, "station", "true", 9.0, None, "1", None] for n in range(3)])
    ids = [f"j-{n}" for n in range(20)]
    batch(20, prediction_id=ids, minutes=5.0).to_parquet(tmp_path / "a.parquet")
    assert ingest(tmp_path / "a.parquet") == 0
    assert "17 rows appended, 3 known already, 0 refused; 3 labels of known rows added" in capsys.readouterr().out
    log.seal()
    assert sorted(logged(data)["prediction_id"].to_pylist()) == sorted(ids)
    assert logged(data)["minutes"].to_pylist() == [5.0] * 20


def test_the_api_looks_up_and_appends_either_before_a_batch_or_after_it(data, tmp_path):
    """Its index of ids is gone before the batch is there, also if the run is killed or appends nothing."""
    log = Log(data / "current.parquet", form=prediction_format(TRIPS.model))
    index = log.folder / ID_INDEX / "0-0.tail"
    batch(5, prediction_id=list("abcde")).to_parquet(tmp_path / "a.parquet")
    command = [sys.executable, "-m", "monitoring", "ingest", "--input", tmp_path / "a.parquet"]
    with log.exclusive():
        run = subprocess.Popen(command, cwd=ROOT)
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(5)
        assert list_parts(log.folder)[0] == []
    assert run.wait(100) == 0
    (part,) = log.folder.glob("part-*")
    part.unlink()
    steps = steps_of(lambda: ingest(tmp_path / "a.parquet"))
    part.unlink()
    for killed in (True, False):
        index.parent.mkdir(exist_ok=True)
        index.touch()
        if killed:
            killed_at(steps.index("batch appended"), lambda: ingest(tmp_path / "a.parquet"))
        else:
            assert ingest(tmp_path / "a.parquet") == 0
        assert not index.exists()
    assert set(log.find("abcde", "minutes")) == set("abcde")


def test_a_log_that_cannot_be_written_is_no_refusal(data, tmp_path, capsys):
    batch(5).to_parquet(tmp_path / "a.parquet")
    data.mkdir()
    (data / "current.parquet").write_text("in the way")
    assert ingest(tmp_path / "a.parquet") == 2
    assert "current.parquet" in capsys.readouterr().err


@pytest.mark.timeout(240)
def test_batches_and_parts_may_lie_in_object_storage(data, tmp_path, monkeypatch, capsys):
    with served_folder(monkeypatch) as uri:
        where, _, options = uri.partition("?")
        monkeypatch.setenv("DATA_DIR", uri)
        monkeypatch.setenv("LOCAL_DIR", str(tmp_path / "local"))
        layout = Layout(tmp_path / "local", uri)
        filesystem, path = layout.current.address
        folder = path.rpartition("/")[0]
        for n in range(2):
            with filesystem.open_output_stream(f"{folder}/out/{n}.parquet") as stream:
                batch(30, seed=n).to_parquet(stream)
        for says in ("60 rows appended, 0 known", "0 rows appended, 60 known"):
            assert ingest(f"{where}/out/*.parquet?{options}") == 0
            assert says in capsys.readouterr().out
        assert pc.sum(pa.array([part.rows for part in list_parts(layout.current)[0]])).as_py() == 60


def test_the_built_in_log_takes_batches_too(data, tmp_path, monkeypatch):
    """Numeric features alone, float32, and categories."""
    monkeypatch.delenv("DRIFTLOOP_CONFIG")
    from tests.unit.models import GENRES  # noqa: PLC0415

    rows = make_rows(GENRES, 30).assign(timestamp=pd.date_range(BEGIN, periods=30, freq="h"))
    rows.to_csv(tmp_path / "a.csv", index=False)
    assert ingest(tmp_path / "a.csv") == 0
    assert len(logged(data, GENRES)) == 30
