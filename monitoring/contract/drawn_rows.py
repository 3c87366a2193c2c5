"""A random draw of a time's rows from the log, in bounded memory."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.log_reader import read_listed
from monitoring.contract.part_reader import UNREADABLE, read_part, reason_of
from monitoring.contract.parts import Part, Unreadable
from monitoring.contract.storage import Place
from monitoring.contract.times import Micros


@dataclass(frozen=True)
class DrawnRows:
    """Rows by time, how many each stands for, and the parts of that time that could not be read."""

    table: pa.Table
    each: float
    unreadable: tuple[Unreadable, ...] = ()


def draw_from_log(folder: Place, known: pa.Table, after: Micros, until: Micros, most: int) -> DrawnRows:
    """Draw from known rows and a log's that are later than `after` and before `until`.

    They have the columns of the known ones. All are taken if they are `most` at most, else so many at random, the same
    from the same files. A file that cannot be read is left out whole.
    """
    drawn = DrawnRows(known, 1.0)

    def read(parts: list[Part]) -> tuple[pa.Table, list[Unreadable]]:
        nonlocal drawn
        drawn = _draw((part for part in parts if after < part.last and part.first < until), known, after, until, most)
        return drawn.table, []

    read_listed(folder, read)
    return drawn


def between(rows: pa.Table, after: Micros, until: Micros) -> pa.Table:
    """Return the rows whose time is later than `after` and before `until`."""
    times = rows["timestamp"].cast(pa.int64())
    return rows.filter(pc.and_(pc.greater(times, after), pc.less(times, until)))


def _draw(parts: Iterable[Part], known: pa.Table, after: Micros, until: Micros, most: int) -> DrawnRows:
    """Give each row a random number, and keep the rows that have the lowest."""
    rng = random.Random(most)  # noqa: S311 - a draw of rows, no secret
    kept, total, unreadable = _lowest([_numbered(known, rng)], most), len(known), list[Unreadable]()
    for part in parts:
        more, number = kept, total
        try:
            for rows in read_part(part.path, known.schema, after):
                inside = between(rows, after, until)
                more, number = _lowest([more, _numbered(inside, rng)], most), number + len(inside)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(part.path, reason_of(error)))
        else:
            kept, total = more, number
    rows = kept.remove_column(kept.num_columns - 1).sort_by("timestamp").replace_schema_metadata(None)
    return DrawnRows(rows, max(1.0, total / most), tuple(unreadable))


def _numbered(rows: pa.Table, rng: random.Random) -> pa.Table:
    """Return rows with a last column of random numbers from 0 to 1."""
    return rows.append_column("", pc.random(len(rows), initializer=rng.getrandbits(32)))


def _lowest(tables: list[pa.Table], most: int) -> pa.Table:
    """Return the rows that have the lowest numbers, so many at most."""
    rows = pa.concat_tables(tables)
    if len(rows) <= most:
        return rows
    return rows.take(pc.select_k_unstable(rows.column(rows.num_columns - 1), most, [("", "ascending")]))
