"""Data-quality tests with bounds of the config's own: profiles end as Evidently's own engine does, to the bound."""

import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from monitoring.contract.config import Config
from monitoring.profile.bounds import Bounds
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import merge
from monitoring.profile.quantiles import quantile
from monitoring.profile.serialised import from_bytes, to_bytes
from monitoring.snapshot.quality import measure_quality
from monitoring.suite.frames import Frames, to_arrow
from monitoring.suite.suite import SuiteRun, run_suite
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.profile_strategies import LEVELS, frames, same_profile

CASES = int(os.environ.get("FUZZ_CASES", "120"))
FUZZ = settings(
    deadline=None,
    database=None,
    phases=[Phase.generate],
    derandomize="FUZZ_CASES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
NUMBERS = st.one_of(
    st.sampled_from([-3.0, -1.0, 0.0, 0.1, 0.25, 1.0, 2.0, 3.1]), st.floats(-3, 4).map(lambda x: round(x, 3))
)
CONDITIONS = st.dictionaries(
    st.sampled_from(["eq", "not_eq", "lt", "lte", "gt", "gte"]), NUMBERS, min_size=1, max_size=2
)
NUMERIC = ("distance", "passengers")
BY_NUMBER = ("TestColumnValueMin", "TestColumnValueMax", "TestColumnValueMean", "TestColumnValueStd")
ABOUT = ("TestColumnQuantile", "TestColumnValueMedian", "TestMostCommonValueShare")  # which say a value's neighbour


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an entry of `tests` with bounds."""
    column = draw(st.sampled_from(NUMERIC))
    level = draw(st.sampled_from(["zone", "airport"]))
    ends = sorted(draw(st.lists(NUMBERS, min_size=2, max_size=2)))
    given = draw(st.sampled_from([{"left": ends[0]}, {"right": ends[1]}, {"left": ends[0], "right": ends[1]}]))
    values = draw(st.lists(st.sampled_from(LEVELS[1:]), min_size=1, max_size=8, unique=True))
    share = draw(st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9, 0.99, 1.0, 1 / 3]))
    few = {"lte": draw(st.sampled_from([0, 0.05, 0.5, 3]))}
    return draw(
        st.sampled_from(
            [
                {"TestNumberOfOutRangeValues": {"column": column, **given, **few}},
                {"TestShareOfOutRangeValues": {"column": column, **given, **few}},
                {"TestValueRange": {"column": column, **given}},
                "TestValueRange",
                {"TestNumberOfOutListValues": {"column": level, "values": values, **few}},
                {"TestShareOfOutListValues": {"column": level, "values": values, **few}},
                {"TestValueList": {"column": level, "values": values}},
                "TestValueList",
                {draw(st.sampled_from(BY_NUMBER)): {"column": column, **draw(CONDITIONS)}},
                draw(st.sampled_from(BY_NUMBER)),
                {"TestColumnValueMedian": {"column": column, **draw(CONDITIONS)}},
                {"TestColumnValueMedian": draw(CONDITIONS)},
                {"TestColumnQuantile": {"column": column, "quantile": share, **draw(CONDITIONS)}},
                {"TestMeanInNSigmas": {"column": column, "n_sigmas": draw(st.sampled_from([1, 2, 3]))}},
                "TestNumberOfUniqueValues",
                {"TestUniqueValuesShare": few},
                {"TestMostCommonValueShare": {"column": level, **few}},
            ]
        )
    )


def _both(config: Config, reference: pd.DataFrame, current: pd.DataFrame) -> tuple[SuiteRun, SuiteRun]:
    tables = [to_arrow(rows, config.model) for rows in (reference, current)]
    grid = grid_of(config.model, tables[0], Bounds.of(config))
    profiles = [profile_rows(grid, table) for table in tables]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's, of columns that are constant or empty
        return run_suite(config, *profiles), run_suite(config, *profiles, Frames.of(*tables, config.model))


@pytest.mark.timeout(0 if "FUZZ_CASES" in os.environ else 900)
@pytest.mark.parametrize("config_of", [pytest.param(tips, id="classification"), pytest.param(trips, id="regression")])
@pytest.mark.parametrize("sizes", [st.integers(1, 30), st.integers(1, 700)], ids=["few rows", "hundreds"])
def test_tests_with_bounds_end_on_profiles_as_evidentlys_do(
    config_of: Callable[..., Config], sizes: st.SearchStrategy[int]
) -> None:
    """The same statuses, and the same words where no neighbour of a quantile is named."""

    @settings(FUZZ, max_examples=max(30, CASES // 2))
    @given(st.data())
    def compare(data: st.DataObject) -> None:
        given = data.draw(st.lists(entries(), min_size=1, max_size=4, unique_by=_name))
        config = config_of(minimum_rows=2, minimum_labels=10_000, tests=given)
        reference, current = data.draw(frames(config, sizes)), data.draw(frames(config, sizes))
        ours, theirs = (run.verdicts for run in _both(config, reference, current))
        at_half = [v.test for v in theirs if _rounds_either_way(v.test, current, reference)]
        assert [(v.test, v.status) for v in ours if v.test not in at_half] == [
            (v.test, v.status) for v in theirs if v.test not in at_half
        ]
        for mine, other in zip(ours, theirs, strict=True):
            if other.status != "error" and not other.test.startswith(ABOUT) and other.test not in at_half:
                assert mine.found == other.found

    compare()


def _name(entry: Any) -> str:
    return entry if isinstance(entry, str) else next(iter(entry))


def _rounds_either_way(test: str, *sides: pd.DataFrame) -> bool:
    """Say whether a mean or deviation lies on the edge of Evidently's rounding: sums in another order decide there."""
    name, _, column = test.partition(":")
    if name not in ("TestColumnValueMean", "TestColumnValueStd", "TestMeanInNSigmas"):
        return False
    with np.errstate(invalid="ignore"):
        values = [f(side[column].astype("float64")) for side in sides for f in (pd.Series.mean, pd.Series.std)]
    finite = [100 * value for value in values if math.isfinite(value)]
    return any(abs(one % 1 - 0.5) < 1e-6 * max(1.0, abs(one)) for one in finite)


@settings(FUZZ, max_examples=max(50, CASES // 4))
@given(st.data(), st.booleans())
def test_bounds_add_up_over_any_division_of_the_rows(data: st.DataObject, stored: bool) -> None:  # noqa: FBT001
    """Counts at the bounds and their neighbours, of pieces and of the whole, kept or stored."""
    config = tips(tests=data.draw(st.lists(entries(), min_size=1, max_size=4, unique_by=_name)))
    reference, current = (to_arrow(data.draw(frames(config)), config.model) for _ in range(2))
    grid = grid_of(config.model, reference, Bounds.of(config))
    cut = data.draw(st.integers(0, len(current)))
    pieces = [profile_rows(grid, rows) for rows in (current.slice(0, cut), current.slice(cut))]
    if stored:
        pieces = [from_bytes(grid, to_bytes(piece)) for piece in pieces]
    same_profile(merge(grid, pieces), profile_rows(grid, current))


@settings(FUZZ, max_examples=CASES)
@given(st.data(), st.floats(0.001, 1.0))
def test_a_quantile_lies_where_its_profile_says(data: st.DataObject, share: float) -> None:
    """Between the two numbers, and on the same side of a bound as they do."""
    bound = data.draw(NUMBERS)
    config = tips(tests=[{"TestColumnQuantile": {"column": "distance", "quantile": share, "lte": bound}}])
    reference, current = (data.draw(frames(config)) for _ in range(2))
    tables = [to_arrow(rows, config.model) for rows in (reference, current)]
    values = Frames.of(*tables, config.model).current["distance"].dropna()  # rounded as the reference's are
    if not len(values):
        return
    grid = grid_of(config.model, tables[0], Bounds.of(config))
    found = quantile(profile_rows(grid, tables[1]), 0, share)
    with np.errstate(invalid="ignore"):
        true = float(values.quantile(share))
    if math.isnan(true):
        assert math.isnan(found.low)
        return
    slack = 1e-12 * (abs(found.low) + abs(found.high)) if math.isfinite(true) else 0.0
    assert found.low - slack <= true <= found.high + slack
    assert (found.middle <= bound) == (true <= bound)


def _refused(entry: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        trips(tests=[entry])
    return str(raised.value)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param(
            {"TestColumnValueMean": {"column": "zone", "lte": 1}},
            "TestColumnValueMean names 'zone'; allowed there are distance, passengers",
            id="a bound on a category",
        ),
        pytest.param(
            {"TestValueList": {"column": "distance", "values": ["1"]}},
            "TestValueList names 'distance'; allowed there are zone, airport",
            id="a list for numbers",
        ),
        pytest.param({"TestColumnValueMin": {"column": "speed", "gte": 0}}, "names 'speed'; allowed", id="no column"),
        pytest.param(
            {"TestColumnQuantile": {"column": "distance", "quantile": 1.5, "lte": 3}},
            "less than or equal to 1",
            id="a quantile above 1",
        ),
        pytest.param(
            {"TestColumnQuantile": {"column": "distance", "quantile": 0, "lte": 3}}, "greater than 0", id="of 0"
        ),
        pytest.param(
            {"TestColumnQuantile": {"column": "distance", "lte": 3}}, "takes a quantile above 0", id="no quantile"
        ),
        pytest.param(
            {"TestColumnQuantile": {"column": "distance", "quantile": 0.9}},
            "TestColumnQuantile:distance:0.9 has no condition",
            id="a quantile without a condition",
        ),
        pytest.param("TestColumnValueMedian", "or set `engine: dataframe`", id="a median without a condition"),
        pytest.param(
            {"TestValueRange": {"column": "distance", "left": 5, "right": 1}},
            "left (5) is greater than right (1)",
            id="an empty range",
        ),
        pytest.param({"TestValueRange": {"left": 5}}, "which `column` must name", id="a range of no column"),
        pytest.param({"TestValueList": {"column": "zone", "values": []}}, "at least 1 item", id="an empty list"),
        pytest.param(
            {"TestColumnValueMax": {"column": "distance", "left": 1}}, "TestColumnValueMax takes no left", id="no range"
        ),
        pytest.param(
            {"TestMeanInNSigmas": {"column": "distance", "lte": 1}}, "takes no condition", id="sigmas and a condition"
        ),
        pytest.param(
            {"TestMeanInNSigmas": {"column": "distance", "n_sigmas": 0}}, "greater than or equal to 1", id="no sigmas"
        ),
    ],
)
def test_a_bound_that_cannot_be_is_refused(entry: Any, said: str) -> None:
    """By name, and with what there is instead."""
    assert said in _refused(entry)


def test_evidentlys_own_engine_takes_a_quantile_without_a_condition() -> None:
    """Its condition is made from the reference's value then."""
    assert trips(engine="dataframe", tests=["TestColumnValueMedian"]).tests[0].name == "TestColumnValueMedian"


def test_two_quantiles_of_a_column_are_two_tests() -> None:
    """Each under a name of its own, and with the numbers that it lies between where it is not exact."""
    bounds = [{"TestColumnQuantile": {"column": "distance", "quantile": q, "lte": 900}} for q in (0.5, 0.9)]
    config = tips(minimum_rows=2, tests=bounds)
    rows = [pa.table(trip_rows(50)).to_pandas().assign(distance=np.linspace(0, high, 50)) for high in (9, 8)]
    ours, _ = _both(config, *rows)
    assert [v.test for v in ours.verdicts] == ["TestColumnQuantile:distance:0.5", "TestColumnQuantile:distance:0.9"]
    assert all(v.status == "success" and "It lies between" in v.found for v in ours.verdicts)


def test_values_out_of_range_are_counted() -> None:
    """Against a test's bounds where a feature has some, or else against the reference's range."""
    config = tips(tests=[{"TestValueRange": {"column": "distance", "right": 3}}])
    rows = [pa.table(trip_rows(400, seed)) for seed in (0, 1)]
    grid = grid_of(config.model, rows[0], Bounds.of(config))
    found = measure_quality(profile_rows(grid, rows[1])).out_of_range
    distance, (low, high) = rows[1]["distance"].to_numpy(), pc.min_max(rows[0]["distance"]).as_py().values()
    assert found == {"distance": int(((distance < low) | (distance > 3)).sum()), "passengers": 0}
    assert high > 3
