"""No file of a user's ends in a traceback: each is read, or refused by name, at every entrance."""

import contextlib
import io
import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.backtest.log_rows import open_log
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.reference import parse_reference
from tests.unit.taxi import Desk, trips

ROWS = 240
COLUMNS = ("fare_amount", "predicted_tip", "tip", "timestamp")
N = range(ROWS)

ODD: dict[str, Callable[[], pa.Array]] = {
    "list": lambda: pa.array([[1.0]] * ROWS),
    "struct": lambda: pa.array([{"a": 1, "b": "x"}] * ROWS),
    "map": lambda: pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
    "binary": lambda: pa.array([b"\xff\xfe"] * ROWS),
    "fixed binary": lambda: pa.array([b"1234"] * ROWS, pa.binary(4)),
    "text": lambda: pa.array(["loud"] * ROWS),
    "numbers as text": lambda: pa.array([str(n) for n in N], pa.large_string()),
    "null": lambda: pa.nulls(ROWS),
    "all null floats": lambda: pa.nulls(ROWS, pa.float64()),
    "bool": lambda: pa.array([n % 2 == 0 for n in N]),
    "huge integers": lambda: pa.array([2**63 + n for n in N], pa.uint64()),
    "least integers": lambda: pa.array([-(2**63) + n for n in N], pa.int64()),
    "half floats": lambda: pa.array([np.float16(n) for n in N], pa.float16()),
    "not finite": lambda: pa.array([float("nan"), float("inf"), float("-inf"), 1e308] * (ROWS // 4)),
    "fractions": lambda: pa.array([n + 0.5 for n in N]),
    "decimal": lambda: pa.array([Decimal("1.25")] * ROWS),
    "decimal256": lambda: pa.array([Decimal("9" * 60)] * ROWS, pa.decimal256(76, 5)),
    "dictionary": lambda: pa.array(["yes", "no"] * (ROWS // 2)).dictionary_encode(),
    "dictionary of numbers": lambda: pa.array([1.5, 2.5] * (ROWS // 2)).dictionary_encode(),
    "seconds": lambda: pa.array([datetime(2026, 1, 1) + timedelta(seconds=n) for n in N], pa.timestamp("s")),  # noqa: DTZ001
    "nanoseconds": lambda: pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * ROWS, pa.timestamp("ns", "Asia/Tokyo")),
    "times far away": lambda: pa.array([2**62] * ROWS, pa.timestamp("ms")),
    "durations": lambda: pa.array([timedelta(seconds=n) for n in N]),
    "times of day": lambda: pa.array([n for n in N], pa.time64("us")),  # noqa: C416
    "dates": lambda: pa.array([date(2026, 1, 1)] * ROWS),
    "nested": lambda: pa.array([[{"a": [1]}]] * ROWS),
}  # fmt: skip


def table() -> pa.Table:
    times = pa.array([datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n) for n in N], pa.timestamp("us", "UTC"))
    ids = pa.array([f"id-{n}" for n in N])
    return (
        pa.Table.from_pandas(trips(ROWS), preserve_index=False)
        .append_column("timestamp", times)
        .append_column("prediction_id", ids)
    )


def written(rows: pa.Table, **options: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, **options)
    return bytes(sink.getvalue())


def mutants() -> Iterator[tuple[str, bytes]]:
    """Yield files of every kind of wrongness, each with its name."""
    rows, whole = table(), written(table(), row_group_size=100)
    for name, column in itertools.product(ODD, COLUMNS):
        odd = ODD[name]()
        with contextlib.suppress(pa.ArrowNotImplementedError):  # what cannot be written is nobody's file
            yield f"{column}: {name}", written(rows.set_column(rows.schema.get_field_index(column), column, odd))
    for column in rows.column_names:
        yield f"without {column}", written(rows.drop_columns([column]))
        yield f"{column} twice", written(rows.append_column(column, rows[column]))
        yield (
            f"{column} renamed",
            written(rows.rename_columns([n if n != column else "é \n{}" for n in rows.column_names])),
        )
    yield "no rows", written(rows[:0])
    yield "no columns", written(rows.select([]))
    empty = io.BytesIO()
    with pq.ParquetWriter(empty, rows.schema) as writer:
        for part in (rows[:0], rows, rows[:0]):
            writer.write_table(part)
    yield "empty row groups", empty.getvalue()
    for key in (b"driftloop.through", b"driftloop.performance", b"driftloop.covers", b"pandas"):
        yield f"metadata {key!r}", written(rows.replace_schema_metadata({key: b'{"a": [\xff'}))
    for length in (0, 1, 4, 7, 8, 12, len(whole) // 2, len(whole) - 1, len(whole) - 4, len(whole) - 8):
        yield f"cut at {length}", whole[:length]
    rng = random.Random(0)
    for number in range(60):
        damaged = bytearray(whole)
        start = len(whole) - 3000 if number % 2 else 4  # the footer, or anywhere
        for _ in range(rng.choice([1, 8])):
            damaged[rng.randrange(max(start, 4), len(whole))] = rng.randrange(256)
        yield f"bytes flipped {number}", bytes(damaged)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # numbers at the end of float64's range overflow in moments
def test_profile_and_report_answer_or_refuse(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each file: exit 2 with its name, or a profile on which the report gives one of its statuses."""
    reported = 0
    for name, content in mutants():
        path = desk.folder / "mutant.parquet"
        path.write_bytes(content)
        code = desk.profile(path)
        said = capsys.readouterr()
        assert code in (0, 2), name
        assert "internal error" not in said.err, (name, said.err)
        assert code == 0 or "mutant.parquet" in said.err, (name, said.err)
        if code == 0:
            code = desk.report()
            said = capsys.readouterr()
            assert code in (0, 1, 2), name
            assert "internal error" not in said.err, (name, said.err)
            assert code != 2 or "rows" in said.err, (name, said.err)
            reported += code != 2
    assert reported > 20


def outcome(name: str, read: Callable[[], int]) -> bool:
    """Return whether a file gave rows; where it is refused, it must be by its name."""
    try:
        return read() > 0
    except DriftloopError as error:
        if "mutant.parquet" not in str(error):
            pytest.fail(f"{name}: {error}")
        return False


def test_a_reference_is_read_or_refused(desk: Desk) -> None:
    """Each is a reference, or an error that names it."""
    model = load_config(desk.folder / "taxi.yml").model
    read = [
        outcome(name, lambda content=content: len(parse_reference(content, "mutant.parquet", model).table))
        for name, content in mutants()
    ]
    assert {*read} == {True, False}


def test_a_recorded_log_is_opened_or_refused(desk: Desk) -> None:
    """Each is replayed to its last row, or an error names the file."""
    model = load_config(desk.folder / "taxi.yml").model
    path = desk.folder / "mutant.parquet"
    read = []
    for name, content in mutants():
        path.write_bytes(content)
        read.append(outcome(name, lambda: sum(map(len, open_log(str(path), model, None, None).read()))))
    assert {*read} == {True, False}


def test_the_live_log_reads_around_what_it_cannot_read(desk: Desk, tmp_path: Path) -> None:
    """A foreign file in the log is read or named, and the rows of the sound one beside it are there."""
    config = load_config(desk.folder / "taxi.yml")
    layout = Layout(tmp_path)
    layout.current.mkdir()
    sound = pd.DataFrame({"timestamp": pd.date_range("2027-01-01", periods=9, freq="min", tz="UTC"), **trips(9)})
    sound.to_parquet(layout.current / "sound.parquet")
    now = datetime(2027, 1, 2, tzinfo=UTC)
    named = 0
    for name, content in mutants():
        (layout.current / "mutant.parquet").write_bytes(content)
        found = read_rows(layout, config.model, config.window, now=now)
        assert len(found.table) >= len(sound), name
        assert {file.path.name for file in found.unreadable} <= {"mutant.parquet"}, name
        named += bool(found.unreadable)
        (layout.current / "mutant.parquet").unlink()
    assert named
