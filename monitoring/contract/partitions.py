"""Hive partitions: columns whose values stand in the names of folders, like `month=1/origin=JFK/`."""

from collections.abc import Collection, Iterable, Mapping
from urllib.parse import unquote

import pyarrow as pa

from monitoring.contract.column_names import Columns, our_names

_NULL = "__HIVE_DEFAULT_PARTITION__"

Texts = tuple[tuple[str, str | None], ...]  # names and values as they are written
Partition = tuple[tuple[str, int | float | str | None], ...]


def texts_in(path: str) -> Texts:
    """Return what the folders of a path say, from the outermost on; a null is None."""
    pairs = (folder.partition("=") for folder in path.split("/")[:-1] if "=" in folder)
    return tuple((unquote(name), None if value == _NULL else unquote(value)) for name, _, value in pairs)


def with_our_texts(partition: Texts, columns: Columns) -> Texts:
    """Return what the folders say with our names for columns that have others."""
    names = our_names([name for name, _ in partition], columns)
    return tuple((name, value) for name, (_, value) in zip(names, partition, strict=True) if name is not None)


def typed(partitions: Iterable[Texts], numeric: Collection[str]) -> list[Partition]:
    """Give values their types, one per column over all files.

    Whole numbers where all are such, as pandas does; other numbers too where the model takes numbers, else text.
    """
    partitions = list(partitions)
    values: dict[str, list[str | None]] = {}
    for name, value in (pair for partition in partitions for pair in partition):
        values.setdefault(name, []).append(value)
    meaning = {name: _meaning(texts, numeric=name in numeric) for name, texts in values.items()}
    return [tuple((name, meaning[name][value]) for name, value in partition) for partition in partitions]


def _meaning(texts: Iterable[str | None], *, numeric: bool) -> Mapping[str | None, int | float | str | None]:
    distinct = sorted({text for text in texts if text is not None})
    if numeric and {text.lower() for text in distinct} <= {"true", "false"}:  # pandas writes True and False
        return {None: None, **{text: float(text.lower() == "true") for text in distinct}}
    kinds = (pa.int64(), pa.float64()) if numeric else (pa.int64(),)
    values: list[int | float | str] = list(distinct)
    for kind in kinds:
        try:
            values = pa.array(distinct, pa.string()).cast(kind).to_pylist()
            break
        except pa.ArrowInvalid:
            continue
    return {None: None, **dict(zip(distinct, values, strict=True))}


def with_partition(rows: pa.Table, partition: Partition, wanted: Collection[str]) -> pa.Table:
    """Return rows with those columns of their partition that are wanted."""
    for name, value in partition:
        if name in wanted:
            column = pa.nulls(len(rows)) if value is None else pa.repeat(pa.scalar(value), len(rows))
            rows = rows.append_column(name, column) if rows.num_columns else pa.table({name: column})
    return rows
