"""How a regression's errors are spread: counts and sums by bins, equal for any division of the rows."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.error_bins import ErrorBins, ErrorEdges, answer_edges, error_edges
from monitoring.profile.serialised import from_bytes, to_bytes
from monitoring.snapshot.error_shapes import shape_errors
from tests.unit.mixed import trip_rows, trips

EDGES = np.linspace(-4, 4, 9)


def _of(predictions: np.ndarray, labels: np.ndarray) -> ErrorBins:
    return ErrorBins.of(predictions, labels, ErrorEdges(EDGES, EDGES))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.integers(0, 300))
def test_rows_may_come_in_any_order_and_be_taken_back(seed: int, n: int) -> None:
    """Also on an edge, and without a label or with a prediction that is no number."""
    rng = np.random.default_rng(seed)
    predictions = rng.choice([0.0, 1.0, np.inf, np.nan, -7.3, 0.1], n)
    labels = predictions + rng.choice([0.0, 1.0, np.nan, 1e-9, 5.0], n)
    first = rng.random(n) < 0.5
    whole, one, other = (_of(predictions[rows], labels[rows]) for rows in (slice(None), first, ~first))
    assert one + other == whole
    assert whole - one == other


def test_bins_are_those_that_pandas_cuts() -> None:
    """With the lower edge of each belonging to it."""
    rng = np.random.default_rng(3)
    predictions = rng.normal(size=5_000) * 3
    labels = predictions + rng.normal(size=5_000) * 2
    bins = _of(predictions, labels)
    cuts = [-np.inf, *EDGES, np.inf]
    errors = pd.cut(predictions - labels, cuts, right=False)
    assert bins.errors == tuple(pd.Series(errors).value_counts(sort=False))
    places = pd.cut(predictions, cuts, right=False)
    frame = pd.DataFrame({"p": predictions, "t": labels}).groupby(places, observed=False)
    assert bins.rows == tuple(frame.size())
    assert bins.mean_labels == pytest.approx(frame["t"].mean().to_numpy(), rel=1e-12)
    assert bins.mean_predictions == pytest.approx(frame["p"].mean().to_numpy(), rel=1e-12)


def test_a_few_large_errors_do_not_stretch_the_bins() -> None:
    """One of a thousand errors that is a million times larger lies in an open bin."""
    errors = np.append(np.random.default_rng(0).normal(size=999), 1e6)
    edges = error_edges(errors, np.zeros(1_000))
    assert len(edges) == 9
    assert -4 < edges[0] < edges[-1] < 4


def test_each_range_of_the_predictions_has_as_many_rows() -> None:
    """Of prices too, of which a few are a thousand times the others."""
    prices = np.random.default_rng(0).lognormal(8, 2, 10_000)
    bins = ErrorBins.of(prices, prices, ErrorEdges.of(prices, prices))
    assert bins.rows == (999, *[1_000] * 8, 1_001)  # an edge belongs to the upper one


def test_a_frequent_prediction_has_one_range() -> None:
    """And a range in which nothing can lie is not shown."""
    table = pa.table(trip_rows(400, 0))
    frequent = np.where(np.arange(400) < 250, 7.0, table["predicted_minutes"].to_numpy())
    table = table.set_column(table.schema.get_field_index("predicted_minutes"), "predicted_minutes", pa.array(frequent))
    profile = profile_rows(grid_of(trips().model, table), table)
    shown = shape_errors(profile, profile).ranges
    assert 2 < len(shown) < 10
    assert sum(one.rows for one in shown) == 400
    assert [one.rows >= 250 for one in shown].count(True) == 1
    assert answer_edges(np.full(5, 3.0)).tolist() == [3.0] * 9


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        pytest.param(np.ones(9), np.ones(9), id="no errors"),
        pytest.param(np.full(9, 3e50), np.ones(9), id="equal, large errors"),
        pytest.param(np.arange(9.0), np.full(9, np.nan), id="no labels"),
        pytest.param(np.full(9, np.nan), np.full(9, np.nan), id="no predictions"),
        pytest.param(np.empty(0), np.empty(0), id="no rows"),
    ],
)
def test_any_reference_has_bins(predictions: np.ndarray, labels: np.ndarray) -> None:
    """They are finite and ascend; without labels they lie around zero."""
    edges = error_edges(predictions, labels)
    assert np.isfinite(edges).all()
    assert np.isfinite(answer_edges(predictions)).all()
    assert (np.diff(edges) > 0).all()
    if np.isnan(labels).all():
        assert edges[4] == pytest.approx(0, abs=1e-12)


def test_a_profile_keeps_them_in_bytes() -> None:
    """And its reference's labels decide where the bins lie."""
    reference, rows = (pa.table(trip_rows(400, seed)) for seed in (0, 1))
    grid = grid_of(trips().model, reference)
    profile = profile_rows(grid, rows)
    assert sum(profile.error_bins.errors) == sum(profile.error_bins.rows) == profile.errors.rows > 0
    assert from_bytes(grid, to_bytes(profile)).error_bins == profile.error_bins
    shifted = reference.set_column(
        reference.schema.get_field_index("minutes"), "minutes", pa.array(reference["minutes"].to_numpy() + 5)
    )
    assert grid_of(trips().model, shifted).digest != grid.digest
