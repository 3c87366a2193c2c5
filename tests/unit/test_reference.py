"""The reference: written, read back, and refused with the list of what does not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.contract.layout import Layout
from monitoring.contract.reference import (
    InvalidReferenceError,
    Performance,
    ReliabilityCurve,
    parse_reference,
    read_reference,
    write_reference,
)
from monitoring.contract.schemas import reference_schema
from tests.unit.contract_fixtures import MODEL, T0


def _reference(**columns: Any) -> pa.Table:
    plain = {"x": [1.0, 2.0], "y": [1.0, None], "predicted": ["a", "b"], "actual": ["a", None]}
    return pa.table({name: column for name, column in {**plain, **columns}.items() if column is not None})


def test_a_reference_is_read_back_as_written(layout: Layout) -> None:
    """Rows, origin, version and `through` survive; the digest changes with the content."""
    write_reference(layout, MODEL, _reference(), origin="rebased", model_version="3", through=T0)
    reference = read_reference(layout, MODEL)
    assert reference.table.equals(_reference().cast(reference_schema(MODEL)))
    assert (reference.origin, reference.model_version, reference.through) == ("rebased", "3", T0)
    write_reference(layout, MODEL, _reference(x=[1.0, 3.0]), origin="sample")
    other = read_reference(layout, MODEL)
    assert other.digest != reference.digest
    assert (other.origin, other.model_version, other.through) == ("sample", None, None)


@pytest.mark.parametrize(
    "performance",
    [
        pytest.param(None, id="not measured"),
        pytest.param(Performance(0.7, 30), id="accuracy alone"),
        pytest.param(Performance(1.0, 7, ReliabilityCurve((0.25, 0.75), (0.5, 1.0), (3, 4))), id="with a calibration"),
        pytest.param(Performance.of_errors(pa.array([0.5, 1.0, 3.0]), at_promotion=1.25), id="a regression"),
    ],
)
def test_a_reference_tells_what_its_model_achieved(layout: Layout, performance: Performance | None) -> None:
    """The accuracy at promotion, and the calibration, stand in the metadata; the columns are what they were."""
    write_reference(layout, MODEL, _reference(), origin="rebased", performance=performance)
    assert read_reference(layout, MODEL).performance == performance
    assert pq.read_schema(layout.reference).names == reference_schema(MODEL).names


@pytest.mark.parametrize(
    "performance",
    [
        pytest.param("{", id="no JSON"),
        pytest.param('{"accuracy": 1.5, "rows": 3}', id="accuracy above 1"),
        pytest.param('{"accuracy": 0.5, "rows": 0}', id="no rows"),
        pytest.param(
            '{"accuracy": 0.5, "rows": 2, "calibration": {"confidence": [0.5], "accuracy": [], "rows": [2]}}',
            id="knots without accuracy",
        ),
        pytest.param(
            '{"accuracy": 1, "rows": 2, "calibration": {"confidence": [0.5, 0.4], "accuracy": [0, 1], "rows": [1, 1]}}',
            id="knots that descend",
        ),
        pytest.param('{"rows": 3}', id="no task"),
        pytest.param('{"accuracy": 0.5, "mae": 1, "mae_bound": 2, "rows": 3}', id="both tasks"),
        pytest.param('{"accuracy": null, "mae": 1, "rows": 3}', id="errors without a bound"),
        pytest.param('{"accuracy": 0.5, "rows": 3, "at_promotion": 2}', id="an accuracy at promotion above 1"),
    ],
)
def test_a_performance_that_cannot_be_used_is_named(layout: Layout, performance: str) -> None:
    """A model is not held to a number that is none."""
    table = _reference().cast(reference_schema(MODEL)).replace_schema_metadata({"driftloop.performance": performance})
    pq.write_table(table, layout.reference)
    with pytest.raises(InvalidReferenceError, match=r"driftloop\.performance cannot be used"):
        read_reference(layout, MODEL)


def test_a_performance_of_an_earlier_release_is_read(layout: Layout) -> None:
    """What knows nothing of errors is an accuracy."""
    kept = '{"accuracy": 0.5, "rows": 2, "calibration": null, "at_promotion": 0.75}'
    table = _reference().cast(reference_schema(MODEL)).replace_schema_metadata({"driftloop.performance": kept})
    pq.write_table(table, layout.reference)
    assert read_reference(layout, MODEL).performance == Performance(0.5, 2, at_promotion=0.75)


def test_the_largest_errors_count_as_the_bound() -> None:
    """One absurd error in a thousand moves neither the mean nor the deviation of a regression's errors."""
    errors = [1.0, 3.0] * 1_000
    measured = Performance.of_errors(pa.array([*errors, 1e9]))
    assert (measured.mae_bound, measured.rows, measured.promised) == (3.0, 2_001, measured.mae)
    assert measured.mae == pytest.approx(2.0, abs=0.001)
    assert measured.mae_deviation == pytest.approx(1.0, abs=0.001)


