"""Parts: immutable Parquet files of rows, and which of those in a folder count.

A part's name says what it holds: `part-<first>-<last>-<rows>-<writer>-<segment>.parquet`, first and last in
microseconds since 1970, so that a window is found without opening a file. In `current.parquet` the range is that of
the rows' timestamps, in `labels.parquet` that of the labelled predictions. Ids are UUIDs of version 7: they carry
their prediction's time, so that a row is found by its id without an index.

A merged part, `part-<first>-<last>-<rows>-merged-<digest>.parquet`, holds the rows of several parts, which its footer
names. It is written first, and what it covers is removed after: where both lie there, the merged one counts.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.files import Place, list_names, open_parquet
from monitoring.schema import TIMESTAMP, DriftloopError

_PART = re.compile(r"part-(\d{16})-(\d{16})-(\d+)-([^.]+)-([^.-]+)\.parquet")
_MERGED = "merged"  # in the writer's place
_COVERS = b"driftloop.covers"
_LISTINGS = 100
_ROWS_READ = 65_536  # at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Part:
    """One immutable file of rows; first and last are microseconds since 1970, both included."""

    last: int
    first: int
    rows: int
    path: Place

    @property
    def name(self) -> str:
        """Return the file's name, by which the part is known for ever."""
        return self.path.name


@dataclass(frozen=True)
class Unreadable:
    """A file that should hold rows and cannot be read."""

    path: Place
    reason: str


def microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(moment: int) -> datetime:
    """Return the moment so many microseconds after 1970 began."""
    return _EPOCH + timedelta(microseconds=moment)


def part_name(first: int, last: int, rows: int, writer: str, segment: int) -> str:
    """Return the name of a part; the same content from the same journal has the same name."""
    return f"part-{first:016d}-{last:016d}-{rows}-{writer}-{segment}.parquet"


def merged_name(parts: Sequence[Part]) -> str:
    """Return the name of the part that these are merged into; the same parts give the same name."""
    names = "\n".join(sorted(part.name for part in parts))
    first, last, rows = min(p.first for p in parts), max(p.last for p in parts), sum(p.rows for p in parts)
    return f"part-{first:016d}-{last:016d}-{rows}-{_MERGED}-{hashlib.sha256(names.encode()).hexdigest()[:16]}.parquet"


def covering(parts: Sequence[Part]) -> dict[bytes, bytes]:
    """Return the footer's note of which parts a merged part holds."""
    return {_COVERS: json.dumps(sorted(part.name for part in parts)).encode()}


def covered(part: Part) -> tuple[str, ...]:
    """Return the names of the parts whose rows a merged part holds; none for any other part.

    Read from the footer, once per file. Raise FileNotFoundError if the part is gone.
    """
    return _read_covered(part.path) if is_merged(part.name) else ()


@lru_cache(maxsize=8192)
def _read_covered(path: Place) -> tuple[str, ...]:
    with open_parquet(path) as file:
        return noted(file)


def is_merged(name: str) -> bool:
    """Say whether a file of that name is a merged part."""
    match = _PART.fullmatch(name)
    return match is not None and match[4] == _MERGED


def noted(file: pq.ParquetFile) -> tuple[str, ...]:
    """Return the names of the parts that a merged part's footer says it holds."""
    return tuple(json.loads((file.schema_arrow.metadata or {}).get(_COVERS, b"[]")))


def writer_of(part: Part) -> tuple[str, int] | None:
    """Return the writer and the number of the journal that a part was sealed from; None for any other part."""
    match = _PART.fullmatch(part.name)
    return (match[4], int(match[5])) if match and match[4] != _MERGED else None


def list_parts(folder: Place) -> tuple[list[Part], list[Unreadable]]:
    """List the parts that count, newest first: one whose rows a merged part holds is left out.

    A part may be gone when it is opened (FileNotFoundError): it was merged or archived since, and another list tells.
    A foreign Parquet file is placed by the timestamps in it.
    """
    for _ in range(_LISTINGS):
        try:
            parts, unreadable = _list_all(folder)
            gone = {name for part in parts for name in _covered_if_readable(part)}
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            return [], [Unreadable(folder, "is a file; it must be a folder of parts")]
        return sorted((part for part in parts if part.name not in gone), reverse=True), unreadable
    raise DriftloopError(f"{folder} changes faster than it can be listed")


