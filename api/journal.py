"""One journal of the log: a file that one process appends to, one line per request, until it is sealed into a part.

A line holds all rows of its request as a JSON list of lists in the schema's order. It is written by one `write`, and
acknowledged after it: a line without its newline was never acknowledged, so a request is in the log as a whole or not
at all. The writer holds the file's flock while it lives; a journal whose flock is free belongs to a dead process.
"""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.store import part_name, replaced

Row = list[Any]

_NAME = re.compile(r"_journal-([^.]+)-(\d+)\.jsonl")
_FEW = 16
_UNFIT = (pa.ArrowException, TypeError, ValueError, LookupError, OverflowError)


@dataclass(frozen=True)
class Format:
    """The rows of a log: their columns, and the time by which a row's part is found (microseconds since 1970)."""

    schema: pa.Schema
    time_of: Callable[[Row], int]


@dataclass(frozen=True)
class Sealed:
    """What became of a journal."""

    part: Path | None
    rows: int
    torn_bytes: int
    corrupt_lines: int
    set_aside: Path | None


class Journal:
    """The journal that this process appends to."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.rows = 0
        self.broken = False
        self._descriptor = descriptor
        self._size = 0

    @classmethod
    def create(cls, folder: Path, writer: str, segment: int) -> "Journal | None":
        """Create and lock a journal; return None if another process took the empty file for a dead one's."""
        path = folder / f"_journal-{writer}-{segment}.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        if _lock(descriptor):
            return cls(path, descriptor)
        os.close(descriptor)
        return None

    def append(self, line: bytes, rows: int, *, sync: bool) -> None:
        """Write a request's line as a whole, or raise OSError and leave nothing of it.

        If not even the cutting back works, the journal is `broken`: nothing may be written behind the torn line.
        """
        try:
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, "No space left for the whole line")  # noqa: TRY301 - as write itself would
            if sync:
                os.fdatasync(self._descriptor)
        except OSError:
            self.broken = True
            os.ftruncate(self._descriptor, self._size)
            self.broken = False
            raise
        self._size += len(line)
        self.rows += rows

    def close(self) -> None:
        """Give up the lock."""
        os.close(self._descriptor)


def _lock(descriptor: int) -> bool:
    """Take the flock of a file that still has a name; return False if another holds it or removed the file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def list_journals(folder: Path) -> list[Path]:
    """List the journals of a log, living and orphaned."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if _NAME.fullmatch(entry.name))
    except FileNotFoundError:
        return []


def seal_orphan(path: Path, form: Format) -> Sealed | None:
    """Seal a dead process's journal; return None if its writer lives or another process was faster."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return seal(path, form) if _lock(descriptor) else None
    finally:
        os.close(descriptor)


def seal(path: Path, form: Format) -> Sealed:
    """Turn a journal that nobody appends to into a part, and remove it.

    The same journal gives the same part, so that a process which dies in between leaves nothing to undo.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not a journal")
    writer, segment = match[1], int(match[2])
    *lines, torn = path.read_bytes().split(b"\n")
    rows, table, corrupt = _sort_out(lines, form)
    part = set_aside = None
    if corrupt:
        set_aside = path.with_name(f"_corrupt-{writer}-{segment}.jsonl")
        with replaced(set_aside) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in corrupt))
    if rows:
        times = [form.time_of(row) for row in rows]
        part = path.with_name(part_name(min(times), max(times), len(rows), writer, segment))
        with replaced(part) as temporary:
            pq.write_table(table, temporary)
    for litter in path.parent.glob(f"_*-{writer}-{segment}.*.tmp"):  # of a process that died while it sealed this
        litter.unlink(missing_ok=True)
    path.unlink()
    return Sealed(part, len(rows), len(torn), len(corrupt), set_aside)


def _sort_out(lines: list[bytes], form: Format) -> tuple[list[Row], pa.Table, list[bytes]]:
    """Return the rows of the lines that fit the schema, as rows and as a table, and the lines that do not."""
    try:
        return *_read(lines, form), []
    except _UNFIT:
        fitting = [_fits(line, form) for line in lines]
        good = [line for line, fits in zip(lines, fitting, strict=True) if fits]
        return *_read(good, form), [line for line, fits in zip(lines, fitting, strict=True) if not fits]


def _fits(line: bytes, form: Format) -> bool:
    try:
        _read([line], form)
    except _UNFIT:
        return False
    return True


def _read(lines: list[bytes], form: Format) -> tuple[list[Row], pa.Table]:
    """Read lines into rows; raise one of _UNFIT if any of them does not fit."""
    rows = [row for line in lines for row in orjson.loads(line)]
    if not rows:
        return [], form.schema.empty_table()
    for row in rows:
        form.time_of(row)
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, form.schema, strict=True)]
    for array, field in zip(arrays, form.schema, strict=True):
        if array.null_count and not field.nullable:
            raise ValueError(f"{field.name} is null")
    return rows, pa.table(arrays, schema=form.schema)


def find_rows(path: Path, ids: set[str]) -> Iterator[Row]:
    """Read the rows of these ids from a journal that may be growing; a damaged line is left to the sealing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return  # sealed since it was listed
    # The usual case is one id that is elsewhere: searching bytes is far cheaper than parsing them.
    if len(ids) <= _FEW and not any(prediction_id.encode(errors="replace") in data for prediction_id in ids):
        return
    for line in data.split(b"\n")[:-1]:
        with contextlib.suppress(orjson.JSONDecodeError, TypeError):
            yield from (row for row in orjson.loads(line) if isinstance(row, list) and row and row[0] in ids)
