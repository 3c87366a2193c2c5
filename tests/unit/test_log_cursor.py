"""The log cursor: each row once, whatever happens to the files and to the monitor between two calls."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.log import merging
from monitoring.alarms import log_cursor
from monitoring.alarms.log_cursor import LogCursor
from monitoring.contract.layout import Layout
from monitoring.contract.names import LARGEST_PART
from monitoring.contract.parts import list_parts
from monitoring.contract.schemas import labels_schema, log_schema
from tests.unit.models import LOANS
from tests.unit.monitor_fixtures import START, label_rows, log_rows, make_rows
from tests.unit.test_window import BEGIN, Log

ROUNDS = int(os.environ.get("FUZZ_CASES", "1000")) // 50
SCHEMAS = {"current": log_schema(LOANS.model), "labels": labels_schema(LOANS.model)}


def _restarted(cursor: LogCursor, folder: Path, schema: pa.Schema, after: int) -> LogCursor:
    return LogCursor.restore(folder, schema, after, json.loads(json.dumps(cursor.state())))


def _rows_in(folder: Path, after: int) -> list[tuple[str, int]]:
    """Read every row that counts, as id and time; some files spell ids with capitals."""
    tables = [pq.read_table(part.path, partitioning=None) for part in list_parts(folder)[0]]
    return [(i.lower(), time) for table in tables for i, time in _named(table) if time > after]


def _named(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["prediction_id"].to_pylist(), table["timestamp"].cast(pa.int64()).to_pylist(), strict=True))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("folder", "after"),
    [
        pytest.param("current", -1, id="predictions"),
        pytest.param("current", BEGIN + 100_000, id="later predictions"),
        pytest.param("labels", -1, id="labels"),
    ],
)
@pytest.mark.parametrize("often", [pytest.param(0.6, id="often"), pytest.param(0.1, id="seldom")])
def test_each_row_is_taken_once(tmp_path: Path, folder: str, after: int, often: float) -> None:
    """After any sequence of parts, merges of merged parts, removals and restarts no row is missed or taken twice."""
    for seed in range(ROUNDS):
        random = np.random.default_rng(seed)
        log = Log(tmp_path / str(seed), LOANS, random)
        place = tmp_path / str(seed) / f"{folder}.parquet"
        cursor, taken = LogCursor(place, SCHEMAS[folder], after), list[tuple[str, int]]()
        for _ in range(30):
            step = random.choice(["append", "label", "merge", "remove", "restart"], p=[0.35, 0.25, 0.25, 0.05, 0.1])
            if step == "restart":
                cursor = _restarted(cursor, place, SCHEMAS[folder], after)
            else:
                getattr(log, step)()
            if random.random() < often:
                rows, unreadable = cursor.take(int(random.choice([10, 1000])))
                assert rows["timestamp"].to_pylist() == sorted(rows["timestamp"].to_pylist())
                assert not unreadable
                taken += _named(rows)
        while len(rows := cursor.take(50)[0]):
            taken += _named(rows)
        assert len(taken) == len(set(taken))
        assert set(taken) >= set(_rows_in(place, after))
        assert set(cursor.state()["taken"]) == {part.name for part in list_parts(place)[0]}
        assert all(time > after for _, time in taken)


def test_a_long_log_is_taken_in_pieces(tmp_path: Path) -> None:
    """Parts are taken oldest first, and a large part by its row groups, so that memory is bounded."""
    ids = log_rows(tmp_path, LOANS, make_rows(LOANS, 1_000))
    current = Layout(tmp_path).current
    (part,) = current.iterdir()
    pq.write_table(pq.read_table(part, partitioning=None), part, row_group_size=100)
    cursor = LogCursor(current, SCHEMAS["current"], -1)
    pieces = [cursor.take(250)[0] for _ in range(5)]
    assert [len(piece) for piece in pieces] == [300, 300, 300, 100, 0]
    assert [i for piece in pieces for i in piece["prediction_id"].to_pylist()] == ids


def test_part_that_cannot_be_read_is_named_and_others_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named at every call, and taken once it can be read, even after others were."""
    for minute in range(3):
        log_rows(tmp_path, LOANS, make_rows(LOANS, 20, seed=minute), START.replace(minute=minute))
    current = Layout(tmp_path).current
    damaged = sorted(current.iterdir())[1]
    content = damaged.read_bytes()
    damaged.write_bytes(b"damaged")
    cursor = LogCursor(current, SCHEMAS["current"], -1)
    for rows in (40, 0):
        table, unreadable = cursor.take(1_000)
        assert len(table) == rows
        assert [file.path for file in unreadable] == [damaged]
    damaged.write_bytes(content)
    assert not len(cursor.take(1_000)[0]), "it is not tried again at once"
    monkeypatch.setattr(log_cursor, "RETRY_SECONDS", 0.0)
    cursor = _restarted(cursor, current, SCHEMAS["current"], -1)
    table, unreadable = cursor.take(1_000)
    assert len(table) == 20
    assert not unreadable


def test_rows_merged_into_a_part_that_cannot_be_read_yet_are_not_taken_again(tmp_path: Path) -> None:
    """What was taken before a merge is remembered until the merged part can be read."""
    log = Log(tmp_path, LOANS, np.random.default_rng(1))
    log.append()
    cursor = LogCursor(log.layout.current, SCHEMAS["current"], -1)
    before = _named(cursor.take(1_000)[0])
    log.append()
    while len(parts := list(log.layout.current.iterdir())) > 1:
        log.merge()
    content = parts[0].read_bytes()
    parts[0].write_bytes(b"damaged")
    assert not len(cursor.take(1_000)[0])
    cursor = _restarted(cursor, log.layout.current, SCHEMAS["current"], -1)
    assert not len(cursor.take(1_000)[0])
    parts[0].write_bytes(content)
    cursor = _restarted(cursor, log.layout.current, SCHEMAS["current"], -1)
    assert sorted(before + _named(cursor.take(1_000)[0])) == sorted(_rows_in(log.layout.current, -1))


def test_a_label_that_is_given_again_is_a_row_of_its_own(tmp_path: Path) -> None:
    """Labels are rows by id and time: a correction arrives too."""
    ids = log_rows(tmp_path, LOANS, make_rows(LOANS, 3))
    label_rows(tmp_path, LOANS, ids[:1], ["yes"])
    cursor = LogCursor(Layout(tmp_path).labels, SCHEMAS["labels"], -1)
    assert cursor.take(10)[0][LOANS.model.target].to_pylist() == ["yes"]
    label_rows(tmp_path, LOANS, [ids[0], ids[1]], ["no", "no"], START.replace(second=1))
    assert cursor.take(10)[0][LOANS.model.target].to_pylist() == ["no", "no"]


def test_keys_are_kept_for_as_long_as_a_part_may_be_merged() -> None:
    """The API leaves parts alone from the size on at which their keys are let go."""
    assert merging._size_of(log_cursor.FINAL_ROWS) >= merging._size_of(LARGEST_PART // 2)