def test_a_users_reference_is_taken_as_it_is(layout: Layout) -> None:
    """Other column order, more columns, integers and pandas' types are fine; its origin is the user."""
    frame = pd.DataFrame({"extra": [1, 2], "actual": pd.Categorical(["a", "b"]), "predicted": ["b", "a"]})
    frame["y"], frame["x"] = [20_000_001, 2], [0.1, 0.2]
    frame.to_parquet(layout.reference)
    reference = read_reference(layout, MODEL)
    assert reference.origin == "user"
    assert reference.table.schema.names == ["x", "y", "predicted", "actual"]
    assert reference.table["actual"].to_pylist() == ["a", "b"]


def test_predictions_may_be_absent_before_the_first_start(layout: Layout) -> None:
    """Without a prediction column it fits only where that is said to be fine; then the column is null."""
    pq.write_table(_reference(predicted=None), layout.reference)
    assert read_reference(layout, MODEL, predicted=False).table["predicted"].null_count == 2
    with pytest.raises(InvalidReferenceError, match="column predicted is missing"):
        read_reference(layout, MODEL)


def test_a_reference_that_does_not_fit_gives_the_full_list(layout: Layout) -> None:
    """Every misfit is told at once, each with the column and what is allowed."""
    table = pa.table({"x": ["one", "two"], "predicted": ["a", "polka"], "actual": [1, 2]})
    pq.write_table(table, layout.reference)
    with pytest.raises(InvalidReferenceError) as caught:
        read_reference(layout, MODEL)
    told = str(caught.value)
    assert str(layout.reference) in told
    for line in (
        "column x is string; it must be a number",
        "column y is missing",
        "column predicted holds polka; allowed are a, b",
        "column actual holds 1, 2; allowed are a, b",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param({"x": pa.nulls(2, pa.float32())}, "column x has no value", id="null-feature"),
        pytest.param({"x": [float("nan")] * 2}, "column x has no value", id="nan-feature"),
        pytest.param({"x": [1.0, float("inf")]}, "column x holds infinite values", id="infinity"),
        pytest.param({"x": ["1", "2"]}, "column x is string; it must be a number", id="text"),
        pytest.param({"predicted": pa.nulls(2, pa.string())}, "column predicted has no value", id="null-prediction"),
        pytest.param({"actual": pa.nulls(2, pa.string())}, "column actual has no value", id="null-target"),
        pytest.param({"actual": [[1], [2]]}, "column actual is list.*; it must be text", id="list"),
    ],
)
def test_a_column_without_usable_values_does_not_fit(layout: Layout, columns: dict[str, Any], message: str) -> None:
    """Columns with nothing to compare, or with infinities, are refused."""
    pq.write_table(_reference(**columns), layout.reference)
    with pytest.raises(InvalidReferenceError, match=message):
        read_reference(layout, MODEL)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda _path: None, "there is no reference", id="absent"),
        pytest.param(lambda path: path.write_bytes(b"xx"), "is not a readable Parquet file", id="not-parquet"),
        pytest.param(lambda path: path.mkdir(), "is not a readable Parquet file", id="folder"),
        pytest.param(lambda path: pq.write_table(_reference().slice(0, 0), path), "it has no rows", id="no-rows"),
    ],
)
def test_a_reference_that_is_none_says_so(layout: Layout, make: Callable[[Path], Any], message: str) -> None:
    """An absent, broken or empty reference is an error of the domain, with the path."""
    make(layout.reference)
    with pytest.raises(InvalidReferenceError, match=message) as caught:
        read_reference(layout, MODEL)
    assert str(layout.reference) in str(caught.value)


def test_a_references_bytes_are_let_go_when_it_is_parsed(layout: Layout) -> None:
    """A thread of Arrow's that holds them longer aborts a process that ends just then."""
    model = MODEL.model_copy(update={"features": tuple(f"x{i}" for i in range(13))})
    columns = {name: [float(i) for i in range(3000)] for name in model.features}
    kinds = {"predicted": ["a"] * 3000, "actual": ["a"] * 3000}
    write_reference(layout, model, pa.table(columns | kinds), origin="seed")
    stored = layout.reference.read_bytes()
    for _ in range(3000):
        content = bytearray(stored)
        parse_reference(content, layout.reference, model)
        content.clear()  # BufferError while somebody holds it


def test_a_reference_that_cannot_be_written_leaves_the_former(layout: Layout) -> None:
    """Rows without the model's columns raise before anything is replaced."""
    write_reference(layout, MODEL, _reference(), origin="sample")
    before = layout.reference.read_bytes()
    with pytest.raises(KeyError):
        write_reference(layout, MODEL, _reference(x=None), origin="sample")
    assert layout.reference.read_bytes() == before
    assert list(layout.root.iterdir()) == [layout.reference]
