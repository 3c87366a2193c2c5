"""The rows that a re-based reference's rhythm is learned from; see `monitoring.contract.rhythm_rows`."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_listed
from monitoring.contract.part_reader import UNREADABLE, read_part, reason_of
from monitoring.contract.parts import Part, Unreadable
from monitoring.contract.reference import Reference
from monitoring.contract.rhythm_rows import RhythmRows, longest_cycle, read_rhythm_rows, rhythm_schema
from monitoring.contract.times import BEFORE_ALL, Micros

NEWEST = timedelta(weeks=8)
MOST = 20_000  # rows


def find_rhythm_rows(
    layout: Layout, config: Config, reference: Reference, until: Micros, most: int = MOST
) -> RhythmRows | None:
    """Return the rhythm rows for the reference that takes the place of this one.

    Until the moment at which a change began, nothing had changed since the present reference: its rows and the log's
    after them are the new rhythm rows, if they span two cycles as long as those that the present ones show; else those
    stay. None if there are neither. More than `most` rows are drawn from at random.
    """
    present = read_rhythm_rows(layout, config.model, reference.digest)
    unchanged = _unchanged_rows(layout, config, reference, until, most)
    cycle = longest_cycle(unchanged.table, config.rhythm)
    longer = longest_cycle(present.table, config.rhythm) if present else 0
    return unchanged if cycle and cycle >= longer else present


def _unchanged_rows(layout: Layout, config: Config, reference: Reference, until: Micros, most: int) -> RhythmRows:
    """Return the newest of the reference's rows and the log's after them, before a moment; at most so many, at random."""
    schema = rhythm_schema(config.model)
    earliest = Micros(until - NEWEST // timedelta(microseconds=1))
    known = schema.empty_table()
    if "timestamp" in reference.table.column_names:
        known = _between(reference.table.select(schema.names).cast(schema), earliest, until)
    after = max(earliest, BEFORE_ALL if reference.through is None else reference.through)
    rng = np.random.default_rng(most)

    def read(parts: list[Part]) -> tuple[pa.Table, list[Unreadable]]:
        parts = [part for part in parts if part.last > after and part.first < until]
        share = min(1.0, 2 * most / max(1, len(known) + sum(part.rows for part in parts)))
        tables, unreadable = [_drawn(known, share, rng)], list[Unreadable]()
        for part in parts:
            try:
                tables += [_drawn(rows, share, rng) for rows in _read(part, schema, after, until)]
            except FileNotFoundError:
                raise
            except UNREADABLE as error:  # the monitor names such files
                unreadable.append(Unreadable(part.path, reason_of(error)))
        found = pa.concat_tables(tables)
        return found.replace_schema_metadata({"share": repr(share)}), unreadable

    table, _ = read_listed(layout.current, read)
    share = float(table.schema.metadata[b"share"])
    each = max(1.0, len(table) / most) / share
    if len(table) > most:
        table = table.take(rng.choice(len(table), most, replace=False))
    return RhythmRows(table.sort_by("timestamp").replace_schema_metadata(None), each)


def _read(part: Part, schema: pa.Schema, after: Micros, until: Micros) -> Iterator[pa.Table]:
    for rows in read_part(part.path, schema, after):
        yield _between(rows, after, until)


def _between(rows: pa.Table, after: Micros, until: Micros) -> pa.Table:
    times = rows["timestamp"].cast(pa.int64())
    return rows.filter(pc.and_(pc.greater(times, after), pc.less(times, until)))


def _drawn(rows: pa.Table, share: float, rng: np.random.Generator) -> pa.Table:
    return rows if share >= 1 else rows.filter(pa.array(rng.random(len(rows)) < share))
