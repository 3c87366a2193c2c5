"""Rows from which a rhythm is learned where the reference is too short to show it.

A reference that was re-based is hours long. Its rhythm rows are those of the newest time, two cycles at least, in which
nothing had changed. They lie in a file under the reference's digest, so that both change places at once, and that a
reference that somebody else puts into place has none.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from monitoring.contract.config import CYCLES, Model, cycle_length
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.part_reader import UNREADABLE, reason_of
from monitoring.contract.plain_files import read_plain
from monitoring.contract.schemas import TIMESTAMP, feature_fields
from monitoring.contract.storage import replaced
from monitoring.contract.values import conform

logger = structlog.get_logger()

FEWEST_CYCLES = 2
_EACH = "driftloop.each"  # metadata: how many rows of the log each row stands for


class UnreadableRhythmError(DriftloopError):
    """A reference's rhythm rows are damaged, or do not fit the config."""


@dataclass(frozen=True)
class RhythmRows:
    """Rows with the columns of `rhythm_schema`, how many of the log's each of them stands for, and their digest."""

    table: pa.Table
    each: float
    digest: str = ""


def rhythm_schema(model: Model) -> pa.Schema:
    """Return the columns of rhythm rows: time, features and prediction."""
    prediction = pa.field(model.prediction, model.rules.values)
    return pa.schema([pa.field("timestamp", TIMESTAMP), *feature_fields(model), prediction])


def read_rhythm_rows(layout: Layout, model: Model, reference_digest: str) -> RhythmRows | None:
    """Return the rhythm rows that belong to a reference, as `load_rhythm_rows` does; None too if they are unreadable.

    The log then says why.
    """
    try:
        return load_rhythm_rows(layout, model, reference_digest)
    except UnreadableRhythmError as error:
        logger.warning("rhythm_rows_unreadable", reason=str(error))
        return None


def load_rhythm_rows(layout: Layout, model: Model, reference_digest: str) -> RhythmRows | None:
    """Return the rhythm rows that belong to a reference, None if it has none; raise UnreadableRhythmError."""
    schema = rhythm_schema(model)
    try:
        content = read_plain(rhythm_rows_path(layout, reference_digest))
        stored = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        if absent := [name for name in schema.names if name not in stored.column_names]:
            raise UnreadableRhythmError(f"columns are absent: {', '.join(absent)}")
        if not len(stored):
            raise UnreadableRhythmError("there are none in their file")
        each = float((stored.schema.metadata or {}).get(_EACH.encode(), b"1"))
        return RhythmRows(conform(stored, schema), max(1.0, each), hashlib.sha256(content).hexdigest())
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        raise UnreadableRhythmError(reason_of(error)) from error


def write_rhythm_rows(layout: Layout, model: Model, reference_digest: str, rows: RhythmRows) -> None:
    """Write the rhythm rows of a reference, whole or not at all."""
    schema = rhythm_schema(model).with_metadata({_EACH: repr(rows.each)})
    with replaced(rhythm_rows_path(layout, reference_digest)) as temporary:
        pq.write_table(rows.table.select(schema.names).cast(schema), temporary)


def rhythm_rows_path(layout: Layout, reference_digest: str) -> Path:
    """Return where the rhythm rows of a reference lie."""
    return layout.rhythm_rows / f"{reference_digest}.parquet"


def cycle_numbers(times: pa.Array, cycle: int) -> pa.Array:
    """Return in which cycle after the first time each one (n,) lies, from 0; all in microseconds.

    What is left at the end joins the last whole cycle, of which a 24th may be missing.
    """
    elapsed = pc.subtract(times, pc.min(times))
    whole = (pc.max(elapsed).as_py() + cycle // 24) // cycle
    return pc.min_element_wise(pc.divide(elapsed, cycle), max(whole - 1, 0))


def count_cycles(times: pa.Array, cycle: int) -> int:
    """Return how many cycles hold times, in microseconds; those of a hole between them do not count."""
    return int(pc.count_distinct(cycle_numbers(times, cycle)).as_py())


def longest_cycle(rows: pa.Table, asked: str) -> int:
    """Return the longest cycle, in microseconds, of which two hold rows; 0 if two of none do.

    `asked` is config.yml's `rhythm`.
    """
    if not len(rows) or asked == "none":
        return 0
    times = rows["timestamp"].cast(pa.int64())
    lengths = [cycle_length(name) for name in CYCLES if asked in {"auto", name}]
    return max((length for length in lengths if count_cycles(times, length) >= FEWEST_CYCLES), default=0)
