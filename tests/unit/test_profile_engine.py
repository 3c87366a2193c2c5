"""Profiles against Evidently's own engine, which sees the rows: the same statuses, the same scores, in any split."""

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from evidently.legacy.metrics.regression_performance import regression_quality
from evidently.legacy.metrics.regression_performance.objects import IntervalSeries, RegressionMetricScatter
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from monitoring.contract.config import Config, Model
from monitoring.contract.suite_tests import OF_CATEGORY
from monitoring.contract.tasks import TASKS
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import ProfileMismatchError, merge
from monitoring.profile.serialised import from_bytes, to_bytes
from monitoring.snapshot.snapshot import Verdict
from monitoring.suite.frames import Frames, labelled_rows, to_arrow
from monitoring.suite.suite import SuiteRun, run_suite
from tests.unit.mixed import tips, trips
from tests.unit.models import loans
from tests.unit.monitor_fixtures import make_rows
from tests.unit.profile_strategies import frames, same_profile

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
FUZZ = settings(
    deadline=None,
    database=None,
    phases=[Phase.generate],  # shrinking runs Evidently for many minutes
    derandomize="FUZZ_CASES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
DRIFT = {"default": {"test": "ks", "threshold": 0.05}}
T_TEST = {
    "default": {"test": "t_test", "threshold": 0.05},
    "columns": {"prediction": {"test": "chisquare", "threshold": 0.05}},
}
TESTS = [
    "TestColumnsType",
    {"TestNumberOfDriftedColumns": {"lt": 2}},
    "TestColumnDrift",
    "TestAccuracyScore",
    {"TestF1Score": {"gte": 0.5}},
]
MORE = [
    {"TestNumberOfColumnsWithMissingValues": {"lte": 0}},
    "TestNumberOfRowsWithMissingValues",
    "TestNumberOfMissingValues",
    {"TestNumberOfConstantColumns": {"lte": 0}},
    "TestNumberOfDuplicatedRows",
    "TestNumberOfDuplicatedColumns",
    "TestNumberOfEmptyRows",
    "TestNumberOfEmptyColumns",
    "TestNumberOfRows",
    "TestShareOfDriftedColumns",
]
ERRORS = [
    "TestValueMAE",
    {"TestValueRMSE": {"lte": 1.0}},
    "TestValueMeanError",
    {"TestValueMAPE": {"lt": 50}},
    "TestValueAbsMaxError",
    {"TestValueR2Score": {"gte": 0.5}},
]
LABELS = {test for task in TASKS.values() for test in task.label_tests}
MIXED = DRIFT | {"columns": {"airport": {"test": "z", "threshold": 0.05}}}
DISTANCES = DRIFT | {
    "categorical": {"test": "psi", "threshold": 0.1},
    "columns": {
        "zone": {"test": "jensenshannon", "threshold": 0.2},
        "airport": {"test": "total_variation", "threshold": 0.2},
    },
}
OF_NUMBERS = [
    {"TestColumnShareOfMissingValues": {"lte": 0.1}},
    "TestColumnNumberOfMissingValues",
    "TestShareOfMissingValues",
    "TestShareOfRowsWithMissingValues",
    "TestShareOfColumnsWithMissingValues",
    "TestNumberOfOutRangeValues",
    {"TestShareOfOutRangeValues": {"lte": 0.05}},
]
OF_LEVELS = ["TestNumberOfOutListValues", {"TestShareOfOutListValues": {"column": "zone", "lte": 0.05}}]
BY_CLASS = [
    "TestPrecisionScore",
    {"TestRecallScore": {"gte": 0.5}},
    "TestPrecisionByClass",
    {"TestRecallByClass": {"category": "yes", "gte": 0.5}},
    {"TestF1ByClass": {"category": "no", "lt": 0.9}},
]
BY_ROUNDING = 1e-9  # of scores that are no counts: means and shares, summed up in another order


def _config(drift: dict[str, object] = DRIFT, tests: Sequence[Any] = TESTS) -> Config:
    model = loans().model.model_dump() | {"features": ["age", "income", "years"]}
    return loans(model=model, minimum_rows=2, minimum_labels=2, drift=drift, tests=list(tests))


def _tips(drift: dict[str, object] = MIXED, tests: Sequence[Any] = TESTS) -> Config:
    return tips(minimum_rows=2, minimum_labels=2, drift=drift, tests=list(tests))


def _trips(drift: dict[str, object] = MIXED, tests: Sequence[Any] = ERRORS) -> Config:
    return trips(minimum_rows=2, minimum_labels=2, drift=drift, tests=list(tests))


def _no_picture(*_: object) -> RegressionMetricScatter:
    """Return an empty picture of a regression's errors: each takes Evidently longer than all scores together."""
    return RegressionMetricScatter(current=IntervalSeries(bins=[], values=[]), reference=None)


def _both(config: Config, reference: pd.DataFrame, current: pd.DataFrame) -> tuple[SuiteRun, SuiteRun]:
    tables = [to_arrow(rows, config.model) for rows in (reference, current)]
    grid = grid_of(config.model, tables[0])
    profiles = [profile_rows(grid, table) for table in tables]
    with warnings.catch_warnings(), mock.patch.object(regression_quality, "apply_func_to_binned_data", _no_picture):
        warnings.simplefilter("ignore")  # Evidently's, of columns that are constant or empty
        ours = run_suite(config, *profiles)
        theirs = run_suite(config, *profiles, Frames.of(*tables, config.model))
    return ours, theirs


def _agree(ours: float | None, theirs: float | None, rounding: float) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=rounding, abs_tol=rounding)


