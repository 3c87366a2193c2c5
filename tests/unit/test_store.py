"""Reading the log's window, the labels and the reference from real files."""

import itertools
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.contract.config import Model, Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.part_reader import read_part
from monitoring.contract.parts import list_parts, part_name
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.reference import (
    InvalidReferenceError,
    Performance,
    ReliabilityCurve,
    parse_reference,
    read_reference,
    write_reference,
)
from monitoring.contract.row_lookup import find_rows, find_targets
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema, reference_schema
from monitoring.contract.storage import replaced
from monitoring.contract.times import microseconds

MODEL = Model(
    name="m", features=("x", "y"), prediction="predicted", target="actual", label="kind", categories=("a", "b")
)
T0 = 1_790_000_000_000_000  # microseconds; a whole millisecond
_numbers = itertools.count()


def _id(at: int) -> str:
    """Make a version 7 UUID of this time (microseconds) that no other row has."""
    return str(UUID(int=(at // 1000) << 80 | 7 << 76 | 2 << 62 | next(_numbers)))


def _rows(times: Iterable[int], **columns: Any) -> pa.Table:
    times = list(times)
    plain: dict[str, Any] = {
        "prediction_id": [_id(t) for t in times],
        "timestamp": pa.array(times, TIMESTAMP),
        "x": [float(t - T0) for t in times],
        "y": [0.5] * len(times),
        "predicted": ["a"] * len(times),
        "confidence": [0.5] * len(times),
        "model_version": ["1"] * len(times),
        "actual": pa.nulls(len(times), pa.string()),
    }
    return pa.table({**plain, **columns}).cast(log_schema(MODEL))


def _write(folder: Path, table: pa.Table, first: int | None = None, last: int | None = None) -> Path:
    times = table["timestamp"].cast(pa.int64()).to_pylist()
    first, last = first if first is not None else min(times), last if last is not None else max(times)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / part_name(first, last, len(table), "w", next(_numbers))
    pq.write_table(table, path)
    return path


def _label(layout: Layout, ids: list[str], label: str, at: int) -> None:
    table = pa.table(
        {"prediction_id": ids, "actual": [label] * len(ids), "timestamp": pa.array([at] * len(ids), TIMESTAMP)},
        schema=labels_schema(MODEL),
    )
    times = [(id_milliseconds(one) or 0) * 1000 for one in ids]
    _write(layout.labels, table, min(times), max(times))


def _offsets(table: pa.Table) -> list[int]:
    return [t - T0 for t in table["timestamp"].cast(pa.int64()).to_pylist()]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


# windows


def test_no_log_is_an_empty_window(layout: Layout) -> None:
    """Before the first prediction the window has the log's columns and no row."""
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert rows.table.column_names == log_schema(MODEL).names
    assert len(rows.table) == 0
    assert rows.unreadable == ()


def test_the_newest_rows_come_from_overlapping_parts(layout: Layout) -> None:
    """Workers' parts overlap in time; the window is the newest rows over all of them, oldest first."""
    _write(layout.current, _rows(T0 + t for t in (0, 10, 20, 90)))
    _write(layout.current, _rows(T0 + t for t in (5, 15, 60, 70)))
    _write(layout.current, _rows(T0 + t for t in (1, 2, 3)))
    assert _offsets(read_rows(layout, MODEL, Window(rows=5)).table) == [15, 20, 60, 70, 90]
    assert len(read_rows(layout, MODEL, Window(rows=100)).table) == 11


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param(T0 + 15, [20, 60, 90], id="between-rows"),
        pytest.param(T0 + 20, [60, 90], id="on-a-row"),
        pytest.param(T0 + 90, [], id="on-the-newest"),
        pytest.param(T0 - 1, [0, 10, 15, 20, 60, 90], id="before-all"),
    ],
)
def test_only_rows_later_than_after_are_taken(layout: Layout, after: int, expected: list[int]) -> None:
    """`after` is exclusive: a row at that very time is old evidence."""
    _write(layout.current, _rows(T0 + t for t in (0, 10, 20, 90)))
    _write(layout.current, _rows(T0 + t for t in (15, 60)))
    assert _offsets(read_rows(layout, MODEL, Window(rows=10), after=after).table) == expected


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        pytest.param("10s", [51, 60], id="some"),
        pytest.param("1s", [60], id="one"),
        pytest.param("99999999d", [0, 50, 51, 60], id="longer-than-time"),
    ],
)
def test_a_duration_window_ends_now(layout: Layout, duration: str, expected: list[int]) -> None:
    """A duration of 10 s takes the rows of the last 10 s before now, a row exactly that old not among them."""
    _write(layout.current, _rows(T0 + t * 1_000_000 for t in (0, 50, 60)))
    _write(layout.current, _rows(T0 + t * 1_000_000 for t in (51,)))
    now = datetime.fromtimestamp(T0 / 1e6, UTC) + timedelta(seconds=60)
    rows = read_rows(layout, MODEL, Window(duration=duration), now=now)
    assert [t // 1_000_000 for t in _offsets(rows.table)] == expected


def test_after_and_duration_hold_both(layout: Layout) -> None:
    """The later of the two bounds counts."""
    _write(layout.current, _rows(T0 + t * 1_000_000 for t in (0, 50, 51, 60)))
    now = datetime.fromtimestamp(T0 / 1e6, UTC) + timedelta(seconds=60)
    rows = read_rows(layout, MODEL, Window(duration="30s"), after=T0 + 50_000_000, now=now)
    assert [t // 1_000_000 for t in _offsets(rows.table)] == [51, 60]


@settings(max_examples=80, deadline=None)
@given(
    parts=st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=6),
    count=st.integers(1, 40),
    after=st.one_of(st.none(), st.integers(-2, 32)),
)
def test_the_window_is_pandas_newest_rows(parts: list[list[int]], count: int, after: int | None) -> None:
    """For any overlapping parts with ties, the window is what pandas finds by sorting all rows of all parts."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        for times in parts:
            _write(layout.current, _rows(T0 + t for t in times))
        bound = None if after is None else T0 + after
        rows = read_rows(layout, MODEL, Window(rows=count), after=bound).table.to_pandas()
        whole = pd.concat([pd.read_parquet(path) for path in layout.current.iterdir()], ignore_index=True)
    if after is not None:
        whole = whole[whole["timestamp"] > pd.Timestamp(T0 + after, unit="us", tz="UTC")]
    newest = whole.sort_values(["timestamp", "prediction_id"]).tail(count).reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, newest, check_dtype=False)


def test_old_parts_are_not_opened(layout: Layout) -> None:
    """A part whose name says that it is too old is not read, so the cost does not grow with the log."""
    layout.current.mkdir()
    (layout.current / part_name(T0, T0 + 10, 5, "w", 0)).write_bytes(b"would be unreadable")
    _write(layout.current, _rows(T0 + t for t in (50, 60)))
    assert read_rows(layout, MODEL, Window(rows=2)).unreadable == ()
    assert len(read_rows(layout, MODEL, Window(rows=3)).unreadable) == 1


# bad and foreign parts


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
    bad = _write(layout.current, _rows([T0 + 5, T0 + 6]))
    table = _rows([T0 + 5, T0 + 7])
    _write(layout.current, table)
    spoil(bad)
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert _offsets(rows.table) == [5, 7]
    assert [one.path for one in rows.unreadable] == [bad]
    assert rows.unreadable[0].reason
    found = table["prediction_id"][0].as_py()
    assert find_targets(layout.current, [found], "actual") == {found: None}


def test_hidden_names_are_nobodys_data(layout: Layout) -> None:
    """Journals, temporary files and other names are neither read nor complained about."""
    _write(layout.current, _rows([T0]))
    for name in ("_journal-w-0.jsonl", "_part.parquet.tmp", "._x.parquet", "_x.parquet", "SUCCESS", "notes.txt"):
        (layout.current / name).write_bytes(b"xx")
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert len(rows.table) == 1
    assert rows.unreadable == ()


def test_a_foreign_part_is_placed_by_its_timestamps(layout: Layout) -> None:
    """A file that another tool wrote, with nanoseconds, doubles and categories, is read like our own."""
    _write(layout.current, _rows([T0, T0 + 20]))
    frame = _rows([T0 + 10, T0 + 30]).to_pandas()
    frame["timestamp"] = pd.to_datetime([(T0 + t) * 1000 + 7 for t in (10, 30)], unit="ns", utc=True)
    frame["x"] = frame["x"].astype("float64") + 0.1
    frame["y"] = [20_000_001, 3]
    frame["predicted"] = frame["predicted"].astype("category")
    frame.to_parquet(layout.current / "part-00000-spark.snappy.parquet")
    rows = read_rows(layout, MODEL, Window(rows=3))
    assert rows.unreadable == ()
    assert _offsets(rows.table) == [10, 20, 30]
    assert rows.table["predicted"].to_pylist() == ["a", "a", "a"]
    assert rows.table["y"].to_pylist() == [20_000_000.0, 0.5, 3.0]


@pytest.mark.parametrize(
    ("table", "unreadable"),
    [
        pytest.param(pa.table({"x": [1.0]}), 1, id="no-timestamp"),
        pytest.param(_rows([T0]).slice(0, 0), 0, id="no-rows"),
        pytest.param(pa.table({"timestamp": pa.nulls(2, TIMESTAMP)}), 1, id="null-timestamps"),
        pytest.param(pa.table({"timestamp": ["soon"]}), 1, id="text-timestamp"),
        pytest.param(pa.table([[1.0], [2.0], pa.array([T0], TIMESTAMP)], names=["x", "x", "timestamp"]), 1, id="twice"),
    ],
)
def test_a_foreign_part_that_does_not_fit_is_named(layout: Layout, table: pa.Table, unreadable: int) -> None:
    """A foreign file without usable timestamps is named; one without rows is no error."""
    _write(layout.current, _rows([T0 + 1]))
    pq.write_table(table, layout.current / "foreign.parquet")
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert _offsets(rows.table) == [1]
    assert [one.path.name for one in rows.unreadable] == ["foreign.parquet"] * unreadable


def test_a_file_in_the_folders_place_is_named(layout: Layout) -> None:
    """Where current.parquet is one file, the window is empty and the file is named."""
    pq.write_table(_rows([T0]), layout.current)
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert len(rows.table) == 0
    assert [one.path for one in rows.unreadable] == [layout.current]


def test_parts_of_former_schemas_are_read_as_todays(layout: Layout) -> None:
    """A column that a part lacks is null, one that the model no longer has is left out, other types are cast."""
    table = _rows([T0, T0 + 1]).drop_columns(["y", "actual"])
    table = table.append_column("gone", pa.array([1, 2]))
    table = table.set_column(table.schema.get_field_index("x"), "x", pa.array([1, 2], pa.int64()))
    path = _write(layout.current, table)
    part = pa.concat_tables(read_part(path, log_schema(MODEL)))
    assert part.column_names == log_schema(MODEL).names
    assert part["x"].type == pa.float32()
    assert part["x"].to_pylist() == [1.0, 2.0]
    assert part["y"].null_count == part["actual"].null_count == 2


# labels


def test_late_labels_fill_the_rows(layout: Layout) -> None:
    """A label reaches its row whichever part either lies in; other rows keep what they had."""
    table = _rows([T0 + t * 1500 for t in range(6)], actual=pa.array(["a", None, "b", None, None, None]))
    _write(layout.current, table.slice(0, 3))
    _write(layout.current, table.slice(3, 3))
    ids = table["prediction_id"].to_pylist()
    _label(layout, [ids[1], ids[4]], "b", T0 + 10**9)
    rows = read_rows(layout, MODEL, Window(rows=10)).table
    assert rows["actual"].to_pylist() == ["a", "b", "b", None, "b", None]
    assert rows.column_names == log_schema(MODEL).names


def test_of_two_labels_the_later_counts(layout: Layout) -> None:
    """The newest label of an id wins over older ones and over the one that came with the row."""
    table = _rows([T0], actual=pa.array(["a"]))
    _write(layout.current, table)
    ids = table["prediction_id"].to_pylist()
    _label(layout, ids, "b", T0 + 300)
    _label(layout, ids, "a", T0 + 200)
    assert read_rows(layout, MODEL, Window(rows=10)).table["actual"].to_pylist() == ["b"]


def test_labels_before_and_after_the_window_do_not_matter(layout: Layout) -> None:
    """Labels of other rows, also those of the window's edge milliseconds, change nothing; a bad file is named."""
    table = _rows([T0 + 999, T0 + 5_000, T0 + 10_001])
    _write(layout.current, table)
    _label(layout, [_id(T0 - 50_000), _id(T0), _id(T0 + 10_001), _id(T0 + 90_000)], "a", T0)
    _label(layout, table["prediction_id"].to_pylist()[:1], "b", T0)
    bad = layout.labels / part_name(T0, T0 + 5_000, 1, "w", 0)
    bad.write_bytes(b"xx")
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert rows.table["actual"].to_pylist() == ["b", None, None]
    assert [one.path for one in rows.unreadable] == [bad]


def test_labels_from_elsewhere_are_joined(layout: Layout) -> None:
    """A labels file that another tool wrote is joined, however long after the predictions it was made."""
    table = _rows([T0, T0 + 1])
    _write(layout.current, table)
    layout.labels.mkdir()
    labels = {"prediction_id": table["prediction_id"], "actual": ["b", "a"], "timestamp": [T0 + 10**12] * 2}
    pq.write_table(pa.table(labels).cast(labels_schema(MODEL)), layout.labels / "from-the-annotators.parquet")
    assert read_rows(layout, MODEL, Window(rows=10)).table["actual"].to_pylist() == ["b", "a"]
    one = table["prediction_id"][1].as_py()
    assert find_targets(layout.labels, [one], "actual") == {one: "a"}


def test_ids_are_found_with_their_target(layout: Layout) -> None:
    """find_targets tells which ids are in the folder, each with its target; unknown and foreign ids are left out."""
    table = _rows([T0 + t * 700 for t in range(20)], actual=pa.array([None, "a"] * 10))
    _write(layout.current, table.slice(0, 12))
    _write(layout.current, table.slice(12))
    ids = table["prediction_id"].to_pylist()
    asked = [ids[0], ids[13], ids[19], _id(T0), "no uuid", "0192e4a0-0000-4000-8000-000000000000"]
    assert find_targets(layout.current, asked, "actual") == {ids[0]: None, ids[13]: "a", ids[19]: "a"}
    assert find_targets(layout.labels, asked, "actual") == {}


def test_rows_are_found_by_ids_of_any_kind(layout: Layout) -> None:
    """find_rows gives the asked columns, also of ids that tell no time; what a part does not have is null."""
    table = _rows([T0 + t * 700 for t in range(20)], actual=pa.array([None, "a"] * 10))
    foreign = table.slice(0, 2).set_column(0, table.schema.field(0), pa.array(["row 1", "row 2"]))
    _write(layout.current, table.slice(0, 12))
    _write(layout.current, table.slice(12))
    pq.write_table(foreign.drop_columns(["actual"]), layout.current / "from-elsewhere.parquet")
    schema = pa.schema([table.schema.field(name) for name in ("prediction_id", "timestamp", "actual")])
    ids = table["prediction_id"].to_pylist()
    found = find_rows(layout.current, ["row 2", ids[1], ids[19], _id(T0), "row 3"], schema)
    assert found.schema.names == schema.names
    assert {row["prediction_id"]: row["actual"] for row in found.to_pylist()} == {
        "row 2": None,
        ids[1]: "a",
        ids[19]: "a",
    }
    assert not len(find_rows(layout.current, [], schema))


def test_id_tells_its_time() -> None:
    """Only a version 7 UUID has a time."""
    assert id_milliseconds(_id(T0 + 999)) == T0 // 1000
    assert id_milliseconds("0192e4a0-0000-4000-8000-000000000000") is None
    assert id_milliseconds("") is None


def test_parts_are_listed_newest_first(layout: Layout) -> None:
    """The list follows the last row's time, and the name tells range and count."""
    for first, last in ((T0, T0 + 9), (T0 + 1, T0 + 5), (T0 + 7, T0 + 8)):
        _write(layout.current, _rows([first, last]))
    parts, _ = list_parts(layout.current)
    assert [(p.first - T0, p.last - T0, p.rows) for p in parts] == [(0, 9, 2), (7, 8, 2), (1, 5, 2)]


# replacing files, and the reference


def test_replaced_swaps_the_file_whole(tmp_path: Path) -> None:
    """The new content is there after the block, nothing else is."""
    path = tmp_path / "deep" / "file"
    for content in ("one", "two"):
        with replaced(path) as temporary:
            temporary.write_text(content)
        assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


def test_replaced_leaves_nothing_half_written(tmp_path: Path) -> None:
    """After an error the former file is as it was and no temporary file is left."""
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way() -> None:
        with replaced(path) as temporary:
            temporary.write_text("ha")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet_in_one_temporary_file(tmp_path: Path) -> None:
    """Writers of the same file, even under the same process id in two containers, have a temporary file each."""
    path = tmp_path / "file"
    with replaced(path) as first:
        first.write_text("first")
        with replaced(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def _reference(**columns: Any) -> pa.Table:
    plain = {"x": [1.0, 2.0], "y": [1.0, None], "predicted": ["a", "b"], "actual": ["a", None]}
    return pa.table({name: column for name, column in {**plain, **columns}.items() if column is not None})


def test_a_reference_is_read_back_as_written(layout: Layout) -> None:
    """Rows, origin, version and `through` survive; the digest changes with the content."""
    write_reference(layout, MODEL, _reference(), origin="rebased", model_version="3", through=T0)
    reference = read_reference(layout, MODEL)
    assert reference.table.equals(_reference().cast(reference_schema(MODEL)))
    assert (reference.origin, reference.model_version, reference.through) == ("rebased", "3", T0)
    write_reference(layout, MODEL, _reference(x=[1.0, 3.0]), origin="sample")
    other = read_reference(layout, MODEL)
    assert other.digest != reference.digest
    assert (other.origin, other.model_version, other.through) == ("sample", None, None)


@pytest.mark.parametrize(
    "performance",
    [
        pytest.param(None, id="not measured"),
        pytest.param(Performance(0.7, 30), id="accuracy alone"),
        pytest.param(Performance(1.0, 7, ReliabilityCurve((0.25, 0.75), (0.5, 1.0), (3, 4))), id="with a calibration"),
    ],
)
def test_a_reference_tells_what_its_model_achieved(layout: Layout, performance: Performance | None) -> None:
    """The accuracy at promotion, and the calibration, stand in the metadata; the columns are what they were."""
    write_reference(layout, MODEL, _reference(), origin="rebased", performance=performance)
    assert read_reference(layout, MODEL).performance == performance
    assert pq.read_schema(layout.reference).names == reference_schema(MODEL).names


@pytest.mark.parametrize(
    "performance",
    [
        pytest.param("{", id="no JSON"),
        pytest.param('{"accuracy": 1.5, "rows": 3}', id="accuracy above 1"),
        pytest.param('{"accuracy": 0.5, "rows": 0}', id="no rows"),
        pytest.param(
            '{"accuracy": 0.5, "rows": 2, "calibration": {"confidence": [0.5], "accuracy": [], "rows": [2]}}',
            id="knots without accuracy",
        ),
        pytest.param(
            '{"accuracy": 1, "rows": 2, "calibration": {"confidence": [0.5, 0.4], "accuracy": [0, 1], "rows": [1, 1]}}',
            id="knots that descend",
        ),
    ],
)
def test_a_performance_that_cannot_be_used_is_named(layout: Layout, performance: str) -> None:
    """A model is not held to a number that is none."""
    table = _reference().cast(reference_schema(MODEL)).replace_schema_metadata({"driftloop.performance": performance})
    pq.write_table(table, layout.reference)
    with pytest.raises(InvalidReferenceError, match=r"driftloop\.performance cannot be used"):
        read_reference(layout, MODEL)


def test_a_users_reference_is_taken_as_it_is(layout: Layout) -> None:
    """Other column order, more columns, integers and pandas' types are fine; its origin is the user."""
    frame = pd.DataFrame({"extra": [1, 2], "actual": pd.Categorical(["a", "b"]), "predicted": ["b", "a"]})
    frame["y"], frame["x"] = [20_000_001, 2], [0.1, 0.2]
    frame.to_parquet(layout.reference)
    reference = read_reference(layout, MODEL)
    assert reference.origin == "user"
    assert reference.table.schema.names == ["x", "y", "predicted", "actual"]
    assert reference.table["actual"].to_pylist() == ["a", "b"]


def test_predictions_may_be_absent_before_the_first_start(layout: Layout) -> None:
    """Without a prediction column it fits only where that is said to be fine; then the column is null."""
    pq.write_table(_reference(predicted=None), layout.reference)
    assert read_reference(layout, MODEL, predicted=False).table["predicted"].null_count == 2
    with pytest.raises(InvalidReferenceError, match="column predicted is missing"):
        read_reference(layout, MODEL)


def test_a_reference_that_does_not_fit_gives_the_full_list(layout: Layout) -> None:
    """Every misfit is told at once, each with the column and what is allowed."""
    table = pa.table({"x": ["one", "two"], "predicted": ["a", "polka"], "actual": [1, 2]})
    pq.write_table(table, layout.reference)
    with pytest.raises(InvalidReferenceError) as caught:
        read_reference(layout, MODEL)
    told = str(caught.value)
    assert str(layout.reference) in told
    for line in (
        "column x is string; it must be a number",
        "column y is missing",
        "column predicted holds polka; allowed are a, b",
        "column actual holds 1, 2; allowed are a, b",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param({"x": pa.nulls(2, pa.float32())}, "column x has no value", id="null-feature"),
        pytest.param({"x": [float("nan")] * 2}, "column x has no value", id="nan-feature"),
        pytest.param({"x": [1.0, float("inf")]}, "column x holds infinite values", id="infinity"),
        pytest.param({"x": [True, False]}, "column x is bool; it must be a number", id="boolean"),
        pytest.param({"predicted": pa.nulls(2, pa.string())}, "column predicted has no value", id="null-prediction"),
        pytest.param({"actual": pa.nulls(2, pa.string())}, "column actual has no value", id="null-target"),
        pytest.param({"actual": [[1], [2]]}, "column actual is list.*; it must be text", id="list"),
    ],
)
def test_a_column_without_usable_values_does_not_fit(layout: Layout, columns: dict[str, Any], message: str) -> None:
    """Columns with nothing to compare, or with infinities, are refused."""
    pq.write_table(_reference(**columns), layout.reference)
    with pytest.raises(InvalidReferenceError, match=message):
        read_reference(layout, MODEL)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda _path: None, "there is no reference", id="absent"),
        pytest.param(lambda path: path.write_bytes(b"xx"), "is not a readable Parquet file", id="not-parquet"),
        pytest.param(lambda path: path.mkdir(), "is not a readable Parquet file", id="folder"),
        pytest.param(lambda path: pq.write_table(_reference().slice(0, 0), path), "it has no rows", id="no-rows"),
    ],
)
def test_a_reference_that_is_none_says_so(layout: Layout, make: Callable[[Path], Any], message: str) -> None:
    """An absent, broken or empty reference is an error of the domain, with the path."""
    make(layout.reference)
    with pytest.raises(InvalidReferenceError, match=message) as caught:
        read_reference(layout, MODEL)
    assert str(layout.reference) in str(caught.value)


