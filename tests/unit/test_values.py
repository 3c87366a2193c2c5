"""One way in for every value: what each Arrow type becomes, on every entrance, and what is refused by its name."""

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.backtest.log_rows import open_log
from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.reference import parse_reference
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.values import UnfitColumnError, convert
from monitoring.offline.dataset import profile_locally
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.suite.frames import Frames
from tests.unit.models import loans

NUMBER, TEXT, TIME = pa.float64(), pa.string(), TIMESTAMP
MOMENT = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
ID = "0190163d-8694-739b-aea5-966c26f8ad91"


def arrow(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind)


@pytest.mark.parametrize(
    ("given", "due", "ours"),
    [
        pytest.param(pa.array(np.array([0.5, 2.0], np.float16)), NUMBER, [0.5, 2.0], id="float16"),
        pytest.param(arrow([0.1, None], pa.float32()), NUMBER, [float(np.float32(0.1)), None], id="float32"),
        pytest.param(arrow([0.1, None], pa.float64()), NUMBER, [0.1, None], id="float64"),
        *(
            pytest.param(arrow([3, None], kind), NUMBER, [3.0, None], id=str(kind))
            for kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32())
        ),
        pytest.param(arrow([2**53, -(2**53)], pa.int64()), NUMBER, [2.0**53, -(2.0**53)], id="int64"),
        pytest.param(arrow([2**53, 0], pa.uint64()), NUMBER, [2.0**53, 0.0], id="uint64"),
        pytest.param(arrow([Decimal("12.70"), None], pa.decimal128(9, 2)), NUMBER, [12.7, None], id="decimal128"),
        pytest.param(arrow([Decimal("0.1")], pa.decimal256(50, 20)), NUMBER, [0.1], id="decimal256"),
        pytest.param(arrow([True, False, None], pa.bool_()), NUMBER, [1.0, 0.0, None], id="boolean"),
        pytest.param(arrow([1.5, 2.5, 1.5], pa.float64()).dictionary_encode(), NUMBER, [1.5, 2.5, 1.5], id="coded"),
        pytest.param(pa.nulls(2), NUMBER, [None, None], id="nulls"),
        pytest.param(arrow(["a", None], pa.string()), TEXT, ["a", None], id="string"),
        pytest.param(arrow(["a", None], pa.large_string()), TEXT, ["a", None], id="large string"),
        pytest.param(arrow(["a", None], pa.string_view()), TEXT, ["a", None], id="string view"),
        pytest.param(arrow([b"a", None], pa.binary()), TEXT, ["a", None], id="bytes in UTF-8"),
        pytest.param(arrow(["a", "b", "a"], pa.string()).dictionary_encode(), TEXT, ["a", "b", "a"], id="categorical"),
        *(
            pytest.param(pa.DictionaryArray.from_arrays(arrow(codes, kind), words), TEXT, ours, id=f"{kind} {words}")
            for kind in (pa.int32(), pa.int8())
            for codes, words, ours in (
                ([0, 1, 2, 3, None], ["no", "yes", "no", "yes"], ["no", "yes", "no", "yes", None]),
                ([0, 1, 2], ["no", None, "yes"], ["no", None, "yes"]),
            )
        ),
        pytest.param(arrow([0, 1, None], pa.int64()), TEXT, ["0", "1", None], id="whole numbers"),
        pytest.param(arrow([0, 1], pa.int8()).dictionary_encode(), TEXT, ["0", "1"], id="coded whole numbers"),
        pytest.param(arrow([-0.0, 1.0, np.nan], pa.float64()), TEXT, ["0", "1", None], id="pandas' whole numbers"),
        pytest.param(arrow([Decimal("1.00")], pa.decimal128(5, 2)), TEXT, ["1"], id="whole decimals"),
        pytest.param(arrow([True, False, None], pa.bool_()), TEXT, ["true", "false", None], id="true and false"),
        pytest.param(pa.array([uuid.UUID(ID).bytes], pa.uuid()), TEXT, [ID], id="uuid"),
        pytest.param(arrow([uuid.UUID(ID).bytes], pa.binary(16)), TEXT, [ID], id="16 bytes"),
        *(
            pytest.param(arrow([MOMENT], pa.timestamp(unit, tz)), TIME, [MOMENT], id=f"{unit} {tz}")
            for unit, tz in (("s", "UTC"), ("ms", "Asia/Tokyo"), ("us", None), ("ns", None), ("ns", "Europe/Berlin"))
        ),
        pytest.param(arrow([dt.date(2026, 1, 31)], pa.date32()), TIME, [MOMENT.replace(hour=0)], id="date"),
        *(
            pytest.param(arrow([text, None], pa.large_string()), TIME, [moment, None], id=text)
            for text, moment in (
                ("2026-01-31", MOMENT.replace(hour=0)),
                ("2026-01-31 12:00", MOMENT),
                ("2026-01-31 12:00:00", MOMENT),
                ("2026-01-31T12:00:00Z", MOMENT),
                ("2026-01-31 12:00:00 UTC", MOMENT),
                ("2026-01-31T13:00:00+01:00", MOMENT),
                ("2026-01-31 06:30:00-0530", MOMENT),
                ("2026-01-31 13:00:00 +0100", MOMENT),
                ("2026-01-31 06:30:00.5 -05:30", MOMENT.replace(microsecond=500_000)),
                ("2026-01-31T13:00 +01", MOMENT),
                ("2026-01-31T12:00:00.123456789", MOMENT.replace(microsecond=123456)),
            )
        ),
    ],
)
def test_a_foreign_column_becomes_ours(given: pa.Array, due: pa.DataType, ours: list[Any]) -> None:
    """Numbers are rounded once, categories are their text, times are in UTC."""
    column = convert(pa.chunked_array([given]), pa.field("x", due))
    assert column.type == due
    assert column.to_pylist() == ours
    if due == TEXT:
        coded = convert(pa.chunked_array([given]), pa.field("x", pa.dictionary(pa.int32(), pa.string())))
        assert coded.to_pylist() == ours
        assert all(chunk.dictionary.unique().drop_null() == chunk.dictionary for chunk in coded.chunks)


