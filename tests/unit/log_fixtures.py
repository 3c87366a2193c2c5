"""Rows, logs with metrics of their own, and what lies in a log's folder."""

import time
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from prometheus_client import CollectorRegistry
from uuid_utils import uuid7

from api.log.append_log import AppendLog, Sealing, prediction_format
from api.log.journal_lines import LogFormat, Row
from api.metrics import Maker, log_metrics
from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import Part, part_name
from monitoring.contract.storage import Place
from tests.unit.models import GENRES

MODEL = GENRES.model
FORM = prediction_format(MODEL)
WIDER = prediction_format(MODEL.model_copy(update={"features": (*MODEL.features, "loudness")}))
ALL = Window(rows=10**9)


class Log(AppendLog):
    """A log with its own metrics."""

    def __init__(self, folder: Path, *, form: LogFormat = FORM, parts: Place | None = None, **sealing: Any) -> None:
        self.registry = CollectorRegistry()
        chosen = Sealing(**{"seconds": 60.0, "rows": 10_000, **sealing})
        super().__init__(folder, form, log_metrics("prediction_log", Maker(self.registry)), chosen, parts)

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"prediction_log_{name}", labels) or 0.0


def rows(count: int, genre: str | None = None, *, at: int | None = None, form: LogFormat = FORM) -> list[Row]:
    """Make rows of now, or of a time in microseconds since 1970."""
    at = time.time_ns() // 1000 if at is None else at
    features = len(form.schema) - 6
    return [[str(uuid7(nanoseconds=at * 1000)), at, *([1.5] * features), "rock", 0.5, "1", genre] for _ in range(count)]


def ids(some: list[Row]) -> set[str]:
    return {row[0] for row in some}


def line(some: list[Row]) -> bytes:
    return orjson.dumps(some, option=orjson.OPT_APPEND_NEWLINE)


def logged(folder: Path, skip: str = "") -> list[str]:
    """Return the ids that another tool sees in a folder."""
    paths = [path for path in folder.glob("part-*.parquet") if path.name != skip]
    return [i for path in paths for i in pd.read_parquet(path, columns=["prediction_id"])["prediction_id"]]


def read_ids(folder: Path) -> list[str]:
    """Return the ids that our readers see, oldest first."""
    assert folder.name == "current.parquet" or not (folder / "current.parquet").exists()
    layout = _Folder(folder)
    found = read_rows(layout, MODEL, ALL)
    assert found.unreadable == ()
    return list(found.table["prediction_id"].to_pylist())


class _Folder(Layout):
    """A layout whose log is a folder of any name."""

    @property
    def current(self) -> Path:
        return self.root

    @property
    def labels(self) -> Path:
        return self.root / "labels"


def write_part(folder: Path, *, count: int, at: int) -> Part:
    """Write a large sealed part, without the way through a journal."""
    first = 1_790_000_000_000_000 + at * 1_000_000
    times = pa.array(range(first, first + count), pa.int64())
    columns: dict[str, Any] = {name: pa.nulls(count, FORM.schema.field(name).type) for name in FORM.schema.names}
    columns["prediction_id"] = pa.array([f"{at:08d}-{number:08d}" for number in range(count)])
    columns["timestamp"] = times.cast(FORM.schema.field("timestamp").type)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / part_name(first, first + count - 1, count, "large", at)
    pq.write_table(pa.table(columns, schema=FORM.schema), path)
    return Part(first + count - 1, first, count, path)