def list_leftovers(folder: Place) -> list[Part]:
    """List the parts that do not count because a merged part holds their rows; nobody needs them."""
    parts, _ = _list_all(folder)
    gone = {name for part in parts for name in _covered_if_readable(part)}
    return [part for part in parts if part.name in gone]


def _list_all(folder: Place) -> tuple[list[Part], list[Unreadable]]:
    parts, unreadable = [], []
    for name in _stable_names(folder):
        path = folder / name
        if match := _PART.fullmatch(name):
            parts.append(Part(int(match[2]), int(match[1]), int(match[3]), path))
            continue
        try:
            parts.append(_place(path))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            unreadable.append(Unreadable(path, str(error)))
    return parts, unreadable


def _stable_names(folder: Place) -> set[str]:
    """List until two listings agree.

    A listing is no snapshot: while a merge makes its part and then removes what that covers, it may miss both.
    """
    before = None
    for _ in range(_LISTINGS):
        now = {n for n in list_names(folder) if n.endswith(".parquet") and not n.startswith(("_", "."))}
        if now == before:
            return now
        before = now
    raise DriftloopError(f"{folder} changes faster than it can be listed")


def _covered_if_readable(part: Part) -> tuple[str, ...]:
    try:
        return covered(part)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        return ()  # a damaged part holds nobody's rows; who reads it will say so


def _place(path: Place) -> Part:
    with open_parquet(path) as file:
        times = file.read(columns=["timestamp"])["timestamp"].cast(TIMESTAMP, safe=False).cast(pa.int64())
    if not len(times):
        return Part(0, 0, 0, path)
    bounds = pc.min_max(times).as_py()
    if bounds["max"] is None:
        raise ValueError("its timestamps are null")
    return Part(bounds["max"], bounds["min"], len(times), path)


def is_ours(part: Part) -> bool:
    """Say whether the API wrote a part, by its name; a foreign one is read, and left alone."""
    return _PART.fullmatch(part.name) is not None


def read_part(path: Place, schema: pa.Schema, after: int | None = None) -> pa.Table:
    """Read one part as the schema: a missing column is null, another type is cast, an unknown column is left out.

    With `after` (microseconds since 1970) row groups that hold no later row are left out.
    """
    with open_parquet(path) as file:
        groups = [g for g in range(file.num_row_groups) if after is None or _may_be_later(file.metadata, g, after)]
        return _read(file, groups, schema)


def read_groups(path: Place, schema: pa.Schema, groups: Sequence[int] | None = None) -> Iterator[pa.Table]:
    """Read row groups, all or some, as the schema: a few small ones at a time. Text may be read as a dictionary."""
    with open_parquet(path, [f.name for f in schema if pa.types.is_dictionary(f.type)]) as file:
        few: list[int] = []
        rows = 0
        for group in range(file.num_row_groups) if groups is None else groups:
            more = file.metadata.row_group(group).num_rows
            if few and rows + more > _ROWS_READ:
                yield _read(file, few, schema)
                few, rows = [], 0
            few.append(group)
            rows += more
        if few:
            yield _read(file, few, schema)


def time_ranges(path: Place) -> list[tuple[int, int, int]]:
    """Return of each row group the first and the last timestamp (microseconds since 1970), and the rows."""
    ranges = []
    with open_parquet(path) as file:
        for group in range(file.num_row_groups):
            times = _read(file, [group], pa.schema([("timestamp", TIMESTAMP)]))["timestamp"].cast(pa.int64())
            bounds = pc.min_max(times).as_py()
            if len(times) and bounds["max"] is not None:
                ranges.append((bounds["min"], bounds["max"], len(times)))
            else:
                ranges.append((0, 0, len(times)))
    return ranges


def _read(file: pq.ParquetFile, groups: Sequence[int], schema: pa.Schema) -> pa.Table:
    names = set(file.schema_arrow.names)
    table = file.read_row_groups(groups, columns=[n for n in schema.names if n in names])
    # not safe: a foreign part may hold nanoseconds, and integers that a float32 rounds
    columns = [
        table[f.name].cast(f.type, safe=False) if f.name in names else pa.nulls(len(table), f.type) for f in schema
    ]
    return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))


def _may_be_later(metadata: pq.FileMetaData, group: int, after: int) -> bool:
    place = metadata.schema.names.index("timestamp")
    statistics = metadata.row_group(group).column(place).statistics
    if statistics is None or not isinstance(statistics.max, datetime) or statistics.max.tzinfo is None:
        return True
    return microseconds(statistics.max) > after
