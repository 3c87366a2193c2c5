"""The row groups of a recorded log, by the times of their rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.listing import DatasetError, LeftOut, list_files
from monitoring.contract.part_reader import UNREADABLE, TimeRange, join_ranges, read_groups, reason_of, time_ranges
from monitoring.contract.partitions import Partition, with_partition
from monitoring.contract.rereading import attempts
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.storage import Place, named, place
from monitoring.contract.times import Micros
from monitoring.contract.uris import shown
from monitoring.contract.values import conform
from monitoring.offline.survey import Demands, SurveyedFile, inspect_all, refusal, survey


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, from the first to the last time in it, both included.

    Rows without a time have the time `undated`, or are left out if that is None.
    """

    first: Micros
    last: Micros
    rows: int
    path: Place
    group: int
    partition: Partition = ()
    undated: Micros | None = None


def find_groups(
    source: str, demands: Demands, undated: Micros | None = None
) -> tuple[list[RowGroup], tuple[LeftOut, ...]]:
    """Do as `list_groups`, again where a file has been merged or archived meanwhile."""
    for attempt in attempts(shown(source)):
        with attempt:
            found = list_groups(source, demands, undated)
            break
    return found


def list_groups(source: str, demands: Demands, undated: Micros | None) -> tuple[list[RowGroup], tuple[LeftOut, ...]]:
    """Return the row groups of a log in the order of time, and what cannot be read or has no time."""
    demands = replace(demands, required=("timestamp", *demands.required), text_counts=())
    listing = list_files(source)
    surveyed = survey(listing, inspect_all(listing.files, demands), demands)
    spans: list[RowGroup] = []
    left_out = list(surveyed.left_out)
    for file in surveyed.files:
        try:
            groups, problem = _row_groups(file, named(place(file.uri), demands.names), undated)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            left_out.append(LeftOut(file.uri, reason_of(error)))
            continue
        spans += groups
        left_out += [LeftOut(file.uri, problem)] if problem else []
    if left_out and not demands.skip_unreadable:
        aside = "; --skip-unreadable goes on without them" if listing.alone and spans else ""
        raise DatasetError(refusal(listing, sorted(left_out)) + aside)
    return sorted(spans, key=lambda span: span.first), tuple(sorted(left_out))


def _row_groups(file: SurveyedFile, path: Place, undated: Micros | None) -> tuple[list[RowGroup], str | None]:
    """Return a file's row groups that hold rows which count, and why others do not."""
    ranges = _times_in(file, path)
    if undated is not None:
        ranges = [_date(one, undated) for one in ranges]
    groups = [
        RowGroup(one.first, one.last, one.rows, path, group, file.partition, undated)
        for group, one in enumerate(ranges)
        if one.rows
    ]
    return groups, join_ranges(ranges).problem


def _date(times: TimeRange, undated: Micros) -> TimeRange:
    """Give the rows without a time one that is before all others."""
    if not times.timeless:
        return times
    return TimeRange(undated, times.last if times.rows else undated, times.rows + times.timeless)


def _times_in(file: SurveyedFile, path: Place) -> list[TimeRange]:
    """Return the times of each row group, from its rows or from the names of the file's folders."""
    if "timestamp" not in dict(file.partition):
        return time_ranges(path)
    given = with_partition(pa.table({"": pa.nulls(1)}), file.partition, ["timestamp"])
    moment = conform(given, pa.schema([("timestamp", TIMESTAMP)]))["timestamp"][0].value
    if moment is None:
        return [TimeRange(Micros(0), Micros(0), 0, rows) for rows in file.groups]
    return [TimeRange(Micros(moment), Micros(moment), rows) for rows in file.groups]


def read_group(span: RowGroup, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read a row group as the schema, with the columns that its folders' names give; raise DatasetError if it fails."""
    given = {name for name, _ in span.partition}
    own = pa.schema([field for field in schema if field.name not in given])
    try:
        for table in read_groups(span.path, own, [span.group]):
            rows = conform(with_partition(table, span.partition, schema.names), schema)
            yield rows if span.undated is None else _dated(rows, span.undated)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise DatasetError(f"{span.path}: row group {span.group} cannot be read: {reason_of(error)}") from error


def _dated(rows: pa.Table, undated: Micros) -> pa.Table:
    place = rows.schema.get_field_index("timestamp")
    times = pc.fill_null(rows["timestamp"].cast(pa.int64()), undated).cast(TIMESTAMP)
    return rows.set_column(place, rows.schema.field(place), times)
