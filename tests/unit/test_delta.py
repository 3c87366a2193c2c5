"""Another system's log in a Delta table: what is part of it now is read, each row once, and nothing else."""

import base64
import json
import string
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable, WriterProperties, write_deltalake

from monitoring.__main__ import main
from monitoring.alarms.log_cursor import LogCursor
from monitoring.contract.delta import _named
from monitoring.contract.errors import DriftloopError
from monitoring.contract.foreign_log import watched_log
from monitoring.contract.layout import Layout
from monitoring.contract.parts import list_parts
from monitoring.contract.schemas import log_schema
from monitoring.contract.times import BEFORE_ALL
from tests.unit.models import WINE
from tests.unit.object_storage import served_folder
from tests.unit.test_watched_log import COLUMNS, MODEL, cursor, night, window

NIGHT = 120  # rows
DELETED = (3, 4, 7, 11, 18, 29)  # rows


def write(table: Path | str, day: int, mode: str = "append", rows: int = NIGHT, **options: Any) -> None:
    """Write a night's rows into the table, in a partition of their own."""
    data = night(day, rows, night=f"n {day % 2}", truth=None)
    schema = pa.Schema.from_pandas(night(0, 1, night="n", truth="red"), preserve_index=False)
    write_deltalake(
        table, pa.Table.from_pandas(data, schema, preserve_index=False), mode=mode, partition_by=["night"], **options
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for day in range(3):
        write(tmp_path / "scores", day)
    return tmp_path / "scores"


@pytest.fixture
def layout(tmp_path: Path, table: Path) -> Layout:
    return Layout(tmp_path / "data", None, watched_log(str(table), MODEL))


def deletion_vector() -> dict[str, Any]:
    """Return DELETED as the protocol has it: magic number, bitmaps, and of the first its key and a roaring bitmap."""
    roaring = struct.pack(f"<IIHHI{len(DELETED)}H", 12346, 1, 0, len(DELETED) - 1, 16, *DELETED)
    content = struct.pack("<IQI", 1681511377, 1, 0) + roaring
    ours = string.digits + string.ascii_uppercase + string.ascii_lowercase + "!#$%&()*+-;<=>?@^_`{|}~"
    z85 = string.digits + string.ascii_lowercase + string.ascii_uppercase + ".-:+=^!/*?&<>()[]{}@%$#"
    text = base64.b85encode(content).decode().translate(str.maketrans(ours, z85))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(content), "cardinality": len(DELETED)}


def vacuum(table: Path) -> None:
    DeltaTable(table).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def test_rows_that_commits_move_are_read_once(layout, table):
    looked, taken = window(layout), cursor(layout)
    assert looked.look(None).profile.rows == len(taken.take(1000)[0]) == 3 * NIGHT
    DeltaTable(table).optimize.compact()
    assert len(list(table.rglob("*.parquet"))) > len(list_parts(layout.current)[0])
    assert (looked.look(None).profile.rows, len(taken.take(1000)[0])) == (3 * NIGHT, 0)
    DeltaTable(table).update(new_values={"truth": "red"}, predicate="night = 'n 0'")
    look = looked.look(None)
    assert (look.profile.rows, look.profile.labelled, len(taken.take(1000)[0])) == (3 * NIGHT, 2 * NIGHT, 0)
    vacuum(table)
    DeltaTable(table).create_checkpoint()
    assert (looked.look(None).profile.rows, looked.look(None).unreadable) == (3 * NIGHT, ())


def test_rows_that_come_between_two_looks_are_not_lost_when_they_are_moved(layout, table):
    taken = cursor(layout)
    assert len(taken.take(1000)[0]) == 3 * NIGHT
    taken = LogCursor.restore(layout.current, log_schema(MODEL), BEFORE_ALL, taken.state())
    for day in (4, 6):
        write(table, day)
        DeltaTable(table).optimize.compact()
    rows = taken.take(1000)[0]
    assert len(rows) == 2 * NIGHT
    assert rows["timestamp"][0].as_py().day == night(4)["event_time"][0].day
    again = LogCursor.restore(layout.current, log_schema(MODEL), BEFORE_ALL, taken.state())
    assert len(again.take(1000)[0]) == len(taken.take(1000)[0]) == 0


def test_a_file_that_was_taken_in_part_when_it_is_moved_is_read_on(layout, table):
    """Also where the cursor is restored in between, and where the rest of it is moved once more."""
    write(table, 4, writer_properties=WriterProperties(max_row_group_size=50))
    taken = cursor(layout)
    total = 0
    while total < 3 * NIGHT + 50:
        total += len(taken.take(20)[0])
    assert total < 4 * NIGHT
    DeltaTable(table).optimize.compact(writer_properties=WriterProperties(max_row_group_size=10))
    taken = LogCursor.restore(layout.current, log_schema(MODEL), BEFORE_ALL, taken.state())
    total += len(taken.take(20)[0])
    assert total < 4 * NIGHT
    DeltaTable(table).optimize.z_order(["event_time"])
    while rows := len(taken.take(20)[0]):
        total += rows
    assert total == 4 * NIGHT


