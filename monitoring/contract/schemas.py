"""The Arrow schemas of the files under DATA_DIR, and the rows of the logs in their order.

A row of a log is a list with one value per column, until it is sealed into a part. Nobody else knows which place is
which column.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from monitoring.contract.config import Model
from monitoring.contract.times import Micros

Row = list[Any]

TIMESTAMP = pa.timestamp("us", tz="UTC")


def number_type(model: Model) -> pa.DataType:
    """Return the type of the log's numbers: numeric features and the confidence."""
    return pa.float32() if model.dtype == "float32" else pa.float64()


def feature_fields(model: Model) -> list[pa.Field]:
    """Return the features' columns as the log holds them."""
    return [pa.field(name, model.kind(name).logged_as(number_type(model))) for name in model.features]


def compared_fields(reference: pa.Schema, model: Model) -> list[pa.Field]:
    """Return the columns that are tested as rows are compared with a reference: numbers of the narrower type of both.

    They are the features, and last the prediction.
    """
    due = [*feature_fields(model), pa.field(model.prediction, model.rules.values)]
    given = {field.name: field.type for field in reference}
    return [f.with_type(model.kind(f.name).compared_as(given.get(f.name, f.type), f.type)) for f in due]


def probability_fields(model: Model) -> list[pa.Field]:
    """Return the columns of the categories' probabilities, which the log has where the config asks for them."""
    return [pa.field(name, number_type(model)) for name in model.probability_columns]


def log_schema(model: Model) -> pa.Schema:
    """Return the columns of current.parquet: one row per prediction."""
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
            *feature_fields(model),
            pa.field(model.prediction, model.rules.values),
            pa.field("confidence", number_type(model)),
            pa.field("model_version", pa.string()),
            pa.field(model.target, model.rules.values),
            *probability_fields(model),
        ]
    )


def prediction_row(
    *,
    prediction_id: str,
    timestamp: Micros,
    features: Sequence[float | str | None],
    prediction: str | float,
    confidence: float | None,
    model_version: str | None,
    target: str | float | None,
    probabilities: Sequence[float | None] = (),
) -> Row:
    """Return a row of `log_schema`."""
    return [prediction_id, timestamp, *features, prediction, confidence, model_version, target, *probabilities]


def row_id(row: Row) -> str:
    """Return the prediction's id in a row of either log, whatever config it was written under."""
    prediction_id: str = row[0]
    return prediction_id


def row_time(row: Row) -> Micros:
    """Return the timestamp in a row of `log_schema`, whatever config it was written under."""
    return Micros(int(row[1]))


def label_time(row: Row) -> Micros | None:
    """Return the time of the prediction's row that stands behind a row of `labels_schema`; None if none does."""
    return Micros(int(row[3])) if len(row) > 3 else None  # noqa: PLR2004 - the label's own columns


def labels_schema(model: Model) -> pa.Schema:
    """Return the columns of labels.parquet: one row per label that arrived later."""
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field(model.target, model.rules.values, nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
        ]
    )


def label_row(*, prediction_id: str, target: str | float, timestamp: Micros, predicted_at: Micros | None = None) -> Row:
    """Return a row of `labels_schema`, and behind it the time of its prediction's row, if its id may not tell it.

    That time is no column: it is within the range that the name of the label's part tells.
    """
    return [prediction_id, target, timestamp, *(() if predicted_at is None else (predicted_at,))]


def shadow_schema(model: Model) -> pa.Schema:
    """Return the columns of shadow.parquet: a row per prediction that a challenger was asked for too.

    The id and the timestamp are those of the champion's row; a prediction that is missing is one that failed.
    """
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field("timestamp", TIMESTAMP, nullable=False),
            pa.field(model.prediction, model.rules.values),
            pa.field("model_version", pa.string()),
        ]
    )


def shadow_row(*, prediction_id: str, timestamp: Micros, prediction: str | float | None, model_version: str) -> Row:
    """Return a row of `shadow_schema`."""
    return [prediction_id, timestamp, prediction, model_version]


def reference_schema(model: Model) -> pa.Schema:
    """Return the columns of reference.parquet: features, prediction, target."""
    return pa.schema(
        [
            *feature_fields(model),
            pa.field(model.prediction, model.rules.values),
            pa.field(model.target, model.rules.values),
        ]
    )
