"""A recorded log as a stream: every row once, in the order of time, a few row groups in memory at once."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs

from monitoring.contract.config import Model
from monitoring.contract.part_reader import UNREADABLE, read_groups, reason_of, time_ranges
from monitoring.contract.rereading import attempts
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema
from monitoring.contract.storage import Place, open_parquet, place
from monitoring.contract.times import Micros, from_microseconds
from monitoring.offline.dataset import DatasetError, list_files

Times = npt.NDArray[np.int64]

_ORDER = [("timestamp", "ascending"), ("prediction_id", "ascending")]


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, from the first to the last time in it, both included."""

    first: Micros
    last: Micros
    rows: int
    path: Place
    group: int


@dataclass(frozen=True)
class PastLog:
    """A recorded log: where it lies, its columns, and the times of the rows that count."""

    source: str
    schema: pa.Schema
    first: Micros
    last: Micros

    def read(self) -> Iterator[pa.Table]:
        """Yield the rows from first to last, sorted by time; a table begins later than the one before it ends.

        Where a file has been merged or archived meanwhile, the reading goes on with a new list of files.
        """
        after = self.first - 1
        for attempt in attempts(self.source):
            with attempt:
                for table in _sweep(_spans(self.source), self.schema, after, self.last):
                    yield table
                    after = int(times_of(table)[-1])
                return


def open_log(source: str, model: Model, after: Micros | None, before: Micros | None) -> PastLog:
    """Find out which rows of a log lie after and at or before two times.

    Raise DatasetError if there is no such log, if it has no times, none of the model's features, or no such row.
    """
    spans = _spans(source, model.features)
    if not spans:
        raise DatasetError(f"{source}: is empty")
    first, last = min(s.first for s in spans), max(s.last for s in spans)
    begin = max(first, Micros((after or 0) + 1))
    log = PastLog(source, log_schema(model), begin, last if before is None else min(last, before))
    if log.first > log.last:
        raise DatasetError(f"{source}: holds rows from {utc(first)} to {utc(last)}, and none of the time asked for")
    return log


def open_labels(source: str, model: Model) -> PastLog:
    """Open labels that came later; raise DatasetError if there are none."""
    spans = _spans(source, (model.target, "prediction_id"))
    return PastLog(source, labels_schema(model), Micros(0), max((s.last for s in spans), default=Micros(0)))


def rate_of(log: PastLog) -> float:
    """Return a log's rows per second; 0 if all of them came at once."""
    rows = sum(_rows_within(span, log.first, log.last) for span in _spans(log.source))
    return rows / ((log.last - log.first) / 1e6) if log.last > log.first else 0.0


def _rows_within(span: RowGroup, first: int, last: int) -> int:
    """Count a row group's rows in a period; one that the period cuts may hold most of them outside."""
    if span.last < first or span.first > last:
        return 0
    if first <= span.first and span.last <= last:
        return span.rows
    tables = read_groups(span.path, pa.schema([("timestamp", TIMESTAMP)]), [span.group])
    return sum(len(_between(table, first - 1, last)) for table in tables)


def utc(moment: int) -> str:
    """Write a time to the second."""
    return f"{from_microseconds(moment):%Y-%m-%d %H:%M:%S}"


def times_of(table: pa.Table) -> Times:
    """Return the rows' times (n), each as `Micros`."""
    times: Times = table["timestamp"].cast(pa.int64()).to_numpy()
    return times


def _spans(source: str, columns: Iterable[str] = ()) -> list[RowGroup]:
    spans = []
    for uri in list_files(source):
        path = _local(uri)
        _require(path, set(columns))
        with _reading(path):
            ranges = time_ranges(path)
        spans += [RowGroup(*range_, path, group) for group, range_ in enumerate(ranges) if range_[1] > 0]
    return sorted(spans, key=lambda span: span.first)


@contextlib.contextmanager
def _reading(path: Place) -> Iterator[None]:
    """Raise DatasetError with the file's name for what cannot be read; FileNotFoundError for one that is gone."""
    try:
        yield
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise DatasetError(f"{path}: {reason_of(error)}") from error


def _local(uri: str) -> Place:
    return place(uri) if not uri.startswith("file:") else place(pa.fs.FileSystem.from_uri(uri)[1])


def _require(path: Place, any_of: set[str]) -> None:
    """Raise DatasetError unless a file has a column of times, and one of some others."""
    with _reading(path), open_parquet(path) as file:
        schema = file.schema_arrow
    if "timestamp" not in schema.names:
        raise DatasetError(f"{path}: has no column timestamp, without which nobody knows when its rows came")
    if any_of and not any_of & set(schema.names):
        raise DatasetError(f"{path}: has none of the config's columns {', '.join(sorted(any_of))}")


def _sweep(spans: list[RowGroup], schema: pa.Schema, after: int, until: int) -> Iterator[pa.Table]:
    """Yield what no span that is still to be read can precede."""
    spans = [span for span in spans if span.last > after and span.first <= until]
    held = pa.schema([f.with_nullable(True) for f in schema]).empty_table()
    for number, span in enumerate(spans):
        horizon = spans[number + 1].first if number + 1 < len(spans) else until + 1
        with _reading(span.path):
            tables = [held, *read_groups(span.path, schema, [span.group])]
        held = _between(pa.concat_tables(tables), after, until)
        ready = pc.less(held["timestamp"].cast(pa.int64()), horizon)
        if pc.any(ready).as_py():
            yield held.filter(ready).sort_by(_ORDER).combine_chunks()
            held = held.filter(pc.invert(ready))


def _between(table: pa.Table, after: int, until: int) -> pa.Table:
    times = table["timestamp"].cast(pa.int64())
    return table.filter(pc.and_(pc.greater(times, after), pc.less_equal(times, until)))
