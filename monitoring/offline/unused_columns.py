"""Columns of a data set that no test needs, and that are there and cannot be used: `profile` goes on and says so."""

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.contract.part_reader import group_bounds
from monitoring.contract.renamed_file import RenamedFile
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.values import UnfitColumnError, convert, is_text

SHOWN = 40  # characters of a value


def unused_in(file: pq.ParquetFile | RenamedFile, optional: Collection[str]) -> Iterator[str]:
    """Say which of the columns that no test needs cannot be used, of which those named `optional` are numbers.

    Texts are known by the footer's first and last.
    """
    types = {field.name: field.type for field in file.schema_arrow}
    for name, kind in types.items():
        if is_text(kind) and name in optional:
            yield f"column {name} is {kind}, no number: it is not counted"
    if is_text(types.get("timestamp", pa.null())):
        for text in _extremes(file, "timestamp"):
            try:
                convert(pa.chunked_array([[text]], types["timestamp"]), pa.field("timestamp", TIMESTAMP))
            except UnfitColumnError:
                yield f"column timestamp holds {_short(text)}, no time like 2026-01-31T12:00:00Z: it is not counted"
                return


def _short(text: str | bytes) -> str:
    literal = repr(text)
    return literal if len(literal) <= SHOWN else f"{literal[:SHOWN]}…"


def _extremes(file: pq.ParquetFile | RenamedFile, name: str) -> Iterator[str | bytes]:
    """Yield the first and the last text of each row group, where the footer tells them."""
    for group in range(file.num_row_groups):
        yield from group_bounds(file, group, name) or ()
