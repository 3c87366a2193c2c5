"""A small model, and files of its log and labels, for the tests of the contract."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.contract.config import Model
from monitoring.contract.layout import Layout
from monitoring.contract.parts import part_name
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema

MODEL = Model(
    name="m", features=("x", "y"), prediction="predicted", target="actual", label="kind", categories=("a", "b")
)
T0 = 1_790_000_000_000_000  # microseconds; a whole millisecond
_numbers = itertools.count()


def new_id(at: int) -> str:
    """Make a version 7 UUID of this time (microseconds) that no other row has."""
    return str(UUID(int=(at // 1000) << 80 | 7 << 76 | 2 << 62 | next(_numbers)))


def log_table(times: Iterable[int], **columns: Any) -> pa.Table:
    times = list(times)
    plain: dict[str, Any] = {
        "prediction_id": [new_id(t) for t in times],
        "timestamp": pa.array(times, TIMESTAMP),
        "x": [float(t - T0) for t in times],
        "y": [0.5] * len(times),
        "predicted": ["a"] * len(times),
        "confidence": [0.5] * len(times),
        "model_version": ["1"] * len(times),
        "actual": pa.nulls(len(times), pa.string()),
    }
    return pa.table({**plain, **columns}).cast(log_schema(MODEL))


def write_table(folder: Path, table: pa.Table, first: int | None = None, last: int | None = None) -> Path:
    times = table["timestamp"].cast(pa.int64()).to_pylist()
    first, last = first if first is not None else min(times), last if last is not None else max(times)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / part_name(first, last, len(table), "w", next(_numbers))
    pq.write_table(table, path)
    return path


def write_labels(layout: Layout, ids: list[str], label: str, at: int) -> None:
    table = pa.table(
        {"prediction_id": ids, "actual": [label] * len(ids), "timestamp": pa.array([at] * len(ids), TIMESTAMP)},
        schema=labels_schema(MODEL),
    )
    times = [(id_milliseconds(one) or 0) * 1000 for one in ids]
    write_table(layout.labels, table, min(times), max(times))


def offsets(table: pa.Table) -> list[int]:
    return [t - T0 for t in table["timestamp"].cast(pa.int64()).to_pylist()]
