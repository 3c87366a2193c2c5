"""Parts leave the log by age or when it has grown too large, into the archive's `date=` folders if there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.parts import Part
from monitoring.contract.plain_files import discard
from monitoring.contract.storage import Place, open_parquet, remove, size, step, write_parquet
from monitoring.contract.times import microseconds


@dataclass(frozen=True)
class Retention:
    """What the log keeps: rows that are not older, and not more bytes; and where the others go, or None for nowhere."""

    age: timedelta | None = None
    size: int | None = None
    archive: Place | None = None

    @property
    def limited(self) -> bool:
        """Say whether anything is to leave at all."""
        return self.age is not None or self.size is not None


def expired(parts: Sequence[Part], retention: Retention, now: datetime) -> list[Part]:
    """Return the parts to retire: those whose newest row is too old, and the oldest that are too many."""
    oldest = microseconds(now - retention.age) if retention.age is not None else None
    left = float("inf") if retention.size is None else retention.size
    gone = []
    for part in sorted(parts, reverse=True):  # newest first
        left -= size(part.path) if retention.size is not None else 0
        if left < 0 or (oldest is not None and part.last < oldest):
            gone.append(part)
    return gone


def retire(part: Part, archive: Place | None) -> None:
    """Remove a part, after its rows are in the archive; doing it again, after a kill, changes nothing."""
    if archive is not None:
        with open_parquet(part.path) as file:
            table = file.read(use_threads=False).replace_schema_metadata(None)
        dates = table["timestamp"].cast(pa.date32())
        for date in pc.unique(dates).to_pylist():
            _archive(archive / f"date={date}", part.name, table.filter(pc.equal(dates, pa.scalar(date))))
            step("date archived")
    remove(part.path)
    step("archived part removed")


def _archive(folder: Place, name: str, rows: pa.Table) -> None:
    if isinstance(folder, Path):
        for litter in folder.glob(f"_{name}.*.tmp"):  # of a process that died at this
            discard(litter)
    write_parquet(folder / name, rows)
