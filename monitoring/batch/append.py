"""A batch becomes a part of the log, whole or not at all, and only of rows that the log has not.

The part is one of ours by its name and its columns, so that readers, merging and retention take it as those that the
API seals. It is written under a temporary name and renamed. Its name is made from its rows' ids: a run that is killed
and run again leaves the same file.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.batch.content_ids import content_ids
from monitoring.batch.known_rows import find_known, find_unsealed
from monitoring.contract.config import Model
from monitoring.contract.labels import are_given
from monitoring.contract.layout import Layout
from monitoring.contract.parts import Unreadable, part_name
from monitoring.contract.plain_files import discard
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema
from monitoring.contract.storage import Place, step, write_parquet
from monitoring.contract.times import Micros, microseconds
from monitoring.contract.values import conform

WRITER = "ingest"  # in a part's name
GROUP_ROWS = 16_384  # of a row group, as the API's merged parts have them
_NO_IDS = pa.chunked_array([], pa.string())
_ORDER = (("timestamp", "ascending"), ("prediction_id", "ascending"))


@dataclass(frozen=True)
class Appended:
    """What became of a batch's rows: appended, or known already; labels that known rows got, and doubts."""

    appended: int = 0
    known: int = 0
    labels: int = 0
    relabelled: int = 0  # ids with several labels in the batch, of which the last counts
    misdated: int = 0  # ids of version 7 that tell another time than their row
    moved: int = 0  # known rows that the log has at another time
    unreadable: tuple[Unreadable, ...] = ()
    new_ids: pa.ChunkedArray = field(default_factory=lambda: _NO_IDS)  # of rows that had none
    known_ids: pa.ChunkedArray = field(default_factory=lambda: _NO_IDS)


def append(layout: Layout, model: Model, rows: pa.Table) -> Appended:
    """Append the rows and the labels that the log has not; the rows are of `wide_schema`, each with a time.

    Who calls holds the log's lock: another batch, or a request to the API, may hold the same rows. Raise OSError where
    the log cannot be read or written.
    """
    if not len(rows):
        return Appended()
    given = pc.fill_null(pc.not_equal(rows["prediction_id"], ""), fill_value=False)
    rows = _with_ids(rows, given, model)
    known, unreadable = _known(layout, model, rows, given)
    is_known = pc.is_in(rows["prediction_id"], value_set=_ids(known))
    moved = _moved(rows, known)
    new = _first_of_each(rows.filter(pc.invert(is_known)))
    if len(new):
        _write_part(layout.current, new.sort_by(list(_ORDER)), log_schema(model), new["timestamp"])
        step("batch appended")
    again = _repeated(rows.filter(pc.invert(is_known)), new).select(known.column_names)
    known = pa.concat_tables([known, again.cast(known.schema)])
    late = rows.filter(pc.is_in(rows["prediction_id"], value_set=_ids(known)))
    labels, more = _add_labels(layout, model, late, known)
    relabelled = _relabelled(rows, model)
    made = [rows.filter(pc.and_not(mask, given))["prediction_id"] for mask in (pc.invert(is_known), is_known)]
    misdated = _misdated(new) if pc.any(given).as_py() else 0
    return Appended(len(new), len(rows) - len(new), labels, relabelled, misdated, moved, (*unreadable, *more), *made)


def _with_ids(rows: pa.Table, given: pa.ChunkedArray, model: Model) -> pa.Table:
    """Return the rows with an id each: their own, or one that is made of what stands in them; an empty id is none."""
    made = iter(content_ids(rows.filter(pc.invert(given)), model))
    own = rows["prediction_id"].to_pylist()
    ids = pa.array([one or next(made) for one in own], pa.string())
    return rows.set_column(rows.schema.get_field_index("prediction_id"), "prediction_id", ids)


def _known(
    layout: Layout, model: Model, rows: pa.Table, given: pa.ChunkedArray
) -> tuple[pa.Table, tuple[Unreadable, ...]]:
    """Return the rows of the log that have these ids: id, time and label."""
    schema = pa.schema([field for field in log_schema(model) if field.name in _looked_up(model)])
    times = pc.min_max(rows["timestamp"].cast(pa.int64())).as_py()
    made = rows.filter(pc.invert(given))["prediction_id"].combine_chunks()
    own = rows.filter(given)["prediction_id"].combine_chunks()
    # Journals first: what is sealed meanwhile is in a part before its journal goes.
    unsealed = find_unsealed(layout.journals(layout.current), log_schema(model), own, model.target)
    by_time, unread = find_known(layout.current, schema, made, (Micros(times["min"]), Micros(times["max"])))
    anywhere, more = find_known(layout.current, schema, own)
    unreadable = {file.path: file for file in (*unread, *more)}
    return pa.concat_tables([unsealed, by_time, anywhere]), tuple(unreadable.values())


def _looked_up(model: Model) -> tuple[str, ...]:
    return "prediction_id", "timestamp", model.target


def _ids(rows: pa.Table) -> pa.Array:
    return rows["prediction_id"].combine_chunks()


