"""Journals as they are read: files beside a log's parts, with rows that are acknowledged and no part yet.

A first line names the columns, and each request is a line with all of its rows.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from monitoring.contract.schemas import TIMESTAMP, row_id
from monitoring.contract.times import Micros

JOURNAL_NAME = re.compile(r"_journal-([\w-]+)-([0-9]+)\.jsonl", re.ASCII)
UNFIT = (pa.ArrowException, TypeError, ValueError, LookupError, OverflowError)  # of lines that are no rows

_FEW = 16
_TYPES = {str(kind): kind for kind in (pa.string(), pa.float32(), pa.float64(), TIMESTAMP)}


def list_journals(folder: Path, *, plain: bool = True) -> list[Path]:
    """List the journals of a log, living and orphaned; not `plain`, what only has a journal's name."""
    try:
        with os.scandir(folder) as entries:
            named = [entry for entry in entries if JOURNAL_NAME.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
    return sorted(Path(entry.path) for entry in named if entry.is_file(follow_symlinks=False) is plain)


def split_columns(lines: list[bytes], schema: pa.Schema) -> tuple[pa.Schema, list[bytes]]:
    """Return the columns that the first line names, or these if it names none, and the other lines."""
    with contextlib.suppress(*UNFIT):
        columns = json.loads(lines[0])["columns"]
        return pa.schema([pa.field(name, _TYPES[kind], nullable) for name, kind, nullable in columns]), lines[1:]
    return schema, lines


def find_in_journal(
    data: bytes, ids: set[str], column: str, schema: pa.Schema, *, loads: Callable[[bytes], Any] = json.loads
) -> Iterator[tuple[str, Any, Micros]]:
    """Find ids in a journal that may be growing, each with that column and its timestamp; `loads` reads a line of JSON.

    A damaged line is left to the sealing.
    """
    # The usual case is one id that is elsewhere: searching bytes is far cheaper than parsing them.
    if len(ids) <= _FEW and not any(_written(prediction_id) in data for prediction_id in ids):
        return
    schema, lines = split_columns(data.split(b"\n")[:-1], schema)
    place, moment = schema.get_field_index(column), schema.get_field_index("timestamp")
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, LookupError):
            for row in loads(line):
                if isinstance(row, list) and row and row_id(row) in ids:
                    yield row_id(row), row[place] if place >= 0 else None, Micros(row[moment])


def _written(prediction_id: str) -> bytes:
    """Return an id as a journal holds it: in JSON."""
    try:
        return json.dumps(prediction_id, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character, which no journal holds
        return prediction_id.encode(errors="replace")
