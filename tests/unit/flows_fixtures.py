"""Small real rows for the flows' tests: a binary model with four features of other names."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import uuid_utils

from monitoring.contract.config import Config
from monitoring.contract.drift_state import drift_key, drift_state_path
from monitoring.contract.layout import Layout
from monitoring.contract.parts import part_name
from monitoring.contract.reference import read_reference
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema
from tests.unit.models import WINE

START = 1_790_000_000_000_000  # microseconds since 1970


def draw_wine(rows: int, *, shift: float = 0.0, seed: int = 0) -> pa.Table:
    """Features and truth of rows that a linear model tells apart well; a shift moves what `acidity` means."""
    rng = np.random.default_rng(seed)
    white = rng.random(rows) < 0.5
    values = rng.normal(size=(rows, 4)).astype(np.float32)
    values[:, 0] += np.where(white, 2.0, -2.0) + shift
    columns = {name: values[:, i] for i, name in enumerate(WINE["model"]["features"])}
    return pa.table({**columns, "truth": np.where(white, "white", "red").tolist()})


def harmless(rows: pa.Table, shift: float = 2.0) -> pa.Table:
    """Return the rows after a change that no answer depends on: `sugar` has moved."""
    moved = pc.add(rows["sugar"], pa.scalar(shift, pa.float32()))
    return rows.set_column(rows.schema.get_field_index("sugar"), "sugar", moved)


def write_drift_state(layout: Layout, config: Config, onset: int, cycle: float | None = None) -> None:
    """Write what the drift watch keeps while an alarm lasts since then."""
    path = drift_state_path(layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    key = drift_key(read_reference(layout, config.model), config.model)
    alarm = {"kind": "numbers", "onset": onset, "noticed": onset + 1}
    path.write_text(json.dumps({"reference": key, "since": 0, "alarm": alarm, "cycle_seconds": cycle}))


def write_log(
    layout: Layout,
    config: Config,
    rows: pa.Table,
    *,
    start: int = START,
    labels: str = "inline",
    writer: str = "w",
    version: str = "1",
    answers: list[str] | None = None,
) -> tuple[int, int]:
    """Write one part of the log, a row per millisecond, with labels inline, late or none; return its first and last."""
    times = start + 1000 * np.arange(len(rows))
    ids = [str(uuid_utils.uuid7(nanoseconds=int(t) * 1000)) for t in times]
    model = config.model
    truths = rows[model.target].to_pylist()
    columns = {
        "prediction_id": ids,
        "timestamp": pa.array(times, TIMESTAMP),
        **{name: rows[name].cast(pa.float32()) for name in model.features},
        model.prediction: answers or [model.categories[0]] * len(rows),
        "confidence": pa.array(np.full(len(rows), 0.5, np.float32)),
        "model_version": [version] * len(rows),
        model.target: pa.array(truths if labels == "inline" else [None] * len(rows), pa.string()),
    }
    first, last = int(times[0]), int(times[-1])
    name = part_name(first, last, len(rows), writer, 1)
    _write(layout.current / name, pa.table(columns, schema=log_schema(model)))
    if labels == "late":
        late = {"prediction_id": ids, model.target: truths, "timestamp": pa.array(times + 10_000, TIMESTAMP)}
        _write(layout.labels / name, pa.table(late, schema=labels_schema(model)))
    return first, last


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