def _moved(rows: pa.Table, known: pa.Table) -> int:
    """Return how many rows the log has at another time."""
    places = pc.index_in(rows["prediction_id"].combine_chunks(), value_set=_ids(known))
    times = known["timestamp"].combine_chunks().cast(pa.int64()).take(places)
    return int(pc.sum(pc.not_equal(rows["timestamp"].combine_chunks().cast(pa.int64()), times)).as_py() or 0)


def _first_of_each(rows: pa.Table) -> pa.Table:
    """Return the rows without those whose id stands before."""
    return _one_of_each(rows, "min")


def _one_of_each(rows: pa.Table, which: Literal["min", "max"]) -> pa.Table:
    """Return the first or the last row of each id, in the rows' order."""
    numbered = pa.table({"id": rows["prediction_id"], "place": pa.array(range(len(rows)), pa.int64())})
    places = numbered.group_by("id", use_threads=False).aggregate([("place", which)])[f"place_{which}"]
    return rows if len(places) == len(rows) else rows.take(places.combine_chunks().sort())


def _repeated(rows: pa.Table, firsts: pa.Table) -> pa.Table:
    """Return those first rows whose ids come again, perhaps with their labels."""
    counted = rows["prediction_id"].value_counts()
    ids = pc.struct_field(counted, "values").filter(pc.greater(pc.struct_field(counted, "counts"), 1))
    return firsts.filter(pc.is_in(firsts["prediction_id"], value_set=ids))


def _write_part(folder: Place, rows: pa.Table, schema: pa.Schema, times: pa.ChunkedArray) -> None:
    """Write rows as a part of the log, of the times by which it is found."""
    bounds = pc.min_max(times.cast(pa.int64())).as_py()
    digest = hashlib.blake2b(digest_size=8)
    for text in rows["prediction_id"].to_pylist():
        digest.update(text.encode() + b"\n")
    name = part_name(Micros(bounds["min"]), Micros(bounds["max"]), len(rows), WRITER, digest.hexdigest())
    write_parquet(folder / name, conform(rows, schema).cast(schema), row_group_size=GROUP_ROWS)


def _add_labels(layout: Layout, model: Model, rows: pa.Table, known: pa.Table) -> tuple[int, tuple[Unreadable, ...]]:
    """Add the labels of rows of the log that nobody has told of these rows yet; return how many there were.

    Of several labels of one row the last counts, as the newest does everywhere. A label that was told before and
    corrected since is no news: a batch that is run again takes no correction back.
    """
    labelled = _one_of_each(_labelled(rows, model), "max")
    if not len(labelled):
        return 0, ()
    ids = labelled["prediction_id"]
    schema = labels_schema(model)
    own = ids.combine_chunks()
    # Journals first: what is sealed meanwhile is in a part before its journal goes.
    waiting = find_unsealed(layout.journals(layout.labels), schema, own, model.target)
    late, unreadable = find_known(layout.labels, schema, own)
    place = pc.index_in(ids, value_set=_ids(known))
    said = {*zip(ids.to_pylist(), pc.take(known[model.target], place).to_pylist(), strict=True)}
    said |= {*zip(waiting["prediction_id"].to_pylist(), waiting[model.target].to_pylist(), strict=True)}
    said |= {*zip(late["prediction_id"].to_pylist(), late[model.target].to_pylist(), strict=True)}
    given = zip(ids.to_pylist(), labelled[model.target].to_pylist(), strict=True)
    news = pa.array([one not in said for one in given], pa.bool_())
    labels = labelled.filter(news)
    if len(labels):
        times = pc.take(known["timestamp"], place).filter(news)  # of the predictions, by which such a part is found
        now = pa.scalar(microseconds(datetime.now(UTC)), pa.int64()).cast(TIMESTAMP)
        dated = pa.table([labels["prediction_id"], labels[model.target], pa.repeat(now, len(labels))], schema.names)
        _write_part(layout.labels, dated, schema, times)
    return len(labels), tuple(unreadable)


def _labelled(rows: pa.Table, model: Model) -> pa.Table:
    """Return the rows with a label that the config knows."""
    return rows.filter(pc.and_(are_given(rows[model.target]), _usable(rows[model.target], model)))


def _relabelled(rows: pa.Table, model: Model) -> int:
    """Return how many ids have several labels."""
    labels = _labelled(rows, model).group_by(["prediction_id", model.target]).aggregate([])
    return len(labels) - int(pc.count_distinct(labels["prediction_id"]).as_py())


def _usable(targets: pa.ChunkedArray, model: Model) -> pa.ChunkedArray:
    """Say which labels the config knows: its categories, or finite numbers."""
    if model.categories:
        return pc.is_in(targets, value_set=pa.array(model.categories, pa.string()))
    return pc.is_finite(targets)


def _misdated(rows: pa.Table) -> int:
    """Return how many ids of version 7 tell another time than their row: labels would not find these by their ids."""
    times = rows["timestamp"].cast(pa.int64()).to_pylist()
    told = map(id_milliseconds, rows["prediction_id"].to_pylist())
    return sum(ms is not None and ms != time // 1000 for ms, time in zip(told, times, strict=True))


def discard_litter(folders: Iterable[Place]) -> None:
    """Remove what runs that were killed have left half written."""
    for folder in folders:
        if isinstance(folder, Path):
            for litter in folder.glob(f"_part-*-{WRITER}-*.tmp"):
                discard(litter)
