"""Nothing of a data set is left out in silence: files of any name, folders that say something, columns that lack."""

import json
import os
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from monitoring.contract.listing import list_files
from monitoring.contract.partitions import texts_in, typed
from scripts.prometheus_tools import find_tools
from tests.unit.object_storage import served_folder
from tests.unit.taxi import Desk, trips


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def data(desk: Desk) -> Path:
    folder = desk.folder / "data"
    folder.mkdir()
    trips(500).to_parquet(folder / "a.parquet")
    return folder


@pytest.mark.parametrize("name", ["b", "b.pq", "b.parquet.gzip", "b.parquet.gz", "b.parq", "0001_part_00", "b.PARQUET"])
def test_a_parquet_file_is_read_whatever_its_name(desk, data, capsys, name):
    trips(300).to_parquet(data / name, compression="gzip")
    assert desk.profile(data) == 0
    assert "the profile of 800 rows in 2 files" in capsys.readouterr().out


def test_folders_that_spark_writes_are_read_without_its_marks(desk, data, capsys):
    spark = data / "trips.parquet"
    spark.mkdir()
    trips(300).to_parquet(spark / "part-00000-c000.snappy.parquet")
    (spark / "_SUCCESS").touch()
    (spark / ".part-00000-c000.snappy.parquet.crc").write_bytes(b"crc")
    assert desk.profile(data) == 0
    assert "the profile of 800 rows in 2 files" in capsys.readouterr().out


def _encrypted(path: Path) -> None:
    content = (path.parent / "a.parquet").read_bytes()
    path.write_bytes(b"PARE" + content[4:-4] + b"PARE")


def _damaged(path: Path) -> None:
    content = bytearray((path.parent / "a.parquet").read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        pytest.param("x.csv", lambda p: p.write_text("a,b\n1,2\n"), "is not a Parquet file", id="csv"),
        pytest.param("README", lambda p: p.write_text("x"), "is not a Parquet file", id="one byte"),
        pytest.param("x.parquet", lambda p: p.touch(), "it is empty", id="empty"),
        pytest.param("x.parquet", lambda p: p.write_bytes(b"PAR1"), "begins|ends|footer", id="magic alone"),
        pytest.param(
            "x.parquet",
            lambda p: p.write_bytes((p.parent / "a.parquet").read_bytes()[:-100]),
            "ends in the middle",
            id="cut off",
        ),
        pytest.param("x.parquet", _encrypted, "it is encrypted", id="encrypted"),
        pytest.param("x.parquet", _damaged, "row group 0 cannot be read", id="damaged pages"),
        pytest.param("x.parquet", lambda p: p.symlink_to("nowhere"), "link to nothing", id="broken link"),
        pytest.param("x.parquet", os.mkfifo, "is a pipe, no file", id="pipe"),
        pytest.param("x", lambda p: p.symlink_to(p.parent), "link to a folder that holds it", id="loop"),
        pytest.param("x.parquet", trips(9)[["tip"]].to_parquet, "none of the config's features", id="other"),
        pytest.param(
            "x.parquet",
            lambda p: trips(9).assign(fare_amount=[[1.0]] * 9).to_parquet(p),
            "column fare_amount is list<.*it must be a number",
            id="type",
        ),
    ],
)
def test_what_cannot_be_read_stops_the_command_or_is_counted(data, capsys, name, make, reason):
    """Named with its reason before anything is computed; with the flag the rest counts, and both commands say so."""
    desk = Desk(data.parent)
    make(data / name)
    assert desk.profile(data) == 2
    said = capsys.readouterr()
    assert re.search(rf"{re.escape(str(data / name))}: .*({reason})", said.err)
    assert not (desk.folder / "_p").exists()
    assert desk.profile(data, "--skip-unreadable") == 0
    said = capsys.readouterr().out
    assert "the profile of 500 rows" in said
    assert "1 file was left out" in said
    assert re.search(rf"{re.escape(str(data / name))}: .*({reason})", said)
    desk.report()
    assert "1 file was left out" in capsys.readouterr().out


