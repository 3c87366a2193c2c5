"""The rows that a re-based reference's rhythm is learned from; see `monitoring.contract.rhythm_rows`."""

from datetime import timedelta

from monitoring.contract.config import Config
from monitoring.contract.drawn_rows import between, draw_from_log
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Reference
from monitoring.contract.rhythm_rows import RhythmRows, longest_cycle, read_rhythm_rows, rhythm_schema
from monitoring.contract.schemas import compared_fields
from monitoring.contract.times import BEFORE_ALL, Micros

NEWEST = timedelta(weeks=8)
MOST = 20_000  # rows


def find_rhythm_rows(
    layout: Layout,
    config: Config,
    reference: Reference,
    until: Micros,
    most: int = MOST,
    *,
    alarmed_until: Micros = BEFORE_ALL,
) -> RhythmRows | None:
    """Return the rhythm rows for the reference that takes the place of this one.

    Until the moment at which a change began, nothing had changed since the present reference: its rows and the log's
    after them are the new rhythm rows, if they hold two cycles as long as those that the present ones show; else those
    stay. None if there are neither. They are the newest eight weeks', and of these `most` rows, drawn at random. The
    log's rows until an alarm that has ended (`alarmed_until`) are left out: some of them were not as the reference's.
    """
    present = read_rhythm_rows(layout, config.model, reference.digest)
    unchanged = _unchanged_rows(layout, config, reference, until, most, alarmed_until=alarmed_until)
    cycle = longest_cycle(unchanged.table, config.rhythm)
    longer = longest_cycle(present.table, config.rhythm) if present else 0
    return unchanged if cycle and cycle >= longer else present


def _unchanged_rows(
    layout: Layout, config: Config, reference: Reference, until: Micros, most: int, *, alarmed_until: Micros
) -> RhythmRows:
    """Return the reference's rows and the log's after them, before a moment, in the types that they are compared in."""
    schema = rhythm_schema(config.model)
    for field in compared_fields(reference.table.schema, config.model):
        schema = schema.set(schema.get_field_index(field.name), field)
    earliest = Micros(until - NEWEST // timedelta(microseconds=1))
    known = schema.empty_table()
    if "timestamp" in reference.table.column_names:
        known = between(reference.table.select(schema.names).cast(schema), earliest, until)
    after = max(earliest, alarmed_until, BEFORE_ALL if reference.through is None else reference.through)
    drawn = draw_from_log(layout.current, known, after, until, most)  # the monitor names what cannot be read
    return RhythmRows(drawn.table, drawn.each)