def test_a_references_bytes_are_let_go_when_it_is_parsed(layout: Layout) -> None:
    """A thread of Arrow's that holds them longer aborts a process that ends just then."""
    model = MODEL.model_copy(update={"features": tuple(f"x{i}" for i in range(13))})
    columns = {name: [float(i) for i in range(3000)] for name in model.features}
    kinds = {"predicted": ["a"] * 3000, "actual": ["a"] * 3000}
    write_reference(layout, model, pa.table(columns | kinds), origin="seed")
    stored = layout.reference.read_bytes()
    for _ in range(3000):
        content = bytearray(stored)
        parse_reference(content, layout.reference, model)
        content.clear()  # BufferError while somebody holds it


def test_a_reference_that_cannot_be_written_leaves_the_former(layout: Layout) -> None:
    """Rows without the model's columns raise before anything is replaced."""
    write_reference(layout, MODEL, _reference(), origin="sample")
    before = layout.reference.read_bytes()
    with pytest.raises(KeyError):
        write_reference(layout, MODEL, _reference(x=None), origin="sample")
    assert layout.reference.read_bytes() == before
    assert list(layout.root.iterdir()) == [layout.reference]


def test_microseconds_are_exact() -> None:
    """A moment's microseconds are whole, before 1970 too."""
    assert microseconds(datetime(2026, 9, 21, 14, 13, 20, 123457, UTC)) == T0 + 123457
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)) == -1