def test_a_folder_without_one_readable_file_is_refused_with_the_flag_too(desk, capsys):
    folder = desk.folder / "data"
    folder.mkdir()
    (folder / "x.csv").write_text("a")
    assert desk.profile(folder, "--skip-unreadable") == 2
    assert "holds no file that can be read" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["predicted_tip", "tip", "passenger_count", "fare_amount"])
def test_a_partitioned_folder_gives_its_column_back(desk, capsys, column):
    """The verdicts, and the profile's counts, are those of the same rows in one file."""
    january = trips(1500, seed=2)
    january.to_parquet(desk.folder / "whole.parquet")
    january.to_parquet(desk.folder / "folder", partition_cols=[column])
    said = []
    for source in ("whole.parquet", "folder"):
        assert desk.profile(desk.folder / source) == 0
        assert desk.report() == 0
        said.append(capsys.readouterr().out.partition("\n")[2])
    assert said[0] == said[1]
    assert "FAIL" not in said[0]


def test_object_storage_is_listed_by_the_same_rules(desk, capsys, monkeypatch):
    """Folders give columns, other names are read, marks are nobody's, the rest is named; no key is shown."""
    with served_folder(monkeypatch) as uri:
        filesystem, folder = pyarrow.fs.FileSystem.from_uri(uri)
        for name in ("_SUCCESS", "predicted_tip=no/_temporary/x.parquet"):
            with filesystem.open_output_stream(f"{folder}/{name}") as stream:
                stream.write(b"nobody's")
        for tip in ("no", "yes"):
            part = trips(500).query("predicted_tip == @tip").drop(columns="predicted_tip")
            pq.write_table(pa.Table.from_pandas(part), f"{folder}/predicted_tip={tip}/0001", filesystem=filesystem)
        assert desk.profile(uri) == 0
        assert "the profile of 500 rows in 2 files" in capsys.readouterr().out
        assert desk.report() == 0
        capsys.readouterr()
        with filesystem.open_output_stream(f"{folder}/x.csv") as stream:
            stream.write(b"a,b\n1,2\n")
        assert desk.profile(uri) == 2
        said = capsys.readouterr().err
        assert re.search(r"  s3://log-\w+/driftloop/x\.csv: is not a Parquet file\n", said)


def test_partition_values_have_the_types_that_pandas_gives_them(tmp_path):
    """Whole numbers are numbers, leading zeros or not; other numbers where numbers are due; the rest is text."""
    frame = pd.DataFrame({"month": ["01", "12"], "place": ["São Paulo/é", "100%"], "code": ["1", "a"], "x": [1, 2]})
    frame.to_parquet(tmp_path, partition_cols=["month", "place", "code"])
    files = list_files(str(tmp_path)).files
    ours = [dict(partition) for partition in typed((f.partition for f in files), {"month"})]
    theirs = pd.read_parquet(tmp_path).sort_values("month")
    assert [one["month"] for one in ours] == theirs["month"].tolist() == [1, 12]
    assert [one["place"] for one in ours] == theirs["place"].tolist()
    assert [one["code"] for one in ours] == theirs["code"].tolist()
    assert typed([texts_in("fare=2.5/x"), texts_in("fare=__HIVE_DEFAULT_PARTITION__/x")], {"fare"}) == [
        (("fare", 2.5),),
        (("fare", None),),
    ]


def test_a_folder_named_like_a_column_with_an_underscore_is_data(tmp_path):
    (tmp_path / "_month=1").mkdir()
    (tmp_path / "_temporary").mkdir()
    for folder in ("_month=1", "_temporary"):
        trips(9).to_parquet(tmp_path / folder / "a.parquet")
    assert [file.partition for file in list_files(str(tmp_path)).files] == [(("_month", "1"),)]


def test_a_column_in_the_file_and_in_its_folders_name_is_refused_as_pandas_does(desk, capsys):
    folder = desk.folder / "data" / "predicted_tip=yes"
    folder.mkdir(parents=True)
    trips(300).to_parquet(folder / "a.parquet")
    with pytest.raises(pa.ArrowTypeError):
        pd.read_parquet(folder.parent)
    assert desk.profile(folder.parent) == 2
    assert "the column predicted_tip in the file and in its folder's name" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["predicted_tip", "fare_amount"])
