"""`python -m monitoring suggest-tests`: a section of a config that passes on more rows of the same kind."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.datasets import load_breast_cancer, load_diabetes

from data.flights import read_flights
from monitoring.__main__ import main
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.config_yaml import parse_yaml
from monitoring.contract.reference import Reference
from monitoring.offline.suggested_tests import Suggestion, section
from monitoring.profile.bounds import Bounds
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.suite.suite import run_suite
from tests.processes import ROOT
from tests.unit.mixed import trip_rows, trips

WINDOWS = 40


def _flights() -> tuple[Config, pa.Table]:
    """Return real flights; their delay at departure, less five minutes, stands for a model's answer."""
    flights = read_flights()
    answers = pc.subtract(pc.cast(flights["dep_delay"], pa.float64()), 5.0)
    config = load_config(ROOT / "docs/examples/flights.yml")
    return config, flights.append_column(config.model.prediction, answers)


def _tumours() -> tuple[Config, pa.Table]:
    """Return 30 features of 569 tumours, and an answer by one of them."""
    config = load_config(ROOT / "docs/examples/breast_cancer.yml")
    data = load_breast_cancer(as_frame=True)
    names = dict(zip(data.feature_names, config.model.features, strict=True))
    categories = np.array(config.model.categories, object)
    benign = (data.data["worst radius"] < 16.8).to_numpy().astype(int)
    frame = data.data.rename(columns=names).assign(**{config.model.prediction: categories[benign]})
    return config, pa.Table.from_pandas(frame.assign(**{config.model.target: categories[data.target]}))


def _diabetes() -> tuple[Config, pa.Table]:
    """Return ten features of 442 patients, one of them a category, and an answer by one of them."""
    data = load_diabetes(as_frame=True, scaled=False)
    model: dict[str, Any] = trips().model.model_dump() | {
        "features": {str(name): "categorical" if name == "sex" else "numeric" for name in data.feature_names},
        "kinds": {},
    }
    frame = data.data.assign(predicted_minutes=10.0 * data.data["bmi"] - 110, minutes=data.target)
    frame["sex"] = frame["sex"].astype(int)
    model.pop("kinds")
    return trips(model=model), pa.Table.from_pandas(frame)


def _write(path: Path, config: Config, tests: Any) -> Path:
    path.write_text(yaml.safe_dump({**config.model_dump(mode="json", exclude_none=True), "tests": tests}))
    return path


