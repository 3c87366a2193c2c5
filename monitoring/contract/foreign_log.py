"""Another system's log, watched where it lies: a folder of Parquet files of any names, on this machine or in storage.

It is only ever read. A file is known by its path and by what it was when it was looked at (`Named.key`), so that one
that is written anew is another. Of each file the times are read once.
"""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from monitoring.contract.config import Model
from monitoring.contract.delta import DELTA, delta_error, is_table, require_no_delta, table_files
from monitoring.contract.errors import DriftloopError
from monitoring.contract.listing import is_data, walk
from monitoring.contract.part_reader import UNREADABLE, TimeRange, join_ranges, reason_of, time_ranges
from monitoring.contract.partitions import Partition, Texts, texts_in, typed, with_our_texts
from monitoring.contract.plain_files import stat_plain
from monitoring.contract.renamed_file import Foreign
from monitoring.contract.storage import Named, Remote, Stamp, place, stamp_of
from monitoring.contract.times import Micros

ENDINGS = (".parquet", ".parq", ".pq")
_AT_ONCE = 8  # files of which the times are read
_KEY = re.compile(r"(.*~[0-9a-f]{16})~([0-9]+)~[0-9a-f]{16}", re.DOTALL)
_NOWHERE = TimeRange(Micros(0), Micros(0), 0)
_SHOWN = 60  # characters of a file's name in its key


@dataclass(frozen=True)
class Placed:
    """A file of the log with the times of its rows, or why it cannot be read."""

    file: Named
    times: TimeRange
    problem: str | None = None
    replaces: tuple[str, ...] = ()  # the files, as `known_as` calls them, whose rows it may hold


@dataclass(frozen=True)
class _Found:
    """A file: its path from the log's folder, its place, what changes with it, and why it cannot be read.

    Of a Delta table's file also its partition, and the files that it took the place of.
    """

    name: str
    at: Path | Remote
    stamp: Stamp
    problem: str | None = None
    partition: Texts | None = None
    replaces: tuple[str, ...] = ()

    @property
    def texts(self) -> Texts:
        """Return what is said of the file's rows, by a table's log or by the names of its folders."""
        return texts_in(self.name) if self.partition is None else self.partition


def watched_log(source: str, model: Model) -> Named:
    """Return the log that a path or a URI names, whose files may have their own names for columns of ours."""
    return Named(place(source), Foreign(model.names, numbers=model.numbers))


def list_log(log: Named) -> list[Placed]:
    """List a log's files; raise DriftloopError if there is no such folder, or it is none whose files can be read.

    A folder without any file is no empty log: it may be where a disk is mounted that is away.
    """
    table = is_table(*_address(log.at))
    found = list(_table_files(log.at) if table else _files(log.at))
    if not found and not table:
        raise DriftloopError(f"PREDICTION_LOG = {log.at}: there is no file of Parquet, or it is away")
    texts = [with_our_texts(file.texts, log.foreign.columns) for file in found]
    partitions = typed(texts, log.foreign.numbers)
    files = [
        (file, replace(log.foreign, partition=partition, rows_of=file.name))
        for file, partition in zip(found, partitions, strict=True)
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_placed, files))


def known_as(name: str) -> tuple[str, int] | None:
    """Return which file a key is of, whatever was written into it since, and its rows then; None for other names."""
    match = _KEY.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))


def _table_files(folder: Path | Remote) -> Iterator[_Found]:
    for file in table_files(folder):
        yield _Found(file.name, folder / file.name, file.stamp, None, file.partition, file.replaces)


def _files(folder: Path | Remote) -> Iterator[_Found]:
    """Yield the files below a folder, and what cannot be looked into."""
    if isinstance(folder, Remote):
        yield from _remote_files(folder)
        return
    if not folder.is_dir():
        raise DriftloopError(f"PREDICTION_LOG = {folder}: there is no such folder")
    names = [(name, reason) for name, reason in walk(folder, "", ()) if reason or name.lower().endswith(ENDINGS)]
    if names and names[0][0] == ".":
        raise DriftloopError(f"PREDICTION_LOG = {folder}: {names[0][1]}")
    require_no_delta(pa.fs.LocalFileSystem(), str(folder), [f"{folder}/{name}" for name in ("", *dict(names))])
    for name, reason in names:
        yield _Found(name, folder / name, _stamp(folder / name), reason)


def _remote_files(folder: Remote) -> Iterator[_Found]:
    filesystem, path = folder.address
    infos = filesystem.get_file_info(pa.fs.FileSelector(path, recursive=True, allow_not_found=True))
    below = len(path) + 1
    for info in infos:
        name = info.path[below:]
        if f"/{DELTA}/" in f"/{name}":
            raise delta_error(f"{folder}/{name}".partition(f"/{DELTA}/")[0])
        if info.type == pa.fs.FileType.File and is_data(name) and name.lower().endswith(ENDINGS):
            yield _Found(name, folder / name, (info.mtime_ns or 0, info.size or 0))


def _address(folder: Path | Remote) -> tuple[pa.fs.FileSystem, str]:
    return (pa.fs.LocalFileSystem(), str(folder)) if isinstance(folder, Path) else folder.address


def _stamp(path: Path) -> Stamp:
    try:
        return stamp_of(path.stat())
    except OSError:  # whoever opens it says so
        return ()


def _placed(file: tuple[_Found, Foreign]) -> Placed:
    found, foreign = file
    at, stamp = found.at, found.stamp
    if found.problem is not None:
        return Placed(Named(at, foreign), _NOWHERE, found.problem)
    try:
        if isinstance(at, Path):
            stat_plain(at)  # a pipe would be waited for
        times = _times(at, foreign, stamp)
    except UNREADABLE as error:
        return Placed(Named(at, foreign), _NOWHERE, reason_of(error))
    rows = times.rows + times.timeless
    key = f"{_known(found.name)}~{rows}~{_digest(stamp, foreign.partition)}"
    problem = None if times.rows or not rows else times.problem
    return Placed(Named(at, foreign, key), times, problem, tuple(map(_known, found.replaces)))


def _known(name: str) -> str:
    """Return by what a file is known, whatever is written into it."""
    return f"{name.rpartition('/')[2][-_SHOWN:]}~{_digest(name)}"


@lru_cache(maxsize=65_536)
def _times(at: Path | Remote, foreign: Foreign, _stamp: Stamp) -> TimeRange:
    return join_ranges(time_ranges(Named(at, foreign, "times")))


def _digest(*what: str | Stamp | Partition | None) -> str:
    return hashlib.blake2b(repr(what).encode(errors="backslashreplace"), digest_size=8).hexdigest()
