"""Logs of any length to measure on: drawn rows in sealed parts, as the API leaves them."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from uuid_utils import uuid7

from api.log.merging import GROUP_ROWS
from benchmarks import mixed
from data.sample import draw, draw_reference
from data.statistics import load_statistics
from monitoring.contract.config import Model
from monitoring.contract.layout import Layout
from monitoring.contract.parts import part_name
from monitoring.contract.reference import write_reference
from monitoring.contract.schemas import log_schema
from monitoring.contract.storage import write_parquet
from monitoring.contract.times import microseconds

PART = 131_072  # rows of a fully merged part
SPACING = 100  # microseconds between two rows
END = microseconds(datetime(2026, 11, 1, tzinfo=UTC))


def draw_log(model: Model, rows: int, seed: int, begin: int) -> pa.Table:
    """Draw rows of the log from `begin` (microseconds since 1970) on."""
    rng = np.random.default_rng(seed)
    times = begin + SPACING * np.arange(rows)
    columns = {
        "prediction_id": [str(uuid7(nanoseconds=1000 * time)) for time in times.tolist()],
        "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
        **(mixed.draw(model, rng, rows) if model.of_kind("categorical") else _draw_sample(model, rng, rows)),
        "confidence": rng.beta(5, 2, rows) if model.categories else pa.nulls(rows, pa.float64()),
        "model_version": np.full(rows, "1").tolist(),
    }
    schema = log_schema(model)
    return pa.table([pa.array(columns[f.name]).cast(f.type) for f in schema], schema=schema)


def _draw_sample(model: Model, rng: np.random.Generator, rows: int) -> dict[str, pa.Array]:
    """Draw rows of the built-in model; a drawn row's category serves as its prediction, and no label is known."""
    values, categories = draw(load_statistics(model), rng, rows)
    features = {name: pa.array(values[:, n]) for n, name in enumerate(model.features)}
    return features | {model.prediction: pa.array(categories.tolist()), model.target: pa.nulls(rows, pa.string())}


def write_log(layout: Layout, model: Model, rows: int) -> int:
    """Write a log of so many rows in merged parts, the last of them before END; return how many parts."""
    layout.current.mkdir(parents=True, exist_ok=True)
    for part, begin in enumerate(range(0, rows, PART)):
        number = min(PART, rows - begin)
        write_part(layout.current, draw_log(model, number, part, END - SPACING * (rows - begin)), part)
    return -(-rows // PART)


def write_sample_reference(layout: Layout, model: Model) -> None:
    """Write the sample reference; a drawn row's category serves as its prediction."""
    if model.of_kind("categorical"):
        reference = mixed.reference_of(model)
    else:
        reference = draw_reference(model)
        reference = reference.append_column(model.prediction, reference[model.target])
    write_reference(layout, model, reference, origin="benchmark")


def write_part(folder: Path, rows: pa.Table, segment: int, writer: str = "bench") -> Path:
    """Write a sealed part as the API does."""
    times = rows["timestamp"].cast(pa.int64())
    path = folder / part_name(times[0].as_py(), times[-1].as_py(), len(rows), writer, segment)
    write_parquet(path, rows, row_group_size=GROUP_ROWS)
    return path
