"""The files that the services share: immutable Parquet parts, labels and the reference.

A part's name says what it holds: `part-<first>-<last>-<rows>-<writer>-<segment>.parquet`, first and last in
microseconds since 1970, so that a window is found without opening a file. In `current.parquet` the range is that of
the rows' timestamps, in `labels.parquet` that of the labelled predictions. Ids are UUIDs of version 7: they carry
their prediction's time, so that a row is found by its id without an index.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.schema import TIMESTAMP, DriftloopError, Model, Window, labels_schema, log_schema, reference_schema

_PART = re.compile(r"part-(\d{16})-(\d{16})-(\d+)-[^.]+\.parquet")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidReferenceError(DriftloopError):
    """reference.parquet is absent, unreadable or does not fit the config."""


@dataclass(frozen=True)
class Layout:
    """Where each file lies under DATA_DIR."""

    root: Path

    @property
    def current(self) -> Path:
        """Return the folder of the prediction log's parts."""
        return self.root / "current.parquet"

    @property
    def labels(self) -> Path:
        """Return the folder of the late labels' parts."""
        return self.root / "labels.parquet"

    @property
    def reference(self) -> Path:
        """Return the reference, one file."""
        return self.root / "reference.parquet"


@dataclass(frozen=True, order=True)
class Part:
    """One immutable file of rows; first and last are microseconds since 1970, both included."""

    last: int
    first: int
    rows: int
    path: Path


@dataclass(frozen=True)
class Unreadable:
    """A file that should hold rows and cannot be read."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Rows:
    """Rows of the log, oldest first, with the files that could not be read."""

    table: pa.Table
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class Reference:
    """The reference's rows and where they come from.

    `through` is the time of the newest logged row in it (microseconds since 1970); only later rows are held against
    it. It is None for a reference that was not taken from the log.
    """

    table: pa.Table
    digest: str
    through: int | None
    origin: str
    model_version: str | None


def microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def id_milliseconds(prediction_id: str) -> int | None:
    """Return the time in a version 7 UUID, in milliseconds since 1970; None if it is not one."""
    try:
        value = UUID(prediction_id)
    except (ValueError, AttributeError, TypeError):
        return None
    return value.int >> 80 if value.version == 7 else None  # noqa: PLR2004


def part_name(first: int, last: int, rows: int, writer: str, segment: int) -> str:
    """Return the name of a part; the same content from the same journal has the same name."""
    return f"part-{first:016d}-{last:016d}-{rows}-{writer}-{segment}.parquet"


def list_parts(folder: Path) -> tuple[list[Part], list[Unreadable]]:
    """List a folder's parts, newest first; a foreign Parquet file is placed by the timestamps in it."""
    parts, unreadable = [], []
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return [], []
    except NotADirectoryError:
        return [], [Unreadable(folder, "is a file; it must be a folder of parts")]
    for entry in entries:
        if entry.name.startswith(("_", ".")) or not entry.name.endswith(".parquet"):
            continue
        if match := _PART.fullmatch(entry.name):
            first, last, rows = (int(group) for group in match.groups())
            parts.append(Part(last, first, rows, Path(entry.path)))
            continue
        try:
            parts.append(_place(Path(entry.path)))
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            unreadable.append(Unreadable(Path(entry.path), str(error)))
    return sorted(parts, reverse=True), unreadable


def _place(path: Path) -> Part:
    with pq.ParquetFile(path) as file:
        times = file.read(columns=["timestamp"])["timestamp"].cast(TIMESTAMP, safe=False).cast(pa.int64())
    if not len(times):
        return Part(0, 0, 0, path)
    bounds = pc.min_max(times).as_py()
    if bounds["max"] is None:
        raise ValueError("its timestamps are null")
    return Part(bounds["max"], bounds["min"], len(times), path)


def _is_ours(part: Part) -> bool:
    return _PART.fullmatch(part.path.name) is not None


