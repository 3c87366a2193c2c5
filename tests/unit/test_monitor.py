"""The loop on real files: what it reads, and what it does when there is nothing good to read."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from monitoring.contract.times import microseconds
from monitoring.monitor import Monitor
from tests.processes import ROOT, eventually
from tests.unit.models import LOANS, loans
from tests.unit.monitor_fixtures import (
    START,
    keep_reference,
    label_rows,
    labels_of,
    log_rows,
    make_rows,
    monitor_of,
    names_in,
)

LATER = START + timedelta(hours=1)
DRIFT = "loan_drift_p_value"


def _failures(registry: CollectorRegistry) -> dict[str, float]:
    samples = [s for family in registry.collect() for s in family.samples if s.name == "monitor_failures_total"]
    return {s.labels["stage"]: s.value for s in samples if s.value}


def _ready(data: Path, shift: float = 0.0) -> tuple[Monitor, CollectorRegistry]:
    """Return a monitor of a reference and a log, after its first cycle."""
    keep_reference(data, LOANS, make_rows(LOANS, 200))
    log_rows(data, LOANS, make_rows(LOANS, 120, seed=1, shift=shift))
    monitor, registry = monitor_of(data)
    monitor.cycle()
    return monitor, registry


def test_another_model_is_watched_end_to_end(tmp_path: Path) -> None:
    """Four features of other names and a binary prediction: from files to metrics and a report."""
    monitor, registry = _ready(tmp_path, shift=2)
    assert _failures(registry) == {}
    assert registry.get_sample_value("rowcount") == 120
    p_value = registry.get_sample_value(DRIFT, {"feature": "age"})
    assert p_value is not None
    assert p_value < 1e-10
    assert registry.get_sample_value("model_accuracy") > 0.7
    assert registry.get_sample_value("prediction_confidence", {"quantile": "0.5"}) == pytest.approx(0.5, abs=0.001)
    assert labels_of(registry, "monitor_reference_info", "origin") == {"sample"}
    assert [kept.verdict for kept in monitor.archive.entries()] == ["failing"]
    assert monitor.fresh


def test_the_window_is_the_newest_rows(tmp_path: Path) -> None:
    """Rows beyond the window's length are no evidence any more."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 100, shift=9))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 100, seed=1), start=LATER)
    monitor, registry = monitor_of(tmp_path, loans(window={"rows": 100}))
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 100
    assert registry.get_sample_value("outliers", {"feature": "age"}) < 20


def test_a_rebased_reference_starts_the_window_afresh(tmp_path: Path) -> None:
    """Rows that went into the reference are not held against it: no drift value until new ones suffice."""
    monitor, registry = _ready(tmp_path, shift=5)
    assert registry.get_sample_value("drifted_features") == 1
    keep_reference(
        tmp_path,
        LOANS,
        make_rows(LOANS, 120, shift=5),
        origin="rebased",
        model_version="2",
        through=microseconds(LATER),
    )
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 0
    assert registry.get_sample_value("drifted_features") is None
    assert labels_of(registry, "monitor_reference_info", "model_version") == {"2"}
    log_rows(tmp_path, LOANS, make_rows(LOANS, 90, seed=2, shift=5), start=LATER + timedelta(seconds=1))
    monitor.cycle()
    assert registry.get_sample_value("drifted_features") == 0