@pytest.mark.parametrize(
    ("data", "rows", "window"),
    [
        pytest.param(_flights, 2_000, 1_000, id="flights"),
        pytest.param(_flights, 800, 2_000, id="flights, and a window larger than the reference"),
        pytest.param(_tumours, 300, 200, id="tumours"),
        pytest.param(_diabetes, 240, 150, id="patients"),
    ],
)
def test_suggested_tests_pass_on_more_rows_of_the_same_kind(
    data: Any, rows: int, window: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a config they are sound, and hardly a window that is drawn like the reference fails one."""
    config, table = data()
    failed: Counter[str] = Counter()
    for seed in range(2):
        random = np.random.default_rng(seed)
        order = random.permutation(len(table))
        reference = tmp_path / "reference.parquet"
        pq.write_table(table.take(order[:rows]), reference)
        config = config.model_copy(update={"window": config.window.model_copy(update={"rows": window})})
        path = _write(tmp_path / "config.yml", config.model_copy(update={"minimum_rows": 100}), ["TestColumnsType"])
        arguments = ["--config", str(path), "--reference", str(reference)]
        assert main(["suggest-tests", *arguments]) == 0
        suggested = parse_yaml(capsys.readouterr().out.encode())
        assert isinstance(suggested, dict)
        _write(path, load_config(path), suggested["tests"])
        assert main(["check-config", *arguments]) == 0
        capsys.readouterr()
        learned = load_config(path)
        failed += _failing(learned, table.take(order[:rows]), table, order[rows:], random)
    assert failed.total() <= 2, failed


def _failing(
    config: Config, reference: pa.Table, table: pa.Table, others: Any, random: np.random.Generator
) -> Counter[str]:
    """Count the tests, those of drift aside, that windows of other rows fail."""
    grid = grid_of(config.model, reference, Bounds.of(config))
    profile, size = profile_rows(grid, reference), config.window.rows
    failed: Counter[str] = Counter()
    for _ in range(WINDOWS):
        window = profile_rows(grid, table.take(random.choice(others, size, replace=False)))
        run = run_suite(config, profile, window, drawn=False)
        failed.update(verdict.test for verdict in run.verdicts if verdict.failed and verdict.counts)
    return failed


@pytest.mark.parametrize(
    ("fault", "fails"),
    [
        pytest.param({"distance": lambda v: v * 1.6}, "TestColumnValueMean:distance", id="miles in kilometres"),
        pytest.param({"distance": lambda v: v + 1e4}, "TestShareOfOutRangeValues:distance", id="out of range"),
        pytest.param({"zone": lambda v: "new " + v}, "TestShareOfOutListValues:zone", id="new levels"),
        pytest.param({"zone": lambda v: v.where(v != "station")}, "TestColumnShareOfMissingValues:zone", id="missing"),
        pytest.param({"minutes": lambda v: v + 9}, "TestValueMAE", id="errors"),
    ],
)
def test_suggested_tests_find_faults(
    fault: Any, fails: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slack for chance hides no fault of any size."""
    reference, path = tmp_path / "reference.parquet", _write(tmp_path / "config.yml", trips(), ["TestColumnsType"])
    pq.write_table(pa.table(trip_rows(1_000)), reference)
    assert main(["suggest-tests", "--config", str(path), "--reference", str(reference)]) == 0
    config = load_config(_write(path, trips(), yaml.safe_load(capsys.readouterr().out)["tests"]))
    rows = pa.table(trip_rows(500, 1)).to_pandas()
    ((column, changed),) = fault.items()
    rows[column] = changed(rows[column])
    table = pa.table(trip_rows(1_000))
    grid = grid_of(config.model, table, Bounds.of(config))
    window = profile_rows(grid, pa.Table.from_pandas(rows))
    failed = [v.test for v in run_suite(config, profile_rows(grid, table), window, drawn=False).verdicts if v.failed]
    assert fails in failed


def test_a_reference_without_predictions_suggests_tests_of_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a first start nobody has predicted: nothing is said of errors, and no column counts as constant."""
    reference, path = tmp_path / "reference.parquet", _write(tmp_path / "config.yml", trips(), ["TestColumnsType"])
    pq.write_table(pa.table(trip_rows(1_000)).drop_columns(["predicted_minutes"]), reference)
    assert main(["suggest-tests", "--config", str(path), "--reference", str(reference)]) == 0
    said = capsys.readouterr().out
    assert "TestNumberOfConstantColumns: {lte: 0}" in said
    assert "TestValueMAE:" not in said
    assert "# TestValueMAE is left out: the reference has no rows with a prediction and a label" in said


def _lines(table: pa.Table, **changes: Any) -> list[str]:
    return [*section("here", Reference(table, "", None, "test", "1"), trips(**changes))]


def _suggested(table: pa.Table, **changes: Any) -> dict[str, Any]:
    """Return the entries that trips suggest, by their tests' names and columns."""
    lines = _lines(table, **changes)
    entries = [entry if isinstance(entry, dict) else {entry: {}} for entry in yaml.safe_load("\n".join(lines))["tests"]]
    return {f"{name}:{given.get('column', '')}": given for entry in entries for name, given in entry.items()}


def test_missing_values_do_not_hide_that_a_column_is_constant() -> None:
    """A column of nulls and one level is constant, as one of nulls alone is; each may be so in the reference."""
    columns = trip_rows(1_000)
    some = pa.array([None, "a"] * 500)
    found = _suggested(pa.table({**columns, "zone": some, "airport": pa.nulls(1_000, pa.string())}))
    assert found["TestNumberOfConstantColumns:"] == {"lte": 2}


def test_a_number_that_a_window_may_not_hold_gets_no_bounds() -> None:
    """Of three values among a thousand rows a window of a hundred mostly has none, and its mean cannot be tested."""
    distance = pa.array([1.0, 2.5, 4.0, *[None] * 997], pa.float64())
    found = _suggested(pa.table({**trip_rows(1_000), "distance": distance}), window={"rows": 100})
    assert "TestColumnShareOfMissingValues:distance" in found
    assert not {"TestColumnValueMean:distance", "TestShareOfOutRangeValues:distance"} & found.keys()


@pytest.mark.parametrize(
    ("distance", "reason"),
    [
        pytest.param([1.0, 2.5, *[None] * 998], "holds 2 values, and a window may hold none", id="hardly any value"),
        pytest.param([*np.linspace(0, 1e-4, 1_000)], "rounded to two decimals", id="rounded away"),
        pytest.param([300.0, 40.0, 800.0, *[0.0] * 997], "the few largest values decide", id="mostly 0"),
    ],
)
def test_a_mean_that_gets_no_bounds_is_named_with_the_reason(distance: list[float | None], reason: str) -> None:
    """What is left out is said where the rest is suggested."""
    table = pa.table({**trip_rows(1_000), "distance": pa.array(distance, pa.float64())})
    (line,) = [line for line in _lines(table, window={"rows": 100}) if "TestColumnValueMean of distance" in line]
    assert line.startswith("  # TestColumnValueMean of distance is left out: ")
    assert reason in line


def test_errors_that_are_all_equal_have_a_bound() -> None:
    """Where each prediction is right the suggested error is 0, and no text such as nan."""
    columns = trip_rows(1_000)
    found = _suggested(pa.table({**columns, "predicted_minutes": columns["minutes"]}))
    assert found["TestValueMAE:"] == {"lte": 0}


def test_repeated_rows_are_bounded_for_windows_of_a_number_of_rows_alone() -> None:
    """A day may hold any number of rows, and so of repetitions."""
    table = pa.table(trip_rows(1_000))
    assert "TestNumberOfDuplicatedRows:" in _suggested(table, window={"rows": 500})
    assert "TestNumberOfDuplicatedRows:" not in _suggested(table, window={"duration": "1d"})


def test_small_and_large_bounds_are_numbers_in_yaml() -> None:
    """YAML takes a number with an exponent for one only if it has a point."""
    for number in (0.00001, 2e12, 1.5e-7, 3.0):
        line = Suggestion("TestValueMAE", {"lte": number}, "so").line()
        assert yaml.safe_load(line)[0]["TestValueMAE"]["lte"] == number


@pytest.mark.parametrize(("centre", "spread"), [(1.7e12, 2_000.0), (12_345_678_901.0, 1.0), (0.0, 1e300)])
def test_large_numbers_have_bounds_that_hold(
    centre: float, spread: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of milliseconds since 1970, say; where the variance is beyond all numbers, the mean has none."""
    rows = pa.table(trip_rows(500, 1))
    values = np.random.default_rng(0).normal(centre, spread, 500)
    pq.write_table(rows.set_column(0, "distance", pa.array(values)), tmp_path / "reference.parquet")
    path = _write(tmp_path / "config.yml", trips(), ["TestColumnsType"])
    assert main(["suggest-tests", "--config", str(path), "--reference", str(tmp_path / "reference.parquet")]) == 0
    tests = yaml.safe_load(capsys.readouterr().out)["tests"]
    bounds = [one["TestColumnValueMean"] for one in tests if isinstance(one, dict) and "TestColumnValueMean" in one]
    found = [one for one in bounds if one["column"] == "distance"]
    if spread > 1e100:
        assert not found
    else:
        assert found[0]["gte"] < values.mean() < found[0]["lte"]
        assert found[0]["lte"] - found[0]["gte"] < 2 * spread
