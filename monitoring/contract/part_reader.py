"""Reading a file of rows as a schema, whoever wrote it: a bounded number of rows at a time.

The API's own parts have row groups of 16,384 rows at most. A foreign file may be one row group of millions; it is then
decoded page by page.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.storage import Place, open_parquet
from monitoring.contract.times import Micros, from_microseconds
from monitoring.contract.uris import without_keys
from monitoring.contract.values import conform, require_once

_ROWS_READ = 65_536  # at once
LARGE = 4 * _ROWS_READ  # rows of a row group that is not read at once
_TIMES = pa.schema([("timestamp", TIMESTAMP)])

# what reading a damaged or foreign file raises; FileNotFoundError, an OSError too, says that it is gone
UNREADABLE = (pa.ArrowException, OSError, ArithmeticError, LookupError, TypeError, ValueError)


def reason_of(error: Exception) -> str:
    """Return what an error says, in one line and without keys; a KeyError says nothing but a column's name."""
    said = without_keys(" ".join(str(error).split()))
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

    A missing column is null, another type is converted (`monitoring.contract.values`), an unknown column is left out.
    Text may be read as a dictionary. Raise one of UNREADABLE if that cannot be, or if rows have no timestamp at all or
    one outside the calendar.
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
    require_once(file.schema_arrow, schema.names)
    names = [name for name in schema.names if name in file.schema_arrow.names]
    if rows <= LARGE:
        yield _conform(file.read_row_groups(groups, columns=names), schema)
        return
    for batch in file.iter_batches(_ROWS_READ, row_groups=groups, columns=names):
        yield _conform(pa.Table.from_batches([batch]), schema)


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if "timestamp" in schema.names and "timestamp" not in table.column_names:
        raise ValueError("has no column timestamp, without which nobody knows when its rows came")
    return conform(table, schema)


def _may_be_later(metadata: pq.FileMetaData, group: int, after: Micros) -> bool:
    bounds = group_bounds(metadata, group, "timestamp")
    return bounds is None or not isinstance(bounds[1], datetime) or _later(bounds[1], after)


def _later(last: datetime, after: Micros) -> bool:
    return last.tzinfo is None or last > from_microseconds(after)


def group_bounds(metadata: pq.FileMetaData, group: int, name: str) -> tuple[Any, Any] | None:
    """Return the least and the largest value of a column in a row group; None where the file does not tell."""
    paths = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    if name not in paths:
        return None
    statistics = metadata.row_group(group).column(paths.index(name)).statistics
    try:
        return None if statistics is None or not statistics.has_min_max else (statistics.min, statistics.max)
    except (ArithmeticError, ValueError):  # outside the calendar: who reads the rows says so
        return None
