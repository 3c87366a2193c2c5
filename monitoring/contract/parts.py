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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq

from monitoring.contract.errors import DriftloopError
from monitoring.contract.foreign_log import list_log
from monitoring.contract.names import COVERS
from monitoring.contract.part_reader import UNREADABLE, join_ranges, reason_of, time_ranges
from monitoring.contract.plain_files import readable, stat_plain
from monitoring.contract.renamed_file import RenamedFile
from monitoring.contract.rereading import attempts
from monitoring.contract.storage import Named, Place, Stamp, list_names, open_parquet, stamp_of
from monitoring.contract.times import Micros, from_microseconds

_PART = re.compile(r"part-([0-9]{16})-([0-9]{16})-([0-9]{1,12})-([\w-]+)-(\w+)\.parquet", re.ASCII)
_MERGED = "merged"  # in the writer's place
_LISTINGS = 100


@dataclass(frozen=True, order=True)
class Part:
    """One immutable file of rows, from the first to the last time in it, both included.

    `rows` have a time; `partial` says how many have none, which are in no window.
    """

    last: Micros
    first: Micros
    rows: int
    path: Place
    partial: str | None = None
    replaces: tuple[str, ...] = field(default=(), compare=False)  # files of a watched log whose rows it may hold

    @property
    def name(self) -> str:
        """Return the file's name, by which the part is known for ever."""
        return self.path.name


@dataclass(frozen=True)
class Unreadable:
    """A file that should hold rows and cannot be read, or of which rows are left out."""

    path: Place
    reason: str

    @property
    def shown(self) -> str:
        """Return the path as text that can be written anywhere, whatever bytes are in the name."""
        return readable(self.path)


def from_the_future(parts: Iterable[Part], latest: Micros) -> list[Unreadable]:
    """Name the parts that hold rows later than that; these are left out of everything that asks for the newest."""
    return [
        Unreadable(
            part.path,
            f"holds rows up to {from_microseconds(part.last):%Y-%m-%d %H:%M:%S} UTC, more than an hour ahead of this"
            " clock; rows from the future are left out",
        )
        for part in parts
        if part.last > latest
    ]


def without_times(parts: Iterable[Part]) -> list[Unreadable]:
    """Name the parts of which some rows have no timestamp; these are in no window."""
    return [Unreadable(part.path, part.partial) for part in parts if part.partial]


def part_name(first: Micros, last: Micros, rows: int, writer: str, segment: int | str) -> str:
    """Return the name of a part; the same content from the same journal has the same name."""
    return f"part-{first:016d}-{last:016d}-{rows}-{writer}-{segment}.parquet"


def merged_name(parts: Sequence[Part]) -> str:
    """Return the name of the part that these are merged into; the same parts give the same name."""
    names = "\n".join(sorted(part.name for part in parts))
    first, last, rows = min(p.first for p in parts), max(p.last for p in parts), sum(p.rows for p in parts)
    return f"part-{first:016d}-{last:016d}-{rows}-{_MERGED}-{hashlib.sha256(names.encode()).hexdigest()[:16]}.parquet"


def covering(parts: Sequence[Part]) -> dict[bytes, bytes]:
    """Return the footer's note of which parts a merged part holds."""
    return {COVERS.encode(): json.dumps(sorted(part.name for part in parts)).encode()}


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


def noted(file: pq.ParquetFile | RenamedFile) -> tuple[str, ...]:
    """Return the names of the parts that a merged part's footer says it holds."""
    return tuple(json.loads((file.schema_arrow.metadata or {}).get(COVERS.encode(), b"[]")))


def writer_of(part: Part) -> tuple[str, int] | None:
    """Return the writer and the number of the journal that a part was sealed from; None for any other part."""
    match = _PART.fullmatch(part.name)
    if match is None or match[4] == _MERGED or not match[5].isdecimal():
        return None
    return match[4], int(match[5])


def list_parts(folder: Place) -> tuple[list[Part], list[Unreadable]]:
    """List the parts that count, newest first: one whose rows a merged part holds is left out.

    A part may be gone when it is opened (FileNotFoundError): it was merged or archived since, and another list tells.
    A foreign Parquet file is placed by the timestamps in it. Raise DriftloopError if a log of others that is watched
    where it lies is not there, or none of its files can be read.
    """
    if isinstance(folder, Named):
        return _list_foreign(folder)
    for attempt in attempts(folder):
        with attempt:
            try:
                parts, unreadable = _list_all(folder)
            except NotADirectoryError:
                return [], [Unreadable(folder, "is a file; it must be a folder of parts")]
            gone = {name for part in parts for name in covers(part)}
            break
    return sorted((part for part in parts if part.name not in gone), reverse=True), unreadable


def _list_foreign(folder: Named) -> tuple[list[Part], list[Unreadable]]:
    parts, unreadable = [], []
    for one in list_log(folder):
        if one.problem is not None:
            unreadable.append(Unreadable(one.file, one.problem))
        elif one.times.rows:
            times = one.times
            parts.append(Part(times.last, times.first, times.rows, one.file, times.problem, one.replaces))
    if unreadable and not parts:
        first = unreadable[0]
        raise DriftloopError(
            f"none of the {len(unreadable):,} files of the log can be read: {first.shown}: {first.reason}"
        )
    return sorted(parts, reverse=True), unreadable


def list_leftovers(folder: Place) -> list[Part]:
    """List the parts that do not count because a merged part holds their rows; nobody needs them."""
    parts, _ = _list_all(folder)
    gone = {name for part in parts for name in covers(part)}
    return [part for part in parts if part.name in gone]


def _list_all(folder: Place) -> tuple[list[Part], list[Unreadable]]:
    parts, unreadable = [], []
    for name in _stable_names(folder):
        path = folder / name
        if match := _PART.fullmatch(name):
            parts.append(Part(Micros(int(match[2])), Micros(int(match[1])), int(match[3]), path))
            continue
        try:
            parts.append(_place(path))
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(path, reason_of(error)))
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


def covers(part: Part) -> tuple[str, ...]:
    """Return what `covered` does, and nothing of a damaged part: it holds nobody's rows; who reads it will say so."""
    try:
        return covered(part)
    except FileNotFoundError:
        raise
    except UNREADABLE:
        return ()


def _place(path: Place) -> Part:
    """Place a foreign file by its rows' times; one of this machine is read again only when it has changed."""
    if not isinstance(path, Path):
        return _place_by_rows(path)
    return _place_once(path, stamp_of(stat_plain(path)))


@lru_cache(maxsize=1024)
def _place_once(path: Path, _version: Stamp) -> Part:
    return _place_by_rows(path)


def _place_by_rows(path: Place) -> Part:
    times = join_ranges(time_ranges(path))
    if times.problem and not times.rows:
        raise ValueError(times.problem)
    return Part(times.last, times.first, times.rows, path, times.problem)


def is_ours(part: Part) -> bool:
    """Say whether the API wrote a part, by its name; a foreign one is read, and left alone."""
    return not isinstance(part.path, Named) and _PART.fullmatch(part.name) is not None