def test_a_missing_column_is_named_before_anything_is_computed(desk, data, capsys, column):
    """In all files or in one of them; labels alone may come later."""
    trips(300).rename(columns={column: "other"}).to_parquet(data / "b.parquet")
    assert desk.profile(data) == 2
    said = capsys.readouterr().err
    assert f"{column}: not in {data / 'b.parquet'}" in said
    assert "other columns are other" in said
    assert desk.profile(data / "b.parquet") == 2
    assert f"{column}: not in {data / 'b.parquet'}" in capsys.readouterr().err
    assert desk.profile(data, "--allow-missing-columns") == 0
    assert desk.report() == 1
    assert "FAIL    TestNumberOfColumnsWithMissingValues" in capsys.readouterr().out


def test_backtest_names_what_is_missing_or_unreadable(desk, data, capsys):
    times = pd.date_range("2026-01-01", periods=500, freq="min")
    timed = trips(500).assign(timestamp=times)
    for rows, says in (
        (timed.rename(columns={"predicted_tip": "pred"}), "predicted_tip: not in"),
        (trips(500), "timestamp: not in"),
        (timed.assign(timestamp=times.astype("int64")), "column timestamp is int64; it must be a time"),
        (timed.assign(fare_amount="dear"), "column fare_amount is .*; it must be a number"),
    ):
        rows.to_parquet(data / "a.parquet")
        assert desk.backtest(data) == 2
        assert re.search(f"{says}.*", capsys.readouterr().err)
    timed.to_parquet(data / "a.parquet")
    (data / "notes.txt").write_text("x")
    assert desk.backtest(data) == 2
    assert "notes.txt: is not a Parquet file" in capsys.readouterr().err


@pytest.mark.timeout(120)  # two calibrations of the detector
def test_backtest_leads_with_the_share_of_time_in_alarm(desk, capsys):
    """One alarm that does not end is nearly all the time; a log in folders by day and prediction is the log."""
    times = pd.date_range("2026-01-01", periods=3000, freq="min")
    rows = trips(3000, seed=3).assign(timestamp=times, day=times.date)
    rows["fare_amount"] *= 5
    rows.drop(columns="day").to_parquet(desk.folder / "whole.parquet")
    rows.to_parquet(desk.folder / "folder", partition_cols=["day", "predicted_tip"])
    tools = ["--prometheus-bin", str(Path(find_tools().promtool).parent)]
    said, found = [], []
    for source in ("whole.parquet", "folder"):
        assert desk.backtest(desk.folder / source, *tools, "--json", str(desk.folder / "_found")) == 0
        said.append(capsys.readouterr().out)
        found.append(json.loads((desk.folder / "_found").read_text()))
    share = re.match(
        r"In alarm >?(\d+\.\d) % of the time: the drift detector\.\nAlert rules that fire.*DriftDetected", said[0]
    )
    assert share
    assert float(share[1]) > 95
    assert found[0]["detector"]["share_of_time"] > 0.95
    assert len(found[0]["detector"]["alarms"]) == 1
    anew = found[0]["detector"]["with_new_start"]
    assert anew["per_day"] * 3000 / 1440 == pytest.approx(len(anew["alarms"]), rel=0.01)
    assert len(anew["alarms"]) > 50
    assert (anew["days_with_alarm"], anew["days"]) == (3, 3)
    assert re.search(r"\n  with a new start after each: \d+ alarms, \d+ per day, on 3 of 3 days\n", said[0])
    assert said[0] == said[1]
    assert found[0] == found[1]


def test_labels_without_their_columns_are_named(desk, capsys):
    times = pd.date_range("2026-01-01", periods=500, freq="min")
    rows = trips(500).assign(timestamp=times)
    rows.to_parquet(desk.folder / "log.parquet")
    pq.write_table(pa.table({"prediction_id": ["a"], "timestamp": times[:1]}), desk.folder / "labels.parquet")
    assert desk.backtest(desk.folder / "log.parquet", "--labels", str(desk.folder / "labels.parquet")) == 2
    assert f"prediction_id: not in {desk.folder / 'log.parquet'}" in capsys.readouterr().err
    rows.assign(prediction_id=[f"trip {n}" for n in range(500)]).to_parquet(desk.folder / "log.parquet")
    assert desk.backtest(desk.folder / "log.parquet", "--labels", str(desk.folder / "labels.parquet")) == 2
    assert f"tip: not in {desk.folder / 'labels.parquet'}" in capsys.readouterr().err


