"""Reading the log's window, with late labels, from real files."""

import re
import tempfile
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import part_name
from monitoring.contract.row_lookup import find_targets
from monitoring.contract.schemas import labels_schema, log_schema
from tests.processes import ROOT
from tests.unit.contract_fixtures import MODEL, T0, log_table, new_id, offsets, write_labels, write_table


def test_no_log_is_an_empty_window(layout: Layout) -> None:
    """Before the first prediction the window has the log's columns and no row."""
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert rows.table.column_names == log_schema(MODEL).names
    assert len(rows.table) == 0
    assert rows.unreadable == ()


def test_the_newest_rows_come_from_overlapping_parts(layout: Layout) -> None:
    """Workers' parts overlap in time; the window is the newest rows over all of them, oldest first."""
    write_table(layout.current, log_table(T0 + t for t in (0, 10, 20, 90)))
    write_table(layout.current, log_table(T0 + t for t in (5, 15, 60, 70)))
    write_table(layout.current, log_table(T0 + t for t in (1, 2, 3)))
    assert offsets(read_rows(layout, MODEL, Window(rows=5)).table) == [15, 20, 60, 70, 90]
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
    write_table(layout.current, log_table(T0 + t for t in (0, 10, 20, 90)))
    write_table(layout.current, log_table(T0 + t for t in (15, 60)))
    assert offsets(read_rows(layout, MODEL, Window(rows=10), after=after).table) == expected


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
    write_table(layout.current, log_table(T0 + t * 1_000_000 for t in (0, 50, 60)))
    write_table(layout.current, log_table(T0 + t * 1_000_000 for t in (51,)))
    now = datetime.fromtimestamp(T0 / 1e6, UTC) + timedelta(seconds=60)
    rows = read_rows(layout, MODEL, Window(duration=duration), now=now)
    assert [t // 1_000_000 for t in offsets(rows.table)] == expected


def test_after_and_duration_hold_both(layout: Layout) -> None:
    """The later of the two bounds counts."""
    write_table(layout.current, log_table(T0 + t * 1_000_000 for t in (0, 50, 51, 60)))
    now = datetime.fromtimestamp(T0 / 1e6, UTC) + timedelta(seconds=60)
    rows = read_rows(layout, MODEL, Window(duration="30s"), after=T0 + 50_000_000, now=now)
    assert [t // 1_000_000 for t in offsets(rows.table)] == [51, 60]


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
            write_table(layout.current, log_table(T0 + t for t in times))
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
    write_table(layout.current, log_table(T0 + t for t in (50, 60)))
    assert read_rows(layout, MODEL, Window(rows=2)).unreadable == ()
    assert len(read_rows(layout, MODEL, Window(rows=3)).unreadable) == 1


def test_late_labels_fill_the_rows(layout: Layout) -> None:
    """A label reaches its row whichever part either lies in; other rows keep what they had."""
    table = log_table([T0 + t * 1500 for t in range(6)], actual=pa.array(["a", None, "b", None, None, None]))
    write_table(layout.current, table.slice(0, 3))
    write_table(layout.current, table.slice(3, 3))
    ids = table["prediction_id"].to_pylist()
    write_labels(layout, [ids[1], ids[4]], "b", T0 + 10**9)
    rows = read_rows(layout, MODEL, Window(rows=10)).table
    assert rows["actual"].to_pylist() == ["a", "b", "b", None, "b", None]
    assert rows.column_names == log_schema(MODEL).names


def test_of_two_labels_the_later_counts(layout: Layout) -> None:
    """The newest label of an id wins over older ones and over the one that came with the row."""
    table = log_table([T0], actual=pa.array(["a"]))
    write_table(layout.current, table)
    ids = table["prediction_id"].to_pylist()
    write_labels(layout, ids, "b", T0 + 300)
    write_labels(layout, ids, "a", T0 + 200)
    assert read_rows(layout, MODEL, Window(rows=10)).table["actual"].to_pylist() == ["b"]


def test_the_page_s_example_joins_labels_as_the_window_does(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late over a row's own, the newest of several, none where there is none."""
    page = (ROOT / "docs/architecture.md").read_text()
    (code,) = (one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "labels.parquet" in one)
    table = log_table([T0, T0 + 1, T0 + 2, T0 + 3], actual=pa.array(["a", "a", None, None]))
    ids = table["prediction_id"].to_pylist()
    write_table(layout.current, table)
    write_labels(layout, ids[1:3], "b", T0 + 300)
    write_labels(layout, ids[1:3], "a", T0 + 200)
    (layout.root / "data").symlink_to(layout.root)
    monkeypatch.chdir(layout.root)
    names: dict[str, pd.DataFrame] = {}
    exec(textwrap.dedent(code).replace("actual_genre", MODEL.target), names)
    joined = [None if pd.isna(one) else one for one in names["rows"].sort_values("timestamp")["actual"]]
    assert joined == ["a", "b", "b", None]
    assert joined == read_rows(layout, MODEL, Window(rows=4)).table["actual"].to_pylist()


def test_labels_before_and_after_the_window_do_not_matter(layout: Layout) -> None:
    """Labels of other rows, also those of the window's edge milliseconds, change nothing; a bad file is named."""
    table = log_table([T0 + 999, T0 + 5_000, T0 + 10_001])
    write_table(layout.current, table)
    write_labels(layout, [new_id(T0 - 50_000), new_id(T0), new_id(T0 + 10_001), new_id(T0 + 90_000)], "a", T0)
    write_labels(layout, table["prediction_id"].to_pylist()[:1], "b", T0)
    bad = layout.labels / part_name(T0, T0 + 5_000, 1, "w", 0)
    bad.write_bytes(b"xx")
    rows = read_rows(layout, MODEL, Window(rows=10))
    assert rows.table["actual"].to_pylist() == ["b", None, None]
    assert [one.path for one in rows.unreadable] == [bad]


def test_a_uuid_is_the_same_in_capitals(layout: Layout) -> None:
    """Rows and labels that others write are joined whatever the case of their UUIDs; other ids keep their letters."""
    table = log_table([T0, T0 + 1, T0 + 2, T0 + 3])
    ids = table["prediction_id"].to_pylist()
    write_table(layout.current, table.slice(0, 1))
    foreign = [ids[1].upper(), "Order-1", "order-1"]
    pq.write_table(table.slice(1).set_column(0, table.schema.field(0), [foreign]), layout.current / "foreign.parquet")
    layout.labels.mkdir()
    labels = {
        "prediction_id": [ids[0].upper(), ids[1], ids[1].title(), "order-1"],
        "actual": ["b", "a", "b", "a"],
        "timestamp": [T0 + 1, T0 + 1, T0 + 2, T0],
    }
    pq.write_table(pa.table(labels).cast(labels_schema(MODEL)), layout.labels / "from-the-annotators.parquet")
    rows = read_rows(layout, MODEL, Window(rows=10)).table
    assert rows["prediction_id"].to_pylist() == [*ids[:2], "Order-1", "order-1"]
    assert rows["actual"].to_pylist() == ["b", "b", None, "a"]


def test_labels_from_elsewhere_are_joined(layout: Layout) -> None:
    """A labels file that another tool wrote is joined, however long after the predictions it was made."""
    table = log_table([T0, T0 + 1])
    write_table(layout.current, table)
    layout.labels.mkdir()
    labels = {"prediction_id": table["prediction_id"], "actual": ["b", "a"], "timestamp": [T0 + 10**12] * 2}
    pq.write_table(pa.table(labels).cast(labels_schema(MODEL)), layout.labels / "from-the-annotators.parquet")
    assert read_rows(layout, MODEL, Window(rows=10)).table["actual"].to_pylist() == ["b", "a"]
    one = table["prediction_id"][1].as_py()
    assert find_targets(layout.labels, [one], "actual") == {one: "a"}
