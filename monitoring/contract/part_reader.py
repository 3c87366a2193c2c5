"""Reading a file of rows as a schema, whoever wrote it: a bounded number of rows at a time.

The API's own parts have row groups of 16,384 rows at most. A foreign file may be one row group of millions; it is then
decoded page by page.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.contract.plain_files import readable
from monitoring.contract.renamed_file import RenamedFile, stored_name
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.storage import LARGE, Place, open_parquet
from monitoring.contract.times import Micros, from_microseconds
from monitoring.contract.uris import without_keys
from monitoring.contract.values import conform, require_once

_ROWS_READ = 65_536  # at once
_FOOTERS_AT_ONCE = 8
_TIMES = pa.schema([("timestamp", TIMESTAMP)])

# what reading a damaged or foreign file raises; FileNotFoundError, an OSError too, says that it is gone
UNREADABLE = (pa.ArrowException, OSError, ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class TimeRange:
    """The first and the last timestamp of rows, how many rows have one, and how many have none."""

    first: Micros
    last: Micros
    rows: int
    timeless: int = 0

    @property
    def problem(self) -> str | None:
        """Say how many rows have no timestamp; None if all have one."""
        return f"{self.timeless:,} of {self.rows + self.timeless:,} rows have no timestamp" if self.timeless else None


def reason_of(error: Exception) -> str:
    """Return what an error says, in one line and without keys; a KeyError says nothing but a column's name."""
    said = readable(without_keys(" ".join(str(error).split())))
    return f"has no column {said}" if isinstance(error, KeyError) else said or type(error).__name__


def read_part(path: Place, schema: pa.Schema, after: Micros | None = None) -> Iterator[pa.Table]:
    """Read one part as `read_groups` does; with `after` without rows that are not later."""
    groups = None
    if after is not None:
        with open_parquet(path) as file:
            groups = [g for g in range(file.num_row_groups) if _may_be_later(file, g, after)]
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


def read_file(
    file: pq.ParquetFile | RenamedFile, schema: pa.Schema, groups: Sequence[int] | None = None
) -> Iterator[pa.Table]:
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


def schemas_of(paths: Iterable[Place]) -> Iterator[pa.Schema]:
    """Yield the schemas of files; one that cannot be read has none: who reads its rows says so."""
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        yield from pool.map(_schema_of, paths)


def _schema_of(path: Place) -> pa.Schema:
    try:
        with open_parquet(path) as file:
            return file.schema_arrow
    except UNREADABLE:
        return pa.schema([])


def time_ranges(path: Place) -> list[TimeRange]:
    """Return the times of each row group; both are 0 where no row has one."""
    with open_parquet(path) as file:
        rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return [join_ranges(map(_range_of, _read(file, [g], count, _TIMES))) for g, count in enumerate(rows)]


def _range_of(table: pa.Table) -> TimeRange:
    times = table["timestamp"].cast(pa.int64())
    timeless = times.null_count
    if timeless == len(times):
        return TimeRange(Micros(0), Micros(0), 0, timeless)
    bounds = pc.min_max(times).as_py()
    return TimeRange(Micros(bounds["min"]), Micros(bounds["max"]), len(times) - timeless, timeless)


def join_ranges(ranges: Iterable[TimeRange]) -> TimeRange:
    """Return the times of several row groups as of one."""
    every = list(ranges)
    timed = [one for one in every if one.rows]
    return TimeRange(
        min((one.first for one in timed), default=Micros(0)),
        max((one.last for one in timed), default=Micros(0)),
        sum(one.rows for one in timed),
        sum(one.timeless for one in every),
    )


def _read(
    file: pq.ParquetFile | RenamedFile, groups: Sequence[int], rows: int, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Read row groups of so many rows at once, or what is too large for that piece by piece."""
    require_once(file.schema_arrow, schema.names)
    names = [name for name in schema.names if name in file.schema_arrow.names]
    if rows <= LARGE:
        yield _conform(file.read_row_groups(groups, columns=names), schema)
        return
    left = rows
    for batch in file.iter_batches(_ROWS_READ, row_groups=groups, columns=names):
        left -= len(batch)
        yield _conform(pa.Table.from_batches([batch]), schema)
    if left:  # Arrow takes the end of a file that is cut off meanwhile for the end of its rows
        raise ValueError(f"lacks {left:,} of {rows:,} rows: it was cut off while it was read")


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    if "timestamp" in schema.names and "timestamp" not in table.column_names:
        raise ValueError("has no column timestamp, without which nobody knows when its rows came")
    return conform(table, schema)


def _may_be_later(file: pq.ParquetFile | RenamedFile, group: int, after: Micros) -> bool:
    bounds = group_bounds(file, group, "timestamp")
    return bounds is None or not isinstance(bounds[1], datetime) or _later(bounds[1], after)


def _later(last: datetime, after: Micros) -> bool:
    return last.tzinfo is None or last > from_microseconds(after)


def group_bounds(file: pq.ParquetFile | RenamedFile, group: int, name: str) -> tuple[Any, Any] | None:
    """Return the least and the largest value of a column in a row group; None where the file does not tell."""
    metadata, stored = file.metadata, stored_name(file, name)
    paths = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    if stored not in paths:
        return None
    statistics = metadata.row_group(group).column(paths.index(stored)).statistics
    try:
        return None if statistics is None or not statistics.has_min_max else (statistics.min, statistics.max)
    except (ArithmeticError, ValueError):  # outside the calendar: who reads the rows says so
        return None