def _timed(number: int, begin: str = "2026-01-01", missing: int = 0) -> pd.DataFrame:
    """Draw trips, one a minute, the first of which have no time."""
    times = pd.Series(pd.date_range(begin, periods=number, freq="min"))
    times[:missing] = pd.NaT
    return trips(number).assign(timestamp=times, prediction_id=[f"trip {n}" for n in range(number)])


@pytest.mark.timeout(120)  # a calibration of the detector
def test_backtest_names_rows_without_a_time(desk, data, capsys):
    """In one file, in one of a folder's, or in all of them: a backtest is of all rows, or says of which it is."""
    _timed(900, missing=500).to_parquet(data / "a.parquet")
    assert desk.backtest(data / "a.parquet") == 2
    assert "a.parquet: 500 of 900 rows have no timestamp; --skip-unreadable goes on" in capsys.readouterr().err
    _timed(300, missing=300).to_parquet(data / "b.parquet")
    assert desk.backtest(data) == 2
    said = capsys.readouterr().err
    assert f"{data / 'a.parquet'}: 500 of 900 rows have no timestamp" in said
    assert f"{data / 'b.parquet'}: 300 of 300 rows have no timestamp" in said
    assert desk.backtest(data / "b.parquet", "--skip-unreadable") == 2
    assert "300 of 300 rows have no timestamp" in capsys.readouterr().err
    assert desk.backtest(data, "--skip-unreadable", "--json", str(desk.folder / "_found")) == 0
    assert "2 files were left out, wholly or in part" in capsys.readouterr().out
    found = json.loads((desk.folder / "_found").read_text())
    assert found["rows"] == 400
    assert len(found["files_left_out"]) == 2


@pytest.mark.timeout(120)
@pytest.mark.parametrize("begin", ["1960-01-01", "1969-12-31T20:00"])
def test_backtest_reads_rows_from_before_1970(desk, capsys, begin):
    """Prometheus cannot be asked about them, which is said; from 1970 on it can."""
    _timed(500, begin).to_parquet(desk.folder / "log.parquet")
    tools = ["--prometheus-bin", str(Path(find_tools().promtool).parent)]
    assert desk.backtest(desk.folder / "log.parquet", *tools) == 0
    said = capsys.readouterr()
    assert ": 500 rows" in said.out
    assert "not evaluated: Prometheus knows no time before 1970" in said.err


@pytest.mark.timeout(120)
@pytest.mark.parametrize("missing", [1, 1500])
def test_labels_without_a_time_are_the_oldest(desk, capsys, missing):
    """They count from the first row on, like those that the monitor's window reads; how many met a row is said."""
    rows = _timed(1500)
    rows.drop(columns="tip").to_parquet(desk.folder / "log.parquet")
    labels = rows[["prediction_id", "tip", "timestamp"]].copy()
    labels.loc[: missing - 1, "timestamp"] = pd.NaT
    labels.to_parquet(desk.folder / "labels.parquet")
    more = ["--labels", str(desk.folder / "labels.parquet"), "--openmetrics", str(desk.folder / "past.om")]
    assert desk.backtest(desk.folder / "log.parquet", *more, "--json", str(desk.folder / "_found")) == 0
    assert "Late labels: 1,500 up to the last look; 1,500 rows had one" in capsys.readouterr().out
    assert json.loads((desk.folder / "_found").read_text())["labels"] == {"read": 1500, "rows": 1500}
    lines = (desk.folder / "past.om").read_text().splitlines()
    labelled = [float(line.split()[1]) for line in lines if line.startswith("labelled_rows{")]
    assert labelled[-1] == 1000  # the window


