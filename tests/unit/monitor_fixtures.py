"""Rows, logs and references for the monitor's tests, for two models of different kinds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import uuid_utils
from prometheus_client import CollectorRegistry

from monitoring.alarms.drift.calibration import calibrate
from monitoring.alarms.drift.drift_watch import DriftWatch
from monitoring.alarms.drift.rhythm import find_rhythm
from monitoring.alarms.drift.vocabulary import rows_of
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.parts import part_name
from monitoring.contract.reference import read_reference, write_reference
from monitoring.contract.schemas import labels_schema, log_schema, reference_schema
from monitoring.contract.times import microseconds
from monitoring.monitor import Monitor
from monitoring.settings import MonitorSettings
from tests.unit.models import LOANS

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_rows(config: Config, count: int, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    """Draw rows whose first feature is shifted; predictions are right in seven of ten."""
    random = np.random.default_rng(seed)
    model = config.model
    rows = pd.DataFrame(random.normal(size=(count, len(model.features))).astype("float32"), columns=model.features)
    rows[model.features[0]] += np.float32(shift)
    truth = random.choice(model.categories, count)
    rows[model.prediction] = np.where(random.random(count) < 0.7, truth, random.choice(model.categories, count))
    rows[model.target] = truth
    return rows


def log_rows(
    data: Path, config: Config, rows: pd.DataFrame, start: datetime = START, ids: list[str] | None = None
) -> list[str]:
    """Write one part with these rows, a millisecond apart, and return their ids, by default like ours."""
    schema, layout = log_schema(config.model), Layout(data)
    times = [start + timedelta(milliseconds=n) for n in range(len(rows))]
    ids = ids or [str(uuid_utils.uuid7(nanoseconds=microseconds(t) * 1000)) for t in times]
    extra = {"prediction_id": ids, "timestamp": times, "confidence": 0.5, "model_version": "1"}
    table = pa.Table.from_pandas(rows.assign(**extra), preserve_index=False).select(schema.names).cast(schema)
    layout.current.mkdir(parents=True, exist_ok=True)
    name = part_name(microseconds(times[0]), microseconds(times[-1]), len(rows), "test", 0)
    pq.write_table(table, layout.current / name)
    return ids


def label_rows(data: Path, config: Config, ids: list[str], labels: list[str], start: datetime = START) -> None:
    """Write one part of labels that came later."""
    layout, schema = Layout(data), labels_schema(config.model)
    layout.labels.mkdir(parents=True, exist_ok=True)
    columns = {"prediction_id": ids, config.model.target: labels, "timestamp": [start] * len(ids)}
    last = microseconds(start) + 1000 * len(ids)
    pq.write_table(
        pa.table(columns, schema=schema), layout.labels / part_name(microseconds(start), last, len(ids), "l", 0)
    )


def keep_reference(data: Path, config: Config, rows: pd.DataFrame, **about: Any) -> None:
    """Write reference.parquet."""
    table = pa.Table.from_pandas(rows, preserve_index=False).select(reference_schema(config.model).names)
    write_reference(Layout(data), config.model, table, **({"origin": "sample"} | about))


def keep_timed_reference(data: Path, config: Config, rows: pd.DataFrame, days: float) -> None:
    """Write reference.parquet with rows at even times over so many days, whose first feature follows the hour."""
    times = np.linspace(0, days * 86_400e6, len(rows)).astype(np.int64) + microseconds(START)
    follows = np.sin(times / 86_400e6 * 2 * np.pi).astype("float32")
    feature = config.model.features[0]
    rows = rows.assign(**{feature: rows[feature] + 3 * follows})
    table = pa.Table.from_pandas(rows, preserve_index=False).select(reference_schema(config.model).names)
    table = table.append_column("timestamp", pa.array(times).cast(pa.timestamp("us", tz="UTC")))
    write_reference(Layout(data), config.model, table, origin="user")


def monitor_of(data: Path, config: Config = LOANS, **settings: Any) -> tuple[Monitor, CollectorRegistry]:
    """Return a monitor with a registry of its own, and no Prometheus to ask."""
    registry = CollectorRegistry()
    nowhere = "http://127.0.0.1:9"
    return Monitor(
        config,
        MonitorSettings(**{"data_dir": data, "prometheus_api_url": nowhere, "drift_alarm": "off"} | settings),
        registry,
    ), registry


def names_in(registry: CollectorRegistry) -> set[str]:
    """Return the names of the exported series."""
    return {s.name for family in registry.collect() for s in family.samples if not s.name.endswith("_created")}


def labels_of(registry: CollectorRegistry, name: str, label: str) -> set[str]:
    """Return the values that a label takes in a metric's series."""
    return {s.labels[label] for family in registry.collect() for s in family.samples if s.name == name}


def keep_calibration(data: Path, config: Config, populations: int = 10) -> None:
    """Leave a calibration of few populations where a former process would have left one of many: a second, not ten."""
    reference = read_reference(Layout(data), config.model)
    path = DriftWatch(Layout(data), config, reference).calibration_path
    path.parent.mkdir(exist_ok=True)
    rows, categories = rows_of(reference.table, config.model), len(config.model.categories)
    rhythm = find_rhythm(rows, categories, config.rhythm, config.timezone)
    path.write_text(calibrate(rows, categories, 1, populations=populations, rhythm=rhythm).to_json())