@pytest.mark.parametrize(
    ("given", "due", "said"),
    [
        pytest.param(arrow(["1"], pa.string()), NUMBER, "x is string; it must be a number", id="text as number"),
        pytest.param(arrow([[1.0]], pa.list_(pa.float64())), NUMBER, "x is list<.*; it must be a number", id="list"),
        pytest.param(pa.array([{"a": 1}]), NUMBER, "x is struct<a: int64>; it must be a number", id="struct"),
        pytest.param(arrow([MOMENT], TIME), NUMBER, r"x is timestamp\[us, tz=UTC\]; it must be", id="time as number"),
        pytest.param(arrow([0.5], pa.float64()), TEXT, "x is double; it must be text, a whole number", id="half"),
        pytest.param(arrow([b"\xff"], pa.binary()), TEXT, "x is binary; .* Invalid UTF8", id="bytes of no text"),
        pytest.param(arrow([["a"]], pa.list_(pa.string())), TEXT, "x is list<", id="list of text"),
        pytest.param(arrow([1_769_860_800], pa.int64()), TIME, "x is int64; it must be a time", id="seconds"),
        pytest.param(arrow([1.7e9], pa.float64()), TIME, "x is double; it must be a time", id="fractional seconds"),
        pytest.param(arrow(["soon"], pa.string()), TIME, "x is string; .*'soon'", id="no time"),
        pytest.param(arrow([10**15], pa.timestamp("s")), TIME, "x is timestamp.*out of bounds", id="too far"),
        pytest.param(arrow([10**18], pa.timestamp("us", "UTC")), TIME, "outside the years 1 to 9999", id="no year"),
        pytest.param(arrow([1], pa.duration("s")), TIME, r"x is duration\[s\]; it must be a time", id="duration"),
    ],
)
def test_what_cannot_be_a_value_is_refused_by_its_name(given: pa.Array, due: pa.DataType, said: str) -> None:
    """The column and its type are named; nothing is guessed."""
    with pytest.raises(UnfitColumnError, match=said):
        convert(pa.chunked_array([given]), pa.field("x", due))


def test_text_that_is_no_text_is_refused() -> None:
    """A damaged file may hold a column of strings that are no UTF-8."""
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff"))
    with pytest.raises(UnfitColumnError, match="UTF8"):
        convert(pa.chunked_array([broken]), pa.field("x", TEXT))