@pytest.mark.timeout(120)
def test_labels_of_no_row_are_told(desk, capsys):
    rows = _timed(500)
    rows.to_parquet(desk.folder / "log.parquet")
    rows.assign(prediction_id=[f"other {n}" for n in range(500)]).to_parquet(desk.folder / "labels.parquet")
    assert desk.backtest(desk.folder / "log.parquet", "--labels", str(desk.folder / "labels.parquet")) == 0
    assert "Late labels: 500 up to the last look; 0 rows had one" in capsys.readouterr().out


def test_columns_that_cannot_be_used_are_told(desk, data, capsys):
    """No test needs times or confidence, so a profile is made; that they were not used is said by file."""
    trips(9).assign(timestamp="2026-01-01T12:00:00Z", confidence=0.5).to_parquet(data / "b.parquet")
    assert desk.profile(data) == 0
    assert "Not used" not in capsys.readouterr().out
    trips(9).assign(timestamp=["2026-01-01"] * 8 + ["soon"], confidence="high").to_parquet(data / "b.parquet")
    assert desk.profile(data) == 0
    said = capsys.readouterr().out
    assert f"{data / 'b.parquet'}: column confidence is " in said
    assert f"{data / 'b.parquet'}: column timestamp holds 'soon', no time" in said


@pytest.mark.parametrize("command", ["profile", "report", "backtest"])
def test_a_reference_that_is_no_file_is_refused_at_once(desk, data, capsys, command):
    """Nobody writes into a pipe that lies where the reference should."""
    assert desk.profile(data) == 0
    (desk.folder / "reference.parquet").unlink()
    os.mkfifo(desk.folder / "reference.parquet")
    assert (desk.report() if command == "report" else getattr(desk, command)(data)) == 2
    assert "reference.parquet: is a pipe; it must be a file" in capsys.readouterr().err
    (desk.folder / "reference.parquet").unlink()
    (desk.folder / "reference.parquet").mkdir()
    trips(500).to_parquet(desk.folder / "reference.parquet" / "a.parquet")
    assert (desk.report() if command == "report" else getattr(desk, command)(data)) == 2
    assert "reference.parquet: is a folder; a reference is one Parquet file" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["predicted_tip", "tip"])
def test_values_that_are_no_categories_are_told(desk: Desk, capsys: pytest.CaptureFixture[str], column: str) -> None:
    """A typing error is named beside the verdicts; where no value is a category, the rows do not fit the config."""
    rows = trips(1500, 2)
    rows.loc[:2, column] = "maybe"
    rows.to_parquet(desk.folder / "some.parquet")
    other = {"no": "False", "yes": "True", "maybe": "False"}
    rows.assign(**{column: rows[column].map(other)}).to_parquet(desk.folder / "all.parquet")
    assert desk.profile(desk.folder / "some.parquet") == 0
    desk.report()
    assert f"{column} holds maybe in 3 rows; the config's categories are no, yes\n" in capsys.readouterr().out
    assert desk.profile(desk.folder / "all.parquet") == 0
    assert desk.report() == 2
    assert f"{column} holds " in capsys.readouterr().err


def test_what_is_read_is_not_overwritten(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """A swapped argument costs no data."""
    path = desk.folder / "new.parquet"
    trips(1500, 2).to_parquet(path)
    before = path.read_bytes()
    assert desk.profile(path, "--out", str(path)) == 2
    assert desk.profile(path) == 0
    assert desk.report("--html", str(desk.folder / "reference.parquet")) == 2
    assert path.read_bytes() == before
    assert capsys.readouterr().err.count("would be overwritten") == 2


def test_backtest_wants_enough_rows_and_names_unknown_predictions(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log too short to be looked at is no quiet one; another coding of the predictions is named."""
    rows = trips(300, 2).assign(timestamp=pd.date_range("2026-01-01", periods=300, freq="min"))
    rows["prediction_id"] = [f"row-{n}" for n in range(300)]
    rows[:100].to_parquet(desk.folder / "short.parquet")
    assert desk.backtest(desk.folder / "short.parquet") == 2
    assert "100 rows; minimum_rows is 200" in capsys.readouterr().err
    rows.assign(predicted_tip="1").to_parquet(desk.folder / "coded.parquet")
    assert desk.backtest(desk.folder / "coded.parquet") == 0
    assert "predicted_tip holds 1 in 300 rows; the config's categories are no, yes" in capsys.readouterr().out
