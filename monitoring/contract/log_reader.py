"""The files that the services share: the log's window, the labels and the reference."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter, ValidationError

from monitoring.contract.config import DriftloopError, Model, Window, labels_schema, log_schema, reference_schema
from monitoring.contract.part_reader import UNREADABLE, read_groups, read_part, reason_of
from monitoring.contract.parts import Part, Unreadable, from_the_future, is_ours, latest_time, list_parts, microseconds
from monitoring.contract.storage import Place, Remote, open_parquet, replaced

_READS = 100
_PERFORMANCE = "driftloop.performance"

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]


class InvalidReferenceError(DriftloopError):
    """reference.parquet is absent, unreadable or does not fit the config."""


@dataclass(frozen=True)
class Layout:
    """Where each file lies: under a folder of this machine, the parts of the logs in object storage if that is set."""

    root: Path
    storage: str | None = None

    @property
    def current(self) -> Place:
        """Return the folder of the prediction log's parts."""
        return self._parts / "current.parquet"

    @property
    def labels(self) -> Place:
        """Return the folder of the late labels' parts."""
        return self._parts / "labels.parquet"

    def journals(self, parts: Place) -> Path:
        """Return the folder of this machine where the journals of a log lie, before they become its parts."""
        return self.root / parts.name

    @property
    def _parts(self) -> Place:
        return self.root if self.storage is None else Remote(self.storage)

    @property
    def reference(self) -> Path:
        """Return the reference, one file."""
        return self.root / "reference.parquet"


