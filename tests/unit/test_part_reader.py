"""Parts that are damaged, foreign or of a former schema: what can be read is read, the rest is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.part_reader import read_part
from monitoring.contract.row_lookup import find_targets
from monitoring.contract.schemas import TIMESTAMP, log_schema
from tests.unit.contract_fixtures import MODEL, T0, log_table, offsets, write_table


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-60:-8] = b"\xff" * 52
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b"xx"), id="not-parquet"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty-file"),
        pytest.param(_truncate, id="truncated"),
        pytest.param(_scramble, id="broken-footer"),
    ],
)
def test_a_part_that_cannot_be_read_is_named_and_left_out(layout: Layout, spoil: Callable[[Path], Any]) -> None:
    """One bad file costs its own rows alone, in the window and when an id is looked up."""
    bad = write_table(layout.current, log_table([T0 + 5, T0 + 6]))
    table = log_table([T0 + 5, T0 + 7])
    write_table(layout.current, table)
    spoil(bad)
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert offsets(rows.table) == [5, 7]
    assert [one.path for one in rows.unreadable] == [bad]
    assert rows.unreadable[0].reason
    found = table["prediction_id"][0].as_py()
    assert find_targets(layout.current, [found], "actual") == {found: None}


def test_hidden_names_are_nobodys_data(layout: Layout) -> None:
    """Journals, temporary files and other names are neither read nor complained about."""
    write_table(layout.current, log_table([T0]))
    for name in ("_journal-w-0.jsonl", "_part.parquet.tmp", "._x.parquet", "_x.parquet", "SUCCESS", "notes.txt"):
        (layout.current / name).write_bytes(b"xx")
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert len(rows.table) == 1
    assert rows.unreadable == ()


def test_a_foreign_part_is_placed_by_its_timestamps(layout: Layout) -> None:
    """A file that another tool wrote, with nanoseconds, doubles and categories, is read like our own."""
    write_table(layout.current, log_table([T0, T0 + 20]))
    frame = log_table([T0 + 10, T0 + 30]).to_pandas()
    frame["timestamp"] = pd.to_datetime([(T0 + t) * 1000 + 7 for t in (10, 30)], unit="ns", utc=True)
    frame["x"] = frame["x"].astype("float64") + 0.1
    frame["y"] = [20_000_001, 3]
    frame["predicted"] = frame["predicted"].astype("category")
    frame.to_parquet(layout.current / "part-00000-spark.snappy.parquet")
    rows = read_rows(layout, MODEL, Window(rows=3))
    assert rows.unreadable == ()
    assert offsets(rows.table) == [10, 20, 30]
    assert rows.table["predicted"].to_pylist() == ["a", "a", "a"]
    assert rows.table["y"].to_pylist() == [20_000_001.0, 0.5, 3.0]


@pytest.mark.parametrize(
    ("table", "unreadable"),
    [
        pytest.param(pa.table({"x": [1.0]}), 1, id="no-timestamp"),
        pytest.param(log_table([T0]).slice(0, 0), 0, id="no-rows"),
        pytest.param(pa.table({"timestamp": pa.nulls(2, TIMESTAMP)}), 1, id="null-timestamps"),
        pytest.param(pa.table({"timestamp": ["soon"]}), 1, id="text-timestamp"),
        pytest.param(pa.table([[1.0], [2.0], pa.array([T0], TIMESTAMP)], names=["x", "x", "timestamp"]), 1, id="twice"),
    ],
)
def test_a_foreign_part_that_does_not_fit_is_named(layout: Layout, table: pa.Table, unreadable: int) -> None:
    """A foreign file without usable timestamps is named; one without rows is no error."""
    write_table(layout.current, log_table([T0 + 1]))
    pq.write_table(table, layout.current / "foreign.parquet")
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert offsets(rows.table) == [1]
    assert [one.path.name for one in rows.unreadable] == ["foreign.parquet"] * unreadable


def test_rows_without_a_timestamp_are_in_no_window_and_named(layout: Layout) -> None:
    """The file's other rows count, and the rows that have none take nobody's place."""
    write_table(layout.current, log_table([T0 + 1, T0 + 2]))
    times = pd.to_datetime([None if t % 3 == 0 else (T0 + t) * 1000 for t in range(9)], unit="ns", utc=True)
    log_table([T0] * 9).to_pandas().assign(timestamp=times).to_parquet(layout.current / "foreign.parquet")
    rows = read_rows(layout, MODEL, Window(rows=7))
    assert offsets(rows.table) == [1, 2, 2, 4, 5, 7, 8]
    assert [(one.path.name, one.reason) for one in rows.unreadable] == [
        ("foreign.parquet", "3 of 9 rows have no timestamp")
    ]


def test_a_file_in_the_folders_place_is_named(layout: Layout) -> None:
    """Where current.parquet is one file, the window is empty and the file is named."""
    pq.write_table(log_table([T0]), layout.current)
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert len(rows.table) == 0
    assert [one.path for one in rows.unreadable] == [layout.current]


def test_parts_of_former_schemas_are_read_as_todays(layout: Layout) -> None:
    """A column that a part lacks is null, one that the model no longer has is left out, other types are cast."""
    table = log_table([T0, T0 + 1]).drop_columns(["y", "actual"])
    table = table.append_column("gone", pa.array([1, 2]))
    table = table.set_column(table.schema.get_field_index("x"), "x", pa.array([1, 2], pa.int64()))
    path = write_table(layout.current, table)
    part = pa.concat_tables(read_part(path, log_schema(MODEL)))
    assert part.column_names == log_schema(MODEL).names
    assert part["x"].type == pa.float64()
    assert part["x"].to_pylist() == [1.0, 2.0]
    assert part["y"].null_count == part["actual"].null_count == 2
