"""The rows of the log's window, with the labels that came later."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.config import Model, Window
from monitoring.contract.labels import newest_labels, newest_targets
from monitoring.contract.layout import Layout
from monitoring.contract.part_reader import UNREADABLE, read_part, reason_of
from monitoring.contract.parts import Part, Unreadable, from_the_future, is_ours, list_parts, without_times
from monitoring.contract.rereading import attempts
from monitoring.contract.schemas import labels_schema, log_schema
from monitoring.contract.storage import Place
from monitoring.contract.times import BEFORE_ALL, Micros, before, latest_time


@dataclass(frozen=True)
class LoggedRows:
    """Rows of the log, oldest first, with the files that could not be read, or of which rows are left out."""

    table: pa.Table
    unreadable: tuple[Unreadable, ...] = ()


def read_rows(
    layout: Layout, model: Model, window: Window, after: Micros | None = None, now: datetime | None = None
) -> LoggedRows:
    """Read the window's rows from the log, joined with the labels that came later.

    Only rows whose timestamp is later than `after` are taken, and none that is more than an hour ahead of the clock. A
    file that cannot be read, or holds such rows or some without a timestamp, is named in the answer.
    """
    earliest = BEFORE_ALL if after is None else after
    if window.duration is not None:
        earliest = max(earliest, before(now or datetime.now(UTC), window.duration))
    span = earliest, latest_time(now)
    table, unreadable = read_listed(layout.current, lambda parts: _newest(parts, log_schema(model), window.rows, *span))
    table = table.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")]).combine_chunks()
    if window.rows is not None:
        table = table.slice(max(0, len(table) - window.rows))
    labels, unreadable_labels = _read_labels(layout, model, table)
    return LoggedRows(_join_labels(table, labels, model), (*unreadable, *unreadable_labels))


def read_listed(
    folder: Place, read: Callable[[list[Part]], tuple[pa.Table, list[Unreadable]]]
) -> tuple[pa.Table, list[Unreadable]]:
    """Read from a folder's list of parts; name the files that cannot be listed or read."""
    for attempt in attempts(folder):
        with attempt:
            parts, unlisted = list_parts(folder)
            table, unread = read(parts)
            break
    return table, [*unlisted, *unread]


def _newest(
    parts: list[Part], schema: pa.Schema, rows: int | None, earliest: Micros, latest: Micros
) -> tuple[pa.Table, list[Unreadable]]:
    """Read at least the newest rows of parts that are listed newest first, and not many more."""
    tables: list[pa.Table] = []
    unreadable = [*without_times(parts), *from_the_future(parts, latest)]
    for part in parts:
        if part.last <= earliest:
            break
        more, since = tables, earliest
        try:
            for table in read_part(part.path, schema, earliest):
                more = [*more, table.filter(pc.less_equal(_times(table), latest))]
                if rows is not None and sum(map(len, more)) >= rows:
                    more, since = _trim(more, rows, since)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(part.path, reason_of(error)))
        else:
            tables, earliest = more, since
    return pa.concat_tables(tables) if tables else schema.empty_table(), unreadable


def _trim(tables: list[pa.Table], rows: int, earliest: Micros) -> tuple[list[pa.Table], Micros]:
    """Let go what is not among the newest rows; return the rest, and the time that these are later than."""
    earliest = max(earliest, Micros(_nth_newest(tables, rows) - 1))
    return [table.filter(pc.greater(_times(table), earliest)) for table in tables], earliest


def _times(table: pa.Table) -> pa.ChunkedArray:
    return table["timestamp"].cast(pa.int64())


def _nth_newest(tables: list[pa.Table], n: int) -> Micros:
    times = pa.chunked_array([chunk for t in tables for chunk in _times(t).chunks], pa.int64())
    newest = pc.select_k_unstable(times, k=n, sort_keys=[("", "descending")])
    return Micros(times[newest[-1].as_py()].as_py())


def _read_labels(layout: Layout, model: Model, rows: pa.Table) -> tuple[pa.Table, list[Unreadable]]:
    """Read the labels of the parts that can hold labels of these rows."""
    schema = labels_schema(model)
    if not len(rows):
        return schema.empty_table(), []
    bounds = pc.min_max(_times(rows)).as_py()
    ids = rows["prediction_id"].combine_chunks()
    return read_listed(layout.labels, lambda parts: _near(parts, schema, ids, bounds["min"], bounds["max"]))


def _near(
    parts: list[Part], schema: pa.Schema, ids: pa.Array, first: Micros, last: Micros
) -> tuple[pa.Table, list[Unreadable]]:
    """Read the labels of these ids, whose rows lie between first and last."""
    tables, unreadable = [schema.empty_table()], []
    for part in parts:
        # ids carry whole milliseconds; a foreign part is placed by when it was labelled, which tells nothing here
        if is_ours(part) and not (first - 1000 <= part.last and part.first <= last):
            continue
        try:
            found = [t.filter(pc.is_in(t["prediction_id"], value_set=ids)) for t in read_part(part.path, schema)]
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(part.path, reason_of(error)))
        else:
            tables += found
    return pa.concat_tables([t.cast(tables[-1].schema) for t in tables]), unreadable


def _join_labels(rows: pa.Table, labels: pa.Table, model: Model) -> pa.Table:
    """Fill each row's target by the rule of windows."""
    if not len(labels):
        return rows
    late = newest_labels(rows["prediction_id"], labels, model.target)
    column = rows.schema.get_field_index(model.target)
    return rows.set_column(column, model.target, newest_targets(rows[model.target], late))
