"""For any table: a file against itself gives p = 1 and its own counts, and every path says the same of its rows."""

import datetime as dt
import os
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from monitoring.__main__ import main
from monitoring.backtest.log_rows import open_log
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Reference, parse_reference
from monitoring.monitor import generate_evidently_report
from monitoring.offline.dataset import profile_locally
from monitoring.offline.spark import profile_on_spark
from monitoring.profile.columns import NumericColumn
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import Profile
from monitoring.snapshot.shapes import NumericShape
from monitoring.suite.frames import Frames
from monitoring.suite.suite import run_suite
from monitoring.window.window import ProfiledWindow
from tests.unit.models import loans
from tests.unit.monitor_fixtures import monitor_of
from tests.unit.profile_strategies import same_profile
from tests.unit.test_dataset import JAVA

CASES = int(os.environ.get("FUZZ_CASES", "25"))
FUZZ = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    derandomize="FUZZ_CASES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
FEATURES = ("age", "income", "debt", "years")
NUMBERS = {
    "float16": lambda v: pa.array(v.astype(np.float16)),
    "float32": lambda v: pa.array(v, pa.float32()),
    "float64": lambda v: pa.array(v, pa.float64()),
    "cents": lambda v: pa.array(np.round(v, 2), pa.float64()),
    "int8": lambda v: pa.array(np.clip(v, -100, 100).astype("int8")),
    "uint16": lambda v: pa.array(np.abs(v).astype("uint16")),
    "int64": lambda v: pa.array((v * 2.0**40).astype("int64")),
    "decimal": lambda v: pa.array([Decimal(f"{x:.2f}") for x in v], pa.decimal128(20, 2)),
    "boolean": lambda v: pa.array(v > 0),
    "coded": lambda v: pa.array(np.round(v, 1)).dictionary_encode(),
}
CATEGORIES = {
    "text": lambda v: pa.array([str(x) for x in v]),
    "large text": lambda v: pa.array([str(x) for x in v], pa.large_string()),
    "categorical": lambda v: pa.array([str(x) for x in v]).dictionary_encode(),
    "whole numbers": lambda v: pa.array(v, pa.int64()),
    "pandas' whole numbers": lambda v: pa.array(v.astype(float)),
    "decimal": lambda v: pa.array([Decimal(int(x)) for x in v]),
}
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TIMES = {
    "us": lambda t: pa.array(t, pa.timestamp("us", "UTC")),
    "ns": lambda t: pa.array([x.replace(tzinfo=None) for x in t], pa.timestamp("ns")),
    "zone": lambda t: pa.array(t, pa.timestamp("ms", "Asia/Tokyo")),
    "text": lambda t: pa.array([x.isoformat(" ") for x in t]),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw rows of loans whose columns are of any type that their values may have."""
    count, random = draw(st.integers(2, 400)), np.random.default_rng(draw(st.integers(0, 2**32)))
    columns: dict[str, Any] = {
        "prediction_id": pa.array([f"row-{n:06}" for n in range(count)]),
        "timestamp": TIMES[draw(st.sampled_from(sorted(TIMES)))](
            [START + dt.timedelta(seconds=n) for n in range(count)]
        ),
    }
    for name in FEATURES:
        values = random.normal(0, 10.0 ** random.integers(-1, 3), count)
        columns[name] = _with_gaps(draw, random, NUMBERS[draw(st.sampled_from(sorted(NUMBERS)))](values))
    for name in ("prediction", "target"):
        made = CATEGORIES[draw(st.sampled_from(sorted(CATEGORIES)))](random.integers(0, 3, count))
        columns[name] = _with_gaps(draw, random, made)
    return pa.table(columns)


def _with_gaps(draw: st.DrawFn, random: np.random.Generator, column: pa.Array) -> pa.Array:
    """Take values away, but for the first."""
    gone = random.random(len(column)) < draw(st.sampled_from([0.0, 0.0, 0.2]))
    gone[0] = False
    return column.take(pa.array(np.where(gone, None, np.arange(len(column)).astype(object)), pa.int64()))


def configured(dtype: str, engine: str = "profile") -> Config:
    model = loans().model.model_dump() | {"categories": ["0", "1", "2"], "dtype": dtype}
    tests = ["TestColumnsType", "TestColumnDrift", "TestAccuracyScore", "TestF1Score"]
    window = {"rows": 10_000}
    return loans(model=model, engine=engine, minimum_rows=2, minimum_labels=2, window=window, tests=tests)


def written(folder: Path, table: pa.Table, group: int) -> Path:
    """Write the rows as the log of a data folder."""
    path = folder / "current.parquet" / "rows.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def referenced(path: Path, config: Config) -> tuple[Reference, Profile]:
    reference = parse_reference(path.read_bytes(), path, config.model)
    return reference, profile_rows(grid_of(config.model, reference.table), reference.table)


def test_a_file_against_itself_is_the_same_on_every_path(tmp_path: Path) -> None:
    """Every p-value is 1, to the bit, and every count is the reference's; the log, `profile` and `backtest` agree."""

    @FUZZ
    @given(tables(), st.sampled_from(["float32", "float64"]), st.sampled_from([7, 100, 1000]))
    def compare(table: pa.Table, dtype: str, group: int) -> None:
        config = configured(dtype)
        path = written(tmp_path, table, group)
        reference, counted = referenced(path, config)
        profiled = profile_locally(counted.grid, str(path.parent), workers=2).profile
        run = run_suite(config, counted, profiled)
        assert [(name, found.p_value) for name, found in run.drift.items() if found.p_value != 1.0] == []
        window = ProfiledWindow(Layout(tmp_path), config, counted.grid).look(None)
        assert window.unreadable == ()
        replayed = pa.concat_tables(open_log(str(path.parent), config.model, None, None).read())
        for other in (profiled, window.profile, profile_rows(counted.grid, replayed)):
            _same_counts(other, counted)
        _agrees_with_evidently(config, reference, counted, replayed)

    compare()


@pytest.mark.parametrize("width", ["float16", "float32"])
@pytest.mark.parametrize("narrow", ["reference", "rows"])
def test_a_copy_in_a_narrower_type_is_the_same_file(tmp_path: Path, width: str, narrow: str) -> None:
    """2.7 as float32 is another number than 2.7 as float64: both sides are rounded to the narrower type."""
    config = configured("float64")
    random = np.random.default_rng(5)
    columns = {name: np.round(random.normal(0, 10, 400), 1) for name in FEATURES}
    columns |= {"income": random.choice([1 / 3, 2.7, 1e4 / 7], 400)}  # no ties but by the type
    labels = {"prediction": random.integers(0, 3, 400), "target": random.integers(0, 3, 400)}
    rows = pd.DataFrame({**columns, **labels})
    rows["timestamp"] = [START + dt.timedelta(seconds=n) for n in range(400)]
    rows["prediction_id"] = [f"row-{n}" for n in range(400)]
    single = rows.astype(dict.fromkeys(FEATURES, width))
    reference, current = (single, rows) if narrow == "reference" else (rows, single)
    path = written(tmp_path, pa.Table.from_pandas(current, preserve_index=False), 100)
    reference.to_parquet(tmp_path / "reference.parquet")
    (tmp_path / "config.yml").write_text(config.model_dump_json(exclude_none=True))
    common = ["--reference", str(tmp_path / "reference.parquet"), "--config", str(tmp_path / "config.yml")]
    assert main(["profile", "--input", str(path), "--out", str(tmp_path / "p"), *common]) == 0
    assert main(["report", "--profile", str(tmp_path / "p"), *common]) == 0
    monitor, registry = monitor_of(tmp_path, config)
    monitor.cycle()
    p_values = [registry.get_sample_value("loan_drift_p_value", {"feature": name}) for name in FEATURES]
    assert p_values == [1.0] * 4
    report = generate_evidently_report(reference, current, config=config)
    assert report.run is not None
    assert {name: found.p_value for name, found in report.run.drift.items()} == dict.fromkeys(
        [*FEATURES, "prediction"], 1
    )


def _same_counts(ours: Profile, theirs: Profile) -> None:
    np.testing.assert_array_equal(ours.cells, theirs.cells)
    np.testing.assert_array_equal(ours.special, theirs.special)
    assert (ours.rows, ours.rows_missing, ours.duplicated) == (theirs.rows, theirs.rows_missing, theirs.duplicated)
    assert (ours.predictions, ours.confusion) == (theirs.predictions, theirs.confusion)
    for index, name in enumerate(FEATURES):
        shape = NumericShape(NumericColumn(name, index))
        assert shape.shape(ours, ours).outliers == shape.shape(ours, theirs).outliers


def _agrees_with_evidently(config: Config, reference: Reference, counted: Profile, rows: pa.Table) -> None:
    """Hold the older half of the rows against all of them, by profiles and by Evidently's own engine."""
    half = rows.slice(0, max(2, len(rows) // 2))
    current = profile_rows(counted.grid, half)
    frames = Frames.of(reference.table, half, config.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's, of columns that are constant or empty
        ours, theirs = run_suite(config, counted, current), run_suite(config, counted, current, frames)
    assert {name: found.p_value for name, found in ours.drift.items()} == {
        name: found.p_value for name, found in theirs.drift.items()
    }
    assert (ours.accuracy, ours.f1) == (theirs.accuracy, theirs.f1), theirs.verdicts


@JAVA
@pytest.mark.timeout(180)
def test_spark_counts_a_column_of_each_type_as_one_machine_does(tmp_path: Path) -> None:
    """One session of Spark for a table with every type of number, and of category, in turn."""
    random = np.random.default_rng(3)
    kinds = list(NUMBERS.values())
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(0, len(kinds), 2):
        columns = {name: kinds[(number + n) % len(kinds)](random.normal(0, 9, 300)) for n, name in enumerate(FEATURES)}
        made = list(CATEGORIES.values())[number % len(CATEGORIES)](random.integers(0, 3, 300))
        pq.write_table(pa.table({**columns, "prediction": made, "target": made}), folder / f"{number}.parquet")
    config = configured("float64")
    first = next(iter(sorted(folder.iterdir())))
    grid = referenced(first, config)[1].grid
    same_profile(
        profile_on_spark(grid, str(folder), master="local[2]").profile, profile_locally(grid, str(folder)).profile
    )