def test_late_labels_are_joined(tmp_path: Path) -> None:
    """Labels that arrive after the rows give the scores that were absent before."""
    rows = make_rows(LOANS, 100, seed=1)
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    ids = log_rows(tmp_path, LOANS, rows.assign(target=None))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert registry.get_sample_value("labelled_rows") == 0
    assert registry.get_sample_value("model_accuracy") is None
    label_rows(tmp_path, LOANS, ids[:40], rows["prediction"].tolist()[:40])
    monitor.cycle()
    assert registry.get_sample_value("labelled_rows") == 40
    assert registry.get_sample_value("model_accuracy") == 1


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda n: f"order {n}", id="texts"),
        pytest.param(lambda n: f"0192e4a0-0000-4000-8000-{n:012x}", id="random UUIDs"),
        pytest.param(lambda n: f"019b7e00-{n:04x}-7000-8000-000000000000", id="UUIDs of a later time"),
    ],
)
def test_labels_of_ids_that_others_made_are_joined(tmp_path: Path, made: Callable[[int], str]) -> None:
    """An id that tells no time, or another than its row's, finds its row all the same, once."""
    rows = make_rows(LOANS, 100, seed=1)
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    ids = log_rows(tmp_path, LOANS, rows.assign(target=None), ids=[made(n) for n in range(100)])
    log_rows(tmp_path, LOANS, rows.assign(target=None), START + timedelta(hours=1))
    monitor, registry = monitor_of(tmp_path)
    for labelled in (40, 60):
        label_rows(tmp_path, LOANS, ids[:labelled], rows["prediction"].tolist()[:labelled])
        monitor.cycle()
        assert registry.get_sample_value("labelled_rows") == labelled
        assert registry.get_sample_value("model_accuracy") == 1