def read_part(path: Path, schema: pa.Schema) -> pa.Table:
    """Read one part as the schema: a missing column is null, another type is cast, an unknown column is left out."""
    with pq.ParquetFile(path, memory_map=True) as file:
        names = set(file.schema_arrow.names)
        table = file.read(columns=[n for n in schema.names if n in names])
    # not safe: a foreign part may hold nanoseconds, and integers that a float32 rounds
    columns = [
        table[f.name].cast(f.type, safe=False) if f.name in names else pa.nulls(len(table), f.type) for f in schema
    ]
    return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))


def read_rows(
    layout: Layout, model: Model, window: Window, after: int | None = None, now: datetime | None = None
) -> Rows:
    """Read the window's rows from the log, joined with the labels that came later.

    Only rows whose timestamp is later than `after` (microseconds since 1970) are taken. A file that cannot be read is
    left out and named in the answer.
    """
    schema = log_schema(model)
    parts, unreadable = list_parts(layout.current)
    earliest = -1 if after is None else after
    if window.duration is not None:
        earliest = max(earliest, microseconds(now or datetime.now(UTC)) - window.duration // timedelta(microseconds=1))
    tables: list[pa.Table] = []
    for part in parts:  # newest last row first
        if part.last <= earliest:
            break
        try:
            table = read_part(part.path, schema)
        except FileNotFoundError:
            continue  # merged or archived since it was listed
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            unreadable.append(Unreadable(part.path, str(error)))
            continue
        tables.append(table.filter(pc.greater(_times(table), earliest)))
        if window.rows is not None and sum(map(len, tables)) >= window.rows:
            earliest = max(earliest, _nth_newest(tables, window.rows) - 1)
    table = pa.concat_tables(tables) if tables else schema.empty_table()
    table = table.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")]).combine_chunks()
    if window.rows is not None:
        table = table.slice(max(0, len(table) - window.rows))
    labels, unreadable_labels = _read_labels(layout, model, table)
    return Rows(_join_labels(table, labels, model), (*unreadable, *unreadable_labels))


def _times(table: pa.Table) -> pa.ChunkedArray:
    return table["timestamp"].cast(pa.int64())


def _nth_newest(tables: list[pa.Table], n: int) -> int:
    times = pa.chunked_array([chunk for t in tables for chunk in _times(t).chunks], pa.int64())
    newest = pc.select_k_unstable(times, k=n, sort_keys=[("", "descending")])
    return int(times[newest[-1].as_py()].as_py())


def _read_labels(layout: Layout, model: Model, rows: pa.Table) -> tuple[pa.Table, list[Unreadable]]:
    """Read the labels of the parts that can hold labels of these rows."""
    schema = labels_schema(model)
    if not len(rows):
        return schema.empty_table(), []
    bounds = pc.min_max(_times(rows))
    parts, unreadable = list_parts(layout.labels)
    tables = [schema.empty_table()]
    for part in parts:
        # ids carry whole milliseconds; a foreign part is placed by when it was labelled, which tells nothing here
        near = bounds["min"].as_py() - 1000 <= part.last and part.first <= bounds["max"].as_py()
        if not near and _is_ours(part):
            continue
        try:
            tables.append(read_part(part.path, schema))
        except FileNotFoundError:
            continue
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            unreadable.append(Unreadable(part.path, str(error)))
    return pa.concat_tables([t.cast(tables[-1].schema) for t in tables]), unreadable


def _join_labels(rows: pa.Table, labels: pa.Table, model: Model) -> pa.Table:
    """Fill each row's target from the labels, the latest label of an id first."""
    if not len(labels):
        return rows
    labels = labels.sort_by([("timestamp", "descending")])
    place = pc.index_in(rows["prediction_id"], value_set=labels["prediction_id"].combine_chunks())
    late = pc.take(labels[model.target], place)
    column = rows.schema.get_field_index(model.target)
    return rows.set_column(column, model.target, pc.coalesce(late, rows[model.target]))


def find_targets(folder: Path, ids: Iterable[str], target: str) -> dict[str, str | None]:
    """Look ids up in a folder of parts: the ids that are there, each with its target or None."""
    wanted = {i: ms * 1000 for i in ids if (ms := id_milliseconds(i)) is not None}
    found: dict[str, str | None] = {}
    for part in list_parts(folder)[0] if wanted else []:
        foreign = not _is_ours(part)
        here = [i for i, us in wanted.items() if i not in found and (foreign or part.first - 1000 < us <= part.last)]
        if not here:
            continue
        # a part that cannot be read is told and counted where windows are read
        with contextlib.suppress(OSError, pa.ArrowException):
            table = pq.read_table(
                part.path,
                columns=["prediction_id", target],
                filters=[("prediction_id", "in", here)],
                partitioning=None,
            )
            found.update(zip(table["prediction_id"].to_pylist(), table[target].to_pylist(), strict=True))
    return found


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file replaces `path` atomically and durably when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"_{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_reference(layout: Layout, model: Model, *, predicted: bool = True) -> Reference:
    """Read reference.parquet; raise InvalidReferenceError with the list of what does not fit the config.

    With `predicted=False` the prediction column may be absent: a first start fills it.
    """
    path = layout.reference
    try:
        content = path.read_bytes()  # once, so that digest and rows are of the same file
        stored = pq.read_table(pa.BufferReader(content))
    except FileNotFoundError as error:
        raise InvalidReferenceError(f"{path}: there is no reference; the flow `bootstrap` makes one") from error
    except (pa.ArrowException, OSError) as error:
        raise InvalidReferenceError(f"{path}: is not a readable Parquet file: {error}") from error
    problems = list(_misfits(stored, model, predicted=predicted))
    if problems:
        raise InvalidReferenceError(f"{path} does not fit the config:\n" + "\n".join(f"  {p}" for p in problems))
    schema = reference_schema(model)
    if model.prediction not in stored.column_names:
        stored = stored.append_column(model.prediction, pa.nulls(len(stored), pa.string()))
    table = stored.select(schema.names).cast(schema, safe=False)
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (stored.schema.metadata or {}).items()
    }
    through = metadata.get("driftloop.through")
    return Reference(
        table=table,
        digest=hashlib.sha256(content).hexdigest(),
        through=int(through) if through else None,
        origin=metadata.get("driftloop.origin", "user"),
        model_version=metadata.get("driftloop.model_version"),
    )


