"""Learning: how long the alarm waits, after a re-base, for rows that show what it is to be calibrated with.

A re-based reference may be of three hours in the evening. Where rows follow a rhythm, such a reference says little
about the next morning. So the alarm says nothing until the reference and the log's rows since are a day long, and is
calibrated with all of these; or two cycles long, where no earlier rows show the rhythm either. The accuracy test
watches meanwhile.

What was learned lies in a file beside its calibration, for the log's files do not stay what they are.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from monitoring.alarms.drift.rhythm import are_dependent, find_rhythm
from monitoring.alarms.drift.scores import Observations
from monitoring.alarms.drift.usual import DAY, HOUR, local_times
from monitoring.contract.config import CYCLES, Config, cycle_length
from monitoring.contract.part_reader import UNREADABLE, reason_of
from monitoring.contract.plain_files import read_plain
from monitoring.contract.reference import Reference
from monitoring.contract.rhythm_rows import FEWEST_CYCLES
from monitoring.contract.storage import replaced
from monitoring.contract.times import Micros

logger = structlog.get_logger()

_EACH, _THROUGH = b"driftloop.each", b"driftloop.through"


@dataclass(frozen=True)
class LearnedRows:
    """A reference's rows and the log's until `through` by time, and how many rows each of them stands for."""

    table: pa.Table
    each: float
    through: Micros


def learning_until(
    reference: Reference, rows: Observations, earlier: Observations | None, config: Config
) -> Micros | None:
    """Return the time until which rows of the log join a reference's; None if it needs none, or was not re-based.

    `rows` are the reference's, `earlier` its rhythm rows.
    """
    if reference.origin != "rebased" or reference.through is None or rows.times is None or config.rhythm == "none":
        return None
    missing = missing_time(rows, earlier, config)
    return Micros(reference.through + missing) if missing else None


def missing_time(rows: Observations, earlier: Observations | None, config: Config) -> int:
    """Return how much longer a time, in microseconds, rows have to span; 0 if it is enough or they have no rhythm.

    It is the time of local clocks; a 24th of a cycle may be missing, as where cycles are counted.
    """
    assert rows.times is not None
    span = int(np.ptp(local_times(rows.times, config.timezone)))
    cycles, length = _cycles_due(rows, earlier, config)
    missing = cycles * length - span
    return missing if missing > length // 24 else 0


def _cycles_due(rows: Observations, earlier: Observations | None, config: Config) -> tuple[int, int]:
    """Return how many cycles the rows have to span, and the length of one; none where they have no rhythm."""
    categories = len(config.model.categories)
    rhythm = find_rhythm(rows, categories, config.rhythm, config.timezone, earlier)
    if rhythm.cycle is not None:
        return int(rhythm.earlier), DAY
    if config.rhythm in CYCLES:
        return FEWEST_CYCLES, cycle_length(config.rhythm)
    # what differs within minutes is no rhythm of days, but what is left of the change
    waits = np.ptp(rows.times) > HOUR and are_dependent(rows, categories)  # type: ignore[arg-type]
    return FEWEST_CYCLES if waits else 0, DAY


def read_learned_rows(path: Path, columns: pa.Schema) -> LearnedRows | None:
    """Return the rows that were learned; None if there are none. A damaged file is named in the log: learn anew."""
    try:
        table = pq.ParquetFile(pa.BufferReader(read_plain(path))).read(use_threads=False)
        about = table.schema.metadata or {}
        rows = table.select(columns.names).cast(columns)
        return LearnedRows(rows, float(about[_EACH]), Micros(int(about[_THROUGH])))
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        logger.warning("learned_rows_unreadable", path=str(path), reason=reason_of(error))
        return None


def write_learned_rows(path: Path, rows: LearnedRows) -> None:
    """Write the rows that were learned, whole or not at all."""
    about = {_EACH: repr(rows.each), _THROUGH: str(rows.through)}
    with replaced(path) as temporary:
        pq.write_table(rows.table.replace_schema_metadata(about), temporary)
