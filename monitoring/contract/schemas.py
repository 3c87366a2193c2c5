"""The Arrow schemas of the files under DATA_DIR, and the rows of the logs in their order.

A row of a log is a list with one value per column, until it is sealed into a part. Nobody else knows which place is
which column.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from monitoring.contract.config import Model
from monitoring.contract.times import Micros
from monitoring.contract.values import narrower

Row = list[Any]

TIMESTAMP = pa.timestamp("us", tz="UTC")


def number_type(model: Model) -> pa.DataType:
    """Return the type of the numeric columns: features and confidence."""
    return pa.float32() if model.dtype == "float32" else pa.float64()


def compared_fields(reference: pa.Schema, model: Model) -> list[pa.Field]:
    """Return the features' columns as rows are compared with a reference's: of the narrower type of both."""
    due = number_type(model)
    given = {field.name: field.type for field in reference}
    return [pa.field(name, narrower(given.get(name, due), due)) for name in model.features]


def log_schema(model: Model) -> pa.Schema:
    """Return the columns of current.parquet: one row per prediction."""
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
            *(pa.field(name, number_type(model)) for name in model.features),
            pa.field(model.prediction, pa.string()),
            pa.field("confidence", number_type(model)),
            pa.field("model_version", pa.string()),
            pa.field(model.target, pa.string()),
        ]
    )


def prediction_row(
    *,
    prediction_id: str,
    timestamp: Micros,
    features: Sequence[float | None],
    prediction: str,
    confidence: float | None,
    model_version: str | None,
    target: str | None,
) -> Row:
    """Return a row of `log_schema`."""
    return [prediction_id, timestamp, *features, prediction, confidence, model_version, target]


def row_id(row: Row) -> str:
    """Return the prediction's id in a row of either log, whatever config it was written under."""
    prediction_id: str = row[0]
    return prediction_id


def row_time(row: Row) -> Micros:
    """Return the timestamp in a row of `log_schema`, whatever config it was written under."""
    return Micros(int(row[1]))


def labels_schema(model: Model) -> pa.Schema:
    """Return the columns of labels.parquet: one row per label that arrived later."""
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field(model.target, pa.string(), nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
        ]
    )


def label_row(*, prediction_id: str, target: str, timestamp: Micros) -> Row:
    """Return a row of `labels_schema`."""
    return [prediction_id, target, timestamp]


def reference_schema(model: Model) -> pa.Schema:
    """Return the columns of reference.parquet: features, prediction, target."""
    return pa.schema(
        [
            *(pa.field(name, number_type(model)) for name in model.features),
            pa.field(model.prediction, pa.string()),
            pa.field(model.target, pa.string()),
        ]
    )