def _misfits(stored: pa.Table, model: Model, *, predicted: bool) -> Iterator[str]:
    if not len(stored):
        yield "it has no rows"
    required = {*model.features, model.target} | ({model.prediction} if predicted else set())
    for name in (*model.features, model.prediction, model.target):
        if name in stored.column_names:
            yield from (_feature_misfits if name in model.features else _category_misfits)(stored[name], name, model)
            if name in required and name not in model.features and 0 < stored[name].null_count == len(stored):
                yield f"column {name} has no value"
        elif name in required:
            yield f"column {name} is missing"


def _feature_misfits(column: pa.ChunkedArray, name: str, _model: Model) -> Iterator[str]:
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        yield f"column {name} is {column.type}; it must be a number"
    elif pc.all(pc.is_null(column, nan_is_null=True)).as_py():
        yield f"column {name} has no value"
    elif pc.any(pc.is_inf(column)).as_py():
        yield f"column {name} holds infinite values"


def _category_misfits(column: pa.ChunkedArray, name: str, model: Model) -> Iterator[str]:
    try:
        unknown = set(column.cast(pa.string()).unique().to_pylist()) - {*model.categories, None}
    except pa.ArrowException:
        yield f"column {name} is {column.type}; it must be text"
        return
    if unknown:
        yield f"column {name} holds {', '.join(sorted(unknown)[:5])}; allowed are {', '.join(model.categories)}"


def write_reference(
    layout: Layout,
    model: Model,
    table: pa.Table,
    *,
    origin: str,
    model_version: str | None = None,
    through: int | None = None,
) -> None:
    """Replace reference.parquet atomically by these rows, with a note of where they come from."""
    metadata = {"driftloop.origin": origin}
    if model_version is not None:
        metadata["driftloop.model_version"] = model_version
    if through is not None:
        metadata["driftloop.through"] = str(through)
    schema = reference_schema(model)
    with replaced(layout.reference) as temporary:
        pq.write_table(table.select(schema.names).cast(schema.with_metadata(metadata)), temporary)