@pytest.mark.timeout(0 if "FUZZ_CASES" in os.environ else 900)
@pytest.mark.parametrize(
    ("cases", "config_of", "drift", "sizes"),
    [
        pytest.param(CASES // 5, _config, DRIFT, st.integers(1, 40), id="few rows"),
        pytest.param(CASES // 10, _config, DRIFT, st.integers(1, 400), id="hundreds"),
        pytest.param(CASES // 50, _config, DRIFT, st.sampled_from([7, 300, 2_000, 5_000]), id="thousands"),
        pytest.param(CASES * 4 // 50, _config, T_TEST, st.integers(1, 1_000), id="other drift tests"),
        pytest.param(CASES // 5, _tips, MIXED, st.integers(1, 1_000), id="mixed kinds"),
        pytest.param(CASES // 10, _tips, DISTANCES, st.integers(1, 1_000), id="mixed kinds by distance"),
        pytest.param(CASES // 5, _trips, MIXED, st.integers(2, 1_000), id="regression"),
        pytest.param(CASES // 10, _trips, DISTANCES, st.integers(2, 60), id="regression of few rows"),
    ],
)
def test_the_suite_on_profiles_ends_as_evidentlys_does(
    cases: int, config_of: Callable[..., Config], drift: dict[str, object], sizes: st.SearchStrategy[int]
) -> None:
    """Each test ends with the same status, and each score is the same: to the bit where it follows from counts."""

    @settings(FUZZ, max_examples=cases)
    @given(st.data())
    def compare(data: st.DataObject) -> None:
        _compare(data, config_of, drift, sizes)

    compare()


def _compare(
    data: st.DataObject, config_of: Callable[..., Config], drift: dict[str, object], sizes: st.SearchStrategy[int]
) -> None:
    some = st.lists(st.sampled_from(_tests(config_of)), max_size=4, unique_by=str)  # each costs Evidently a look
    config = config_of(drift, ["TestColumnDrift", *data.draw(some)])
    reference, current = data.draw(frames(config, sizes)), data.draw(frames(config, sizes))
    ours, theirs = _both(config, reference, current)
    for column, found in theirs.drift.items():
        if found.method == "t_test" and reference[column].nunique() == current[column].nunique() == 1:
            continue  # the variance of constants is 0, or what rounding makes of it
        exact = found.method in ("ks", "chi_square_two_sample")
        assert _agree(ours.drift[column].p_value, found.p_value, 0 if exact else BY_ROUNDING), column
        assert _agree(ours.drift[column].distance, found.distance, BY_ROUNDING), column
    if not _labelled(reference, config.model):  # without it Evidently compares with a dummy model, row by row
        unconditional = {e.name for e in config.tests if e.name in LABELS and not e.condition} - {"TestF1Score"}
        assert all(
            v.status == "skipped" or "cannot be computed from a profile" in v.found or _of_absent(v)
            for v in ours.verdicts
            if v.test.partition(":")[0] in unconditional - {"TestValueMeanError", "TestValueR2Score"}
        )
        ours, theirs = (_without(r, unconditional) for r in (ours, theirs))
    if config.model.task == "regression":
        odd = {v.test for v in theirs.verdicts if v.status == "error" and v.test in LABELS}
        if odd or _flat(current, config.model):  # its pictures need labels that vary, and not all of them zero
            ours, theirs = (_without(r, LABELS) for r in (ours, theirs))
    assert [(v.test, v.status) for v in ours.verdicts] == [(v.test, v.status) for v in theirs.verdicts]
    if drift in (DRIFT, MIXED) and config.model.task == "classification":
        said = [[v.found for v in run.verdicts if v.status != "error"] for run in (ours, theirs)]
        assert said[0] == said[1]
    assert ours.scores.keys() == theirs.scores.keys()
    exact = config.model.task == "classification"
    for test, score in theirs.scores.items():
        assert _agree(ours.scores[test], score, 0 if exact else BY_ROUNDING), test


def _of_absent(verdict: Verdict) -> bool:
    """Say whether a test of one category could not run, as where the category does not occur."""
    return verdict.test.partition(":")[0] in OF_CATEGORY and verdict.status == "error"


def _tests(config_of: Callable[..., Config]) -> list[Any]:
    """Return the tests that a config may name besides those of columns' drift."""
    of_data = [*TESTS[:2], *MORE, *OF_NUMBERS, *(OF_LEVELS if config_of is not _config else ())]
    return [*of_data, *(ERRORS if config_of is _trips else [*TESTS[3:], *BY_CLASS])]


def _scored(rows: pd.DataFrame, model: Model) -> pd.DataFrame:
    """Return the rows of which a score can be computed."""
    numbers = [name for name in (model.prediction, model.target) if model.kind(name).name == "numeric"]
    return labelled_rows(rows.astype(dict.fromkeys(numbers, "float64")), model)


def _labelled(rows: pd.DataFrame, model: Model) -> bool:
    return len(_scored(rows, model)) > 0


def _flat(rows: pd.DataFrame, model: Model) -> bool:
    """Say whether labels are as good as constant: their spread is what rounding makes of it."""
    labels = _scored(rows, model)[model.target]
    return bool(labels.std(ddof=0) <= 1e-6 * labels.abs().max())


def _without(run: SuiteRun, tests: Collection[str]) -> SuiteRun:
    verdicts = tuple(v for v in run.verdicts if v.test.partition(":")[0] not in tests)
    scores = {name: score for name, score in run.scores.items() if name.partition(":")[0] not in tests}
    return replace(run, verdicts=verdicts, scores=scores)


@pytest.mark.parametrize(
    "ages",
    [
        pytest.param([30.0, 30.0, np.inf], id="one value and an infinity"),
        pytest.param([np.inf, np.inf, np.nan], id="one infinity"),
        pytest.param([np.inf, -np.inf, np.nan], id="both infinities"),
        pytest.param([0.0, -0.0, 0.0], id="both zeros"),
        pytest.param([np.nan, np.nan, np.nan], id="nothing"),
    ],
)
def test_the_suite_on_profiles_ends_as_evidentlys_does_in_corners(ages: list[float]) -> None:
    """What random rows meet too seldom: columns that are constant but for what is no number."""
    config = _config(tests=TESTS + MORE)
    current = make_rows(config, 30, seed=1)
    current[["age", "income", "years"]] = 1.0
    current["age"] = ages * 10
    runs = _both(config, make_rows(config, 60), current)
    ours, theirs = ([(v.test, v.status, v.found) for v in run.verdicts] for run in runs)
    assert ours == theirs


@settings(FUZZ, max_examples=max(50, CASES // 10))
@given(st.data(), st.sampled_from(["kept in memory", "stored"]), st.sampled_from([_config, _tips, _trips]))
def test_rows_divided_and_merged_in_any_order_give_the_same_profile(
    data: st.DataObject, kept: str, config_of: Callable[..., Config]
) -> None:
    """Counts are equal to the last one, moments up to rounding; a profile comes back from its bytes as it was."""
    config = config_of()
    reference, current = data.draw(frames(config)), data.draw(frames(config))
    tables = [to_arrow(rows, config.model) for rows in (reference, current)]
    grid = grid_of(config.model, tables[0])
    whole = profile_rows(grid, tables[1])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(tables[1])), max_size=6)))
    pieces = [tables[1].slice(a, b - a) for a, b in pairwise([0, *cuts, len(tables[1])])]
    profiles = [profile_rows(grid, piece) for piece in data.draw(st.permutations(pieces))]
    if kept == "stored":
        profiles = [from_bytes(grid, to_bytes(profile)) for profile in profiles]
    same_profile(merge(grid, profiles), whole)


def test_a_profile_of_another_reference_is_refused() -> None:
    """Neither merged nor read: its counts are between other values."""
    config = _config()
    tables = [to_arrow(make_rows(config, 50, seed=seed), config.model) for seed in (0, 1)]
    one, other = (grid_of(config.model, table) for table in tables)
    with pytest.raises(ProfileMismatchError, match="another reference"):
        profile_rows(one, tables[0]) + profile_rows(other, tables[0])
    with pytest.raises(ProfileMismatchError, match="another reference"):
        from_bytes(other, to_bytes(profile_rows(one, tables[0])))
    with pytest.raises(ProfileMismatchError, match="not a profile"):
        from_bytes(one, b"rows")


def test_a_profile_of_an_older_format_is_refused() -> None:
    """It knows no levels and no errors, so it is to be made again."""
    config = _config()
    table = to_arrow(make_rows(config, 50), config.model)
    grid = grid_of(config.model, table)
    with pa.ipc.open_file(to_bytes(profile_rows(grid, table))[32:]) as reader:
        batch = reader.get_batch(0)
    ((key, header),) = batch.schema.metadata.items()
    older = batch.replace_schema_metadata({key: header.replace(b'"format": 6', b'"format": 5')})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, older.schema) as writer:
        writer.write_batch(older)
    content = bytes(sink.getvalue())
    with pytest.raises(ProfileMismatchError, match="a profile of format 5; this version reads 6"):
        from_bytes(grid, hashlib.sha256(content).digest() + content)


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array([1, 2, None], pa.int32()), id="int"),
        pytest.param(pa.array([1.0, 2.0, None], pa.float32()), id="float32"),
        pytest.param(pa.array([1.0, 2.0, float("nan")], pa.float64()), id="float64 with NaN"),
        pytest.param(pa.chunked_array([[1], [2, None]], pa.int64()), id="chunks"),
    ],
)
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_types_of_parts_do_not_matter(column: pa.Array, text: pa.DataType) -> None:
    """Numbers of any type and categories of any encoding give one profile, row hashes included."""
    config = _config()
    grid = grid_of(config.model, to_arrow(make_rows(config, 50), config.model))
    plain = pa.table({"age": [1.0, 2.0, None], "prediction": ["no", "yes", None], "target": ["no", None, "no"]})
    names = {name: pa.array(plain[name].to_pylist()).cast(text) for name in ("prediction", "target")}
    same_profile(profile_rows(grid, pa.table({"age": column, **names})), profile_rows(grid, plain))
