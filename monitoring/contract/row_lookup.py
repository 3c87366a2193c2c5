"""Rows of a log by their ids, each in the spelling of `monitoring.contract.prediction_ids`."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.contract.log_reader import read_listed
from monitoring.contract.part_reader import UNREADABLE, group_bounds, read_groups, reason_of
from monitoring.contract.parts import Part, Unreadable, is_ours
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.renamed_file import RenamedFile
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.storage import Place, open_parquet
from monitoring.contract.times import BEFORE_ALL, NEVER, Micros

_TEXT = pa.string()

Target = str | float | None


def id_times(ids: Iterable[str]) -> dict[str, Micros | None]:
    """Return when each id's row came, as the id tells; None for one that is no UUID of version 7."""
    milliseconds = {i: id_milliseconds(i) for i in ids}
    return {i: None if ms is None else Micros(ms * 1000) for i, ms in milliseconds.items()}


def find_targets(folder: Place, ids: Iterable[str], target: str, values: pa.DataType = _TEXT) -> dict[str, Target]:
    """Look ids of version 7 up in a folder of parts: those that are there, each with its target or None."""
    times = {i: time for i, time in id_times(ids).items() if time is not None}
    return {i: value for i, value, _ in find_timed(folder, times, target, values)}


def find_timed(
    folder: Place, times: Mapping[str, Micros | None], column: str, values: pa.DataType = _TEXT
) -> list[tuple[str, Target, Micros]]:
    """Look ids up as `find_rows_at` does: each row that is there, with that column, of type `values`, and its time.

    A row without a timestamp is older than all.
    """
    schema = pa.schema([("prediction_id", pa.string()), (column, values), ("timestamp", TIMESTAMP)])
    table = find_rows_at(folder, times, schema)
    found = pc.fill_null(table["timestamp"].cast(pa.int64()), BEFORE_ALL)
    found = pc.if_else(pc.less(found, NEVER), found, BEFORE_ALL)  # a correction of a label must still be dated later
    return list(zip(table["prediction_id"].to_pylist(), table[column].to_pylist(), found.to_pylist(), strict=True))


def find_rows(folder: Place, ids: Iterable[str], schema: pa.Schema) -> pa.Table:
    """Look ids up in a folder of parts: the rows that are there, as the schema, which begins with `prediction_id`.

    An id that is no UUID of version 7 tells no time and is looked for in every part; so is one that tells another time
    than its row's, which somebody else has made.
    """
    times = id_times(ids)
    found = find_rows_at(folder, times, schema)
    strays = {i for i, time in times.items() if time is not None} - set(found["prediction_id"].to_pylist())
    return pa.concat_tables([found, find_rows_at(folder, dict.fromkeys(strays), schema)]) if strays else found


def find_rows_at(folder: Place, times: Mapping[str, Micros | None], schema: pa.Schema) -> pa.Table:
    """Look ids up as `find_rows` does, each by its row's time, to the millisecond; None is any time."""
    if not times:
        return schema.empty_table()
    timeless = [i for i, time in times.items() if time is None]
    timed = sorted((time, i) for i, time in times.items() if time is not None)
    return read_listed(folder, lambda parts: _rows_of(parts, schema, timed, timeless))[0]


def _rows_of(
    parts: list[Part], schema: pa.Schema, timed: list[tuple[Micros, str]], timeless: list[str]
) -> tuple[pa.Table, list[Unreadable]]:
    tables, unreadable = [schema.empty_table()], []
    for part in parts:
        begin, end = (bisect_right(timed, time, key=_time) for time in (part.first - 1000, part.last))
        here = [i for _, i in (timed[begin:end] if is_ours(part) else timed)]
        if not here and not timeless:
            continue
        try:
            tables += _select(part, schema, [*here, *timeless])
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(part.path, reason_of(error)))  # told and counted where windows are read
    return pa.concat_tables(tables), unreadable


def _time(of: tuple[Micros, str]) -> int:
    return of[0]


def _select(part: Part, schema: pa.Schema, ids: list[str]) -> list[pa.Table]:
    """Read the rows of these ids, from the row groups that may hold one of them."""
    # a foreign part may spell ids with capitals, which sort before small letters
    first, last = min(ids if is_ours(part) else map(str.upper, ids)), max(ids)
    with open_parquet(part.path) as file:
        groups = [g for g in range(file.num_row_groups) if _may_hold(file, g, first, last)]
    wanted = pa.array(ids, pa.string())
    # a target is null where a former config's had another name
    found = (t.filter(pc.is_in(t["prediction_id"], value_set=wanted)) for t in read_groups(part.path, schema, groups))
    return [table.cast(schema) for table in found]


def _may_hold(file: pq.ParquetFile | RenamedFile, group: int, first: str, last: str) -> bool:
    bounds = group_bounds(file, group, "prediction_id")
    if bounds is None or not isinstance(bounds[1], str):
        return True
    return bool(bounds[0] <= last and first <= bounds[1])
