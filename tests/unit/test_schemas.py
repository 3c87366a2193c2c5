"""A row that is built beside its schema has a value for each column, in the column's place."""

from typing import Any

import pyarrow as pa
import pytest

from monitoring.contract.config import Model
from monitoring.contract.schemas import label_row, labels_schema, log_schema, prediction_row, row_id, row_time
from monitoring.contract.times import Micros
from tests.unit.contract_fixtures import MODEL, T0
from tests.unit.models import GENRES, LOANS

EACH_MODEL = pytest.mark.parametrize(
    "model", [pytest.param(one, id=one.name) for one in (MODEL, LOANS.model, GENRES.model)]
)


def _columns(row: list[Any], schema: pa.Schema) -> dict[str, Any]:
    """Return a row's values by column, as a sealed part holds them."""
    table = pa.Table.from_arrays(
        [pa.array([value], f.type) for value, f in zip(row, schema, strict=True)], schema=schema
    )
    table.validate(full=True)
    return {name: column[0].as_py() for name, column in zip(schema.names, table.columns, strict=True)}


@EACH_MODEL
@pytest.mark.parametrize("target", [None, "given"])
def test_a_predictions_row_fits_the_log(model: Model, target: str | None) -> None:
    """Each value reaches the column of its name, whatever the config calls its columns."""
    features = [None, *(float(place) for place in range(1, len(model.features)))]
    row = prediction_row(
        prediction_id="id", timestamp=Micros(T0), features=features, prediction="predicted", confidence=0.5,
        model_version="7", target=target,
    )  # fmt: skip
    columns = _columns(row, log_schema(model))
    assert columns.pop("timestamp").timestamp() * 1e6 == T0
    assert columns == {
        "prediction_id": "id", **dict(zip(model.features, features, strict=True)), model.prediction: "predicted",
        "confidence": 0.5, "model_version": "7", model.target: target,
    }  # fmt: skip
    assert (row_id(row), row_time(row)) == ("id", T0)


@EACH_MODEL
def test_a_labels_row_fits_its_log(model: Model) -> None:
    """As a prediction's does."""
    row = label_row(prediction_id="id", target="given", timestamp=Micros(T0))
    columns = _columns(row, labels_schema(model))
    assert columns.pop("timestamp").timestamp() * 1e6 == T0
    assert columns == {"prediction_id": "id", model.target: "given"}
    assert row_id(row) == "id"
