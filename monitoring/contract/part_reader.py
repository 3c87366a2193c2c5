"""Reading a file of rows as a schema, whoever wrote it: a bounded number of rows at a time.

The API's own parts have row groups of 16,384 rows at most. A foreign file may be one row group of millions; it is then
decoded page by page.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.contract.prediction_ids import canonical_ids
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.storage import Place, open_parquet
from monitoring.contract.times import Micros, from_microseconds

_ROWS_READ = 65_536  # at once
LARGE = 4 * _ROWS_READ  # rows of a row group that is not read at once
_TIMES = pa.schema([("timestamp", TIMESTAMP)])
_CALENDAR = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999, in microseconds since 1970

# what reading a damaged or foreign file raises; FileNotFoundError, an OSError too, says that it is gone
UNREADABLE = (pa.ArrowException, OSError, ArithmeticError, LookupError, TypeError, ValueError)


def reason_of(error: Exception) -> str:
    """Return what an error says, in one line; a KeyError says nothing but a column's name."""
    said = " ".join(str(error).split())
    return f"has no column {said}" if isinstance(error, KeyError) else said or type(error).__name__


def read_part(path: Place, schema: pa.Schema, after: Micros | None = None) -> Iterator[pa.Table]:
    """Read one part as `read_groups` does; with `after` without rows that are not later."""
    groups = None
    if after is not None:
        with open_parquet(path) as file:
            groups = [g for g in range(file.num_row_groups) if _may_be_later(file.metadata, g, after)]
    for table in read_groups(path, schema, groups):
        yield table if after is None else table.filter(pc.greater(table["timestamp"].cast(pa.int64()), after))


def read_groups(path: Place, schema: pa.Schema, groups: Sequence[int] | None = None) -> Iterator[pa.Table]:
    """Read row groups, all or some, as the schema: a few small ones, or a piece of a large one, at a time.

    A missing column is null, another type is cast, an unknown column is left out. Text may be read as a dictionary. Ids
    are in the spelling in which they are compared.
    Raise one of UNREADABLE if that cannot be, or if rows have no timestamp at all or one outside the calendar.
    """
    with open_parquet(path, [f.name for f in schema if pa.types.is_dictionary(f.type)]) as file:
        yield from read_file(file, schema, groups)


def read_file(file: pq.ParquetFile, schema: pa.Schema, groups: Sequence[int] | None = None) -> Iterator[pa.Table]:
    """Read an open file as `read_groups` does."""
    few: list[int] = []
    rows = 0
    for group in range(file.num_row_groups) if groups is None else groups:
        more = file.metadata.row_group(group).num_rows
        if few and rows + more > _ROWS_READ:
            yield from _read(file, few, rows, schema)
            few, rows = [], 0
        few.append(group)
        rows += more
    if few:
        yield from _read(file, few, rows, schema)


def time_ranges(path: Place) -> list[tuple[Micros, Micros, int]]:
    """Return of each row group the first and the last timestamp, and the rows.

    Where there is no timestamp both are 0.
    """
    with open_parquet(path) as file:
        rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return [_join((_range_of(t) for t in _read(file, [g], count, _TIMES)), count) for g, count in enumerate(rows)]


def time_range(path: Place) -> tuple[Micros, Micros, int]:
    """Return what `time_ranges` does of a whole file."""
    ranges = time_ranges(path)
    return _join(((first, last) for first, last, _ in ranges), sum(rows for *_, rows in ranges))


def _range_of(table: pa.Table) -> tuple[Micros, Micros]:
    bounds = pc.min_max(table["timestamp"].cast(pa.int64())).as_py()
    return Micros(bounds["min"] or 0), Micros(bounds["max"] or 0)


def _join(ranges: Iterable[tuple[Micros, Micros]], rows: int) -> tuple[Micros, Micros, int]:
    timed = [(first, last) for first, last in ranges if last]
    none = Micros(0)
    return min((first for first, _ in timed), default=none), max((last for _, last in timed), default=none), rows


def _read(file: pq.ParquetFile, groups: Sequence[int], rows: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read row groups of so many rows at once, or what is too large for that piece by piece."""
    names = [name for name in schema.names if name in file.schema_arrow.names]
    if rows <= LARGE:
        yield _conform(file.read_row_groups(groups, columns=names), schema)
        return
    for batch in file.iter_batches(_ROWS_READ, row_groups=groups, columns=names):
        yield _conform(pa.Table.from_batches([batch]), schema)


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if "timestamp" in schema.names:
        _check_times(table)
    # not safe: a foreign part may hold nanoseconds, and integers that a float32 rounds
    columns = [
        table[f.name].cast(f.type, safe=False) if f.name in table.column_names else pa.nulls(len(table), f.type)
        for f in schema
    ]
    read = pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))
    if (place := schema.get_field_index("prediction_id")) < 0:
        return read
    return read.set_column(place, read.schema.field(place), canonical_ids(read["prediction_id"]))


def _check_times(table: pa.Table) -> None:
    if "timestamp" not in table.column_names:
        raise ValueError("has no column timestamp, without which nobody knows when its rows came")
    bounds = pc.min_max(table["timestamp"].cast(TIMESTAMP, safe=False))
    if bounds["max"].is_valid and (bounds["min"].value < _CALENDAR[0] or bounds["max"].value > _CALENDAR[1]):
        raise ValueError("holds timestamps outside the years 1 to 9999")


def _may_be_later(metadata: pq.FileMetaData, group: int, after: Micros) -> bool:
    place = metadata.schema.names.index("timestamp")
    statistics = metadata.row_group(group).column(place).statistics
    try:
        last = None if statistics is None else statistics.max
    except (ArithmeticError, ValueError):  # outside the calendar: who reads the rows says so
        return True
    return not isinstance(last, datetime) or last.tzinfo is None or last > from_microseconds(after)
