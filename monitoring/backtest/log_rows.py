"""A recorded log as a stream: every row once, in the order of time, a few row groups in memory at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.backtest.row_groups import RowGroup, find_groups, list_groups, read_group
from monitoring.contract.config import Model
from monitoring.contract.listing import DatasetError, LeftOut
from monitoring.contract.rereading import attempts
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema
from monitoring.contract.times import Micros, from_microseconds
from monitoring.contract.uris import shown
from monitoring.offline.dataset import demands_of
from monitoring.offline.survey import Demands, some_of

Times = npt.NDArray[np.int64]

UNDATED = Micros(-(2**62))  # the time of labels that have none: they are the oldest, as in `monitoring.contract.labels`
_ORDER = [("timestamp", "ascending"), ("prediction_id", "ascending")]


@dataclass(frozen=True)
class PastLog:
    """A recorded log: where it lies, its columns, what its files must hold, and the times of the rows that count.

    Rows without a time have the time `undated`, or are left out if that is None.
    """

    source: str
    schema: pa.Schema
    first: Micros
    last: Micros
    demands: Demands
    left_out: tuple[LeftOut, ...] = ()
    undated: Micros | None = None

    def read(self) -> Iterator[pa.Table]:
        """Yield the rows from first to last, sorted by time; a table begins later than the one before it ends.

        Where a file has been merged or archived meanwhile, the reading goes on with a new list of files.
        """
        after = self.first - 1
        for attempt in attempts(shown(self.source)):
            with attempt:
                spans, _ = list_groups(self.source, self.demands, self.undated)
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
    spans, left_out = find_groups(source, demands)
    if not spans:
        raise DatasetError("\n".join([f"{shown(source)}: holds no row with a timestamp", *some_of(left_out)]))
    first, last = min(s.first for s in spans), max(s.last for s in spans)
    begin = first if after is None else max(first, Micros(after + 1))
    end = last if before is None else min(last, before)
    log = PastLog(source, log_schema(model), begin, end, demands, left_out)
    if log.first > log.last:
        raise DatasetError(
            f"{shown(source)}: holds rows from {utc(first)} to {utc(last)}, and none of the time asked for"
        )
    return log


def open_labels(source: str, model: Model, *, skip_unreadable: bool = False) -> PastLog:
    """Open labels that came later, those without a time as the oldest; raise DatasetError if there are none."""
    schema = labels_schema(model)
    names = tuple((ours, theirs) for ours, theirs in model.names if ours in schema.names)
    required = (model.target, "prediction_id")
    demands = Demands(schema, required=required, skip_unreadable=skip_unreadable, names=names)
    spans, left_out = find_groups(source, demands, UNDATED)
    end = max((s.last for s in spans), default=UNDATED)
    return PastLog(source, schema, UNDATED, end, demands, left_out, UNDATED)


def rate_of(log: PastLog, minimum_rows: int = 0) -> float:
    """Return a log's rows per second, 0 if all came at once; raise DatasetError if there are fewer than that."""
    spans, _ = find_groups(log.source, log.demands)
    rows = sum(_rows_within(span, log.first, log.last) for span in spans)
    if rows < minimum_rows:
        raise DatasetError(f"{shown(log.source)}: {rows:,} rows; minimum_rows is {minimum_rows}")
    return rows / ((log.last - log.first) / 1e6) if log.last > log.first else 0.0


def _rows_within(span: RowGroup, first: int, last: int) -> int:
    """Count a row group's rows in a period; one that the period cuts may hold most of them outside."""
    if span.last < first or span.first > last:
        return 0
    if first <= span.first and span.last <= last:
        return span.rows
    tables = read_group(span, pa.schema([("timestamp", TIMESTAMP)]))
    return sum(len(_between(table, first - 1, last)) for table in tables)


def utc(moment: int) -> str:
    """Write a time to the second."""
    return f"{from_microseconds(moment):%Y-%m-%d %H:%M:%S}"


def times_of(table: pa.Table) -> Times:
    """Return the rows' times (n), each as `Micros`."""
    times: Times = table["timestamp"].cast(pa.int64()).to_numpy()
    return times


def _sweep(spans: list[RowGroup], schema: pa.Schema, after: int, until: int) -> Iterator[pa.Table]:
    """Yield what no span that is still to be read can precede."""
    spans = [span for span in spans if span.last > after and span.first <= until]
    held = pa.schema([f.with_nullable(True) for f in schema]).empty_table()
    for number, span in enumerate(spans):
        horizon = spans[number + 1].first if number + 1 < len(spans) else until + 1
        tables = [held, *read_group(span, schema)]
        held = _between(pa.concat_tables(tables), after, until)
        ready = pc.less(held["timestamp"].cast(pa.int64()), horizon)
        if pc.any(ready).as_py():
            yield held.filter(ready).sort_by(_ORDER).combine_chunks()
            held = held.filter(pc.invert(ready))


def _between(table: pa.Table, after: int, until: int) -> pa.Table:
    times = table["timestamp"].cast(pa.int64())
    return table.filter(pc.and_(pc.greater(times, after), pc.less_equal(times, until)))
