"""A foreign Parquet file, read as if it had our names, its folders' columns and ids.

It has what its readers use of `pyarrow.parquet.ParquetFile`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.contract.column_names import Columns, absent, our_names, with_our_names
from monitoring.contract.partitions import Partition, with_partition

_ID = "prediction_id"


@dataclass(frozen=True)
class Foreign:
    """What a file of others lacks and how it is called: names, columns in its folders' names, and whose row is which.

    `numbers` are the columns whose values in the folders' names are read as numbers.
    `rows_of` is what the ids of its rows begin with where it has none: a row is then known by its number.
    """

    columns: Columns = ()
    partition: Partition = ()
    rows_of: str | None = None
    numbers: tuple[str, ...] = ()


class RenamedFile:
    """A Parquet file by our names."""

    def __init__(self, file: pq.ParquetFile, foreign: Foreign) -> None:
        self._file = file
        self._foreign = foreign
        stored = file.schema_arrow
        names = our_names(stored.names, foreign.columns)
        fields = [stored.field(place).with_name(name) for place, name in enumerate(names) if name is not None]
        self._stored: Mapping[str, str] = {ours: n for n, ours in zip(stored.names, names, strict=True) if ours}
        self._given = [(name, value) for name, value in foreign.partition if name not in self._stored]
        self._numbered = foreign.rows_of is not None and _ID not in self._stored
        empty = with_partition(pa.schema(fields).empty_table(), tuple(self._given), [name for name, _ in self._given])
        numbered = [pa.field(_ID, pa.string())] if self._numbered else []
        self.schema_arrow = pa.schema([*empty.schema, *numbered], metadata=stored.metadata)

    def require_names(self) -> None:
        """Raise ValueError if a column is there neither by the name that the config gives it nor by ours."""
        if lacking := absent([*self._stored, *(name for name, _ in self._given)], self._foreign.columns):
            raise ValueError(f"has no column {'; nor '.join(lacking)}")

    @property
    def metadata(self) -> pq.FileMetaData:
        """Return what the footer says, by the names that are stored."""
        return self._file.metadata

    @property
    def num_row_groups(self) -> int:
        """Return how many row groups there are."""
        return int(self._file.num_row_groups)

    def stored(self, name: str) -> str:
        """Return the file's name for a column of ours."""
        return self._stored.get(name, name)

    def read_row_groups(self, groups: Sequence[int], columns: Sequence[str], **options: Any) -> pa.Table:
        """Read row groups as the file itself does."""
        table = self._file.read_row_groups(groups, columns=self._wanted(columns), **options)
        return self._completed(table, columns, self._numbers(groups))

    def iter_batches(self, rows: int, row_groups: Sequence[int], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read row groups in batches as the file itself does."""
        numbers, begin = self._numbers(row_groups), 0
        for batch in self._file.iter_batches(rows, row_groups=row_groups, columns=self._wanted(columns)):
            end = begin + len(batch)
            yield from self._completed(pa.Table.from_batches([batch]), columns, numbers[begin:end]).to_batches()
            begin = end

    def read(self, **options: Any) -> pa.Table:
        """Read the whole file as it does itself."""
        return with_our_names(self._file.read(**options), self._foreign.columns)

    def _wanted(self, columns: Sequence[str]) -> list[str]:
        return [self._stored[name] for name in columns if name in self._stored]

    def _numbers(self, groups: Sequence[int]) -> pa.Array:
        """Return the numbers in the file of the rows of some row groups (n,), from 0 on; none where ids need none."""
        if not self._numbered:
            return pa.array([], pa.int64())
        counts = [self.metadata.row_group(group).num_rows for group in range(self.num_row_groups)]
        begins = list(accumulate(counts, initial=0))
        return pa.array(chain.from_iterable(range(begins[g], begins[g + 1]) for g in groups), pa.int64())

    def _completed(self, table: pa.Table, columns: Sequence[str], numbers: pa.Array) -> pa.Table:
        rows = with_partition(with_our_names(table, self._foreign.columns), tuple(self._given), columns)
        if not self._numbered or _ID not in columns:
            return rows
        ids = pc.binary_join_element_wise(f"{self._foreign.rows_of}#", numbers.cast(pa.string()), "")
        return rows.append_column(_ID, ids) if rows.num_columns else pa.table({_ID: ids})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def stored_name(file: pq.ParquetFile | RenamedFile, name: str) -> str:
    """Return the name in a file's footer of a column of ours."""
    return file.stored(name) if isinstance(file, RenamedFile) else name
