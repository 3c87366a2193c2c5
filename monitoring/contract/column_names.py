"""The one place that maps a foreign file's names for the log's own columns: `model.columns` in the config.

Where a file has a column by its own name for it, that is read; else the one by our name, so that what we have written
is read under any config. Everything above sees our names alone.
"""

from collections.abc import Collection, Sequence

import pyarrow as pa

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
    if not columns or not rows.num_columns:  # Arrow forgets the number of rows without columns
        return rows
    names = our_names(rows.column_names, columns)
    kept = [place for place, name in enumerate(names) if name is not None]
    renamed = rows.select(kept).rename_columns([names[place] for place in kept])
    return renamed.replace_schema_metadata(rows.schema.metadata)  # what a reference says of itself
