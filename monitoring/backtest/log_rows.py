"""A recorded log as a stream: every row once, in the order of time, a few row groups in memory at once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs

from monitoring.contract.config import Model
from monitoring.contract.part_reader import UNREADABLE, read_groups, reason_of, time_ranges
from monitoring.contract.rereading import attempts
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema
from monitoring.contract.storage import Place, place
from monitoring.contract.times import Micros, from_microseconds
from monitoring.contract.uris import shown
from monitoring.contract.values import conform
from monitoring.offline.dataset import demands_of
from monitoring.offline.listing import DatasetError, LeftOut, list_files
from monitoring.offline.partitions import Partition, with_partition
from monitoring.offline.survey import Demands, SurveyedFile, inspect_all, survey

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
    partition: Partition = ()


@dataclass(frozen=True)
class PastLog:
    """A recorded log: where it lies, its columns, what its files must hold, and the times of the rows that count."""

    source: str
    schema: pa.Schema
    first: Micros
    last: Micros
    demands: Demands
    left_out: tuple[LeftOut, ...] = ()

    def read(self) -> Iterator[pa.Table]:
        """Yield the rows from first to last, sorted by time; a table begins later than the one before it ends.

        Where a file has been merged or archived meanwhile, the reading goes on with a new list of files.
        """
        after = self.first - 1
        for attempt in attempts(shown(self.source)):
            with attempt:
                spans, _ = _spans(self.source, self.demands)
                for table in _sweep(spans, self.schema, after, self.last):
                    yield table
                    after = int(times_of(table)[-1])
                return


def open_log(
    source: str, model: Model, after: Micros | None, before: Micros | None, demands: Demands | None = None
) -> PastLog:
    """Find out which rows of a log lie after and at or before two times.

    Raise DatasetError if there is no such log, if it has no times, lacks what it must hold, or has no such row.
    """
    demands = demands or demands_of(model)
    spans, left_out = _survey(source, demands)
    if not spans:
        raise DatasetError(f"{shown(source)}: is empty")
    first, last = min(s.first for s in spans), max(s.last for s in spans)
    begin = max(first, Micros((after or 0) + 1))
    end = last if before is None else min(last, before)
    log = PastLog(source, log_schema(model), begin, end, demands, left_out)
    if log.first > log.last:
        raise DatasetError(
            f"{shown(source)}: holds rows from {utc(first)} to {utc(last)}, and none of the time asked for"
        )
    return log


def open_labels(source: str, model: Model, *, skip_unreadable: bool = False) -> PastLog:
    """Open labels that came later; raise DatasetError if there are none."""
    schema = labels_schema(model)
    demands = Demands(schema, required=(model.target, "prediction_id"), skip_unreadable=skip_unreadable)
    spans, left_out = _survey(source, demands)
    end = max((s.last for s in spans), default=Micros(0))
    return PastLog(source, schema, Micros(0), end, demands, left_out)


def rate_of(log: PastLog) -> float:
    """Return a log's rows per second; 0 if all of them came at once."""
    spans, _ = _survey(log.source, log.demands)
    rows = sum(_rows_within(span, log.first, log.last) for span in spans)
    return rows / ((log.last - log.first) / 1e6) if log.last > log.first else 0.0


def _rows_within(span: RowGroup, first: int, last: int) -> int:
    """Count a row group's rows in a period; one that the period cuts may hold most of them outside."""
    if span.last < first or span.first > last:
        return 0
    if first <= span.first and span.last <= last:
        return span.rows
    tables = _read(span, pa.schema([("timestamp", TIMESTAMP)]))
    return sum(len(_between(table, first - 1, last)) for table in tables)


def utc(moment: int) -> str:
    """Write a time to the second."""
    return f"{from_microseconds(moment):%Y-%m-%d %H:%M:%S}"


def times_of(table: pa.Table) -> Times:
    """Return the rows' times (n), each as `Micros`."""
    times: Times = table["timestamp"].cast(pa.int64()).to_numpy()
    return times


def _survey(source: str, demands: Demands) -> tuple[list[RowGroup], tuple[LeftOut, ...]]:
    """Do as `_spans`, again where a file has been merged or archived meanwhile."""
    for attempt in attempts(shown(source)):
        with attempt:
            found = _spans(source, demands)
            break
    return found


def _spans(source: str, demands: Demands) -> tuple[list[RowGroup], tuple[LeftOut, ...]]:
    """Return the row groups of a log in the order of time, and what cannot be read."""
    demands = replace(demands, required=("timestamp", *demands.required), text_counts=False)
    listing = list_files(source)
    surveyed = survey(listing, inspect_all(listing.files, demands), demands)
    spans: list[RowGroup] = []
    left_out = list(surveyed.left_out)
    for file in surveyed.files:
        try:
            spans += _row_groups(file)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            left_out.append(LeftOut(file.uri, reason_of(error)))
            if not demands.skip_unreadable:
                raise DatasetError(str(left_out[-1])) from error
    return sorted(spans, key=lambda span: span.first), tuple(sorted(left_out))


def _row_groups(file: SurveyedFile) -> list[RowGroup]:
    path = _local(file.uri)
    if "timestamp" in dict(file.partition):
        given = with_partition(pa.table({"": pa.nulls(1)}), file.partition, ["timestamp"])
        moment = Micros(conform(given, pa.schema([("timestamp", TIMESTAMP)]))["timestamp"][0].value or 0)
        ranges = [(moment, moment, rows) for rows in file.groups]
    else:
        ranges = time_ranges(path)
    return [RowGroup(*one, path, group, file.partition) for group, one in enumerate(ranges) if one[1] > 0]


def _local(uri: str) -> Place:
    return place(uri) if not uri.startswith("file:") else place(pa.fs.FileSystem.from_uri(uri)[1])


def _read(span: RowGroup, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read a row group as the schema, with the columns that its folders' names give; raise DatasetError if it fails."""
    given = {name for name, _ in span.partition}
    own = pa.schema([field for field in schema if field.name not in given])
    try:
        for table in read_groups(span.path, own, [span.group]):
            yield conform(with_partition(table, span.partition, schema.names), schema)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise DatasetError(f"{span.path}: row group {span.group} cannot be read: {reason_of(error)}") from error


def _sweep(spans: list[RowGroup], schema: pa.Schema, after: int, until: int) -> Iterator[pa.Table]:
    """Yield what no span that is still to be read can precede."""
    spans = [span for span in spans if span.last > after and span.first <= until]
    held = pa.schema([f.with_nullable(True) for f in schema]).empty_table()
    for number, span in enumerate(spans):
        horizon = spans[number + 1].first if number + 1 < len(spans) else until + 1
        tables = [held, *_read(span, schema)]
        held = _between(pa.concat_tables(tables), after, until)
        ready = pc.less(held["timestamp"].cast(pa.int64()), horizon)
        if pc.any(ready).as_py():
            yield held.filter(ready).sort_by(_ORDER).combine_chunks()
            held = held.filter(pc.invert(ready))


def _between(table: pa.Table, after: int, until: int) -> pa.Table:
    times = table["timestamp"].cast(pa.int64())
    return table.filter(pc.and_(pc.greater(times, after), pc.less_equal(times, until)))
