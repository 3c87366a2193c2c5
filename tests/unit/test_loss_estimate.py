"""A regression's error without labels: the counts give what the rows would, and the interval holds the truth."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from monitoring.alarms.loss_estimate import LossEstimate, LossEstimator
from monitoring.contract.config import Model
from monitoring.contract.reference import Reference
from monitoring.profile.counting import grid_of, profile_rows

MODEL = Model(
    name="trips",
    task="regression",
    features={"distance": "numeric", "zone": "categorical"},
    prediction="predicted",
    target="minutes",
)


def _rows(random: np.random.Generator, rows: int, weak: float = 0.3) -> pa.Table:
    """Return trips whose error is larger in zone b, where so many are, and with the distance."""
    distance, zone = random.uniform(0, 10, rows), np.where(random.random(rows) < weak, "b", "a")
    predicted = 3 * distance
    error = random.normal(0, 1, rows) * (1 + 0.2 * distance + 4 * (zone == "b"))
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return pa.table(
        {
            "distance": distance,
            "zone": zone,
            "predicted": predicted,
            "minutes": predicted + error,
            "timestamp": pa.array([begin + timedelta(minutes=n) for n in range(rows)], pa.timestamp("us", "UTC")),
        }
    )


def _estimator(table: pa.Table) -> tuple[LossEstimator, object]:
    grid = grid_of(MODEL, table)
    return LossEstimator(Reference(table, "", None, "test", "1"), MODEL, grid), grid


def _estimate(table: pa.Table, window: pa.Table, minimum_rows: int = 1) -> LossEstimate | None:
    estimator, grid = _estimator(table)
    return estimator.estimate(profile_rows(grid, window), minimum_rows)


def _mae(table: pa.Table) -> float:
    return float(np.abs(table["predicted"].to_numpy() - table["minutes"].to_numpy()).mean())


def _with(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, table[name].type))


def test_the_counts_give_the_mean_of_what_each_row_gives() -> None:
    """A profile's estimate is the mean of those of its rows: missing, infinite and unseen values included."""
    random = np.random.default_rng(0)
    estimator, grid = _estimator(_rows(random, 2_000))
    window = _rows(random, 300, 0.5)
    distance = window["distance"].to_numpy().copy()
    distance[:4] = np.nan, np.inf, -np.inf, 1e9
    window = _with(_with(window, "distance", distance), "zone", [None, "new", *window["zone"].to_pylist()[2:]])
    each = [estimator.estimate(profile_rows(grid, window.slice(n, 1)), 1) for n in range(len(window))]
    whole = estimator.estimate(profile_rows(grid, window), 1)
    assert whole is not None
    assert whole.mae == pytest.approx(np.mean([one.mae for one in each if one is not None]))


def test_the_interval_holds_the_error_where_nothing_changes() -> None:
    """About 95 % of windows like the reference are inside."""
    random = np.random.default_rng(1)
    estimator, grid = _estimator(_rows(random, 5_000))
    windows = [_rows(random, 500) for _ in range(100)]
    found = [(estimator.estimate(profile_rows(grid, rows), 1), _mae(rows)) for rows in windows]
    assert sum(e is not None and e.low <= truth <= e.high for e, truth in found) >= 90
    assert all(e is not None and e.threshold is not None and e.mae < e.threshold for e, _ in found)


def test_more_rows_from_where_the_model_is_weak_raise_it_above_the_threshold() -> None:
    """The estimate follows the error, without its labels."""
    random = np.random.default_rng(2)
    window = _rows(random, 500, 0.9)
    found = _estimate(_rows(random, 5_000), window.drop_columns(["minutes"]))
    assert found is not None
    assert found.threshold is not None
    assert found.mae > found.threshold
    assert found.low <= _mae(window) <= found.high
    assert found.chunks == 10


def test_a_constant_error_is_estimated_as_that() -> None:
    """Nothing varies, so the interval has no width."""
    rows = _rows(np.random.default_rng(3), 1_000)
    rows = _with(rows, "minutes", rows["predicted"].to_numpy() + 2)
    found = _estimate(rows, rows)
    assert found is not None
    assert (found.mae, found.low, found.high) == pytest.approx((2, 2, 2), abs=1e-5)


def test_rows_of_unseen_levels_alone_widen_the_interval() -> None:
    """What an unseen level adds is not known."""
    random = np.random.default_rng(4)
    reference, window = _rows(random, 2_000), _rows(random, 500)
    known, unseen = (_estimate(reference, rows) for rows in (window, _with(window, "zone", ["new"] * 500)))
    assert known is not None
    assert unseen is not None
    assert unseen.high - unseen.low > 1.2 * (known.high - known.low)


def test_too_few_labels_or_rows_give_no_estimate() -> None:
    """Neither 199 labels nor a small window tell."""
    random = np.random.default_rng(5)
    reference = _rows(random, 1_000)
    few = _with(reference, "minutes", [*reference["minutes"].to_pylist()[:199], *[None] * 801])
    assert _estimate(few, reference) is None
    assert _estimate(reference, reference.slice(0, 99), minimum_rows=100) is None
    assert _estimate(reference, reference.slice(0, 100), minimum_rows=100) is not None


def test_many_levels_cost_no_more_than_some() -> None:
    """The most frequent levels have bins of their own, and the others one together."""
    random = np.random.default_rng(3)
    table = _rows(random, 8_000)
    zones = np.array([f"zone {n}" for n in range(150)])
    table = _with(table, "zone", zones[random.integers(0, 150, 8_000)].tolist())
    estimator, grid = _estimator(table)
    assert len(estimator._summands) < 100
    found = estimator.estimate(profile_rows(grid, table), 1)
    assert found is not None
    assert found.mae == pytest.approx(_mae(table))
