"""A random draw of a time's rows from the log, in bounded memory."""

import random
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.log_reader import read_listed
from monitoring.contract.part_reader import UNREADABLE, read_part, reason_of
from monitoring.contract.parts import Part, Unreadable
from monitoring.contract.storage import Place
from monitoring.contract.times import Micros

_SHARE = b"share"


def draw_rows(folder: Place, known: pa.Table, after: Micros, until: Micros, most: int) -> tuple[pa.Table, float]:
    """Return known rows and a log's later than `after` and before `until`, by time, and how many each stands for.

    They have the columns of the known ones. There are `most` at most, drawn at random, the same from the same files. A
    file that cannot be read is left out: the monitor names it.
    """
    rng = random.Random(most)  # noqa: S311 - a draw of rows, no secret

    def read(parts: list[Part]) -> tuple[pa.Table, list[Unreadable]]:
        parts = [part for part in parts if part.last > after and part.first < until]
        share = min(1.0, 2 * most / max(1, len(known) + sum(part.rows for part in parts)))
        tables, unreadable = [_thin(known, share, rng)], list[Unreadable]()
        for part in parts:
            try:
                tables += [_thin(rows, share, rng) for rows in _read(part, known.schema, after, until)]
            except FileNotFoundError:
                raise
            except UNREADABLE as error:
                unreadable.append(Unreadable(part.path, reason_of(error)))
        return pa.concat_tables(tables).replace_schema_metadata({_SHARE: repr(share)}), unreadable

    rows, _ = read_listed(folder, read)
    each = max(1.0, len(rows) / most) / float(rows.schema.metadata[_SHARE])
    if len(rows) > most:
        rows = rows.take(pc.array_sort_indices(_draws(len(rows), rng))[:most])
    return rows.sort_by("timestamp").replace_schema_metadata(None), each


def between(rows: pa.Table, after: Micros, until: Micros) -> pa.Table:
    """Return the rows whose time is later than `after` and before `until`."""
    times = rows["timestamp"].cast(pa.int64())
    return rows.filter(pc.and_(pc.greater(times, after), pc.less(times, until)))


def _read(part: Part, schema: pa.Schema, after: Micros, until: Micros) -> Iterator[pa.Table]:
    for rows in read_part(part.path, schema, after):
        yield between(rows, after, until)


def _thin(rows: pa.Table, share: float, rng: random.Random) -> pa.Table:
    return rows if share >= 1 else rows.filter(pc.less(_draws(len(rows), rng), share))


def _draws(number: int, rng: random.Random) -> pa.Array:
    """Return so many random numbers from 0 to 1."""
    return pc.random(number, initializer=rng.getrandbits(32))