@pytest.mark.parametrize(
    ("uri", "given"),
    [
        pytest.param("abfss://scores@mine.dfs.core.windows.net/a%20b/t", {"account_name": "mine"}, id="account's host"),
        pytest.param("abfs://mine.blob.core.windows.net/scores/a%20b/t", {"account_name": "mine"}, id="blobs' host"),
        pytest.param("abfs://mine:a%2Fg%3D@scores/a%20b/t", {"account_name": "mine", "account_key": "a/g="}, id="key"),
    ],
)
def test_an_account_of_azure_reaches_deltalake(uri, given):
    """Its own form of such addresses is the container and the path alone."""
    named, options = _named(watched_log(uri, MODEL).at)
    assert named == f"{uri.partition(':')[0]}://scores/a b/t"
    assert options == {f"azure_storage_{name}": value for name, value in given.items()}


def test_a_table_that_a_job_writes_anew_with_more_rows_is_read_on(layout, table):
    looked, taken = window(layout), cursor(layout)
    assert len(taken.take(1000)[0]) == 3 * NIGHT
    write(table, 0, mode="overwrite")
    write(table, 8)
    assert (looked.look(None).profile.rows, len(taken.take(1000)[0])) == (2 * NIGHT, NIGHT)


def test_a_file_that_is_gone_in_the_middle_of_a_vacuum_is_named(layout, table):
    gone = DeltaTable(table).file_uris()[0]
    Path(gone).unlink()
    look = window(layout).look(None)
    assert (look.profile.rows, [Path(str(file.path)).name for file in look.unreadable]) == (
        2 * NIGHT,
        [Path(gone).name],
    )


def test_what_its_files_do_not_tell_by_themselves_is_refused(tmp_path, table):
    write(tmp_path / "mapped", 0, configuration={"delta.columnMapping.mode": "name"})
    for folder, why in ((tmp_path / "mapped", "column mapping"), (tmp_path, "give that folder itself")):
        with pytest.raises(DriftloopError, match=why):
            list_parts(watched_log(str(folder), MODEL))
    write(tmp_path / "purged", 0)
    commit = json.loads((tmp_path / "purged/_delta_log" / f"{0:020d}.json").read_text().splitlines()[-1])
    commit["add"]["deletionVector"] = deletion_vector()
    features = {"minReaderVersion": 3, "minWriterVersion": 7}
    features |= {f"{who}Features": ["deletionVectors"] for who in ("reader", "writer")}
    lines = [json.dumps(line) for line in ({"protocol": features}, commit)]
    (tmp_path / "purged/_delta_log" / f"{1:020d}.json").write_text("\n".join(lines))
    with pytest.raises(DriftloopError, match="deletion vectors"):
        list_parts(watched_log(str(tmp_path / "purged"), MODEL))
    (table / "_delta_log" / f"{1:020d}.json").write_text("{")
    with pytest.raises(DriftloopError, match="the Delta table cannot be read"):
        list_parts(watched_log(str(table), MODEL))


def test_a_table_is_a_batch(table, tmp_path, monkeypatch, capsys):
    config = {**WINE, "model": {**WINE["model"], "columns": COLUMNS}, "tests": ["TestColumnDrift"]}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("DRIFTLOOP_CONFIG", str(tmp_path / "config.yml"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    for told, more in ((f"{3 * NIGHT} rows appended", 3), (f"{NIGHT} rows appended, {3 * NIGHT} known already", 4)):
        DeltaTable(table).optimize.compact()
        assert main(["ingest", "--input", str(table)]) == 0
        assert told in capsys.readouterr().out
        write(table, more)
    file = next(table.rglob("*.parquet"))
    for source in (file, file.parent):
        assert main(["ingest", "--input", str(source)]) == 2
        assert "is a Delta table" in capsys.readouterr().err


def test_a_table_in_object_storage(monkeypatch, tmp_path):
    with served_folder(monkeypatch) as uri:
        where, _, query = uri.partition("?")
        host = query.rpartition("=")[2]
        options = {"AWS_ENDPOINT_URL": f"http://{host}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "eu-central-1"}
        for day in range(3):
            write(f"{where}/scores", day, storage_options=options | {"AWS_S3_ALLOW_UNSAFE_RENAME": "true"})
        layout = Layout(tmp_path, None, watched_log(f"{where}/scores?{query}", MODEL))
        looked, taken = window(layout), cursor(layout)
        assert looked.look(None).profile.rows == len(taken.take(1000)[0]) == 3 * NIGHT
        DeltaTable(f"{where}/scores", storage_options=options).optimize.compact()
        assert (looked.look(None).profile.rows, len(taken.take(1000)[0])) == (3 * NIGHT, 0)
