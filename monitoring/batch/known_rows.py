"""Which rows of a batch the log has, by their ids, and the labels that it knows of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.journals import find_in_journal, list_journals
from monitoring.contract.log_reader import read_listed
from monitoring.contract.part_reader import UNREADABLE, read_groups, reason_of
from monitoring.contract.parts import Part, Unreadable, is_ours
from monitoring.contract.plain_files import read_plain
from monitoring.contract.storage import Place
from monitoring.contract.times import Micros

_MILLISECOND = 1000  # microseconds; an id that is made of a row's time tells it no finer


def find_known(
    folder: Place, schema: pa.Schema, ids: pa.Array, span: tuple[Micros, Micros] | None = None
) -> tuple[pa.Table, list[Unreadable]]:
    """Return the rows of these ids in a folder of parts, as the schema, and the files that could not be read.

    With a span, the first and the last time of the rows, parts of other times are passed over.
    """
    schema = pa.schema([field.with_nullable(True) for field in schema])
    return read_listed(folder, lambda parts: _search([p for p in parts if _may_hold(p, span)], schema, ids))


def find_unsealed(folder: Path, schema: pa.Schema, ids: pa.Array, column: str) -> pa.Table:
    """Return the rows of these ids in a folder's journals: id, time and that column, by the log's schema.

    Raise OSError where a journal cannot be read.
    """
    wanted = set(ids.to_pylist())
    found: list[tuple[str, Any, Micros]] = []
    for path in list_journals(folder) if wanted else ():
        with contextlib.suppress(FileNotFoundError):  # a part meanwhile
            found += find_in_journal(read_plain(path), wanted, column, schema)
    fields = [schema.field(name).with_nullable(True) for name in ("prediction_id", "timestamp", column)]
    columns = [[row[0] for row in found], [row[2] for row in found], [row[1] for row in found]]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, fields, strict=True)], schema=pa.schema(fields))


def _may_hold(part: Part, span: tuple[Micros, Micros] | None) -> bool:
    if span is None or not is_ours(part):
        return True
    return part.first - _MILLISECOND <= span[1] and span[0] <= part.last + _MILLISECOND


def _search(parts: list[Part], schema: pa.Schema, ids: pa.Array) -> tuple[pa.Table, list[Unreadable]]:
    tables, unreadable = [schema.empty_table()], []
    for part in parts if len(ids) else ():
        try:
            tables += list(_rows_of(part, schema, ids))
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(part.path, reason_of(error)))
    return pa.concat_tables(tables), unreadable


def _rows_of(part: Part, schema: pa.Schema, ids: pa.Array) -> Iterator[pa.Table]:
    for table in read_groups(part.path, schema):
        held = table.filter(pc.is_in(table["prediction_id"], value_set=ids))
        if len(held):
            yield held