# --- the entrances ---------------------------------------------------------------------------------------------------

VALUES = [2.7, 5.1, 8.3, 12.7, 52.1, 0.1, 1e-7, 3.0]


def rows_of(number: int, seed: int) -> pd.DataFrame:
    """Draw loans as pandas has them: cents, whole numbers, true and false, numbers with gaps."""
    random = np.random.default_rng(seed)
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return pd.DataFrame(
        {
            "prediction_id": [str(uuid.UUID(int=seed * 10**6 + n)) for n in range(number)],
            "timestamp": [start + dt.timedelta(minutes=n) for n in range(number)],
            "age": random.integers(18, 80, number),
            "income": random.choice(VALUES, number),
            "debt": np.where(random.random(number) < 0.1, np.nan, random.integers(0, 9, number)),
            "years": random.random(number) < 0.3,
            "prediction": random.integers(0, 2, number),
            "target": np.where(random.random(number) < 0.3, np.nan, random.integers(0, 2, number)),
        }
    )


def configured(dtype: str) -> Config:
    model = loans().model.model_dump() | {"categories": ["0", "1"], "dtype": dtype}
    return loans(model=model, window={"rows": 10_000})


def by_reference(path: Path, config: Config) -> pa.Table:
    return parse_reference(path.read_bytes(), path, config.model).table


def by_log(path: Path, config: Config) -> pa.Table:
    found = read_rows(Layout(path.parent.parent), config.model, config.window)
    if found.unreadable:
        raise DriftloopError("; ".join(f"{one.path}: {one.reason}" for one in found.unreadable))
    return found.table


def by_backtest(path: Path, config: Config) -> pa.Table:
    return pa.concat_tables(open_log(str(path.parent), config.model, None, None).read())


ENTRANCES = [
    pytest.param(by_reference, id="reference"),
    pytest.param(by_log, id="log"),
    pytest.param(by_backtest, id="backtest"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_value_is_the_same_on_every_path(
    tmp_path: Path, entrance: Callable[[Path, Config], pa.Table], dtype: str
) -> None:
    """What comes in by an entrance is, to the bit, what a file's own profile counts."""
    config = configured(dtype)
    path = tmp_path / "current.parquet" / "rows.parquet"
    path.parent.mkdir()
    rows_of(500, 1).to_parquet(path)
    rows = entrance(path, config).sort_by("timestamp") if entrance is not by_reference else entrance(path, config)
    frames = Frames.of(rows, pq.read_table(path), config.model)
    pd.testing.assert_frame_equal(frames.reference, frames.current, check_exact=True)
    grid = grid_of(config.model, rows)
    ours, theirs = profile_rows(grid, rows), profile_locally(grid, str(path)).profile
    np.testing.assert_array_equal(ours.cells, theirs.cells)
    assert ours.special.tolist() == theirs.special.tolist()
    assert (ours.predictions, ours.confusion) == (theirs.predictions, theirs.confusion)


@pytest.mark.parametrize(
    "entrance",
    [
        *ENTRANCES,
        pytest.param(
            lambda p, c: profile_locally(grid_of(c.model, pq.read_table(p).drop_columns(["age"])), str(p.parent)),
            id="profile",
        ),
    ],
)
@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        pytest.param("age", pa.array([[1.0]]), "list<element: double>; it must be a number", id="list"),
        pytest.param("target", pa.array([0.5]), "double; it must be text", id="half a category"),
    ],
)
def test_every_entrance_refuses_by_file_column_and_type(
    tmp_path: Path, entrance: Callable[[Path, Config], object], column: str, values: pa.Array, said: str
) -> None:
    """No entrance reads a list as a number, or 0.5 as a category; each names the file, the column and the type."""
    table = pa.Table.from_pandas(rows_of(1, 1), preserve_index=False)
    table = table.set_column(table.schema.get_field_index(column), column, values)
    path = tmp_path / "current.parquet" / "odd.parquet"
    path.parent.mkdir()
    pq.write_table(table, path)
    with pytest.raises((DriftloopError, ValueError), match=rf"(?s)odd\.parquet.*column {column} is {said}"):
        entrance(path, configured("float64"))