@dataclass(frozen=True)
class Rows:
    """Rows of the log, oldest first, with the files that could not be read, or of which rows are left out."""

    table: pa.Table
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """How often a model is right at a confidence: knots in order of confidence, each of so many unseen rows."""

    confidence: tuple[Share, ...]
    accuracy: tuple[Share, ...]
    rows: tuple[Count, ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless there are knots, and each has its three numbers and its place."""
        if not len(self.confidence) == len(self.accuracy) == len(self.rows) > 0:
            raise ValueError("a calibration takes as many confidences as accuracies and rows, at least one of each")
        if list(self.confidence) != sorted(set(self.confidence)):
            raise ValueError("a calibration's confidences ascend")


@dataclass(frozen=True)
class Performance:
    """The share of rows that a model got right when it was promoted, of so many that it had not seen."""

    accuracy: Share
    rows: Count
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Reference:
    """The reference's rows and where they come from.

    `through` is the time of the newest logged row in it (microseconds since 1970); only later rows are held against
    it. It is None for a reference that was not taken from the log, and for one that was made while the clock was far
    ahead: it would let no row in. `performance` is None if nobody has measured it.
    """

    table: pa.Table
    digest: str
    through: int | None
    origin: str
    model_version: str | None
    performance: Performance | None = None


def id_milliseconds(prediction_id: str) -> int | None:
    """Return the time in a version 7 UUID, in milliseconds since 1970; None if it is not one."""
    try:
        value = UUID(prediction_id)
    except (ValueError, AttributeError, TypeError):
        return None
    return value.int >> 80 if value.version == 7 else None  # noqa: PLR2004


def read_rows(
    layout: Layout, model: Model, window: Window, after: int | None = None, now: datetime | None = None
) -> Rows:
    """Read the window's rows from the log, joined with the labels that came later.

    Only rows whose timestamp is later than `after` (microseconds since 1970) are taken, and none that is more than an
    hour ahead of the clock. A file that cannot be read, or holds such rows, is named in the answer.
    """
    earliest = -1 if after is None else after
    if window.duration is not None:
        earliest = max(earliest, microseconds(now or datetime.now(UTC)) - window.duration // timedelta(microseconds=1))
    span = earliest, latest_time(now)
    table, unreadable = _whole(layout.current, lambda parts: _newest(parts, log_schema(model), window.rows, *span))
    table = table.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")]).combine_chunks()
    if window.rows is not None:
        table = table.slice(max(0, len(table) - window.rows))
    labels, unreadable_labels = _read_labels(layout, model, table)
    return Rows(_join_labels(table, labels, model), (*unreadable, *unreadable_labels))


def _whole(
    folder: Place, read: Callable[[list[Part]], tuple[pa.Table, list[Unreadable]]]
) -> tuple[pa.Table, list[Unreadable]]:
    """Read from a list of parts, and from a new list if one of them has been merged or archived meanwhile."""
    for _ in range(_READS):
        parts, unreadable = list_parts(folder)
        try:
            table, more = read(parts)
        except FileNotFoundError:
            continue
        return table, [*unreadable, *more]
    raise DriftloopError(f"{folder} changes faster than it can be read")


def _newest(
    parts: list[Part], schema: pa.Schema, rows: int | None, earliest: int, latest: int
) -> tuple[pa.Table, list[Unreadable]]:
    """Read at least the newest rows of parts that are listed newest first, and not many more."""
    tables: list[pa.Table] = []
    unreadable = from_the_future(parts, latest)
    for part in parts:
        if part.last <= earliest:
            break
        more, since = tables, earliest
        try:
            for table in read_part(part.path, schema, earliest):
                more = [*more, table.filter(pc.less_equal(_times(table), latest))]
                if rows is not None and sum(map(len, more)) >= rows:
                    more, since = _trim(more, rows, since)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(part.path, reason_of(error)))
        else:
            tables, earliest = more, since
    return pa.concat_tables(tables) if tables else schema.empty_table(), unreadable


def _trim(tables: list[pa.Table], rows: int, earliest: int) -> tuple[list[pa.Table], int]:
    """Let go what is not among the newest rows; return the rest, and the time that these are later than."""
    earliest = max(earliest, _nth_newest(tables, rows) - 1)
    return [table.filter(pc.greater(_times(table), earliest)) for table in tables], earliest


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
    bounds = pc.min_max(_times(rows)).as_py()
    ids = rows["prediction_id"].combine_chunks()
    return _whole(layout.labels, lambda parts: _near(parts, schema, ids, bounds["min"], bounds["max"]))


def _near(
    parts: list[Part], schema: pa.Schema, ids: pa.Array, first: int, last: int
) -> tuple[pa.Table, list[Unreadable]]:
    """Read the labels of these ids, whose rows lie between first and last."""
    tables, unreadable = [schema.empty_table()], []
    for part in parts:
        # ids carry whole milliseconds; a foreign part is placed by when it was labelled, which tells nothing here
        if is_ours(part) and not (first - 1000 <= part.last and part.first <= last):
            continue
        try:
            found = [t.filter(pc.is_in(t["prediction_id"], value_set=ids)) for t in read_part(part.path, schema)]
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(part.path, reason_of(error)))
        else:
            tables += found
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


def find_targets(folder: Place, ids: Iterable[str], target: str) -> dict[str, str | None]:
    """Look ids up in a folder of parts: the ids that are there, each with its target or None."""
    schema = pa.schema([("prediction_id", pa.string()), (target, pa.string())])
    table = find_rows(folder, [i for i in ids if id_milliseconds(i) is not None], schema)
    return dict(zip(table["prediction_id"].to_pylist(), table[target].to_pylist(), strict=True))


def find_rows(folder: Place, ids: Iterable[str], schema: pa.Schema) -> pa.Table:
    """Look ids up in a folder of parts: the rows that are there, as the schema, which begins with `prediction_id`.

    An id that is no UUID of version 7 tells no time and is looked for in every part.
    """
    times = {i: id_milliseconds(i) for i in ids}
    timeless = [i for i, ms in times.items() if ms is None]
    timed = sorted((ms * 1000, i) for i, ms in times.items() if ms is not None)
    if not times:
        return schema.empty_table()
    return _whole(folder, lambda parts: _lines_of(parts, schema, timed, timeless))[0]


def _lines_of(
    parts: list[Part], schema: pa.Schema, timed: list[tuple[int, str]], timeless: list[str]
) -> tuple[pa.Table, list[Unreadable]]:
    tables, unreadable = [schema.empty_table()], []
    for part in parts:
        begin, end = (bisect_right(timed, time, key=_time) for time in (part.first - 1000, part.last))
        here = [i for _, i in (timed[begin:end] if is_ours(part) else timed)]
        if not here and not timeless:
            continue
        try:
            tables += _select(part.path, schema, [*here, *timeless])
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            unreadable.append(Unreadable(part.path, reason_of(error)))  # told and counted where windows are read
    return pa.concat_tables(tables), unreadable


def _time(of: tuple[int, str]) -> int:
    return of[0]


def _select(path: Place, schema: pa.Schema, ids: list[str]) -> list[pa.Table]:
    """Read the rows of these ids, from the row groups that may hold one of them."""
    with open_parquet(path) as file:
        groups = [g for g in range(file.num_row_groups) if _may_hold(file.metadata, g, min(ids), max(ids))]
    wanted = pa.array(ids, pa.string())
    # a target is null where a former config's had another name
    found = (t.filter(pc.is_in(t["prediction_id"], value_set=wanted)) for t in read_groups(path, schema, groups))
    return [table.cast(schema) for table in found]


def _may_hold(metadata: pq.FileMetaData, group: int, first: str, last: str) -> bool:
    statistics = metadata.row_group(group).column(metadata.schema.names.index("prediction_id")).statistics
    if statistics is None or not isinstance(statistics.max, str):
        return True
    return bool(statistics.min <= last and first <= statistics.max)


def read_reference(layout: Layout, model: Model, *, predicted: bool = True) -> Reference:
    """Read reference.parquet; raise InvalidReferenceError with the list of what does not fit the config.

    With `predicted=False` the prediction column may be absent: a first start fills it.
    """
    path = layout.reference
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidReferenceError(f"{path}: there is no reference; the flow `bootstrap` makes one") from error
    except OSError as error:
        raise InvalidReferenceError(f"{path}: is not a readable Parquet file: {error}") from error
    return parse_reference(content, path, model, predicted=predicted)


def reference_digest(layout: Layout) -> str | None:
    """Return the SHA-256 of the reference's file, as `Reference.digest`; None if there is no reference."""
    try:
        return hashlib.sha256(layout.reference.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def parse_reference(content: bytes, path: str | Path, model: Model, *, predicted: bool = True) -> Reference:
    """Parse a reference's bytes, so that digest and rows are of the same file; see `read_reference`."""
    try:
        # a thread of Arrow's may be the last to hold the bytes, and aborts a process that ends just then
        stored = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
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
        through=int(through) if through and int(through) <= latest_time() else None,
        origin=metadata.get("driftloop.origin", "user"),
        model_version=metadata.get("driftloop.model_version"),
        performance=_performance(metadata, path),
    )


def _performance(metadata: Mapping[str, str], path: str | Path) -> Performance | None:
    if _PERFORMANCE not in metadata:
        return None
    try:
        return TypeAdapter(Performance).validate_json(metadata[_PERFORMANCE])
    except ValidationError as error:
        lines = "\n".join(f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidReferenceError(f"{path}: its metadata {_PERFORMANCE} cannot be used:\n{lines}") from error


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
    performance: Performance | None = None,
) -> None:
    """Replace reference.parquet atomically by these rows, with a note of where they come from."""
    metadata = {"driftloop.origin": origin}
    if model_version is not None:
        metadata["driftloop.model_version"] = model_version
    if through is not None:
        metadata["driftloop.through"] = str(through)
    if performance is not None:
        metadata[_PERFORMANCE] = json.dumps(asdict(performance))
    schema = reference_schema(model)
    with replaced(layout.reference) as temporary:
        pq.write_table(table.select(schema.names).cast(schema.with_metadata(metadata)), temporary)
