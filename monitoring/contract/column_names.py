"""The one place that maps a foreign file's names for the log's own columns: `model.columns` in the config.

Where a file has a column by its own name for it, that is read; else the one by our name, so that what we have written
is read under any config. Everything above sees our names alone.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

Columns = tuple[tuple[str, str], ...]  # our name and the file's


def our_names(stored: Sequence[str], columns: Columns) -> list[str | None]:
    """Return our name for each of a file's columns; None for one that another takes the place of."""
    theirs = {name: ours for ours, name in columns if name in stored}
    taken = set(theirs.values())
    return [theirs.get(name, None if name in taken else name) for name in stored]


def absent(stored: Collection[str], columns: Columns) -> list[str]:
    """Say which columns a file has neither by its name for them nor by ours."""
    return [
        f"{theirs}, which model.columns names for {ours}"
        for ours, theirs in columns
        if theirs not in stored and ours not in stored
    ]


def with_our_names(rows: pa.Table, columns: Columns) -> pa.Table:
    """Return rows of a foreign file with our names for their columns."""
    names = our_names(rows.column_names, columns)
    kept = [place for place, name in enumerate(names) if name is not None]
    return rows.select(kept).rename_columns([names[place] for place in kept])


class RenamedFile:
    """A Parquet file whose columns go by our names, with what its readers use of `pyarrow.parquet.ParquetFile`."""

    def __init__(self, file: pq.ParquetFile, columns: Columns) -> None:
        self._file = file
        self._columns = columns
        stored = file.schema_arrow
        names = our_names(stored.names, columns)
        fields = [stored.field(place).with_name(name) for place, name in enumerate(names) if name is not None]
        self.schema_arrow = pa.schema(fields, metadata=stored.metadata)
        self._stored: Mapping[str, str] = {ours: n for n, ours in zip(stored.names, names, strict=True) if ours}

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
        table = self._file.read_row_groups(groups, columns=[self.stored(name) for name in columns], **options)
        return with_our_names(table, self._columns)

    def read(self, **options: Any) -> pa.Table:
        """Read the whole file as it does itself."""
        return with_our_names(self._file.read(**options), self._columns)

    def iter_batches(self, rows: int, row_groups: Sequence[int], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read row groups in batches as the file itself does."""
        stored = [self.stored(name) for name in columns]
        for batch in self._file.iter_batches(rows, row_groups=row_groups, columns=stored):
            yield from with_our_names(pa.Table.from_batches([batch]), self._columns).to_batches()

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