@pytest.mark.parametrize("make_folder", [pytest.param(True, id="empty"), pytest.param(False, id="absent")])
def test_an_empty_log_is_a_window_of_no_rows(tmp_path: Path, make_folder: bool) -> None:  # noqa: FBT001
    """Before the first prediction the cycle succeeds, with a count of zero."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 100))
    if make_folder:
        (tmp_path / "current.parquet").mkdir()
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert registry.get_sample_value("rowcount") == 0
    assert monitor.fresh
    assert _failures(registry) == {}


def test_before_bootstrap_the_monitor_waits(tmp_path: Path) -> None:
    """A first start without a reference is no failure, is logged once, and ends by itself."""
    log_rows(tmp_path, LOANS, make_rows(LOANS, 120, seed=1))
    monitor, registry = monitor_of(tmp_path)
    with capture_logs() as logs:
        monitor.cycle()
        monitor.cycle()
    assert [line["event"] for line in logs] == ["waiting_for_reference"]
    assert registry.get_sample_value("monitor_last_success_timestamp_seconds") == 0
    assert _failures(registry) == {}
    assert not monitor.fresh
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    monitor.cycle()
    assert monitor.fresh
    assert monitor.state.problem is None


def test_a_users_reference_without_predictions_is_waited_for(tmp_path: Path) -> None:
    """Bootstrap fills the predictions of a user's reference; until then the monitor waits."""
    make_rows(LOANS, 100).drop(columns="prediction").to_parquet(tmp_path / "reference.parquet")
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert "bootstrap" in str(monitor.state.problem)
    assert _failures(registry) == {}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda path: path.unlink(), "there is no reference", id="vanished"),
        pytest.param(lambda path: path.write_bytes(b"no"), "not a readable Parquet file", id="not Parquet"),
        pytest.param(
            lambda path: make_rows(LOANS, 9).drop(columns="age").to_parquet(path), "age is missing", id="misfit"
        ),
    ],
)
def test_a_lost_reference_fails_the_cycle(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    """It is counted and said, the last success keeps its time, and old drift values do not stay for ever."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 120, seed=1))
    monitor, registry = monitor_of(tmp_path, monitor_interval_seconds=0.01)
    monitor.cycle()
    succeeded = registry.get_sample_value("monitor_last_success_timestamp_seconds")
    spoil(tmp_path / "reference.parquet")
    monitor.cycle()
    assert _failures(registry) == {"reference": 1}
    assert said in str(monitor.state.problem)
    assert registry.get_sample_value("monitor_last_success_timestamp_seconds") == succeeded
    eventually("the drift values to go with their reference", lambda: DRIFT not in names_in(registry), 20)
    eventually("the monitor to say that it is stale", lambda: not monitor.fresh, 20)
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    monitor.cycle()
    assert DRIFT in names_in(registry)
    assert monitor.state.problem is None


def test_a_part_that_is_not_parquet_costs_only_itself(tmp_path: Path) -> None:
    """It is counted and logged once, shown as long as it lies there, and the other rows are judged."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 120, seed=1))
    bad = tmp_path / "current.parquet/bad.parquet"
    bad.write_bytes(b"not Parquet")
    monitor, registry = monitor_of(tmp_path)
    with capture_logs() as logs:
        monitor.cycle()
        monitor.cycle()
    assert [line["path"] for line in logs if line["event"] == "part_unreadable"] == [str(bad)]
    assert _failures(registry) == {"read_part": 1}
    assert registry.get_sample_value("monitor_unreadable_parts") == 1
    assert registry.get_sample_value("rowcount") == 120
    assert DRIFT in names_in(registry)
    bad.unlink()
    monitor.cycle()
    assert registry.get_sample_value("monitor_unreadable_parts") == 0


def test_a_column_of_nulls_takes_nothing_else_along(tmp_path: Path) -> None:
    """From the log's files: that feature has no p-value, the missing-values test fails, the cycle succeeds."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 120, seed=1).assign(debt=None))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert monitor.fresh
    assert labels_of(registry, DRIFT, "feature") == {"age", "income", "years"}
    status = {"test": "TestNumberOfColumnsWithMissingValues"}
    assert registry.get_sample_value("evidently_test_status", status) == 0
    assert registry.get_sample_value("missing_values") == 120


def test_a_log_that_cannot_be_listed_fails_the_cycle(tmp_path: Path) -> None:
    """A folder that leads nowhere is a failure of reading."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    (tmp_path / "current.parquet").symlink_to("current.parquet")
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert _failures(registry) == {"read": 1}
    assert not monitor.fresh


def test_a_report_that_cannot_be_kept_fails_no_cycle(tmp_path: Path) -> None:
    """A full or read-only disk is counted; the metrics are there all the same."""
    (tmp_path / "_reports").write_text("in the way")
    monitor, registry = _ready(tmp_path)
    assert _failures(registry) == {"report": 1}
    assert monitor.fresh
    assert DRIFT in names_in(registry)


def test_reports_are_made_now_and_then_and_when_the_verdict_changes(tmp_path: Path) -> None:
    """The costly report is not made each cycle, but a change of verdict is not missed."""
    monitor, _ = _ready(tmp_path)
    monitor.cycle()
    assert len(monitor.archive.entries()) == 1
    before = monitor.archive.entries()[0].verdict
    log_rows(tmp_path, LOANS, make_rows(LOANS, 500, seed=3, shift=9 if before == "passing" else 0), start=LATER)
    monitor.cycle()
    after = [kept.verdict for kept in monitor.archive.entries()]
    assert len(after) == 2
    assert after[0] != after[1]


def test_only_the_newest_reports_are_kept(tmp_path: Path) -> None:
    """Older ones are removed with their data."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 60, seed=1))
    monitor, _ = monitor_of(tmp_path, reports_kept=2, report_interval_seconds=1e-9)
    for _cycle in range(3):
        monitor.cycle()
    kept = monitor.archive.entries()
    assert len(kept) == 2
    assert kept[0].id > kept[1].id
    files = {path.name for path in (tmp_path / "_reports").iterdir()}
    assert files == {f"{report.id}{suffix}" for report in kept for suffix in (".html", ".json")}


def test_without_a_config_the_functions_take_that_of_the_environment(tmp_path: Path) -> None:
    """DRIFTLOOP_CONFIG counts for the two public functions too, and frames of another model are refused."""
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(LOANS.model_dump(mode="json", exclude_none=True)))
    rows = make_rows(LOANS, 60)
    code = """
import sys, pandas
from monitoring.monitor import DataError, generate_evidently_report
rows = pandas.read_json(sys.stdin, orient="split")
print(generate_evidently_report(rows, rows).snapshot.label)
try:
    generate_evidently_report(rows, rows[["confidence"]])
except DataError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=rows.assign(confidence=0.5).to_json(orient="split"),
        env={**os.environ, "DRIFTLOOP_CONFIG": str(path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    label, refusal = done.stdout.splitlines()
    assert label == LOANS.model.label
    assert refusal.startswith("the current data holds none of the config's features: ")
