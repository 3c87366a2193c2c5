"""What a journal holds: a first line that names the columns, then a line per request with all of its rows.

The columns stand in the file because another process may seal it later, under a config that has other features.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import orjson
import pyarrow as pa

from monitoring.contract.journals import UNFIT, split_columns
from monitoring.contract.schemas import Row, row_id
from monitoring.contract.times import Micros


@dataclass(frozen=True)
class LogFormat:
    """The rows of a log: their columns, the time by which a row's part is found, and the order they are kept in.

    Behind its columns a row may have so many values `more`, for `time_of` alone.
    """

    schema: pa.Schema
    time_of: Callable[[Row], Micros]
    order: tuple[str, ...]
    more: int = 0


@dataclass(frozen=True)
class JournalContent:
    """The rows of a journal as they are sealed, and its lines that cannot be."""

    table: pa.Table
    times: list[Micros]
    corrupt: list[bytes]
    torn_bytes: int  # of a last line without its end, which was never acknowledged


def first_line(schema: pa.Schema) -> bytes:
    """Return the line that names a journal's columns, and says when it was begun."""
    columns = [[field.name, str(field.type), field.nullable] for field in schema]
    begun = time.time_ns() // 1000
    return orjson.dumps({"columns": columns, "begun": begun}, option=orjson.OPT_APPEND_NEWLINE)


def begun_at(head: bytes, form: LogFormat) -> Micros | None:
    """Return when a journal was begun, from its first lines; None without a row.

    One of a former version does not say so: the time of its first row is about that.
    """
    if not (times := read_content(head, form).times):
        return None
    with contextlib.suppress(*UNFIT):
        return Micros(int(orjson.loads(head.partition(b"\n")[0])["begun"]))
    return min(times)


def read_content(data: bytes, form: LogFormat) -> JournalContent:
    """Read a journal that nobody appends to."""
    *lines, torn = data.split(b"\n")
    schema, lines = split_columns(lines, form.schema)
    own = replace(form, schema=schema)
    try:
        return JournalContent(*_read(lines, own), [], len(torn))
    except UNFIT:
        fitting = [_fits(line, own) for line in lines]
        good = [line for line, fits in zip(lines, fitting, strict=True) if fits]
        corrupt = [line for line, fits in zip(lines, fitting, strict=True) if not fits]
        return JournalContent(*_read(good, own), corrupt, len(torn))


def _fits(line: bytes, form: LogFormat) -> bool:
    try:
        _read([line], form)
    except UNFIT:
        return False
    return True


def _read(lines: list[bytes], form: LogFormat) -> tuple[pa.Table, list[Micros]]:
    """Read lines into rows and their times; raise one of UNFIT if any of them does not fit."""
    rows = [row for line in lines for row in orjson.loads(line)]
    if not rows:
        return form.schema.empty_table(), []
    times = [form.time_of(row) for row in rows]
    if form.more:
        rows = [row[: len(form.schema)] if len(row) <= len(form.schema) + form.more else row for row in rows]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, form.schema, strict=True)]
    for array, field in zip(arrays, form.schema, strict=True):
        if array.null_count and not field.nullable:
            raise ValueError(f"{field.name} is null")
    return pa.table(arrays, schema=form.schema), times


def all_ids(data: bytes, form: LogFormat) -> Iterator[tuple[str, Micros]]:
    """Return the ids in a journal that may be growing, each with its row's time; a damaged line is left out."""
    for line in data.split(b"\n")[:-1]:
        with contextlib.suppress(*UNFIT):
            yield from [(row_id(row), form.time_of(row)) for row in orjson.loads(line) if isinstance(row, list)]
