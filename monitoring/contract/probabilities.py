"""The probabilities of all categories in log and reference: their columns' names, and what they may hold.

They are there where `model.probabilities` asks for them: one nullable column for each category.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.values import without_nan

PREFIX = "probability_"
TOLERANCE = 1e-3  # of a row's sum: float32, and what people round to, is within it


def probability_column(category: str) -> str:
    """Return the name of the column that holds a category's probability."""
    return f"{PREFIX}{category}"


def probability_flaws(table: pa.Table, stored: Sequence[str], columns: Sequence[str]) -> Iterator[str]:
    """Yield what no reference's probabilities may be; `stored` are the columns that the file has.

    A row without any probability is one whose probabilities nobody knows. A file may have none of the columns.
    """
    given = [name for name in columns if name in stored]
    if not given:
        return
    if missing := [name for name in columns if name not in stored]:
        yield f"column {missing[0]} is missing, while {given[0]} is there: give all categories' probabilities, or none"
    if any(name not in table.column_names for name in columns):
        return  # why a column cannot be numbers is said already
    numbers = [without_nan(pc.cast(table[name], pa.float64())) for name in columns]
    for name, column in zip(columns, numbers, strict=True):
        if pc.any(pc.or_(pc.less(column, 0), pc.greater(column, 1))).as_py():
            yield f"column {name} holds numbers that are no probabilities: they lie between 0 and 1"
    present = [pc.cast(pc.is_valid(column), pa.int64()) for column in numbers]
    known = _sum(present)
    some = pc.and_(pc.greater(known, 0), pc.less(known, len(columns)))
    if partial := pc.sum(pc.cast(some, pa.int64())).as_py():
        yield f"{partial:,} rows have probabilities of some categories alone; a row has those of all, or none"
    off = pc.greater(pc.abs(pc.subtract(_sum(numbers), 1.0)), TOLERANCE)
    if wrong := pc.sum(pc.cast(off, pa.int64())).as_py():
        first = pc.index(pc.fill_null(off, False), True).as_py()
        total = sum(column[first].as_py() for column in numbers)
        yield f"the probabilities of {wrong:,} rows do not sum to 1: those of row {first:,} sum to {total:.4g}"


def _sum(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    total = columns[0]
    for column in columns[1:]:
        total = pc.add(total, column)
    return total
